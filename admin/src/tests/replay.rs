//! Replays over what judge and sink would have written.

use axum::http::{Method, StatusCode};
use schemas::{row::Row, topic::Topic};
use serde_json::{Value, json};

use super::ledger::{Shop, after, delivery, dispatch, shop, words};
use crate::replay::count_at_most;

const DAY: i64 = 86_400;

/// What stands at pixel 42: rejected ones of every sort, and others that do not match.
async fn some_of_everything(shop: &Shop) {
    let at = |pixel: &str, id: &str| dispatch(&shop.funnel, pixel, &format!("{}|purchase|{id}", shop.funnel), 1, json!({"n": 1}));
    let row = |dispatch: &Value, outcome: &str, settled_s: i64| {
        Row::delivery(words(delivery(dispatch, outcome, json!({"settled_at": after(settled_s), "attempts": 1}))))
    };
    let [mut old, mut invalid, mut declined] = ["old", "invalid", "declined"].map(|id| at("42", id));
    old["occurred_at"] = json!(after(-8 * DAY));
    (invalid["payload"], invalid["withheld"]) = (Value::Null, json!({"why": "invalid", "code": "currency", "message": "m"}));
    (declined["payload"], declined["withheld"]) = (Value::Null, json!({"why": "no_consent"}));
    let mut revised = at("42", "revised");
    (revised["revision"], revised["payload"]) = (json!(2), json!({"n": 2}));
    let gone = at("42", "gone");
    let (early, delivered, other) = (at("42", "early"), at("42", "delivered"), at("43", "other"));
    let rejected = [at("42", "a"), at("42", "b"), at("42", "revised"), old.clone(), invalid.clone()];
    let mut log = rejected.to_vec();
    log.extend([revised, declined.clone(), early.clone(), delivered.clone(), other.clone()]);
    shop.case.dispatched(&log).await;
    shop.case.consumed().await;
    let mut rows: Vec<Row> = rejected.iter().chain([&gone]).map(|dispatch| row(dispatch, "rejected", -60)).collect();
    rows.extend([
        row(&declined, "cancelled", -60),
        row(&early, "rejected", -2 * DAY),
        row(&delivered, "delivered", -60),
        row(&other, "rejected", -60),
    ]);
    shop.case.write(rows).await;
}

fn counts(of: &Value) -> Value {
    ["matched", "sendable", "too_old", "no_consent", "still_refused", "not_in_log", "replayed"]
        .iter()
        .map(|name| of[*name].clone())
        .collect()
}

fn wish(outcome: &str, dry_run: bool) -> Value {
    json!({"pixel_id": "42", "outcome": outcome, "since": after(-DAY), "dry_run": dry_run})
}

#[tokio::test]
async fn a_dry_run_counts_what_matches_and_says_what_meta_would_no_longer_accept() {
    let shop = shop().await;
    some_of_everything(&shop).await;
    let (status, counted) = shop.case.post("/api/v1/replay", wish("rejected", true)).await;
    assert_eq!((status, counts(&counted)), (StatusCode::OK, json!([6, 3, 1, 0, 1, 1, 0])), "{counted}");
    let sentence = counted["sentence"].as_str().expect("a sentence");
    assert!(sentence.starts_with("6 rejected deliveries of pixel 42 ended from 2025-11-24T18:32:39.000000Z until "), "{sentence}");
    assert!(sentence.contains("3 can be sent again, 1 is older than the seven days for which Meta accepts events"), "{sentence}");
    let (_, cancelled) = shop.case.post("/api/v1/replay", wish("cancelled", true)).await;
    assert_eq!(counts(&cancelled), json!([1, 0, 0, 1, 0, 0, 0]), "consent that was withdrawn is never sent");
    let until = json!({"pixel_id": "42", "outcome": "rejected", "since": "2025-11-01", "until": "2025-11-24", "dry_run": true});
    let (_, early) = shop.case.post("/api/v1/replay", until).await;
    assert_eq!(counts(&early), json!([1, 1, 0, 0, 0, 0, 0]), "{early}");
    for sought_max in [1, 2, 4] {
        let parts = count_at_most(&shop.case.desk, wish("rejected", true), sought_max).await;
        assert_eq!(counts(&parts), counts(&counted), "{sought_max} at a time");
    }
}

