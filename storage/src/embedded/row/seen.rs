//! Table `seen`. Key: the dedup key's text, a zero byte, the leg (`b` or `s`), so that each leg is written without a look at the other.
//! Orders are kept for ever, events 32 days.
//!
//! There is one row per event, so it is short: position, raw id and time as numbers, and the optional rest as JSON only where there is
//! any. As JSON throughout it would be three times as long.

use fjall::Slice;
use schemas::{
    envelope::Position,
    fact::LegName,
    id::PixelId,
    money::Currency,
    person::Digest,
    row::{Leg, LegContext, Seen},
    time::Time,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{FOR_EVER, body, damaged, head};
use crate::{
    embedded::{
        store::{Put, Store},
        tables::Table,
    },
    log::ReadError,
};

const NAME: &str = "seen";
/// Generation, partition, offset, raw id, time.
const FIXED_BYTES: usize = 4 + 4 + 8 + 16 + 8;

/// One leg of a key.
pub(in crate::embedded) fn put(key: &str, leg: LegName, cell: &Leg) -> Put {
    Put { table: Table::Seen, key: Slice::from(row_key(key, leg)), value: Some(encode(key, cell)) }
}

/// What is known of a key.
pub(in crate::embedded) fn get(store: &Store, key: &str) -> Result<Option<Seen>, ReadError> {
    let mut seen = Seen::default();
    for leg in [LegName::Browser, LegName::Server] {
        if let Some(value) = store.get(Table::Seen, &row_key(key, leg))? {
            seen.set(leg, decode(&value)?);
        }
    }
    Ok((seen != Seen::default()).then_some(seen))
}

/// The key and the leg of a stored row, if its raw record stands in that partition.
pub(in crate::embedded) fn in_partition<'a>(
    key: &'a [u8],
    value: &[u8],
    partition: u32,
) -> Result<Option<(&'a str, LegName, Leg)>, ReadError> {
    let at = body(NAME, value)?.get(4..8).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| damaged(NAME))?;
    if u32::from_be_bytes(at) != partition {
        return Ok(None);
    }
    whole(key, value).map(Some)
}

/// The key and the leg of a stored row.
pub(in crate::embedded) fn whole<'a>(key: &'a [u8], value: &[u8]) -> Result<(&'a str, LegName, Leg), ReadError> {
    let (text, leg) = match key {
        [text @ .., 0, b'b'] => (text, LegName::Browser),
        [text @ .., 0, b's'] => (text, LegName::Server),
        _ => return Err(damaged(NAME)),
    };
    Ok((std::str::from_utf8(text).map_err(|_| damaged(NAME))?, leg, decode(value)?))
}

fn row_key(key: &str, leg: LegName) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 2);
    bytes.extend_from_slice(key.as_bytes());
    bytes.push(0);
    bytes.push(match leg {
        LegName::Browser => b'b',
        LegName::Server => b's',
    });
    bytes
}

/// Whether the key names an order: those rows are kept for ever.
fn is_order(key: &str) -> bool {
    matches!(key.split('|').nth(1), Some("purchase" | "lead"))
}

#[derive(Serialize)]
struct Rest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    amount_minor: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<Currency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Digest>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pixels: &'a [PixelId],
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a LegContext>,
}

#[derive(Default, Deserialize)]
struct RestRead {
    amount_minor: Option<i64>,
    currency: Option<Currency>,
    email: Option<Digest>,
    body: Option<Digest>,
    #[serde(default)]
    pixels: Vec<PixelId>,
    context: Option<Box<LegContext>>,
}

