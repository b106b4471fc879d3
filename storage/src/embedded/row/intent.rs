//! Table `intents`. Key: partition, attempt. Written before each request to Meta and again when it is settled; kept 30 days from then.
//!
//! Two more rows stand in `open_intents`, so that a start need not read a month of intents: `o`, partition, attempt while it is not
//! settled; `n`, partition: the highest attempt ever written, which must outlive the intents themselves.

use fjall::Slice;
use schemas::row::Intent;

use super::{FOR_EVER, damaged, from_json, json};
use crate::{
    embedded::{
        store::{Put, Store},
        tables::Table,
    },
    log::ReadError,
};

const NAME: &str = "intents";

/// The row, and its mark while it is open.
pub(in crate::embedded) fn puts(intent: &Intent) -> [Put; 2] {
    let kept_from = if intent.settled { intent.at.micros() } else { FOR_EVER };
    let key = key(intent.partition, intent.attempt);
    let mark = [b"o", &key[..]].concat();
    [
        Put { table: Table::Intents, key: Slice::from(&key[..]), value: Some(json(kept_from, intent)) },
        Put { table: Table::OpenIntents, key: Slice::from(mark), value: (!intent.settled).then(Slice::default) },
    ]
}

/// Intents of a partition that are not settled, in order.
pub(in crate::embedded) fn open(store: &Store, partition: u32) -> Result<Vec<Intent>, ReadError> {
    let mut rows = store.prefix(Table::OpenIntents, &[b"o", &partition.to_be_bytes()[..]].concat());
    let mut intents = Vec::new();
    while let Some(mark) = rows.next_key()? {
        let value = store.get(Table::Intents, &mark[1..])?.ok_or_else(|| damaged(NAME))?;
        intents.push(from_json(NAME, &value)?);
    }
    Ok(intents)
}

/// The key under which a partition's highest attempt stands.
pub(in crate::embedded) fn highest_key(partition: u32) -> Slice {
    Slice::from([b"n", &partition.to_be_bytes()[..]].concat())
}

/// The highest attempt ever written, from its value.
pub(in crate::embedded) fn highest(value: &[u8]) -> Result<u64, ReadError> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| damaged(NAME))
}

fn key(partition: u32, attempt: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..].copy_from_slice(&attempt.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use schemas::{id::PixelId, time::Time};

    use super::*;
    use crate::embedded::row::kept_from;

    #[test]
    fn an_intent_is_marked_while_it_is_open_and_ages_once_it_is_settled() {
        let intent = |settled| Intent {
            partition: 1,
            attempt: 2,
            at: Time::from_micros(3),
            pixel_id: PixelId::parse("7").expect("an id"),
            settled,
            items: vec![],
        };
        let [open, mark] = puts(&intent(false));
        assert!(mark.value.is_some());
        assert_eq!(open.value.as_deref().and_then(kept_from), Some(FOR_EVER));
        assert_eq!(from_json(NAME, &open.value.unwrap_or_default()), Ok(intent(false)));
        let [settled, gone] = puts(&intent(true));
        assert_eq!((settled.key, gone.key, gone.value), (open.key, mark.key, None));
        assert_eq!(settled.value.as_deref().and_then(kept_from), Some(3));
        assert!(highest(b"short").is_err());
    }
}