#[tokio::test]
async fn a_replay_appends_the_newest_revision_of_each_once_more_and_totals_still_hold() {
    let shop = shop().await;
    some_of_everything(&shop).await;
    let before = shop.case.json("/api/v1/totals").await;
    let dispatches = |told: String| -> Vec<Value> {
        let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
        lines.map(|line| line["value"].clone()).filter(|value| !value["replay"].is_null()).collect()
    };
    let token = shop.case.token.as_str();
    let (status, answer) = shop.case.ask(Method::POST, "/api/v1/replay", Some(token), &wish("rejected", false).to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let lines: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let last = lines.last().expect("there is a last line");
    assert_eq!((&last["done"], counts(last)), (&json!(true), json!([6, 3, 1, 0, 1, 1, 3])), "{answer}");
    assert!(lines.len() > 1 && lines[..lines.len() - 1].iter().all(|line| line["done"] == json!(false)), "{answer}");
    let appended = dispatches(shop.case.get("/api/v1/tail/dispatch?from=beginning").await);
    let told: Vec<Value> = appended.iter().map(|of| json!([of["event_id"], of["revision"], of["version"], of["payload"]["n"]])).collect();
    assert_eq!(told, [json!(["a", 1, 2, 1]), json!(["b", 1, 2, 1]), json!(["revised", 2, 2, 2])]);
    for replay in appended.iter().map(|dispatch| &dispatch["replay"]) {
        assert_eq!(
            (&replay["outcome"], &replay["settled_at"], &replay["id"]),
            (&json!("rejected"), &json!(after(-60)), &appended[0]["replay"]["id"])
        );
    }
    // Nobody read them yet: each still stands where it stood, and a receipt and an export say so.
    let totals = shop.case.json("/api/v1/totals").await;
    assert_eq!((&totals["rejected"], &totals["dispatched"]), (&before["rejected"], &before["dispatched"]), "{totals}");
    let exported = shop.case.get("/api/v1/export/deliveries").await;
    assert_eq!(exported.matches(r#""event_id":"a""#).count(), 1, "{exported}");
    // A second command finds the frozen dispatches of the judge, not those of the first.
    let (_, again) = shop.case.post("/api/v1/replay", wish("rejected", true)).await;
    assert_eq!(counts(&again), json!([6, 3, 1, 0, 1, 1, 0]));
    let (_, end) =
        shop.case.storage.bounds(Topic::Dispatch, shop.case.storage.partition_of(Topic::Dispatch, b"42")).await.expect("it reads");
    assert!(end >= 12, "{end}");
}

#[tokio::test]
async fn a_replay_that_cannot_be_names_the_field_at_fault() {
    let shop = shop().await;
    for (more, status, code, field, says) in [
        (json!({"pixel_id": null}), 400, "missing", "pixel_id", "required"),
        (json!({"pixel_id": "4x"}), 400, "invalid", "pixel_id", "digits"),
        (json!({"pixel_id": "99"}), 404, "pixel_not_found", "pixel_id", "pixel list"),
        (json!({"outcome": null}), 400, "missing", "outcome", "required"),
        (json!({"outcome": "lost"}), 400, "invalid", "outcome", "rejected, unknown, expired or cancelled"),
        (json!({"outcome": "delivered"}), 400, "invalid", "outcome", "never sent again"),
        (json!({"since": null}), 400, "missing", "since", "required"),
        (json!({"since": "yesterday"}), 400, "invalid", "since", "2026-11-25"),
        (json!({"since": after(60)}), 400, "invalid", "since", "future"),
        (json!({"until": "later"}), 400, "invalid", "until", "2026-11-25"),
        (json!({"until": after(-2 * DAY)}), 400, "invalid", "until", "after since"),
        (json!({"dry_run": "yes"}), 400, "invalid", "dry_run", "true or false"),
    ] {
        let mut asked = wish("rejected", true);
        for (key, value) in more.as_object().expect("an object") {
            asked[key] = value.clone();
        }
        let (answered, body) = shop.case.post("/api/v1/replay", asked).await;
        assert_eq!((answered.as_u16(), body["error"]["code"].as_str()), (status, Some(code)), "{more}: {body}");
        assert_eq!(body["error"]["field"], field, "{more}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains(says)), "{more}: {body}");
    }
    let (status, body) =
        shop.case.post("/api/v1/replay", json!({"pixel_id": "42", "outcome": "rejected", "since": "2025-11-01", "dryrun": true})).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("unknown_field")));
    let (status, _) = shop.case.ask(Method::POST, "/api/v1/replay", None, &wish("rejected", true).to_string()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}