fn encode(key: &str, cell: &Leg) -> Slice {
    // Every field by name: a new one cannot be forgotten here.
    let Leg { position, raw_id, received_at, amount_minor, currency, email, body, pixels, context } = cell;
    let rest = Rest { amount_minor: *amount_minor, currency: *currency, email: *email, body: *body, pixels, context: context.as_deref() };
    let is_bare = rest.amount_minor.is_none()
        && rest.currency.is_none()
        && rest.email.is_none()
        && rest.body.is_none()
        && rest.pixels.is_empty()
        && rest.context.is_none();
    let mut value = head(if is_order(key) { FOR_EVER } else { received_at.micros() }, 128);
    value.extend_from_slice(&position.generation.to_be_bytes());
    value.extend_from_slice(&position.partition.to_be_bytes());
    value.extend_from_slice(&position.offset.to_be_bytes());
    value.extend_from_slice(raw_id.as_bytes());
    value.extend_from_slice(&received_at.micros().to_be_bytes());
    if !is_bare {
        serde_json::to_writer(&mut value, &rest).expect("plain values, and a vector takes every byte");
    }
    Slice::from(value)
}

fn decode(value: &[u8]) -> Result<Leg, ReadError> {
    let (fixed, rest) = body(NAME, value)?.split_at_checked(FIXED_BYTES).ok_or_else(|| damaged(NAME))?;
    let number = |at: std::ops::Range<usize>| fixed[at].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let rest: RestRead = if rest.is_empty() { RestRead::default() } else { serde_json::from_slice(rest).map_err(|_| damaged(NAME))? };
    Ok(Leg {
        position: Position { generation: number(0..4) as u32, partition: number(4..8) as u32, offset: number(8..16) },
        raw_id: Uuid::from_slice(&fixed[16..32]).map_err(|_| damaged(NAME))?,
        received_at: Time::from_micros(number(32..40) as i64),
        amount_minor: rest.amount_minor,
        currency: rest.currency,
        email: rest.email,
        body: rest.body,
        pixels: rest.pixels,
        context: rest.context,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::row::kept_from;

    fn leg() -> Leg {
        Leg {
            position: Position { generation: 1, partition: 2, offset: 3 },
            raw_id: Uuid::from_u128(4),
            received_at: Time::from_millis(5),
            amount_minor: None,
            currency: None,
            email: None,
            body: None,
            pixels: vec![],
            context: None,
        }
    }

    fn round_trip(cell: &Leg) {
        let read = decode(&encode("fn_1|event|v|n|e", cell)).expect("it was just written");
        assert_eq!(serde_json::to_value(&read).expect("JSON"), serde_json::to_value(cell).expect("JSON"));
    }

    #[test]
    fn a_leg_comes_back_with_and_without_its_optional_cells() {
        let full = Leg {
            amount_minor: Some(-1),
            currency: Some(Currency::parse("JPY").expect("a currency")),
            email: Some(Digest::of("a")),
            body: Some(Digest::of("b")),
            pixels: vec![PixelId::parse("1").expect("an id")],
            context: Some(Box::new(LegContext::default())),
            ..leg()
        };
        round_trip(&leg());
        round_trip(&full);
        for without in [
            Leg { amount_minor: None, ..full.clone() },
            Leg { currency: None, ..full.clone() },
            Leg { email: None, ..full.clone() },
            Leg { body: None, ..full.clone() },
            Leg { pixels: vec![], ..full.clone() },
            Leg { context: None, ..full },
        ] {
            round_trip(&without);
        }
    }

    #[test]
    fn an_event_takes_fifty_bytes_and_ages_while_an_order_never_does() {
        let event = encode("fn_1|event|v|n|e", &leg());
        assert_eq!((event.len(), kept_from(&event)), (49, Some(5_000)));
        for order in ["fn_1|purchase|A", "fn_1|lead|A"] {
            assert_eq!(kept_from(&encode(order, &leg())), Some(FOR_EVER));
        }
    }

    #[test]
    fn a_scan_passes_over_other_partitions_and_stops_at_damage() {
        let put = put("fn_1|hook|e", LegName::Server, &leg());
        let value = put.value.expect("it is a value");
        assert_eq!(in_partition(&put.key, &value, 2).expect("it reads"), Some(("fn_1|hook|e", LegName::Server, leg())));
        assert_eq!(in_partition(&put.key, &value, 1).expect("it reads"), None);
        assert!(in_partition(b"no leg", &value, 2).is_err());
        for cut in 0..value.len() {
            assert!(decode(&value[..cut]).is_err());
        }
    }
}
