//! The process dies at any instruction, under a load that keeps memory tables being flushed and merged: what was answered is there,
//! each step is there as a whole or not at all, and the log goes on where it ended.
//!
//! The test starts itself again as the process that is killed. `STORAGE_KILLS` says how often (5).

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use schemas::{
    fact::LegName,
    row::Row,
    time::Time,
    topic::{Group, Topic},
};
use storage::{Append, Config, Consumed, Step, Storage};
use support::{leg, record};

const FOLDER: &str = "STORAGE_KILL_FOLDER";
/// Records in one append. Large values, so that a memory table is full several times a second.
const RECORDS: u64 = 64;
const VALUE_BYTES: usize = 8_192;

fn config(data: &Path) -> Config {
    Config {
        data: data.to_owned(),
        partitions: 2,
        free_bytes_min: 0,
        queue_bytes_max: 64 * 1_024 * 1_024,
        pause_at: None,
        fail_sync_after: None,
    }
}

/// When the n-th record was made: days pass quickly, so that old blocks are being dropped while the process dies.
fn time(n: u64) -> Time {
    const JANUARY_2020_MS: i64 = 1_577_836_800_000;
    Time::from_millis(JANUARY_2020_MS + (n / RECORDS) as i64 * 86_400_000)
}

/// The value of the n-th record: begins with its number, and the rest follows from it.
fn value(n: u64) -> Vec<u8> {
    let mut value = n.to_le_bytes().to_vec();
    value.resize(VALUE_BYTES, (n % 251) as u8);
    value
}

/// The process that is killed: says on stdout what was answered.
async fn load(data: &Path) {
    let storage = Storage::open_embedded(&config(data)).expect("it opens");
    let (_, mut next) = storage.bounds(Topic::Audit, 0).await.expect("it reads");
    let mut steps = storage.bounds(Topic::Dead, 0).await.expect("it reads").1;
    loop {
        let append = |n| Append { value: Bytes::from(value(n)), time: time(n), ..record(Topic::Audit, "k", "") };
        let appender = storage.appender();
        let appended =
            tokio::spawn(async move { appender.append((next..next + RECORDS).map(append).collect()).await.expect("it is durable") });
        let mut step = Step::named("judge");
        for part in 0..8 {
            let key = format!("fn_1|purchase|{}", steps.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part);
            step.rows.push(Row::Seen { key, leg: LegName::Server, cell: leg(0, steps) });
        }
        step.records.push(record(Topic::Dead, "k", &steps.to_string()));
        step.consumed.push(Consumed {
            group: Group::Processor,
            partition: 0,
            next_offset: 0,
            metadata: Some(steps.to_string()),
            lease: None,
        });
        storage.commit(step).await.expect("it becomes true");
        appended.await.expect("no panic");
        (next, steps) = (next + RECORDS, steps + 1);
        println!("answered {next} {steps}");
    }
}

/// What is there, and whether it is whole.
async fn check(data: &Path, answered: (u64, u64)) -> (u64, u64, u64) {
    let storage = Storage::open_embedded(&config(data)).expect("it opens after a kill");
    let (start, end) = storage.bounds(Topic::Audit, 0).await.expect("it reads");
    assert!(end >= answered.0, "answered {answered:?}, the log ends at {end}");
    let mut reader = storage.reader(Topic::Audit, 0, start);
    let mut next = start;
    while next < end {
        for stored in reader.next(1_000, 4 << 20).await.expect("it reads") {
            assert!(stored.position.offset == next && stored.value[..] == value(next), "record {next}");
            next += 1;
        }
    }
    let steps = storage.bounds(Topic::Dead, 0).await.expect("it reads").1;
    assert!(steps >= answered.1, "answered {answered:?}, there are {steps} steps");
    let keys =
        |step: u64| (0..8).map(|part| format!("fn_1|purchase|{}", step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part)).collect::<Vec<_>>();
    for step in 0..steps {
        let seen = storage.facts().seen(&keys(step)).await.expect("it reads");
        assert!(seen.iter().all(Option::is_some), "rows of step {step} of {steps}");
    }
    let after = storage.facts().seen(&keys(steps)).await.expect("it reads");
    assert!(after.iter().all(Option::is_none), "no row of a step that is not there");
    let note = storage.committed(Group::Processor, 0).await.expect("it reads").metadata;
    assert_eq!(note, steps.checked_sub(1).map(|last| last.to_string()), "the offset is the last step's");
    storage.close().await;
    (end, steps, start)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime").block_on(future)
}

#[test]
fn a_killed_process_loses_nothing_that_was_answered() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return run(load(Path::new(&folder)));
    }
    let kills: u64 = std::env::var("STORAGE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut there = (0, 0, 0);
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["a_killed_process_loses_nothing_that_was_answered", "--exact", "--nocapture"])
            .env(FOLDER, &data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let reads = std::thread::spawn(move || {
            let mut answered = (0, 0);
            for line in lines.map_while(Result::ok) {
                let mut words = line.split_whitespace().rev();
                if let (Some(steps), Some(next), Some("answered")) = (words.next(), words.next(), words.next()) {
                    answered = (next.parse().expect("a number"), steps.parse().expect("a number"));
                }
            }
            answered
        });
        let lives = Duration::from_millis(300 + kill * 379 % 1_500); // each at another moment
        let began = Instant::now();
        while began.elapsed() < lives && child.try_wait().expect("it is ours").is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        let answered = reads.join().expect("no panic");
        there = run(check(&data, (answered.0.max(there.0), answered.1.max(there.1))));
    }
    assert!(there.1 > 0, "the load never came to anything");
    println!("{kills} kills, {} records ({} aged out) and {} steps, all there", there.0, there.2, there.1);
}
