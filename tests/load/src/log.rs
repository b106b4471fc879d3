//! Durable appends through storage with 256 waiting, beside a plain file that is synced as often.

use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use schemas::{time::Time, topic::Topic};
use storage::{Append, Storage};

use crate::{
    figure::{Figure, Goal, Group, median},
    judge, traffic,
};

const WAITING: u64 = 256;
/// Many short runs: how fast a disk syncs changes from second to second.
const RUNS: usize = 15;
const RUN_TIME: Duration = Duration::from_millis(500);

/// The group.
pub const GROUP: Group = Group { figures: &[Figure::new("log_append_ratio", "ratio", Goal::AtLeast(0.5))], measure };

fn measure() -> anyhow::Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let storage = Storage::open_embedded(&judge::storage(folder.path().join("data"))?)?;
    let mut ratios = Vec::new();
    for _ in 0..RUNS {
        let plain = plain_file(&folder.path().join("plain"))?;
        let ours = runtime.block_on(through_storage(&storage))?;
        eprintln!("log: {ours:.0} appends/s, plain file {plain:.0}/s");
        ratios.push(ours / plain);
    }
    runtime.block_on(storage.close());
    Ok(vec![median(ratios)])
}

/// Records per second of a file: written and synced 256 at a time.
fn plain_file(path: &Path) -> anyhow::Result<f64> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let records: Vec<u8> = (0..WAITING).flat_map(|number| <[_; 2]>::from(traffic::record(number)).concat()).collect();
    let (began, mut appends) = (Instant::now(), 0);
    while began.elapsed() < RUN_TIME {
        file.write_all(&records)?;
        file.sync_data()?;
        appends += WAITING;
    }
    Ok(appends as f64 / began.elapsed().as_secs_f64())
}

/// Appends per second with 256 tasks, each of which waits for its own.
async fn through_storage(storage: &Storage) -> anyhow::Result<f64> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..WAITING).map(|task| tokio::spawn(append_in_turn(storage.appender(), task << 32, began))).collect();
    let mut appends = 0;
    for task in tasks {
        appends += task.await??;
    }
    Ok(appends as f64 / began.elapsed().as_secs_f64())
}

async fn append_in_turn(appender: storage::Appender, first: u64, began: Instant) -> Result<u64, storage::AppendError> {
    let mut appends = 0;
    while began.elapsed() < RUN_TIME {
        let (key, value) = traffic::record(first + appends);
        appender.append(vec![Append { topic: Topic::Raw, key, value, time: Time::from_millis(1) }]).await?;
        appends += 1;
    }
    Ok(appends)
}
