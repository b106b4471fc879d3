//! `/sandbox/…`: how people and tests steer the box. A list that is put replaces the one before; of a bad one nothing is taken.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::budget::Budget;
use crate::fault::Fault;
use crate::latency::Latency;
use crate::pixel::Pixel;
use crate::sandbox::Sandbox;

/// A million expected events of 128 bytes.
const EXPECTED_BYTES_MAX: usize = 128 << 20;

/// A wish that cannot be fulfilled, and why.
pub(crate) struct BadWish(pub(crate) String);

impl IntoResponse for BadWish {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": self.0 }))).into_response()
    }
}

impl From<QueryRejection> for BadWish {
    fn from(rejection: QueryRejection) -> Self {
        BadWish(rejection.body_text())
    }
}

pub(crate) async fn put_pixel(State(sandbox): State<Sandbox>, Path(id): Path<String>, body: Bytes) -> Result<Response, BadWish> {
    let pixel: Pixel = parsed(&body)?;
    let answer = json!({"id": id, "mode": pixel.mode, "token_state": pixel.token_state});
    sandbox.put(&id, pixel).map_err(|error| BadWish(format!("{error:#}")))?;
    Ok(Json(answer).into_response())
}

pub(crate) async fn faults(State(sandbox): State<Sandbox>) -> Response {
    Json(sandbox.conduct().faults.list()).into_response()
}

pub(crate) async fn put_faults(State(sandbox): State<Sandbox>, body: Bytes) -> Result<Response, BadWish> {
    let list: Vec<Fault> = parsed(&body)?;
    if let Some(problem) = list.iter().find_map(Fault::problem) {
        return Err(BadWish(problem.to_owned()));
    }
    sandbox.conduct().faults.replace(list);
    Ok(faults(State(sandbox)).await)
}

pub(crate) async fn delete_faults(State(sandbox): State<Sandbox>) -> Response {
    sandbox.conduct().faults.replace(Vec::new());
    faults(State(sandbox)).await
}

pub(crate) async fn latency(State(sandbox): State<Sandbox>) -> Response {
    Json(sandbox.conduct().latencies.list()).into_response()
}

pub(crate) async fn put_latency(State(sandbox): State<Sandbox>, body: Bytes) -> Result<Response, BadWish> {
    let list: Vec<Latency> = parsed(&body)?;
    if let Some(problem) = list.iter().find_map(|one| one.law.problem()) {
        return Err(BadWish(problem));
    }
    sandbox.conduct().latencies.replace(list);
    Ok(latency(State(sandbox)).await)
}

pub(crate) async fn delete_latency(State(sandbox): State<Sandbox>) -> Response {
    sandbox.conduct().latencies.replace(Vec::new());
    latency(State(sandbox)).await
}

pub(crate) async fn budgets(State(sandbox): State<Sandbox>) -> Response {
    Json(sandbox.conduct().budgets.list()).into_response()
}

pub(crate) async fn put_budgets(State(sandbox): State<Sandbox>, body: Bytes) -> Result<Response, BadWish> {
    let list: Vec<Budget> = parsed(&body)?;
    sandbox.conduct().budgets.replace(list);
    Ok(budgets(State(sandbox)).await)
}

pub(crate) async fn delete_budgets(State(sandbox): State<Sandbox>) -> Response {
    sandbox.conduct().budgets.replace(Vec::new());
    budgets(State(sandbox)).await
}

pub(crate) async fn script(State(sandbox): State<Sandbox>) -> Response {
    let now_ms = sandbox.now_ms();
    let conduct = sandbox.conduct();
    let put_at_ms = conduct.script().map(crate::script::Script::put_at_ms);
    let lines = conduct.script().map(|script| script.shown(now_ms)).unwrap_or_default();
    Json(json!({"put_at": put_at_ms, "now": now_ms, "lines": lines})).into_response()
}

pub(crate) async fn put_script(State(sandbox): State<Sandbox>, text: String) -> Result<Response, BadWish> {
    sandbox.put_script(&text).map_err(|error| BadWish(format!("{error:#}")))?;
    Ok(script(State(sandbox)).await)
}

pub(crate) async fn delete_script(State(sandbox): State<Sandbox>) -> Response {
    sandbox.conduct().play(None);
    script(State(sandbox)).await
}

pub(crate) async fn put_expected(State(sandbox): State<Sandbox>, body: Body) -> Result<Response, BadWish> {
    let too_large = |_| BadWish(format!("the list is longer than {EXPECTED_BYTES_MAX} bytes, or did not come to its end"));
    let body = to_bytes(body, EXPECTED_BYTES_MAX).await.map_err(too_large)?;
    let text = std::str::from_utf8(&body).map_err(|_| BadWish("the list is not UTF-8".to_owned()))?;
    let expected = sandbox.put_expected(text).map_err(BadWish)?;
    Ok(Json(json!({ "expected": expected })).into_response())
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BadWish> {
    serde_json::from_slice(body).map_err(|error| BadWish(format!("cannot read the body: {error}")))
}
