//! Old blocks leave the log, oldest first.
//!
//! A block may go when it is older than its topic is kept and, on topics with a consumer of ours, wholly below what that consumer has
//! committed. The newest block of a partition always stays: where the log ends is read from it. Topics without a limit keep
//! everything; compaction of `purchases`, `leads` and `directory` (keep only the newest record of a key) is not built yet.
//!
//! One stored kind, `log_hours`, tells how old blocks are without reading them. Key: topic code `u8`, partition `u32`, hour `u64`,
//! big-endian. Value: offset `u64` of the first block whose newest record fell into that hour, or later. Written once an hour and
//! partition, with the block itself.

use fjall::Slice;
use schemas::{
    time::{DAY_US, SECOND_US, Time},
    topic::Topic,
};

use super::{
    block,
    log::{Log, Slot},
    offsets::{GROUPS, Offsets},
    store::{Put, Store},
    tables::Table,
};
use crate::log::ReadError;

const HOUR_US: i64 = 3_600 * SECOND_US;

/// The last hour written of each partition. The commit thread holds it.
pub(super) struct Hours(Vec<Option<u64>>);

impl Hours {
    /// Reads the last hour of each partition.
    pub(super) fn open(store: &Store, log: &Log) -> Result<Self, ReadError> {
        let last = |(_, partition): (Slot, &super::log::Partition)| {
            let row = store.prefix(Table::LogHours, &block::prefix(partition.topic, partition.number)).next_back().transpose()?;
            Ok(row.and_then(|(key, _)| block::base_of(&key)))
        };
        log.slots().map(last).collect::<Result<_, _>>().map(Self)
    }

    /// The write that goes with a block, if it is the first of its hour.
    pub(super) fn note(&mut self, slot: Slot, topic: Topic, partition: u32, newest: Time, base: u64) -> Option<Put> {
        topic.keep_days()?;
        let hour = (newest.micros() / HOUR_US) as u64;
        let last = &mut self.0[slot.index()];
        if last.is_some_and(|last| last >= hour) {
            return None;
        }
        *last = Some(hour);
        let key = block::key(topic, partition, hour);
        Some(Put { table: Table::LogHours, key: Slice::from(key), value: Some(Slice::from(base.to_be_bytes())) })
    }
}

/// Blocks that may go.
#[derive(Default)]
pub(super) struct Old {
    /// The deletes.
    pub(super) puts: Vec<Put>,
    /// Where each partition begins afterwards, and how many blocks it lost.
    pub(super) starts: Vec<(Slot, u64, u64)>,
    /// Whether there are more.
    pub(super) is_cut_short: bool,
}

/// Finds blocks that may go at a moment: at most so many, a bound on the time of one batch.
pub(super) fn old(store: &Store, log: &Log, offsets: &Offsets, now_us: i64, blocks_max: usize) -> Result<Old, ReadError> {
    let mut old = Old::default();
    for (slot, partition) in log.slots() {
        let Some(days) = partition.topic.keep_days() else { continue };
        let cutoff = now_us - i64::from(days) * DAY_US;
        if cutoff <= 0 {
            continue;
        }
        // Everything before the first block of a younger hour is older than the cut-off.
        let hour = (cutoff / HOUR_US) as u64;
        let (topic, number) = (partition.topic, partition.number);
        let hours = block::key(topic, number, hour).to_vec()..=block::key(topic, number, u64::MAX).to_vec();
        let young = match store.range(Table::LogHours, hours).next().transpose()? {
            Some((_, base)) => base.first_chunk::<8>().map_or(0, |base| u64::from_be_bytes(*base)),
            None => u64::MAX,
        };
        let consumed = GROUPS.iter().filter(|group| group.topic() == topic).map(|group| offsets.get(*group, number).next_offset).min();
        let keep_from = young.min(consumed.unwrap_or(u64::MAX));
        let mut keys = store.prefix(Table::Log, &block::prefix(topic, number));
        let mut dropped = 0;
        let Some(mut key) = keys.next_key()? else { continue };
        let mut start = block::base_of(&key).unwrap_or(0);
        while let Some(next) = keys.next_key()? {
            let end = block::base_of(&next).unwrap_or(0);
            if end > keep_from {
                break;
            }
            if old.puts.len() >= blocks_max {
                old.is_cut_short = true;
                break;
            }
            old.puts.push(Put { table: Table::Log, key: std::mem::replace(&mut key, next), value: None });
            (start, dropped) = (end, dropped + 1);
        }
        if dropped > 0 {
            old.starts.push((slot, start, dropped));
            let mut passed = store.range(Table::LogHours, block::key(topic, number, 0).to_vec()..block::key(topic, number, hour).to_vec());
            while let Some(key) = passed.next_key()? {
                old.puts.push(Put { table: Table::LogHours, key, value: None });
            }
        }
    }
    Ok(old)
}
