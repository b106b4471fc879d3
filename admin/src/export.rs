//! `GET /api/v1/export/{purchases|leads|deliveries}`: the ledger, one row a line.
//!
//! A delivery that the sink has not touched yet is no row. It is found as a dispatch in the log, from the sink's committed offset on,
//! and told as `waiting`. Rows come into being while we read, so those dispatches are told first, each with its row if it has one by
//! now, and remembered; then all other rows.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use schemas::{delivery::Delivery, dispatch::Dispatch, envelope::Kind, topic::Topic};
use serde::Serialize;
use storage::{Page, ReadError, Readings, Storage};

use crate::{
    Desk,
    lines::{self, Ended, Lines},
    refuse::Refused,
    span::Span,
    told::Told,
};

const ROWS_AT_ONCE: usize = 500;

pub(crate) async fn export(State(desk): State<Arc<Desk>>, Path(what): Path<String>) -> Result<Response, Refused> {
    let storage = desk.parts.storage.clone();
    let readings = storage.readings();
    match what.as_str() {
        "purchases" => Ok(lines::answer(move |lines| rows(lines, move |after| page_of_purchases(readings.clone(), after)))),
        "leads" => Ok(lines::answer(move |lines| rows(lines, move |after| page_of_leads(readings.clone(), after)))),
        "deliveries" => Ok(lines::answer(move |lines| deliveries(lines, storage))),
        _ => {
            let message = "there is no such export; there are purchases, leads, deliveries";
            Err(Refused::whole(StatusCode::NOT_FOUND, "export_not_found", message))
        }
    }
}

async fn page_of_purchases(readings: Readings, after: Option<Vec<u8>>) -> Result<Page<schemas::fact::Purchase>, ReadError> {
    readings.purchases(after, ROWS_AT_ONCE).await
}

async fn page_of_leads(readings: Readings, after: Option<Vec<u8>>) -> Result<Page<schemas::fact::Lead>, ReadError> {
    readings.leads(after, ROWS_AT_ONCE).await
}

async fn rows<T: Serialize, P: Future<Output = Result<Page<T>, ReadError>>>(
    mut lines: Lines,
    page: impl Fn(Option<Vec<u8>>) -> P,
) -> Result<(), Ended> {
    let mut after = None;
    loop {
        let page = page(after).await?;
        for row in &page.rows {
            lines.value(row).await?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(lines.flush().await?),
        }
    }
}

async fn deliveries(mut lines: Lines, storage: Storage) -> Result<(), Ended> {
    let readings = storage.readings();
    let mut told = Told::default();
    for partition in 0..storage.partitions(Topic::Dispatch) {
        untouched(&mut lines, &storage, partition, &mut told).await?;
    }
    let mut after = None;
    loop {
        let page = readings.deliveries(after, ROWS_AT_ONCE).await?;
        for row in page.rows.iter().filter(|row| !told.contains(row.pixel_id.as_str(), &row.dedup_key)) {
            lines.value(row).await?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(lines.flush().await?),
        }
    }
}

/// Tells the dispatches that the sink had not consumed when we looked, each once: revision 2 is the same delivery.
async fn untouched(lines: &mut Lines, storage: &Storage, partition: u32, told: &mut Told) -> Result<(), Ended> {
    let readings = storage.readings();
    let mut span = Span::unread(storage, partition).await?;
    while let Some(records) = span.next().await? {
        for record in &records {
            let Ok(dispatch) = serde_json::from_slice::<Dispatch>(&record.value) else {
                tracing::warn!(partition, offset = record.position.offset, "a dispatch cannot be read and is left out of the export");
                continue;
            };
            if told.insert(dispatch.pixel_id.as_str(), &dispatch.dedup_key) {
                let row = readings.delivery(&dispatch.pixel_id, &dispatch.dedup_key).await?;
                lines.value(&row.unwrap_or_else(|| waiting(dispatch))).await?;
            }
        }
    }
    Ok(())
}

fn waiting(dispatch: Dispatch) -> Delivery {
    Delivery {
        id: dispatch.id,
        kind: Kind::Delivery,
        version: dispatch.version,
        funnel_id: dispatch.funnel_id,
        workspace_id: dispatch.workspace_id,
        occurred_at: dispatch.occurred_at,
        received_at: dispatch.received_at,
        position: dispatch.position,
        pixel_id: dispatch.pixel_id,
        event_name: dispatch.event_name,
        event_id: dispatch.event_id,
        dedup_key: dispatch.dedup_key,
        revision: dispatch.revision,
        noted_revision: None,
        outcome: None,
        settled_at: None,
        attempts: 0,
        ambiguous_attempts: 0,
        attempt_log: Vec::new(),
        first_ambiguous_at: None,
        reason: None,
        replayed: None,
    }
}
