//! Table `person_keys`. Key: funnel, e-mail digest, key id. Written once by whoever found none. Kept until the person is forgotten.

use fjall::Slice;
use schemas::{id::FunnelId, person::Digest, row::PersonKey};

use super::{FOR_EVER, from_json, joined, json};
use crate::{
    embedded::{
        store::{Put, Store},
        tables::Table,
    },
    log::ReadError,
};

/// The whole row.
pub(in crate::embedded) fn put(key: &PersonKey) -> Put {
    let mut bytes = prefix(&key.funnel_id, &key.email);
    bytes.extend_from_slice(key.key_id.as_bytes());
    Put { table: Table::PersonKeys, key: Slice::from(bytes), value: Some(json(FOR_EVER, key)) }
}

/// All keys of a person.
pub(in crate::embedded) fn of(store: &Store, funnel: &FunnelId, email: &Digest) -> Result<Vec<PersonKey>, ReadError> {
    store.prefix(Table::PersonKeys, &prefix(funnel, email)).map(|row| from_json("person_keys", &row?.1)).collect()
}

/// The digest has a fixed length, so the prefix is one person's alone.
fn prefix(funnel: &FunnelId, email: &Digest) -> Vec<u8> {
    joined(&[funnel.as_str().as_bytes(), email.bytes()])
}
