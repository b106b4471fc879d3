//! The promises on Kafka and a CQL server: roles as processes of their own, stopped, killed and cut off from their servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{
    Account, MetaBox,
    cluster::{Cluster, Door},
    load::{Load, browser_purchase, purchase},
    trial::{Chance, account_for, servers},
    wait_at_most, wait_for,
};

const PAUSE: &str = "RAPIDMETRICS_STORAGE__PAUSE_AT";
const COLD: (&str, &str) = ("RAPIDMETRICS_PROCESSOR__FILTER_ALWAYS_COLD", "true");

/// Posts until it is answered 200 or 202.
fn tell(door: &Door, account: &Account, order: &str) -> Value {
    wait_for("an answer", || match door.webhook(account, &purchase(order)) {
        Some((200 | 202, answer)) => Some(answer),
        Some((503, _)) | None => None,
        Some((status, answer)) => panic!("{status}: {answer}"),
    })
}

fn is_long() -> bool {
    std::env::var_os("RAPIDMETRICS_LONG").is_some()
}

#[test]
fn one_purchase_travels_through_processes_of_their_own() {
    let meta = MetaBox::start();
    let Some(mut cluster) = Cluster::start(&meta, "travel") else { return };
    let doors = [cluster.member("ingest", "door-1", &[]), cluster.member("ingest", "door-2", &[])];
    let _judges = [cluster.member("process", "judge-1", &[]), cluster.member("process", "judge-2", &[])];
    let _sinks = [cluster.member("deliver", "sink-1", &[]), cluster.member("deliver", "sink-2", &[])];
    cluster.open_account(&meta, &doors[0], &["5001", "5002"]);
    let account = cluster.account.clone();
    wait_for("the second door to know the funnel", || doors[1].door.webhook(&account, &json!({"event":"lead","email":"a@b.co"})));

    // A thousand requests for one order, at both doors: exactly one says 1.
    let created: u64 = std::thread::scope(|scope| {
        let ask =
            |n: usize| (0..25).map(|_| tell(&doors[n % 2].door, &account, "ORD-1")["purchases_created"].as_u64().unwrap_or(0)).sum::<u64>();
        let asked: Vec<_> = (0..8).map(|n| scope.spawn(move || ask(n))).collect();
        asked.into_iter().map(|asked| asked.join().expect("it ends")).sum()
    });
    assert_eq!(created, 1, "of two hundred answers");
    assert_eq!(doors[1].door.session(&browser_purchase(&account, "ORD-2")), Some(200));
    wait_for("the browser leg to be recorded", || cluster.export("purchases").iter().any(|p| p["order_id"] == "ORD-2").then_some(()));
    let joined = tell(&doors[0].door, &account, "ORD-2");
    assert_eq!((&joined["purchases_created"], &joined["pixel_events_queued"]), (&json!(1), &json!(0)), "{joined}");
    let conflict = doors[1]
        .door
        .webhook(&account, &json!({"event":"purchase","email":"jane@example.com","amount":1,"currency":"EUR","order_id":"ORD-2"}));
    assert_eq!(conflict.expect("an answer").1["conflict"], json!(["amount"]));
    account_for(&cluster, &meta, &["ORD-1".to_owned(), "ORD-2".to_owned()]);
}

#[test]
fn a_judge_that_was_stopped_past_its_session_doubles_nothing() {
    let meta = MetaBox::start();
    let Some(mut cluster) = Cluster::start(&meta, "overlap") else { return };
    let door = cluster.member("ingest", "door", &[]);
    let first = cluster.member("process", "judge-1", &[]);
    let _sink = cluster.member("deliver", "sink", &[]);
    cluster.open_account(&meta, &door, &["5003"]);
    let second = cluster.member("process", "judge-2", &[]);
    wait_for("the second judge to have partitions", || second.process.log().contains("judging a raw partition").then_some(()));
    let account = cluster.account.clone();
    let mut orders: Vec<String> = (0..40).map(|n| format!("BEFORE-{n}")).collect();
    for order in &orders {
        tell(&door.door, &account, order);
    }
    first.stop();
    // Told while nobody judges half of the partitions, and judged by the second one when the session of the first is over.
    let meanwhile: Vec<String> = (0..40).map(|n| format!("MEANWHILE-{n}")).collect();
    for order in &meanwhile {
        tell(&door.door, &account, order);
    }
    wait_for("the second judge to have every partition", || {
        (second.process.log().matches("judging a raw partition").count() >= 4).then_some(())
    });
    wait_for("what was told meanwhile to be recorded", || {
        let recorded = cluster.export("purchases").iter().filter(|p| p["order_id"].as_str().unwrap().starts_with("MEANWHILE")).count();
        (recorded == meanwhile.len()).then_some(())
    });
    first.go_on();
    orders.extend(meanwhile);
    for order in &orders {
        let again = tell(&door.door, &account, order);
        assert_eq!(again["purchases_created"].as_u64().unwrap_or(0), 0, "{order}: {again}");
    }
    account_for(&cluster, &meta, &orders);
}

