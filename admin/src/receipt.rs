//! `GET /api/v1/receipt`: the whole life of one order or event as one answer, [`schemas::receipt::Receipt`].
//!
//! | asked by | costs |
//! |---|---|
//! | `order_id`, or an `event_id` of the form `{funnel}:{order}` | a few rows; without `funnel_id` two more for each funnel there is |
//! | `event_id` of a webhook without order, or of a purchase or lead without order | three rows for each funnel, or of the one named |
//! | `event_id` with `visitor_id` and `name` | one row for each funnel, or of the one named |
//! | any other `event_id` | one walk through the table `deliveries` and through what the sink has not read: minutes where there are many |
//!
//! In the walk an event is found by its deliveries, so one that no pixel was to hear of is found with `visitor_id` and `name` only. What
//! a backend's event carries of a browser is read from the frozen dispatch: some thirty short reads of the log, and at most a hundred
//! thousand records from the moment when it was received on.

mod compose;
mod enrichment;
mod find;
mod frozen;
mod sentence;
mod walk;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use schemas::{
    id::{FunnelId, VisitorId},
    order::OrderId,
    receipt::{Receipt, SaleKind},
};
use serde::Deserialize;

pub(crate) use frozen::{CLOCKS_US, first_from};

use crate::{Desk, refuse::Refused};

/// Longest event id or name that is looked for.
const TEXT_BYTES_MAX: usize = 512;

/// What is asked for, as it came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    order_id: Option<String>,
    event_id: Option<String>,
    funnel_id: Option<String>,
    kind: Option<SaleKind>,
    visitor_id: Option<String>,
    name: Option<String>,
}

/// What is asked for, checked.
struct Wanted {
    subject: Subject,
    /// The funnels in which it may be.
    funnels: Vec<FunnelId>,
    kind: Option<SaleKind>,
}

enum Subject {
    Order(OrderId),
    Event { id: String, by: Option<(VisitorId, String)> },
}

pub(crate) async fn receipt(State(desk): State<Arc<Desk>>, asked: Result<Query<Asked>, QueryRejection>) -> Result<Json<Receipt>, Refused> {
    let Query(asked) = asked.map_err(|error| Refused::whole(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))?;
    let wanted = checked(&desk, asked)?;
    let found = find::find(&desk, &wanted).await?;
    let mut receipt = compose::compose(&desk, found).await?;
    receipt.sentence = on_one_line(&sentence::sentence(&receipt));
    Ok(Json(receipt))
}

fn checked(desk: &Desk, asked: Asked) -> Result<Wanted, Refused> {
    let by = match (asked.visitor_id, asked.name) {
        (None, None) => None,
        (Some(visitor), Some(name)) => Some((VisitorId::parse(&visitor).map_err(|error| Refused::invalid("visitor_id", error))?, name)),
        (Some(_), None) => return Err(Refused::field("missing", "name", "visitor_id goes together with the event's name")),
        (None, Some(_)) => return Err(Refused::field("missing", "visitor_id", "name goes together with the visitor's id")),
    };
    let subject = match (asked.order_id, asked.event_id) {
        (Some(order), None) if by.is_none() => match OrderId::parse(&order).map_err(|error| Refused::invalid("order_id", error))? {
            Some(order) => Subject::Order(order),
            None => return Err(Refused::invalid("order_id", "must not be blank")),
        },
        (None, Some(id)) if (1..=TEXT_BYTES_MAX).contains(&id.len()) => Subject::Event { id, by },
        (None, Some(_)) => return Err(Refused::invalid("event_id", "must be 1 to 512 bytes")),
        (Some(_), None) => return Err(Refused::field("invalid", "visitor_id", "visitor_id and name go with event_id")),
        _ => return Err(Refused::field("missing", "order_id", "name either order_id or event_id")),
    };
    let directory = desk.parts.directory.load();
    let funnels = match asked.funnel_id {
        None => {
            let mut funnels: Vec<FunnelId> = directory.all().1.map(|entry| entry.funnel.id.clone()).collect();
            funnels.sort();
            funnels
        }
        Some(id) => {
            let id = FunnelId::parse(&id).map_err(|error| Refused::invalid("funnel_id", error))?;
            if directory.funnel(id.as_str()).is_none() {
                return Err(schemas::directory::FoldError::NoFunnel(id).into());
            }
            vec![id]
        }
    };
    Ok(Wanted { subject, funnels, kind: asked.kind })
}

/// What pages call their events may hold anything, and a sentence is printed on terminals.
fn on_one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
