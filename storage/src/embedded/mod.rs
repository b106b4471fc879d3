//! The embedded engine: log and ledger in one `fjall` database, one process, one folder.
//!
//! Everything that is written goes through one queue to one thread ([`commit`]), which makes rows, records and offsets of all that
//! waits into one atomic batch and syncs it once. Readers go to memory for the newest blocks and to `fjall` for the rest.
//!
//! Reads are plain calls: a point look-up takes microseconds, and a hop to another thread would cost more than it saves. What walks
//! over many rows makes room for others on the way.

mod block;
mod commit;
mod expiry;
mod log;
mod merge;
mod offsets;
mod open;
mod pause;
mod queue;
mod retention;
mod row;
mod space;
mod store;
mod tables;

use std::{
    ops::Bound,
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread::JoinHandle,
};

use schemas::{
    delivery::Delivery,
    envelope::Position,
    fact::{Lead, Purchase},
    id::{FunnelId, PixelId, VisitorId},
    person::Digest,
    row::{FilterSnapshot, Intent, PersonKey, PersonRow, Row, Seen, Visitor, Waiting},
    time::Time,
    topic::{Group, Topic},
};
use tokio::sync::watch;

use self::{
    commit::{APPEND, Committer},
    expiry::LogTime,
    log::{Log, Slot},
    offsets::Offsets,
    queue::{Job, NotQueued, Queue},
    space::Space,
    store::{Put, Store},
    tables::Table,
};
use crate::{
    Config, OpenError,
    answers::Answers,
    ledger::Page,
    log::{Append, AppendError, Committed, ReadError, Stored},
    metrics::Metrics,
    partitioner,
    step::{CommitError, Step},
};

/// Rows after which a walk makes room for others.
const ROWS_BETWEEN_YIELDS: usize = 256;

/// The engine.
pub(crate) struct Embedded {
    shared: Arc<Shared>,
    /// Gone once the store is closed.
    store: RwLock<Option<Arc<Store>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    answers: Answers,
}

/// What callers and the commit thread share.
struct Shared {
    queue: Queue,
    log: Log,
    offsets: Offsets,
    generations: Vec<u32>,
    space: Space,
    now: LogTime,
    metrics: Metrics,
    counters: Vec<Counters>,
    failed: watch::Sender<Option<String>>,
}

/// The counters of one topic, found once.
struct Counters {
    records: prometheus::IntCounter,
    bytes: prometheus::IntCounter,
}

