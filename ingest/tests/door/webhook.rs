//! The webhook: the order of its checks, its answers, and what it leaves in raw.

use schemas::{
    topic::Topic,
    verdict::{ConflictField, Refusal, Verdict},
};

use crate::house::{House, KEY, post};

const FIRST: Verdict = Verdict::First { purchases_created: 1, pixel_events_queued: 1 };
const SALE: &str = r#"{"event":"purchase","email":"a@b.co","amount":49.99,"order_id":"ORD-123"}"#;

#[tokio::test]
async fn checks_come_in_their_documented_order() {
    let house = House::open("").await;
    let long = "x".repeat(10_241);
    let (good, bad) = (format!("x-api-key: {KEY}\r\n"), "x-api-key: rm_other\r\n");
    let (known, unknown) = ("/v1/webhook/custom/fn_1", "/v1/webhook/custom/fn_2");
    for (path, headers, body, status, code) in [
        (unknown, "", long.as_str(), 401, "missing_api_key"),
        (unknown, "x-api-key: \r\n", long.as_str(), 401, "missing_api_key"),
        (unknown, bad, long.as_str(), 413, "payload_too_large"),
        (unknown, bad, "x", 404, "funnel_not_found"),
        (known, &format!("{bad}content-type: text/html\r\n"), "x", 403, "invalid_api_key"),
        (known, &format!("{good}content-type: text/html\r\n"), "x", 415, "unsupported_media_type"),
        (known, &format!("{good}idempotency-key: \r\n"), "x", 400, "invalid_idempotency_key"),
        (known, &good, "x", 400, "invalid_json"),
        (known, &good, "", 400, "invalid_json"),
        (known, &good, "{}", 400, "missing_field"),
        ("/v1/webhook/custom/", &good, SALE, 404, "not_found"),
        ("/v1/webhook/custom/fn_1/x", &good, SALE, 404, "not_found"),
    ] {
        let reply = house.ask(post(path, headers, body)).await;
        let (got, got_code, _) = reply.error();
        assert_eq!((got, got_code.as_str()), (status, code), "{path} {headers}");
        assert_eq!(reply.header("x-request-id").map(str::len), Some(36));
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    let reply = house.ask("GET /v1/webhook/custom/fn_2 HTTP/1.1\r\n\r\n").await;
    assert_eq!((reply.error().0, reply.header("allow")), (405, Some("post")));
    assert!(house.raw().await.is_empty(), "nothing that was refused is stored");
}

#[tokio::test]
async fn the_answer_is_what_the_judge_said() {
    for (verdict, status, end) in [
        (FIRST, 200, r#""order_id":"ORD-123","purchases_created":1,"pixel_events_queued":1}"#),
        (Verdict::Joined { purchases_created: 1 }, 200, r#""purchases_created":1,"pixel_events_queued":0}"#),
        (Verdict::Repeat, 200, r#""purchases_created":0,"pixel_events_queued":0,"duplicate":true}"#),
        (Verdict::Conflict { fields: vec![ConflictField::Amount] }, 200, r#""duplicate":true,"conflict":["amount"]}"#),
        (
            Verdict::Refused(Refusal::whole("refused_unreadable", "why")),
            400,
            r#""code":"refused_unreadable","message":"why","field":null}}"#,
        ),
    ] {
        let house = House::open("").await;
        house.judge(&verdict);
        let reply = house.webhook("content-type: application/json\r\n", SALE).await;
        assert_eq!(reply.status, status);
        assert!(reply.body.ends_with(end), "{}", reply.body);
    }
}

#[tokio::test]
async fn without_verdict_it_is_accepted_and_stored() {
    let house = House::open("verdict_timeout_ms = 50").await;
    let reply = house.webhook("", SALE).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.body, r#"{"status":"accepted","event":"purchase","order_id":"ORD-123","durability":"log"}"#);
    assert_eq!(house.raw().await.len(), 1);
}

#[tokio::test]
async fn a_request_leaves_one_raw_record_that_says_all_the_judge_needs() {
    let house = House::open("").await;
    house.judge(&FIRST);
    let reply = house.webhook("user-agent: shop\r\nx-forwarded-for: 192.0.2.1\r\n", &format!(" {SALE}\n")).await;
    let raw = house.raw().await;
    let [(stored, raw)] = raw.as_slice() else { panic!("one record, not {}", raw.len()) };
    assert_eq!(stored.key, "fn_1|purchase|ORD-123");
    assert_eq!(stored.position.partition, house.storage.partition_of(Topic::Raw, &stored.key));
    assert_eq!(raw["id"].as_str(), reply.header("x-request-id"));
    let mut rest = raw.clone();
    for made in ["id", "received_at"] {
        rest.as_object_mut().and_then(|raw| raw.remove(made)).expect("it is stamped");
    }
    let sale: serde_json::Value = serde_json::from_str(SALE).expect("JSON");
    assert_eq!(
        rest,
        serde_json::json!({"type": "webhook", "version": 1, "funnel_id": "fn_1", "workspace_id": "ws_1", "event_id": "fn_1:ORD-123",
            "pixels": ["1234567890"], "currency": "EUR", "reply_to": 0, "body": sale})
    );
    assert!(!String::from_utf8_lossy(&stored.value).contains(KEY));
}

#[tokio::test]
async fn without_order_each_request_is_new_unless_it_carries_an_idempotency_key() {
    let house = House::open("").await;
    house.judge(&FIRST);
    let lead = r#"{"event":"lead","email":"a@b.co"}"#;
    for (headers, body) in
        [("", lead), ("", lead), ("idempotency-key: k\r\n", lead), ("idempotency-key: k\r\n", lead), ("idempotency-key: k\r\n", SALE)]
    {
        assert_eq!(house.webhook(headers, body).await.status, 200);
    }
    let raw = house.raw().await;
    let ids = |idempotent: bool| {
        let of = raw.iter().filter(|(_, raw)| raw["idempotent"].as_bool().unwrap_or(false) == idempotent);
        of.map(|(_, raw)| raw["event_id"].as_str().unwrap_or_default().to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(ids(false).len(), 3, "two fresh ids, and the order's, which goes before the key");
    assert!(ids(false).contains("fn_1:ORD-123"));
    assert_eq!(ids(true).len(), 1, "the same key gives the same id");
    for (stored, raw) in raw.iter().filter(|(_, raw)| raw["event_id"] != "fn_1:ORD-123") {
        assert_eq!(stored.key, format!("fn_1|hook|{}", raw["event_id"].as_str().unwrap_or_default()));
    }
}

#[tokio::test]
async fn a_key_that_was_shown_to_a_browser_is_remarked() {
    let house = House::open("").await;
    house.judge(&FIRST);
    for headers in ["origin: https://shop.example\r\n", "sec-fetch-site: cross-site\r\n"] {
        let reply = house.webhook(headers, r#"{"event":"lead","email":"a@b.co","phone":"none"}"#).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["warnings"].as_array().map(Vec::len), Some(2), "the phone's, and the key's");
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_again() {
    let house = House::open("rate_per_funnel_per_s = 1").await;
    house.judge(&FIRST);
    assert_eq!(house.webhook("", SALE).await.status, 200);
    let reply = house.webhook("content-type: text/html\r\n", SALE).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
}

#[tokio::test]
async fn a_body_is_measured_while_it_streams() {
    let house = House::open("").await;
    house.judge(&FIRST);
    let fill = |bytes: usize| {
        let (start, end) = (r#"{"event":"lead","email":"a@b.co","x":""#, r#""}"#);
        format!("{start}{}{end}", "x".repeat(bytes - start.len() - end.len()))
    };
    let chunked = |body: &str| {
        let head = format!("POST /v1/webhook/custom/fn_1 HTTP/1.1\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunks = body.as_bytes().chunks(1_000).map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
        format!("{head}{}0\r\n\r\n", chunks.collect::<String>())
    };
    for (bytes, status) in [(10_240, 200), (10_241, 413)] {
        assert_eq!(house.webhook("", &fill(bytes)).await.status, status, "{bytes} bytes");
        assert_eq!(house.ask(chunked(&fill(bytes))).await.status, status, "{bytes} bytes in chunks");
    }
    assert_eq!(house.webhook("", "\u{fffd}").await.error().1, "invalid_json");
    let mut bytes = post("/v1/webhook/custom/fn_1", &format!("x-api-key: {KEY}\r\n"), "xx").into_bytes();
    bytes.truncate(bytes.len() - 2);
    bytes.extend([0xff, 0xfe]);
    assert_eq!(house.ask(bytes).await.error().1, "invalid_utf8");
}
