//! One bad event in a hundred, in a full log, against Meta in a box: every healthy one is delivered, none twice, and finding the bad ones
//! costs a small part of what sending one by one would.
//!
//! 10,000 events; with `RAPIDMETRICS_LONG` 100,000.

mod stage;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use schemas::{delivery::Outcome, dispatch::Dispatch};
use stage::{Stage, TOKEN};

const PIXELS: [&str; 4] = ["1", "2", "3", "4"];
/// Events appended at once.
const APPENDED: usize = 2_000;
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_percent_poison_is_found_in_few_requests_and_every_healthy_event_is_delivered_once() {
    let events: usize = if std::env::var_os("RAPIDMETRICS_LONG").is_some() { 100_000 } else { 10_000 };
    let poisoned = events / 100;
    let stage = Stage::new().await;
    for pixel in PIXELS {
        stage.pixel_at_meta(pixel);
        stage.pixel_here(pixel, TOKEN);
    }
    let numbers: Vec<usize> = (0..events).collect();
    for numbers in numbers.chunks(APPENDED) {
        let dispatches: Vec<Dispatch> = numbers.iter().map(|number| dispatch(&stage, *number)).collect();
        stage.dispatch(&dispatches).await;
    }

    let (began, sink) = (Instant::now(), stage.sink().await);
    let expected = BTreeMap::from([("delivered", (events - poisoned) as u64), ("rejected", poisoned as u64)]);
    loop {
        let (_, states) = stage.balance().await;
        if states == expected {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "it is still {states:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = began.elapsed();
    sink.stop().await;

    let reports = stage.reports();
    let sum = |of: fn(&meta_sandbox::Totals) -> u64| reports.values().map(of).sum::<u64>();
    let (delivered, doubled, requests) =
        (sum(|totals| totals.events), sum(|totals| totals.double_conversions), sum(|totals| totals.requests));
    println!(
        "1 % poison: {events} events, {delivered} healthy delivered, {poisoned} rejected, {doubled} doubled, {requests} requests against \
         {events} one by one, {:.1} s",
        took.as_secs_f64()
    );
    assert_eq!((delivered, doubled, sum(|totals| totals.conversions)), ((events - poisoned) as u64, 0, (events - poisoned) as u64));

    // The ledger's own word for each of them, and what data teams were told.
    let mut after = None;
    let mut rows = 0;
    loop {
        let page = stage.storage.readings().deliveries(after, 1_000).await.expect("the store answers");
        for delivery in &page.rows {
            assert_eq!((delivery.outcome, delivery.ambiguous_attempts), (Some(outcome(number(&delivery.dedup_key))), 0), "{delivery:?}");
        }
        rows += page.rows.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((rows, stage.told().await.len()), (events, events));
    assert_eq!(stage.waiting().await, (0, 0));

    // Of k bad ones in n a search takes about 2·k·log2(n/k) requests, which for one in a hundred is 13 each; an answer that names the
    // one at fault makes it two.
    let full = events.div_ceil(stage.config.batch_events_max) + PIXELS.len();
    let bound = full + poisoned * 14;
    assert!(requests <= bound as u64, "{requests} requests, and {bound} are enough");
}

/// One in two hundred of each kind of bad: Meta's answer names it, or it does not.
fn dispatch(stage: &Stage, number: usize) -> Dispatch {
    let (pixel, order) = (PIXELS[number / 7 % PIXELS.len()], number.to_string());
    match number % 200 {
        57 => stage.odd_purchase(pixel, &order),
        146 => stage.bad_purchase(pixel, &order),
        _ => stage.purchase(pixel, &order),
    }
}

fn outcome(number: usize) -> Outcome {
    if matches!(number % 200, 57 | 146) { Outcome::Rejected } else { Outcome::Delivered }
}

fn number(dedup_key: &str) -> usize {
    dedup_key.rsplit('|').next().and_then(|order| order.parse().ok()).expect("the order is a number")
}
