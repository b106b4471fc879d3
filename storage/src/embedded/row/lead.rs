//! Table `leads`. Key and value as in `purchases`. Kept for ever.

use fjall::Slice;
use schemas::{fact::Lead, id::FunnelId};

use super::{FOR_EVER, from_json, json, purchase::fact_key};
use crate::{
    embedded::{
        store::{Put, Store},
        tables::Table,
    },
    log::ReadError,
};

/// The whole row.
pub(in crate::embedded) fn put(lead: &Lead) -> Put {
    let key = fact_key(&lead.funnel_id, lead.order_id.as_ref().map(schemas::order::OrderId::as_str), &lead.event_id);
    Put { table: Table::Leads, key: Slice::from(key), value: Some(json(FOR_EVER, lead)) }
}

/// A lead by order id, or else by event id.
pub(in crate::embedded) fn get(store: &Store, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Lead>, ReadError> {
    for key in [fact_key(funnel, Some(order_or_event_id), ""), fact_key(funnel, None, order_or_event_id)] {
        if let Some(value) = store.get(Table::Leads, &key)? {
            return decode(&value).map(Some);
        }
    }
    Ok(None)
}

/// The row from its value.
pub(in crate::embedded) fn decode(value: &[u8]) -> Result<Lead, ReadError> {
    from_json("leads", value)
}
