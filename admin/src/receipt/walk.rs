//! The long way to an event of which only the id is known: every row of `deliveries`, then every dispatch that the sink has not read.
//! Page by page, so it takes time and no memory.

use schemas::{delivery::Delivery, dispatch::Dispatch, id::FunnelId, topic::Topic};
use storage::{ReadError, Storage};

use super::find::Found;
use crate::span::Span;

const ROWS_AT_ONCE: usize = 1_000;

/// The events of that id, each once; no more than one above `max`.
pub(super) async fn walk(storage: &Storage, funnels: &[FunnelId], event_id: &str, max: usize) -> Result<Vec<Found>, ReadError> {
    let mut found: Vec<Found> = Vec::new();
    let mut take = |funnel: &FunnelId, id: &str, key: &str, name: &str| {
        let is_new = || found.iter().all(|known| known.key != key);
        if id == event_id && found.len() <= max && funnels.contains(funnel) && is_new() {
            found.push(Found {
                funnel: funnel.clone(),
                key: key.to_owned(),
                order: None,
                event_id: id.to_owned(),
                name: Some(name.to_owned()),
                seen: None,
                fact: None,
                also: None,
            });
        }
    };
    // What is not read yet first: it may become a row while we walk, and is then met there.
    for partition in 0..storage.partitions(Topic::Dispatch) {
        let mut span = Span::unread(storage, partition).await?;
        while let Some(records) = span.next().await? {
            let dispatches = records.iter().filter_map(|record| serde_json::from_slice::<Dispatch>(&record.value).ok());
            dispatches.for_each(|dispatch| take(&dispatch.funnel_id, &dispatch.event_id, &dispatch.dedup_key, &dispatch.event_name));
        }
    }
    let (readings, mut after) = (storage.readings(), None);
    loop {
        let page = readings.deliveries(after, ROWS_AT_ONCE).await?;
        page.rows.iter().for_each(|row: &Delivery| take(&row.funnel_id, &row.event_id, &row.dedup_key, &row.event_name));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
        tokio::task::yield_now().await;
    }
}
