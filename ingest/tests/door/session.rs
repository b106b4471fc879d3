//! The script's batches: what each event is told, and what it leaves in raw.

use serde_json::{Value, json};

use crate::house::{House, Reply, post};

fn event(rest: &Value) -> Value {
    let mut event = json!({"type": "track", "name": "AddToCart", "visitor_id": "v1", "event_id": "e1", "at": 1_000});
    event.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    event
}

async fn send(house: &House, headers: &str, batch: &Value) -> Reply {
    house.ask(post("/v1/session", headers, &batch.to_string())).await
}

#[tokio::test]
async fn each_event_is_answered_in_request_order_and_good_ones_are_stored() {
    let house = House::open("").await;
    let batch = json!({"v": 1, "fid": "fn_1", "sent_at": 1_500.5, "page": {"url": "https://shop.example/"}, "ids": {"fbp": "fb.1.2.3"},
    "person": {"email": "a@b.co"}, "attribution": {"first": {}}, "events": [
        event(&json!({})),
        event(&json!({"type": "page"})),
        event(&json!({"name": "Purchase", "event_id": "mine", "props": {"order_id": "A1", "value": 5}})),
        event(&json!({"type": "identify", "event_id": "e3", "extra": [1]})),
        7,
    ]});
    let reply = send(&house, "content-type: text/plain;charset=UTF-8\r\nuser-agent: Browser/1\r\n", &batch).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.starts_with(
        r#"{"results":[{"event_id":"e1","status":"ok","warnings":[]},{"event_id":"e1","status":"invalid","warnings":["invalid_type: "#
    ));
    let told = reply.json()["results"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|told| format!("{} {}", told["event_id"], told["status"]))
        .collect::<Vec<_>>();
    assert_eq!(told, [r#""e1" "ok""#, r#""e1" "invalid""#, r#""fn_1:A1" "ok""#, r#""e3" "ok""#, r#""" "invalid""#]);

    let raw = house.raw().await;
    let mut keys: Vec<_> = raw
        .iter()
        .map(|(stored, raw)| (String::from_utf8_lossy(&stored.key).into_owned(), raw["type"].as_str().unwrap_or_default()))
        .collect();
    keys.sort();
    let visitor = "fn_1|visitor|v1".to_owned();
    assert_eq!(keys, [("fn_1|purchase|A1".to_owned(), "track"), (visitor.clone(), "identify"), (visitor, "track")]);
    let ids: std::collections::BTreeSet<_> = raw.iter().map(|(_, raw)| raw["id"].to_string()).collect();
    assert_eq!(ids.len(), 3, "each record has an id of its own");
    let waits: Vec<_> = raw.iter().filter_map(|(stored, raw)| raw["server_leg_wait_s"].as_u64().map(|s| (stored.key.clone(), s))).collect();
    assert_eq!(waits, [("fn_1|purchase|A1".into(), 60)], "only an order's purchase waits for its server leg");
    let identify = raw.iter().map(|(_, raw)| raw).find(|raw| raw["type"] == "identify").expect("it is stored");
    let mut rest = identify.clone();
    for made in ["id", "received_at"] {
        rest.as_object_mut().and_then(|raw| raw.remove(made)).expect("it is stamped");
    }
    assert_eq!(
        rest,
        json!({"type": "identify", "version": 1, "funnel_id": "fn_1", "workspace_id": "ws_1", "event_id": "e3", "visitor_id": "v1",
            "pixels": ["1234567890"], "currency": "EUR", "client_ip": "127.0.0.1", "user_agent": "Browser/1", "sent_at": 1_500,
            "page": batch["page"], "ids": batch["ids"], "person": batch["person"], "attribution": batch["attribution"], "body": batch["events"][3]})
    );
}

#[tokio::test]
async fn the_visitors_address_comes_from_trusted_proxies_only() {
    for (settings, ip) in [("", "127.0.0.1"), ("trusted_proxies = [\"127.0.0.0/8\"]", "198.51.100.1")] {
        let house = House::open(settings).await;
        let batch = json!({"fid": "fn_1", "events": [event(&json!({}))]});
        let reply = send(&house, "x-forwarded-for: 1.2.3.4, 198.51.100.1\r\nx-request-id: theirs\r\nsec-gpc: 1\r\n", &batch).await;
        assert_eq!(reply.header("x-request-id") == Some("theirs"), !settings.is_empty());
        let raw = house.raw().await;
        assert_eq!((&raw[0].1["client_ip"], &raw[0].1["consent"]), (&json!(ip), &json!("denied")));
    }
}

#[tokio::test]
async fn what_is_no_batch_is_an_error_that_the_page_can_read() {
    let house = House::open("").await;
    let many = vec![event(&json!({})); 51];
    let origin = "origin: https://shop.example\r\n";
    for (headers, body, error) in [
        (origin, json!({"fid": "fn_2", "events": []}).to_string(), (404, "funnel_not_found", Some("fid"))),
        (origin, json!({"fid": "fn_1", "events": many}).to_string(), (400, "too_many_events", Some("events"))),
        (origin, json!({"fid": "fn_1"}).to_string(), (400, "invalid_batch", None)),
        (origin, "{".to_owned(), (400, "invalid_json", None)),
        (origin, "x".repeat(65_537), (413, "payload_too_large", None)),
        ("origin: https://shop.example\r\ncontent-type: image/png\r\n", "{}".to_owned(), (415, "unsupported_media_type", None)),
    ] {
        let reply = house.ask(post("/v1/session", headers, &body)).await;
        let (status, code, field) = reply.error();
        assert_eq!((status, code.as_str(), field.as_deref()), error);
        assert_eq!(reply.header("access-control-allow-origin"), Some("https://shop.example"));
        assert_eq!(reply.header("access-control-allow-credentials"), Some("true"), "a page that sent cookies must read it too");
        assert_eq!(reply.header("access-control-expose-headers"), Some("retry-after, x-request-id"));
    }
}

#[tokio::test]
async fn an_empty_batch_and_a_preflight_are_answered() {
    let house = House::open("").await;
    let reply = send(&house, "", &json!({"fid": "fn_1", "events": []})).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"results":[]}"#));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let reply = house.ask("OPTIONS /v1/session HTTP/1.1\r\norigin: null\r\n\r\n").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, Some("null")));
    let reply = house.ask("GET /v1/session HTTP/1.1\r\n\r\n").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("post, options")));
}