impl Embedded {
    /// Opens or makes the folder and starts the commit thread.
    pub(crate) fn open(config: &Config) -> Result<Arc<Self>, OpenError> {
        let now = LogTime::default();
        let store = Arc::new(open::open(config, &now)?);
        let unreadable = |cause: ReadError| open::engine(config, cause.to_string());
        let log = Log::open(&store, config.partitions).map_err(unreadable)?;
        let offsets = Offsets::open(&store, &log).map_err(unreadable)??;
        now.saw(log.newest(&store).map_err(unreadable)?);
        let metrics = Metrics::new();
        let counters = Topic::ALL.iter().map(|topic| Counters::new(&metrics, *topic)).collect();
        let shared = Arc::new(Shared {
            queue: Queue::new(config.queue_bytes_max),
            log,
            offsets,
            generations: open::generations(&store).map_err(unreadable)?,
            space: Space::new(config.data.clone(), config.free_bytes_min),
            now,
            metrics,
            counters,
            failed: watch::Sender::new(None),
        });
        shared.space.look(&shared.metrics);
        let committer = Committer::new(config, shared.clone(), store.clone()).map_err(unreadable)?;
        let thread = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || committer.run())
            .map_err(|cause| open::engine(config, cause.to_string()))?;
        Ok(Arc::new(Self { shared, store: RwLock::new(Some(store)), thread: Mutex::new(Some(thread)), answers: Answers::default() }))
    }

    pub(crate) fn partitions(&self, topic: Topic) -> u32 {
        self.shared.log.partitions(topic)
    }

    pub(crate) fn generation(&self, topic: Topic) -> u32 {
        self.shared.generation(topic)
    }

    pub(crate) fn accepts(&self) -> bool {
        self.shared.queue.is_open() && !self.shared.space.is_low()
    }

    pub(crate) fn answers(&self) -> Answers {
        self.answers.clone()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, AppendError> {
        if self.shared.space.is_low() && records.iter().any(|record| record.topic == Topic::Raw) {
            self.shared.metrics.refused_full.inc();
            return Err(AppendError::Full);
        }
        let records = self.place(records);
        self.run(APPEND, Vec::new(), Vec::new(), records, Vec::new()).await.map_err(|why| match why {
            NotQueued::Closed => AppendError::Closed,
            NotQueued::Failed(why) => AppendError::Lost(why),
        })
    }

    pub(crate) async fn commit(&self, step: Step) -> Result<Vec<Position>, CommitError> {
        let lost = |why| match why {
            NotQueued::Closed => CommitError::Closed,
            NotQueued::Failed(why) => CommitError::Lost(why),
        };
        let (mut puts, mut merges) = (Vec::with_capacity(step.rows.len()), Vec::new());
        for row in step.rows {
            if let Row::FilterSnapshot(snapshot) = &row {
                // Pieces go ahead one by one, so that nobody waits behind tens of megabytes. They mean nothing until the step itself.
                for piece in row::filter_snapshot::pieces(snapshot) {
                    self.run("snapshot", vec![piece], Vec::new(), Vec::new(), Vec::new()).await.map_err(lost)?;
                }
            }
            row::encode(row, &mut puts, &mut merges);
        }
        let records = self.place(step.records);
        self.run(step.name, puts, merges, records, step.consumed).await.map_err(lost)
    }

    pub(crate) async fn failed(&self) -> String {
        let mut failed = self.shared.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await, // closed in order: nothing failed, and nothing can any more
        }
    }

    pub(crate) async fn close(&self) {
        let thread = self.stop();
        let store = self.store.write().unwrap_or_else(PoisonError::into_inner).take();
        // Joining and closing wait for the disk; a runtime must not.
        let closed = tokio::task::spawn_blocking(move || {
            let joined = thread.map(JoinHandle::join);
            drop(store);
            joined
        });
        let _ = closed.await; // a panic of the thread was told as a failure already
        self.shared.log.stop(&ReadError::Closed);
    }

    /// Sends a job through the queue and waits for its sync.
    async fn run(
        &self,
        name: &'static str,
        puts: Vec<Put>,
        merges: Vec<merge::Merge>,
        records: Vec<(Slot, Append)>,
        consumed: Vec<crate::step::Consumed>,
    ) -> Result<Vec<Position>, NotQueued> {
        let (job, answer) = Job::new(name, puts, merges, records, consumed);
        self.shared.queue.put(job).await?;
        answer.await.map_err(|_| NotQueued::Failed(self.shared.why()))
    }

    fn place(&self, records: Vec<Append>) -> Vec<(Slot, Append)> {
        let place = |record: Append| {
            let partition = partitioner::partition(&record.key, self.partitions(record.topic));
            (self.shared.log.slot_of(record.topic, partition), record)
        };
        records.into_iter().map(place).collect()
    }

    fn store(&self) -> Result<Arc<Store>, ReadError> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(ReadError::Closed)
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        self.shared.queue.close();
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Embedded {
    /// The last handle is gone: what is queued is still written, then the folder is free again.
    fn drop(&mut self) {
        if let Some(thread) = self.stop() {
            let _ = thread.join();
        }
    }
}

/// The log.
impl Embedded {
    pub(crate) async fn read(
        &self,
        topic: Topic,
        partition: u32,
        from: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let slot = self.shared.log.slot(topic, partition)?;
        self.shared.log.read(&*self.store()?, slot, self.generation(topic), from, records_max, bytes_max)
    }

    pub(crate) async fn grown(&self, topic: Topic, partition: u32, next: u64) -> Result<(), ReadError> {
        self.shared.log.grown(self.shared.log.slot(topic, partition)?, next).await
    }

    pub(crate) async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), ReadError> {
        Ok(self.shared.log.at(self.shared.log.slot(topic, partition)?).bounds())
    }

    pub(crate) async fn committed(&self, group: Group, partition: u32) -> Result<Committed, ReadError> {
        Ok(self.shared.offsets.get(group, partition))
    }
}

/// The ledger.
impl Embedded {
    pub(crate) async fn seen(&self, keys: &[String]) -> Result<Vec<Option<Seen>>, ReadError> {
        let store = self.store()?;
        keys.iter().map(|key| row::seen::get(&store, key)).collect()
    }

