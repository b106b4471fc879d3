//! The way of verdicts to the doors of this process that asked. Who brings them is the engine's affair: embedded the judge itself, in a
//! cluster whoever reads this process's partition of `verdicts`.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use schemas::verdict::{Answer, Verdict};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Doors wait here by raw id; the judge answers here. Cheap to clone. Bounded by the doors' connections: each waits for one answer at
/// a time and takes its place away when it stops waiting.
#[derive(Clone, Default)]
pub struct Answers {
    partition: u32,
    waiting: Arc<Mutex<HashMap<Uuid, oneshot::Sender<Verdict>>>>,
    /// Raw partitions on whose judge somebody waited in vain, and from which nothing came since. Bounded by the topic's partitions.
    silent: Arc<Mutex<HashSet<u32>>>,
}

/// A door's place in the queue; dropping it gives the place up.
pub struct Waiter {
    answers: Answers,
    raw_id: Uuid,
    receiver: oneshot::Receiver<Verdict>,
}

impl Answers {
    /// Heard on that partition.
    pub(crate) fn at(partition: u32) -> Self {
        Self { partition, ..Self::default() }
    }

    /// The partition of verdicts that this process reads, stamped into raw as `reply_to`.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Takes a place. Call it before the raw event is appended, so that no answer is missed.
    pub fn expect(&self, raw_id: Uuid) -> Waiter {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(raw_id, sender);
        Waiter { answers: self.clone(), raw_id, receiver }
    }

    /// Gives answers out; one that nobody waits for is dropped.
    pub(crate) fn give(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut waiting = self.lock();
        for answer in answers {
            self.hears(answer.raw_partition);
            if let Some(sender) = waiting.remove(&answer.raw_id) {
                let _ = sender.send(answer.verdict); // the door may have stopped waiting this instant
            }
        }
    }

    /// Whether the judge of a raw partition is known to be silent. It is heard again by itself: what it says of records that nobody waits
    /// for any more comes too.
    pub fn is_silent(&self, raw_partition: u32) -> bool {
        lock(&self.silent).contains(&raw_partition)
    }

    /// Somebody waited in vain for the judge of that partition.
    pub fn waited_in_vain(&self, raw_partition: u32) {
        if lock(&self.silent).insert(raw_partition) {
            tracing::warn!(raw_partition, "no verdict comes from this partition; webhooks are answered 202 until one does");
        }
    }

    fn hears(&self, raw_partition: u32) {
        if lock(&self.silent).remove(&raw_partition) {
            tracing::info!(raw_partition, "verdicts come again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, oneshot::Sender<Verdict>>> {
        lock(&self.waiting)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner) // an insert leaves no half-made state behind
}

impl Waiter {
    /// The verdict, if it is here already.
    pub fn verdict_now(&mut self) -> Option<Verdict> {
        self.receiver.try_recv().ok()
    }

    /// The verdict. `None` if it can no longer come.
    pub async fn verdict(&mut self) -> Option<Verdict> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.answers.lock().remove(&self.raw_id);
    }
}
