//! Three brokers and three CQL nodes, everything kept by two of them at least: one at a time is killed under load. Minutes long, so it
//! runs with `tests/run --long` only.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    MetaBox,
    cluster::Cluster,
    load::Load,
    trial::{account_for, servers},
    wait_at_most, wait_for,
};

const ROUNDS: usize = 10;
/// No answer of 5xx later than this after a kill.
const REFUSED_AT_MOST: Duration = Duration::from_secs(15);
/// Between two orders of a sender: ten orders a second in all. More, and six servers on two cores have nothing left to start again with.
const PACE: Duration = Duration::from_millis(400);
/// So long after it the rule is looked at.
const WATCHED: Duration = Duration::from_secs(20);

#[test]
fn one_broker_or_one_node_of_three_is_killed_and_the_doors_answer_again_within_fifteen_seconds() {
    let server = |name: &str| std::env::var(name).ok();
    let (Some(kafka), Some(cql)) = (server("RAPIDMETRICS_TEST_KAFKA3"), server("RAPIDMETRICS_TEST_CQL3")) else {
        return println!("skipped: RAPIDMETRICS_TEST_KAFKA3 and RAPIDMETRICS_TEST_CQL3 name no servers (tests/servers up --nodes 3)");
    };
    let meta = MetaBox::start();
    let mut cluster = Cluster::on(&meta, "nodes", &kafka, &cql, 3);
    let doors = ["door-1", "door-2"].map(|name| cluster.member("ingest", name, &[]));
    let _judges = ["judge-1", "judge-2"].map(|name| cluster.member("process", name, &[]));
    let _sinks = ["sink-1", "sink-2"].map(|name| cluster.member("deliver", name, &[]));
    cluster.open_account(&meta, &doors[0], &["5013"]);
    let load = Load::paced(&cluster.account, &doors.each_ref().map(|door| door.door.clone()), PACE);
    for round in 0..ROUNDS {
        load.progress();
        let number = (round / 2 % 3 + 1).to_string();
        let which = if round % 2 == 0 { "broker" } else { "cql" };
        let killed = Instant::now();
        servers(&["kill", which, &number, "--nodes", "3"]);
        wait_at_most(WATCHED * 2, "the time that is watched", || (killed.elapsed() > WATCHED).then_some(()));
        let refused_for = load.last_refused().and_then(|last| last.checked_duration_since(killed)).unwrap_or_default();
        println!("round {round}: {which} {number} killed, last refused after {refused_for:?}");
        assert!(refused_for <= REFUSED_AT_MOST, "{which} {number}: still refused after {refused_for:?}");
        let judged = load.judged();
        wait_for("verdicts without it", || (load.judged() > judged).then_some(()));
        servers(&["start", which, &number, "--nodes", "3"]);
        wait_at_most(Duration::from_secs(120), "all copies to be in step", || is_in_step(&kafka).then_some(()));
    }
    let orders = load.end();
    print!("{ROUNDS} kills of one in three: ");
    account_for(&cluster, &meta, &orders);
}

/// Whether every partition has all of its copies in step, as the brokers say.
fn is_in_step(brokers: &str) -> bool {
    let Ok(output) = Command::new("kcat").args(["-L", "-J", "-b", brokers]).output() else { return false };
    let Ok(told) = serde_json::from_slice::<Value>(&output.stdout) else { return false };
    let topics = told["topics"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut partitions = topics.iter().flat_map(|topic| topic["partitions"].as_array().map(Vec::as_slice).unwrap_or_default());
    !topics.is_empty()
        && partitions.all(|partition| partition["isrs"].as_array().map(Vec::len) == partition["replicas"].as_array().map(Vec::len))
}
