//! Receipts over what judge and sink would have written.

use axum::http::{Method, StatusCode};
use schemas::{fact::LegName, row::Row};
use serde_json::{Value, json};

use super::ledger::{Shop, after, delivery, dispatch, fact, more_funnels, shop, waiting, words};

const EMAIL: &str = "f1904cf1a9d73a55fa5de0ac823c4403ded71afd4c3248d00bdcd0866552bb79";

fn leg(offset: u64, received_at: &str, more: Value) -> Value {
    let mut leg = json!({"position": {"generation": 0, "partition": 1, "offset": offset}, "raw_id": "0193a2f1-4b2c-7d10-8f5e-2a6b9c3d4e5f",
                         "received_at": received_at});
    if let Value::Object(more) = more {
        more.into_iter().for_each(|(key, value)| leg[key] = value);
    }
    leg
}

fn seen(key: &str, leg: LegName, cell: Value) -> Row {
    Row::Seen { key: key.to_owned(), leg, cell: words(cell) }
}

fn person() -> Value {
    let sealed = json!({"key_id": "3b0f6c1e-7d52-4e8a-9c41-6f2e8d7a5b90", "cell": "S7HaEZ"});
    json!({"email_sha256": EMAIL, "phone_sha256": EMAIL, "sealed": sealed})
}

/// An order told by both legs: delivered to pixel 42 at the second attempt, waiting for 43.
async fn told_by_both_legs(shop: &Shop) {
    let (funnel, key) = (&*shop.funnel, format!("{}|purchase|ORD-123", shop.funnel));
    let client = json!({"fbp": "fb.1.1.2", "client_ip": "203.0.113.7", "user_agent": "Agent/1", "url": "https://shop.example/thanks"});
    let browser = json!({"amount_minor": 4990, "currency": "EUR", "pixels": ["42", "43"], "email": EMAIL,
                         "context": {"occurred_at": after(0), "person": person(), "visitor_id": "v-1", "client": client}});
    let server = json!({"amount_minor": 4990, "currency": "EUR", "context": {"occurred_at": after(4), "person": person(), "client": {}}});
    let sale = json!({"revision": 2, "order_id": "ORD-123", "event_id": format!("{funnel}:ORD-123"), "person": person()});
    let (at_42, at_43) = (dispatch(funnel, "42", &key, 1, json!({})), dispatch(funnel, "43", &key, 2, json!({})));
    let twice = json!([{"number": 1, "at": after(61), "ambiguous": true}, {"number": 2, "at": after(63), "status": 200, "trace_id": "A1"}]);
    let delivered = json!({"attempts": 2, "ambiguous_attempts": 1, "attempt_log": twice, "noted_revision": 2});
    let refused = json!([{"number": 1, "at": after(62), "status": 401, "code": 190, "subcode": 463, "trace_id": "A2"}]);
    let refused = json!({"attempts": 1, "attempt_log": refused, "reason": {"code": "token", "message": "Meta does not accept the token"}});
    let visitor = json!({"funnel_id": funnel, "visitor_id": "v-1", "consent": {"at": after(0), "value": "granted"}});
    let rows = vec![
        seen(&key, LegName::Browser, leg(7, &after(1), browser)),
        seen(&key, LegName::Server, leg(9, &after(4), server)),
        Row::Purchase(words(fact(funnel, "purchase", sale))),
        Row::Visitor(words(visitor)),
        Row::delivery(words(delivery(&at_42, "delivered", delivered))),
        Row::delivery(words(delivery(&at_43, "waiting", refused))),
        waiting(&at_43),
    ];
    shop.case.dispatched(&[at_42, at_43]).await;
    shop.case.consumed().await;
    shop.case.write(rows).await;
}

