//! The bare server: an axum handler that parses the body into a struct of its own and answers. Nothing is checked, nothing kept. It is
//! a process of its own, so that its CPU time can be told from that of the load.

use std::{collections::HashMap, io::Write};

use axum::{Json, Router, routing::post};
use serde::{Deserialize, Serialize};

/// The word by which this program is told to be the bare server.
pub const COMMAND: &str = "serve-bare";

/// Serves on a free port, which it prints.
pub fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        let routes = Router::new().route("/v1/session", post(session)).route("/v1/webhook/custom/{funnel}", post(webhook));
        Ok(axum::serve(listener, routes).await?)
    })
}

async fn session(Json(session): Json<Session>) -> Json<Results> {
    let told = |event: Event| Told { event_id: event.id, status: "ok", warnings: [] };
    Json(Results { results: session.events.into_iter().map(told).collect() })
}

async fn webhook(Json(order): Json<Order>) -> Json<Accepted> {
    Json(Accepted { status: "accepted", event: order.event, order_id: order.id, durability: "none" })
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is parsed, and that is all")]
struct Session {
    fid: String,
    sent_at: f64,
    page: Page,
    ids: Ids,
    events: Vec<Event>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is parsed, and that is all")]
struct Page {
    url: String,
    referrer: String,
    title: String,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is parsed, and that is all")]
struct Ids {
    fbp: Option<String>,
    fbc: Option<String>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is parsed, and that is all")]
struct Event {
    #[serde(rename = "event_id")]
    id: String,
    visitor_id: String,
    r#type: String,
    name: String,
    props: Props,
    at: f64,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is parsed, and that is all")]
struct Props {
    value: Option<f64>,
    currency: Option<String>,
    content_name: Option<String>,
    content_ids: Vec<String>,
}

#[derive(Serialize)]
struct Results {
    results: Vec<Told>,
}

#[derive(Serialize)]
struct Told {
    event_id: String,
    status: &'static str,
    warnings: [&'static str; 0],
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is parsed, and that is all")]
struct Order {
    event: String,
    email: String,
    amount: f64,
    currency: Option<String>,
    product_name: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    phone: Option<String>,
    #[serde(rename = "order_id")]
    id: Option<String>,
    metadata: Option<HashMap<String, u64>>,
}

#[derive(Serialize)]
struct Accepted {
    status: &'static str,
    event: String,
    order_id: Option<String>,
    durability: &'static str,
}
