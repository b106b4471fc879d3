//! A dispatch as it was frozen, found again in the log by the time at which the judge wrote it, and what its payload carries.

use std::collections::BTreeMap;

use schemas::{
    dispatch::Dispatch,
    id::PixelId,
    meta::ActionSource,
    receipt::Carried,
    time::{SECOND_US, Time},
    topic::Topic,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use storage::{ReadError, Storage};

use crate::span::Span;

/// Records looked at: at ten thousand dispatches a second in one partition, ten seconds of them.
const RECORDS_MAX: usize = 100_000;
/// Clocks of door and judge may differ by so much.
pub(crate) const CLOCKS_US: i64 = 2 * SECOND_US;

/// Where to look for a dispatch.
pub(super) struct Among {
    /// Not below this offset.
    pub(super) offset: u64,
    /// It was not written earlier.
    pub(super) from: Time,
    /// It was not written later.
    pub(super) until: Option<Time>,
}

/// The newest revision of a dispatch, at most revision `revision`.
pub(super) async fn find(
    storage: &Storage,
    pixel: &PixelId,
    key: &str,
    revision: u32,
    among: Among,
) -> Result<Option<Dispatch>, ReadError> {
    let partition = storage.partition_of(Topic::Dispatch, pixel.as_str().as_bytes());
    let (first, end) = storage.bounds(Topic::Dispatch, partition).await?;
    let bounds = (first.max(among.offset), end);
    let offset = first_from(storage, partition, bounds, among.from.plus_micros(-CLOCKS_US)).await?;
    let until = among.until.map(|until| until.plus_micros(CLOCKS_US));
    let mut span = Span::new(storage, partition, offset, end);
    let (mut found, mut looked_at): (Option<Dispatch>, usize) = (None, 0);
    while looked_at < RECORDS_MAX
        && let Some(records) = span.next().await?
    {
        looked_at += records.len();
        for record in records {
            if until.is_some_and(|until| record.time > until) {
                return Ok(found);
            }
            if record.key != pixel.as_str().as_bytes() {
                continue;
            }
            let Ok(dispatch) = serde_json::from_slice::<Dispatch>(&record.value) else { continue };
            if dispatch.dedup_key != key || dispatch.revision > revision {
                continue;
            }
            if dispatch.revision == revision {
                return Ok(Some(dispatch));
            }
            found = Some(dispatch);
        }
        tokio::task::yield_now().await;
    }
    Ok(found)
}

/// The first offset whose record was written at or after a moment: records of a partition stand in the order of their times, but for
/// judges that write at once.
pub(crate) async fn first_from(storage: &Storage, partition: u32, bounds: (u64, u64), moment: Time) -> Result<u64, ReadError> {
    let (mut low, mut high) = bounds;
    while low < high {
        let middle = low + (high - low) / 2;
        let record = storage.reader(Topic::Dispatch, partition, middle).available(1, 1).await?;
        match record.first() {
            Some(record) if record.position.offset < high && record.time < moment => low = record.position.offset + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// What a payload carries of a browser and of a person: names, no values.
pub(super) struct Payload {
    pub(super) carried: Carried,
    pub(super) action_source: Option<ActionSource>,
    pub(super) person: Vec<String>,
}

impl Payload {
    /// Reads Meta's event. `None` if there is none, or it is not one.
    pub(super) fn of(dispatch: &Dispatch) -> Option<Self> {
        let event: Event<'_> = serde_json::from_str(dispatch.payload.as_ref()?.get()).ok()?;
        let has = |key: &str| event.user_data.contains_key(key);
        let carried = Carried {
            fbp: has("fbp"),
            fbc: has("fbc"),
            client_ip: has("client_ip_address"),
            user_agent: has("client_user_agent"),
            page: event.page.is_some(),
        };
        let person = PERSON.iter().filter(|(key, _)| has(key)).map(|(_, name)| (*name).to_owned()).collect();
        Some(Self { carried, action_source: event.action_source, person })
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default)]
    action_source: Option<ActionSource>,
    #[serde(default, rename = "event_source_url")]
    page: Option<IgnoredAny>,
    #[serde(borrow, default)]
    user_data: BTreeMap<&'a str, &'a RawValue>,
}

/// Meta's keys of hashed fields, and ours. `external_id` may be the visitor's alone, so it says nothing of the person.
const PERSON: [(&str, &str); 10] = [
    ("em", "email"),
    ("ph", "phone"),
    ("fn", "first_name"),
    ("ln", "last_name"),
    ("ct", "city"),
    ("st", "state"),
    ("zp", "zip"),
    ("country", "country"),
    ("db", "date_of_birth"),
    ("ge", "gender"),
];
