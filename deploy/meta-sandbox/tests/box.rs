//! The whole box over HTTP, as its users meet it.

mod support;

use std::time::Duration;

use meta_sandbox::{Config, Mode};
use serde_json::{Value, json};
use support::{Running, now_s, purchase, said, with_token};

#[tokio::test]
async fn a_purchase_on_both_channels_is_one_conversion() {
    let meta = Running::in_memory(Mode::Strict).await;
    let answer = meta.post(&with_token(&json!([purchase("f:ORD-1")]))).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["facebook-api-version"], "v26.0");
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!((&body["events_received"], &body["messages"]), (&json!(1), &json!([])));
    meta.hit("f%3AORD-1").await;

    let one = json!({"count": 1, "legs": ["browser", "server"], "browser_copies": 1, "server_copies": 1});
    assert_eq!(meta.counted("f:ORD-1").await, one);
    assert_eq!(meta.counted("f%3AORD-1").await, one);
    assert_eq!(meta.counted("unknown").await, json!({"count": 0, "legs": [], "browser_copies": 0, "server_copies": 0}));
    let listed = meta.get("/sandbox/conversions?pixel=42").await;
    assert_eq!((&listed[0]["event_id"], &listed[0]["count"], listed.as_array().map(Vec::len)), (&json!("f:ORD-1"), &json!(1), Some(1)));
    assert_eq!(meta.get("/sandbox/hits?pixel=42").await[0]["params"], json!({"value": "9.5"}));

    meta.post(&with_token(&json!([purchase("f:ORD-1")]))).await;
    assert_eq!(meta.counted("f:ORD-1").await["count"], 2, "a second server copy is a double conversion");
    let report = json!({"42": {"requests": 2, "events": 3, "conversions": 2, "deduplicated": 1, "double_conversions": 1, "rejected": 0}});
    assert_eq!(meta.get("/sandbox/report").await, report);
    meta.stop().await;
}

#[tokio::test]
async fn every_encoding_and_every_place_for_the_token_is_accepted() {
    let meta = Running::in_memory(Mode::Real).await;
    let url = format!("{}/v26.0/42/events", meta.url);
    let strings = json!([purchase("form").to_string()]).to_string();
    let encoded = strings.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    let multipart = format!(
        "--XX\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n{}\r\n--XX\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\nTOKEN\r\n--XX--\r\n",
        json!([purchase("multipart")])
    );
    let sent = purchase("json");
    let requests = [
        meta.http.post(&url).json(&with_token(&json!([sent]))),
        meta.http.post(format!("{url}?access_token=TOKEN")).json(&json!({"data": [purchase("query")]})),
        meta.http.post(&url).bearer_auth("TOKEN").json(&json!({"data": [purchase("bearer")], "upload_id": null})),
        meta.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(format!("data={encoded}&access_token=TOKEN")),
        meta.http.post(&url).header("content-type", "multipart/form-data; boundary=XX").body(multipart),
    ];
    for request in requests {
        assert_eq!(said(request.send().await.expect("an answer")).await, (200, 0, 0));
    }
    for id in ["json", "query", "bearer", "form", "multipart"] {
        assert_eq!(meta.counted(id).await["server_copies"], 1, "{id}");
    }
    let kept = meta.get("/sandbox/requests?pixel=42&limit=10000").await;
    assert_eq!(kept.as_array().map(Vec::len), Some(5));
    assert!(!kept.to_string().contains("TOKEN"), "no token is kept");
    let first: Value = serde_json::from_str(kept[0]["body"].as_str().expect("text")).expect("still JSON");
    assert_eq!(first["data"][0], sent, "all but the token is as it came");
    meta.stop().await;
}

