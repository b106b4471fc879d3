//! The spool: a folder of this machine that takes events while the log is away, and hands them on in order when it is back.
//!
//! While something stands in the spool, new events queue behind it; so each reaches the log after all that were acknowledged before it.
//! Everything that tells one event from another is fixed before the first attempt to append it (its ids, its time), so one whose append
//! was of unknown fate may be spooled too: if it stands in the log twice, the judge finds the second to be a repeat.
//!
//! The folder is an embedded store with one partition of `raw`; what the judge would have committed there is what was handed on. It holds
//! clear personal fields, so it is wiped as soon as it is empty.

mod drain;
mod metrics;

use std::{path::PathBuf, sync::Arc, time::Duration};

use schemas::{
    envelope::Position,
    topic::{Group, Topic},
};
use tokio::sync::{RwLock, watch};
use tokio_util::sync::CancellationToken;

use self::metrics::Metrics;
use crate::{Append, AppendError, Appender, Config, OpenError, ReadError, Storage, embedded::wipe};

/// What a spool needs to open.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// The folder. It must outlive the process; one process at a time.
    pub folder: PathBuf,
    /// An append that the log has not acknowledged after this goes to the spool.
    pub after: Duration,
    /// How long what is left may take to reach the log when the process is told to stop.
    pub drain_timeout: Duration,
    /// Under this many free bytes on the volume, events are refused as [`AppendError::Full`].
    pub free_bytes_min: u64,
    /// Bytes of events that may wait for the disk; beyond it appends wait.
    pub queue_bytes_max: usize,
}

/// Where an event is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durable {
    /// In the log, at these positions.
    Log(Vec<Position>),
    /// In the spool, on its way to the log.
    Spool,
}

/// Takes events durably: into the log, or into the spool while the log is away, if there is a spool. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    appender: Appender,
    spool: Option<Arc<Spool>>,
}

struct Spool {
    config: SpoolConfig,
    /// Held to read while an event is written, to write while the folder is wiped. `None`: it did not open again.
    store: RwLock<Option<Storage>>,
    /// Whether new events go to the spool.
    takes: watch::Sender<bool>,
    metrics: Metrics,
}

impl Intake {
    /// Without a spool: what the log does not take is refused.
    pub fn direct(appender: Appender) -> Self {
        Self { appender, spool: None }
    }

    /// With a spool. What an earlier process left in the folder is handed on first.
    pub async fn with_spool(appender: Appender, config: SpoolConfig) -> Result<Self, OpenError> {
        let store = open(&config).await?;
        let metrics = Metrics::new();
        let left = left(&store).await.map_err(|error| engine(&config, error.to_string()))?;
        if left > 0 {
            tracing::warn!(events = left, folder = %config.folder.display(), "the spool holds events of an earlier process");
        }
        metrics.events.set(left as i64);
        let spool = Spool { config, store: RwLock::new(Some(store)), takes: watch::Sender::new(left > 0), metrics };
        Ok(Self { appender, spool: Some(Arc::new(spool)) })
    }

    /// Appends all events in one batch; answers where they are once they would survive.
    pub async fn append(&self, events: Vec<Append>) -> Result<Durable, AppendError> {
        let Some(spool) = &self.spool else { return self.appender.append(events).await.map(Durable::Log) };
        let mut takes = spool.takes.subscribe();
        loop {
            let was_taking = *takes.borrow_and_update();
            if !was_taking {
                let appended = tokio::select! {
                    appended = self.appender.append(events.clone()) => Some(appended),
                    () = tokio::time::sleep(spool.config.after) => None,
                    _ = takes.wait_for(|takes| *takes) => None, // others found that the log is away
                };
                match appended {
                    Some(Ok(positions)) => return Ok(Durable::Log(positions)),
                    Some(Err(AppendError::Closed)) => return Err(AppendError::Closed),
                    Some(Err(AppendError::Lost(_) | AppendError::Busy(_) | AppendError::Full)) | None => {}
                }
            }
            let store = spool.store.read().await;
            if was_taking && !*spool.takes.borrow() {
                continue; // drained while we waited: the log is back
            }
            spool.write(store.as_ref(), events).await?;
            return Ok(Durable::Spool);
        }
    }

