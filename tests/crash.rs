//! `kill -9` at every step of the way, and at random under load: nothing acknowledged is lost, one purchase per order, outcomes as
//! promised. The same with cold filters and with damaged snapshots.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use schemas::{
    row::{FilterSnapshot, Row},
    topic::{Group, Topic},
};
use serde_json::{Value, json};
use storage::{Step, Storage};
use support::{Account, House, MetaBox, http::Client, wait_at_most, wait_for};

const COLD: (&str, &str) = ("RAPIDMETRICS_PROCESSOR__FILTER_ALWAYS_COLD", "true");
const PAUSE: &str = "RAPIDMETRICS_STORAGE__PAUSE_AT";

fn purchase(order: &str) -> Value {
    json!({"event":"purchase","email":"jane@example.com","amount":49.99,"currency":"EUR","order_id":order})
}

fn browser_purchase(account: &Account, order: &str) -> Value {
    json!({"v":1,"fid":account.funnel,"sent_at":1_764_000_000_000_i64,"page":{"url":"https://shop.example/thanks"},
           "ids":{"fbp":"fb.1.1596403881668.1116446470"},"consent":"granted","person":{"email":"jane@example.com"},
           "events":[{"event_id":format!("own-{order}"),"visitor_id":"visitor-1","type":"track","name":"Purchase",
                      "props":{"value":49.99,"currency":"EUR","order_id":order},"at":1_764_000_000_000_i64}]})
}

/// Checks one order in ledger, deliveries and Meta: one purchase; one outcome per pixel; copies at Meta never exceed recorded attempts,
/// and every copy but the first was an ambiguous one.
fn check_order(house: &House, meta: &MetaBox, account: &Account, order: &str, context: &str) -> Vec<Value> {
    let event_id = format!("{}:{order}", account.funnel);
    let purchases = house.export("purchases").into_iter().filter(|p| p["order_id"] == order).count();
    assert_eq!(purchases, 1, "{context}: one order, one purchase");
    let deliveries: Vec<Value> = house.export("deliveries").into_iter().filter(|d| d["event_id"] == *event_id).collect();
    assert_eq!(deliveries.len(), account.pixels.len(), "{context}: {deliveries:?}");
    for delivery in &deliveries {
        assert_eq!(delivery["outcome"], "delivered", "{context}: {delivery}");
        let pixel = delivery["pixel_id"].as_str().expect("a pixel");
        let copies = meta.conversion(pixel, "Purchase", &event_id)["server_copies"].as_u64().expect("a number");
        let (attempts, ambiguous) = (delivery["attempts"].as_u64().unwrap(), delivery["ambiguous_attempts"].as_u64().unwrap());
        assert!((1..=attempts).contains(&copies), "{context}: {copies} copies, {delivery}");
        assert!(copies - 1 <= ambiguous, "{context}: a copy too many was not recorded as ambiguous: {copies} copies, {delivery}");
    }
    deliveries
}

