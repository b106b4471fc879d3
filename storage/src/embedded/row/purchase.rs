//! Table `purchases`. Key: funnel, then `o` and the order id, or `e` and the event id where no order was named: an order may be called
//! like another sale's event. The newest revision replaces. Kept for ever.

use fjall::Slice;
use schemas::{fact::Purchase, id::FunnelId};

use super::{FOR_EVER, from_json, joined, json};
use crate::{
    embedded::{
        store::{Put, Store},
        tables::Table,
    },
    log::ReadError,
};

/// The whole row.
pub(in crate::embedded) fn put(purchase: &Purchase) -> Put {
    let key = fact_key(&purchase.funnel_id, purchase.order_id.as_ref().map(schemas::order::OrderId::as_str), &purchase.event_id);
    Put { table: Table::Purchases, key: Slice::from(key), value: Some(json(FOR_EVER, purchase)) }
}

/// A purchase by order id, or else by event id.
pub(in crate::embedded) fn get(store: &Store, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Purchase>, ReadError> {
    for key in [fact_key(funnel, Some(order_or_event_id), ""), fact_key(funnel, None, order_or_event_id)] {
        if let Some(value) = store.get(Table::Purchases, &key)? {
            return decode(&value).map(Some);
        }
    }
    Ok(None)
}

/// The row from its value.
pub(in crate::embedded) fn decode(value: &[u8]) -> Result<Purchase, ReadError> {
    from_json("purchases", value)
}

/// The key of purchases and leads.
pub(super) fn fact_key(funnel: &FunnelId, order: Option<&str>, event_id: &str) -> Vec<u8> {
    match order {
        Some(order) => joined(&[funnel.as_str().as_bytes(), b"o", order.as_bytes()]),
        None => joined(&[funnel.as_str().as_bytes(), b"e", event_id.as_bytes()]),
    }
}
