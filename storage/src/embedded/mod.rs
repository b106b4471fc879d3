//! The embedded engine: log and ledger in one `fjall` database, one process, one folder.
//!
//! Everything that is written goes through one queue to one thread ([`commit`]), which makes rows, records and offsets of all that
//! waits into one atomic batch and syncs it once. Readers go to memory for the newest blocks and to `fjall` for the rest.
//!
//! Reads are plain calls: a point look-up takes microseconds, and a hop to another thread would cost more than it saves. What walks
//! over many rows makes room for others on the way.

mod block;
mod commit;
mod cursor;
mod expiry;
mod log;
mod merge;
mod moving;
mod offsets;
mod open;
mod queue;
mod reads;
mod retention;
mod row;
mod shared;
mod space;
mod store;
mod tables;

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
};

use schemas::{envelope::Position, row::Row, topic::Topic};

pub(crate) use cursor::Cursor;
pub(crate) use moving::Moved;
pub(crate) use open::wipe;

use self::{
    commit::{APPEND, Committer},
    expiry::LogTime,
    log::{Log, Slot},
    merge::Merge,
    offsets::Offsets,
    queue::{Job, NotQueued},
    shared::Shared,
    store::{Put, Store},
};
use crate::{
    Config, OpenError,
    answers::Answers,
    log::{Append, AppendError, ReadError},
    metrics::Metrics,
    partitioner,
    pause::Pauses,
    step::{CommitError, Consumed, Step},
};

/// What a folder is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To work on it.
    Work,
    /// To move what it holds elsewhere.
    Move,
}

/// The engine.
pub(crate) struct Embedded {
    shared: Arc<Shared>,
    /// Gone once the store is closed.
    store: RwLock<Option<Arc<Store>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    answers: Answers,
    /// Raw events are refused: the folder is about to be left.
    is_shut: AtomicBool,
}

impl Embedded {
    /// Opens or makes the folder and starts the commit thread.
    pub(crate) fn open(config: &Config, purpose: Purpose) -> Result<Arc<Self>, OpenError> {
        let now = LogTime::default();
        let (store, partitions) = open::open(config, purpose, &now)?;
        let (store, config) = (Arc::new(store), &Config { partitions, ..config.clone() });
        let unreadable = |cause: ReadError| open::engine(config, cause.to_string());
        let log = Log::open(&store, config.partitions).map_err(unreadable)?;
        let offsets = Offsets::open(&store, &log).map_err(unreadable)??;
        now.saw(log.newest(&store).map_err(unreadable)?);
        let generations = open::generations(&store).map_err(unreadable)?;
        let shared = Arc::new(Shared::new(config, log, offsets, generations, now));
        let committer = Committer::new(config, shared.clone(), store.clone()).map_err(unreadable)?;
        let thread = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || committer.run())
            .map_err(|cause| open::engine(config, cause.to_string()))?;
        Ok(Arc::new(Self {
            shared,
            store: RwLock::new(Some(store)),
            thread: Mutex::new(Some(thread)),
            answers: Answers::default(),
            is_shut: AtomicBool::new(false),
        }))
    }

    pub(crate) fn partitions(&self, topic: Topic) -> u32 {
        self.shared.log.partitions(topic)
    }

    pub(crate) fn generation(&self, topic: Topic) -> u32 {
        self.shared.generation(topic)
    }

    pub(crate) fn accepts(&self) -> bool {
        self.shared.queue.is_open() && !self.shared.space.is_low() && !self.is_shut.load(SeqCst)
    }

    pub(crate) fn refuse_events(&self, refuse: bool) {
        self.is_shut.store(refuse, SeqCst);
    }

    pub(crate) fn answers(&self) -> Answers {
        self.answers.clone()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn pauses(&self) -> &Pauses {
        &self.shared.pauses
    }

    pub(crate) async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, AppendError> {
        if self.is_shut.load(SeqCst) && records.iter().any(|record| record.topic == Topic::Raw) {
            return Err(AppendError::Closed);
        }
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

    pub(crate) async fn commit(&self, mut step: Step) -> Result<Vec<Position>, CommitError> {
        let answers = std::mem::take(&mut step.answers);
        let positions = self.make_true(step).await?;
        self.answers.give(answers.into_iter().map(|reply| reply.answer));
        Ok(positions)
    }

    async fn make_true(&self, step: Step) -> Result<Vec<Position>, CommitError> {
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
        merges: Vec<Merge>,
        records: Vec<(Slot, Append)>,
        consumed: Vec<Consumed>,
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
