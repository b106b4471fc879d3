//! `/sandbox/…`: what people and tests see of the box, and how they steer it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::fault::Fault;
use crate::pixel::Pixel;
use crate::ring::ITEMS_MAX;
use crate::sandbox::Sandbox;

const LIMIT_DEFAULT: usize = 100;

/// A wish that cannot be fulfilled, and why.
pub(crate) struct BadWish(String);

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

pub(crate) async fn health() -> &'static str {
    "ok"
}

pub(crate) async fn put_pixel(State(sandbox): State<Sandbox>, Path(id): Path<String>, body: Bytes) -> Result<Response, BadWish> {
    let pixel: Pixel = parsed(&body)?;
    let answer = json!({"id": id, "mode": pixel.mode, "token_state": pixel.token_state});
    sandbox.put(&id, pixel).map_err(|error| BadWish(format!("{error:#}")))?;
    Ok(Json(answer).into_response())
}

#[derive(Deserialize)]
pub(crate) struct WhichConversion {
    pixel: Option<String>,
    event_name: Option<String>,
    event_id: Option<String>,
}

pub(crate) async fn conversions(
    State(sandbox): State<Sandbox>,
    which: Result<Query<WhichConversion>, QueryRejection>,
) -> Result<Response, BadWish> {
    let Query(which) = which?;
    match (&which.pixel, &which.event_name, &which.event_id) {
        (Some(pixel), Some(name), Some(id)) => Ok(Json(sandbox.conversion(pixel, name, id)).into_response()),
        (pixel, name, None) => {
            let listed = sandbox.with_ledger(|ledger| ledger.conversions(pixel.as_deref(), name.as_deref()));
            Ok(Json(listed).into_response())
        }
        (_, _, Some(_)) => Err(BadWish("event_id needs pixel and event_name beside it".to_owned())),
    }
}

#[derive(Deserialize)]
pub(crate) struct WhichSeen {
    pixel: Option<String>,
    limit: Option<usize>,
}

impl WhichSeen {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).min(ITEMS_MAX)
    }

    fn wants(&self, pixel: &str) -> bool {
        self.pixel.as_deref().is_none_or(|only| only == pixel)
    }
}

pub(crate) async fn requests(State(sandbox): State<Sandbox>, which: Result<Query<WhichSeen>, QueryRejection>) -> Result<Response, BadWish> {
    let Query(which) = which?;
    let seen = sandbox.seen();
    let newest = seen.requests.newest(which.limit(), |request| which.wants(&request.pixel));
    let listed: Vec<_> = newest
        .into_iter()
        .map(|request| {
            let body = String::from_utf8_lossy(&request.body);
            json!({"pixel": request.pixel, "received_at": request.received_at, "status": request.status, "body": body})
        })
        .collect();
    Ok(Json(listed).into_response())
}

pub(crate) async fn hits(State(sandbox): State<Sandbox>, which: Result<Query<WhichSeen>, QueryRejection>) -> Result<Response, BadWish> {
    let Query(which) = which?;
    let seen = sandbox.seen();
    Ok(Json(seen.hits.newest(which.limit(), |hit| which.wants(&hit.pixel))).into_response())
}

pub(crate) async fn remarks(State(sandbox): State<Sandbox>) -> Response {
    Json(&sandbox.seen().remarks).into_response()
}

pub(crate) async fn report(State(sandbox): State<Sandbox>) -> Response {
    Json(sandbox.report()).into_response()
}

pub(crate) async fn faults(State(sandbox): State<Sandbox>) -> Response {
    Json(sandbox.faults().list()).into_response()
}

pub(crate) async fn put_faults(State(sandbox): State<Sandbox>, body: Bytes) -> Result<Response, BadWish> {
    let list: Vec<Fault> = parsed(&body)?;
    if let Some(problem) = list.iter().find_map(Fault::problem) {
        return Err(BadWish(problem.to_owned()));
    }
    let mut faults = sandbox.faults();
    faults.replace(list);
    Ok(Json(faults.list()).into_response())
}

pub(crate) async fn delete_faults(State(sandbox): State<Sandbox>) -> Response {
    sandbox.faults().replace(Vec::new());
    Json(sandbox.faults().list()).into_response()
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BadWish> {
    serde_json::from_slice(body).map_err(|error| BadWish(format!("cannot read the body: {error}")))
}
