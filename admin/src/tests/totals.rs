//! Totals over what judge and sink would have written.

use axum::http::{Method, StatusCode};
use schemas::row::Row;
use serde_json::{Value, json};

use super::ledger::{Shop, after, delivery, dispatch, pixel, shop, waiting, words};
use crate::totals::count_at_most;

fn worth(amount: &str, currency: &str) -> Value {
    json!({"custom_data": {"value": amount.parse::<f64>().expect("a number"), "currency": currency}})
}

/// Pixel 42: one of each outcome, one that waits in the ledger, one whose dispatch the log never had, and two unread. Pixel 43: one
/// delivered, and one unread in two revisions.
async fn some_of_everything(shop: &Shop) {
    let on = |pixel: &str, id: &str, revision: u32, payload: Value| {
        dispatch(&shop.funnel, pixel, &format!("{}|purchase|{id}", shop.funnel), revision, payload)
    };
    let outcomes = ["delivered", "rejected", "expired", "cancelled", "unknown"];
    let ended: Vec<Value> = outcomes.iter().map(|outcome| on("42", outcome, 1, worth("1", "EUR"))).collect();
    let mut waits = on("42", "waits", 2, worth("49.90", "EUR"));
    waits["occurred_at"] = json!(after(-7_200));
    let (gone, other) = (on("42", "gone", 1, json!(null)), on("43", "delivered", 1, worth("1", "EUR")));
    let mut read = ended.clone();
    read.extend([on("42", "waits", 1, worth("1", "EUR")), waits.clone(), other.clone()]);
    shop.case.dispatched(&read).await;
    shop.case.consumed().await;
    let unread = [
        on("42", "unread", 1, worth("10.00", "EUR")),
        on("42", "no amount", 1, json!(null)),
        on("43", "revised", 1, worth("5", "JPY")),
        on("43", "revised", 2, worth("7", "JPY")),
    ];
    shop.case.dispatched(&unread).await;
    let row = |dispatch: &Value, outcome: &str| Row::delivery(words(delivery(dispatch, outcome, json!({}))));
    let mut rows: Vec<Row> = ended.iter().zip(outcomes).map(|(dispatch, outcome)| row(dispatch, outcome)).collect();
    rows.extend([row(&waits, "waiting"), waiting(&waits), row(&gone, "delivered"), row(&other, "delivered")]);
    shop.case.write(rows).await;
}

fn counts(of: &Value) -> Value {
    let names = ["dispatched", "delivered", "rejected", "expired", "cancelled", "unknown", "waiting", "missing"];
    names.iter().map(|name| of[*name].clone()).collect()
}

#[tokio::test]
async fn every_dispatch_is_counted_once_where_it_stands() {
    let shop = shop().await;
    some_of_everything(&shop).await;
    let totals = shop.case.json("/api/v1/totals").await;
    assert_eq!(counts(&totals), json!([11, 3, 1, 1, 1, 1, 4, 0]), "{totals}");
    assert_eq!((&totals["holds"], &totals["unreadable"]), (&json!(true), &json!(0)));
    let [of_42, of_43] = [&totals["pixels"][0], &totals["pixels"][1]];
    assert_eq!((&of_42["pixel_id"], counts(of_42)), (&json!("42"), json!([9, 2, 1, 1, 1, 1, 3, 0])));
    assert_eq!((&of_43["pixel_id"], counts(of_43)), (&json!("43"), json!([2, 1, 0, 0, 0, 0, 1, 0])));
    assert_eq!(of_42["waiting_money"], json!([{"currency": "EUR", "purchases": 2, "amount": 59.9, "amount_minor": 5990}]));
    assert_eq!(
        of_43["waiting_money"],
        json!([{"currency": "JPY", "purchases": 1, "amount": 7, "amount_minor": 7}]),
        "the last revision counts"
    );
    assert_eq!(of_42["first_loss_hour"], "2025-12-02T16:00:00.000000Z", "two hours before the others");
    assert_eq!(of_43["first_loss_hour"], "2025-12-02T18:00:00.000000Z");

    let one = shop.case.json("/api/v1/totals?pixel_id=43").await;
    assert_eq!((counts(&one), one["pixels"].as_array().map(Vec::len)), (json!([2, 1, 0, 0, 0, 0, 1, 0]), Some(1)));
    for query in ["pixel_id=abc", "pixel=43"] {
        let (status, body) = shop.case.ask(Method::GET, &format!("/api/v1/totals?{query}"), Some(shop.case.token.as_str()), "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {body}");
    }
}

#[tokio::test]
async fn counted_in_parts_it_comes_to_the_same() {
    let shop = shop().await;
    some_of_everything(&shop).await;
    let whole = count_at_most(&shop.case.storage, None, 1_000).await.expect("it reads");
    for marks_max in [1, 2, 5, 12] {
        let parts = count_at_most(&shop.case.storage, None, marks_max).await.expect("it reads");
        assert_eq!(parts.sum, whole.sum, "{marks_max}");
        let of = |counted: &crate::totals::Counted| {
            let tally = &counted.pixels[&pixel("42")];
            (tally.counts, tally.first_hour, tally.money["EUR"].1)
        };
        assert_eq!(of(&parts), of(&whole), "{marks_max}");
    }
}

#[tokio::test]
async fn what_is_neither_recorded_nor_waiting_is_missing() {
    let shop = shop().await;
    some_of_everything(&shop).await;
    shop.case.consumed().await; // the sink passed over what it never wrote down
    shop.case.append(schemas::topic::Topic::Dispatch, "42", &[json!("no dispatch")]).await;
    let totals = shop.case.json("/api/v1/totals").await;
    assert_eq!(counts(&totals), json!([11, 3, 1, 1, 1, 1, 1, 3]), "{totals}");
    assert_eq!((&totals["holds"], &totals["unreadable"]), (&json!(false), &json!(1)));
}
