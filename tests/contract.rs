//! The public documentation, row by row, against the real binary: every answer, every error, in the order of the checks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
    sync::LazyLock,
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    Account, House, MetaBox,
    http::{self, Answer},
    wait_for,
};

/// One house for the whole suite; each test uses orders of its own.
struct World {
    house: House,
    meta: MetaBox,
    account: Account,
    other: Account,
    _data: tempfile::TempDir,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let data = tempfile::tempdir().expect("a folder");
    let meta = MetaBox::start();
    let house = House::start(data.path(), &meta, &[]);
    let account = house.account(&meta, &["1001", "1002"]);
    let other = house.account(&meta, &["1003"]);
    World { house, meta, account, other, _data: data }
});

fn hook(body: &str) -> Answer {
    WORLD.house.client.webhook(&WORLD.account.funnel, &WORLD.account.api_key, body.as_bytes())
}

fn path() -> String {
    format!("/v1/webhook/custom/{}", WORLD.account.funnel)
}

/// Checks the shape that every error has, and answers code and field.
fn error(answer: &Answer) -> (u16, String, Value) {
    let body = answer.json();
    let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["error", "status"], "{body}");
    assert_eq!(body["status"], "error");
    let message = body["error"]["message"].as_str().expect("a message");
    assert!(!message.is_empty());
    assert!(body["error"].as_object().unwrap().contains_key("field"), "{body}");
    assert!(answer.text().starts_with(r#"{"status":"error","error":{"code":""#), "{}", answer.text());
    (answer.status, body["error"]["code"].as_str().expect("a code").to_owned(), body["error"]["field"].clone())
}

#[test]
fn answers_are_byte_for_byte_as_documented() {
    let cases = [
        // (what is sent, what comes back)
        (
            r#"{"event":"purchase","email":"jane@example.com","amount":49.99,"currency":"EUR","order_id":"ORD-123"}"#,
            r#"{"status":"success","event":"purchase","order_id":"ORD-123","purchases_created":1,"pixel_events_queued":2}"#,
        ),
        (
            r#"{"event":"purchase","email":"jane@example.com","amount":49.99,"currency":"EUR","order_id":"ORD-123"}"#,
            r#"{"status":"success","event":"purchase","order_id":"ORD-123","purchases_created":0,"pixel_events_queued":0,"duplicate":true}"#,
        ),
        (
            r#"{"event":"purchase","email":"jane@example.com","amount":50,"currency":"EUR","order_id":"ORD-123"}"#,
            r#"{"status":"success","event":"purchase","order_id":"ORD-123","purchases_created":0,"pixel_events_queued":0,"duplicate":true,"conflict":["amount"]}"#,
        ),
        (
            r#"{"event":"purchase","email":"john@example.com","amount":50,"currency":"USD","order_id":" ORD-123 "}"#,
            r#"{"status":"success","event":"purchase","order_id":"ORD-123","purchases_created":0,"pixel_events_queued":0,"duplicate":true,"conflict":["amount","currency","email"]}"#,
        ),
        (
            r#"{"event":"purchase","email":"jane@example.com","amount":10}"#,
            r#"{"status":"success","event":"purchase","order_id":null,"purchases_created":1,"pixel_events_queued":2}"#,
        ),
        (
            r#"{"event":"lead","email":"jane@example.com","order_id":"L-1"}"#,
            r#"{"status":"success","event":"lead","order_id":"L-1","purchases_created":0,"pixel_events_queued":2}"#,
        ),
        (
            r#"{"event":"lead","email":"jane@example.com","order_id":"ORD-123"}"#,
            r#"{"status":"success","event":"lead","order_id":"ORD-123","purchases_created":0,"pixel_events_queued":2}"#,
        ),
        (
            r#"{"event":"purchase","email":"jane@example.com","amount":10,"order_id":4711}"#,
            r#"{"status":"success","event":"purchase","order_id":"4711","purchases_created":1,"pixel_events_queued":2}"#,
        ),
        (
            r#"{"event":"purchase","email":"jane@example.com","amount":10,"order_id":"4711"}"#,
            r#"{"status":"success","event":"purchase","order_id":"4711","purchases_created":0,"pixel_events_queued":0,"duplicate":true}"#,
        ),
    ];
    for (sent, expected) in cases {
        let answer = hook(sent);
        assert_eq!((answer.status, answer.text()), (200, expected), "{sent}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    }
}

#[test]
fn a_value_accepted_with_a_remark_adds_warnings_last() {
    let answer = hook(r#"{"event":"purchase","email":"jane@example.com","amount":1,"order_id":"W-1","phone":"call me"}"#);
    let prefix = r#"{"status":"success","event":"purchase","order_id":"W-1","purchases_created":1,"pixel_events_queued":2,"warnings":[""#;
    assert!(answer.text().starts_with(prefix), "{}", answer.text());

    let headers = [("content-type", "application/json"), ("x-api-key", &*WORLD.account.api_key), ("origin", "https://shop.example")];
    let body = br#"{"event":"purchase","email":"jane@example.com","amount":1,"order_id":"W-2"}"#;
    let answer = WORLD.house.client.send("POST", &path(), &headers, body);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["warnings"].as_array().map(Vec::len), Some(1), "a key in a browser is exposed");
}

#[test]
fn checks_are_made_in_their_order() {
    let (key, client) = (&*WORLD.account.api_key, &WORLD.house.client);
    let json = ("content-type", "application/json");
    let too_big = vec![b' '; 10_241];
    let wrong = ("x-api-key", "rm_live_wrong");
    // Each request has every fault that comes later in the order, so that only the order decides.
    for (method, path, headers, body, status) in [
        ("GET", path(), vec![], &too_big, 405),
        ("PUT", path(), vec![], &too_big, 405),
        ("POST", "/v1/webhook/custom/nobody".into(), vec![], &too_big, 401),
        ("POST", "/v1/webhook/custom/nobody".into(), vec![("x-api-key", "")], &too_big, 401),
        ("POST", "/v1/webhook/custom/nobody".into(), vec![wrong], &too_big, 413),
        ("POST", "/v1/webhook/custom/nobody".into(), vec![wrong, ("content-type", "text/csv")], &vec![b'x'], 404),
        ("POST", path(), vec![wrong, ("content-type", "text/csv")], &vec![b'x'], 403),
        ("POST", path(), vec![("x-api-key", &*WORLD.other.api_key), json], &b"{}".to_vec(), 403),
        ("POST", path(), vec![("x-api-key", key), ("content-type", "text/csv")], &vec![b'x'], 415),
        ("POST", path(), vec![("x-api-key", key), json], &vec![b'x'], 400),
        ("POST", "/v1/nothing".into(), vec![], &vec![b'x'], 404),
    ] {
        let answer = client.send(method, &path, &headers, body);
        assert_eq!(error(&answer).0, status, "{method} {path} {headers:?}: {}", answer.text());
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("POST"));
        }
        assert!(answer.header("x-request-id").is_some());
    }
}

#[test]
fn the_first_wrong_field_is_blamed() {
    for (body, code, field) in [
        ("{}", "missing_field", json!("event")),
        ("[]", "invalid_json", Value::Null),
        ("{", "invalid_json", Value::Null),
        ("", "invalid_json", Value::Null),
        (r#"{"event":"refund","email":"nobody"}"#, "invalid_event", json!("event")),
        (r#"{"event":"purchase","amount":1}"#, "missing_field", json!("email")),
        (r#"{"event":"purchase","email":"nobody","amount":-1}"#, "invalid_email", json!("email")),
        (r#"{"event":"purchase","email":"a@b.co"}"#, "missing_field", json!("amount")),
        (r#"{"event":"purchase","email":"a@b.co","amount":-0.01}"#, "invalid_amount", json!("amount")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1e400}"#, "invalid_amount", json!("amount")),
        (r#"{"event":"purchase","email":"a@b.co","amount":"49,99"}"#, "invalid_amount", json!("amount")),
        (r#"{"event":"purchase","email":"a@b.co","amount":"1e2"}"#, "invalid_amount", json!("amount")),
        (r#"{"event":"purchase","email":"a@b.co","amount":49.999}"#, "invalid_amount", json!("amount")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1.5,"currency":"JPY"}"#, "invalid_amount", json!("amount")),
        (r#"{"event":"purchase","email":"a@b.co","amount":[1]}"#, "invalid_amount", json!("amount")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"currency":"EURO"}"#, "invalid_currency", json!("currency")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"currency":"XXX"}"#, "invalid_currency", json!("currency")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"product_name":{}}"#, "invalid_field", json!("product_name")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"order_id":"{{order.id}}"}"#, "invalid_order_id", json!("order_id")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"order_id":"undefined"}"#, "invalid_order_id", json!("order_id")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"order_id":"null"}"#, "invalid_order_id", json!("order_id")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"order_id":"NaN"}"#, "invalid_order_id", json!("order_id")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"order_id":"[object Object]"}"#, "invalid_order_id", json!("order_id")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"order_id":1.5}"#, "invalid_order_id", json!("order_id")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"order_id":true}"#, "invalid_order_id", json!("order_id")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"metadata":"x"}"#, "invalid_field", json!("metadata")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"amount":2}"#, "duplicate_key", json!("amount")),
        (r#"{"event":"purchase","email":"a@b.co","amount":1,"metadata":{"a":1,"a":2}}"#, "duplicate_key", Value::Null),
    ] {
        let answer = hook(body);
        assert_eq!(error(&answer), (400, code.to_owned(), field), "{body}");
    }
    let long = format!(r#"{{"event":"purchase","email":"a@b.co","amount":1,"order_id":"{}"}}"#, "x".repeat(129));
    assert_eq!(error(&hook(&long)), (400, "invalid_order_id".into(), json!("order_id")));
    let answer = WORLD.house.client.webhook(&WORLD.account.funnel, &WORLD.account.api_key, b"{\"event\":\"\xff\xfe\"}");
    assert_eq!(error(&answer), (400, "invalid_utf8".into(), Value::Null));
}

#[test]
fn amounts_are_exact_in_ledger_and_export() {
    for (n, (amount, currency, minor, shown)) in [
        ("49.99", "USD", 4999, "49.99"),
        ("59.970000000000006", "USD", 5997, "59.97"),
        ("\"12.50\"", "usd", 1250, "12.50"),
        ("0", "USD", 0, "0.00"),
        ("1e2", "USD", 10_000, "100.00"),
        ("4999", "JPY", 4999, "4999"),
        ("1.234", "KWD", 1234, "1.234"),
    ]
    .into_iter()
    .enumerate()
    {
        let order = format!("AMOUNT-{n}");
        let body = format!(r#"{{"event":"purchase","email":"a@b.co","amount":{amount},"currency":"{currency}","order_id":"{order}"}}"#);
        assert_eq!(hook(&body).json()["purchases_created"], 1, "{body}");
        let purchases = WORLD.house.export("purchases");
        let purchase = purchases.iter().find(|p| p["order_id"] == order.as_str()).expect("it is in the ledger");
        assert_eq!(purchase["amount_minor"], minor);
        assert_eq!(purchase["currency"], currency.to_uppercase());
        assert_eq!(purchase["amount"].as_f64(), shown.parse::<f64>().ok());
        assert_eq!(purchase["legs"], json!(["server"]));
        assert_eq!(purchase["event_id"], format!("{}:{order}", WORLD.account.funnel));
        assert_eq!(purchase["funnel_id"], *WORLD.account.funnel);
    }
}

#[test]
fn optional_fields_that_are_null_or_blank_are_absent() {
    let answer = hook(
        r#"{"event":"purchase","email":" jane@example.com ","amount":1,"currency":null,"product_name":null,"first_name":"",
            "last_name":null,"phone":null,"order_id":"  ","metadata":null,"unknown":{"kept":true}}"#,
    );
    let expected = r#"{"status":"success","event":"purchase","order_id":null,"purchases_created":1,"pixel_events_queued":2}"#;
    assert_eq!((answer.status, answer.text()), (200, expected));
}

#[test]
fn a_body_of_10240_bytes_passes_and_one_more_does_not() {
    let body = |bytes: usize, order: &str| {
        let head = format!(r#"{{"event":"purchase","email":"a@b.co","amount":1,"order_id":"{order}","metadata":{{"pad":""#);
        let tail = r#""}}"#;
        format!("{head}{}{tail}", "x".repeat(bytes - head.len() - tail.len()))
    };
    assert_eq!(hook(&body(10_240, "SIZE-1")).status, 200);
    assert_eq!(error(&hook(&body(10_241, "SIZE-2"))), (413, "payload_too_large".into(), Value::Null));
    assert_eq!(hook(&body(200_000, "SIZE-3")).status, 413, "the client can read the answer although it sent much more");

    // The same in chunks, without a content-length.
    for (bytes, status) in [(10_240, 200), (10_241, 413)] {
        let text = body(bytes, &format!("CHUNK-{bytes}"));
        let mut request = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n",
            path(),
            WORLD.account.api_key
        )
        .into_bytes();
        for piece in text.as_bytes().chunks(1_000) {
            request.extend(format!("{:x}\r\n", piece.len()).as_bytes());
            request.extend(piece);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
        assert_eq!(WORLD.house.client.raw(&request).status, status, "{bytes} bytes in chunks");
    }
}

#[test]
fn content_types_with_charset_or_none_pass() {
    for (n, (content_type, status)) in [
        (None, 200),
        (Some("application/json"), 200),
        (Some("application/json; charset=utf-8"), 200),
        (Some("Application/JSON;charset=UTF-8"), 200),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("text/plain"), 415),
    ]
    .into_iter()
    .enumerate()
    {
        let mut headers = vec![("x-api-key", &*WORLD.account.api_key)];
        headers.extend(content_type.map(|value| ("content-type", value)));
        let body = format!(r#"{{"event":"lead","email":"a@b.co","order_id":"TYPE-{n}"}}"#);
        let answer = WORLD.house.client.send("POST", &path(), &headers, body.as_bytes());
        assert_eq!(answer.status, status, "{content_type:?}: {}", answer.text());
    }
}

#[test]
fn an_idempotency_key_makes_a_webhook_without_order_repeatable() {
    let send = |key: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("x-api-key", &*WORLD.account.api_key), ("idempotency-key", key)];
        WORLD.house.client.send("POST", &path(), &headers, body.as_bytes())
    };
    let body = r#"{"event":"purchase","email":"a@b.co","amount":5,"metadata":{"n":1}}"#;
    assert_eq!(send("key-1", body).json()["purchases_created"], 1);
    assert_eq!(send("key-1", body).json()["duplicate"], true);
    assert_eq!(send("key-2", body).json()["purchases_created"], 1);
    let other_amount = send("key-1", r#"{"event":"purchase","email":"a@b.co","amount":6}"#).json();
    assert_eq!((&other_amount["duplicate"], &other_amount["conflict"]), (&json!(true), &json!(["amount"])));
    let other_body = send("key-1", r#"{"event":"purchase","email":"a@b.co","amount":5,"metadata":{"n":2}}"#).json();
    assert_eq!(other_body["conflict"], json!(["body"]));
    assert_eq!(send(&"k".repeat(255), body).status, 200);
    assert_eq!(send(&"k".repeat(256), body).status, 400);
    // An order goes before the key.
    let ordered = r#"{"event":"purchase","email":"a@b.co","amount":5,"order_id":"IDEM-1"}"#;
    assert_eq!(send("key-1", ordered).json()["purchases_created"], 1);
}

fn batch(events: &Value) -> Value {
    json!({"v":1,"fid":WORLD.account.funnel,"sent_at":1_764_000_000_000_i64,
           "page":{"url":"https://shop.example/thanks","referrer":"","title":"Thanks"},
           "ids":{"fbp":"fb.1.1596403881668.1116446470"},"consent":"granted",
           "person":{"email":"browser@example.com"},"events":events})
}

fn event(name: &str, id: &str, props: &Value) -> Value {
    json!({"event_id":id,"visitor_id":"visitor-1","type":"track","name":name,"props":props,"at":1_764_000_000_000_i64})
}

#[test]
fn a_browser_batch_is_answered_event_by_event() {
    let events = json!([
        event("ViewContent", "b-1", &json!({})),
        {"event_id":"b-2","visitor_id":"visitor-1","type":"track","name":""},
        event("ViewContent", "b-1", &json!({})),
        7,
    ]);
    let answer = WORLD.house.client.session(&batch(&events));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let results = answer.json()["results"].clone();
    let statuses: Vec<&str> = results.as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["ok", "invalid", "ok", "invalid"]);
    assert!(answer.text().starts_with(r#"{"results":[{"event_id":"b-1","status":"ok","warnings":[]}"#), "{}", answer.text());
}

#[test]
fn bad_batches_are_refused_with_the_error_shape() {
    let client = &WORLD.house.client;
    for (body, status) in [
        (json!({"v":1,"fid":"nobody","events":[]}).to_string(), 404),
        (json!({"v":1,"events":[]}).to_string(), 400),
        ("nonsense".to_owned(), 400),
        (batch(&Value::Array(vec![event("X", "e", &json!({})); 51])).to_string(), 400),
        ("x".repeat(64 * 1024 + 1), 413),
    ] {
        let answer = client.send("POST", "/v1/session", &[("content-type", "text/plain")], body.as_bytes());
        assert_eq!(error(&answer).0, status, "{}", answer.text());
        assert!(answer.header("access-control-allow-origin").is_some(), "the script must be able to read it");
    }
    assert_eq!(client.get("/v1/session").header("allow").map(|allow| allow.contains("POST")), Some(true));
}

#[test]
fn the_webhook_joins_the_browser_leg_and_its_amount_wins() {
    let order = "JOIN-1";
    let event_id = format!("{}:{order}", WORLD.account.funnel);
    let events = json!([event("Purchase", "own-id", &json!({"value": 10, "currency": "USD", "order_id": order}))]);
    let answer = WORLD.house.client.session(&batch(&events)).json();
    assert_eq!(answer["results"][0]["event_id"], *event_id);
    assert_eq!(answer["results"][0]["warnings"].as_array().map(Vec::len), Some(1), "the own id was replaced");
    wait_for("the browser leg in the ledger", || {
        WORLD.house.export("purchases").into_iter().find(|p| p["order_id"] == order && p["legs"] == json!(["browser"]))
    });
    let answer = hook(r#"{"event":"purchase","email":"jane@example.com","amount":12.5,"order_id":"JOIN-1"}"#);
    assert_eq!(
        answer.text(),
        r#"{"status":"success","event":"purchase","order_id":"JOIN-1","purchases_created":1,"pixel_events_queued":0}"#
    );
    let purchases: Vec<Value> = WORLD.house.export("purchases").into_iter().filter(|p| p["order_id"] == order).collect();
    assert_eq!(purchases.len(), 1);
    assert_eq!(
        (&purchases[0]["legs"], &purchases[0]["amount_minor"], &purchases[0]["revision"]),
        (&json!(["browser", "server"]), &json!(1250), &json!(2))
    );
    let topic = WORLD.house.command(&["tail", "purchases", "--from", "beginning"]);
    let revisions: Vec<&Value> =
        topic.iter().filter(|line| line["value"]["order_id"] == order).map(|line| &line["value"]["revision"]).collect();
    assert_eq!(revisions, [1, 2], "data teams hear of the second leg as the next revision");
    for pixel in &WORLD.account.pixels {
        wait_for("one server copy at Meta", || (WORLD.meta.conversion(pixel, "Purchase", &event_id)["server_copies"] == 1).then_some(()));
    }
}

#[test]
fn the_script_is_served_with_its_funnels_configuration() {
    let client = &WORLD.house.client;
    let script = client.get(&format!("/v1/session.js?fid={}", WORLD.account.funnel));
    assert_eq!(script.status, 200);
    assert!(script.header("content-type").is_some_and(|t| t.starts_with("text/javascript")));
    assert_eq!(script.header("access-control-allow-origin"), Some("*"));
    assert_eq!(script.header("cross-origin-resource-policy"), Some("cross-origin"));
    assert_eq!(script.header("x-content-type-options"), Some("nosniff"));
    assert!(script.header("cache-control").is_some_and(|c| c.contains("max-age=300")));
    for wanted in [&*WORLD.account.funnel, "1001", "1002", "/v1/session"] {
        assert!(script.text().contains(wanted), "{wanted}");
    }
    assert!(!script.text().contains(&WORLD.account.api_key));
    let etag = script.header("etag").expect("an etag");
    let again = client.send("GET", &format!("/v1/session.js?fid={}", WORLD.account.funnel), &[("if-none-match", etag)], b"");
    assert_eq!(again.status, 304);
    for path in ["/v1/session.js?fid=nobody", "/v1/session.js", "/v1/session.js?fid=%3C/script%3E"] {
        let stub = client.get(path);
        assert_eq!(stub.status, 200, "a page must not be left with a queue that never resolves");
        assert!(stub.text().contains("\"unknown\":true"), "{path}");
        assert!(!stub.text().contains("</script"), "{path}");
    }
}

#[test]
fn many_events_of_every_kind_reach_the_events_topic_once() {
    let events: Vec<Value> = (0..20).map(|n| event("AddToCart", &format!("many-{n}"), &json!({"n": n}))).collect();
    for _ in 0..3 {
        assert_eq!(WORLD.house.client.session(&batch(&json!(events))).status, 200);
    }
    let told = wait_for("twenty events", || {
        let topic = WORLD.house.command(&["tail", "events", "--from", "beginning"]);
        let told: Vec<Value> =
            topic.into_iter().filter(|l| l["value"]["event_id"].as_str().is_some_and(|id| id.starts_with("many-"))).collect();
        (told.len() >= 20).then_some(told)
    });
    assert_eq!(told.len(), 20);
    assert!(told.iter().all(|line| line["value"]["person"]["email_sha256"].is_string()));
    let text = serde_json::to_string(&told).unwrap();
    assert!(!text.contains("browser@example.com"), "clear personal fields stand in raw only");
}

#[test]
fn a_half_sent_request_is_given_up_and_harms_nobody() {
    let mut socket = TcpStream::connect(&WORLD.house.client.address).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(50))).expect("a timeout");
    socket.write_all(b"POST /v1/session HTTP/1.1\r\nhost:").expect("it takes bytes");
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest); // a reset or a clean end: both mean that it was given up
    assert_eq!(hook(r#"{"event":"lead","email":"a@b.co"}"#).status, 200);
}

#[test]
fn a_connection_serves_many_requests() {
    let mut socket = TcpStream::connect(&WORLD.house.client.address).expect("it listens");
    let mut answers = BufReader::new(socket.try_clone().expect("a second handle"));
    for n in 0..5 {
        let body = format!(r#"{{"event":"lead","email":"a@b.co","order_id":"KEEP-{n}"}}"#);
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n",
            path(),
            WORLD.account.api_key,
            body.len()
        );
        socket.write_all(format!("{head}{body}").as_bytes()).expect("it takes bytes");
        assert_eq!(http::read_answer(&mut answers).expect("an answer").status, 200);
    }
}

#[test]
fn health_and_metrics_need_no_token_and_the_rest_does() {
    let admin = WORLD.house.admin().expect("it runs");
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(admin.get(path).status, 200, "{path}");
    }
    assert_eq!(admin.get("/api/v1/export/purchases").status, 401);
    let metrics = WORLD.house.metrics();
    for family in [
        "rapidmetrics_ingest_requests_total",
        "rapidmetrics_processor_verdicts_total",
        "rapidmetrics_processor_dedup_total",
        "rapidmetrics_processor_filter_keys",
    ] {
        assert!(metrics.contains(family), "{family}");
    }
    for secret in [&*WORLD.account.api_key, "token-of-1001", "jane@example.com"] {
        assert!(!metrics.contains(secret));
        assert!(!WORLD.house.process.log().contains(secret), "no secret and no person in a log");
    }
}