fn killed_at(point: &str, filter: &[(&str, &str)], order_of_legs: &[&str]) {
    let data = tempfile::tempdir().expect("a folder");
    let meta = MetaBox::start();
    let mut house = House::start(data.path(), &meta, filter);
    let account = house.account(&meta, &["4001", "4002"]);
    assert_eq!(house.webhook(&account, &purchase("BEFORE")).status, 200);
    house.wait_delivered(2);
    house.process.terminate();
    house.start_again(&[(PAUSE, point)]);

    // The client of the killed process gets no answer, or one that was true.
    let (client, body, posting) = (house.client.clone(), purchase("ORD-1"), account.clone());
    let session = browser_purchase(&account, "ORD-1");
    let legs: Vec<String> = order_of_legs.iter().map(|leg| (*leg).to_owned()).collect();
    let sender = std::thread::spawn(move || {
        for leg in legs {
            let _ = post(&client, &posting, if leg == "server" { &body } else { &session }, leg == "server");
        }
    });
    let paused = format!("paused at {point}");
    wait_for(&paused, || house.process.log().contains(&paused).then_some(()));
    house.kill_and_start(&[(PAUSE, "")]);
    sender.join().expect("the sender ends when the connection does");

    // Both senders retry until they are answered, as the contract tells them to.
    for leg in order_of_legs {
        let (body, is_server) = if *leg == "server" { (purchase("ORD-1"), true) } else { (browser_purchase(&account, "ORD-1"), false) };
        let answer = post(&house.client, &account, &body, is_server).expect("it is up again");
        assert_eq!(answer.0, 200, "{point}: {answer:?}");
    }
    house.wait_delivered(4);
    let context = format!("killed at {point}, legs {order_of_legs:?}");
    check_order(&house, &meta, &account, "BEFORE", &context);
    let deliveries = check_order(&house, &meta, &account, "ORD-1", &context);
    let purchase = house.export("purchases").into_iter().find(|p| p["order_id"] == "ORD-1").expect("it is there");
    let mut legs: Vec<&str> = order_of_legs.to_vec();
    legs.sort_unstable();
    assert_eq!(purchase["legs"], json!(legs), "{context}");
    if order_of_legs == ["server"] {
        let ambiguous: u64 = deliveries.iter().map(|d| d["ambiguous_attempts"].as_u64().unwrap()).sum();
        // One intent per pixel: the kill met one of them, or both.
        let expected = if matches!(point, "intent.after" | "outcome.before") { 1..=2 } else { 0..=0 };
        assert!(expected.contains(&ambiguous), "{context}: {ambiguous} ambiguous attempts, but {expected:?} intents had no outcome");
    }
    // The same order once more, by both legs, changes nothing.
    assert_eq!(
        house.webhook(&account, &self::purchase("ORD-1")).json()["purchases_created"].as_u64(),
        Some(u64::from(!legs.contains(&"server")))
    );
}

fn post(client: &Client, account: &Account, body: &Value, is_server: bool) -> std::io::Result<(u16, String)> {
    let path = format!("/v1/webhook/custom/{}", account.funnel);
    let answer = if is_server {
        client.try_send(
            "POST",
            &path,
            &[("content-type", "application/json"), ("x-api-key", &account.api_key)],
            body.to_string().as_bytes(),
        )?
    } else {
        client.try_send(
            "POST",
            "/v1/session",
            &[("content-type", "text/plain"), ("user-agent", "Test/1.0")],
            body.to_string().as_bytes(),
        )?
    };
    Ok((answer.status, answer.text().to_owned()))
}

const POINTS: [&str; 6] = ["append.after", "judge.before", "judge.after", "intent.before", "intent.after", "outcome.before"];

#[test]
fn killed_after_each_step_of_a_webhooks_way() {
    for point in POINTS {
        killed_at(point, &[], &["server"]);
    }
}

#[test]
fn killed_after_each_step_with_every_filter_cold() {
    for point in POINTS {
        killed_at(point, &[COLD], &["server"]);
    }
}

#[test]
fn killed_after_each_step_while_both_legs_of_an_order_travel() {
    for (n, point) in POINTS.into_iter().enumerate() {
        killed_at(point, &[], if n % 2 == 0 { &["browser", "server"] } else { &["server", "browser"] });
    }
}

