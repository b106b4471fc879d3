//! Which partitions of a group's topic this process works on, and until when.
//!
//! Embedded, one process works on all of them for ever. In a cluster the brokers spread them over the group's processes and take them
//! back when one comes or goes: a [`Lease`] is then asked back. Whoever holds it finishes its step and drops it; whoever takes too
//! long loses it, and its commits answer [`crate::CommitError::Fenced`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use crate::log::ReadError;

/// The partitions given to this process, one lease after another.
pub struct Claims {
    leases: mpsc::UnboundedReceiver<Result<Lease, ReadError>>, // bounded by the topic's partitions: each has one lease at a time
    /// Ends the membership when it is dropped.
    _membership: Option<Box<dyn Send>>,
}

impl Claims {
    /// The next lease; waits until there is one. Never answers again once the store is closed.
    pub async fn next(&mut self) -> Result<Lease, ReadError> {
        match self.leases.recv().await {
            Some(lease) => lease,
            None => std::future::pending().await,
        }
    }

    /// All partitions, for ever.
    pub(crate) fn all(partitions: u32) -> Self {
        let (register, leases) = Register::new();
        register.grant(0..partitions);
        Self { leases, _membership: Some(Box::new(register)) }
    }

    pub(crate) fn of(leases: mpsc::UnboundedReceiver<Result<Lease, ReadError>>, membership: Box<dyn Send>) -> Self {
        Self { leases, _membership: Some(membership) }
    }
}

/// Which lease of this process: a partition that is lost and comes back is another lease, and what was begun under the former one is
/// not made under the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseId(u64);

/// The right to work on one partition. Dropping it gives it back.
pub struct Lease {
    partition: u32,
    id: LeaseId,
    standing: watch::Receiver<Standing>,
    register: Arc<Register>,
}

impl Lease {
    /// The partition.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Its own number, which goes with what is consumed under it.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// Resolves when the lease should be given back: finish the step at hand, then drop it.
    pub async fn asked_back(&self) {
        if self.standing.clone().wait_for(|standing| *standing != Standing::Held).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when the partition is another's: whatever is at hand comes to nothing.
    pub async fn lost(&self) {
        if self.standing.clone().wait_for(|standing| *standing == Standing::Lost).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.register.released(self.partition);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Held,
    AskedBack,
    Lost,
}

/// What is known of a group's leases in this process.
pub(crate) struct Register {
    entries: Mutex<HashMap<u32, Entry>>,
    changed: Condvar,
    leases: mpsc::UnboundedSender<Result<Lease, ReadError>>,
    /// Leases so far.
    count: AtomicU64,
}

struct Entry {
    id: LeaseId,
    standing: watch::Sender<Standing>,
    /// Granted anew while the former holder has not let go: the next lease is made when it does, so that a partition never has two.
    again: bool,
}

impl Register {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Result<Lease, ReadError>>) {
        let (leases, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { entries: Mutex::default(), changed: Condvar::new(), leases, count: AtomicU64::new(0) }), receiver)
    }

    /// These partitions are ours.
    pub(crate) fn grant(self: &Arc<Self>, partitions: impl IntoIterator<Item = u32>) {
        let mut entries = self.lock();
        for partition in partitions {
            match entries.get_mut(&partition) {
                Some(entry) => entry.again = true,
                None => self.lease(&mut entries, partition),
            }
        }
    }

    /// Tells whoever waits for leases that there will be none.
    pub(crate) fn fail(&self, why: ReadError) {
        let _ = self.leases.send(Err(why)); // nobody waits any more: then nobody needs to know
    }