#[tokio::test]
async fn the_first_problem_refuses_the_whole_request() {
    let meta = Running::in_memory(Mode::Real).await;
    let spoiled = |path: &[&str], value: Value| {
        let mut event = purchase("bad");
        *path.iter().fold(&mut event, |place, key| &mut place[*key]) = value;
        with_token(&json!([purchase("good"), event, {"also": "bad"}]))
    };
    for (body, expected) in [
        (json!({"data": [purchase("good")]}), (401, 190, 0)),
        (json!({"data": [purchase("good")], "access_token": "nobody's"}), (401, 190, 0)),
        (json!({"access_token": "TOKEN"}), (400, 100, 0)),
        (with_token(&json!({})), (400, 100, 0)),
        (with_token(&json!([])), (400, 100, 0)),
        (with_token(&json!(vec![purchase("good"); 1_001])), (400, 100, 0)),
        (spoiled(&["event_time"], json!(now_s() - 604_900)), (400, 100, 2_804_003)),
        (spoiled(&["event_time"], json!(now_s() + 120)), (400, 100, 2_804_004)),
        (spoiled(&["custom_data", "contents"], json!([{}])), (400, 100, 2_804_008)),
        (spoiled(&["custom_data", "value"], Value::Null), (400, 100, 2_804_009)),
        (spoiled(&["custom_data", "currency"], Value::Null), (400, 100, 2_804_010)),
        (spoiled(&["user_data", "ct"], json!("paris")), (400, 100, 2_804_016)),
        (spoiled(&["user_data"], json!({"client_user_agent": "UA"})), (400, 100, 2_804_050)),
        (spoiled(&["surprise"], json!(1)), (400, 100, 0)),
    ] {
        assert_eq!(meta.said(&body).await, expected);
    }
    assert_eq!(meta.counted("good").await["count"], 0, "nothing of a refused request is stored");
    assert_eq!(meta.get("/sandbox/report").await["42"]["rejected"], 14);

    let token_error: Value = meta.post(&json!({})).await.json().await.expect("JSON");
    assert_eq!(token_error["error"].as_object().map(|error| error.contains_key("is_transient")), Some(false));
    let path_error: Value = meta.post(&spoiled(&["surprise"], json!(1))).await.json().await.expect("JSON");
    let message = path_error["error"]["message"].as_str().expect("text");
    assert!(message.starts_with("Server Side Api Parameter Error") && message.ends_with("$['data'][1]"), "{message}");
    meta.stop().await;
}

#[tokio::test]
async fn a_schema_error_names_the_event_by_its_place_in_every_encoding() {
    let meta = Running::in_memory(Mode::Real).await;
    let url = format!("{}/v26.0/42/events?access_token=TOKEN", meta.url);
    let mut surprising = purchase("c");
    surprising["surprise"] = json!(1);
    let events = [purchase("a"), purchase("b"), surprising];
    let texts = events.each_ref().map(Value::to_string);
    let encoded = json!(texts).to_string().bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    let part = format!("--XX\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n{}\r\n--XX--\r\n", json!(events));
    for request in [
        meta.http.post(&url).json(&json!({"data": events})),
        meta.http.post(&url).json(&json!({"data": texts})),
        meta.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(format!("data={encoded}")),
        meta.http.post(&url).header("content-type", "multipart/form-data; boundary=XX").body(part),
    ] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 400);
        let body: Value = answer.json().await.expect("JSON");
        let expected = "Server Side Api Parameter Error: unexpected key \"surprise\" at $['data'][2]";
        assert_eq!((&body["error"]["code"], &body["error"]["message"]), (&json!(100), &json!(expected)));
    }
    let broken = json!({"data": ["{\"event_name\":"]});
    let body: Value = meta.http.post(&url).json(&broken).send().await.expect("an answer").json().await.expect("JSON");
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.ends_with("$['data'][0]")), "{body}");
    meta.stop().await;
}