#[test]
fn killed_while_it_makes_its_folder_it_opens_the_next_time() {
    // On ports that nobody chose: a house that another test killed is about to have its own again.
    let start = |data: &Path| {
        let mut command = support::rapidmetrics();
        let listeners = ["RAPIDMETRICS_INGEST__LISTEN", "RAPIDMETRICS_ADMIN__LISTEN"].map(|listener| (listener, "127.0.0.1:0"));
        support::Process::spawn(command.arg("--data").arg(data).envs(listeners)).0
    };
    for kill in 0..60_u64 {
        let data = tempfile::tempdir().expect("a folder");
        let mut process = start(data.path());
        std::thread::sleep(Duration::from_micros(kill * 400)); // a moment that nobody chose, over all of a first start
        process.kill();
        let _ = std::fs::remove_file(data.path().join("admin.url")); // it would point at the dead process
        let mut process = start(data.path());
        wait_for("the house to be ready", || {
            if let Some(status) = process.has_ended() {
                panic!("killed after {} us, then: {status}\n{}", kill * 400, process.log());
            }
            let url = std::fs::read_to_string(data.path().join("admin.url")).ok()?;
            let ready = Client::of(url.trim()).try_send("GET", "/health/ready", &[], b"").ok()?;
            (ready.status == 200).then_some(())
        });
        assert!(process.terminate().success());
    }
}

#[test]
fn a_damaged_filter_snapshot_gives_the_same_verdicts() {
    for filter in [&[][..], &[COLD]] {
        let data = tempfile::tempdir().expect("a folder");
        let meta = MetaBox::start();
        let mut house = House::start(data.path(), &meta, filter);
        let account = house.account(&meta, &["4003"]);
        for n in 0..50 {
            assert_eq!(house.webhook(&account, &purchase(&format!("ORD-{n}"))).json()["purchases_created"], 1);
        }
        house.wait_delivered(50);
        assert!(house.process.terminate().success());
        damage_snapshots(data.path());
        house.start_again(&[]);
        for n in 0..60 {
            let answer = house.webhook(&account, &purchase(&format!("ORD-{n}"))).json();
            assert_eq!(answer["purchases_created"], u64::from(n >= 50), "{n}: {answer}");
        }
    }
}

/// Puts a snapshot in front of the good one that would hide every key, were it believed: the good bytes with one bit flipped.
fn damage_snapshots(data: &Path) {
    let config = storage_config(data);
    let storage = Storage::open_embedded(&config).expect("the folder is free");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for partition in 0..storage.partitions(Topic::Raw) {
            let committed = storage.committed(Group::Processor, partition).await.expect("it reads").next_offset;
            let kept = storage.facts().filter_snapshots(partition).await.expect("it reads");
            let mut bytes = kept.first().map_or(vec![1; 64], |snapshot| snapshot.bytes.clone());
            let middle = bytes.len() / 2;
            bytes.iter_mut().take(middle).skip(1).for_each(|byte| *byte = 0);
            let mut step = Step::named("test");
            step.rows.push(Row::FilterSnapshot(FilterSnapshot { partition, generation: 0, next_offset: committed, bytes }));
            storage.commit(step).await.expect("it commits");
        }
        storage.close().await;
    });
}

fn storage_config(data: &Path) -> storage::Config {
    storage::Config {
        data: data.to_owned(),
        partitions: 4,
        free_bytes_min: 0,
        queue_bytes_max: 64 * 1024 * 1024,
        pause_at: None,
        fail_sync_after: None,
    }
}