    /// These partitions are asked for: waits until their holders let go, at most so long. Those who did not have lost them.
    pub(crate) fn ask_back(&self, partitions: &[u32], patience: Duration) {
        let until = Instant::now() + patience;
        let mut entries = self.lock();
        for partition in partitions {
            if let Some(entry) = entries.get_mut(partition) {
                entry.again = false;
                entry.standing.send_replace(Standing::AskedBack);
            }
        }
        while partitions.iter().any(|partition| entries.contains_key(partition)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            entries = self.changed.wait_timeout(entries, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Self::lose_in(&mut entries, partitions);
    }

    /// These partitions are another's already.
    pub(crate) fn lose(&self, partitions: &[u32]) {
        Self::lose_in(&mut self.lock(), partitions);
    }

    /// Whether a step that consumed from this partition may still be made true. Under no lease means: by whoever may work on it.
    pub(crate) fn holds(&self, partition: u32, under: Option<LeaseId>) -> bool {
        let is_held = |entry: &Entry| *entry.standing.borrow() != Standing::Lost && under.is_none_or(|id| id == entry.id);
        self.lock().get(&partition).is_some_and(is_held)
    }

    /// The partitions that are ours.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        let entries = self.lock();
        entries.iter().filter(|(_, entry)| *entry.standing.borrow() != Standing::Lost).map(|(partition, _)| *partition).collect()
    }

    fn lose_in(entries: &mut HashMap<u32, Entry>, partitions: &[u32]) {
        for partition in partitions {
            if let Some(entry) = entries.get_mut(partition) {
                entry.again = false;
                entry.standing.send_replace(Standing::Lost);
            }
        }
    }

    fn lease(self: &Arc<Self>, entries: &mut HashMap<u32, Entry>, partition: u32) {
        let standing = watch::Sender::new(Standing::Held);
        let id = LeaseId(self.count.fetch_add(1, Ordering::Relaxed));
        let lease = Lease { partition, id, standing: standing.subscribe(), register: self.clone() };
        entries.insert(partition, Entry { id, standing, again: false });
        if let Err(unsent) = self.leases.send(Ok(lease)) {
            // Nobody asks for leases any more. The lease is forgotten here, not dropped: its drop would wait for our own lock.
            entries.remove(&partition);
            std::mem::forget(unsent);
        }
    }

    fn released(self: &Arc<Self>, partition: u32) {
        let mut entries = self.lock();
        if entries.remove(&partition).is_some_and(|entry| entry.again) {
            self.lease(&mut entries, partition);
        }
        drop(entries);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner) // an insert leaves no half-made state behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_process_holds_every_partition_for_ever() {
        let mut claims = Claims::all(3);
        for partition in 0..3 {
            assert_eq!(claims.next().await.expect("it is granted").partition(), partition);
        }
    }

    #[tokio::test]
    async fn a_partition_that_is_asked_back_is_given_back_by_its_holder() {
        let (register, mut leases) = Register::new();
        register.grant([1]);
        let lease = leases.recv().await.expect("open").expect("granted");
        let asking = register.clone();
        let asked = tokio::task::spawn_blocking(move || asking.ask_back(&[1], Duration::from_secs(60)));
        lease.asked_back().await;
        assert!(register.holds(1, Some(lease.id())), "the step at hand may still be made");
        drop(lease);
        asked.await.expect("no panic");
        assert!(!register.holds(1, None));
    }

    #[tokio::test]
    async fn a_partition_that_comes_back_is_leased_when_its_former_holder_has_let_go() {
        let (register, mut leases) = Register::new();
        register.grant([1]);
        let slow = leases.recv().await.expect("open").expect("granted");
        register.ask_back(&[1], Duration::ZERO);
        slow.lost().await;
        register.grant([1]);
        assert!(!register.holds(1, None), "what the slow one has at hand comes to nothing");
        assert!(leases.try_recv().is_err());
        let former = slow.id();
        drop(slow);
        let again = leases.recv().await.expect("open").expect("granted");
        assert_eq!((again.partition(), register.holds(1, Some(again.id()))), (1, true));
        assert!(!register.holds(1, Some(former)), "what was begun before is made again by whoever reads it again, here or elsewhere");
    }
}
