//! What the box can be made to do, over HTTP: scripts, its clock, latency, token states, budgets.

mod support;

use std::time::{Duration, Instant};

use meta_sandbox::{Clock, Config, Mode, Sandbox};
use reqwest::Response;
use serde_json::{Value, json};
use support::{Running, now_s, purchase, said, with_token};

async fn fast(scale: u32) -> Running {
    Running::start_with_clock(Config::default(), Mode::Real, Clock::scaled(scale).expect("a good scale")).await
}

/// What a header says, as JSON.
fn header(answer: &Response, name: &str) -> Option<Value> {
    answer.headers().get(name).map(|value| serde_json::from_slice(value.as_bytes()).expect("JSON"))
}

fn event() -> Value {
    with_token(&json!([purchase("x")]))
}

#[tokio::test]
async fn every_fault_answers_as_it_is_documented() {
    let meta = Running::in_memory(Mode::Real).await;
    for (fault, expected) in [
        (json!({"fault": "http503"}), (503, 2, 0)),
        (json!({"fault": "token_revoked"}), (401, 190, 460)),
        (json!({"fault": "permission_lost"}), (403, 200, 0)),
        (json!({"fault": "pixel_unknown"}), (400, 100, 33)),
        (json!({"fault": "error", "subcode": 2_804_019}), (400, 100, 2_804_019)),
        (json!({"fault": "throttle", "code": 613, "subcode": 1_487_742, "status": 429}), (429, 613, 1_487_742)),
    ] {
        meta.put("/sandbox/faults", json!([fault])).await;
        assert_eq!(meta.said(&event()).await, expected, "{fault}");
    }
    meta.put("/sandbox/faults", json!([{"fault": "error", "code_as_text": true}])).await;
    let answer: Value = meta.post(&event()).await.json().await.expect("JSON");
    assert_eq!(answer["error"]["code"], "100");
    meta.put("/sandbox/faults", json!([{"fault": "pixel_unknown"}])).await;
    let answer: Value = meta.post(&event()).await.json().await.expect("JSON");
    assert_eq!(answer["error"]["type"], "GraphMethodException");

    meta.put("/sandbox/faults", json!([{"fault": "http504"}])).await;
    let gateway = meta.post(&event()).await;
    assert_eq!((gateway.status().as_u16(), gateway.bytes().await.expect("a body").len()), (504, 0));
    meta.put("/sandbox/faults", json!([{"fault": "reset_before"}])).await;
    let asked = Instant::now();
    let sent = meta.http.post(format!("{}/v26.0/42/events", meta.url)).json(&event()).send().await;
    assert!(sent.is_err() && asked.elapsed() < Duration::from_secs(10), "{sent:?}");
    assert_eq!(meta.counted("x").await["count"], 0, "whatever failed was not counted");
    meta.stop().await;
}

#[tokio::test]
async fn no_token_is_kept_of_a_body_that_cannot_be_read() {
    let meta = Running::in_memory(Mode::Real).await;
    let send = async || {
        let form = meta.http.post(format!("{}/v26.0/42/events", meta.url)).header("content-type", "application/x-www-form-urlencoded");
        said(form.body(b"access_token=TOKEN&data=\xFF".to_vec()).send().await.expect("an answer")).await
    };
    assert_eq!(send().await, (401, 190, 0), "what cannot be read has no token");
    meta.put("/sandbox/faults", json!([{"fault": "code1"}])).await;
    assert_eq!(send().await, (400, 1, 0));
    let kept = meta.get("/sandbox/requests").await;
    assert!(kept[1]["body"].as_str().is_some_and(|body| body.starts_with("access_token=redacted&data=")), "{kept}");
    assert!(!kept.to_string().contains("TOKEN"), "{kept}");
    meta.stop().await;
}

#[tokio::test]
async fn a_token_can_die_in_mid_run() {
    let meta = Running::in_memory(Mode::Real).await;
    meta.put("/sandbox/faults", json!([{"pixel": "42", "fault": "token_expired", "after": 2}])).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(meta.said(&event()).await);
    }
    assert_eq!(told, [(200, 0, 0), (200, 0, 0), (401, 190, 463), (401, 190, 463)]);
    meta.stop().await;
}

