//! What waits of a pixel: rows of the ledger, the earliest deadline first, and dispatches that the sink has not read.

use futures_util::{StreamExt, TryStreamExt, stream};
use schemas::{delivery::Delivery, dispatch::Dispatch, id::PixelId, row::Waiting, topic::Topic};
use storage::{ReadError, Readings, Storage};

use crate::{
    deadline_hour,
    span::Span,
    told::Told,
    totals::{Tally, worth},
};

/// Rows looked at where only the first is wanted: there may be some whose delivery has its outcome already.
const FIRST_ROWS: usize = 8;
const ROWS_AT_ONCE: usize = 500;
/// Questions asked at a time.
const AT_ONCE: usize = 32;

/// Everything that waits.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) tally: Tally,
    /// The delivery with the earliest deadline.
    pub(super) first: Option<Delivery>,
    /// How many of them the sink has not read.
    pub(super) unread: u64,
}

/// The waiting delivery with the earliest deadline.
pub(super) async fn first(readings: &Readings, pixel: &PixelId) -> Result<Option<Delivery>, ReadError> {
    let mut after = None;
    loop {
        let page = readings.waiting_of(pixel, after, FIRST_ROWS).await?;
        for row in &page.rows {
            if let Some(delivery) = waits(readings, row).await? {
                return Ok(Some(delivery));
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(None),
        }
    }
}

/// Counts all of it. What comes while it is counted may be in or not.
pub(super) async fn count(storage: &Storage, pixel: &PixelId) -> Result<Counted, ReadError> {
    let readings = storage.readings();
    let mut counted = Counted::default();
    // What is not read yet first: it may become a row meanwhile, and is then passed over here.
    let mut told = Told::default();
    count_unread(storage, pixel, &mut told, &mut counted).await?;
    let mut after = None;
    loop {
        let page = readings.waiting_of(pixel, after, ROWS_AT_ONCE).await?;
        let readings = &readings;
        let mut looked = stream::iter(page.rows).map(|row| looked_at(readings, row)).buffered(AT_ONCE);
        while let Some((delivery, row)) = looked.try_next().await? {
            let Some(delivery) = delivery.filter(|_| !told.contains(pixel.as_str(), &row.dispatch.dedup_key)) else { continue };
            counted.tally.counts.stands(None);
            counted.tally.waits(row.deadline_hour, worth(&row.dispatch.event_name, row.dispatch.payload.as_deref()));
            counted.first.get_or_insert(delivery);
        }
        drop(looked);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(counted),
        }
    }
}

async fn looked_at(readings: &Readings, row: Waiting) -> Result<(Option<Delivery>, Waiting), ReadError> {
    Ok((waits(readings, &row).await?, row))
}

/// The delivery of a row, if it has no outcome.
async fn waits(readings: &Readings, row: &Waiting) -> Result<Option<Delivery>, ReadError> {
    let delivery = readings.delivery(&row.dispatch.pixel_id, &row.dispatch.dedup_key).await?;
    Ok(delivery.filter(|delivery| delivery.outcome.is_none()))
}

/// Dispatches of which nothing is recorded yet, each once: revision 2 is the same delivery.
async fn count_unread(storage: &Storage, pixel: &PixelId, told: &mut Told, counted: &mut Counted) -> Result<(), ReadError> {
    let readings = storage.readings();
    let partition = storage.partition_of(Topic::Dispatch, pixel.as_str().as_bytes());
    let mut span = Span::unread(storage, partition).await?;
    while let Some(records) = span.next().await? {
        for record in records.iter().filter(|record| record.key == pixel.as_str().as_bytes()) {
            let Ok(dispatch) = serde_json::from_slice::<Dispatch>(&record.value) else { continue };
            if readings.delivery(pixel, &dispatch.dedup_key).await?.is_some() || !told.insert(pixel.as_str(), &dispatch.dedup_key) {
                continue;
            }
            counted.unread += 1;
            counted.tally.counts.stands(None);
            counted.tally.waits(deadline_hour(dispatch.occurred_at), worth(&dispatch.event_name, dispatch.payload.as_deref()));
        }
    }
    Ok(())
}
