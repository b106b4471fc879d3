//! What was rejected is sent again by the command, once the reason has gone: counted first, delivered once, and accounted for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{path::Path, process::Output};

use serde_json::{Value, json};
use support::{House, MetaBox, cluster::Cluster, rapidmetrics, wait_for};

const ORDERS: u64 = 30;

/// Runs a command as people do, without `--json`.
fn said(data: &Path, words: &[&str]) -> Output {
    rapidmetrics().args(words).arg("--data").arg(data).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn thirty_rejected_purchases_are_replayed_by_command_and_each_is_delivered_once() {
    let (data, meta) = (tempfile::tempdir().expect("a folder"), MetaBox::start());
    replays(&House::start(data.path(), &meta, &[]), &meta);
}

#[test]
fn thirty_rejected_purchases_are_replayed_by_command_on_the_cluster() {
    let (data, meta) = (tempfile::tempdir().expect("a folder"), MetaBox::start());
    let Some(cluster) = Cluster::made(&meta, "replay") else { return };
    replays(&cluster.house(data.path(), &meta), &meta);
}

fn replays(house: &House, meta: &MetaBox) {
    let data = house.data.as_path();
    let account = house.account(meta, &["5101"]);
    meta.faults(&json!([{"pixel": "5101", "fault": "error", "status": 400, "code": 100, "subcode": 2_804_010}]));
    for order in 0..ORDERS {
        let hook = json!({"event":"purchase","email":"jane@example.com","amount":49.90,"currency":"EUR","order_id":format!("ORD-{order}")});
        assert_eq!(house.webhook(&account, &hook).json()["purchases_created"], 1);
    }
    // An event that happened eight days ago: Meta would not take it any more.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let old = json!({"v":1,"fid":account.funnel,"sent_at":now,"page":{"url":"https://shop.example/"},"ids":{},"consent":"granted",
        "events":[{"event_id":"old-1","visitor_id":"visitor-1","type":"track","name":"AddToCart","props":{},"at":now - 8 * 86_400_000}]});
    assert_eq!(house.client.session(&old).status, 200);
    let totals = |what: &str, wish: &dyn Fn(&Value) -> bool| {
        wait_for(what, || {
            let totals = house.command(&["totals", "--pixel", "5101"]).remove(0);
            assert_eq!(totals["holds"], json!(true), "{totals}");
            wish(&totals).then_some(totals)
        })
    };
    let before = totals("everything to be refused", &|totals| totals["rejected"] == ORDERS && totals["expired"] == 1);
    assert_eq!(before["dispatched"], ORDERS + 1);
    let shown = house.command(&["pixel", "show", "5101"]).remove(0);
    assert_eq!((&shown["state"], &shown["waiting"]), (&json!("ok"), &json!(0)), "{shown}");

    meta.no_faults();
    let replay = ["replay", "--pixel", "5101", "--outcome", "rejected", "--since", "2020-01-01"];
    let dry = said(data, &[&replay[..], &["--dry-run"]].concat());
    assert!(dry.status.success() && text(&dry.stdout).starts_with("30 rejected deliveries of pixel 5101 ended "), "{dry:?}");
    assert!(text(&dry.stdout).trim_end().ends_with(": 30 can be sent again."), "{dry:?}");
    print!("{}", text(&dry.stdout));
    let expired = ["replay", "--pixel", "5101", "--outcome", "expired", "--since", "2020-01-01"];
    let old = said(data, &expired);
    assert!(text(&old.stdout).contains("1 is older than the seven days for which Meta accepts events"), "{old:?}");
    print!("{}", text(&old.stdout));

    let done = house.command(&replay);
    let last = done.last().expect("it says how it ended");
    assert_eq!((&last["done"], &last["replayed"]), (&json!(true), &json!(ORDERS)), "{done:?}");
    let after = totals("everything to be delivered", &|totals| totals["delivered"] == ORDERS);
    let stand = json!([after["dispatched"], after["rejected"], after["expired"], after["waiting"]]);
    assert_eq!(stand, json!([ORDERS + 1, 0, 1, 0]), "a replay is no new dispatch: {after}");
    for order in 0..ORDERS {
        let receipt = house.command(&["receipt", "--order-id", &format!("ORD-{order}")]).remove(0);
        let delivery = &receipt["deliveries"][0];
        let log = delivery["attempt_log"].as_array().expect("a list");
        assert_eq!((&delivery["outcome"], &delivery["replayed"]["outcome"]), (&json!("delivered"), &json!("rejected")), "{receipt}");
        assert_eq!((&log[0]["subcode"], &log[log.len() - 1]["status"]), (&json!(2_804_010), &json!(200)), "{receipt}");
        assert!(receipt["sentence"].as_str().is_some_and(|sentence| sentence.ends_with(", replayed after it was rejected).")), "{receipt}");
    }
    let conversions = meta.conversions("5101");
    assert_eq!(conversions.len() as u64, ORDERS);
    assert!(conversions.iter().all(|conversion| conversion["server_copies"] == 1), "{conversions:?}");
    let metrics = house.metrics();
    let gauge = |state: &str| -> u64 {
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("rapidmetrics_capi_dispatches{") && line.contains(&format!("state=\"{state}\"")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    assert_eq!(["dispatched", "delivered", "rejected", "expired", "waiting"].map(gauge), [ORDERS + 1, ORDERS, 0, 1, 0]);

    let again = house.command(&replay);
    assert_eq!((again.len(), &again[0]["matched"]), (1, &json!(0)), "what was replayed matches no more");
    let none = said(data, &["replay", "--pixel", "1", "--outcome", "rejected", "--since", "2020-01-01"]);
    assert!(none.status.code() == Some(1) && text(&none.stderr).contains("no pixel 1 is known"), "{none:?}");
    let delivered = said(data, &["replay", "--pixel", "5101", "--outcome", "delivered", "--since", "2020-01-01"]);
    assert_eq!(delivered.status.code(), Some(2), "what was delivered is not sent again");
}
