//! The judge alone: raw records that stand in the log are judged, and the CPU time of this process is counted meanwhile.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use schemas::{
    envelope::VERSION,
    id::{FunnelId, PixelId, VisitorId, WorkspaceId},
    key,
    money::Currency,
    order::OrderId,
    raw::{Raw, RawKind},
    secret::{KEY_BYTES, Key},
    topic::{Group as Consumer, Topic},
    world::World,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use storage::{Append, Storage};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    cpu,
    figure::{Figure, Goal, Group, medians},
    puts,
    traffic::{self, RealWorld},
};

const RUNS: usize = 3;
const RECORDS: u64 = 120_000;
/// Records appended at once while the log is filled.
const APPEND_RECORDS: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Tracked events. Each is of a visitor who was never seen before: the dearest there are, because a row is written for each of them.
pub const TRACKED: Group = Group {
    figures: &[
        Figure::new("processor_cost_ratio", "ratio", Goal::AtMost(2.0)),
        Figure::new("processor_tracked_per_core_s", "per_s", Goal::AtLeast(40_000.0)),
    ],
    measure: || {
        measure(|runtime, folder| {
            let (judged, bare) = tracked(runtime, folder)?;
            eprintln!("judge: {judged:.1} us a tracked event, bare puts {bare:.1}");
            Ok(vec![judged / bare, 1e6 / judged])
        })
    },
};

/// Orders by webhook. Each is of a buyer who was never seen before, then all of them come again.
pub const ORDERS: Group = Group {
    figures: &[
        Figure::new("processor_purchases_per_core_s", "per_s", Goal::AtLeast(20_000.0)),
        Figure::new("processor_repeats_per_core_s", "per_s", Goal::AtLeast(50_000.0)),
    ],
    measure: || {
        measure(|runtime, folder| {
            let (purchase, repeat) = orders(runtime, folder)?;
            eprintln!("judge: {purchase:.1} us a purchase, {repeat:.1} us a repeat");
            Ok(vec![1e6 / purchase, 1e6 / repeat])
        })
    },
};

fn measure(run: impl Fn(&Runtime, &Path) -> anyhow::Result<Vec<f64>>) -> anyhow::Result<Vec<f64>> {
    let runtime = Runtime::new()?;
    let rows: Vec<_> = (0..RUNS).map(|_| run(&runtime, tempfile::tempdir()?.path())).collect::<anyhow::Result<_>>()?;
    Ok(medians(&rows))
}

/// CPU microseconds per new tracked event, judged and as bare puts.
fn tracked(runtime: &Runtime, folder: &Path) -> anyhow::Result<(f64, f64)> {
    let data = folder.join("tracked");
    let storage = Storage::open_embedded(&self::storage(data.clone())?)?;
    runtime.block_on(append(&storage, track))?;
    let judged = runtime.block_on(judge(&storage))?;
    let records = runtime.block_on(puts::records(&storage))?;
    runtime.block_on(storage.close());
    drop(storage);
    let bare = puts::cost(&data.join("store"), records, judged.syncs, &folder.join("bare"))?;
    Ok((judged.us, cpu::us_per(bare, RECORDS)))
}

/// CPU microseconds per new order and per webhook that repeats one.
fn orders(runtime: &Runtime, folder: &Path) -> anyhow::Result<(f64, f64)> {
    let storage = Storage::open_embedded(&self::storage(folder.join("orders"))?)?;
    let mut told = Vec::new();
    for _ in 0..2 {
        runtime.block_on(append(&storage, order))?;
        told.push(runtime.block_on(judge(&storage))?.us);
    }
    runtime.block_on(storage.close());
    Ok((told[0], told[1]))
}

/// A section of the settings as we ship them.
pub fn shipped<T: DeserializeOwned>(section: &str) -> anyhow::Result<T> {
    let settings: toml::Table = include_str!("../../../deploy/defaults.toml").parse()?;
    Ok(settings.get(section).cloned().context("there is no such section")?.try_into()?)
}

/// The store as we ship it, in another folder.
pub fn storage(data: PathBuf) -> anyhow::Result<storage::Config> {
    #[derive(Deserialize)]
    struct Section {
        partitions: u32,
        queue_bytes_max: usize,
    }
    let Section { partitions, queue_bytes_max } = shipped("storage")?;
    Ok(storage::Config { data, partitions, free_bytes_min: 0, queue_bytes_max, pause_at: None, fail_sync_after: None })
}

/// What judging came to.
struct Judged {
    us: f64,
    syncs: u64,
}

