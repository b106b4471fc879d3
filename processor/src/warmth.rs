//! How a filter becomes warm: from a valid snapshot and a replay of raw, or from a scan of `seen` while judging goes on.

use std::sync::{Arc, mpsc};

use schemas::{key, row::Seen, time::Time, topic::Topic};
use storage::Facts;
use tokio::sync::Notify;

use crate::{
    Error, Parts,
    filter::{self, Filter, KeyDigest},
    reading,
};

/// Keys handed over at once by a scan: enough to make the hop cheap, few enough to bound memory.
const CHUNK_KEYS: usize = 4_096;

/// A scan in progress; or nothing to wait for.
pub struct Warming(Option<Scan>);

/// Pieces of a scan. The scanning thread may block, so the channel is a plain bounded one, and a bell wakes the judge.
struct Scan {
    chunks: mpsc::Receiver<Chunk>,
    bell: Arc<Notify>,
}

enum Chunk {
    Keys(Vec<(bool, KeyDigest, Time)>),
    /// The scan has told every key.
    Complete,
}

impl Warming {
    /// Waits for the next piece of the scan and adds it. Never ends when nothing is left to wait for. Cancel-safe.
    pub async fn advance(&mut self, filter: &mut Filter) {
        let Some(scan) = &mut self.0 else { return std::future::pending().await };
        loop {
            match scan.chunks.try_recv() {
                Ok(Chunk::Keys(keys)) => return keys.iter().for_each(|(is_order, digest, at)| filter.add(*is_order, digest, *at)),
                Ok(Chunk::Complete) => {
                    // Keys judged since the scan began were added by the judge itself.
                    filter.set_warm();
                    self.0 = None;
                    return;
                }
                Err(mpsc::TryRecvError::Empty) => scan.bell.notified().await,
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.0 = None; // the scan failed and said so; the filter stays cold
                    return;
                }
            }
        }
    }
}

/// The filter of a partition that is judged from offset `from` on, and what is still to be waited for.
pub async fn start(parts: &Parts, facts: &Facts, partition: u32, from: u64) -> Result<(Filter, Warming), Error> {
    let cold = || Filter::cold(parts.config.filter_first_keys, parts.config.filter_bytes_max);
    if parts.config.filter_always_cold {
        return Ok((cold(), Warming(None)));
    }
    if let Some(mut filter) = from_snapshot(parts, facts, partition, from).await? {
        filter.set_warm();
        return Ok((filter, Warming(None)));
    }
    Ok((cold(), Warming(Some(scan(facts.clone(), partition)))))
}

/// A snapshot that reaches into retained raw, with the records after it replayed.
async fn from_snapshot(parts: &Parts, facts: &Facts, partition: u32, from: u64) -> Result<Option<Filter>, Error> {
    let (first, end) = parts.storage.bounds(Topic::Raw, partition).await?;
    let generation = parts.storage.generation(Topic::Raw);
    for snapshot in facts.filter_snapshots(partition).await? {
        if snapshot.generation == generation && snapshot.next_offset > end {
            return Err(Error::WentBack { partition, end, snapshot: snapshot.next_offset });
        }
        if snapshot.generation != generation || snapshot.next_offset < first || snapshot.next_offset > from {
            continue;
        }
        let Some(mut filter) = Filter::decode(&snapshot.bytes, parts.config.filter_first_keys, parts.config.filter_bytes_max) else {
            tracing::warn!(partition, next_offset = snapshot.next_offset, "a filter snapshot is damaged and was passed over");
            continue;
        };
        let mut reader = parts.storage.reader(Topic::Raw, partition, snapshot.next_offset);
        while reader.position() < from {
            let batch = reader.available(parts.config.batch_records_max, parts.config.batch_bytes_max).await?;
            if batch.is_empty() {
                break;
            }
            for stored in batch.iter().filter(|stored| stored.position.offset < from) {
                if let Ok(reading) = reading::read(stored) {
                    filter.add(reading.telling.key.is_order(), &reading.digest, reading.telling.received_at);
                }
            }
        }
        return Ok(Some(filter));
    }
    Ok(None)
}

/// Reads all of `seen` beside the judge and hands its keys over. A judge that stops hangs up, and the scan's sends come to nothing.
fn scan(facts: Facts, partition: u32) -> Scan {
    let (sender, chunks) = mpsc::sync_channel(4);
    let bell = Arc::new(Notify::new());
    let ring = bell.clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let send = |chunk| {
            let heard = sender.send(chunk).is_ok();
            ring.notify_one();
            heard
        };
        let mut keys = Vec::with_capacity(CHUNK_KEYS);
        let scanned = runtime.block_on(facts.scan_seen(partition, &mut |text, seen| {
            keys.push((key::is_order(text), filter::digest(text), newest(seen)));
            if keys.len() == CHUNK_KEYS {
                send(Chunk::Keys(std::mem::replace(&mut keys, Vec::with_capacity(CHUNK_KEYS))));
            }
        }));
        match scanned {
            Ok(()) if send(Chunk::Keys(keys)) => {
                send(Chunk::Complete);
            }
            Ok(()) => {}
            Err(error) => tracing::warn!(partition, %error, "the scan for a filter failed; it stays cold"),
        }
        ring.notify_one(); // wakes the judge for the hang-up
    });
    Scan { chunks, bell }
}

fn newest(seen: &Seen) -> Time {
    [&seen.browser, &seen.server].into_iter().flatten().map(|leg| leg.received_at).max().unwrap_or_default()
}
