//! What people ask afterwards, by the commands: the life of one order, and whether every dispatch is accounted for, also after `kill -9`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use support::{Account, House, MetaBox, rapidmetrics, try_command_on, wait_at_most, wait_for};

fn browser(account: &Account, name: &str, event_id: &str, props: &Value) -> Value {
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    json!({"v":1,"fid":account.funnel,"sent_at":at,"page":{"url":"https://shop.example/thanks"},"ids":{"fbp":"fb.1.1596403881668.1116446470"},
           "consent":"granted","person":{"email":"jane@example.com"},
           "events":[{"event_id":event_id,"visitor_id":"visitor-1","type":"track","name":name,"props":props,"at":at}]})
}

/// Runs a command as people do, without `--json`.
fn said(data: &Path, words: &[&str]) -> Output {
    rapidmetrics().args(words).arg("--data").arg(data).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn a_receipt_tells_the_life_of_an_order_and_of_an_event() {
    let data = tempfile::tempdir().expect("a folder");
    let meta = MetaBox::start();
    let house = House::start(data.path(), &meta, &[]);
    let account = house.account(&meta, &["5001", "5002"]);
    meta.put_pixel("5002", "another token"); // Meta does not accept ours any more
    let props = json!({"value":49.90,"currency":"EUR","order_id":"ORD-123"});
    assert_eq!(house.client.session(&browser(&account, "Purchase", "own-1", &props)).status, 200);
    wait_for("the browser's leg to be judged", || try_command_on(data.path(), &["receipt", "--order-id", "ORD-123"]).ok());
    let hook = json!({"event":"purchase","email":"jane@example.com","amount":49.90,"currency":"EUR","order_id":"ORD-123"});
    assert_eq!(house.webhook(&account, &hook).json()["purchases_created"], 1);

    let receipt = wait_for("one pixel told and the other refused", || {
        let receipt = house.command(&["receipt", "--order-id", "ORD-123"]).remove(0);
        let (told, waits) = (&receipt["deliveries"][0], &receipt["deliveries"][1]);
        (told["outcome"] == "delivered" && waits["reason"]["code"] == "token").then_some(receipt)
    });
    let sentence = receipt["sentence"].as_str().expect("a sentence");
    assert!(sentence.starts_with("Order ORD-123 came from the browser on 20"), "{sentence}");
    assert!(sentence.contains(" and from your backend "), "{sentence}");
    assert!(sentence.contains("; it is one purchase of 49.90 EUR, told to pixel 5001 "), "{sentence}");
    assert!(sentence.ends_with(" and still waiting for pixel 5002, whose access token Meta does not accept."), "{sentence}");
    assert_eq!(json!([receipt["legs"][0]["verdict"], receipt["legs"][1]["verdict"]]), json!(["first", "joined"]));
    assert_eq!(receipt["enrichment"]["context"], "browser_leg");
    assert_eq!(receipt["deliveries"][1]["attempt_log"][0]["code"], 190);
    assert!(!receipt.to_string().contains("jane@"), "{receipt}");

    // People read the sentence first.
    let plain = said(data.path(), &["receipt", "--event-id", &format!("{}:ORD-123", account.funnel)]);
    assert!(plain.status.success() && text(&plain.stdout).starts_with(sentence), "{plain:?}");
    assert!(text(&plain.stdout).contains("status 401, code 190"), "{}", text(&plain.stdout));
    println!("{}", text(&plain.stdout));
    println!("{receipt}");

    // An event that is no order, by its id alone and by the page's own words.
    assert_eq!(house.client.session(&browser(&account, "AddToCart", "cart-1", &json!({}))).status, 200);
    let cart = wait_for("the event at pixel 5001", || {
        let receipt = try_command_on(data.path(), &["receipt", "--event-id", "cart-1"]).ok()?.remove(0);
        (receipt["deliveries"][0]["outcome"] == "delivered").then_some(receipt)
    });
    let direct = house.command(&["receipt", "--event-id", "cart-1", "--visitor", "visitor-1", "--name", "AddToCart"]).remove(0);
    assert_eq!((&direct["dedup_key"], &direct["event_name"]), (&cart["dedup_key"], &json!("AddToCart")));

    let unknown = said(data.path(), &["receipt", "--order-id", "ORD-404"]);
    assert_eq!((unknown.status.code(), text(&unknown.stdout)), (Some(1), ""));
    assert!(text(&unknown.stderr).contains("no such order is known here"), "{}", text(&unknown.stderr));
    assert_eq!(said(data.path(), &["receipt"]).status.code(), Some(2), "nothing was asked");

    // What waits is counted with its worth, and nothing is missing.
    let totals = house.command(&["totals", "--pixel", "5002"]).remove(0);
    assert_eq!((&totals["holds"], &totals["waiting"], &totals["dispatched"]), (&json!(true), &json!(2), &json!(2)), "{totals}");
    let money = json!([{"currency": "EUR", "purchases": 1, "amount": 49.90, "amount_minor": 4990}]);
    assert_eq!(totals["pixels"][0]["waiting_money"], money);
    let plain = said(data.path(), &["totals"]);
    let last = text(&plain.stdout).lines().last().unwrap_or_default().to_owned();
    assert_eq!(last, "4 dispatched = 2 delivered + 0 rejected + 0 expired + 0 cancelled + 0 unknown + 2 waiting");
    assert!(plain.status.success() && text(&plain.stdout).contains("pixel 5002: 2 waiting, 1 purchase of 49.90 EUR; "), "{plain:?}");
}

#[test]
fn totals_hold_while_traffic_runs_and_after_each_kill_in_the_middle_of_deliveries() {
    let data = tempfile::tempdir().expect("a folder");
    let meta = MetaBox::start();
    let mut house = House::start(data.path(), &meta, &[]);
    let account = house.account(&meta, &["5003", "5004"]);
    meta.faults(&json!([
        {"pixel": null, "fault": "http500", "share": 0.1},
        {"pixel": null, "fault": "reset_after", "share": 0.1},
        {"pixel": null, "fault": "slow", "ms": 100},
    ]));
    let stop = Arc::new(AtomicBool::new(false));
    let sender = {
        let (stop, client, account) = (stop.clone(), house.client.clone(), account.clone());
        std::thread::spawn(move || {
            let path = format!("/v1/webhook/custom/{}", account.funnel);
            let headers = [("content-type", "application/json"), ("x-api-key", &*account.api_key)];
            let mut orders = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let body = json!({"event":"purchase","email":"jane@example.com","amount":1,"order_id":format!("ORD-{orders}")}).to_string();
                match client.try_send("POST", &path, &headers, body.as_bytes()) {
                    Ok(answer) if matches!(answer.status, 200 | 202) => orders += 1,
                    _ => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            orders
        })
    };
    let holds = |context: &str| {
        let totals = try_command_on(data.path(), &["totals"]).unwrap_or_else(|why| panic!("{context}: {why}")).remove(0);
        let outcomes = ["delivered", "rejected", "expired", "cancelled", "unknown", "waiting"];
        let sum: u64 = outcomes.iter().map(|outcome| totals[*outcome].as_u64().expect("a number")).sum();
        assert_eq!(
            (totals["dispatched"].as_u64(), &totals["missing"], &totals["holds"]),
            (Some(sum), &json!(0), &json!(true)),
            "{context}: {totals}"
        );
        totals
    };
    let kills = if std::env::var_os("RAPIDMETRICS_LONG").is_some() { 30 } else { 4 };
    let mut met_waiting = 0;
    for kill in 0..kills {
        let before = holds("before")["dispatched"].as_u64().unwrap_or(0);
        wait_for("deliveries under way", || (holds("under way")["dispatched"].as_u64()? > before).then_some(()));
        house.process.kill();
        met_waiting += holds(&format!("the folder after kill {kill}"))["waiting"].as_u64().unwrap_or(0);
        house.start_again(&[]);
        holds(&format!("the process after kill {kill}"));
    }
    stop.store(true, Ordering::Relaxed);
    let orders = sender.join().expect("the sender ends");
    meta.no_faults();
    let totals = wait_at_most(Duration::from_secs(120), "everything to be told", || {
        let totals = holds("the end");
        (totals["waiting"] == 0 && totals["dispatched"] == orders * 2).then_some(totals)
    });
    let dispatched = totals["dispatched"].as_u64().expect("a number");
    assert_eq!(dispatched, orders * 2, "{orders} orders for two pixels: {totals}");
    assert_eq!(totals["delivered"].as_u64(), Some(dispatched), "{totals}");
    assert!(met_waiting > 0, "no kill met a delivery that waited");
    println!("{kills} kills, {met_waiting} deliveries waiting at them, totals: {totals}");
}