#[test]
fn a_sink_that_lost_its_partition_before_the_intent_never_posts() {
    let meta = MetaBox::start();
    let Some(mut cluster) = Cluster::start(&meta, "nopost") else { return };
    let door = cluster.member("ingest", "door", &[]);
    let _judge = cluster.member("process", "judge", &[]);
    let mut first = cluster.member("deliver", "sink-1", &[]);
    cluster.open_account(&meta, &door, &["5004"]);
    let account = cluster.account.clone();
    cluster.wait_probes_delivered();
    assert!(first.process.terminate().success());
    first.start_again(&[(PAUSE, "stop/intent.before")]);
    first.wait_ready();
    tell(&door.door, &account, "ORD-1");
    wait_for("the first sink to stop before its intent", || first.process.log().contains("paused at intent.before").then_some(()));
    let second = cluster.member("deliver", "sink-2", &[]);
    account_for(&cluster, &meta, &["ORD-1".to_owned()]);
    let sent = meta.requests("5004").len();
    first.go_on();
    wait_for("the first sink to learn that the partition is another's", || {
        let log = first.process.log();
        (log.contains("is another process's now") || log.contains("partitions were lost")).then_some(())
    });
    tell(&door.door, &account, "ORD-2");
    account_for(&cluster, &meta, &["ORD-1".to_owned(), "ORD-2".to_owned()]);
    assert_eq!(meta.requests("5004").len(), sent + 1, "only the second order was sent since");
    assert_eq!(cluster.export("deliveries").iter().map(|d| d["ambiguous_attempts"].as_u64().unwrap()).sum::<u64>(), 0);
    drop(second);
}

#[test]
fn a_sink_that_was_stopped_between_intent_and_request_doubles_only_what_is_recorded() {
    let meta = MetaBox::start();
    let Some(mut cluster) = Cluster::start(&meta, "double") else { return };
    let door = cluster.member("ingest", "door", &[]);
    let _judge = cluster.member("process", "judge", &[]);
    let mut first = cluster.member("deliver", "sink-1", &[]);
    cluster.open_account(&meta, &door, &["5005"]);
    let account = cluster.account.clone();
    cluster.wait_probes_delivered();
    assert!(first.process.terminate().success());
    first.start_again(&[(PAUSE, "stop/intent.after")]);
    first.wait_ready();
    tell(&door.door, &account, "ORD-1");
    wait_for("the first sink to stop after its intent", || first.process.log().contains("paused at intent.after").then_some(()));
    let _second = cluster.member("deliver", "sink-2", &[]);
    let delivery = wait_for("the second sink to deliver it", || {
        cluster
            .export("deliveries")
            .into_iter()
            .find(|d| d["event_id"].as_str().unwrap().ends_with(":ORD-1") && d["outcome"] == "delivered")
    });
    assert_eq!(delivery["ambiguous_attempts"], 1, "the first sink's attempt is on record: {delivery}");
    first.go_on();
    account_for(&cluster, &meta, &["ORD-1".to_owned()]);
}

/// A judge killed between its rows and its transaction, its successor cold: the answers and the dispatches are those of a run that
/// nobody disturbed.
#[test]
fn a_judge_killed_between_rows_and_transaction_concludes_the_same_again() {
    let meta = MetaBox::start();
    let Some(mut cluster) = Cluster::start(&meta, "between") else { return };
    let door = cluster.member("ingest", "door", &[]);
    let mut judge = cluster.member("process", "judge", &[]);
    let _sink = cluster.member("deliver", "sink", &[]);
    cluster.open_account(&meta, &door, &["5006", "5007"]);
    let account = cluster.account.clone();
    // A verdict is faster than its transaction. What is not committed when the judge is killed is read again, in a partition of its own,
    // which would then stand still in place of the order's.
    cluster.wait_probes_delivered();
    let mut orders = Vec::new();
    for legs in [["browser", "server"], ["server", "browser"]] {
        let order = format!("ORD-{}", legs[0]);
        judge.kill();
        // Both legs wait in the log, so that they are judged in one batch.
        for leg in legs {
            match leg {
                "browser" => assert_eq!(door.door.session(&browser_purchase(&account, &order)), Some(200)),
                _ => assert_eq!(door.door.webhook(&account, &purchase(&order)).expect("an answer").0, 202),
            }
        }
        judge.start_again(&[(PAUSE, "judge.rows")]);
        wait_for("the judge to stand between rows and transaction", || judge.process.log().contains("paused at judge.rows").then_some(()));
        assert!(cluster.outside("purchases").iter().all(|p| p["order_id"] != order), "nothing is told yet");
        judge.kill();
        judge.start_again(&[(PAUSE, ""), COLD]);
        judge.wait_ready();
        wait_for("both legs to be recorded", || {
            let found = cluster.export("purchases").into_iter().find(|p| p["order_id"] == order)?;
            (found["legs"] == json!(["browser", "server"])).then_some(())
        });
        let told: Vec<u64> = wait_for("both revisions to be told", || {
            let mut told: Vec<u64> =
                cluster.outside("purchases").iter().filter(|p| p["order_id"] == order).map(|p| p["revision"].as_u64().unwrap()).collect();
            told.sort_unstable();
            (told.len() >= 2).then_some(told)
        });
        assert_eq!(told, [1, 2], "{order}: each revision once");
        orders.push(order);
    }
    for order in &orders {
        let again = tell(&door.door, &account, order);
        assert_eq!((&again["purchases_created"], &again["duplicate"]), (&json!(0), &json!(true)), "{again}");
    }
    account_for(&cluster, &meta, &orders);
}

