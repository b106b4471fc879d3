//! What judge and sink would have written, for the tests of receipts and totals.

use axum::http::StatusCode;
use schemas::{
    id::PixelId,
    row::Row,
    time::Time,
    topic::{Group, Topic},
    world::World,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use storage::{Consumed, Record, Step};

use super::{Case, TestWorld, desk};

/// A desk whose workspace has a funnel and two pixels.
pub(super) struct Shop {
    pub(super) case: Case,
    pub(super) funnel: String,
}

pub(super) async fn shop() -> Shop {
    let case = desk();
    let (_, workspace) = case.post("/api/v1/workspaces", json!({"name": "Acme"})).await;
    let funnel = more_funnels(&case, &workspace["id"]).await;
    for pixel in ["42", "43"] {
        case.post("/api/v1/pixels", json!({"funnel_id": funnel, "id": pixel, "token": "t"})).await;
    }
    Shop { case, funnel }
}

pub(super) async fn more_funnels(case: &Case, workspace: &Value) -> String {
    let (status, funnel) = case.post("/api/v1/funnels", json!({"workspace_id": workspace, "name": "Shop"})).await;
    assert_eq!(status, StatusCode::CREATED);
    funnel["id"].as_str().expect("an id").to_owned()
}

/// So many seconds after the test's now, as text.
pub(super) fn after(seconds: i64) -> String {
    TestWorld.now().plus_micros(seconds * 1_000_000).to_string()
}

#[expect(clippy::needless_pass_by_value, reason = "callers make it on the spot")]
pub(super) fn words<T: DeserializeOwned>(value: Value) -> T {
    let text = value.to_string(); // through text: what is only carried is kept as it was written
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The head that facts, dispatches and deliveries share, with more.
fn record(funnel: &str, kind: &str, more: Value) -> Value {
    let mut all = json!({
        "id": "01932c07-0000-7000-8000-000000000000", "type": kind, "version": 1, "funnel_id": funnel, "workspace_id": "ws_1",
        "occurred_at": after(0), "received_at": after(1), "position": {"generation": 0, "partition": 0, "offset": 0},
    });
    if let Value::Object(more) = more {
        more.into_iter().for_each(|(key, value)| all[key] = value);
    }
    all
}

pub(super) fn fact(funnel: &str, kind: &str, more: Value) -> Value {
    let mut fact =
        record(funnel, kind, json!({"revision": 1, "order_id": null, "amount": 49.9, "amount_minor": 4990, "currency": "EUR", "legs": []}));
    if let Value::Object(more) = more {
        more.into_iter().for_each(|(key, value)| fact[key] = value);
    }
    fact
}

#[expect(clippy::needless_pass_by_value, reason = "callers make it on the spot")]
pub(super) fn dispatch(funnel: &str, pixel: &str, key: &str, revision: u32, payload: Value) -> Value {
    let event_id = key.rsplit('|').next().unwrap_or_default();
    let name = if key.contains("|event|") { "AddToCart" } else { "Purchase" };
    record(
        funnel,
        "dispatch",
        json!({"pixel_id": pixel, "event_name": name, "event_id": event_id, "dedup_key": key, "revision": revision, "payload": payload}),
    )
}

pub(super) fn delivery(dispatch: &Value, outcome: &str, more: Value) -> Value {
    let mut delivery = dispatch.clone();
    for (key, value) in [("type", json!("delivery")), ("outcome", json!(outcome)), ("attempts", json!(0))] {
        delivery[key] = value;
    }
    (delivery["ambiguous_attempts"], delivery["attempt_log"]) = (json!(0), json!([]));
    if outcome != "waiting" {
        delivery["settled_at"] = json!(after(65));
    }
    if let Value::Object(more) = more {
        more.into_iter().for_each(|(key, value)| delivery[key] = value);
    }
    delivery
}

pub(super) fn waiting(dispatch: &Value) -> Row {
    let occurred_at: Time = words(dispatch["occurred_at"].clone());
    Row::Waiting(words(json!({
        "deadline_hour": crate::deadline_hour(occurred_at), "due_at": after(3_600), "tries": 1, "offset": 0, "partition": 0, "dispatch": dispatch,
    })))
}

impl Case {
    pub(super) async fn write(&self, rows: Vec<Row>) {
        let mut step = Step::named("test");
        step.rows = rows;
        self.storage.commit(step).await.expect("an open store commits");
    }

    /// Appends dispatches as the judge does.
    pub(super) async fn dispatched(&self, dispatches: &[Value]) {
        let mut step = Step::named("test");
        for dispatch in dispatches {
            let pixel = dispatch["pixel_id"].as_str().expect("a pixel").to_owned();
            let time = words(dispatch["received_at"].clone());
            step.records.push(Record { topic: Topic::Dispatch, key: pixel.into(), value: dispatch.to_string().into(), time });
        }
        self.storage.commit(step).await.expect("an open store commits");
    }

    /// The sink has read everything that is there.
    pub(super) async fn consumed(&self) {
        let mut step = Step::named("test");
        for partition in 0..self.storage.partitions(Topic::Dispatch) {
            let next_offset = self.storage.bounds(Topic::Dispatch, partition).await.expect("it reads").1;
            step.consumed.push(Consumed { group: Group::Capi, partition, next_offset, metadata: None, lease: None });
        }
        self.storage.commit(step).await.expect("an open store commits");
    }

    pub(super) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await).expect("the answer is JSON")
    }
}

pub(super) fn pixel(id: &str) -> PixelId {
    PixelId::parse(id).expect("an id")
}
