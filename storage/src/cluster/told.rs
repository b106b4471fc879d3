//! Which rows of the sink were told: pure.
//!
//! The sink's rows become durable before the transaction that tells them to data teams and moves its offset. A process that dies between
//! the two leaves rows that nobody was told of. Each row is stamped `epoch·2^40 + number`: the epoch rises with each owner of the
//! partition, the number with each row of that owner. Each transaction commits, beside its offset, how far its owner had come; a row above
//! that mark was not told.

use serde::{Deserialize, Serialize};

/// Bits of a stamp that count an owner's rows.
const NUMBER_BITS: u32 = 40;
/// Owners remembered. An older one's rows count as told: its work was finished by hundreds of successors. At 24 bytes each they fit well
/// into the 4,096 that the brokers take beside an offset.
const OWNERS_KEPT: usize = 64;

/// The stamp of an owner's row.
pub(super) fn stamp(epoch: i64, number: u64) -> i64 {
    (epoch << NUMBER_BITS) + number as i64
}

/// The epoch of a stamp.
pub(super) fn epoch(stamp: i64) -> i64 {
    stamp >> NUMBER_BITS
}

/// How far each owner's rows were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Epoch and highest number told, the oldest first.
    #[serde(default)]
    owners: Vec<(i64, u64)>,
}

/// What stands beside a committed offset of the sink.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    told: Told,
    /// The sink's own note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Told {
    /// An owner's rows up to this number are told.
    pub(super) fn note(&mut self, epoch: i64, number: u64) {
        match self.owners.last_mut() {
            Some((last, told)) if *last == epoch => *told = number,
            _ => self.owners.push((epoch, number)),
        }
        if self.owners.len() > OWNERS_KEPT {
            self.owners.remove(0);
        }
    }

    /// Whether the row with this stamp was told.
    pub(super) fn is_told(&self, stamp: i64) -> bool {
        let (epoch, number) = (epoch(stamp), (stamp & ((1 << NUMBER_BITS) - 1)) as u64);
        if epoch == 0 {
            return true; // nobody's: it came with a move, and was told where it came from
        }
        match self.owners.iter().find(|(owner, _)| *owner == epoch) {
            Some((_, told)) => number <= *told,
            None => self.owners.len() == OWNERS_KEPT && self.owners[0].0 > epoch,
        }
    }

    /// As it is committed, together with the sink's own note.
    pub(super) fn with(&self, note: Option<String>) -> String {
        serde_json::to_string(&Note { told: self.clone(), note }).unwrap_or_default() // numbers and text are JSON
    }

    /// From what was committed: what was told, and the sink's own note.
    pub(super) fn read(metadata: Option<&str>) -> (Self, Option<String>) {
        match metadata.and_then(|text| serde_json::from_str::<Note>(text).ok()) {
            Some(Note { told, note }) => (told, note),
            None => (Self::default(), metadata.map(str::to_owned)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_when_its_owner_committed_its_number_or_a_higher_one() {
        let mut told = Told::default();
        assert!(!told.is_told(stamp(1, 1)), "nothing was committed");
        assert!(told.is_told(stamp(0, 1)), "it came with a move");
        told.note(1, 7);
        told.note(3, 2);
        told.note(3, 4);
        for (epoch, number, is_told) in [(1, 7, true), (1, 8, false), (2, 1, false), (3, 4, true), (3, 5, false), (4, 1, false)] {
            assert_eq!(told.is_told(stamp(epoch, number)), is_told, "{epoch} {number}");
        }
        let text = told.with(Some("note".to_owned()));
        assert_eq!(Told::read(Some(&text)), (told, Some("note".to_owned())));
        assert_eq!(Told::read(Some("else")), (Told::default(), Some("else".to_owned())));
        assert_eq!(Told::read(None), (Told::default(), None));
    }

    #[test]
    fn what_is_committed_has_a_bound_and_owners_long_gone_count_as_told() {
        let mut told = Told::default();
        for epoch in 0..1_000 {
            told.note(epoch, u64::from(u32::MAX));
        }
        assert!(told.with(None).len() < 2_000);
        assert!(told.is_told(stamp(3, 99)));
        assert!(!told.is_told(stamp(1_000, 1)));
    }
}