#[test]
fn without_the_ledger_webhooks_are_accepted_at_once_and_verdicts_settle_when_it_is_back() {
    let meta = MetaBox::start();
    let Some(mut cluster) = Cluster::start(&meta, "noledger") else { return };
    let door = cluster.member("ingest", "door", &[]);
    let judge = cluster.member("process", "judge", &[]);
    let _sink = cluster.member("deliver", "sink", &[]);
    cluster.open_account(&meta, &door, &["5008"]);
    let account = cluster.account.clone();
    assert_eq!(tell(&door.door, &account, "BEFORE")["purchases_created"], 1);

    servers(&["kill", "cql"]);
    // The first at each partition's judge waits its two seconds in vain; from then on nobody does.
    let mut orders: Vec<String> = (0..60).map(|n| format!("ORD-{n}")).collect();
    let mut took = Vec::new();
    for order in &orders {
        let asked = Instant::now();
        let (status, answer) = door.door.webhook(&account, &purchase(order)).expect("an answer");
        assert_eq!((status, &answer["durability"]), (202, &json!("log")), "{answer}");
        took.push(asked.elapsed());
    }
    let waited = took.iter().filter(|took| **took > Duration::from_millis(1_500)).count();
    assert!(waited <= 4, "only the first at each of four partitions may wait: {took:?}");
    wait_for("the lag to show what is not judged", || (judge.metric("rapidmetrics_kafka_lag_records") >= 60.0).then_some(()));
    servers(&["start", "cql"]);
    orders.push("BEFORE".to_owned());
    account_for(&cluster, &meta, &orders);
    wait_for("the lag to show that all is judged", || (judge.metric("rapidmetrics_kafka_lag_records{").to_bits() == 0).then_some(()));
    wait_for("verdicts to come again", || (door.door.webhook(&account, &purchase("BEFORE"))?.0 == 200).then_some(()));
    assert_eq!(tell(&door.door, &account, "AFTER")["purchases_created"], 1);
}

#[test]
fn without_the_brokers_nothing_is_acknowledged_and_the_door_says_so_and_comes_back_by_itself() {
    let meta = MetaBox::start();
    let Some(mut cluster) = Cluster::start(&meta, "nolog") else { return };
    let door = cluster.member("ingest", "door", &[]);
    let _judge = cluster.member("process", "judge", &[]);
    let _sink = cluster.member("deliver", "sink", &[]);
    cluster.open_account(&meta, &door, &["5009"]);
    let account = cluster.account.clone();
    assert_eq!(tell(&door.door, &account, "BEFORE")["purchases_created"], 1);
    servers(&["kill", "broker"]);
    let gone = Instant::now();
    wait_at_most(Duration::from_secs(5), "readiness to say so", || (!door.is_ready()).then_some(()));
    let not_ready_after = gone.elapsed();
    let asked = Instant::now();
    let (status, answer) = door.door.webhook(&account, &purchase("REFUSED")).expect("an answer");
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("unavailable")), "{answer}");
    let answered_after = asked.elapsed();
    assert!(answered_after < Duration::from_secs(6), "a bounded time");
    println!("not ready after {not_ready_after:?}, 503 after {answered_after:?}");
    servers(&["start", "broker"]);
    wait_for("the door to come back by itself", || door.is_ready().then_some(()));
    assert_eq!(tell(&door.door, &account, "AFTER")["order_id"], "AFTER");
    account_for(&cluster, &meta, &["BEFORE".to_owned(), "AFTER".to_owned()]);
}

