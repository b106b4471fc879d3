//! The move of an embedded folder into a cluster: nothing is lost, nothing stands twice, and the old folder never goes on beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{
    collections::HashSet,
    io::BufRead,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use support::{Account, House, MetaBox, Process, cluster::Cluster, rapidmetrics, wait_for};

const PAUSE: &str = "RAPIDMETRICS_STORAGE__PAUSE_AT";
/// A pixel whose token is refused is asked again at once: the test mends it.
const PROBE: (&str, &str) = ("RAPIDMETRICS_CAPI__PROBE_MS", "200");
/// Of the second pixel the token is dead.
const PIXELS: [&str; 2] = ["6001", "6002"];
const ORDERS: usize = 40;
const BROWSER_ORDERS: usize = 5;
const LEADS: usize = 4;

fn purchase(order: &str) -> Value {
    json!({"event":"purchase","email":"jane@example.com","amount":49.99,"currency":"EUR","order_id":order})
}

fn browser_purchase(account: &Account, order: &str) -> Value {
    json!({"v":1,"fid":account.funnel,"sent_at":1_764_000_000_000_i64,"page":{"url":"https://shop.example/thanks"},
           "ids":{"fbp":"fb.1.1596403881668.1116446470"},"consent":"granted","person":{"email":"jane@example.com"},
           "events":[{"event_id":format!("own-{order}"),"visitor_id":"visitor-1","type":"track","name":"Purchase",
                      "props":{"value":49.99,"currency":"EUR","order_id":order},"at":1_764_000_000_000_i64}]})
}

/// What people and data teams see.
#[derive(Debug, PartialEq)]
struct Books {
    purchases: Vec<Value>,
    leads: Vec<Value>,
    deliveries: Vec<Value>,
}

impl Books {
    fn of(read: impl Fn(&str) -> Vec<Value>) -> Self {
        let sorted = |what| {
            let mut rows = read(what);
            rows.sort_by_key(ToString::to_string);
            rows
        };
        Self { purchases: sorted("purchases"), leads: sorted("leads"), deliveries: sorted("deliveries") }
    }
}

/// The values of a topic of the house, in no order.
fn told(house: &House, topic: &str) -> Vec<String> {
    let records = house.command(&["tail", topic, "--from", "beginning"]);
    sorted(records.into_iter().map(|record| record["value"].clone()))
}

fn sorted(values: impl IntoIterator<Item = Value>) -> Vec<String> {
    let mut texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    texts.sort();
    texts
}

