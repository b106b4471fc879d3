//! A running box, and what tests say to it.
#![allow(dead_code, reason = "each test program uses its part")]

use meta_sandbox::{Clock, Config, Mode, Sandbox, run};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const DIGEST: &str = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f";

/// A box on a port of its own with pixel 42, whose token is `TOKEN`.
pub struct Running {
    pub url: String,
    pub http: Client,
    stop: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn start(config: Config, mode: Mode) -> Self {
        Running::start_with_clock(config, mode, Clock::default()).await
    }

    pub async fn start_with_clock(config: Config, mode: Mode, clock: Clock) -> Self {
        let sandbox = Sandbox::open_with_clock(config, clock).expect("opens");
        sandbox.put_pixel("42", "TOKEN", mode).expect("a good pixel");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        let served = tokio::spawn(run(listener, sandbox, stop.clone()));
        Running { url, http: Client::new(), stop, served }
    }

    pub async fn in_memory(mode: Mode) -> Self {
        Running::start(Config::default(), mode).await
    }

    pub async fn stop(self) {
        self.stop.cancel();
        drop(self.http);
        self.served.await.expect("no panic").expect("a clean end");
    }

    pub async fn post(&self, body: &Value) -> Response {
        self.http.post(format!("{}/v26.0/42/events", self.url)).json(body).send().await.expect("an answer")
    }

    /// Status, code, subcode; zeros on success.
    pub async fn said(&self, body: &Value) -> (u16, i64, i64) {
        said(self.post(body).await).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.expect("JSON")
    }

    pub async fn put(&self, path: &str, body: Value) {
        let answer = self.http.put(format!("{}{path}", self.url)).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path} {body}");
    }

    /// Puts a text and says the status and what was answered.
    pub async fn put_text(&self, path: &str, text: impl Into<String>) -> (u16, Value) {
        let answer = self.http.put(format!("{}{path}", self.url)).body(text.into()).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    pub async fn counted(&self, id: &str) -> Value {
        self.get(&format!("/sandbox/conversions?pixel=42&event_name=Purchase&event_id={id}")).await
    }

    pub async fn hit(&self, id: &str) {
        let form = format!("id=42&ev=Purchase&eid={id}&dl=http%3A%2F%2Fshop%2F&cd%5Bvalue%5D=9.5");
        let answer = self.http.post(format!("{}/tr", self.url)).body(form).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }
}

/// Status, code, subcode of an answer; zeros on success.
pub async fn said(answer: Response) -> (u16, i64, i64) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.expect("JSON");
    if status != 200 {
        assert_eq!(body["error"]["fbtrace_id"].as_str().map(str::len), Some(23), "{body}");
    }
    (status, body["error"]["code"].as_i64().unwrap_or(0), body["error"]["error_subcode"].as_i64().unwrap_or(0))
}

pub fn purchase(id: &str) -> Value {
    json!({
        "event_name": "Purchase", "event_time": now_s(), "event_id": id, "action_source": "website",
        "event_source_url": "https://shop.example/", "user_data": {"em": [DIGEST], "client_user_agent": "UA"},
        "custom_data": {"value": 59.97, "currency": "USD"}
    })
}

pub fn with_token(data: &Value) -> Value {
    json!({"data": data, "access_token": "TOKEN"})
}

pub fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}