#[tokio::test]
async fn paths_pixels_and_tokens_are_told_apart() {
    let meta = Running::in_memory(Mode::Real).await;
    let body = with_token(&json!([purchase("x")]));
    let at = |path: &str| meta.http.post(format!("{}{path}", meta.url)).json(&body).send();
    assert_eq!(said(at("/42/events").await.expect("an answer")).await, (400, 100, 0));
    assert_eq!(said(at("/26.0/42/events").await.expect("an answer")).await, (400, 100, 0));
    assert_eq!(said(at("/v26.0/me/events").await.expect("an answer")).await, (400, 100, 0));
    assert_eq!(said(at("/v26.0/43/events").await.expect("an answer")).await, (400, 100, 33));
    let get = meta.http.get(format!("{}/v26.0/42/events", meta.url)).send().await.expect("an answer");
    assert_eq!(said(get).await, (400, 100, 0));
    assert_eq!(at("/v3.2/42/events").await.expect("an answer").headers()["facebook-api-version"], "v21.0");

    meta.put("/sandbox/pixels/44", json!({"access_token": "OTHER", "mode": "strict"})).await;
    assert_eq!(said(at("/v26.0/44/events").await.expect("an answer")).await, (403, 200, 0));
    for (state, subcode) in [("expired", 463), ("revoked", 460)] {
        meta.put("/sandbox/pixels/42", json!({"access_token": "TOKEN", "token_state": state})).await;
        assert_eq!(meta.said(&body).await, (401, 190, subcode), "{state}");
    }
    for (path, wish) in [
        ("/sandbox/pixels/abc", json!({"access_token": "T"})),
        ("/sandbox/pixels/1", json!({})),
        ("/sandbox/pixels/1", json!({"access_token": "T", "mode": "lenient"})),
        ("/sandbox/faults", json!([{"fault": "flood"}])),
        ("/sandbox/faults", json!([{"fault": "slow", "share": 2}])),
    ] {
        let answer = meta.http.put(format!("{}{path}", meta.url)).json(&wish).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{path} {wish}");
    }
    meta.stop().await;
}

#[tokio::test]
async fn strict_mode_refuses_what_real_mode_remarks() {
    let meta = Running::in_memory(Mode::Real).await;
    let mut event = purchase("x");
    event["user_data"]["client_user_agent"] = Value::Null;
    let body = with_token(&json!([event]));
    assert_eq!(meta.said(&body).await, (200, 0, 0));
    assert_eq!(meta.get("/sandbox/remarks").await, json!({"42": {"website_without_user_agent": 1}}));
    meta.put("/sandbox/pixels/42", json!({"access_token": "TOKEN", "mode": "strict"})).await;
    assert_eq!(meta.said(&body).await, (400, 100, 0));
    meta.stop().await;
}

#[tokio::test]
async fn faults_hit_as_often_as_they_were_asked_to() {
    let meta = Running::in_memory(Mode::Real).await;
    meta.put(
        "/sandbox/faults",
        json!([
            {"pixel": "43", "fault": "html500"},
            {"pixel": "42", "fault": "http500", "times": 1},
            {"fault": "html500", "times": 1},
            {"fault": "throttle", "times": 1, "usage": 100, "regain_minutes": 2},
            {"fault": "throttle", "times": 1, "code": 613},
            {"fault": "code1", "times": 1},
            {"fault": "token_expired", "times": 1},
        ]),
    )
    .await;
    let body = with_token(&json!([purchase("x")]));
    let first: Value = meta.post(&body).await.json().await.expect("JSON");
    assert_eq!((&first["error"]["code"], &first["error"]["is_transient"]), (&json!(2), &json!(true)));
    let html = meta.post(&body).await;
    assert_eq!((html.status().as_u16(), html.headers()["content-type"].as_bytes()), (500, &b"text/html; charset=utf-8"[..]));
    let throttled = meta.post(&body).await;
    assert!(throttled.headers()["x-business-use-case-usage"].to_str().is_ok_and(|usage| usage.contains("\"42\"")));
    assert_eq!(said(throttled).await, (400, 4, 0));
    for expected in [(400, 613, 0), (400, 1, 0), (401, 190, 463), (200, 0, 0)] {
        assert_eq!(meta.said(&body).await, expected);
    }
    assert_eq!(meta.counted("x").await["server_copies"], 1, "what met a fault was not counted");
    let statuses: Vec<_> =
        meta.get("/sandbox/requests").await.as_array().expect("a list").iter().map(|request| request["status"].clone()).collect();
    assert_eq!(json!(statuses), json!([500, 500, 400, 400, 400, 401, 200]));
    meta.http.delete(format!("{}/sandbox/faults", meta.url)).send().await.expect("an answer");
    assert_eq!(meta.get("/sandbox/faults").await, json!([]));
    meta.stop().await;
}