#[test]
fn random_kills_under_load_lose_nothing_and_double_nothing_unrecorded() {
    let kills = if std::env::var_os("RAPIDMETRICS_LONG").is_some() { 200 } else { 15 };
    let data = tempfile::tempdir().expect("a folder");
    let meta = MetaBox::start();
    let mut house = House::start(data.path(), &meta, &[]);
    let account = house.account(&meta, &["4004", "4005"]);
    meta.faults(&json!([
        {"pixel": null, "fault": "http500", "share": 0.06},
        {"pixel": null, "fault": "reset_after", "share": 0.06},
        {"pixel": null, "fault": "throttle", "share": 0.06},
    ]));

    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicUsize::new(0));
    let created: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
    let senders: Vec<_> = (0..6)
        .map(|sender| {
            let (stop, next, created) = (stop.clone(), next.clone(), created.clone());
            let (client, account) = (house.client.clone(), account.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let order = format!("ORD-{}", next.fetch_add(1, Ordering::Relaxed));
                    if sender % 3 == 0 {
                        send_until_answered(&client, &account, &browser_purchase(&account, &order), false);
                    }
                    let answer = send_until_answered(&client, &account, &purchase(&order), true);
                    let count = answer["purchases_created"].as_u64().unwrap_or(0); // 202 tells nothing yet
                    *created.lock().unwrap().entry(order).or_default() += count;
                }
            })
        })
        .collect();

    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut acknowledged = 0;
    for _ in 0..kills {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // Some progress, then a moment that nobody chose.
        wait_for("progress between two kills", || (created.lock().unwrap().len() > acknowledged).then_some(()));
        std::thread::sleep(Duration::from_micros(seed % 150_000));
        acknowledged = created.lock().unwrap().len();
        house.kill_and_start(&[]);
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().expect("a sender ends");
    }
    meta.no_faults();

    let created = created.lock().unwrap();
    let purchases = house.export("purchases");
    let mut by_order: HashMap<&str, usize> = HashMap::new();
    for purchase in &purchases {
        *by_order.entry(purchase["order_id"].as_str().expect("an order")).or_default() += 1;
    }
    assert_eq!(by_order.len(), created.len(), "every acknowledged order and no other");
    assert!(by_order.values().all(|count| *count == 1));
    assert!(created.values().all(|count| *count <= 1), "no order was answered created twice");
    // Where the answer that said 1 died with the process, the retry said 0: at most one says 1.

    let deliveries = wait_at_most(Duration::from_secs(180), "every delivery to end", || {
        let deliveries = house.export("deliveries");
        (deliveries.len() == created.len() * 2 && deliveries.iter().all(|d| d["outcome"] != "waiting")).then_some(deliveries)
    });
    let mut copies_at_meta: HashMap<(String, String), u64> = HashMap::new();
    for pixel in &account.pixels {
        for conversion in meta.conversions(pixel) {
            let id = conversion["event_id"].as_str().expect("an id").to_owned();
            copies_at_meta.insert((pixel.clone(), id), conversion["server_copies"].as_u64().expect("a number"));
        }
    }
    let mut doubles = 0;
    for delivery in &deliveries {
        let slot = (delivery["pixel_id"].as_str().unwrap().to_owned(), delivery["event_id"].as_str().unwrap().to_owned());
        let copies = copies_at_meta.get(&slot).copied().unwrap_or(0);
        assert_eq!(delivery["outcome"], "delivered", "{delivery}");
        assert!(copies >= 1, "told as delivered and not there: {delivery}");
        assert!(copies <= delivery["attempts"].as_u64().unwrap(), "{copies} copies: {delivery}");
        assert!(copies - 1 <= delivery["ambiguous_attempts"].as_u64().unwrap(), "{copies} copies: {delivery}");
        doubles += copies - 1;
    }
    let ambiguous: u64 = deliveries.iter().map(|d| d["ambiguous_attempts"].as_u64().unwrap()).sum();
    let mut statuses: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for attempt in deliveries.iter().flat_map(|d| d["attempt_log"].as_array().unwrap()) {
        *statuses.entry(format!("{} {}", attempt["status"], attempt["code"])).or_default() += 1;
    }
    println!("attempts by status and code: {statuses:?}");
    println!(
        "{kills} kills, {} orders, {} deliveries, {ambiguous} ambiguous attempts, {doubles} of them doubled at Meta",
        created.len(),
        deliveries.len()
    );
}

fn send_until_answered(client: &Client, account: &Account, body: &Value, is_server: bool) -> Value {
    wait_for("an answer", || match post(client, account, body, is_server) {
        Ok((200 | 202, text)) => Some(serde_json::from_str(&text).expect("JSON")),
        Ok((503, _)) | Err(_) => None,
        Ok((status, text)) => panic!("{status}: {text}"),
    })
}
