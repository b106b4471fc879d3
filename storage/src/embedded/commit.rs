//! The one commit thread: takes everything that waits, makes one batch of it, syncs once, answers all.
//!
//! It never waits for the clock: while one batch is being synced the next one gathers, so batches grow with the load by themselves.
//! Offsets rise in the order of the queue. A batch that fails is never tried again, because what the kernel dropped cannot be synced
//! again: the thread says why and ends, and nothing is taken any more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use schemas::{envelope::Position, time::Time, topic::Topic};
use tokio::sync::oneshot;

use super::{
    Shared,
    block::{Block, Builder},
    log::Slot,
    merge::Overlay,
    offsets,
    queue::{Job, Taken},
    retention::{self, Hours},
    space::Watch,
    store::{Put, Store, words},
};
use crate::{Config, log::ReadError, step::Consumed};

/// Bytes of jobs in one batch: what memory one batch may take, and how long a small append may wait behind others (about 20 ms of
/// writing). A single larger job still goes in whole.
const BATCH_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// How long the thread sleeps at most: it looks at free space about once a second.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often old blocks are looked for, and how many one batch may drop.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_BLOCKS_MAX: usize = 2_000;
/// How often the gauges of log and disk are set.
const GAUGES_EVERY: Duration = Duration::from_secs(1);
/// Buffers larger than this are given back after a batch.
const SCRATCH_BYTES_MAX: usize = 1_024 * 1_024;

/// The thread's own state.
pub(super) struct Committer {
    shared: Arc<Shared>,
    store: Arc<Store>,
    hours: Hours,
    builders: Vec<Builder>,
    scratch: Vec<u8>,
    space: Watch,
    swept_at: Option<Instant>,
    gauged_at: Option<Instant>,
    syncs_left: Option<u64>,
    /// How many jobs the last batch answered.
    answered: usize,
}

/// A job whose answer waits for the sync.
struct Pending {
    name: &'static str,
    has_raw: bool,
    since: Instant,
    answer: oneshot::Sender<Vec<Position>>,
    positions: Vec<Position>,
}

impl Committer {
    pub(super) fn new(config: &Config, shared: Arc<Shared>, store: Arc<Store>) -> Result<Self, ReadError> {
        let hours = Hours::open(&store, &shared.log)?;
        let builders = shared.log.slots().map(|_| Builder::default()).collect();
        Ok(Self {
            shared,
            store,
            hours,
            builders,
            scratch: Vec::new(),
            space: Watch::new(),
            swept_at: None,
            gauged_at: None,
            syncs_left: config.fail_sync_after,
            answered: 0,
        })
    }

    /// Works until the queue is closed and empty, or until something fails.
    pub(super) fn run(mut self) {
        let _alarm = Alarm(self.shared.clone());
        loop {
            let done = match self.shared.queue.take(BATCH_BYTES_MAX, PATIENCE) {
                Taken::Jobs(jobs) => self.commit(jobs),
                Taken::Idle => self.store.health().map_err(|cause| words(&cause)),
                Taken::Closed => return,
            };
            if let Err(why) = done.and_then(|()| self.look_after()) {
                self.shared.fail(&why);
                return;
            }
            self.shared.queue.gather(self.answered);
        }
    }

