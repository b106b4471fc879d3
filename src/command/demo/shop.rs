//! The shop: a page with the public snippet, a backend that posts the webhook, and a look at what ledger and Meta now say.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use meta_sandbox::Sandbox;
use schemas::{
    delivery::{Delivery, Outcome},
    dispatch::Dispatch,
    fact::Purchase,
    id::{FunnelId, PixelId},
    key::{self, DedupKey},
    order::OrderId,
    topic::Topic,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use storage::{ReadError, Storage};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Cast, Urls};
use crate::{house::House, http};

const PAGE: &str = include_str!("shop.html");
/// How far back an event without an order is looked for among the dispatches of a pixel's partition.
const DISPATCHES_BACK: u64 = 2_000;
const BYTES_AT_ONCE: usize = 8 * 1024 * 1024;

/// The shop.
pub struct Shop {
    page: String,
    webhook: String,
    api_key: String,
    http: reqwest::Client,
    storage: Storage,
    sandbox: Sandbox,
    funnel_id: FunnelId,
    pixels: Vec<PixelId>,
}

impl Shop {
    /// A shop of that funnel.
    pub fn new(house: &House, sandbox: Sandbox, urls: &Urls, cast: &Cast) -> anyhow::Result<Self> {
        let page = [("__PUBLIC__", &urls.public), ("__ADMIN__", &urls.admin), ("__META__", &urls.meta), ("__FUNNEL_ID__", &cast.funnel_id)];
        Ok(Self {
            page: page.iter().fold(PAGE.to_owned(), |page, (place, text)| page.replace(place, text)),
            webhook: format!("{}/v1/webhook/custom/{}", urls.public, cast.funnel_id),
            api_key: cast.api_key.clone(),
            http: http::to_ourselves()?,
            storage: house.storage.clone(),
            sandbox,
            funnel_id: FunnelId::parse(&cast.funnel_id)?,
            pixels: cast.pixels.iter().map(|pixel| PixelId::parse(&pixel.id)).collect::<Result<_, _>>()?,
        })
    }

    /// Serves until `stop` is cancelled.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let routes = Router::new()
            .route("/", get(page))
            .route("/demo/state", get(state))
            .route("/demo/webhook", post(webhook))
            .with_state(Arc::new(self));
        axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await.context("the shop cannot be served")
    }
}

/// What went wrong, as the page shows it.
struct Failed(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, Json(json!({"status": 502, "body": {"error": format!("{:#}", self.0)}}))).into_response()
    }
}

async fn page(State(shop): State<Arc<Shop>>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Html(shop.page.clone())).into_response()
}

/// What the shop's backend does after a sale: it posts the webhook, here with what the page says was bought.
async fn webhook(State(shop): State<Arc<Shop>>, Json(sale): Json<Map<String, Value>>) -> Result<Json<Value>, Failed> {
    let mut body = Map::from_iter([("event".to_owned(), json!("purchase"))]);
    body.extend(sale);
    let answer = shop.http.post(&shop.webhook).header("x-api-key", &shop.api_key).json(&body).send().await?;
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap_or_default();
    Ok(Json(json!({"status": status, "body": body})))
}

#[derive(Deserialize)]
struct Which {
    order_id: Option<String>,
    event_id: Option<String>,
}

async fn state(State(shop): State<Arc<Shop>>, Query(which): Query<Which>) -> Result<Json<Value>, Failed> {
    let order = which.order_id.as_deref().map(OrderId::parse).transpose()?.flatten();
    let (purchase, deliveries, event_id) = match (order, which.event_id) {
        (Some(order), _) => {
            let purchase = shop.storage.readings().purchase(&shop.funnel_id, order.as_str()).await?;
            let deliveries = shop.deliveries_of_order(&order, purchase.as_ref()).await?;
            (purchase, deliveries, key::order_event_id(&shop.funnel_id, &order))
        }
        (None, Some(event_id)) => {
            let purchase = shop.storage.readings().purchase(&shop.funnel_id, &event_id).await?;
            (purchase, shop.deliveries_of_event(&event_id).await?, event_id)
        }
        (None, None) => (None, Vec::new(), String::new()),
    };
    let meta = shop.meta(&deliveries, &event_id);
    Ok(Json(json!({"purchase": purchase.map(purchase_json), "deliveries": deliveries, "meta": meta})))
}

