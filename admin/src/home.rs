//! One page for whoever opens the desk in a browser. It holds nothing secret and needs no token.

use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;

const PAGE: &str = include_str!("home.html");

pub(crate) async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"),
    ];
    (headers, PAGE).into_response()
}

/// What a command asks first, to know that it found the desk and has its token.
pub(crate) async fn api() -> Response {
    Json(json!({"service": "rapidmetrics", "version": env!("CARGO_PKG_VERSION")})).into_response()
}
