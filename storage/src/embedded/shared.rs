//! What callers and the commit thread share.

use prometheus::IntCounter;
use schemas::topic::{Group, Topic};
use tokio::sync::watch;

use super::{block::Block, expiry::LogTime, log::Log, offsets::Offsets, queue::Queue, space::Space, store::Store};
use crate::{Config, log::ReadError, metrics::Metrics, pause::Pauses};

/// Everything but the database itself, which goes away when the store is closed.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) log: Log,
    pub(super) offsets: Offsets,
    pub(super) generations: Vec<u32>,
    pub(super) space: Space,
    pub(super) now: LogTime,
    pub(super) metrics: Metrics,
    pub(super) counters: Vec<Counters>,
    pub(super) pauses: Pauses,
    pub(super) failed: watch::Sender<Option<String>>,
}

/// The counters of one topic, found once.
pub(super) struct Counters {
    records: IntCounter,
    bytes: IntCounter,
}

impl Shared {
    pub(super) fn new(config: &Config, log: Log, offsets: Offsets, generations: Vec<u32>, now: LogTime) -> Self {
        let metrics = Metrics::new();
        let counters = Topic::ALL.iter().map(|topic| Counters::new(&metrics, *topic)).collect();
        let space = Space::new(config.data.clone(), config.free_bytes_min);
        space.look(&metrics); // so that the first append already knows
        let queue = Queue::new(config.queue_bytes_max);
        let pauses = Pauses::new(config.pause_at.as_deref());
        Self { queue, log, offsets, generations, space, now, metrics, counters, pauses, failed: watch::Sender::new(None) }
    }

    pub(super) fn generation(&self, topic: Topic) -> u32 {
        self.generations[topic as usize]
    }

    /// The promises cannot be kept any more: says why to everyone who waits or will come.
    pub(super) fn fail(&self, why: &str) {
        let is_first = self.failed.send_if_modified(|failed| failed.is_none().then(|| *failed = Some(why.to_owned())).is_some());
        if is_first {
            tracing::error!(why, "store failed");
        }
        drop(self.queue.fail(why)); // who waits for these sees their sender go, and asks `why`
        self.log.stop(&ReadError::Failed(why.to_owned()));
    }

    pub(super) fn why(&self) -> String {
        self.failed.borrow().clone().unwrap_or_else(|| "the commit thread ended".to_owned())
    }

    pub(super) fn set_gauges(&self, store: &Store) {
        let metrics = &self.metrics;
        metrics.queue_bytes.set(self.queue.bytes() as i64);
        metrics.disk_bytes.set(store.disk_bytes() as i64);
        metrics.memory_table_bytes.set(store.memory_bytes() as i64);
        for (_, partition) in self.log.slots() {
            let (start, end) = partition.bounds();
            let labels = [partition.topic.name(), &partition.number.to_string()];
            metrics.log_start.with_label_values(&labels).set(start as i64);
            metrics.log_end.with_label_values(&labels).set(end as i64);
        }
        for group in Group::ALL {
            for partition in 0..self.log.partitions(group.topic()) {
                let committed = self.offsets.get(group, partition).next_offset as i64;
                metrics.committed.with_label_values(&[group.name(), &partition.to_string()]).set(committed);
            }
        }
    }
}

impl Counters {
    fn new(metrics: &Metrics, topic: Topic) -> Self {
        Self {
            records: metrics.appended_records.with_label_values(&[topic.name()]),
            bytes: metrics.appended_bytes.with_label_values(&[topic.name()]),
        }
    }

    pub(super) fn count(&self, block: &Block) {
        self.records.inc_by(u64::from(block.count));
        self.bytes.inc_by(block.payload_bytes() as u64);
    }
}
