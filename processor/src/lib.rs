//! The judge: raw in; facts, dispatches and verdicts out.
//!
//! Each raw partition has one judge that reads in order, looks up what lower positions wrote ([`decide`]), lists the effects
//! ([`conclude`]) and makes them true in one step with its offset ([`act`]). Answers travel with the step: the store
//! lets them go as soon as a crash can no longer change them.
//!
//! What it never does: HTTP, deliveries, or a decision that depends on anything but the log.

pub mod act;
pub mod action;
pub mod conclude;
pub mod config;
pub mod decide;
pub mod filter;
pub mod metrics;
mod partition;
pub mod reading;
pub mod surroundings;
mod warmth;

use std::{sync::Arc, time::Duration};

use schemas::{secret::Key, topic::Group, world::World};
use storage::{CommitError, ReadError, Storage};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use metrics::Metrics;

/// What the judge is handed.
#[derive(Clone)]
pub struct Parts {
    /// Log and ledger.
    pub storage: Storage,
    /// The master key, under which people's keys are sealed.
    pub keys: Key,
    /// Time and randomness.
    pub world: Arc<dyn World>,
    /// Settings.
    pub config: Config,
    /// Metrics.
    pub metrics: Metrics,
}

/// Why the judge ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Log or ledger cannot be read.
    #[error("the judge cannot read: {0}")]
    Read(#[from] ReadError),
    /// A step is not known to be true.
    #[error("the judge cannot commit: {0}")]
    Commit(#[from] CommitError),
    /// A snapshot is ahead of the log.
    #[error(
        "raw partition {partition} ends at {end}, before its filter snapshot at {snapshot}: the log went back; restore the data as a whole, or start a new generation"
    )]
    WentBack {
        /// The partition.
        partition: u32,
        /// Its end.
        end: u64,
        /// Where the snapshot stands.
        snapshot: u64,
    },
    /// A task panicked.
    #[error("a judge's task ended: {0}")]
    Task(String),
}

/// Judges the raw partitions that are given to this process until told to stop; what was read is then finished.
pub async fn run(parts: Parts, stop: CancellationToken) -> Result<(), Error> {
    let mut claims = parts.storage.claims(Group::Processor)?;
    let mut judges = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            lease = claims.next() => {
                judges.spawn(partition::run(parts.clone(), lease?, stop.clone()));
            }
            Some(ended) = judges.join_next() => ended.map_err(|error| Error::Task(error.to_string()))??,
        }
    }
    let drained = tokio::time::timeout(Duration::from_millis(parts.config.drain_timeout_ms), async {
        while let Some(ended) = judges.join_next().await {
            ended.map_err(|error| Error::Task(error.to_string()))??;
        }
        Ok(())
    });
    drained.await.unwrap_or_else(|_| {
        tracing::warn!("steps could not be made true in time; whoever comes next makes them again");
        Ok(())
    })
}
