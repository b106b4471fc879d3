//! The log in memory: where each partition begins and ends, and its newest blocks, so that readers at the tail never touch the disk.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use schemas::{time::Time, topic::Topic};
use tokio::sync::watch;

use super::{
    block::{self, Block},
    store::Store,
    tables::Table,
};
use crate::log::{ReadError, Stored};

/// Bytes of newest blocks kept in memory, all partitions together. They share their memory with the memory table until that is
/// flushed, so most of this is not spent twice. At 600 bytes a record and three records an event it is the last 18,000 events:
/// several seconds of a busy judge's lag.
const TAIL_BYTES_MAX: usize = 32 * 1_024 * 1_024;

/// A partition of a topic, as a number that counts all partitions of all topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot(usize);

impl Slot {
    /// Its place in a list of all partitions.
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// All partitions of all topics.
pub(super) struct Log {
    partitions: u32,
    slots: Vec<Partition>,
    /// Which partition each cached block belongs to, oldest first: the order in which they leave.
    cached: Mutex<(VecDeque<(Slot, usize)>, usize)>,
}

/// One partition.
pub(super) struct Partition {
    pub(super) topic: Topic,
    pub(super) number: u32,
    state: Mutex<State>,
    end: watch::Sender<End>,
}

struct State {
    start: u64,
    end: u64,
    tail: VecDeque<Block>,
}

/// What waiting readers watch.
#[derive(Clone, Debug, Default)]
struct End {
    offset: u64,
    stopped: Option<ReadError>,
}

impl Log {
    /// Finds where each partition begins and ends on disk.
    pub(super) fn open(store: &Store, partitions: u32) -> Result<Self, ReadError> {
        let mut slots = Vec::new();
        for topic in Topic::ALL {
            for number in 0..count(topic, partitions) {
                let prefix = block::prefix(topic, number);
                let start = store.prefix(Table::log(topic), &prefix).next_key()?.and_then(|key| block::base_of(&key)).unwrap_or(0);
                let end = match store.prefix(Table::log(topic), &prefix).next_back().transpose()? {
                    Some((key, value)) => Block::open(block::base_of(&key).unwrap_or(0), value)?.end(),
                    None => 0,
                };
                let state = Mutex::new(State { start, end, tail: VecDeque::new() });
                slots.push(Partition { topic, number, state, end: watch::Sender::new(End { offset: end, stopped: None }) });
            }
        }
        Ok(Self { partitions, slots, cached: Mutex::default() })
    }

    /// The latest time of any record in the newest blocks.
    pub(super) fn newest(&self, store: &Store) -> Result<Time, ReadError> {
        let mut newest = Time::default();
        for partition in &self.slots {
            if let Some((key, value)) =
                store.prefix(Table::log(partition.topic), &block::prefix(partition.topic, partition.number)).next_back().transpose()?
            {
                newest = newest.max(Block::open(block::base_of(&key).unwrap_or(0), value)?.newest());
            }
        }
        Ok(newest)
    }

    /// How many partitions a topic has.
    pub(super) fn partitions(&self, topic: Topic) -> u32 {
        count(topic, self.partitions)
    }

    /// All partitions.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &Partition)> {
        self.slots.iter().enumerate().map(|(at, partition)| (Slot(at), partition))
    }

    /// The slot of a partition that the topic has.
    pub(super) fn slot_of(&self, topic: Topic, partition: u32) -> Slot {
        let before: u32 = Topic::ALL.iter().take_while(|other| **other != topic).map(|other| self.partitions(*other)).sum();
        Slot((before + partition) as usize)
    }

    /// The partition's slot. A partition that the topic does not have is an error of the caller, said as one.
    pub(super) fn slot(&self, topic: Topic, partition: u32) -> Result<Slot, ReadError> {
        if partition >= self.partitions(topic) {
            return Err(ReadError::Failed(format!("topic {} has no partition {partition}", topic.name())));
        }
        Ok(self.slot_of(topic, partition))
    }

    /// The partition in a slot.
    pub(super) fn at(&self, slot: Slot) -> &Partition {
        &self.slots[slot.0]
    }

    /// Makes durable blocks visible, in the order of the list, and wakes who waits for them.
    pub(super) fn publish(&self, blocks: impl IntoIterator<Item = (Slot, Block)>) {
        let mut cached = lock(&self.cached);
        for (slot, block) in blocks {
            let end = block.end();
            cached.0.push_back((slot, block.len()));
            cached.1 += block.len();
            {
                let mut state = self.at(slot).lock();
                state.end = end;
                state.tail.push_back(block);
            }
            while cached.1 > TAIL_BYTES_MAX
                && let Some((oldest, bytes)) = cached.0.pop_front()
            {
                cached.1 -= bytes;
                self.at(oldest).lock().tail.pop_front();
            }
            self.at(slot).end.send_modify(|watched| watched.offset = end);
        }
    }

