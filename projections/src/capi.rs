//! The CAPI sink: reads dispatches, batches them per pixel, writes what it is about to do, does it, writes what came of it.
//!
//! The way of a dispatch:
//!
//! 1. `partition` reads it in order and gives it to its pixel's `lane`. What must not be sent (`schedule::standing`) ends at once;
//!    what cannot be sent in its turn goes to the table `waiting`, so that no pixel holds the offset.
//! 2. A lane has one request in flight, and up to four while whole batches wait. Each is preceded by a durable step `intent` with an attempt number of its own.
//! 3. `client` makes the POST and `classify` says what the answer means.
//! 4. `books` gathers what came of it (outcomes, rows to try again, consumed offsets) into one step `outcome`.
//!
//! After a crash `recover` finds the intents without an outcome: those attempts were ambiguous, and their dispatches wait again.
//!
//! We send at least once, under an id that never changes, and record one outcome.

mod access;
mod agenda;
mod books;
pub mod classify;
mod client;
pub mod config;
#[cfg(test)]
mod fixture;
pub mod isolate;
mod item;
mod lane;
pub mod metrics;
pub mod offsets;
mod pace;
mod partition;
mod recover;
pub mod schedule;
mod usage;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use arc_swap::ArcSwap;
use schemas::{
    directory::Directory,
    secret::Key,
    topic::{Group, Topic},
    world::World,
};
use storage::{CommitError, ReadError, Storage};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use books::Note;
pub use config::Config;
pub use metrics::Metrics;

use client::Client;
use pace::Tokens;

/// What the sink is handed.
pub struct Parts {
    /// Log and ledger.
    pub storage: Storage,
    /// Pixels and their sealed access tokens.
    pub directory: Arc<ArcSwap<Directory>>,
    /// The master key: opens access tokens.
    pub keys: Key,
    /// Time and randomness.
    pub world: Arc<dyn World>,
    /// The way to Meta. It must not follow redirects: the body carries a token. A connection must come about in less time than a request
    /// may take, or is given up: what ran out of time is taken to have been sent.
    pub http: reqwest::Client,
    /// Settings.
    pub config: Config,
    /// Metrics.
    pub metrics: Metrics,
}

/// Why the sink ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Log or ledger cannot be read.
    #[error("the sink cannot read: {0}")]
    Read(#[from] ReadError),
    /// A step is not known to be true.
    #[error("the sink cannot commit: {0}")]
    Commit(#[from] CommitError),
    /// A task panicked.
    #[error("a task of the sink ended: {0}")]
    Task(String),
}

/// The parts as the partitions share them.
struct Room {
    storage: Storage,
    directory: Arc<ArcSwap<Directory>>,
    keys: Key,
    world: Arc<dyn World>,
    client: Client,
    config: Config,
    metrics: Metrics,
    /// How quickly Meta lets each token send.
    tokens: Tokens,
    /// Bytes of dispatches in memory, over all pixels.
    pending: Arc<AtomicUsize>,
}

impl Room {
    fn of(parts: Parts) -> Self {
        let Parts { storage, directory, keys, world, http, config, metrics } = parts;
        let client = Client::new(http, &config);
        Self { storage, directory, keys, world, client, config, metrics, tokens: Tokens::default(), pending: Arc::default() }
    }
}

/// Tells every attempt that was left open as ambiguous, its dispatches as waiting, and sends nothing: so that no attempt is open where
/// nobody will deliver any more. For whoever is the only process.
pub async fn settle(parts: Parts) -> Result<(), Error> {
    let room = Room::of(parts);
    for partition in 0..room.storage.partitions(Topic::Dispatch) {
        recover::recover(&room, partition, None).await?;
    }
    Ok(())
}

/// How often the lag is measured.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// Delivers every dispatch partition until told to stop; what is in flight is then finished.
pub async fn run(parts: Parts, stop: CancellationToken) -> Result<(), Error> {
    let room = Arc::new(Room::of(parts));
    let mut claims = room.storage.claims(Group::Capi)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(watch_lag(room.clone(), stop.clone()));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            lease = claims.next() => {
                tasks.spawn(partition::run(room.clone(), lease?, stop.clone()));
            }
            Some(ended) = tasks.join_next() => ended.map_err(|error| Error::Task(error.to_string()))??,
        }
    }
    let patience = Duration::from_millis(room.config.drain_timeout_ms) + SETTLE;
    let drained = tokio::time::timeout(patience, async {
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| Error::Task(error.to_string()))??;
        }
        Ok(())
    });
    drained.await.unwrap_or_else(|_| {
        tracing::warn!("outcomes could not be written in time; whoever comes next tells them");
        Ok(())
    })
}

/// How long the last outcomes may take to be written, after the last answer of Meta was waited for.
const SETTLE: Duration = Duration::from_secs(2);

/// Tells how many dispatches of each partition have not been taken yet.
async fn watch_lag(room: Arc<Room>, stop: CancellationToken) -> Result<(), Error> {
    loop {
        for partition in 0..room.storage.partitions(Topic::Dispatch) {
            let (_, end) = room.storage.bounds(Topic::Dispatch, partition).await?;
            let next = room.storage.committed(Group::Capi, partition).await?.next_offset;
            room.metrics.lag.with_label_values(&[&partition.to_string()]).set(end.saturating_sub(next) as i64);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LAG_EVERY) => {}
        }
    }
}
