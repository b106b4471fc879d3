//! `GET /api/v1/pixels` and `GET /api/v1/pixels/{id}`: the pixels there are, and how Meta takes their events.
//!
//! A pixel's state is told from the ledger alone, whichever process delivers: it is why the waiting delivery with the earliest deadline
//! waits, for that one is tried first. The list costs two short reads a pixel; one pixel, with everything that waits of it counted, costs two
//! for each delivery that waits, and those that the sink has not read yet.

mod state;
mod waits;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use futures_util::{StreamExt, stream};
use schemas::{
    directory::{Directory, Pixel},
    id::{FunnelId, PixelId, WorkspaceId},
    time::Time,
};
use serde::Serialize;
use storage::Readings;

use crate::{
    Desk, deadline_hour,
    directory::sorted,
    refuse::Refused,
    totals::{WaitingMoney, hour},
};
use state::PixelState;

/// Pixels looked at at a time.
const AT_ONCE: usize = 8;

/// A pixel, with its state.
#[derive(Serialize)]
pub(crate) struct PixelListed {
    id: PixelId,
    workspace_id: WorkspaceId,
    funnels: Vec<FunnelId>,
    test_event_code: Option<String>,
    state: PixelState,
    /// The hour in which Meta stops accepting the first of what waits in the ledger.
    first_loss_hour: Option<Time>,
}

/// The same, with everything that waits.
#[derive(Serialize)]
pub(crate) struct PixelShown {
    sentence: String,
    #[serde(flatten)]
    pixel: PixelListed,
    /// Deliveries that wait.
    waiting: u64,
    /// What purchases among them are worth, by currency.
    waiting_money: Vec<WaitingMoney>,
    /// The sink has read all of them.
    is_read: bool,
}

pub(crate) async fn list(State(desk): State<Arc<Desk>>) -> Json<Vec<PixelListed>> {
    let directory = desk.parts.directory.load_full();
    let mut linked = linked(&directory);
    let pixels = directory.all().2.map(|pixel| PixelListed::of(pixel, linked.remove(&pixel.id).unwrap_or_default()));
    let pixels = sorted(pixels, |pixel| &pixel.id);
    let readings = desk.parts.storage.readings();
    let readings = &readings;
    Json(stream::iter(pixels).map(|pixel| looked_at(readings, pixel)).buffered(AT_ONCE).collect().await)
}

/// With its state as far as it can be read: the list is there while the ledger is not.
async fn looked_at(readings: &Readings, mut pixel: PixelListed) -> PixelListed {
    match waits::first(readings, &pixel.id).await {
        Ok(first) => {
            pixel.state = PixelState::of(first.as_ref());
            pixel.first_loss_hour = first.map(|first| hour(deadline_hour(first.occurred_at)));
        }
        Err(error) => tracing::warn!(pixel = %pixel.id, %error, "a pixel's state cannot be read"),
    }
    pixel
}

pub(crate) async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Result<Json<PixelShown>, Refused> {
    let directory = desk.parts.directory.load_full();
    let Some(known) = directory.pixel(&id) else {
        return Err(Refused::no_pixel("id", &id));
    };
    let mut pixel = PixelListed::of(known, linked(&directory).remove(&known.id).unwrap_or_default());
    let _held = desk.counting.lock().await;
    let counted = waits::count(&desk.parts.storage, &known.id).await?;
    pixel.state = PixelState::of(counted.first.as_ref());
    pixel.first_loss_hour = counted.tally.first_hour.map(hour);
    let waiting = counted.tally.counts.waiting;
    let waiting_money = WaitingMoney::of(counted.tally);
    let sentence = state::sentence(&pixel.id, pixel.state, waiting, &waiting_money, pixel.first_loss_hour);
    Ok(Json(PixelShown { sentence, pixel, waiting, waiting_money, is_read: counted.unread == 0 }))
}

/// The funnels of each pixel, in the order of their ids.
fn linked(directory: &Directory) -> BTreeMap<PixelId, Vec<FunnelId>> {
    let mut linked: BTreeMap<PixelId, Vec<FunnelId>> = BTreeMap::new();
    for entry in directory.all().1 {
        entry.pixels.iter().for_each(|pixel| linked.entry(pixel.clone()).or_default().push(entry.funnel.id.clone()));
    }
    for funnels in linked.values_mut() {
        funnels.sort();
    }
    linked
}

impl PixelListed {
    fn of(pixel: &Pixel, funnels: Vec<FunnelId>) -> Self {
        Self {
            id: pixel.id.clone(),
            workspace_id: pixel.workspace_id.clone(),
            funnels,
            test_event_code: pixel.test_event_code.clone(),
            state: PixelState::NotKnown,
            first_loss_hour: None,
        }
    }
}