#[tokio::test]
async fn a_receipt_tells_the_life_of_an_order_that_both_legs_reached() {
    let shop = shop().await;
    told_by_both_legs(&shop).await;
    let receipt = shop.case.json("/api/v1/receipt?order_id=ORD-123").await;
    assert_eq!(
        receipt["sentence"],
        "Order ORD-123 came from the browser on 2025-11-25 at 18:32:40 UTC and from your backend 3 s later; it is one purchase of 49.90 EUR, \
         told to pixel 42 at 18:33:44 UTC (delivered on the 2nd attempt) and still waiting for pixel 43, whose access token Meta does not accept."
    );
    let verdict = |n: usize| {
        let leg = &receipt["legs"][n];
        json!([leg["leg"], leg["verdict"], leg["purchases_created"], leg["pixel_events_queued"], leg["position"]["offset"], leg["amount"]])
    };
    assert_eq!(verdict(0), json!(["browser", "first", 0, 2, 7, 49.9]));
    assert_eq!(verdict(1), json!(["server", "joined", 1, 0, 9, 49.9]));
    let enrichment = &receipt["enrichment"];
    assert_eq!(enrichment["context"], "browser_leg");
    assert_eq!(enrichment["carried"], json!({"fbp": true, "fbc": false, "client_ip": true, "user_agent": true, "page": true}));
    assert_eq!((&enrichment["consent"], &enrichment["is_withheld"]), (&json!("granted"), &json!(false)));
    assert_eq!(enrichment["person"], json!(["email", "phone"]));
    assert_eq!(enrichment["sealed_under"], json!(["3b0f6c1e-7d52-4e8a-9c41-6f2e8d7a5b90"]));
    assert!(enrichment["note"].as_str().is_some_and(|note| note.contains("stay as pseudonyms")), "{enrichment}");
    assert_eq!((&receipt["fact"]["revision"], &receipt["fact"]["amount"]), (&json!(2), &json!(49.9)));
    let (told, waits) = (&receipt["deliveries"][0], &receipt["deliveries"][1]);
    assert_eq!(json!([told["outcome"], told["revision"], told["noted_revision"]]), json!(["delivered", 1, 2]));
    assert_eq!((&told["attempt_log"][0]["ambiguous"], &told["attempt_log"][1]["trace_id"]), (&json!(true), &json!("A1")));
    assert_eq!((&waits["deadline"], &waits["due_at"]), (&json!(after(7 * 86_400)), &json!(after(3_600))));
    let text = receipt.to_string();
    for personal in [EMAIL, "fb.1.1.2", "203.0.113.7", "Agent/1", "shop.example", "S7HaEZ"] {
        assert!(!text.contains(personal), "{personal} stands in {text}");
    }
    // Its id at Meta leads to the order.
    let by_event = shop.case.json(&format!("/api/v1/receipt?event_id={}:ORD-123", shop.funnel)).await;
    assert_eq!(by_event["sentence"], receipt["sentence"]);
}

#[tokio::test]
async fn an_order_that_the_sink_has_not_read_waits_and_one_that_it_passed_over_is_missing() {
    let shop = shop().await;
    let key = format!("{}|lead|L-1", shop.funnel);
    let cell = leg(3, &after(1), json!({"pixels": ["42"]}));
    let lead = json!({"order_id": "L-1", "event_id": format!("{}:L-1", shop.funnel), "amount": null, "amount_minor": null});
    shop.case.write(vec![seen(&key, LegName::Server, cell), Row::Lead(words(fact(&shop.funnel, "lead", lead)))]).await;
    shop.case.dispatched(&[dispatch(&shop.funnel, "42", &key, 1, json!({"user_data": {}, "action_source": "system_generated"}))]).await;
    let receipt = shop.case.json("/api/v1/receipt?order_id=L-1").await;
    assert_eq!(
        receipt["sentence"],
        "Order L-1 came from your backend on 2025-11-25 at 18:32:40 UTC; it is one lead without an amount, still waiting for pixel 42, whose turn \
         has not come."
    );
    assert_eq!((&receipt["deliveries"][0]["is_unread"], &receipt["legs"][0]["purchases_created"]), (&json!(true), &json!(0)));
    assert_eq!(
        (&receipt["enrichment"]["context"], &receipt["enrichment"]["action_source"]),
        (&json!("nobody"), &json!("system_generated"))
    );
    shop.case.consumed().await;
    let receipt = shop.case.json("/api/v1/receipt?order_id=L-1").await;
    assert_eq!(receipt["deliveries"][0]["outcome"], "missing");
}

