//! Table `people`. Key: funnel, e-mail digest. Cells merge, newest first. Kept 400 days after the last change.

use fjall::Slice;
use schemas::{id::FunnelId, person::Digest, row::PersonRow};

use super::{aging, from_json, joined, json};
use crate::log::ReadError;

/// The row's key.
pub(in crate::embedded) fn key(funnel: &FunnelId, email: &Digest) -> Slice {
    Slice::from(joined(&[funnel.as_str().as_bytes(), email.bytes()]))
}

/// The row's value.
pub(in crate::embedded) fn encode(person: &PersonRow) -> Slice {
    let cells = [person.context.as_ref().map(|cell| cell.at), person.consent.as_ref().map(|cell| cell.at)];
    json(aging(cells.into_iter().flatten().max()), person)
}

/// The row from its value.
pub(in crate::embedded) fn decode(value: &[u8]) -> Result<PersonRow, ReadError> {
    from_json("people", value)
}