    /// One batch: all of it becomes true, or none.
    fn commit(&mut self, jobs: Vec<Job>) -> Result<(), String> {
        let began = Instant::now();
        let store = self.store.clone();
        let mut batch = store.batch(jobs.iter().map(|job| job.puts.len() + 3 * job.merges.len() + job.consumed.len() + 1).sum());
        let mut overlay = Overlay::new(&store);
        let mut consumed: Vec<Consumed> = Vec::new();
        let mut touched: Vec<Slot> = Vec::new();
        let mut pending = Vec::with_capacity(jobs.len());
        let mut bytes = 0;
        for job in jobs {
            self.shared.pauses.at(job.name, "before");
            bytes += self.shared.queue.room_for(&job);
            for put in job.puts {
                store.add(&mut batch, put);
            }
            for merge in job.merges {
                overlay.apply(merge).map_err(|cause| self.fail(cause.to_string()))?;
            }
            for consumed in &job.consumed {
                store.add(&mut batch, offsets::put(consumed));
            }
            consumed.extend(job.consumed);
            let mut positions = Vec::with_capacity(job.records.len());
            let mut has_raw = false;
            for (slot, record) in job.records {
                let partition = self.shared.log.at(slot);
                let builder = &mut self.builders[slot.index()];
                if builder.count() == 0 {
                    touched.push(slot);
                }
                let offset = partition.bounds().1 + u64::from(builder.count());
                positions.push(Position { generation: self.shared.generation(partition.topic), partition: partition.number, offset });
                has_raw |= partition.topic == Topic::Raw;
                builder.add(&record.key, &record.value, record.time);
            }
            pending.push(Pending { name: job.name, has_raw, since: job.since, answer: job.answer, positions });
        }
        for put in overlay.into_puts() {
            store.add(&mut batch, put);
        }
        let mut newest = Time::default();
        let mut blocks: Vec<(Slot, Block)> = Vec::with_capacity(touched.len());
        for slot in touched {
            let partition = self.shared.log.at(slot);
            let builder = &mut self.builders[slot.index()];
            newest = newest.max(builder.newest());
            let base = partition.bounds().1;
            if let Some(put) = self.hours.note(slot, partition.topic, partition.number, builder.newest(), base) {
                store.add(&mut batch, put);
            }
            let block = builder.finish(base, &mut self.scratch);
            self.shared.counters[partition.topic as usize].count(&block);
            store.add(&mut batch, block.put(partition.topic, partition.number));
            blocks.push((slot, block));
        }
        self.scratch.shrink_to(SCRATCH_BYTES_MAX);
        self.sync(batch).map_err(|why| self.fail(why))?;

        self.shared.now.saw(newest);
        self.shared.log.publish(blocks);
        self.shared.offsets.publish(consumed);
        self.answer(pending);
        let metrics = &self.shared.metrics;
        metrics.sync_seconds.observe(began.elapsed().as_secs_f64());
        metrics.batch_bytes.observe(bytes as f64);
        self.shared.queue.done(bytes);
        self.space.wrote(bytes, &self.shared.space, metrics);
        Ok(())
    }

    /// Says why before anyone who waits is let go, so that they hear the reason.
    fn fail(&self, why: String) -> String {
        self.shared.fail(&why);
        why
    }

    fn sync(&mut self, batch: fjall::OwnedWriteBatch) -> Result<(), String> {
        match &mut self.syncs_left {
            Some(0) => {
                Store::commit_unsynced(batch).map_err(|cause| words(&cause))?;
                return Err("injected: the sync failed".to_owned());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Store::commit(batch).map_err(|cause| words(&cause))
    }

    fn answer(&mut self, pending: Vec<Pending>) {
        self.answered = pending.len();
        self.shared.metrics.batch_jobs.observe(pending.len() as f64);
        for job in pending {
            if job.name != APPEND || job.has_raw {
                self.shared.pauses.at(job.name, "after");
            }
            if job.name != APPEND {
                self.shared.metrics.commit_seconds.with_label_values(&[job.name]).observe(job.since.elapsed().as_secs_f64());
            }
            let _ = job.answer.send(job.positions); // who asked may have gone; it is durable all the same
        }
    }

    /// What is due once a second and once a minute, on this thread so that nothing else ever writes.
    fn look_after(&mut self) -> Result<(), String> {
        self.space.wrote(0, &self.shared.space, &self.shared.metrics);
        if is_due(&mut self.gauged_at, GAUGES_EVERY) {
            self.shared.set_gauges(&self.store);
        }
        if is_due(&mut self.swept_at, SWEEP_EVERY) {
            self.sweep().map_err(|cause| cause.to_string())?;
        }
        Ok(())
    }

    /// Drops a bounded number of old blocks; with more of them left, comes again at once.
    fn sweep(&mut self) -> Result<(), ReadError> {
        let shared = &self.shared;
        let old = retention::old(&self.store, &shared.log, &shared.offsets, shared.now.micros(), SWEEP_BLOCKS_MAX)?;
        if old.puts.is_empty() {
            return Ok(());
        }
        let mut batch = self.store.batch(old.puts.len());
        for put in old.puts {
            self.store.add(&mut batch, put);
        }
        // Not synced: after a power loss they are dropped again.
        Store::commit_unsynced(batch).map_err(|cause| ReadError::Failed(words(&cause)))?;
        for (slot, start, blocks) in old.starts {
            let partition = shared.log.at(slot);
            partition.set_start(start);
            shared.metrics.dropped_blocks.with_label_values(&[partition.topic.name()]).inc_by(blocks);
        }
        if old.is_cut_short {
            self.swept_at = None;
        }
        Ok(())
    }
}

/// The name of an append among steps.
pub(super) const APPEND: &str = "append";

fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

impl Block {
    /// The write of this block.
    fn put(&self, topic: Topic, partition: u32) -> Put {
        Put {
            table: super::tables::Table::log(topic),
            key: fjall::Slice::from(super::block::key(topic, partition, self.base)),
            value: Some(self.value()),
        }
    }
}

/// A panic of the thread is a failure like any other: nobody may wait for ever.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the commit thread panicked");
        }
    }
}
