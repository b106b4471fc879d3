//! One stored kind: what a group has committed for a partition.
//!
//! Key: the group's name, a zero byte, partition `u32` big-endian. Value: next offset `u64` big-endian, then the committer's note if
//! there is one. Written with every step that consumed something; kept for ever. Held in memory too, where readers find it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fjall::Slice;
use schemas::topic::Group;

use super::{
    log::Log,
    store::{Put, Store},
    tables::Table,
};
use crate::{
    OpenError,
    log::{Committed, ReadError},
    step::Consumed,
};

/// The committed offsets in memory.
#[derive(Default)]
pub(super) struct Offsets(Mutex<HashMap<(Group, u32), Committed>>);

impl Offsets {
    /// Reads all of them. A partition that ends before what was committed has gone back: nothing may go on from there.
    pub(super) fn open(store: &Store, log: &Log) -> Result<Result<Self, OpenError>, ReadError> {
        let mut all = HashMap::new();
        for group in Group::ALL {
            for partition in 0..log.partitions(group.topic()) {
                let Some(value) = store.get(Table::Offsets, &key(group, partition))? else { continue };
                let committed = decode(&value)?;
                let (_, end) = log.at(log.slot(group.topic(), partition)?).bounds();
                if committed.next_offset > end {
                    return Ok(Err(OpenError::WentBack { topic: group.topic().name(), partition, end, committed: committed.next_offset }));
                }
                all.insert((group, partition), committed);
            }
        }
        Ok(Ok(Self(Mutex::new(all))))
    }

    /// What a group has committed.
    pub(super) fn get(&self, group: Group, partition: u32) -> Committed {
        self.lock().get(&(group, partition)).cloned().unwrap_or_default()
    }

    /// Makes durable offsets visible.
    pub(super) fn publish(&self, consumed: impl IntoIterator<Item = Consumed>) {
        let mut all = self.lock();
        for Consumed { group, partition, next_offset, metadata, .. } in consumed {
            all.insert((group, partition), Committed { next_offset, metadata });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Group, u32), Committed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // an insert leaves no half-made state behind
    }
}

/// The write of one offset.
pub(super) fn put(consumed: &Consumed) -> Put {
    let mut value = consumed.next_offset.to_be_bytes().to_vec();
    value.extend_from_slice(consumed.metadata.as_deref().unwrap_or_default().as_bytes());
    Put { table: Table::Offsets, key: Slice::from(key(consumed.group, consumed.partition)), value: Some(Slice::from(value)) }
}

fn key(group: Group, partition: u32) -> Vec<u8> {
    [group.name().as_bytes(), &[0], &partition.to_be_bytes()].concat()
}

fn decode(value: &[u8]) -> Result<Committed, ReadError> {
    let damaged = || ReadError::Failed("a committed offset is damaged".to_owned());
    let (offset, note) = value.split_first_chunk::<8>().ok_or_else(damaged)?;
    let note = std::str::from_utf8(note).map_err(|_| damaged())?;
    Ok(Committed { next_offset: u64::from_be_bytes(*offset), metadata: (!note.is_empty()).then(|| note.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_comes_back_with_its_note() {
        for metadata in [None, Some("attempt 7".to_owned())] {
            let put = put(&Consumed { group: Group::Capi, partition: 3, next_offset: 77, metadata: metadata.clone(), lease: None });
            assert_eq!(put.key[..], key(Group::Capi, 3)[..]);
            assert_eq!(decode(&put.value.expect("it is a value")), Ok(Committed { next_offset: 77, metadata }));
        }
        assert!(decode(b"short").is_err());
    }
}
