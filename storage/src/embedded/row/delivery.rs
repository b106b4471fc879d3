//! Table `deliveries`. Key: pixel, dedup key. Written whole by the sink. Kept 90 days after its outcome.

use fjall::Slice;
use schemas::{
    delivery::{Delivery, Written},
    id::PixelId,
};

use super::{aging, from_json, joined, written};
use crate::{
    embedded::{
        store::{Put, Store},
        tables::Table,
    },
    log::ReadError,
};

/// The whole row. Without an outcome it does not age.
pub(in crate::embedded) fn put(delivery: &Written) -> Put {
    let kept_from = aging(delivery.settled_at.filter(|_| delivery.outcome.is_some()));
    let key = Slice::from(key(&delivery.pixel_id, &delivery.dedup_key));
    Put { table: Table::Deliveries, key, value: Some(written(kept_from, delivery.json())) }
}

/// One delivery.
pub(in crate::embedded) fn get(store: &Store, pixel: &PixelId, dedup_key: &str) -> Result<Option<Delivery>, ReadError> {
    store.get(Table::Deliveries, &key(pixel, dedup_key))?.map(|value| decode(&value)).transpose()
}

/// The row from its value.
pub(in crate::embedded) fn decode(value: &[u8]) -> Result<Delivery, ReadError> {
    from_json("deliveries", value)
}

fn key(pixel: &PixelId, dedup_key: &str) -> Vec<u8> {
    joined(&[pixel.as_str().as_bytes(), dedup_key.as_bytes()])
}
