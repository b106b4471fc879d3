//! session.js in a real browser, on a shop that is a stranger to our host, over TLS, with the real house behind a road that fails on
//! purpose: what the pages were told, what the house recorded and what Meta counted are one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};
use support::{Account, House, MetaBox, free_port, wait_for};

/// One house, one browser, all scenes: what the pages were told, and who can be asked about it.
struct Site {
    house: House,
    meta: MetaBox,
    account: Account,
    said: Value,
    #[expect(dead_code, reason = "it is removed when it is dropped")]
    data: tempfile::TempDir,
}

fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| {
        let data = tempfile::tempdir().expect("a folder");
        let meta = MetaBox::start();
        let port = free_port();
        let (public, pixel) = (format!("https://in.rapid.example:{port}"), format!("{}/fbevents.js", meta.url));
        let env = [("RAPIDMETRICS_INGEST__PUBLIC_URL", &*public), ("RAPIDMETRICS_CAPI__PIXEL_SCRIPT_URL", &*pixel)];
        let house = House::start(data.path(), &meta, &env);
        let account = house.account(&meta, &["5001", "5002"]);
        let driver: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/site.mjs");
        let words = json!({"port": port, "house": house.public, "fid": account.funnel});
        let output = Command::new("node").arg(driver).arg(words.to_string()).output().expect("node is installed");
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
        assert_eq!(said["errors"], json!([]), "no page heard an error of ours");
        Site { house, meta, account, said, data }
    })
}

impl Site {
    /// The request to Meta that carried an event, and the event.
    fn sent(&self, event_id: &str) -> (Value, Value) {
        wait_for(&format!("{event_id} at Meta"), || {
            self.meta.requests("5001").iter().find_map(|request| {
                let body: Value = serde_json::from_str(request["body"].as_str()?).ok()?;
                let event = body["data"].as_array()?.iter().find(|event| event["event_id"] == event_id)?.clone();
                Some((body, event))
            })
        })
    }

    /// Checks that each pixel heard once from the server, and as often as said from the page, under one id.
    fn is_told_once(&self, name: &str, event_id: &str, browser_copies: u64) {
        for pixel in &self.account.pixels {
            let expected = json!({"count": 1, "browser_copies": browser_copies, "server_copies": 1});
            wait_for(&format!("{name} {event_id} at pixel {pixel} as {expected}"), || {
                let told = self.meta.conversion(pixel, name, event_id);
                ["count", "browser_copies", "server_copies"].iter().all(|part| told[part] == expected[part]).then_some(())
            });
        }
    }
}

#[test]
fn every_event_has_one_id_on_the_page_at_the_pixel_and_in_what_the_server_tells() {
    let site = site();
    let told = site.said["every_event"].as_array().expect("a list");
    assert_eq!(told.len(), 4);
    for entry in told {
        let (name, result) = (entry[0].as_str().expect("a name"), &entry[1]);
        assert_eq!((&result["status"], &result["event_ids"]), (&json!("ok"), &json!([result["event_id"]])), "{entry}");
        site.is_told_once(name, result["event_id"].as_str().expect("an id"), 1);
    }
    assert_eq!(told[3][1]["event_id"], format!("{}:O-1", site.account.funnel));
}

#[test]
fn a_page_that_goes_while_the_server_is_away_is_made_up_for_by_the_next_one() {
    let site = site();
    assert_eq!(site.said["unavailable_at_unload"]["ok"], true);
    site.is_told_once("AddToCart", "unload-1", 1);
}

#[test]
fn an_answer_that_comes_too_late_is_asked_for_again_and_the_event_is_stored_once() {
    let site = site();
    let said = &site.said["answered_too_late"];
    assert_eq!(
        (&said["first"]["status"], &said["then"]["status"], &said["then"]["event_id"]),
        (&json!("queued"), &json!("ok"), &json!("late-1"))
    );
    site.is_told_once("AddToCart", "late-1", 1);
}

#[test]
fn a_page_with_an_old_prototype_js_is_understood() {
    let site = site();
    assert_eq!(site.said["old_prototype_js"]["status"], "ok", "{}", site.said);
    let (_, event) = site.sent("prototype-1");
    let told = &event["custom_data"];
    assert_eq!((&told["content_ids"], &told["contents"]), (&json!(["a", "b"]), &json!([{"id": "a", "quantity": 2}])));
}

#[test]
fn a_test_event_code_of_the_page_goes_to_meta_beside_its_event_alone() {
    let site = site();
    let (body, _) = site.sent("test-1");
    assert_eq!((&body["test_event_code"], body["data"].as_array().map(Vec::len)), (&json!("TEST77"), Some(1)));
    assert_eq!(site.sent("late-1").0["test_event_code"], Value::Null);
}

#[test]
fn whoever_debugs_reads_what_happens() {
    let lines = site().said["debugged"].as_array().expect("a list");
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    println!("{}", lines.join("\n"));
    for said in [
        "server says ok",
        "value is not a number",
        "currency missing",
        "order_id missing",
        "pixel 5001 trackSingle Purchase",
        "invalid_name",
    ] {
        assert!(lines.iter().any(|line| line.starts_with("[RapidMetrics]") && line.contains(said)), "{said}: {lines:?}");
    }
}

#[test]
fn a_browser_that_a_program_drives_is_counted_as_one() {
    let metrics = site().house.metrics();
    let count = metrics.lines().find_map(|line| line.strip_prefix("rapidmetrics_ingest_bot_events_total ")).expect("it is shown");
    assert!(count.parse::<f64>().expect("a number") >= 4.0, "{count}");
}
