//! Verdicts on their way: the judge's process tells them to the partition that the asking door reads; the door's process reads it and
//! gives them to whoever waits.

use schemas::{topic::Topic, verdict::Answer};
use uuid::Uuid;

use super::fetcher::Lane;
use crate::{
    answers::Answers,
    log::{Append, ReadError},
    step::Reply,
};

const RECORDS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1 << 20;

/// The partition of verdicts that a door reads. Two doors may choose the same one: each then passes over the other's verdicts.
pub(super) fn partition_for(door: Uuid, partitions: u32) -> u32 {
    (door.as_u128() % u128::from(partitions.max(1))) as u32
}

/// Gives out what comes, until the store closes.
pub(super) async fn hear(mut lane: Lane, answers: Answers) {
    loop {
        match lane.next(RECORDS_AT_ONCE, BYTES_AT_ONCE).await {
            Ok(records) => {
                answers.give(records.iter().filter_map(|record| match serde_json::from_slice::<Answer>(&record.value) {
                    Ok(answer) => Some(answer),
                    Err(error) => {
                        tracing::warn!(offset = record.position.offset, %error, "a verdict cannot be read and is passed over");
                        None
                    }
                }));
            }
            Err(ReadError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "verdicts are not heard any more; webhooks are answered 202");
                return;
            }
        }
    }
}

/// A verdict as a record. Its time is the brokers' affair: nobody reads an old one.
pub(super) fn record(reply: &Reply) -> Append {
    let value = serde_json::to_vec(&reply.answer).unwrap_or_default(); // plain values are JSON
    let key = reply.answer.raw_id.as_bytes().to_vec();
    Append { topic: Topic::Verdicts, key: key.into(), value: value.into(), time: schemas::time::Time::default() }
}
