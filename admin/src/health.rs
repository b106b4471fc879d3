//! Alive: the process answers. Ready: every check has passed, and an append would be tried now. Degraded is ready with a remark: the
//! process takes events, and a human should look.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use crate::{Desk, checks::Check, probe};

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    checks: Vec<Check>,
}

pub(crate) async fn live() -> Response {
    Json(json!({"status": "live"})).into_response()
}

pub(crate) async fn ready(State(desk): State<Arc<Desk>>) -> Response {
    let mut checks = desk.parts.checks.all();
    if !desk.parts.storage.appender().accepts() {
        // Said at once; the probe notices it within a second.
        if let Some(append) = checks.iter_mut().find(|check| check.name == probe::NAME) {
            append.fail(probe::REFUSED);
        }
    }
    let ready = checks.iter().all(|check| check.ok);
    let (status, word) = match ready {
        true if checks.iter().any(|check| check.degraded) => (StatusCode::OK, "degraded"),
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    (status, Json(Readiness { status: word, checks })).into_response()
}