    /// The next records of a partition from an offset on; empty at its end.
    pub(super) fn read(
        &self,
        store: &Store,
        slot: Slot,
        generation: u32,
        from: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let partition = self.at(slot);
        let (mut next, end, blocks) = partition.tail(from, records_max, bytes_max);
        let mut batch = Batch { records: Vec::new(), bytes: 0, records_max: records_max.max(1), bytes_max };
        if next >= end {
            return Ok(batch.records);
        }
        if !blocks.is_empty() {
            for block in &blocks {
                batch.take(block, generation, partition.number, &mut next, end)?;
            }
            return Ok(batch.records);
        }
        let table = Table::log(partition.topic);
        // The block that holds the offset begins at it or before it.
        let first =
            block::key(partition.topic, partition.number, 0).to_vec()..=block::key(partition.topic, partition.number, next).to_vec();
        let begin = match store.range(table, first).next_back().transpose()? {
            Some((key, _)) => key.to_vec(),
            None => block::key(partition.topic, partition.number, next).to_vec(),
        };
        let last = block::key(partition.topic, partition.number, end).to_vec();
        for row in store.range(table, begin..last) {
            let (key, value) = row?;
            let block = Block::open(block::base_of(&key).unwrap_or(0), value)?;
            next = next.max(block.base);
            if !batch.take(&block, generation, partition.number, &mut next, end)? {
                break;
            }
        }
        Ok(batch.records)
    }

    /// Waits until a partition ends after `next`.
    pub(super) async fn grown(&self, slot: Slot, next: u64) -> Result<(), ReadError> {
        let mut end = self.at(slot).end.subscribe();
        let end = end.wait_for(|end| end.offset > next || end.stopped.is_some()).await.map_err(|_| ReadError::Closed)?;
        match &end.stopped {
            Some(why) if end.offset <= next => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// Wakes every waiting reader with a reason why nothing more will come.
    pub(super) fn stop(&self, why: &ReadError) {
        for partition in &self.slots {
            partition.end.send_modify(|end| end.stopped = Some(why.clone()));
        }
    }
}

impl Partition {
    /// The offset of the first record kept, and the one after the last.
    pub(super) fn bounds(&self) -> (u64, u64) {
        let state = self.lock();
        (state.start, state.end)
    }

    /// Everything below was dropped.
    pub(super) fn set_start(&self, start: u64) {
        self.lock().start = start;
    }

    /// Where to read from, where the partition ends, and the cached blocks from there on: none if the first one needed is not cached.
    fn tail(&self, from: u64, records_max: usize, bytes_max: usize) -> (u64, u64, Vec<Block>) {
        let state = self.lock();
        let next = from.max(state.start);
        let mut blocks = Vec::new();
        if state.tail.front().is_some_and(|oldest| oldest.base <= next) && next < state.end {
            let first = state.tail.partition_point(|block| block.end() <= next);
            let (mut records, mut bytes) = (0, 0);
            for block in state.tail.iter().skip(first) {
                blocks.push(block.clone());
                records += (block.end() - block.base.max(next)) as usize;
                bytes += block.len();
                if records >= records_max || bytes >= bytes_max {
                    break;
                }
            }
        }
        (next, state.end, blocks)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// What a read has taken so far.
struct Batch {
    records: Vec<Stored>,
    bytes: usize,
    records_max: usize,
    bytes_max: usize,
}

impl Batch {
    /// Takes records of a block from `next` on. Whether more may be taken after it.
    fn take(&mut self, block: &Block, generation: u32, partition: u32, next: &mut u64, end: u64) -> Result<bool, ReadError> {
        while *next < block.end().min(end) {
            if self.records.len() >= self.records_max || (self.bytes >= self.bytes_max && !self.records.is_empty()) {
                return Ok(false);
            }
            let record = block.record(generation, partition, *next)?;
            self.bytes += record.key.len() + record.value.len();
            self.records.push(record);
            *next += 1;
        }
        Ok(true)
    }
}

fn count(topic: Topic, partitions: u32) -> u32 {
    if topic.is_single() { 1 } else { partitions }
}

/// A lock whose holder panicked: the state behind these locks is whole after every line, and the panic itself ends the process.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