/// Judges whatever stands in the log.
async fn judge(storage: &Storage) -> anyhow::Result<Judged> {
    let parts = processor::Parts {
        storage: storage.clone(),
        keys: Key::new([7; KEY_BYTES]),
        world: Arc::new(RealWorld),
        config: shipped("processor")?,
        metrics: processor::Metrics::new(),
    };
    // What the filling left to do in the background is done first.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stop = CancellationToken::new();
    let syncs = || storage.metrics().sync_seconds.get_sample_count();
    let (cpu_before, syncs_before) = (cpu::used("self")?, syncs());
    let judge = tokio::spawn(processor::run(parts, stop.clone()));
    all_judged(storage).await?;
    let (cpu_after, syncs_after) = (cpu::used("self")?, syncs());
    stop.cancel();
    judge.await??;
    Ok(Judged { us: cpu::us_per(cpu_after.saturating_sub(cpu_before), RECORDS), syncs: syncs_after - syncs_before })
}

async fn all_judged(storage: &Storage) -> anyhow::Result<()> {
    let began = Instant::now();
    for partition in 0..storage.partitions(Topic::Raw) {
        let (_, end) = storage.bounds(Topic::Raw, partition).await?;
        while storage.committed(Consumer::Processor, partition).await?.next_offset < end {
            if began.elapsed() > PATIENCE {
                bail!("raw partition {partition} was not judged within {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// Fills raw with one record per number.
async fn append(storage: &Storage, record: fn(u64) -> Append) -> anyhow::Result<()> {
    let appender = storage.appender();
    for first in (0..RECORDS).step_by(APPEND_RECORDS as usize) {
        appender.append((first..first + APPEND_RECORDS).map(record).collect()).await?;
    }
    Ok(())
}

fn raw<'a>(kind: RawKind, pixels: &[&str], event_id: &'a str, body: &'a RawValue) -> Raw<'a> {
    let world = RealWorld;
    Raw {
        id: world.new_id(),
        kind,
        version: VERSION,
        funnel_id: funnel(),
        workspace_id: WorkspaceId::parse("ws_load").expect("an id"),
        received_at: world.now(),
        event_id: Cow::Borrowed(event_id),
        visitor_id: None,
        pixels: pixels.iter().map(|id| PixelId::parse(id).expect("digits")).collect(),
        currency: Currency::parse("USD").expect("a currency"),
        server_leg_wait_s: 0,
        client_ip: None,
        user_agent: None,
        reply_to: None,
        idempotent: false,
        sent_at: None,
        page: None,
        ids: None,
        consent: None,
        person: None,
        attribution: None,
        body,
    }
}

fn funnel() -> FunnelId {
    FunnelId::parse("fn_load").expect("an id")
}

/// A browser's event of one pixel, by a visitor of its own.
fn track(number: u64) -> Append {
    track_of(number, number)
}

/// A browser's event of one pixel, by that visitor.
pub fn track_of(number: u64, who: u64) -> Append {
    let body = parsed(traffic::numbered_of(&traffic::event(), number, who));
    let (page, ids) = (parsed(traffic::PAGE.to_owned()), parsed(traffic::IDS.to_owned()));
    let visitor = traffic::visitor(&traffic::digits(who));
    let event_id = format!("0193a2f0-9f00-7000-8000-{}", traffic::digits(number));
    let raw = Raw {
        visitor_id: VisitorId::parse(&visitor).ok(),
        client_ip: Some(Cow::Borrowed("203.0.113.7")),
        user_agent: Some(Cow::Borrowed(traffic::USER_AGENT)),
        sent_at: Some(1_795_631_559_100),
        page: Some(&page),
        ids: Some(&ids),
        ..raw(RawKind::Track, &["1234567890123456"], &event_id, &body)
    };
    stored(&raw, format!("{}|visitor|{visitor}", raw.funnel_id))
}

/// A webhook of an order, of two pixels, for which a door waits.
fn order(number: u64) -> Append {
    let body = parsed(traffic::numbered(&traffic::order(), number));
    let order = OrderId::parse(&format!("ORD-{}", traffic::digits(number))).ok().flatten().expect("an order id");
    let event_id = key::order_event_id(&funnel(), &order);
    let raw = Raw { reply_to: Some(0), ..raw(RawKind::Webhook, &["1234567890123456", "6543210987654321"], &event_id, &body) };
    stored(&raw, key::DedupKey::Purchase(funnel(), order).partition_key())
}

fn parsed(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("traffic is JSON")
}

fn stored(raw: &Raw<'_>, key: String) -> Append {
    let value = serde_json::to_vec(raw).expect("a raw event is JSON");
    Append { topic: Topic::Raw, key: key.into(), value: value.into(), time: raw.received_at }
}
