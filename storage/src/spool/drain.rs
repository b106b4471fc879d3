//! Events on their way from the spool to the log.

use std::time::Duration;

use schemas::topic::{Group, Topic};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Spool, left};
use crate::{
    Append, Appender, ReadError, Reader, Storage, Stored,
    step::{Consumed, Step},
};

/// Events handed on at once: an attempt of which some are lost repeats that many at most.
const EVENTS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1024 * 1024;
/// So few events that they are handed on within a moment, during which new ones wait.
const LITTLE: usize = 500;
/// How long new events may wait for that.
const BRIEFLY: Duration = Duration::from_secs(1);
/// Between two attempts while the log is away. An attempt itself waits for the brokers.
const AGAIN: Duration = Duration::from_millis(250);

/// Hands on until told to stop; then what is left, as long as there is time.
pub(super) async fn run(spool: &Spool, appender: &Appender, stop: CancellationToken) -> Result<(), ReadError> {
    let mut takes = spool.takes.subscribe();
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = takes.wait_for(|takes| *takes) => {} // the sender lives as long as the spool
        }
        tokio::select! {
            () = stop.cancelled() => break,
            emptied = empty(spool, appender) => emptied?,
        }
    }
    let until = Instant::now() + spool.config.drain_timeout;
    if *spool.takes.borrow() && timeout_at(until, empty(spool, appender)).await.is_err() {
        let store = spool.store.read().await;
        let events = match store.as_ref() {
            Some(store) => left(store).await?,
            None => 0,
        };
        tracing::warn!(
            events,
            folder = %spool.config.folder.display(),
            "events remain in the spool; the next process with the same spool.dir hands them on"
        );
    }
    let store = spool.store.write().await.take();
    if let Some(store) = store {
        store.close().await;
    }
    Ok(())
}

/// Hands on everything, and wipes the folder.
async fn empty(spool: &Spool, appender: &Appender) -> Result<(), ReadError> {
    loop {
        let store = spool.store.read().await.clone();
        if let Some(store) = store {
            most(spool, &store, appender).await?;
        }
        match spool.finish(appender).await {
            Ok(true) => return Ok(()),
            Ok(false) => {} // the log went away again
            Err(error) => {
                tracing::error!(%error, "the spool cannot be emptied; events may be refused while the log is away");
                sleep(AGAIN).await;
            }
        }
    }
}

/// Hands on what is there, in order, until little is left: under load that never rests there is always something.
async fn most(spool: &Spool, store: &Storage, appender: &Appender) -> Result<(), ReadError> {
    let mut reader = reader(store).await?;
    loop {
        let events = reader.available(EVENTS_AT_ONCE, BYTES_AT_ONCE).await?;
        while let Err(error) = appender.append(events.iter().map(again).collect()).await {
            tracing::debug!(%error, "the log does not take the spool's events yet");
            sleep(AGAIN).await;
        }
        handed_on(spool, store, events.len(), reader.position()).await?;
        if events.len() < LITTLE {
            return Ok(());
        }
    }
}

/// Hands on the rest while nobody adds to it. Says whether the log took it in time.
pub(super) async fn rest(spool: &Spool, store: &Storage, appender: &Appender) -> Result<bool, ReadError> {
    let mut reader = reader(store).await?;
    loop {
        let events = reader.available(EVENTS_AT_ONCE, BYTES_AT_ONCE).await?;
        if events.is_empty() {
            return Ok(true);
        }
        match timeout(BRIEFLY, appender.append(events.iter().map(again).collect())).await {
            Ok(Ok(_)) => handed_on(spool, store, events.len(), reader.position()).await?,
            Ok(Err(_)) | Err(_) => return Ok(false),
        }
    }
}

async fn reader(store: &Storage) -> Result<Reader, ReadError> {
    let from = store.committed(Group::Processor, 0).await?.next_offset;
    Ok(store.reader(Topic::Raw, 0, from))
}

async fn handed_on(spool: &Spool, store: &Storage, events: usize, next_offset: u64) -> Result<(), ReadError> {
    let mut step = Step::named("drain");
    step.consumed.push(Consumed { group: Group::Processor, partition: 0, next_offset, metadata: None, lease: None });
    store.commit(step).await.map_err(|error| ReadError::Failed(error.to_string()))?;
    spool.metrics.drained.inc_by(events as u64);
    spool.metrics.events.sub(events as i64);
    Ok(())
}

fn again(event: &Stored) -> Append {
    Append { topic: Topic::Raw, key: event.key.clone(), value: event.value.clone(), time: event.time }
}
