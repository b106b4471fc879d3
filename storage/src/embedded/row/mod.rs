//! The rows, one file per table. Each has a key, what is written, and how it is read back.
//!
//! | table | who writes it, how often |
//! |---|---|
//! | `seen` | the judge, once per leg: every event once |
//! | `purchases`, `leads` | the judge, once per revision |
//! | `visitors`, `people` | the judge, when a cell changed |
//! | `person_keys` | the judge, once per person |
//! | `filter_snapshots` | the judge, now and then, tens of megabytes |
//! | `intents` | the sink, twice per request to Meta |
//! | `deliveries` | the sink, once or more per dispatch |
//! | `waiting` | the sink, for what cannot be sent in its turn |
//!
//! Every value begins with a head: version `u8`, then `i64` big-endian, the moment from which its age is counted, or [`FOR_EVER`].
//! Compaction reads no more than the head to tell what has aged out. Behind the head stands JSON, because a person with a hex dump
//! should be able to read it, except in `seen`, of which there is one row per event.

pub(super) mod delivery;
pub(super) mod filter_snapshot;
pub(super) mod intent;
pub(super) mod lead;
pub(super) mod person;
pub(super) mod person_key;
pub(super) mod purchase;
pub(super) mod seen;
pub(super) mod visitor;
pub(super) mod waiting;

use fjall::Slice;
use schemas::{row::Row, time::Time};
use serde::{Serialize, de::DeserializeOwned};

use super::{merge::Merge, store::Put};
use crate::log::ReadError;

/// The version of rows this build writes.
const VERSION: u8 = 1;
/// Bytes before a row's own.
pub(super) const HEAD_BYTES: usize = 9;
/// The age of a row that is never dropped.
pub(super) const FOR_EVER: i64 = i64::MAX;

/// Splits a step's row into writes that need no look at what is there, made here and now on the caller's own thread, and merges, which
/// only the commit thread may make.
pub(super) fn encode(row: Row, puts: &mut Vec<Put>, merges: &mut Vec<Merge>) {
    match row {
        Row::Seen { key, leg, cell } => puts.push(seen::put(&key, leg, &cell)),
        Row::Purchase(purchase) => puts.push(purchase::put(&purchase)),
        Row::Lead(lead) => puts.push(lead::put(&lead)),
        Row::Delivery(delivery) | Row::DeliveryNote(delivery) => puts.push(delivery::put(&delivery)),
        Row::Intent(intent) => {
            puts.extend(intent::puts(&intent));
            merges.push(Merge::Attempt { partition: intent.partition, attempt: intent.attempt });
        }
        Row::Visitor(visitor) => merges.push(Merge::Visitor(visitor)),
        Row::Person(person) => merges.push(Merge::Person(*person)),
        Row::PersonKey(key) => merges.push(Merge::PersonKey(key)),
        Row::Waiting(waiting) | Row::WaitingBegins(waiting) => merges.push(Merge::Waiting(waiting)),
        Row::WaitingDone { pixel_id, deadline_hour, dedup_key } => {
            merges.push(Merge::WaitingDone { key: waiting::key(&pixel_id, deadline_hour, &dedup_key) });
        }
        Row::FilterSnapshot(snapshot) => merges.push(Merge::Snapshot(filter_snapshot::done(&snapshot))),
    }
}

/// A value: the head, then JSON.
fn json(kept_from: i64, row: &impl Serialize) -> Slice {
    let mut value = head(kept_from, 512);
    serde_json::to_writer(&mut value, row).expect("our rows have text keys and plain values, and a vector takes every byte");
    Slice::from(value)
}

/// A value whose JSON is made already.
fn written(kept_from: i64, json: &str) -> Slice {
    let mut value = head(kept_from, HEAD_BYTES + json.len());
    value.extend_from_slice(json.as_bytes());
    Slice::from(value)
}

/// The head of a value.
fn head(kept_from: i64, room: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(room);
    value.push(VERSION);
    value.extend_from_slice(&kept_from.to_be_bytes());
    value
}

/// What stands behind the head.
fn body<'a>(table: &'static str, value: &'a [u8]) -> Result<&'a [u8], ReadError> {
    match value.split_at_checked(HEAD_BYTES) {
        Some(([VERSION, ..], body)) => Ok(body),
        Some(([version, ..], _)) if *version > VERSION => {
            Err(ReadError::Failed(format!("a row of {table} has version {version}: a newer build wrote it; start that one")))
        }
        _ => Err(damaged(table)),
    }
}

/// A row from its value.
fn from_json<T: DeserializeOwned>(table: &'static str, value: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(body(table, value)?).map_err(|cause| ReadError::Failed(format!("a row of {table} is damaged: {cause}")))
}

fn damaged(table: &'static str) -> ReadError {
    ReadError::Failed(format!("a row of {table} is damaged"))
}

/// The moment from which a value's age is counted.
pub(super) fn kept_from(value: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(value.get(1..HEAD_BYTES)?.try_into().ok()?))
}

/// A key of parts: ids never hold a zero byte, so it separates them, and only the last part may be free text.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.join(&0)
}

/// A moment or an hour such that keys sort as it does.
fn sortable(number: i64) -> [u8; 8] {
    (number as u64 ^ (1 << 63)).to_be_bytes()
}

/// The moment from which an aging row is counted.
fn aging(at: Option<Time>) -> i64 {
    at.map_or(FOR_EVER, Time::micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sortable_numbers_sort() {
        assert!([i64::MIN, -1, 0, 1, i64::MAX].map(sortable).is_sorted());
    }

    #[test]
    fn a_newer_or_damaged_row_is_an_error_that_says_so() {
        let mut value = json(7, &"text").to_vec();
        assert_eq!(kept_from(&value), Some(7));
        assert_eq!(from_json::<String>("seen", &value), Ok("text".to_owned()));
        assert!(from_json::<u32>("seen", &value).is_err());
        assert!(from_json::<String>("seen", &value[..5]).is_err());
        value[0] = VERSION + 1;
        assert!(matches!(from_json::<String>("seen", &value), Err(ReadError::Failed(why)) if why.contains("newer build")));
    }
}