#[tokio::test]
async fn a_token_that_lost_its_permission_is_told_apart_from_a_dead_one() {
    let meta = Running::in_memory(Mode::Real).await;
    meta.put("/sandbox/pixels/42", json!({"access_token": "TOKEN", "token_state": "forbidden"})).await;
    assert_eq!(meta.said(&event()).await, (403, 200, 0));
    meta.put("/sandbox/pixels/42", json!({"access_token": "TOKEN"})).await;
    assert_eq!(meta.said(&event()).await, (200, 0, 0));
    let seen = meta.get("/sandbox/requests").await;
    let told = |at: usize| (seen[at]["status"].clone(), seen[at]["code"].clone(), seen[at]["token_in"].clone());
    assert_eq!(told(0), (json!(403), json!(200), json!("body")));
    assert_eq!(told(1), (json!(200), Value::Null, json!("body")));
    assert_eq!(seen[1]["content_type"], "application/json");
    meta.stop().await;
}

#[tokio::test]
async fn a_script_plays_on_the_boxs_own_clock() {
    let meta = fast(1_000).await;
    let script = "0s..1h pixel 42 throttle code 80004 usage 100\n1h..2h pixel 42 token revoked\nfrom 2h pixel 42 token valid # again\n";
    let (status, put) = meta.put_text("/sandbox/script", script).await;
    assert_eq!((status, put["lines"].as_array().map(Vec::len)), (200, Some(3)), "{put}");
    let body = json!({"access_token": "TOKEN", "data": [{"event_name": "Lead", "event_time": now_s(), "event_id": "x",
        "action_source": "other", "user_data": {"external_id": "cust_1"}}]});

    // An hour of the box takes 3.6 s here: a machine that stands still for so long misses a stretch, but never sees them in another order.
    let mut told = Vec::new();
    while told.last() != Some(&(200, 0, 0)) {
        assert!(told.len() < 10, "more than three stretches: {told:?}");
        let answer = meta.said(&body).await;
        if told.last() != Some(&answer) {
            told.push(answer);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut expected = vec![(400, 80004, 0), (401, 190, 460), (200, 0, 0)];
    expected.retain(|answer| told.contains(answer));
    assert!(told == expected && told.len() >= 2, "{told:?}");
    let shown = meta.get("/sandbox/script").await;
    let states: Vec<_> = shown["lines"].as_array().expect("lines").iter().map(|line| line["state"].clone()).collect();
    assert_eq!(json!(states), json!(["over", "over", "on"]));
    meta.http.delete(format!("{}/sandbox/script", meta.url)).send().await.expect("an answer");
    assert_eq!(meta.get("/sandbox/script").await["lines"], json!([]));
    meta.stop().await;
}

#[tokio::test]
async fn a_new_token_is_not_the_one_that_the_script_revoked() {
    let meta = Running::in_memory(Mode::Real).await;
    assert_eq!(meta.put_text("/sandbox/script", "from 0s pixel 42 token revoked").await.0, 200);
    assert_eq!(meta.said(&event()).await, (401, 190, 460));
    tokio::time::sleep(Duration::from_millis(2)).await; // the clock must have moved since the line began
    meta.put("/sandbox/pixels/42", json!({"access_token": "NEW"})).await;
    assert_eq!(meta.said(&json!({"access_token": "NEW", "data": [purchase("x")]})).await, (200, 0, 0));
    assert_eq!(meta.said(&event()).await, (401, 190, 0), "the old one is forgotten");
    meta.stop().await;
}

#[tokio::test]
async fn of_a_bad_script_nothing_is_taken() {
    let meta = Running::in_memory(Mode::Real).await;
    meta.put_text("/sandbox/script", "from 0s all http503").await;
    let (status, error) = meta.put_text("/sandbox/script", "from 0s all html500\nfrom soon all code1").await;
    let expected = "line 2: expected a time such as 500ms, 30s, 5m, 2h or 1d12h, found \"soon\"";
    assert_eq!((status, error), (400, json!({"error": expected})));
    assert_eq!(meta.said(&event()).await, (503, 2, 0), "the script before is still in force");
    let sandbox = Sandbox::open(Config::default()).expect("opens");
    assert_eq!(sandbox.put_script("from soon all code1").expect_err("refused").to_string(), expected.replace("line 2", "line 1"));
    meta.stop().await;
}

#[tokio::test]
async fn a_fast_clock_decides_what_is_too_old_and_what_lies_ahead() {
    // Seven days before the machine's time, and a thousand times as fast: the week has passed after 604.8 s.
    let epoch_ms = (now_s() - 1_000) * 1_000;
    let clock = Clock::scaled(1_000).and_then(|clock| clock.from_epoch(epoch_ms)).expect("a good clock");
    let meta = Running::start_with_clock(Config::default(), Mode::Real, clock).await;
    let at = |event_time: u64| {
        let mut event = purchase("x");
        event["event_time"] = json!(event_time);
        with_token(&json!([event]))
    };
    // A thousand seconds after its epoch the box is some eleven and a half days ahead of the machine.
    assert_eq!(meta.said(&at(now_s())).await, (400, 100, 2_804_003));
    assert_eq!(meta.said(&at(now_s() + 900_000)).await, (200, 0, 0));
    assert_eq!(meta.said(&at(now_s() + 3_000_000)).await, (400, 100, 2_804_004));
    let received_at = meta.get("/sandbox/requests").await[0]["received_at"].as_u64().expect("milliseconds");
    assert!(received_at > (now_s() + 900_000) * 1_000, "{received_at}");
    meta.stop().await;
}

#[tokio::test]
async fn copies_two_days_apart_on_the_boxs_clock_are_two_conversions() {
    let meta = fast(1_000).await;
    meta.hit("f%3A1").await;
    meta.hit("f%3A1").await;
    assert_eq!(meta.counted("f:1").await["count"], 1);
    // 48 hours take 172.8 s even here: what a test can wait for is that the clock runs; the window itself is the ledger's test.
    let received = |hits: &Value, at: usize| hits[at]["received_at"].as_u64().expect("milliseconds");
    tokio::time::sleep(Duration::from_millis(100)).await;
    meta.hit("f%3A1").await;
    let hits = meta.get("/sandbox/hits").await;
    assert!(received(&hits, 2) - received(&hits, 1) >= 100_000, "{hits}");
    meta.stop().await;
}

#[tokio::test]
async fn answers_take_as_long_as_the_law_says() {
    let meta = Running::in_memory(Mode::Real).await;
    meta.put("/sandbox/latency", json!([{"pixel": "42", "law": "constant", "ms": 150}])).await;
    let timed = async |expected: (u16, i64, i64)| {
        let asked = Instant::now();
        assert_eq!(meta.said(&event()).await, expected);
        asked.elapsed()
    };
    assert!(timed((200, 0, 0)).await >= Duration::from_millis(150));
    meta.put_text("/sandbox/script", "from 0s pixel 42 latency uniform 250ms..300ms\nfrom 0s all code1").await;
    assert!(timed((400, 1, 0)).await >= Duration::from_millis(250), "errors take as long");
    for (law, why) in [
        (json!([{"law": "constant", "ms": 90_000}]), "answers are held 60000 ms at most, not 90000 ms"),
        (json!([{"law": "lognormal", "median_ms": 9, "p95_ms": 8}]), "the p95 of 8 ms lies below the median of 9 ms"),
    ] {
        assert_eq!(meta.put_text("/sandbox/latency", law.to_string()).await, (400, json!({"error": why})));
    }
    assert_eq!(meta.get("/sandbox/latency").await, json!([{"pixel": "42", "seed": 0, "law": "constant", "ms": 150}]));
    meta.http.delete(format!("{}/sandbox/latency", meta.url)).send().await.expect("an answer");
    assert_eq!(meta.get("/sandbox/latency").await, json!([]));
    meta.stop().await;
}

#[tokio::test]
async fn usage_rises_with_the_requests_and_throttles_by_itself() {
    let meta = Running::in_memory(Mode::Real).await;
    meta.put("/sandbox/budgets", json!([{"pixel": "42", "calls_per_minute": 1}])).await;
    // Two calls may lie on both sides of a full minute; three in a row within a second may not all begin a new one.
    let mut usages = Vec::new();
    let mut throttled = None;
    for _ in 0..3 {
        let answer = meta.post(&event()).await;
        let usage = header(&answer, "x-app-usage").expect("every answer says how much is used");
        usages.push((answer.status().as_u16(), usage["call_count"].clone()));
        if answer.status() == 400 {
            throttled = Some(answer);
        }
    }
    assert_eq!(usages[0], (200, json!(100)));
    let throttled = throttled.unwrap_or_else(|| panic!("three calls, one allowed: {usages:?}"));
    let business = json!({"42": [{"type": "ads_management", "call_count": 100, "total_cputime": 100, "total_time": 100,
        "estimated_time_to_regain_access": 1, "ads_api_access_tier": "standard_access"}]});
    assert_eq!(header(&throttled, "x-business-use-case-usage"), Some(business));
    assert_eq!(said(throttled).await, (400, 80004, 0));
    meta.http.delete(format!("{}/sandbox/budgets", meta.url)).send().await.expect("an answer");
    assert_eq!(header(&meta.post(&event()).await, "x-app-usage"), None, "no budget, no headers");
    meta.stop().await;
}

#[tokio::test]
async fn a_budget_comes_back_with_the_boxs_next_minute() {
    let meta = fast(1_000).await;
    meta.put_text("/sandbox/script", "from 0s pixel 42 budget 1").await;
    let lead = || {
        json!({"access_token": "TOKEN", "data": [{"event_name": "Lead", "event_time": now_s(), "action_source": "other",
            "user_data": {"external_id": "cust_1"}}]})
    };
    let mut told = [0, 0];
    while told.contains(&0) {
        match meta.said(&lead()).await {
            (200, 0, 0) => told[0] += 1,
            (400, 80004, 0) => told[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    meta.stop().await;
}

#[tokio::test]
async fn the_report_says_what_was_lost() {
    let meta = Running::in_memory(Mode::Real).await;
    let line = |pixel: &str, id: &str| json!({"pixel": pixel, "event_name": "Purchase", "event_id": id}).to_string() + "\n";
    meta.post(&with_token(&json!([purchase("before")]))).await;
    assert_eq!(meta.get("/sandbox/report").await["42"]["lost"], Value::Null, "nothing is expected, nothing is claimed");

    let list = line("42", "before") + &line("42", "after") + &line("42", "never") + &line("43", "never");
    assert_eq!(meta.put_text("/sandbox/expected", list).await, (200, json!({"expected": 4})));
    meta.hit("after").await;
    let report = meta.get("/sandbox/report").await;
    assert_eq!((&report["42"]["expected"], &report["42"]["lost"], &report["42"]["conversions"]), (&json!(3), &json!(1), &json!(2)));
    assert_eq!(report["42"]["lost_first"], json!([{"event_name": "Purchase", "event_id": "never"}]));
    assert_eq!((&report["43"]["lost"], &report["43"]["requests"]), (&json!(1), &json!(0)), "a pixel that nobody ever put");

    let long: String = (0..100_000).map(|n| line("42", &format!("f:ORD-{n}"))).collect();
    assert_eq!(meta.put_text("/sandbox/expected", long).await, (200, json!({"expected": 100_000})));
    meta.post(&with_token(&json!([purchase("f:ORD-0")]))).await;
    let report = meta.get("/sandbox/report").await;
    assert_eq!((&report["42"]["lost"], report["42"]["lost_first"].as_array().map(Vec::len)), (&json!(99_999), Some(100)));
    let (status, error) = meta.put_text("/sandbox/expected", "{\"pixel\":\"42\"}").await;
    assert!(status == 400 && error["error"].as_str().is_some_and(|why| why.starts_with("line 1: cannot read it")), "{error}");
    assert_eq!(meta.get("/sandbox/report").await["42"]["expected"], 100_000, "the list before is still in force");
    assert_eq!(meta.put_text("/sandbox/expected", "").await, (200, json!({"expected": 0})));
    meta.stop().await;
}
