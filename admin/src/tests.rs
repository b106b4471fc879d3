//! The desk over a real store in a temporary folder.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
};
use futures_util::StreamExt;
use schemas::{
    directory::{Directory, DirectoryRecord},
    secret::Key,
    time::Time,
    topic::Topic,
    world::World,
};
use serde_json::{Value, json};
use storage::{Append, Config as StorageConfig, Storage};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Checks, Config, Desk, Metrics, Parts, Token, probe, routes};

mod funnels;
mod ledger;
mod pixel;
mod receipt;
mod replay;
mod totals;

struct TestWorld;

impl World for TestWorld {
    fn now(&self) -> Time {
        Time::from_millis(1_764_095_559_000)
    }
    fn fill(&self, bytes: &mut [u8]) {
        use std::hash::{BuildHasher, RandomState};
        for byte in bytes {
            *byte = RandomState::new().hash_one(()) as u8;
        }
    }
}

struct Case {
    routes: Router,
    desk: Arc<Desk>,
    storage: Storage,
    checks: Checks,
    token: Token,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

fn desk() -> Case {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = StorageConfig {
        data: folder.path().to_owned(),
        partitions: 2,
        free_bytes_min: 0,
        queue_bytes_max: 1 << 20,
        pause_at: None,
        fail_sync_after: None,
    };
    let storage = Storage::open_embedded(&config).expect("a new folder opens");
    let directory = Arc::<ArcSwap<Directory>>::default();
    let (folded_by, folded) = watch::channel(0);
    tokio::spawn(follow(storage.clone(), directory.clone(), folded_by));
    let (checks, token) = (Checks::default(), Token::new(&TestWorld));
    let stop = CancellationToken::new();
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new();
    metrics.register(&registry).expect("the registry is empty");
    let parts = Parts {
        storage: storage.clone(),
        directory,
        folded,
        keys: Key::new([7; 32]),
        world: Arc::new(TestWorld),
        token: token.clone(),
        registry,
        metrics,
        checks: checks.clone(),
        config: Config { listen: String::new(), connections_max: 1, header_timeout_ms: 1_000, body_timeout_ms: 1_000 },
        moves: None,
    };
    let desk = Arc::new(Desk { parts, changing: Mutex::new(()), counting: Mutex::new(()), stop: stop.clone() });
    Case { routes: routes::routes(desk.clone()), desk, storage, checks, token, stop, _folder: folder }
}

async fn follow(storage: Storage, directory: Arc<ArcSwap<Directory>>, folded: watch::Sender<u64>) {
    let mut reader = storage.reader(Topic::Directory, 0, 0);
    while let Ok(records) = reader.next(100, 1 << 20).await {
        let mut next = directory.load().as_ref().clone();
        for record in records {
            let record: DirectoryRecord = serde_json::from_slice(&record.value).expect("the desk writes directory records");
            next.fold(record.change).expect("the desk checks before it writes");
        }
        directory.store(Arc::new(next));
        folded.send_replace(reader.position());
    }
}

impl Case {
    async fn ask(&self, method: Method, path: &str, token: Option<&str>, body: &str) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request of constants");
        let response = self.routes.clone().oneshot(request).await.expect("the router always answers");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("the body is whole");
        (status, String::from_utf8(body.to_vec()).expect("answers are text"))
    }