#[tokio::test]
async fn a_receipt_of_something_unknown_or_unclear_says_what_to_do() {
    let shop = shop().await;
    told_by_both_legs(&shop).await;
    let workspace = &shop.case.json("/api/v1/workspaces").await[0]["id"];
    let other = more_funnels(&shop.case, workspace).await;
    shop.case.write(vec![seen(&format!("{other}|lead|ORD-123"), LegName::Server, leg(1, &after(1), json!({})))]).await;
    for (query, status, code, says) in [
        ("order_id=ORD-404".to_owned(), 404, "receipt_not_found", "no such order"),
        ("event_id=01932c07-0000-7000-8000-00000000abcd".to_owned(), 404, "receipt_not_found", "visitor_id and name"),
        (format!("order_id=ORD-123&kind=lead&funnel_id={}", shop.funnel), 404, "receipt_not_found", "kind"),
        ("order_id=ORD-123".to_owned(), 409, "several_found", &*other),
        ("order_id=ORD-123".to_owned(), 409, "several_found", &*shop.funnel),
        ("order_id=ORD-123&funnel_id=fn_none".to_owned(), 404, "funnel_not_found", "fn_none"),
        (String::new(), 400, "missing", "order_id or event_id"),
        ("order_id=A&event_id=B".to_owned(), 400, "missing", "order_id or event_id"),
        ("order_id=%20".to_owned(), 400, "invalid", "blank"),
        ("event_id=".to_owned(), 400, "invalid", "event_id"),
        ("event_id=e&visitor_id=v".to_owned(), 400, "missing", "name"),
        ("order_id=A&visitor_id=v&name=N".to_owned(), 400, "invalid", "event_id"),
        ("order_id=A&kind=sale".to_owned(), 400, "invalid_query", "kind"),
        ("order=A".to_owned(), 400, "invalid_query", "order"),
    ] {
        let path = format!("/api/v1/receipt?{query}");
        let (answered, body) = shop.case.ask(Method::GET, &path, Some(shop.case.token.as_str()), "").await;
        let body: Value = serde_json::from_str(&body).expect("errors are JSON");
        assert_eq!((answered.as_u16(), body["error"]["code"].as_str()), (status, Some(code)), "{query}: {body}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains(says)), "{query}: {body}");
    }
    let (status, _) = shop.case.ask(Method::GET, "/api/v1/receipt?order_id=ORD-123", None, "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let receipt = shop.case.json(&format!("/api/v1/receipt?order_id=ORD-123&funnel_id={}", shop.funnel)).await;
    assert_eq!(receipt["fact"]["kind"], "purchase");
}

#[tokio::test]
async fn a_webhook_without_order_tells_from_its_frozen_dispatch_what_it_borrowed() {
    let shop = shop().await;
    let key = format!("{}|hook|E-1", shop.funnel);
    let user_data = json!({"em": [EMAIL], "fbp": "fb.1.1.2", "client_user_agent": "Agent/1"});
    let payload = json!({"action_source": "website", "event_source_url": "https://shop.example/", "user_data": user_data});
    let other = |n: i64| {
        let mut other = dispatch(&shop.funnel, "42", &format!("{}|hook|O-{n}", shop.funnel), 1, json!({}));
        other["received_at"] = json!(after(n));
        other
    };
    let sent = dispatch(&shop.funnel, "42", &key, 1, payload);
    let all: Vec<Value> = (-1_500..0).map(other).chain([sent.clone()]).chain((2..500).map(other)).collect();
    shop.case.dispatched(&all).await;
    let sale = fact(&shop.funnel, "purchase", json!({"event_id": "E-1", "legs": ["server"], "person": {"email_sha256": EMAIL}}));
    shop.case
        .write(vec![
            seen(&key, LegName::Server, leg(3, &after(1), json!({"amount_minor": 4990, "currency": "EUR"}))),
            Row::Purchase(words(sale)),
        ])
        .await;
    // First not read by the sink, then delivered.
    for outcome in ["waiting", "delivered"] {
        let receipt = shop.case.json("/api/v1/receipt?event_id=E-1").await;
        let enrichment = &receipt["enrichment"];
        assert_eq!(
            json!([enrichment["context"], enrichment["action_source"], enrichment["person"]]),
            json!(["borrowed", "website", ["email"]])
        );
        assert_eq!(enrichment["carried"], json!({"fbp": true, "fbc": false, "client_ip": false, "user_agent": true, "page": true}));
        assert_eq!(receipt["deliveries"].as_array().map(Vec::len), Some(1), "pixel 43 never heard of it: {receipt}");
        assert_eq!((&receipt["deliveries"][0]["outcome"], &receipt["legs"][0]["purchases_created"]), (&json!(outcome), &json!(1)));
        assert!(!receipt.to_string().contains("shop.example"));
        let attempt = json!({"attempts": 1, "attempt_log": [{"number": 1, "at": after(3), "status": 200}]});
        shop.case.write(vec![Row::delivery(words(delivery(&sent, "delivered", attempt)))]).await;
        shop.case.consumed().await;
    }
}

#[tokio::test]
async fn an_event_of_a_page_is_found_by_its_id_alone_and_at_once_by_visitor_and_name() {
    let shop = shop().await;
    let key = |visitor: &str, id: &str| format!("{}|event|{visitor}|AddToCart|{id}", shop.funnel);
    let payload = json!({"action_source": "website", "user_data": {"client_user_agent": "Agent/1"}});
    let at = |visitor: &str, id: &str| dispatch(&shop.funnel, "43", &key(visitor, id), 1, payload.clone());
    shop.case.dispatched(&[at("v-1", "e-1"), at("v-1", "twice")]).await;
    shop.case.consumed().await;
    shop.case.dispatched(&[at("v-1", "e-2"), at("v-2", "twice")]).await;
    let rows = ["e-1", "twice"].map(|id| Row::delivery(words(delivery(&at("v-1", id), "delivered", json!({"attempts": 1})))));
    let cells = ["e-1", "e-2", "quiet"].map(|id| seen(&key("v-1", id), LegName::Browser, leg(5, &after(1), json!({}))));
    shop.case.write(rows.into_iter().chain(cells).collect()).await;
    for (id, outcome) in [("e-1", "delivered"), ("e-2", "waiting")] {
        let slow = shop.case.json(&format!("/api/v1/receipt?event_id={id}")).await;
        let fast = shop.case.json(&format!("/api/v1/receipt?event_id={id}&visitor_id=v-1&name=AddToCart")).await;
        assert_eq!(slow, fast);
        assert_eq!(json!([slow["event_name"], slow["deliveries"][0]["outcome"], slow["fact"]]), json!(["AddToCart", outcome, null]));
        assert_eq!((&slow["enrichment"]["context"], &slow["enrichment"]["carried"]["user_agent"]), (&json!("browser_leg"), &json!(true)));
    }
    let quiet = shop.case.json("/api/v1/receipt?event_id=quiet&visitor_id=v-1&name=AddToCart").await;
    assert!(quiet["sentence"].as_str().is_some_and(|sentence| sentence.ends_with("and no pixel was to hear of it.")), "{quiet}");
    let odd = format!("{}|event|v-1|Add\u{1b}[2J\n|e-3", shop.funnel);
    shop.case.write(vec![seen(&odd, LegName::Browser, leg(6, &after(1), json!({})))]).await;
    let odd = shop.case.json("/api/v1/receipt?event_id=e-3&visitor_id=v-1&name=Add%1B%5B2J%0A").await;
    assert!(odd["sentence"].as_str().is_some_and(|sentence| sentence.contains("one Add [2J  event")), "{odd}");
    let (status, body) = shop.case.ask(Method::GET, "/api/v1/receipt?event_id=twice", Some(shop.case.token.as_str()), "").await;
    assert!(status == StatusCode::CONFLICT && body.contains("v-1") && body.contains("v-2"), "{status} {body}");
}
