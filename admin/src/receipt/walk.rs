//! The long way to an event of which only the id is known: every row of `deliveries`, then every dispatch that the sink has not read.
//! Page by page, so it takes time and no memory.

use schemas::{
    delivery::Delivery,
    dispatch::Dispatch,
    id::FunnelId,
    topic::{Group, Topic},
};
use storage::{ReadError, Storage};

use super::find::Found;

const ROWS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1024 * 1024;

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
        unread(storage, partition, |dispatch| take(&dispatch.funnel_id, &dispatch.event_id, &dispatch.dedup_key, &dispatch.event_name))
            .await?;
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

async fn unread(storage: &Storage, partition: u32, mut each: impl FnMut(&Dispatch)) -> Result<(), ReadError> {
    let from = storage.committed(Group::Capi, partition).await?.next_offset;
    let end = storage.bounds(Topic::Dispatch, partition).await?.1;
    let mut reader = storage.reader(Topic::Dispatch, partition, from);
    while reader.position() < end {
        let records = reader.available(ROWS_AT_ONCE, BYTES_AT_ONCE).await?;
        if records.is_empty() {
            break;
        }
        records.iter().filter_map(|record| serde_json::from_slice(&record.value).ok()).for_each(|dispatch| each(&dispatch));
    }
    Ok(())
}
