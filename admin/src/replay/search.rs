//! Finds deliveries in the ledger and their frozen dispatches in the log. Of a delivery only a mark, an offset and a time are held, and so many
//! at a time; the dispatches themselves pass by in small groups.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
};

use schemas::{dispatch::Dispatch, meta, time::Time, topic::Topic};
use serde::{Deserialize, de::IgnoredAny};
use storage::{ReadError, Storage};

use super::{ask::Asked, tally::Tally};
use crate::{
    receipt::{CLOCKS_US, first_from},
    span::Span,
    told::Marker,
};

const ROWS_AT_ONCE: usize = 1_000;

/// The walk through the ledger.
pub(super) struct Search<'a> {
    storage: &'a Storage,
    asked: &'a Asked,
    sought_max: usize,
    marker: Marker,
    /// Where the table is gone on with.
    after: Option<Vec<u8>>,
    /// The whole table was read.
    is_over: bool,
}

/// A delivery that is looked for in the log.
struct Sought {
    settled_at: Option<Time>,
    /// Revision and offset of the newest dispatch that was found.
    newest: Option<(u32, u64)>,
}

/// What is needed of a dispatch to find it.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    dedup_key: Cow<'a, str>,
    revision: u32,
    #[serde(default)]
    replay: Option<IgnoredAny>,
}

impl<'a> Search<'a> {
    pub(super) fn new(storage: &'a Storage, asked: &'a Asked, sought_max: usize) -> Self {
        Self { storage, asked, sought_max, marker: Marker::default(), after: None, is_over: false }
    }

    /// The next deliveries that match, found in the log; `None` after the last. What Meta no longer accepts is counted and not looked for.
    pub(super) async fn next(&mut self, tally: &mut Tally) -> Result<Option<Found>, ReadError> {
        let (mut sought, mut earliest) = (HashMap::new(), Time::from_micros(i64::MAX));
        let readings = self.storage.readings();
        let rows_at_once = ROWS_AT_ONCE.min(self.sought_max);
        while !self.is_over && sought.len() + rows_at_once <= self.sought_max {
            let page = readings.deliveries(self.after.take(), rows_at_once).await?;
            let Asked { pixel_id, outcome, since, until, now, .. } = self.asked;
            for row in page.rows {
                let is_meant = row.pixel_id == *pixel_id && row.outcome == Some(*outcome);
                if !is_meant || !row.settled_at.is_some_and(|at| (*since..*until).contains(&at)) {
                    continue;
                }
                tally.matched += 1;
                if meta::too_old(row.occurred_at, *now) {
                    tally.too_old += 1;
                    continue;
                }
                earliest = earliest.min(row.received_at);
                let mark = self.marker.mark(row.pixel_id.as_str(), &row.dedup_key);
                sought.insert(mark, Sought { settled_at: row.settled_at, newest: None });
            }
            self.is_over = page.next.is_none();
            self.after = page.next;
            tokio::task::yield_now().await;
        }
        if sought.is_empty() && self.is_over {
            return Ok(None);
        }
        self.locate(sought, earliest).await.map(Some)
    }

    /// Where each stands: the newest revision, as the judge wrote it. Records that replayed it before are passed over.
    async fn locate(&self, mut sought: HashMap<u128, Sought>, earliest: Time) -> Result<Found, ReadError> {
        let pixel = self.asked.pixel_id.as_str();
        let partition = self.storage.partition_of(Topic::Dispatch, pixel.as_bytes());
        let mut places = Vec::with_capacity(sought.len());
        if !sought.is_empty() {
            let bounds = self.storage.bounds(Topic::Dispatch, partition).await?;
            let from = first_from(self.storage, partition, bounds, earliest.plus_micros(-CLOCKS_US)).await?;
            let mut span = Span::new(self.storage, partition, from, bounds.1);
            while let Some(records) = span.next().await? {
                for record in records.iter().filter(|record| record.key == pixel.as_bytes()) {
                    let Ok(head) = serde_json::from_slice::<Head<'_>>(&record.value) else { continue };
                    let sought = sought.get_mut(&self.marker.mark(pixel, &head.dedup_key)).filter(|_| head.replay.is_none());
                    if let Some(sought) = sought.filter(|sought| sought.newest.is_none_or(|(revision, _)| revision < head.revision)) {
                        sought.newest = Some((head.revision, record.position.offset));
                    }
                }
                tokio::task::yield_now().await;
            }
            places.extend(sought.into_values().filter_map(|sought| Some((sought.newest?.1, sought.settled_at))));
            places.sort_unstable();
        }
        Ok(Found { partition, places: places.into_iter().collect(), span: None })
    }
}

/// Dispatches that were found, in the order of the log.
pub(super) struct Found {
    partition: u32,
    /// Their offsets, and when the outcomes of their deliveries were written.
    places: VecDeque<(u64, Option<Time>)>,
    span: Option<Span>,
}

impl Found {
    /// The next few of them, each with the time of its outcome; `None` after the last.
    pub(super) async fn next(&mut self, storage: &Storage) -> Result<Option<Vec<(Dispatch, Option<Time>)>>, ReadError> {
        let (Some((first, _)), Some((last, _))) = (self.places.front(), self.places.back()) else { return Ok(None) };
        let span = self.span.get_or_insert_with(|| Span::new(storage, self.partition, *first, last + 1));
        let Some(records) = span.next().await? else {
            self.places.clear(); // the log let them go meanwhile
            return Ok(None);
        };
        let mut dispatches = Vec::new();
        for record in records {
            let offset = record.position.offset;
            while self.places.front().is_some_and(|(place, _)| *place < offset) {
                self.places.pop_front();
            }
            let Some((_, settled_at)) = self.places.front().copied().filter(|(place, _)| *place == offset) else { continue };
            self.places.pop_front();
            if let Ok(dispatch) = serde_json::from_slice(&record.value) {
                dispatches.push((dispatch, settled_at));
            }
        }
        Ok(Some(dispatches))
    }
}
