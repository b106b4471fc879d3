//! How fast is a durable append with many waiting, beside a plain file with `fdatasync` at the same batch? Both in turn, a quarter of
//! a second each, because disks are moody; the medians count.
//!
//! `cargo run --release -p storage --example append_speed [WAITING] [ROUNDS] [FOLDER]`

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use schemas::{time::Time, topic::Topic};
use storage::{Append, AppendError, Config, Storage};

const RECORD_BYTES: usize = 300;
const ROUND: Duration = Duration::from_millis(250);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let waiting: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(15), |text| text.parse())?;
    let folder = match arguments.next() {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let config = Config {
        data: PathBuf::from(folder.path()).join("data"),
        partitions: 8,
        free_bytes_min: 0,
        queue_bytes_max: 64 * 1_024 * 1_024,
        pause_at: None,
        fail_sync_after: None,
    };
    let storage = Storage::open_embedded(&config)?;
    let mut file = OpenOptions::new().create(true).append(true).open(folder.path().join("plain"))?;
    let (mut plains, mut stores, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cpu, mut appends) = (0.0, 0.0);
    for _ in 0..rounds {
        let plain = plain_file(&mut file, waiting)?;
        let cpu_before = cpu_us();
        let (store, count) = through_storage(&storage, waiting).await?;
        cpu += cpu_us() - cpu_before;
        appends += count;
        plains.push(plain);
        stores.push(store);
        ratios.push(store / plain);
    }
    println!(
        "{waiting} waiting: file {:.0}/s, storage {:.0}/s, ratio {:.2}; {:.1} appends a sync, {:.1} CPU-us an append",
        median(&mut plains),
        median(&mut stores),
        median(&mut ratios),
        appends / storage.metrics().batch_jobs.get_sample_count().max(1) as f64,
        cpu / appends,
    );
    storage.close().await;
    Ok(())
}

fn plain_file(file: &mut File, batch: usize) -> std::io::Result<f64> {
    let bytes = vec![b'x'; RECORD_BYTES * batch];
    let (began, mut appends) = (Instant::now(), 0);
    while began.elapsed() < ROUND {
        file.write_all(&bytes)?;
        file.sync_data()?;
        appends += batch;
    }
    Ok(appends as f64 / began.elapsed().as_secs_f64())
}

async fn through_storage(storage: &Storage, waiting: usize) -> Result<(f64, f64), AppendError> {
    let value = Bytes::from(vec![b'x'; RECORD_BYTES - 20]);
    let began = Instant::now();
    let tasks: Vec<_> = (0..waiting)
        .map(|task| {
            let (appender, value) = (storage.appender(), value.clone());
            let key = Bytes::from(format!("fn_1|visitor|{task:07}"));
            tokio::spawn(async move {
                let mut appends = 0;
                while began.elapsed() < ROUND {
                    let record = Append { topic: Topic::Raw, key: key.clone(), value: value.clone(), time: Time::from_millis(1) };
                    appender.append(vec![record]).await?;
                    appends += 1;
                }
                Ok::<_, AppendError>(appends)
            })
        })
        .collect();
    let mut appends = 0;
    for task in tasks {
        appends += task.await.expect("no task panics")?;
    }
    Ok((f64::from(appends) / began.elapsed().as_secs_f64(), f64::from(appends)))
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// User and system time of this process so far.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() * 10_000.0
}
