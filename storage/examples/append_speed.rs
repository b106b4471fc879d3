//! How fast is a durable append with many waiting, beside a plain file with `fdatasync` at the same batch, in one run?
//!
//! `cargo run --release -p storage --example append_speed [WAITING] [SECONDS] [FOLDER]`

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use schemas::{time::Time, topic::Topic};
use storage::{Append, Config, Storage};

const RECORD_BYTES: usize = 300;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let waiting = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let folder = match arguments.next() {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for _ in 0..3 {
        let plain = plain_file(&folder.path().join("plain"), waiting, Duration::from_secs(seconds))?;
        let cpu_before = cpu_us();
        let (store, appends) = runtime.block_on(through_storage(folder.path().join("data"), waiting, Duration::from_secs(seconds)))?;
        let cpu = (cpu_us() - cpu_before) / appends as f64;
        println!(
            "waiting {waiting}: file {plain:.0}/s, storage {store:.0}/s, ratio {:.2}, {cpu:.1} CPU-us an append, {} MB resident",
            store / plain,
            resident_mb()
        );
    }
    Ok(())
}

fn plain_file(path: &Path, batch: usize, time: Duration) -> std::io::Result<f64> {
    let mut file: File = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = vec![b'x'; RECORD_BYTES * batch];
    let (began, mut appends) = (Instant::now(), 0);
    while began.elapsed() < time {
        file.write_all(&bytes)?;
        file.sync_data()?;
        appends += batch;
    }
    Ok(appends as f64 / began.elapsed().as_secs_f64())
}

async fn through_storage(data: PathBuf, waiting: usize, time: Duration) -> Result<(f64, usize), Box<dyn std::error::Error>> {
    let config =
        Config { data, partitions: 8, free_bytes_min: 0, queue_bytes_max: 64 * 1_024 * 1_024, pause_at: None, fail_sync_after: None };
    let storage = Storage::open_embedded(&config)?;
    let value = Bytes::from(vec![b'x'; RECORD_BYTES - 20]);
    let began = Instant::now();
    let tasks: Vec<_> = (0..waiting)
        .map(|task| {
            let (appender, value) = (storage.appender(), value.clone());
            tokio::spawn(async move {
                let mut appends = 0;
                while began.elapsed() < time {
                    let key = Bytes::from(format!("visitor-{task:06}-{appends:05}"));
                    let record = Append { topic: Topic::Raw, key, value: value.clone(), time: Time::from_millis(1) };
                    appender.append(vec![record]).await?;
                    appends += 1;
                }
                Ok::<_, storage::AppendError>(appends)
            })
        })
        .collect();
    let mut appends = 0;
    for task in tasks {
        appends += task.await??;
    }
    let rate = appends as f64 / began.elapsed().as_secs_f64();
    println!("{:.1} appends a sync", appends as f64 / storage.metrics().batch_jobs.get_sample_count().max(1) as f64);
    storage.close().await;
    Ok((rate, appends))
}

/// User and system time of this process so far.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: f64 =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks * 10_000.0
}

fn resident_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4 / 1_024
}
