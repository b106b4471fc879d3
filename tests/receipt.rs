//! What people ask afterwards, by the commands: the life of one order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{path::Path, process::Output};

use serde_json::{Value, json};
use support::{Account, House, MetaBox, rapidmetrics, try_command_on, wait_for};

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
    assert!(text(&unknown.stderr).contains("no order ORD-404 is known here"), "{}", text(&unknown.stderr));
    assert_eq!(said(data.path(), &["receipt"]).status.code(), Some(2), "nothing was asked");
}
