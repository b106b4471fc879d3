//! `/sandbox/…`: what people and tests see of the box.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::expected::Losses;
use crate::ledger::Totals;
use crate::ring::ITEMS_MAX;
use crate::sandbox::Sandbox;
use crate::steer::BadWish;

const LIMIT_DEFAULT: usize = 100;

pub(crate) async fn health() -> &'static str {
    "ok"
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
            json!({
                "pixel": request.pixel, "received_at": request.received_at, "status": request.status, "code": request.code,
                "subcode": request.subcode, "content_type": request.content_type, "token_in": request.token_in, "body": body,
            })
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

/// The sums of every pixel; those of which something was expected also say what was lost.
pub(crate) async fn report(State(sandbox): State<Sandbox>) -> Response {
    #[derive(Default, Serialize)]
    struct OfPixel {
        #[serde(flatten)]
        totals: Totals,
        #[serde(flatten)]
        losses: Option<Losses>,
    }
    let sums = sandbox.report().into_iter().map(|(pixel, totals)| (pixel, OfPixel { totals, losses: None }));
    let mut report: BTreeMap<String, OfPixel> = sums.collect();
    for (pixel, losses) in sandbox.losses() {
        report.entry(pixel).or_default().losses = Some(losses);
    }
    Json(report).into_response()
}
