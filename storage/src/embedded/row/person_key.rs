//! Table `person_keys`. Key: funnel, e-mail digest; value: all keys of that person, by their ids. There is one unless two judges made
//! one at the same time. Written by whoever found none. Kept until the person is forgotten.
//!
//! One row a person, because "none" is asked of every new buyer: a look-up of one key is a hundred times cheaper than a walk over
//! those that begin with it.

use fjall::Slice;
use schemas::{id::FunnelId, person::Digest, row::PersonKey};

use super::{FOR_EVER, from_json, joined, json};
use crate::{
    embedded::{store::Store, tables::Table},
    log::ReadError,
};

/// The row's key.
pub(in crate::embedded) fn key(funnel: &FunnelId, email: &Digest) -> Slice {
    Slice::from(joined(&[funnel.as_str().as_bytes(), email.bytes()]))
}

/// The row's value.
pub(in crate::embedded) fn encode(keys: &[PersonKey]) -> Slice {
    json(FOR_EVER, &keys)
}

/// The row from its value.
pub(in crate::embedded) fn decode(value: &[u8]) -> Result<Vec<PersonKey>, ReadError> {
    from_json("person_keys", value)
}

/// All keys of a person.
pub(in crate::embedded) fn of(store: &Store, funnel: &FunnelId, email: &Digest) -> Result<Vec<PersonKey>, ReadError> {
    store.get(Table::PersonKeys, &key(funnel, email))?.map_or(Ok(Vec::new()), |value| decode(&value))
}

/// The keys with one more; told again it changes nothing.
pub(in crate::embedded) fn with(mut keys: Vec<PersonKey>, new: PersonKey) -> Vec<PersonKey> {
    if let Err(place) = keys.binary_search_by(|known| known.key_id.cmp(&new.key_id)) {
        keys.insert(place, new);
    }
    keys
}
