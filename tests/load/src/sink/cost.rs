//! What a delivery costs from the dispatch log to its recorded outcome, and how many requests it takes: with one pixel, whose batches
//! are full, and with many, whose batches are not.

use schemas::{time::Time, world::World};

use super::{bare, event::Sale, folder, process::Sink};
use crate::{
    cpu,
    figure::{Figure, Goal, Group, medians},
    meta::{self, Taken},
    traffic::RealWorld,
};

const RUNS: usize = 3;
/// So many that what a process takes when it is new (its memory, above all) counts for little.
const EVENTS: u64 = 360_000;

/// The group.
pub const GROUP: Group = Group {
    figures: &[
        Figure::new("sink_dispatches_per_core_s", "per_s", Goal::AtLeast(60_000.0)),
        Figure::new("sink_dispatches_per_core_s_1", "per_s", Goal::Told),
        Figure::new("sink_dispatches_per_core_s_1000", "per_s", Goal::Told),
        Figure::new("sink_cpu_ratio", "ratio", Goal::AtMost(12.0)),
        Figure::new("sink_cpu_ratio_1", "ratio", Goal::Told),
        Figure::new("sink_cpu_ratio_1000", "ratio", Goal::Told),
        Figure::new("sink_requests_per_event", "requests", Goal::AtMost(1.0 / 200.0)),
        Figure::new("sink_requests_per_event_1", "requests", Goal::Told),
        Figure::new("sink_requests_per_event_100", "requests", Goal::Told),
    ],
    measure: || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure()),
};

async fn measure() -> anyhow::Result<Vec<f64>> {
    let mut rows = Vec::new();
    for _ in 0..RUNS {
        let at = RealWorld.now();
        let pixels = folder::pixels(1);
        let (bare, joined) = bare::us_per_event(&folder::meta(&pixels).await?, &pixels[0], at).await?;
        eprintln!("sink: the bare loop needs {bare:.2} us an event serialised on the way, {joined:.2} us of frozen bytes");
        let (one, hundred, thousand) = (deliver(1, at).await?, deliver(100, at).await?, deliver(1_000, at).await?);
        let costs = [one.us.max(thousand.us), one.us, thousand.us];
        let (per_core, ratios) = (costs.map(|us| 1e6 / us), costs.map(|us| us / bare));
        let requests = [one.requests.max(hundred.requests), one.requests, hundred.requests];
        rows.push([per_core, ratios, requests].concat());
    }
    Ok(medians(&rows))
}

/// What delivering came to, per event.
struct Delivered {
    us: f64,
    requests: f64,
}

/// Delivers the events of so many pixels, in turn, on a folder and a box of its own.
async fn deliver(pixels: u64, at: Time) -> anyhow::Result<Delivered> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let ids = folder::pixels(pixels);
    let meta = folder::meta(&ids).await?;
    let turns = (0..EVENTS).zip(ids.iter().cycle());
    folder::fill(&data, &ids, turns.map(|(number, pixel)| Sale::new(number, at).dispatch(pixel))).await?;
    let sink = Sink::start(&data, &meta).await?;
    let (used, took) = sink.ended(EVENTS).await?;
    sink.end()?;
    folder::check(&data, EVENTS, 0).await?;
    let Taken { requests, events } = meta::taken(&meta).await?;
    anyhow::ensure!(events == EVENTS, "the box took {events} events of {EVENTS}");
    let us = cpu::us_per(used, EVENTS);
    eprintln!("sink: {pixels} pixels: {us:.2} us an event, {:.0} a second, {requests} requests", EVENTS as f64 / took.as_secs_f64());
    Ok(Delivered { us, requests: requests as f64 / EVENTS as f64 })
}