/// A house with orders of both legs, leads, and a pixel whose token is dead.
fn house(data: &Path, meta: &MetaBox) -> (House, Account) {
    let house = House::start(data, meta, &[PROBE]);
    let account = house.account(meta, &PIXELS);
    meta.put_pixel(PIXELS[1], "another token");
    for n in 0..ORDERS {
        assert_eq!(house.webhook(&account, &purchase(&format!("ORD-{n}"))).status, 200);
    }
    for n in 0..BROWSER_ORDERS {
        assert_eq!(house.client.session(&browser_purchase(&account, &format!("BR-{n}"))).status, 200);
    }
    for n in 0..LEADS {
        let lead = json!({"event":"lead","email":format!("lead-{n}@example.com")});
        assert_eq!(house.webhook(&account, &lead).status, 200);
    }
    wait_for("everything to be delivered, or to wait for the token", || {
        let deliveries = house.export("deliveries");
        let of = |pixel: &str, outcome: &str| deliveries.iter().filter(|d| d["pixel_id"] == pixel && d["outcome"] == outcome).count();
        let each = ORDERS + BROWSER_ORDERS + LEADS;
        ((of(PIXELS[0], "delivered"), of(PIXELS[1], "waiting")) == (each, each)).then_some(())
    });
    (house, account)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command that ends well; its output.
fn well(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    assert!(status.success(), "{}{}", text(&stdout), text(&stderr));
    text(&stdout)
}

/// A command that is refused; its sentence.
fn refused(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    assert!(!status.success(), "it was not refused: {}", text(&stdout));
    text(&stderr)
}

/// The old house, started once more.
fn boot(data: &Path) -> Command {
    let mut command = rapidmetrics();
    command.arg("--data").arg(data).env("RAPIDMETRICS_INGEST__LISTEN", "127.0.0.1:0").env("RAPIDMETRICS_ADMIN__LISTEN", "127.0.0.1:0");
    command
}

fn from(cluster: &Cluster, data: &Path) -> Command {
    let mut command = cluster.migrate();
    command.arg("--from").arg(data);
    command
}

/// Runs a move until it stands at a point, and kills it there.
fn killed_at(point: &str, cluster: &Cluster, data: &Path) {
    let (mut moving, _out) = Process::spawn(from(cluster, data).env(PAUSE, point));
    let paused = format!("paused at {}", point.split(':').next().expect("a name"));
    wait_for(&paused, || {
        if let Some(status) = moving.has_ended() {
            panic!("it ended before {point}: {status}\n{}", moving.log());
        }
        moving.log().contains(&paused).then_some(())
    });
    moving.kill();
}

/// What came of the move, in a cluster on which nobody works yet.
fn assert_moved(cluster: &Cluster, books: &Books, topics: &[(&str, Vec<String>)]) {
    assert_eq!(&Books::of(|what| cluster.export(what)), books);
    for (topic, told) in topics {
        assert_eq!(&sorted(cluster.outside(topic)), told, "{topic}: each record once");
    }
}

#[test]
fn a_house_that_runs_moves_into_a_cluster_and_goes_on_there() {
    let (data, meta) = (tempfile::tempdir().expect("a folder"), MetaBox::start());
    let Some(mut cluster) = Cluster::planned(&meta, "moveall") else { return };
    let (mut house, account) = house(data.path(), &meta);
    let conversions = meta.conversions(PIXELS[0]).len();

    // Meta takes its time, so that the house has something to finish while its door answers 503.
    meta.faults(&json!([{"pixel": PIXELS[0], "fault": "slow", "ms": 1_200}]));
    let acknowledged = house.webhook(&account, &purchase("LATE")).status;
    assert_eq!(acknowledged, 200);
    let (has_ended, refused_politely) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut late, client) = (vec!["LATE".to_owned()], house.client.clone());
    let log = std::thread::scope(|scope| {
        let knocking = scope.spawn(|| {
            let mut taken = Vec::new();
            for n in 0.. {
                if has_ended.load(Ordering::Relaxed) {
                    break;
                }
                let order = format!("KNOCK-{n}");
                let path = format!("/v1/webhook/custom/{}", account.funnel);
                let headers = [("content-type", "application/json"), ("x-api-key", account.api_key.as_str())];
                match client.try_send("POST", &path, &headers, purchase(&order).to_string().as_bytes()) {
                    Ok(answer) if answer.status == 503 => {
                        assert!(answer.header("retry-after").is_some());
                        refused_politely.store(true, Ordering::Relaxed);
                    }
                    Ok(answer) => {
                        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
                        taken.push(order);
                    }
                    Err(_) => break, // the process has ended
                }
                std::thread::sleep(Duration::from_millis(5)); // a door, not a flood
            }
            taken
        });
        let log = well(&mut from(&cluster, data.path()));
        has_ended.store(true, Ordering::Relaxed);
        late.extend(knocking.join().expect("it ends"));
        log
    });
    print!("{log}");
    meta.no_faults();
    assert!(refused_politely.load(Ordering::Relaxed), "the door answered 503 while the house finished");
    assert!(house.process.wait().success(), "the process ended in order");
    assert!(refused(&mut boot(data.path())).contains("was moved to a cluster"));

    cluster.account = account.clone();
    cluster.open_desk();
    let purchases = cluster.export("purchases");
    assert_eq!(purchases.len(), ORDERS + BROWSER_ORDERS + late.len(), "what was acknowledged, once each");
    let orders: HashSet<&str> = purchases.iter().map(|p| p["order_id"].as_str().expect("an order")).collect();
    assert!(late.iter().all(|order| orders.contains(order.as_str())));
    assert_eq!(cluster.outside("purchases").len(), purchases.len(), "each was told once");
    assert_eq!((cluster.export("leads").len(), cluster.outside("leads").len()), (LEADS, LEADS));
    let before = cluster.export("deliveries");
    assert_eq!(before.len(), 2 * (purchases.len() + LEADS));

    // The doors know the funnel and its key, the judges every order.
    let door = cluster.member("ingest", "door", &[]);
    let judge = cluster.member("process", "judge", &[]);
    wait_for("the filters to be warm", || (judge.metric("rapidmetrics_processor_filter_warm") >= 4.0).then_some(()));
    assert!(judge.metric("rapidmetrics_processor_filter_keys") >= (purchases.len() + LEADS) as f64, "warm, and full of what moved");
    let ask = |order: &str| wait_for("an answer", || door.door.webhook(&account, &purchase(order)).filter(|answer| answer.0 == 200)).1;
    for order in ["ORD-0", "ORD-39", "LATE"] {
        let again = ask(order);
        assert_eq!((&again["purchases_created"], &again["duplicate"]), (&json!(0), &json!(true)), "{order}: {again}");
    }
    let joined = ask("BR-0");
    assert_eq!((&joined["purchases_created"], &joined["pixel_events_queued"]), (&json!(1), &json!(0)), "{joined}");
    assert_eq!(ask("NEW")["purchases_created"], 1);
    let purchase = cluster.export("purchases").into_iter().find(|p| p["order_id"] == "BR-0").expect("it is there");
    assert_eq!((&purchase["legs"], &purchase["revision"]), (&json!(["browser", "server"]), &json!(2)), "{purchase}");

    // What waited for a token goes out under its old id as soon as the token is right.
    let _sink = cluster.member("deliver", "sink", &[PROBE]);
    meta.put_pixel(PIXELS[1], &format!("token-of-{}", PIXELS[1]));
    let after = wait_for("everything to be delivered", || {
        let deliveries = cluster.export("deliveries");
        let is_done = deliveries.len() == before.len() + 2 && deliveries.iter().all(|d| d["outcome"] == "delivered");
        is_done.then_some(deliveries)
    });
    let late_conversions = late.len() + 1; // and NEW
    assert_eq!(meta.conversions(PIXELS[0]).len(), conversions + late_conversions, "nothing was sent under another id");
    for pixel in PIXELS {
        for conversion in meta.conversions(pixel) {
            let ambiguous = after.iter().find(|d| d["pixel_id"] == pixel && d["event_id"] == conversion["event_id"]);
            let ambiguous = ambiguous.expect("it is recorded")["ambiguous_attempts"].as_u64().unwrap();
            assert!(conversion["server_copies"].as_u64().unwrap() <= 1 + ambiguous, "{conversion}");
        }
    }
    // Attempts are numbered on: no number means two requests to one pixel's partition.
    for delivery in &after {
        let log = delivery["attempt_log"].as_array().expect("a list");
        let numbers: Vec<u64> = log.iter().map(|attempt| attempt["number"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
    println!(
        "moved {} purchases, {LEADS} leads, {} deliveries of which {} waited; all delivered, doubled 0",
        purchases.len(),
        before.len(),
        before.iter().filter(|d| d["outcome"] == "waiting").count()
    );
}

/// A house killed between intent and answer: the command judges, delivers and records what is left, into other partitions than before.
#[test]
fn a_house_that_was_killed_at_work_moves_into_a_cluster_with_more_partitions() {
    let (data, meta) = (tempfile::tempdir().expect("a folder"), MetaBox::start());
    let Some(mut cluster) = Cluster::planned(&meta, "movemore") else { return };
    cluster.set("STORAGE__PARTITIONS", "7");
    let (mut house, account) = house(data.path(), &meta);
    house.process.terminate();
    house.start_again(&[(PAUSE, "intent.after:2")]);
    let answer = house.webhook(&account, &purchase("LATE"));
    assert_eq!(answer.status, 200);
    wait_for("the sink to stand before its request", || house.process.log().contains("paused at intent.after").then_some(()));
    house.process.kill();

    print!("{}", well(from(&cluster, data.path()).env(PROBE.0, PROBE.1)));
    cluster.open_desk();
    let deliveries = cluster.export("deliveries");
    assert_eq!(deliveries.len(), 2 * (ORDERS + BROWSER_ORDERS + LEADS + 1));
    let ambiguous: u64 = deliveries.iter().map(|delivery| delivery["ambiguous_attempts"].as_u64().unwrap()).sum();
    assert!(ambiguous > 0, "the attempt whose answer never came is on record");
    let door = cluster.member("ingest", "door", &[]);
    let judge = cluster.member("process", "judge", &[]);
    wait_for("the filters to be warm", || (judge.metric("rapidmetrics_processor_filter_warm") >= 7.0).then_some(()));
    for order in (0..ORDERS).map(|n| format!("ORD-{n}")).chain(["LATE".to_owned()]) {
        let again = wait_for("an answer", || door.door.webhook(&account, &purchase(&order)).filter(|answer| answer.0 == 200)).1;
        assert_eq!((&again["purchases_created"], &again["duplicate"]), (&json!(0), &json!(true)), "{order}: {again}");
    }
    let _sink = cluster.member("deliver", "sink", &[PROBE]);
    meta.put_pixel(PIXELS[1], &format!("token-of-{}", PIXELS[1]));
    wait_for("everything to be delivered", || {
        let deliveries = cluster.export("deliveries");
        deliveries.iter().all(|delivery| delivery["outcome"] == "delivered").then_some(())
    });
    assert_eq!(cluster.outside("purchases").len(), ORDERS + BROWSER_ORDERS + 1);
}

#[test]
fn a_move_that_is_killed_anywhere_goes_on_and_nothing_stands_twice() {
    let (data, meta) = (tempfile::tempdir().expect("a folder"), MetaBox::start());
    let Some(mut cluster) = Cluster::planned(&meta, "movekill") else { return };
    let (mut house, _) = house(data.path(), &meta);
    assert!(house.process.terminate().success());
    let books = Books::of(|what| house.export(what)); // at rest: what waits is tried again and again
    let topics = ["directory", "purchases", "leads"].map(|topic| (topic, told(&house, topic)));

    // Pages are counted from where the run before noted that it was.
    let points = [
        "marked",
        "begun",
        "directory",
        "page:1",
        "page:3",
        "page:2",
        "page:4",
        "page:2",
        "purchases:1",
        "purchases:3",
        "leads:2",
        "copied",
    ];
    for point in points {
        killed_at(&format!("move.{point}"), &cluster, data.path());
        let why = refused(&mut boot(data.path()));
        assert!(why.contains("is being moved to a cluster") && why.contains("--abort"), "{point}: {why}");
    }
    let why = refused(rapidmetrics().arg("admin").arg("--data").arg(data.path().join("desk")).envs(cluster.env()));
    assert!(why.contains("is being moved into this cluster"), "{why}");

    // At moments that nobody chose, while it copies.
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut killed = points.len();
    for _ in 0..5 {
        // It goes no further than to the end of the copy: from there on there is nothing to copy any more.
        let (mut moving, mut out) = Process::spawn(from(&cluster, data.path()).env(PAUSE, "move.copied"));
        let mut line = String::new();
        while !line.contains("copying to") {
            line.clear();
            assert!(out.read_line(&mut line).expect("a pipe") > 0, "it ended: {}", moving.log());
        }
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        std::thread::sleep(Duration::from_micros(seed % 60_000));
        moving.kill();
        killed += 1;
    }
    killed_at("move.moved", &cluster, data.path());
    assert!(refused(&mut boot(data.path())).contains("was moved to a cluster"));
    print!("{}", well(&mut from(&cluster, data.path())));
    print!("{}", well(&mut from(&cluster, data.path())));
    assert!(refused(&mut boot(data.path())).contains("was moved to a cluster"));
    assert!(refused(from(&cluster, data.path()).arg("--abort")).contains("there is no way back"));
    cluster.open_desk();
    assert_moved(&cluster, &books, &topics);
    println!("{} kills; {} purchases, {} leads, each once", killed + 1, books.purchases.len(), books.leads.len());
}

#[test]
fn a_move_that_was_given_up_leaves_the_house_as_it_was_and_a_new_one_begins_anew() {
    let (data, meta) = (tempfile::tempdir().expect("a folder"), MetaBox::start());
    let Some(mut cluster) = Cluster::planned(&meta, "moveabort") else { return };
    let (mut house, account) = house(data.path(), &meta);
    for (round, point) in ["move.copied", "move.purchases:2"].into_iter().enumerate() {
        assert!(house.process.terminate().success());
        killed_at(point, &cluster, data.path());
        // With the cluster's settings its tables are emptied at once, without them by the next move.
        if round == 0 {
            print!("{}", well(from(&cluster, data.path()).arg("--abort")));
            assert_eq!(cluster.outside("purchases").len(), 0);
        } else {
            print!("{}", well(rapidmetrics().args(["migrate", "--abort", "--from"]).arg(data.path())));
        }
        assert!(refused(from(&cluster, data.path()).arg("--abort")).contains("is not being moved"));
        house.start_again(&[]);
        assert_eq!(house.webhook(&account, &purchase(&format!("AFTER-{round}"))).json()["purchases_created"], 1);
        assert_eq!(house.webhook(&account, &purchase("ORD-1")).json()["duplicate"], true);
    }
    wait_for("the last orders to be delivered", || {
        let delivered = house.export("deliveries").iter().filter(|d| d["outcome"] == "delivered").count();
        (delivered == ORDERS + BROWSER_ORDERS + LEADS + 2).then_some(())
    });
    let topics = ["directory", "purchases", "leads"].map(|topic| (topic, told(&house, topic)));
    let purchases = sorted(house.export("purchases"));
    assert_eq!(purchases.len(), ORDERS + BROWSER_ORDERS + 2);
    print!("{}", well(&mut from(&cluster, data.path())));
    assert!(house.process.wait().success());
    cluster.open_desk();
    assert_eq!(sorted(cluster.export("purchases")), purchases);
    for (topic, told) in topics {
        assert_eq!(sorted(cluster.outside(topic)), told, "{topic}: each record once");
    }
    let _judge = cluster.member("process", "judge", &[]);
    let door = cluster.member("ingest", "door", &[]);
    let again = wait_for("an answer", || door.door.webhook(&account, &purchase("AFTER-1")).filter(|answer| answer.0 == 200)).1;
    assert_eq!(again["duplicate"], true, "{again}");
}

#[test]
fn a_cluster_that_holds_something_else_is_refused_and_the_house_goes_on() {
    let (data, meta) = (tempfile::tempdir().expect("a folder"), MetaBox::start());
    let Some(cluster) = Cluster::start(&meta, "moveforeign") else { return };
    let house = House::start(data.path(), &meta, &[]);
    let account = house.account(&meta, &["6003"]);
    assert_eq!(house.webhook(&account, &purchase("ORD-1")).json()["purchases_created"], 1);
    assert!(refused(&mut from(&cluster, data.path())).contains("hold different master keys"));
    let key = data.path().join("master.key");
    let key = ("RAPIDMETRICS_SECURITY__MASTER_KEY_FILE", key.to_str().expect("text"));

    let judge = cluster.member("process", "judge", &[]);
    let why = refused(from(&cluster, data.path()).env(key.0, key.1));
    assert!(why.contains("work as processor already"), "{why}");
    drop(judge);
    cluster.command(&["workspace", "create", "Somebody"]);
    // The brokers forget a process that was killed when its session is over.
    let why = wait_for("the judge to be forgotten", || {
        let why = refused(from(&cluster, data.path()).env(key.0, key.1));
        (!why.contains("work as processor")).then_some(why)
    });
    assert!(why.contains("directory.v1 holds records"), "{why}");
    assert!(refused(rapidmetrics().args(["migrate", "--from"]).arg(data.path())).contains("storage.engine = \"cluster\""));
    assert_eq!(house.webhook(&account, &purchase("ORD-2")).json()["purchases_created"], 1, "the house never noticed");
}
