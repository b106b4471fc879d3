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
    topic::{Group, Topic},
};

use super::{
    block,
    log::{Log, Slot},
    offsets::Offsets,
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
        let consumed = Group::ALL.iter().filter(|group| group.topic() == topic).map(|group| offsets.get(*group, number).next_offset).min();
        let keep_from = young.min(consumed.unwrap_or(u64::MAX));
        // From the first block that is kept, so that the marks of those dropped before are not walked over again.
        let blocks = block::key(topic, number, partition.bounds().0).to_vec()..=block::key(topic, number, u64::MAX).to_vec();
        let mut keys = store.range(Table::log(topic), blocks);
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
            old.puts.push(Put { table: Table::log(topic), key: std::mem::replace(&mut key, next), value: None });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Config, Storage,
        embedded::{Purpose, expiry::LogTime, open},
        log::Append,
        step::{Consumed, Step},
    };

    const HOUR_MS: i64 = 3_600_000;

    fn config(data: std::path::PathBuf) -> Config {
        Config { data, partitions: 1, free_bytes_min: 0, queue_bytes_max: 1 << 20, pause_at: None, fail_sync_after: None }
    }

    /// One block an hour in `raw`, `dispatch`, `purchases` and `events`, for 100 hours, with gaps.
    async fn filled(config: &Config) {
        let storage = Storage::open_embedded(config).expect("it opens");
        for hour in (0..100).filter(|hour| hour % 10 != 3) {
            let append = |topic| Append { topic, key: "k".into(), value: "v".into(), time: Time::from_millis(hour * HOUR_MS + 1) };
            let topics = [Topic::Raw, Topic::Dispatch, Topic::Purchases, Topic::Events];
            storage.appender().append(topics.map(append).into()).await.expect("it is durable");
        }
        let mut step = Step::named("test");
        step.consumed.push(Consumed { group: Group::Processor, partition: 0, next_offset: 20, metadata: None, lease: None });
        storage.commit(step).await.expect("it becomes true");
        storage.close().await;
    }

    #[tokio::test]
    async fn blocks_leave_by_age_but_never_before_their_consumer_and_never_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path().to_owned());
        filled(&config).await;
        let store = open::open(&config, Purpose::Work, &LogTime::default()).expect("it opens").0;
        let log = Log::open(&store, 1).expect("it reads");
        let offsets = Offsets::open(&store, &log).expect("it reads").expect("it fits");
        let starts = |now_hour: i64, blocks_max: usize| {
            let old = old(&store, &log, &offsets, now_hour * HOUR_US, blocks_max).expect("it reads");
            let starts: Vec<_> = old.starts.iter().map(|(slot, start, _)| (log.at(*slot).topic.name(), *start)).collect();
            (starts, old.is_cut_short)
        };
        let days = |days: u32| i64::from(days) * 24;
        assert_eq!(starts(days(30), 1_000), (vec![], false), "nothing is thirty days old");
        assert_eq!(starts(days(30) + 5, 1_000), (vec![("raw", 4), ("events", 4)], false), "hours 0, 1, 2 and 4; nobody read dispatch");
        assert_eq!(starts(days(30) + 50, 1_000).0, [("raw", 20), ("events", 45)], "raw is held by the judge");
        assert_eq!(starts(days(400), 1_000).0, [("raw", 20), ("events", 89)], "the last block stays, purchases have no limit");
        assert_eq!(starts(days(400), 7), (vec![("raw", 7)], true), "bounded, and says that there is more");
    }

    #[tokio::test]
    async fn a_reader_that_asks_for_dropped_records_gets_the_first_that_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path().to_owned());
        filled(&config).await;
        let storage = Storage::open_embedded(&config).expect("it opens");
        // A record of today makes the log's own time today, and everything else older than it is kept.
        let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
        let append = Append { topic: Topic::Events, key: "k".into(), value: "today".into(), time: Time::from_millis(today) };
        storage.appender().append(vec![append]).await.expect("it is durable");
        storage.close().await;
        let storage = Storage::open_embedded(&config).expect("it opens");
        storage.appender().append(vec![]).await.expect("the thread has been round once");
        let mut waited = 0;
        while storage.bounds(Topic::Events, 0).await.expect("it reads").0 == 0 && waited < 1_000 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            waited += 1;
        }
        assert_eq!(storage.bounds(Topic::Events, 0).await, Ok((90, 91)));
        let read = storage.reader(Topic::Events, 0, 0).available(10, usize::MAX).await.expect("it reads");
        assert_eq!((read.len(), &read[0].value[..], read[0].position.offset), (1, &b"today"[..], 90));
        assert_eq!(storage.bounds(Topic::Raw, 0).await, Ok((20, 90)));
        assert_eq!(storage.bounds(Topic::Dispatch, 0).await, Ok((0, 90)));
        assert_eq!(storage.bounds(Topic::Purchases, 0).await, Ok((0, 90)));
    }
}