/// Kills of every role at random under load, restarts of both servers, both at once, and a storm of processes that come and go.
#[test]
fn random_kills_of_every_role_and_of_the_servers_lose_nothing_and_double_nothing_unrecorded() {
    let kills = if is_long() { 200 } else { 20 };
    let meta = MetaBox::start();
    let Some(mut cluster) = Cluster::start(&meta, "random") else { return };
    let mut members =
        vec![cluster.member("ingest", "door-1", &[]), cluster.member("process", "judge-1", &[]), cluster.member("deliver", "sink-1", &[])];
    cluster.open_account(&meta, &members[0], &["5010", "5011"]);
    members.push(cluster.member("ingest", "door-2", &[]));
    members.push(cluster.member("process", "judge-2", &[]));
    members.push(cluster.member("deliver", "sink-2", &[]));
    meta.faults(&json!([
        {"pixel": null, "fault": "http500", "share": 0.06},
        {"pixel": null, "fault": "reset_after", "share": 0.06},
        {"pixel": null, "fault": "throttle", "share": 0.06},
    ]));
    let load = Load::start(&cluster.account, &[members[0].door.clone(), members[3].door.clone()]);

    let mut chance = Chance::default();
    for kill in 0..kills {
        load.progress();
        let drawn = chance.draw();
        std::thread::sleep(Duration::from_micros(drawn % 300_000)); // a moment that nobody chose
        let at = (drawn >> 32) as usize % members.len();
        members[at].kill();
        members[at].start_again(&[]);
        // At a quarter, a half and three quarters of the way.
        match (kill + 1) * 4 {
            at if at == kills => restart(&["broker"]),
            at if at == kills * 2 => restart(&["cql"]),
            at if at == kills * 3 => restart(&["broker", "cql"]),
            _ => {}
        }
    }
    for storm in 0..kills / 5 {
        load.progress();
        let (role, name) = [("process", "judge-3"), ("deliver", "sink-3")][storm % 2];
        let mut passing = cluster.member(role, name, &[]); // joins the group: partitions move to it
        assert!(passing.process.terminate().success(), "{role} leaves in order"); // and back
    }
    let orders = load.end();
    meta.no_faults();
    for member in &mut members {
        member.wait_ready();
    }
    print!("{kills} kills, a restart of each server and of both, {} rebalances: ", kills / 5 * 2);
    account_for(&cluster, &meta, &orders);
}

/// The brokers away again and again, the door killed while it spools and while it drains: what it acknowledged is there.
#[test]
fn a_door_with_a_spool_acknowledges_without_brokers_and_loses_nothing_when_it_is_killed() {
    let (rounds, away) = if is_long() { (10, Duration::from_secs(12)) } else { (2, Duration::from_secs(10)) };
    let meta = MetaBox::start();
    let Some(mut cluster) = Cluster::start(&meta, "spool") else { return };
    let spool = tempfile::tempdir().expect("a folder that outlives the process");
    let spool = [("RAPIDMETRICS_SPOOL__DIR", spool.path().to_str().expect("a path"))];
    let mut door = cluster.member("ingest", "door", &spool);
    let _judge = cluster.member("process", "judge", &[]);
    let _sink = cluster.member("deliver", "sink", &[]);
    cluster.open_account(&meta, &door, &["5012"]);
    let load = Load::start(&cluster.account, &[door.door.clone()]);
    let mut chance = Chance::default();
    for round in 0..rounds {
        load.progress();
        servers(&["kill", "broker"]);
        let gone = Instant::now();
        let before = load.spooled();
        wait_for("an answer of the spool", || (load.spooled() > before).then_some(()));
        wait_at_most(Duration::from_secs(5), "readiness to say degraded", || (door.readiness()? == "degraded").then_some(()));
        println!("round {round}: first spooled and degraded after {:?}", gone.elapsed());
        wait_at_most(away * 2, "the outage to last", || (gone.elapsed() > away / 2).then_some(()));
        std::thread::sleep(Duration::from_micros(chance.draw() % 300_000)); // a moment that nobody chose
        door.kill();
        door.start_again(&[]);
        let again = load.spooled();
        wait_for("the new process to spool, which knows no broker", || (load.spooled() > again + 20).then_some(()));
        wait_at_most(away * 2, "the outage to last", || (gone.elapsed() > away).then_some(()));
        servers(&["start", "broker"]);
        wait_for("the drain to begin", || (door.metric("rapidmetrics_spool_drained_total") > 0.0).then_some(()));
        door.kill();
        door.start_again(&[]);
        wait_for("the spool to be drained", || (door.readiness()? == "ready").then_some(()));
    }
    let spooled = load.spooled();
    let orders = load.end();
    assert!(door.process.terminate().success(), "it stops in order");
    print!("{} kills of the door in {rounds} outages of {away:?}, {spooled} answers of the spool: ", rounds * 2);
    account_for(&cluster, &meta, &orders);
}

fn restart(which: &[&str]) {
    for server in which {
        servers(&["kill", server]);
    }
    for server in which {
        servers(&["start", server]);
    }
}