    /// The log alone, without the spool.
    pub fn appender(&self) -> &Appender {
        &self.appender
    }

    /// Whether events are taken although the log is away.
    pub fn has_spool(&self) -> bool {
        let takes = |store: Option<&Storage>| store.is_some_and(|store| store.appender().accepts());
        // Where it is locked it is being wiped, and open again in a moment.
        self.spool.as_ref().is_some_and(|spool| spool.store.try_read().map_or(true, |store| takes(store.as_ref())))
    }

    /// Whether events go to the spool now.
    pub fn is_spooling(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| *spool.takes.borrow())
    }

    /// Registers the spool's metrics.
    pub fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        self.spool.as_ref().map_or(Ok(()), |spool| spool.metrics.register(registry))
    }

    /// Hands on what stands in the spool, in order, until `stop` is cancelled and it is empty or its time is over. An error means that
    /// the folder can no longer be relied on.
    pub async fn drain(self, stop: CancellationToken) -> Result<(), ReadError> {
        match &self.spool {
            Some(spool) => drain::run(spool, &self.appender, stop).await,
            None => Ok(()),
        }
    }
}

impl Spool {
    /// Writes events into the open store, whose lock the caller holds.
    async fn write(&self, store: Option<&Storage>, events: Vec<Append>) -> Result<(), AppendError> {
        let Some(store) = store else {
            return Err(AppendError::Busy(format!("the spool {} is not open", self.config.folder.display())));
        };
        let count = events.len() as u64;
        // Before the first is written: whoever comes later queues behind it.
        if !self.takes.send_replace(true) {
            tracing::warn!(folder = %self.config.folder.display(), "the log is away: events go to the spool");
        }
        store.appender().append(events).await?;
        self.metrics.spooled.inc_by(count);
        self.metrics.events.add(count as i64);
        Ok(())
    }

    /// Hands on the rest, lets events go to the log again, and empties the folder. Says whether it did.
    async fn finish(&self, appender: &Appender) -> Result<bool, OpenError> {
        let broken = |error: &dyn std::fmt::Display| engine(&self.config, error.to_string());
        let mut store = self.store.write().await; // nobody is writing an event now
        if let Some(open) = store.as_ref() {
            if !drain::rest(self, open, appender).await.map_err(|error| broken(&error))? {
                return Ok(false);
            }
            if self.takes.send_replace(false) {
                tracing::info!("the spool is drained: events go to the log again");
            }
            open.close().await;
            *store = None;
        }
        let folder = self.config.folder.clone();
        let emptied = tokio::task::spawn_blocking(move || wipe(&folder)).await;
        emptied.map_err(|error| broken(&error))?.map_err(|error| broken(&error))?;
        *store = Some(open(&self.config).await?);
        self.metrics.events.set(0);
        Ok(true)
    }
}

/// Events that were not handed on yet.
async fn left(store: &Storage) -> Result<u64, ReadError> {
    let (_, end) = store.bounds(Topic::Raw, 0).await?;
    Ok(end.saturating_sub(store.committed(Group::Processor, 0).await?.next_offset))
}

/// Reading old journals blocks, so it has a thread of its own.
async fn open(config: &SpoolConfig) -> Result<Storage, OpenError> {
    let store = Config {
        data: config.folder.clone(),
        partitions: 1, // one order for all
        free_bytes_min: config.free_bytes_min,
        queue_bytes_max: config.queue_bytes_max,
        pause_at: None,
        fail_sync_after: None,
    };
    let opened = tokio::task::spawn_blocking(move || Storage::open_embedded(&store)).await;
    match opened {
        Ok(Err(OpenError::Locked(folder))) => Err(OpenError::SpoolLocked(folder)),
        Ok(Err(OpenError::Partitions { .. })) => Err(engine(config, "it is a data folder and no spool".to_owned())),
        Ok(opened) => opened,
        Err(error) => Err(engine(config, error.to_string())),
    }
}

fn engine(config: &SpoolConfig, cause: String) -> OpenError {
    OpenError::Engine { folder: config.folder.clone(), cause }
}