impl Shop {
    async fn deliveries_of_order(&self, order: &OrderId, purchase: Option<&Purchase>) -> Result<Vec<Value>, ReadError> {
        let sale = DedupKey::Purchase(self.funnel_id.clone(), order.clone()).to_string();
        let lead = DedupKey::Lead(self.funnel_id.clone(), order.clone()).to_string();
        let mut deliveries = Vec::new();
        for pixel in &self.pixels {
            match (self.delivery(pixel, &sale).await?, purchase) {
                (Some(row), _) => deliveries.push(row),
                // The judge has dispatched it and the sink has not touched it yet.
                (None, Some(purchase)) => deliveries.push(waiting(pixel, "Purchase", &purchase.event_id)),
                (None, None) => {}
            }
            deliveries.extend(self.delivery(pixel, &lead).await?);
        }
        Ok(deliveries)
    }

    async fn deliveries_of_event(&self, event_id: &str) -> Result<Vec<Value>, ReadError> {
        let mut deliveries = Vec::new();
        for pixel in &self.pixels {
            for dispatch in self.newest_dispatches(pixel, event_id).await? {
                let row = self.delivery(pixel, &dispatch.dedup_key).await?;
                deliveries.push(row.unwrap_or_else(|| waiting(pixel, &dispatch.event_name, event_id)));
            }
        }
        Ok(deliveries)
    }

    async fn delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<Value>, ReadError> {
        let row = self.storage.readings().delivery(pixel, dedup_key).await?;
        Ok(row.map(|Delivery { pixel_id, event_name, event_id, outcome, attempts, .. }| {
            let outcome = outcome.map_or("waiting", Outcome::name);
            json!({"pixel_id": pixel_id, "event_name": event_name, "event_id": event_id, "outcome": outcome, "attempts": attempts})
        }))
    }

    /// First revisions of an event's dispatches to one pixel, among the newest of its partition.
    async fn newest_dispatches(&self, pixel: &PixelId, event_id: &str) -> Result<Vec<Dispatch>, ReadError> {
        let partition = self.storage.partition_of(Topic::Dispatch, pixel.as_str().as_bytes());
        let end = self.storage.bounds(Topic::Dispatch, partition).await?.1;
        let mut reader = self.storage.reader(Topic::Dispatch, partition, end.saturating_sub(DISPATCHES_BACK));
        let mut found = Vec::new();
        while reader.position() < end {
            let records = reader.available(DISPATCHES_BACK as usize, BYTES_AT_ONCE).await?;
            if records.is_empty() {
                break;
            }
            let dispatches = records.iter().filter_map(|record| serde_json::from_slice::<Dispatch>(&record.value).ok());
            found.extend(dispatches.filter(|d| d.pixel_id == *pixel && d.event_id == event_id && d.revision == 1));
        }
        Ok(found)
    }

    fn meta(&self, deliveries: &[Value], event_id: &str) -> Vec<Value> {
        let mut names = BTreeSet::from(["Lead", "Purchase"]); // the page's pixel may have been faster than we
        names.extend(deliveries.iter().filter_map(|delivery| delivery["event_name"].as_str()));
        let mut counted = Vec::new();
        for (pixel, name) in self.pixels.iter().flat_map(|pixel| names.iter().map(move |name| (pixel, name))) {
            let conversion = self.sandbox.conversion(pixel.as_str(), name, event_id);
            if conversion.browser_copies + conversion.server_copies > 0 {
                counted.push(json!({
                    "pixel": pixel, "event_name": name, "event_id": event_id, "count": conversion.count, "legs": conversion.legs,
                    "browser_copies": conversion.browser_copies, "server_copies": conversion.server_copies,
                }));
            }
        }
        counted
    }
}

fn purchase_json(purchase: Purchase) -> Value {
    let Purchase { order_id, event_id, amount, currency, legs, revision, .. } = purchase;
    json!({"order_id": order_id, "event_id": event_id, "amount": amount, "currency": currency, "legs": legs, "revision": revision})
}

fn waiting(pixel: &PixelId, event_name: &str, event_id: &str) -> Value {
    json!({"pixel_id": pixel, "event_name": event_name, "event_id": event_id, "outcome": "waiting", "attempts": 0})
}
