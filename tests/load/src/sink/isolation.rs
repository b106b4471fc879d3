//! How many requests it takes to find bad events among a thousand, when Meta says that one is there and not which.

use rand::seq::index;
use schemas::{time::Time, world::World};

use super::{
    event::{Sale, odd, poisoned},
    folder,
    process::Sink,
};
use crate::{
    figure::{Figure, Goal, Group, medians},
    meta::{self, Taken},
    traffic::RealWorld,
};

const RUNS: usize = 3;
const EVENTS: usize = 1_000;
const BAD: [usize; 3] = [1, 10, 100];

/// The group. The bound that is told beside each is 2·k·log2(n/k), and three requests for the whole.
pub const GROUP: Group = Group {
    figures: &[
        Figure::new("sink_isolation_requests", "requests", Goal::Told),
        Figure::new("sink_isolation_requests_1", "requests", Goal::AtMost(23.0)),
        Figure::new("sink_isolation_requests_10", "requests", Goal::AtMost(136.0)),
        Figure::new("sink_isolation_requests_100", "requests", Goal::AtMost(668.0)),
    ],
    measure: || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure()),
};

async fn measure() -> anyhow::Result<Vec<f64>> {
    let mut rows = Vec::new();
    for _ in 0..RUNS {
        let mut row = Vec::new();
        for bad in BAD {
            let requests = isolate(bad, false, RealWorld.now()).await?;
            eprintln!("sink: {requests} requests for {bad} bad events in {EVENTS}, {EVENTS} if each went alone");
            row.push(requests as f64);
        }
        row.insert(0, row.iter().copied().fold(0.0, f64::max));
        rows.push(row);
    }
    let named = isolate(BAD[1], true, RealWorld.now()).await?;
    eprintln!("sink: {named} requests for {} bad events in {EVENTS} where the answer names one", BAD[1]);
    Ok(medians(&rows))
}

/// Delivers a thousand events, so many of which are bad, and answers the number of requests.
async fn isolate(bad: usize, is_named: bool, at: Time) -> anyhow::Result<u64> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let pixels = folder::pixels(1);
    let meta = folder::meta(&pixels).await?;
    let chosen = index::sample(&mut rand::rng(), EVENTS, bad).into_vec();
    let dispatches = (0..EVENTS).map(|number| {
        let dispatch = Sale::new(number as u64, at).dispatch(&pixels[0]);
        match chosen.contains(&number) {
            true if is_named => odd(dispatch),
            true => poisoned(dispatch),
            false => dispatch,
        }
    });
    folder::fill(&data, &pixels, dispatches).await?;
    let sink = Sink::start(&data, &meta).await?;
    sink.ended(EVENTS as u64).await?;
    sink.end()?;
    let healthy = (EVENTS - bad) as u64;
    folder::check(&data, healthy, bad as u64).await?;
    let Taken { requests, events } = meta::taken(&meta).await?;
    anyhow::ensure!(events == healthy, "the box took {events} events of {healthy}");
    Ok(requests)
}
