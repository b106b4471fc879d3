//! A newcomer's walk: the demo in a real browser, the same order by webhook, one conversion per pixel at Meta.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use support::{Demo, http::Client, wait_for};

/// Drives the shop page in headless Chromium and reads what the page said.
fn drive(arguments: &Value) -> Value {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/drive.mjs");
    let output = Command::new("node").arg(driver).arg("walkthrough").arg(arguments.to_string()).output().expect("node is installed");
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON line")
}

/// Checks that Meta counts one conversion per pixel, heard from both sides under one id.
fn one_conversion_per_pixel(demo: &Demo, name: &str, event_id: &str) {
    for pixel in demo.pixels() {
        let conversion = wait_for(&format!("both legs of {event_id} at pixel {pixel}"), || {
            let conversion = support::conversion(&demo.meta, &pixel, name, event_id);
            (conversion["legs"] == json!(["browser", "server"])).then_some(conversion)
        });
        assert_eq!(conversion, json!({"count":1,"legs":["browser","server"],"browser_copies":1,"server_copies":1}), "{pixel}");
    }
}

#[test]
fn one_purchase_travels_once_by_browser_and_webhook() {
    let mut demo = Demo::start(None, &[]);
    let screenshot = std::env::temp_dir().join("rapidmetrics-walkthrough.png");
    let told = drive(&json!({"shop": demo.text("shop"), "email": "jane@example.com", "webhook": false, "screenshot": screenshot}));
    let order = told["order_id"].as_str().expect("an order");
    let event_id = format!("{}:{order}", demo.text("funnel_id"));
    assert_eq!(told["page_errors"], json!([]), "{told}");
    assert_eq!(told["track_result"]["event_ids"], json!([event_id]), "the promise carries the id that Meta knows");
    assert_eq!(told["track_result"]["status"], "ok");

    // The page fired the pixel and the server sent its copy: one conversion each.
    one_conversion_per_pixel(&demo, "Purchase", &event_id);

    // The same order by webhook, as a backend would post it.
    let bought = demo.export("purchases").into_iter().find(|p| p["order_id"] == order).expect("it is in the ledger");
    let body =
        json!({"event":"purchase","email":"jane@example.com","amount":bought["amount"],"currency":bought["currency"],"order_id":order});
    let answer = demo.webhook(&body);
    let expected =
        format!(r#"{{"status":"success","event":"purchase","order_id":"{order}","purchases_created":1,"pixel_events_queued":0}}"#);
    assert_eq!((answer.status, answer.text()), (200, &*expected), "the first server leg counts as created and sends nothing new");
    let again = demo.webhook(&body).json();
    assert_eq!((&again["purchases_created"], &again["duplicate"]), (&json!(0), &json!(true)));

    let purchases: Vec<Value> = demo.export("purchases").into_iter().filter(|p| p["order_id"] == order).collect();
    assert_eq!(purchases.len(), 1, "one order, one purchase");
    assert_eq!(purchases[0]["legs"], json!(["browser", "server"]));
    wait_for("the second revision to be noted", || {
        let deliveries = demo.export("deliveries");
        let ours: Vec<&Value> = deliveries.iter().filter(|d| d["event_id"] == *event_id).collect();
        (ours.len() == 2 && ours.iter().all(|d| d["outcome"] == "delivered" && d["noted_revision"] == 2)).then_some(())
    });
    one_conversion_per_pixel(&demo, "Purchase", &event_id);
    let report: Value = serde_json::from_slice(&demo.meta.get("/sandbox/report").body).expect("JSON");
    for pixel in demo.pixels() {
        assert_eq!((&report[&pixel]["double_conversions"], &report[&pixel]["rejected"]), (&json!(0), &json!(0)), "{report}");
    }
    assert!(demo.process.terminate().success(), "SIGTERM ends the demo with 0");
}

#[test]
fn a_webhook_that_comes_first_borrows_the_browser_of_its_buyer() {
    let demo = Demo::start(None, &[]);
    drive(&json!({"shop": demo.text("shop"), "email": "ann@example.com", "webhook": false}));
    let answer =
        demo.webhook(&json!({"event":"purchase","email":" Ann@Example.com ","amount":20,"order_id":"BACKEND-1","first_name":"Ann"}));
    assert_eq!(answer.json()["pixel_events_queued"], 2, "{}", answer.text());
    let pixel = demo.pixels().remove(0);
    let sent = wait_for("the purchase at Meta", || {
        let requests: Value = serde_json::from_slice(&demo.meta.get(&format!("/sandbox/requests?pixel={pixel}&limit=100")).body).ok()?;
        requests
            .as_array()?
            .iter()
            .flat_map(|request| {
                let body: Value = serde_json::from_str(request["body"].as_str().unwrap_or("{}")).unwrap_or_default();
                body["data"].as_array().cloned().unwrap_or_default()
            })
            .find(|event| event["custom_data"]["order_id"] == "BACKEND-1")
    });
    assert_eq!(sent["action_source"], "website", "{sent}");
    assert!(sent["user_data"]["client_user_agent"].as_str().is_some_and(|agent| agent.contains("Chrome")), "{sent}");
    assert!(sent["user_data"]["fbp"].as_str().is_some_and(|fbp| fbp.starts_with("fb.")), "{sent}");
    assert!(!sent.to_string().contains("ann@"), "Meta gets digests only");
}

#[test]
fn the_page_shows_what_ledger_and_meta_say_after_the_webhook_button() {
    let demo = Demo::start(None, &[]);
    let told = drive(&json!({"shop": demo.text("shop"), "email": "bob@example.com", "webhook": true, "lead": true}));
    assert_eq!(told["page_errors"], json!([]), "{told}");
    assert!(told["webhook_answer"].as_str().is_some_and(|text| text.contains("purchases_created")), "{told}");
    assert_eq!(told["lead_result"]["status"], "ok");
    assert!(!told["ledger_text"].as_str().unwrap_or("").is_empty() && !told["meta_text"].as_str().unwrap_or("").is_empty(), "{told}");
}

#[test]
fn the_same_folder_is_the_same_shop_again_and_nothing_is_sent_twice() {
    let data = tempfile::tempdir().expect("a folder");
    let mut demo = Demo::start(Some(data.path()), &[]);
    let first = demo.ready.clone();
    let body = json!({"event":"purchase","email":"jane@example.com","amount":10,"order_id":"AGAIN-1"});
    assert_eq!(demo.webhook(&body).json()["purchases_created"], 1);
    assert!(demo.process.terminate().success());

    let demo = Demo::start(Some(data.path()), &[]);
    for same in ["funnel_id", "api_key", "pixels", "data"] {
        assert_eq!(demo.ready[same], first[same], "{same}");
    }
    assert_eq!(demo.webhook(&body).json()["duplicate"], true);
    let event_id = format!("{}:AGAIN-1", demo.text("funnel_id"));
    for pixel in demo.pixels() {
        wait_for("the server copy", || {
            (support::conversion(&demo.meta, &pixel, "Purchase", &event_id)["server_copies"] == 1).then_some(())
        });
    }
    assert!(Client::of(demo.text("admin")).get("/health/ready").status == 200);
}