#[tokio::test]
async fn a_funnel_that_names_its_pages_takes_no_others() {
    let house = House::open("").await;
    for (origin, status) in [
        ("origin: https://shop.example\r\n", 200),
        ("origin: https://www.shop.example\r\n", 200),
        ("", 200), // no page at all
        ("origin: https://evil.example\r\n", 403),
        ("origin: http://shop.example\r\n", 403),
        ("origin: null\r\n", 403),
    ] {
        let reply = send(&house, origin, &json!({"fid": "fn_site", "events": [event(&json!({}))]})).await;
        assert_eq!(reply.status, status, "{origin}");
        if status == 403 {
            assert_eq!(reply.error().1, "origin_not_allowed");
            assert_eq!(reply.header("access-control-allow-origin"), origin.trim().split(' ').nth(1), "the page can read why");
        }
    }
    assert_eq!(house.raw().await.len(), 3);
}

#[tokio::test]
async fn on_a_host_of_the_sites_own_the_ids_are_renewed_as_cookies_once_a_day() {
    let house = House::open("trusted_proxies = [\"127.0.0.0/8\"]").await;
    let batch = json!({"fid": "fn_site", "consent": "granted", "ids": {"fbp": "fb.1.1596403881668.1116446470", "fbc": "no cookie"},
        "events": [event(&json!({}))]});
    let cookies = async |headers: &str, batch: &Value| {
        let request = post("/v1/session", headers, &batch.to_string());
        let reply = house.ask(request).await;
        assert_eq!(reply.status, 200);
        reply.all("set-cookie").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let own = "origin: https://www.shop.example\r\nx-forwarded-host: m.shop.example\r\nx-forwarded-proto: https\r\n";
    assert_eq!(
        cookies(own, &batch).await,
        [
            "_rm_vid=v1; path=/; domain=shop.example; max-age=33696000; samesite=lax; secure",
            "_fbp=fb.1.1596403881668.1116446470; path=/; domain=shop.example; max-age=7776000; samesite=lax; secure",
            "_rm_set=1; path=/; domain=shop.example; max-age=86400; samesite=lax; secure; httponly",
        ]
    );
    let named = House::open("public_url = \"https://m.shop.example/rm\"").await;
    let reply = send(&named, "origin: https://www.shop.example\r\n", &batch).await;
    assert_eq!(reply.all("set-cookie").len(), 3, "the host that the settings name counts, not the proxy's word");
    let none: [String; 0] = [];
    for (why, headers) in [
        ("done today", format!("{own}cookie: a=b; _rm_set=1\r\n")),
        ("another host", "origin: https://www.shop.example\r\nx-forwarded-host: cdn.example\r\n".to_owned()),
        ("no page", "x-forwarded-host: m.shop.example\r\n".to_owned()),
    ] {
        assert_eq!(cookies(&headers, &batch).await, none, "{why}");
    }
    for consent in ["denied", "pending"] {
        let mut batch = batch.clone();
        batch["consent"] = consent.into();
        assert_eq!(cookies(own, &batch).await, none, "{consent}");
    }
}

#[tokio::test]
async fn a_page_whose_arrays_became_text_is_understood() {
    let house = House::open("").await;
    let events = json!([event(&json!({"event_id": "é\"1"})), 7]).to_string();
    let reply = send(&house, "", &json!({"fid": "fn_1", "events": events})).await;
    assert_eq!(reply.status, 200);
    let results = reply.json()["results"].take();
    assert_eq!((&results[0]["event_id"], &results[0]["status"], &results[1]["status"]), (&json!("é\"1"), &json!("ok"), &json!("invalid")));
    let raw = house.raw().await;
    assert_eq!(raw[0].1["body"], event(&json!({"event_id": "é\"1"})), "as if it had come as an array");
    for events in [json!("no array"), json!("{}"), json!({}), json!(7), Value::Null] {
        let reply = send(&house, "", &json!({"fid": "fn_1", "events": events})).await;
        assert_eq!((reply.status, reply.error().1.as_str()), (400, "invalid_batch"), "{events}");
    }
}
