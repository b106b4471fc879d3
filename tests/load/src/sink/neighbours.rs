//! Whether a pixel notices its neighbours: a thousand quiet pixels alone, and beside one whose token is dead, one that Meta answers
//! slowly, and one that sends ten times what all the others do.
//!
//! The sink works in this process, because an embedded folder belongs to one and the dispatches must come while it works; Meta in a box is
//! a process of its own. A delivery's time runs from its dispatch to Meta's yes, as the ledger has it. The first thing in it is
//! `capi.linger_ms`, for which a dispatch waits for company.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use arc_swap::ArcSwap;
use projections::capi::{Config, Metrics, Parts};
use schemas::{
    delivery::{Delivery, Outcome},
    directory::Directory,
    id::PixelId,
    topic::{Group as Consumer, Topic},
    world::World,
};
use storage::{Append, Storage};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    bare,
    event::{self, Sale},
    folder,
};
use crate::{
    figure::{Figure, Goal, Group, median},
    judge, meta,
    program::{PATIENCE, Server},
    traffic::RealWorld,
    webhook::percentile,
};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(4);
const HEALTHY: usize = 1_000;
/// How often events are dispatched, and how many each time: of the healthy pixels together, and of each neighbour.
const TICK: Duration = Duration::from_millis(10);
const OF_HEALTHY: usize = 10;
const OF_DEAD: usize = 2;
const OF_SLOW: usize = 2;
const OF_FLOOD: usize = 100;
/// How long Meta takes to answer the slow one.
const SLOW_MS: u64 = 3_000;

/// The group.
pub const GROUP: Group = Group {
    figures: &[
        Figure::new("sink_neighbour_p95_ratio", "ratio", Goal::AtMost(1.5)),
        Figure::new("sink_neighbour_p95_ms_alone", "ms", Goal::Told),
        Figure::new("sink_neighbour_p95_ms_beside", "ms", Goal::Told),
    ],
    measure: || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure()),
};

async fn measure() -> anyhow::Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let street = Street::open(&folder.path().join("data")).await?;
    let (stop, sink) = street.sink()?;
    let mut numbers = 0..;
    street.round(false, &mut numbers).await?; // every pixel's token and connection is opened
    let (mut ratios, mut alone, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let without = percentile(&street.round(false, &mut numbers).await?, 95);
        let with = percentile(&street.round(true, &mut numbers).await?, 95);
        eprintln!("sink: healthy pixels' p95 {without:.1} ms alone, {with:.1} ms beside neighbours");
        ratios.push(with / without);
        alone.push(without);
        beside.push(with);
    }
    stop.cancel();
    sink.await??;
    street.storage.close().await;
    Ok(vec![median(ratios), median(alone), median(beside)])
}

/// Pixels on one store.
struct Street {
    storage: Storage,
    meta: Server,
    pixels: Vec<PixelId>,
}

