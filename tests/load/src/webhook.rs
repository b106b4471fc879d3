//! How long a webhook's full answer takes, at shares of the highest rate at which the program answers.
//!
//! Requests leave on a timetable whether or not earlier ones were answered, and each counts from when it was due: who must wait for a
//! free connection has waited.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, mpsc};

use crate::{
    client::{Connection, Target, Until, closed_loop},
    door,
    figure::{Figure, Goal, Group, medians},
    meta,
    program::House,
};

const RUNS: usize = 3;
const MAXIMUM_TIME: Duration = Duration::from_secs(3);
const RUN_TIME: Duration = Duration::from_secs(3);
const SHARES: [f64; 3] = [0.1, 0.5, 0.9];
/// Enough that nobody waits for one unless answers take as long as a good part of a second.
const CONNECTIONS: usize = 512;

/// The group.
pub const GROUP: Group = Group {
    figures: &[
        Figure::new("webhook_p50_ms_at_10", "ms", Goal::Told),
        Figure::new("webhook_p99_ms_at_10", "ms", Goal::Told),
        Figure::new("webhook_p50_ms_at_50", "ms", Goal::Told),
        Figure::new("webhook_p99_ms_at_50", "ms", Goal::Told),
        Figure::new("webhook_p50_ms_at_90", "ms", Goal::Told),
        Figure::new("webhook_p99_ms_at_90", "ms", Goal::Told),
    ],
    measure,
};

fn measure() -> anyhow::Result<Vec<f64>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(at_each_share())
}

async fn at_each_share() -> anyhow::Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let meta = meta::start(&[meta::PIXEL]).await?;
    let house = House::start(&folder.path().join("data"), &[], &[("RAPIDMETRICS_CAPI__BASE_URL", &format!("http://{}", meta.address))])?;
    let target = Target::new(house.server.address, door::webhook(&house.funnel, &house.api_key), 200);
    let mut sent = closed_loop(&target, Until::Passed(MAXIMUM_TIME)).await?;
    let highest = sent as f64 / MAXIMUM_TIME.as_secs_f64();
    eprintln!("webhook: at most {highest:.0} a second");
    let mut rows = Vec::new();
    for _ in 0..RUNS {
        let mut row = Vec::new();
        for share in SHARES {
            meta::all_taken(&meta, sent).await?; // what is still on its way to Meta would slow the next down
            let mut waits = on_timetable(&target, highest * share, RUN_TIME).await?;
            sent += waits.len() as u64;
            waits.sort_unstable();
            row.extend([percentile(&waits, 50), percentile(&waits, 99)]);
        }
        eprintln!("webhook: p50 and p99 in ms at 10, 50, 90 %: {row:.2?}");
        rows.push(row);
    }
    Ok(medians(&rows))
}

/// The wait that so many percent did not exceed, in milliseconds.
pub fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e3)
}

/// Sends on a timetable; how long each answer took from when its request was due.
pub async fn on_timetable(target: &Target, per_second: f64, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let (due, timetable) = mpsc::unbounded_channel();
    let timetable = Arc::new(Mutex::new(timetable));
    let mut tasks = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let connection = Connection::open(target.address).await?;
        tasks.push(tokio::spawn(take_turns(target.clone(), connection, timetable.clone())));
    }
    // The runtime's clock ticks in milliseconds, which is as long as an answer takes: a thread keeps the timetable.
    let clock = std::thread::spawn(move || {
        let began = Instant::now();
        for number in 1..=(time.as_secs_f64() * per_second) as u32 {
            let at = began + Duration::from_secs_f64(f64::from(number) / per_second);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if due.send(at).is_err() {
                return; // every connection is gone, and has said why
            }
        }
    });
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await??);
    }
    let _ = clock.join();
    Ok(waits)
}

async fn take_turns(
    mut target: Target,
    mut connection: Connection,
    timetable: Arc<Mutex<mpsc::UnboundedReceiver<Instant>>>,
) -> anyhow::Result<Vec<Duration>> {
    let mut waits = Vec::new();
    loop {
        let next = timetable.lock().await.recv().await;
        let Some(due) = next else { return Ok(waits) };
        target.ask(&mut connection).await?;
        waits.push(due.elapsed());
    }
}
