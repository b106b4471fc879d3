//! One stored kind: a block of the log, all records of one commit for one partition under one key.
//!
//! Key: topic code `u8`, partition `u32`, offset of the first record `u64`, big-endian, so that keys sort as offsets do.
//! Value: version `u8`, record count `u32`, per record time `i64`, end of key `u32`, end of value `u32` (counted from the start of the
//! payload), then the payload: key and value of each record in turn. Numbers are little-endian. Any record is found without reading
//! those before it.
//!
//! Blocks carry no checksum of their own: `fjall` has one over each batch of its journal and one over each block and each value file
//! of its tables, and checks them when it reads.
//!
//! Written by the commit thread, about once per sync and partition; one put per block instead of one per record, because it is the
//! puts that cost.

use bytes::Bytes;
use fjall::Slice;
use schemas::{envelope::Position, time::Time, topic::Topic};

use crate::log::{ReadError, Stored};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;
const ENTRY_BYTES: usize = 16;
const KEY_BYTES: usize = 13;

/// The key of a block.
pub(super) fn key(topic: Topic, partition: u32, base: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[0] = topic.code();
    key[1..5].copy_from_slice(&partition.to_be_bytes());
    key[5..].copy_from_slice(&base.to_be_bytes());
    key
}

/// The part of the key that all blocks of a partition share.
pub(super) fn prefix(topic: Topic, partition: u32) -> [u8; 5] {
    let mut prefix = [0; 5];
    prefix[0] = topic.code();
    prefix[1..].copy_from_slice(&partition.to_be_bytes());
    prefix
}

/// The offset in a block's key.
pub(super) fn base_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(5..KEY_BYTES)?.try_into().ok()?))
}

/// Collects records of one partition. Kept between commits, so that its buffers are allocated once.
#[derive(Default)]
pub(super) struct Builder {
    entries: Vec<u8>,
    payload: Vec<u8>,
    count: u32,
    newest: Time,
}

impl Builder {
    /// Adds one record.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8], time: Time) {
        self.payload.extend_from_slice(key);
        let key_end = self.payload.len() as u32;
        self.payload.extend_from_slice(value);
        let value_end = self.payload.len() as u32;
        self.entries.extend_from_slice(&time.micros().to_le_bytes());
        self.entries.extend_from_slice(&key_end.to_le_bytes());
        self.entries.extend_from_slice(&value_end.to_le_bytes());
        self.count += 1;
        self.newest = self.newest.max(time);
    }

    /// Records added since the last block.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The latest time among them.
    pub(super) fn newest(&self) -> Time {
        self.newest
    }

    /// The block, and an empty builder again. `scratch` is where it is put together.
    pub(super) fn finish(&mut self, base: u64, scratch: &mut Vec<u8>) -> Block {
        scratch.clear();
        scratch.push(VERSION);
        scratch.extend_from_slice(&self.count.to_le_bytes());
        scratch.extend_from_slice(&self.entries);
        scratch.extend_from_slice(&self.payload);
        let block = Block { base, count: self.count, value: Slice::from(scratch.as_slice()), bytes: Bytes::new() };
        self.entries.clear();
        self.payload.clear();
        self.count = 0;
        self.newest = Time::default();
        block.with_bytes()
    }
}

/// A block as read. Records are slices of it; nothing is copied.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) base: u64,
    pub(super) count: u32,
    value: Slice,
    bytes: Bytes,
}

impl Block {
    /// A block from its value, if it is one.
    pub(super) fn open(base: u64, value: Slice) -> Result<Self, ReadError> {
        let count = match (value.first(), value.get(1..HEAD_BYTES).and_then(|bytes| bytes.try_into().ok())) {
            (Some(&VERSION), Some(count)) => u32::from_le_bytes(count),
            (Some(&version), _) if version > VERSION => {
                return Err(ReadError::Failed(format!("a block of version {version} was written by a newer build; start that one")));
            }
            _ => return Err(damaged(base)),
        };
        let block = Self { base, count, value, bytes: Bytes::new() }.with_bytes();
        let end = count.checked_sub(1).and_then(|last| block.entry(last)).map_or(0, |(_, _, value_end)| value_end as usize);
        if block.payload_start() + end != block.bytes.len() {
            return Err(damaged(base));
        }
        Ok(block)
    }

    fn with_bytes(mut self) -> Self {
        self.bytes = Bytes::from_owner(self.value.clone());
        self
    }

    /// What is put under the block's key. It shares its memory with the block.
    pub(super) fn value(&self) -> Slice {
        self.value.clone()
    }