    pub(crate) async fn scan_seen(&self, partition: u32, each: &mut (dyn FnMut(&str, &Seen) + Send)) -> Result<(), ReadError> {
        for (count, row) in self.store()?.prefix(Table::Seen, &[]).enumerate() {
            let (key, value) = row?;
            if let Some((key, leg, cell)) = row::seen::in_partition(&key, &value, partition)? {
                let mut seen = Seen::default();
                seen.set(leg, cell);
                each(key, &seen);
            }
            if count % ROWS_BETWEEN_YIELDS == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    pub(crate) async fn visitor(&self, funnel: &FunnelId, visitor: &VisitorId) -> Result<Option<Visitor>, ReadError> {
        let value = self.store()?.get(Table::Visitors, &row::visitor::key(funnel, visitor))?;
        value.map(|value| row::visitor::decode(&value)).transpose()
    }

    pub(crate) async fn person(&self, funnel: &FunnelId, email: &Digest) -> Result<Option<PersonRow>, ReadError> {
        let value = self.store()?.get(Table::People, &row::person::key(funnel, email))?;
        value.map(|value| row::person::decode(&value)).transpose()
    }

    pub(crate) async fn person_keys(&self, funnel: &FunnelId, email: &Digest) -> Result<Vec<PersonKey>, ReadError> {
        row::person_key::of(&*self.store()?, funnel, email)
    }

    pub(crate) async fn filter_snapshots(&self, partition: u32) -> Result<Vec<FilterSnapshot>, ReadError> {
        row::filter_snapshot::of(&*self.store()?, partition)
    }

    pub(crate) async fn delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<Delivery>, ReadError> {
        row::delivery::get(&*self.store()?, pixel, dedup_key)
    }

    pub(crate) async fn waiting(&self, pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Result<Option<Waiting>, ReadError> {
        let value = self.store()?.get(Table::Waiting, &row::waiting::key(pixel, deadline_hour, dedup_key))?;
        value.map(|value| row::waiting::decode(&value)).transpose()
    }

    pub(crate) async fn due(&self, partition: u32, pixel: Option<&PixelId>, now: Time, limit: usize) -> Result<Vec<Waiting>, ReadError> {
        row::waiting::due(&*self.store()?, partition, pixel, now, limit)
    }

    pub(crate) async fn next_due(&self, partition: u32) -> Result<Option<Time>, ReadError> {
        row::waiting::next_due(&*self.store()?, partition)
    }

    pub(crate) async fn open_intents(&self, partition: u32) -> Result<Vec<Intent>, ReadError> {
        row::intent::open(&*self.store()?, partition)
    }

    pub(crate) async fn next_attempt(&self, partition: u32) -> Result<u64, ReadError> {
        let value = self.store()?.get(Table::OpenIntents, &row::intent::highest_key(partition))?;
        Ok(value.map(|value| row::intent::highest(&value)).transpose()?.map_or(0, |highest| highest + 1))
    }

    pub(crate) async fn purchases(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Purchase>, ReadError> {
        self.page(Table::Purchases, after, limit, row::purchase::decode)
    }

    pub(crate) async fn leads(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Lead>, ReadError> {
        self.page(Table::Leads, after, limit, row::lead::decode)
    }

    pub(crate) async fn deliveries(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Delivery>, ReadError> {
        self.page(Table::Deliveries, after, limit, row::delivery::decode)
    }

    pub(crate) async fn purchase(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Purchase>, ReadError> {
        row::purchase::get(&*self.store()?, funnel, order_or_event_id)
    }

    fn page<T>(
        &self,
        table: Table,
        after: Option<Vec<u8>>,
        limit: usize,
        decode: fn(&[u8]) -> Result<T, ReadError>,
    ) -> Result<Page<T>, ReadError> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let store = self.store()?;
        let mut found = store.range(table, (begin, Bound::Unbounded));
        let (mut rows, mut last) = (Vec::new(), None);
        for row in found.by_ref().take(limit) {
            let (key, value) = row?;
            rows.push(decode(&value)?);
            last = Some(key.to_vec());
        }
        let is_more = found.next_key()?.is_some();
        Ok(Page { rows, next: last.filter(|_| is_more) })
    }
}

impl Shared {
    fn generation(&self, topic: Topic) -> u32 {
        self.generations[topic as usize]
    }

    /// The promises cannot be kept any more: says why to everyone who waits or will come.
    fn fail(&self, why: &str) {
        tracing::error!(why, "store failed");
        self.failed.send_if_modified(|failed| failed.is_none().then(|| *failed = Some(why.to_owned())).is_some());
        drop(self.queue.fail(why)); // who waits for these sees their sender go, and asks `why`
        self.log.stop(&ReadError::Failed(why.to_owned()));
    }

    fn why(&self) -> String {
        self.failed.borrow().clone().unwrap_or_else(|| "the commit thread ended".to_owned())
    }

    fn set_gauges(&self, store: &Store) {
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
        for group in offsets::GROUPS {
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

    fn count(&self, block: &block::Block) {
        self.records.inc_by(u64::from(block.count));
        self.bytes.inc_by(block.payload_bytes() as u64);
    }
}
