//! What the desk says of pixels.

use axum::http::{Method, StatusCode};
use schemas::row::Row;
use serde_json::{Value, json};

use super::ledger::{after, delivery, dispatch, shop, waiting, words};

#[tokio::test]
async fn a_pixel_whose_token_meta_refuses_says_so_with_what_waits_and_when_the_first_is_lost() {
    let shop = shop().await;
    let worth = |amount: f64| json!({"custom_data": {"value": amount, "currency": "EUR"}});
    let at = |pixel: &str, id: &str, payload: Value| dispatch(&shop.funnel, pixel, &format!("{}|purchase|{id}", shop.funnel), 1, payload);
    let mut first = at("42", "first", worth(49.9));
    first["occurred_at"] = json!(after(-7_200));
    let (second, ended, unread) = (at("42", "second", json!({})), at("42", "ended", worth(1.0)), at("42", "unread", worth(10.0)));
    let slow = at("43", "slow", worth(5.0));
    shop.case.dispatched(&[first.clone(), second.clone(), ended.clone(), slow.clone()]).await;
    shop.case.consumed().await;
    shop.case.dispatched(std::slice::from_ref(&unread)).await;
    let because = |code: &str| json!({"attempts": 1, "reason": {"code": code, "message": "m"}});
    shop.case
        .write(vec![
            Row::delivery(words(delivery(&first, "waiting", because("token")))),
            waiting(&first),
            Row::delivery(words(delivery(&second, "waiting", json!({})))),
            waiting(&second),
            Row::delivery(words(delivery(&ended, "delivered", json!({})))),
            waiting(&ended), // not taken away yet
            Row::delivery(words(delivery(&slow, "waiting", because("rate")))),
            waiting(&slow),
        ])
        .await;
    let list = shop.case.json("/api/v1/pixels").await;
    let said = |n: usize| json!([list[n]["id"], list[n]["state"], list[n]["first_loss_hour"]]);
    assert_eq!(said(0), json!(["42", "token_refused", "2025-12-02T16:00:00.000000Z"]));
    assert_eq!(said(1), json!(["43", "slowed_down", "2025-12-02T18:00:00.000000Z"]));

    let shown = shop.case.json("/api/v1/pixels/42").await;
    assert_eq!((&shown["state"], &shown["waiting"], &shown["is_read"]), (&json!("token_refused"), &json!(3), &json!(false)), "{shown}");
    assert_eq!(shown["waiting_money"], json!([{"currency": "EUR", "purchases": 2, "amount": 59.9, "amount_minor": 5990}]));
    assert_eq!((&shown["first_loss_hour"], &shown["funnels"]), (&json!("2025-12-02T16:00:00.000000Z"), &json!([shop.funnel])));
    assert_eq!(
        shown["sentence"],
        "Pixel 42 stands still because Meta does not accept its access token: add the pixel again with a new one; 3 events wait, 2 purchases \
         of 59.90 EUR; Meta stops accepting the first of them in the hour that begins at 2025-12-02T16:00:00.000000Z."
    );
    let totals = shop.case.json("/api/v1/totals?pixel_id=42").await;
    assert_eq!(
        (&totals["waiting"], &totals["pixels"][0]["waiting_money"]),
        (&shown["waiting"], &shown["waiting_money"]),
        "as totals count it"
    );
}

#[tokio::test]
async fn a_pixel_of_which_nothing_waits_is_well_and_one_that_nobody_knows_is_not_found() {
    let shop = shop().await;
    let shown = shop.case.json("/api/v1/pixels/43").await;
    assert_eq!((&shown["state"], &shown["waiting"], &shown["first_loss_hour"]), (&json!("ok"), &json!(0), &Value::Null));
    assert_eq!(shown["sentence"], "Pixel 43 is well, and nothing waits.");
    let (status, body) = shop.case.ask(Method::GET, "/api/v1/pixels/99", Some(shop.case.token.as_str()), "").await;
    assert!(status == StatusCode::NOT_FOUND && body.contains("pixel_not_found"), "{body}");
    let (status, _) = shop.case.ask(Method::GET, "/api/v1/pixels/43", None, "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}