impl Street {
    async fn open(data: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        let pixels = folder::pixels(HEALTHY as u64 + 3);
        let meta = folder::meta(&pixels).await?;
        let street = Self { storage: Storage::open_embedded(&judge::storage(data.to_owned())?)?, meta, pixels };
        let [dead, slow, _] = street.neighbours();
        let revoked = format!(r#"{{"access_token":"{}","token_state":"revoked"}}"#, meta::TOKEN);
        meta::put(&street.meta, &format!("pixels/{dead}"), &revoked).await?;
        meta::put(&street.meta, "latency", &format!(r#"[{{"pixel":"{slow}","law":"constant","ms":{SLOW_MS}}}]"#)).await?;
        Ok(street)
    }

    fn healthy(&self) -> &[PixelId] {
        &self.pixels[..HEALTHY]
    }

    /// The dead, the slow and the flooding one.
    fn neighbours(&self) -> [&PixelId; 3] {
        [&self.pixels[HEALTHY], &self.pixels[HEALTHY + 1], &self.pixels[HEALTHY + 2]]
    }

    /// The sink as we ship it, at work.
    fn sink(&self) -> anyhow::Result<(CancellationToken, JoinHandle<Result<(), projections::capi::Error>>)> {
        let mut directory = Directory::default();
        for change in folder::changes(&self.pixels) {
            directory.fold(change)?;
        }
        let parts = Parts {
            storage: self.storage.clone(),
            directory: Arc::new(ArcSwap::from_pointee(directory)),
            keys: folder::key(),
            world: Arc::new(RealWorld),
            http: bare::client()?,
            config: Config { base_url: format!("http://{}", self.meta.address), ..judge::shipped("capi")? },
            metrics: Metrics::new(),
        };
        let stop = CancellationToken::new();
        Ok((stop.clone(), tokio::spawn(projections::capi::run(parts, stop))))
    }

    /// Lets events come for a while, waits until all are delivered or wait, and answers how long each of a healthy pixel took, sorted.
    async fn round(&self, has_neighbours: bool, numbers: &mut (impl Iterator<Item = u64> + Send)) -> anyhow::Result<Vec<Duration>> {
        let from = self.ends(Topic::Deliveries).await?;
        let mut healthy = self.healthy().iter().cycle();
        let appender = self.storage.appender();
        let (began, mut tick, mut sent) = (Instant::now(), 0, 0);
        while began.elapsed() < ROUND {
            let [dead, slow, flood] = self.neighbours();
            let beside = [(dead, OF_DEAD), (slow, OF_SLOW), (flood, OF_FLOOD)].into_iter().take(if has_neighbours { 3 } else { 0 });
            let beside = beside.flat_map(|(pixel, times)| std::iter::repeat_n(pixel, times));
            // The healthy ones stand behind their neighbours in the log, where it is worst.
            let turn: Vec<Append> = beside.chain(healthy.by_ref().take(OF_HEALTHY)).zip(&mut *numbers).map(record).collect();
            sent += OF_HEALTHY;
            appender.append(turn).await?;
            tick += 1;
            tokio::time::sleep_until((began + TICK * tick).into()).await;
        }
        self.consumed().await?;
        let mut took = Vec::with_capacity(sent);
        for delivery in self.told(&from).await?.iter().filter(|delivery| self.healthy().binary_search(&delivery.pixel_id).is_ok()) {
            ensure!(delivery.outcome == Some(Outcome::Delivered), "a healthy pixel's delivery is {:?}", delivery.outcome);
            let settled_at = delivery.settled_at.unwrap_or_default();
            took.push(Duration::from_micros(settled_at.since(delivery.received_at).max(0) as u64));
        }
        ensure!(took.len() == sent, "{} of {sent} events of healthy pixels were delivered", took.len());
        took.sort_unstable();
        Ok(took)
    }

    /// Waits until every dispatch has its outcome or waits in the ledger.
    async fn consumed(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        for (partition, end) in self.ends(Topic::Dispatch).await?.into_iter().enumerate() {
            while self.storage.committed(Consumer::Capi, partition as u32).await?.next_offset < end {
                ensure!(began.elapsed() < PATIENCE, "dispatch partition {partition} is not consumed after {PATIENCE:?}");
                tokio::time::sleep(TICK).await;
            }
        }
        Ok(())
    }

    /// Deliveries told from those offsets on.
    async fn told(&self, from: &[u64]) -> anyhow::Result<Vec<Delivery>> {
        let mut told = Vec::new();
        for (partition, from) in from.iter().enumerate() {
            let mut reader = self.storage.reader(Topic::Deliveries, partition as u32, *from);
            loop {
                let records = reader.available(10_000, 16 << 20).await?;
                if records.is_empty() {
                    break;
                }
                for stored in records {
                    told.push(serde_json::from_slice(&stored.value)?);
                }
            }
        }
        Ok(told)
    }

    async fn ends(&self, topic: Topic) -> anyhow::Result<Vec<u64>> {
        let mut ends = Vec::new();
        for partition in 0..self.storage.partitions(topic) {
            ends.push(self.storage.bounds(topic, partition).await?.1);
        }
        Ok(ends)
    }
}

fn record((pixel, number): (&PixelId, u64)) -> Append {
    event::append(&Sale::new(number, RealWorld.now()).dispatch(pixel))
}
