//! Table `visitors`. Key: funnel, visitor. Cells merge, newest first, so the order of writing does not matter. Kept 400 days after the
//! last change.

use fjall::Slice;
use schemas::{
    id::{FunnelId, VisitorId},
    row::Visitor,
};

use super::{aging, from_json, joined, json};
use crate::log::ReadError;

/// The row's key.
pub(in crate::embedded) fn key(funnel: &FunnelId, visitor: &VisitorId) -> Slice {
    Slice::from(joined(&[funnel.as_str().as_bytes(), visitor.as_str().as_bytes()]))
}

/// The row's value.
pub(in crate::embedded) fn encode(visitor: &Visitor) -> Slice {
    let cells = [
        visitor.person.as_ref().map(|cell| cell.at),
        visitor.context.as_ref().map(|cell| cell.at),
        visitor.consent.as_ref().map(|cell| cell.at),
    ];
    json(aging(cells.into_iter().flatten().max()), visitor)
}

/// The row from its value.
pub(in crate::embedded) fn decode(value: &[u8]) -> Result<Visitor, ReadError> {
    from_json("visitors", value)
}
