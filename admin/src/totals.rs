//! `GET /api/v1/totals[?pixel_id=…]`: what became of everything that was dispatched, from log and ledger and never from a counter:
//!
//! dispatched = delivered + rejected + expired + cancelled + unknown + waiting
//!
//! Dispatched is every delivery that the topic `dispatch` still holds (revision 2 is the same delivery) and every one that has a row in
//! `deliveries` (kept 90 days after its outcome). What has neither a row nor an unread dispatch is `missing`: it must never be more than
//! 0. While traffic runs the numbers still agree: what is dispatched later than the request is counted only where its row is met.
//!
//! It costs one walk through the topic and one through the table, a second walk through the topic if the sink has not read all of it, and
//! two short reads for each delivery that waits. One count runs at a time and takes 60 MB at most: where the topic holds more than
//! 1,800,000 records both walks are made several times, each time for another part of the deliveries. With `pixel_id` only one partition
//! of the topic is read, but still the whole table.

mod count;
mod tally;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use schemas::{
    id::PixelId,
    money::Currency,
    time::{SECOND_US, Time},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Desk, refuse::Refused};
use tally::Counts;
pub(crate) use tally::{Tally, worth};

#[cfg(test)]
pub(crate) use count::{Counted, count_at_most};

/// What became of everything, and of each pixel's part of it.
#[derive(Serialize)]
pub(crate) struct Totals {
    /// When the count began.
    at: Time,
    #[serde(flatten)]
    counts: Counts,
    /// Whether every dispatch is accounted for.
    holds: bool,
    /// Records of the topic that are no dispatch; the sink puts them aside as `dead`.
    unreadable: u64,
    pixels: Vec<PixelTotals>,
}

#[derive(Serialize)]
struct PixelTotals {
    pixel_id: PixelId,
    #[serde(flatten)]
    counts: Counts,
    /// What purchases that wait are worth, by currency.
    waiting_money: Vec<WaitingMoney>,
    /// The hour in which Meta stops accepting the first of what waits.
    first_loss_hour: Option<Time>,
}

/// What waits in one currency.
#[derive(Serialize)]
pub(crate) struct WaitingMoney {
    currency: Currency,
    purchases: u64,
    amount: Box<RawValue>,
    amount_minor: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pixel_id: Option<String>,
}

pub(crate) async fn totals(State(desk): State<Arc<Desk>>, asked: Result<Query<Asked>, QueryRejection>) -> Result<Json<Totals>, Refused> {
    let Query(asked) = asked.map_err(|error| Refused::whole(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))?;
    let only = match asked.pixel_id {
        Some(id) => Some(PixelId::parse(&id).map_err(|error| Refused::field("invalid", "pixel_id", format!("pixel_id: {error}")))?),
        None => None,
    };
    let _held = desk.counting.lock().await;
    let at = desk.parts.world.now();
    let counted = count::count(&desk.parts.storage, only).await?;
    if counted.sum.missing > 0 {
        tracing::error!(missing = counted.sum.missing, "dispatches are neither recorded nor waiting");
    }
    let pixels = counted.pixels.into_iter().map(|(pixel_id, tally)| PixelTotals::of(pixel_id, tally)).collect();
    Ok(Json(Totals { at, holds: counted.sum.holds(), counts: counted.sum, unreadable: counted.unreadable, pixels }))
}

impl PixelTotals {
    fn of(pixel_id: PixelId, tally: Tally) -> Self {
        Self { pixel_id, counts: tally.counts, first_loss_hour: tally.first_hour.map(hour), waiting_money: WaitingMoney::of(tally) }
    }
}

impl WaitingMoney {
    /// By currency.
    pub(crate) fn of(tally: Tally) -> Vec<Self> {
        let money = tally.money.into_values().map(|(purchases, money)| Self {
            currency: money.currency,
            purchases,
            amount: schemas::fact::amount_json(money),
            amount_minor: money.minor,
        });
        money.collect()
    }
}

impl std::fmt::Display for WaitingMoney {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let purchases = if self.purchases == 1 { "purchase" } else { "purchases" };
        write!(f, "{} {purchases} of {} {}", self.purchases, self.amount.get(), self.currency)
    }
}

/// The moment with which an hour begins.
pub(crate) fn hour(hour: i64) -> Time {
    Time::from_micros(hour.saturating_mul(3_600 * SECOND_US))
}