#[tokio::test]
async fn answers_can_be_late_or_never_come() {
    let meta = Running::in_memory(Mode::Real).await;
    meta.put(
        "/sandbox/faults",
        json!([{"fault": "reset_after", "times": 1}, {"fault": "timeout", "ms": 80, "times": 1}, {"fault": "slow", "ms": 120, "times": 2}]),
    )
    .await;
    let url = format!("{}/v26.0/42/events", meta.url);
    let send = |id: &str| meta.http.post(&url).json(&with_token(&json!([purchase(id)]))).send();

    assert!(send("reset").await.is_err());
    assert_eq!(meta.counted("reset").await["count"], 1, "counted, though nobody was told");
    let asked = std::time::Instant::now();
    assert!(send("timeout").await.is_err());
    assert!(asked.elapsed() >= Duration::from_millis(80));
    assert_eq!(meta.counted("timeout").await["count"], 0);
    let asked = std::time::Instant::now();
    assert_eq!(said(send("slow").await.expect("an answer")).await, (200, 0, 0));
    assert!(asked.elapsed() >= Duration::from_millis(120));
    let impatient = meta.http.post(&url).timeout(Duration::from_millis(40)).json(&with_token(&json!([purchase("gave up")])));
    assert!(impatient.send().await.is_err_and(|error| error.is_timeout()));
    assert_eq!(meta.counted("gave+up").await["count"], 1, "whoever gives up waiting is counted all the same");
    let kept = meta.get("/sandbox/requests").await;
    assert_eq!((&kept[0]["status"], &kept[1]["status"], &kept[2]["status"]), (&json!(0), &json!(0), &json!(200)));
    meta.stop().await;
}

#[tokio::test]
async fn with_a_folder_the_box_remembers() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { data: Some(folder.path().to_owned()) };
    let meta = Running::start(config.clone(), Mode::Strict).await;
    meta.put("/sandbox/pixels/43", json!({"access_token": "OTHER"})).await;
    meta.post(&with_token(&json!([purchase("f:1"), purchase("f:2")]))).await;
    meta.post(&json!({})).await;
    meta.hit("f:1").await;
    let (report, listed) = (meta.get("/sandbox/report").await, meta.get("/sandbox/conversions").await);
    meta.stop().await;

    let again = Running::start(config, Mode::Strict).await;
    assert_eq!(again.get("/sandbox/report").await, report);
    assert_eq!(again.get("/sandbox/conversions").await, listed);
    again.post(&with_token(&json!([purchase("f:1")]))).await;
    assert_eq!(again.counted("f:1").await["count"], 2);
    again.stop().await;
}

#[tokio::test]
async fn pages_may_load_the_script_and_report() {
    let meta = Running::in_memory(Mode::Real).await;
    for path in ["/fbevents.js", "/en_US/fbevents.js", "/signals/config/42"] {
        let script = meta.http.get(format!("{}{path}", meta.url)).send().await.expect("an answer");
        assert_eq!(script.status(), 200);
        assert_eq!(script.headers()["access-control-allow-origin"], "*");
        assert_eq!(script.headers()["content-type"], "application/javascript; charset=utf-8");
    }
    let image = meta.http.get(format!("{}/tr?id=42&ev=Purchase&eid=f:1&noscript=1", meta.url)).send().await.expect("an answer");
    assert_eq!(image.headers()["content-type"], "image/gif");
    assert_eq!(meta.counted("f:1").await["legs"], json!(["browser"]));
    let stranger = meta.http.get(format!("{}/tr?id=99&ev=Purchase&eid=f:1", meta.url)).send().await.expect("an answer");
    assert_eq!(stranger.status(), 200);
    assert_eq!(meta.get("/sandbox/conversions?pixel=99").await, json!([]));
    meta.stop().await;
}