    async fn get(&self, path: &str) -> String {
        let (status, body) = self.ask(Method::GET, path, Some(self.token.as_str()), "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, wish: Value) -> (StatusCode, Value) {
        let (status, body) = self.ask(Method::POST, path, Some(self.token.as_str()), &wish.to_string()).await;
        (status, serde_json::from_str(&body).expect("answers to POST are JSON"))
    }

    async fn append(&self, topic: Topic, key: &str, values: &[Value]) {
        let record = |value: &Value| Append { topic, key: key.to_owned().into(), value: value.to_string().into(), time: TestWorld.now() };
        self.storage.appender().append(values.iter().map(record).collect()).await.expect("an open store appends");
    }
}

#[tokio::test]
async fn what_was_made_is_there_when_it_is_answered_and_lists_tell_no_secrets() {
    let case = desk();
    let (status, workspace) = case.post("/api/v1/workspaces", json!({"name": " Acme "})).await;
    assert_eq!((status, workspace["name"].as_str()), (StatusCode::CREATED, Some("Acme")));
    let api_key = workspace["api_key"].as_str().expect("a new workspace shows its key");
    assert!(api_key.starts_with("rm_live_") && api_key.len() == 48, "{api_key}");

    let (status, funnel) = case.post("/api/v1/funnels", json!({"workspace_id": workspace["id"], "name": "Shop", "currency": "eur"})).await;
    assert_eq!((status, &funnel["workspace_id"], funnel["currency"].as_str()), (StatusCode::CREATED, &workspace["id"], Some("EUR")));

    for token in ["EAAone", "EAAtwo"] {
        let wish = json!({"funnel_id": funnel["id"], "id": "123", "token": token, "test_event_code": null});
        let (status, pixel) = case.post("/api/v1/pixels", wish).await;
        assert_eq!((status, pixel), (StatusCode::CREATED, json!({"id": "123", "funnel_id": funnel["id"]})));
    }

    let lists = [case.get("/api/v1/workspaces").await, case.get("/api/v1/funnels").await, case.get("/api/v1/pixels").await];
    let expected = [
        json!([{"id": workspace["id"], "name": "Acme"}]),
        json!([{"id": funnel["id"], "workspace_id": workspace["id"], "name": "Shop", "currency": "EUR", "server_leg_wait_s": 60, "site": {}, "pixels": ["123"]}]),
        json!([{"id": "123", "workspace_id": workspace["id"], "funnels": [funnel["id"]], "test_event_code": null, "state": "ok",
                "first_loss_hour": null}]),
    ];
    for (list, expected) in lists.iter().zip(expected) {
        assert_eq!(serde_json::from_str::<Value>(list).expect("lists are JSON"), expected);
    }
    let told = case.get("/api/v1/tail/directory?from=beginning").await + &lists.concat();
    assert!(!told.contains(api_key) && !told.contains("EAA"), "secrets stand sealed in the log and nowhere else");
}

#[tokio::test]
async fn a_wish_that_cannot_be_fulfilled_names_the_field_at_fault() {
    let case = desk();
    let (_, workspace) = case.post("/api/v1/workspaces", json!({"name": "A"})).await;
    let (_, other) = case.post("/api/v1/workspaces", json!({"name": "B"})).await;
    let (_, funnel) = case.post("/api/v1/funnels", json!({"workspace_id": workspace["id"], "name": "F"})).await;
    let (_, foreign) = case.post("/api/v1/funnels", json!({"workspace_id": other["id"], "name": "G"})).await;
    let (funnel, foreign) = (&funnel["id"], &foreign["id"]);
    case.post("/api/v1/pixels", json!({"funnel_id": funnel, "id": "9", "token": "t"})).await;
    for (path, wish, status, code, field) in [
        ("workspaces", json!([]), 400, "invalid_json", Value::Null),
        ("workspaces", json!({}), 400, "missing", json!("name")),
        ("workspaces", json!({"name": 5}), 400, "invalid", json!("name")),
        ("workspaces", json!({"name": "  "}), 400, "invalid", json!("name")),
        ("workspaces", json!({"name": "A", "nmae": "B"}), 400, "unknown_field", Value::Null),
        ("funnels", json!({"name": "F"}), 400, "missing", json!("workspace_id")),
        ("funnels", json!({"workspace_id": "no such", "name": "F"}), 400, "invalid", json!("workspace_id")),
        ("funnels", json!({"workspace_id": "ws_none", "name": "F"}), 404, "workspace_not_found", json!("workspace_id")),
        ("funnels", json!({"workspace_id": workspace["id"], "name": "F", "currency": "XXX"}), 400, "invalid", json!("currency")),
        ("pixels", json!({"funnel_id": "fn_none", "id": "1", "token": "t"}), 404, "funnel_not_found", json!("funnel_id")),
        ("pixels", json!({"funnel_id": funnel, "id": "abc", "token": "t"}), 400, "invalid", json!("id")),
        ("pixels", json!({"funnel_id": funnel, "id": "1", "token": "two words"}), 400, "invalid", json!("token")),
        ("pixels", json!({"funnel_id": foreign, "id": "9", "token": "t"}), 409, "pixel_of_another_workspace", json!("id")),
    ] {
        let (answered, body) = case.post(&format!("/api/v1/{path}"), wish.clone()).await;
        assert_eq!((answered.as_u16(), body["error"]["code"].as_str()), (status, Some(code)), "{wish}: {body}");
        assert_eq!((&body["status"], &body["error"]["field"]), (&json!("error"), &field), "{wish}");
        assert!(body["error"]["message"].is_string(), "{wish}");
    }
    let (status, _) = case.ask(Method::POST, "/api/v1/workspaces", Some(case.token.as_str()), &"x".repeat(70_000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn only_health_metrics_and_the_first_page_need_no_token() {
    let case = desk();
    let token = case.token.as_str();
    let wrong = "0".repeat(token.len());
    for (method, path, shown, status) in [
        (Method::GET, "/", None, 200),
        (Method::GET, "/health/live", None, 200),
        (Method::GET, "/metrics", None, 200),
        (Method::GET, "/api/v1/workspaces", None, 401),
        (Method::GET, "/api/v1/workspaces", Some(""), 401),
        (Method::GET, "/api/v1/workspaces", Some(wrong.as_str()), 401),
        (Method::GET, "/api/v1/workspaces", Some(token), 200),
        (Method::GET, "/api/v1/nothing", None, 401),
        (Method::GET, "/api/v1/nothing", Some(token), 404),
        (Method::DELETE, "/api/v1/workspaces", Some(token), 405),
        (Method::GET, "/api/v1/tail/nothing", Some(token), 404),
        (Method::GET, "/api/v1/tail/raw?from=middle", Some(token), 400),
        (Method::GET, "/api/v1/export/nothing", Some(token), 404),
        (Method::GET, "/nothing", None, 404),
    ] {
        let (answered, body) = case.ask(method, path, shown, "").await;
        assert_eq!(answered.as_u16(), status, "{path}: {body}");
        assert!(answered.is_success() || body.starts_with(r#"{"status":"error","error":{"code":"#), "{path}: {body}");
    }
}

#[tokio::test]
async fn ready_when_every_check_passed_and_an_append_worked() {
    let case = desk();
    case.checks.fail("judge", "it is not there");
    let probing =
        tokio::spawn(probe(storage::Intake::direct(case.storage.appender()), Arc::new(TestWorld), case.checks.clone(), case.stop.clone()));
    let (status, body) = case.ask(Method::GET, "/health/ready", None, "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("it is not there"), "{body}");
    case.checks.pass("judge");
    let ready = async {
        while case.ask(Method::GET, "/health/ready", None, "").await.0 != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ready).await.expect("the probe appends");
    case.storage.close().await;
    let (status, body) = case.ask(Method::GET, "/health/ready", None, "").await;
    assert_eq!((status, body.contains("takes no events")), (StatusCode::SERVICE_UNAVAILABLE, true), "{body}");
    case.stop.cancel();
    probing.await.expect("the probe ends when it is told to");
}

#[tokio::test]
async fn a_dispatch_that_nobody_touched_waits_and_its_revision_adds_no_line() {
    let case = desk();
    let dispatch = |order: &str, revision: u32| {
        json!({
            "id": "01932c07-0000-7000-8000-000000000000", "type": "dispatch", "version": 1, "funnel_id": "fn_1", "workspace_id": "ws_1",
            "occurred_at": TestWorld.now(), "received_at": TestWorld.now(), "position": {"generation": 0, "partition": 0, "offset": 0},
            "pixel_id": "9", "event_name": "Purchase", "event_id": format!("fn_1:{order}"),
            "dedup_key": format!("fn_1|purchase|{order}"), "revision": revision, "payload": {"event_name": "Purchase"},
        })
    };
    case.append(Topic::Dispatch, "9", &[dispatch("a", 1), dispatch("b", 1), dispatch("a", 2)]).await;
    let exported = case.get("/api/v1/export/deliveries").await;
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let told: Vec<_> = lines.iter().map(|line| (line["event_id"].as_str(), line["outcome"].as_str(), line["attempts"].as_u64())).collect();
    assert_eq!(told, [(Some("fn_1:a"), Some("waiting"), Some(0)), (Some("fn_1:b"), Some("waiting"), Some(0))]);
    let metrics = case.get("/metrics").await;
    assert!(
        metrics.lines().any(|line| line.starts_with("rapidmetrics_log_lag_records{group=\"capi\"") && line.ends_with(" 3")),
        "{metrics}"
    );
}

#[tokio::test]
async fn tail_begins_where_it_is_told_and_follows_until_the_stop() {
    let case = desk();
    let values: Vec<Value> = (0..25).map(|n| json!({ "n": n })).collect();
    case.append(Topic::Audit, "k", &values).await;
    for (query, first, count) in [("", 15, 10), ("?from=beginning", 0, 25), ("?from=end", 0, 0)] {
        let told = case.get(&format!("/api/v1/tail/audit{query}")).await;
        assert_eq!(told.lines().count(), count, "{query}");
        if let Some(line) = told.lines().next() {
            let offset =
                format!(r#"{{"topic":"audit","partition":0,"offset":{first},"key":"k","time":"2025-11-25T18:32:39.000000Z","value":"#);
            assert_eq!(line, format!(r#"{offset}{{"n":{first}}}}}"#));
        }
    }
}

#[tokio::test]
async fn a_tail_that_follows_tells_what_comes_and_ends_with_the_stop() {
    let case = desk();
    case.append(Topic::Audit, "k", &[json!({"n": 0})]).await;
    let path = "/api/v1/tail/audit?from=beginning&follow=true";
    let bearer = format!("Bearer {}", case.token.as_str());
    let request = Request::get(path).header(header::AUTHORIZATION, bearer).body(Body::empty()).expect("a request of constants");
    let response = case.routes.clone().oneshot(request).await.expect("the router always answers");
    let mut chunks = response.into_body().into_data_stream();
    for n in 0..3 {
        let chunk = chunks.next().await.expect("the stream goes on").expect("the store can be read");
        assert!(chunk.ends_with(format!(r#""value":{{"n":{n}}}}}{}"#, "\n").as_bytes()), "{chunk:?}");
        case.append(Topic::Audit, "k", &[json!({"n": n + 1})]).await;
    }
    case.stop.cancel();
    while let Some(chunk) = chunks.next().await {
        chunk.expect("it ends, it does not break off");
    }
}
