//! What does an event cost the store, and does the store stop growing? Sixty days of tracked events in as few minutes as it takes:
//! each event is a raw record, then in a step of the judge a row of `seen`, a record of `events` and one of `dispatch`, then consumed.
//!
//! `cargo run --release -p storage --example sixty_days [EVENTS_A_DAY] [FOLDER]`

use std::path::PathBuf;

use bytes::Bytes;
use schemas::{
    envelope::Position,
    fact::LegName,
    id::PixelId,
    row::{Leg, Row},
    time::{DAY_US, Time},
    topic::{Group, Topic},
};
use storage::{Append, Config, Consumed, Record, Step, Storage};
use uuid::Uuid;

const DAYS: i64 = 60;
const EVENTS_A_STEP: usize = 500;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let events_a_day: usize = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let folder = match arguments.next() {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let data: PathBuf = folder.path().join("data");
    let config =
        Config { data, partitions: 8, free_bytes_min: 0, queue_bytes_max: 64 * 1_024 * 1_024, pause_at: None, fail_sync_after: None };
    let storage = Storage::open_embedded(&config)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros() as i64;
    let texts: Vec<Bytes> = (0..1_024).map(|n| Bytes::from(text(n))).collect();
    let pixel = PixelId::parse("123456789012345")?;
    let (mut events, cpu_before) = (0_u64, cpu_us());
    for day in 0..DAYS {
        for step in 0..events_a_day.div_ceil(EVENTS_A_STEP) {
            let time = Time::from_micros(now - (DAYS - day) * DAY_US + step as i64 * (DAY_US / 1_000));
            let key =
                |n: u64| Bytes::from(format!("fn_abcdefghijkl|visitor|{}", Uuid::from_u128(u128::from(n) * 0x9e37_79b9_7f4a_7c15_f39c)));
            let record = |topic, n| Append { topic, key: key(n), value: texts[n as usize % texts.len()].clone(), time };
            let numbers = events..events + EVENTS_A_STEP as u64;
            let positions = storage.appender().append(numbers.clone().map(|n| record(Topic::Raw, n)).collect()).await?;
            let mut judged = Step::named("judge");
            for (n, position) in numbers.zip(&positions) {
                let key = format!(
                    "fn_abcdefghijkl|event|{}|AddToCart|{}",
                    Uuid::from_u128(u128::from(n) * 0x9e37_79b9),
                    Uuid::from_u128(n.into())
                );
                judged.rows.push(Row::Seen { key, leg: LegName::Browser, cell: leg(*position, n, time, &pixel) });
                judged.records.push(Record { ..record(Topic::Events, n) });
                judged.records.push(Record { key: Bytes::from_static(b"123456789012345"), ..record(Topic::Dispatch, n) });
            }
            judged.consumed = consumed(&positions, Group::Processor);
            let dispatches = storage.commit(judged).await?;
            let mut sent = Step::named("outcome");
            sent.consumed = consumed(&dispatches[1..2], Group::Capi);
            storage.commit(sent).await?;
            events += EVENTS_A_STEP as u64;
        }
        if day % 5 == 4 {
            tokio::time::sleep(std::time::Duration::from_millis(1_500)).await; // a look at the gauges
            let metrics = storage.metrics();
            let (start, end) = storage.bounds(Topic::Raw, 0).await?;
            println!(
                "day {}: {events} events, {:.1} CPU-us an event, disk {} MB, memory tables {} MB, resident {} MB, raw/0 {start}..{end}",
                day + 1,
                (cpu_us() - cpu_before) / events as f64,
                metrics.disk_bytes.get() / 1_000_000,
                metrics.memory_table_bytes.get() / 1_000_000,
                resident_mb(),
            );
        }
    }
    storage.close().await;
    let began = std::time::Instant::now();
    let storage = Storage::open_embedded(&config)?;
    println!("opened again in {:?}, resident {} MB", began.elapsed(), resident_mb());
    storage.close().await;
    Ok(())
}

/// About as long and about as repetitive as a record.
fn text(n: u128) -> String {
    let id = |salt: u128| Uuid::from_u128((n + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    format!(
        r#"{{"id":"{}","type":"event","version":1,"funnel_id":"fn_abcdefghijkl","workspace_id":"ws_abcdefghijkl","occurred_at":"2026-11-25T18:32:{:02}.123456Z","received_at":"2026-11-25T18:32:{:02}.654321Z","position":{{"generation":0,"partition":{},"offset":{}}},"name":"AddToCart","event_id":"{}","leg":"browser","visitor_id":"{}","url":"https://shop.example/products/{}?utm_source=facebook&fbclid={}","properties":{{"value":{},"currency":"USD","content_name":"{}"}}}}"#,
        id(1),
        n % 60,
        n % 59,
        n % 8,
        n * 7_919,
        id(2),
        id(3),
        n % 500,
        id(4),
        n % 300,
        id(5)
    )
}

fn leg(position: Position, n: u64, received_at: Time, pixel: &PixelId) -> Leg {
    Leg {
        position,
        raw_id: Uuid::from_u128(n.into()),
        received_at,
        amount_minor: None,
        currency: None,
        email: None,
        body: None,
        pixels: vec![pixel.clone()],
        context: None,
    }
}

/// Everything up to the highest of these positions.
fn consumed(positions: &[Position], group: Group) -> Vec<Consumed> {
    let mut ends = std::collections::BTreeMap::new();
    for position in positions {
        ends.insert(position.partition, position.offset + 1);
    }
    let consumed = |(partition, next_offset)| Consumed { group, partition, next_offset, metadata: None, lease: None };
    ends.into_iter().map(consumed).collect()
}

/// User and system time of this process so far.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() * 10_000.0
}

fn resident_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4 / 1_024
}
