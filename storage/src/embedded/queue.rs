//! What waits for the commit thread: a queue with a bound in bytes. Who comes when it is full waits for room, in turn.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use schemas::envelope::Position;
use tokio::sync::{Semaphore, oneshot};

use super::{log::Slot, merge::Merge, store::Put};
use crate::{log::Append, step::Consumed};

/// Looks without anything new after which the thread stops gathering: a few microseconds, because a look costs about one.
const QUIET_LOOKS: u32 = 4;
/// What one job is beside its bytes: two lists, a channel, its place in the queue.
const JOB_BYTES: usize = 256;
/// What a record or row is beside its bytes.
const ITEM_BYTES: usize = 64;

/// An append or a step, ready to go into a batch.
pub(super) struct Job {
    /// The step's name; `append` for appends.
    pub(super) name: &'static str,
    pub(super) puts: Vec<Put>,
    pub(super) merges: Vec<Merge>,
    pub(super) records: Vec<(Slot, Append)>,
    pub(super) consumed: Vec<Consumed>,
    pub(super) answer: oneshot::Sender<Vec<Position>>,
    /// When it was made.
    pub(super) since: Instant,
    bytes: usize,
}

/// Why a job did not get into the queue.
#[derive(Clone, Debug)]
pub(super) enum NotQueued {
    /// The store is closing.
    Closed,
    /// The store has failed.
    Failed(String),
}

/// How a job is answered: with its positions, or by dropping the sender when the store failed.
pub(super) type Answer = oneshot::Receiver<Vec<Position>>;

impl Job {
    /// A job, and where its answer will come.
    pub(super) fn new(
        name: &'static str,
        puts: Vec<Put>,
        merges: Vec<Merge>,
        records: Vec<(Slot, Append)>,
        consumed: Vec<Consumed>,
    ) -> (Self, Answer) {
        let (sender, receiver) = oneshot::channel();
        let bytes = JOB_BYTES
            + records.iter().map(|(_, record)| ITEM_BYTES + record.key.len() + record.value.len()).sum::<usize>()
            + puts.iter().map(|put| ITEM_BYTES + put.key.len() + put.value.as_ref().map_or(0, |value| value.len())).sum::<usize>()
            + merges.len() * 1_024; // a merge is a row in parts: about a kilobyte of texts
        (Self { name, puts, merges, records, consumed, answer: sender, since: Instant::now(), bytes }, receiver)
    }
}

/// The queue.
pub(super) struct Queue {
    state: Mutex<State>,
    comes: Condvar,
    /// How many jobs wait, to be read without the lock.
    count: AtomicUsize,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: Option<Closing>,
}

/// Why the queue takes no more.
#[derive(Clone)]
enum Closing {
    /// What is queued will still be done.
    Finish,
    /// The store failed.
    Failed(String),
}

/// What the commit thread finds.
pub(super) enum Taken {
    /// Jobs, in order.
    Jobs(Vec<Job>),
    /// Nothing came for a while.
    Idle,
    /// Nothing is left and nothing will come.
    Closed,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max.clamp(1, u32::MAX as usize);
        Self {
            state: Mutex::default(),
            comes: Condvar::new(),
            count: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Puts a job in, once there is room.
    pub(super) async fn put(&self, job: Job) -> Result<(), NotQueued> {
        // A job larger than the whole queue takes all of it.
        let room = self.room.acquire_many(self.room_for(&job) as u32).await.map_err(|_| self.why())?;
        let mut state = self.lock();
        if state.closed.is_some() {
            drop(state);
            return Err(self.why());
        }
        room.forget(); // comes back in `done`
        state.jobs.push_back(job);
        let was_empty = state.jobs.len() == 1;
        self.count.store(state.jobs.len(), Relaxed);
        drop(state);
        if was_empty {
            self.comes.notify_one(); // with more in it, the thread was woken already or is at work
        }
        Ok(())
    }

    /// Takes everything that waits, up to about that many bytes; waits for something, but no longer than `patience`.
    pub(super) fn take(&self, bytes_max: usize, patience: Duration) -> Taken {
        let mut state = self.lock();
        if state.jobs.is_empty() && state.closed.is_none() {
            state = self.comes.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.jobs.is_empty() {
            return if state.closed.is_some() { Taken::Closed } else { Taken::Idle };
        }
        let fits = state.jobs.iter().scan(0, |bytes, job| {
            *bytes += job.bytes;
            Some(*bytes)
        });
        let count = fits.take_while(|bytes| *bytes <= bytes_max).count().max(1);
        let jobs = state.jobs.drain(..count).collect();
        self.count.store(state.jobs.len(), Relaxed);
        Taken::Jobs(jobs)
    }

    /// Gives way until so many wait, or until no more come. Those who were just answered are about to come back: without this the
    /// first of them get a sync of their own and the rest another (64 waiting: 36 appends a sync instead of 60, and 6.5 CPU-us an
    /// append instead of 4.8). It is no wait for the clock: with nobody on the way it is over in a few microseconds.
    pub(super) fn gather(&self, enough: usize) {
        let (mut before, mut quiet) = (self.count.load(Relaxed), 0);
        while before < enough && quiet < QUIET_LOOKS {
            std::thread::yield_now();
            let now = self.count.load(Relaxed);
            quiet = if now > before { 0 } else { quiet + 1 };
            before = now;
        }
    }

    /// Gives back the room of jobs that were answered.
    pub(super) fn done(&self, bytes: usize) {
        self.room.add_permits(bytes);
    }

    /// The room a job takes.
    pub(super) fn room_for(&self, job: &Job) -> usize {
        job.bytes.min(self.bytes_max)
    }

    /// Bytes that wait or are at work.
    pub(super) fn bytes(&self) -> usize {
        self.bytes_max.saturating_sub(self.room.available_permits())
    }

    /// Takes no more; what is in it will still be done.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed.get_or_insert(Closing::Finish);
        drop(state);
        self.room.close();
        self.comes.notify_all();
    }

    /// Takes no more, and gives out what will not be done.
    pub(super) fn fail(&self, why: &str) -> Vec<Job> {
        let mut state = self.lock();
        state.closed = Some(Closing::Failed(why.to_owned()));
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.room.close();
        jobs.into()
    }

    /// Whether it takes jobs.
    pub(super) fn is_open(&self) -> bool {
        self.lock().closed.is_none()
    }

    fn why(&self) -> NotQueued {
        match &self.lock().closed {
            Some(Closing::Failed(why)) => NotQueued::Failed(why.clone()),
            Some(Closing::Finish) | None => NotQueued::Closed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // whole after every line; the panic itself ends the process
    }
}
