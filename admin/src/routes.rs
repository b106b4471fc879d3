//! The route table.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{get, patch, post},
};

use crate::{Desk, directory, export, health, home, metrics, moving, pixel, receipt, refuse::Refused, replay, tail, token, totals};

/// Wishes are a few hundred bytes; this is room enough for anything sensible.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn routes(desk: Arc<Desk>) -> Router {
    let api = Router::new()
        .route("/", get(home::api))
        .route("/workspaces", get(directory::workspaces).post(directory::create_workspace))
        .route("/funnels", get(directory::funnels).post(directory::create_funnel))
        .route("/funnels/{id}", patch(directory::set_funnel))
        .route("/pixels", get(pixel::list).post(directory::add_pixel))
        .route("/pixels/{id}", get(pixel::show))
        .route("/move", post(moving::ask))
        .route("/receipt", get(receipt::receipt))
        .route("/totals", get(totals::totals))
        .route("/replay", post(replay::replay))
        .route("/tail/{topic}", get(tail::tail))
        .route("/export/{what}", get(export::export))
        .fallback(async || Refused::not_found())
        .method_not_allowed_fallback(async || Refused::method_not_allowed())
        .layer(from_fn_with_state(desk.clone(), token::required))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    Router::new()
        .route("/", get(home::page))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::page))
        .nest("/api/v1", api)
        .fallback(async || Refused::not_found())
        .method_not_allowed_fallback(async || Refused::method_not_allowed())
        .with_state(desk)
}