    /// The offset after its last record.
    pub(super) fn end(&self) -> u64 {
        self.base + u64::from(self.count)
    }

    /// Bytes it takes.
    pub(super) fn len(&self) -> usize {
        self.value.len()
    }

    /// Bytes of its keys and values.
    pub(super) fn payload_bytes(&self) -> usize {
        self.bytes.len() - self.payload_start()
    }

    /// The latest time among its records.
    pub(super) fn newest(&self) -> Time {
        let times = (0..self.count).filter_map(|at| self.entry(at)).map(|(time, ..)| time);
        Time::from_micros(times.max().unwrap_or(0))
    }

    /// The record of that offset.
    pub(super) fn record(&self, generation: u32, partition: u32, offset: u64) -> Result<Stored, ReadError> {
        self.slices(offset)
            .map(|(time, key, value)| Stored { position: Position { generation, partition, offset }, key, value, time })
            .ok_or_else(|| damaged(self.base))
    }

    fn slices(&self, offset: u64) -> Option<(Time, Bytes, Bytes)> {
        let at = u32::try_from(offset.checked_sub(self.base)?).ok()?;
        let start = match at.checked_sub(1) {
            Some(before) => self.entry(before)?.2,
            None => 0,
        };
        let (time, key_end, value_end) = self.entry(at)?;
        let place = |from: u32, to: u32| {
            let (from, to) = (self.payload_start() + from as usize, self.payload_start() + to as usize);
            (from <= to && to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
        };
        Some((Time::from_micros(time), place(start, key_end)?, place(key_end, value_end)?))
    }

    fn entry(&self, at: u32) -> Option<(i64, u32, u32)> {
        let start = HEAD_BYTES + at as usize * ENTRY_BYTES;
        let entry = (at < self.count).then(|| self.bytes.get(start..start + ENTRY_BYTES))??;
        Some((
            i64::from_le_bytes(entry[..8].try_into().ok()?),
            u32::from_le_bytes(entry[8..12].try_into().ok()?),
            u32::from_le_bytes(entry[12..].try_into().ok()?),
        ))
    }

    fn payload_start(&self) -> usize {
        HEAD_BYTES + self.count as usize * ENTRY_BYTES
    }
}

fn damaged(base: u64) -> ReadError {
    ReadError::Failed(format!("the log block at offset {base} is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(base: u64, records: &[(&[u8], &[u8], i64)]) -> Block {
        let mut builder = Builder::default();
        for (key, value, time) in records {
            builder.add(key, value, Time::from_micros(*time));
        }
        builder.finish(base, &mut Vec::new())
    }

    #[test]
    fn records_come_back_as_they_went_in() {
        let records: &[(&[u8], &[u8], i64)] = &[(b"k1", b"v1", 5), (b"", b"", 0), (b"k3", &[7; 1_000], 9)];
        let block = built(40, records);
        let read = Block::open(40, block.value()).expect("it was just made");
        assert_eq!((read.base, read.end()), (40, 43));
        for (at, (key, value, time)) in records.iter().enumerate() {
            let stored = read.record(0, 2, 40 + at as u64).expect("it is there");
            assert_eq!((&stored.key[..], &stored.value[..], stored.time.micros()), (*key, *value, *time));
            assert_eq!(stored.position, Position { generation: 0, partition: 2, offset: 40 + at as u64 });
        }
    }

    #[test]
    fn what_is_no_block_is_an_error_and_never_a_panic() {
        let whole = built(0, &[(b"key", b"value", 1), (b"key", b"value", 2)]).value();
        for cut in 0..whole.len() {
            assert!(Block::open(0, Slice::from(&whole[..cut])).is_err(), "{cut}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0xff;
            if let Ok(block) = Block::open(0, Slice::from(bytes)) {
                let _ = (block.record(0, 0, 0), block.record(0, 0, 1), block.record(0, 0, 2));
            }
        }
        let mut newer = whole.to_vec();
        newer[0] = VERSION + 1;
        assert!(matches!(Block::open(0, Slice::from(newer)), Err(ReadError::Failed(why)) if why.contains("newer build")));
    }

    #[test]
    fn keys_sort_as_offsets_do() {
        let mut keys: Vec<_> = [0, 1, 255, 256, u64::MAX].map(|base| key(Topic::Raw, 3, base)).into();
        keys.push(key(Topic::Raw, 4, 0));
        keys.push(key(Topic::Events, 0, 0));
        assert!(keys.is_sorted());
        assert_eq!(base_of(&key(Topic::Dead, 7, 99)), Some(99));
    }
}
