//! The count. The log's ends are fixed first; then what it holds is remembered as marks, rows are struck off as the table is walked
//! through, and whatever is left is looked up one by one.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use schemas::{
    delivery::Delivery,
    id::PixelId,
    money::Money,
    time::Time,
    topic::{Group, Topic},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::{ReadError, Readings, Storage, Stored};

use super::tally::{Counts, Tally, worth};
use crate::{deadline_hour, span::Span, told::Marker};

/// Marks held at a time: with the slack of chance they stay below seven eighths of 2^21, and a hash table of 2^21 places with 17 bytes each
/// is 36 MB.
const MARKS_MAX: u64 = 1_800_000;
const ROWS_AT_ONCE: usize = 1_000;
/// Questions asked at a time.
const AT_ONCE: usize = 32;

/// What was counted.
pub(crate) struct Counted {
    pub(crate) sum: Counts,
    pub(crate) unreadable: u64,
    pub(crate) pixels: BTreeMap<PixelId, Tally>,
}

/// Counts everything, or what belongs to one pixel.
pub(super) async fn count(storage: &Storage, only: Option<PixelId>) -> Result<Counted, ReadError> {
    count_at_most(storage, only, MARKS_MAX).await
}

/// The same with at most so many marks at a time.
pub(crate) async fn count_at_most(storage: &Storage, only: Option<PixelId>, marks_max: u64) -> Result<Counted, ReadError> {
    let partitions = match &only {
        Some(pixel) => vec![storage.partition_of(Topic::Dispatch, pixel.as_str().as_bytes())],
        None => (0..storage.partitions(Topic::Dispatch)).collect(),
    };
    let (mut ends, mut records) = (Vec::new(), 0);
    for partition in partitions {
        let (first, end) = storage.bounds(Topic::Dispatch, partition).await?;
        records += end.saturating_sub(first);
        ends.push((partition, end));
    }
    let parts = u128::from(records.div_ceil(marks_max).max(1));
    let mut count = Count {
        storage,
        readings: storage.readings(),
        only,
        ends,
        marker: Marker::default(),
        part: 0,
        parts,
        left: HashSet::new(),
        revised: HashSet::new(),
        lost: 0,
        unreadable: 0,
        pixels: BTreeMap::new(),
    };
    for part in 0..parts {
        count.part = part;
        count.read_the_log().await?;
        count.strike_off_rows().await?;
        count.look_up_what_is_left().await?;
    }
    let mut sum = Counts::default();
    count.pixels.values().for_each(|tally| sum.add(&tally.counts));
    sum.missing += count.lost;
    Ok(Counted { sum, unreadable: count.unreadable, pixels: count.pixels })
}

struct Count<'a> {
    storage: &'a Storage,
    readings: Readings,
    only: Option<PixelId>,
    /// Partitions, and where each ended when the count began.
    ends: Vec<(u32, u64)>,
    marker: Marker,
    /// Deliveries whose mark leaves this rest are counted now.
    part: u128,
    parts: u128,
    /// Dispatched, and not met in the table.
    left: HashSet<u128>,
    /// Those of them of which the log holds a later revision too.
    revised: HashSet<u128>,
    /// Missing, and gone from the log before they could be named.
    lost: u64,
    unreadable: u64,
    pixels: BTreeMap<PixelId, Tally>,
}

/// What is needed of a dispatch, whatever a later build adds to it.
#[derive(Deserialize)]
struct Head<'a> {
    pixel_id: PixelId,
    #[serde(borrow)]
    dedup_key: Cow<'a, str>,
    #[serde(borrow)]
    event_name: Cow<'a, str>,
    revision: u32,
    occurred_at: Time,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// A dispatch that was not met in the table.
struct Left {
    pixel: PixelId,
    key: String,
    is_unread: bool,
    deadline_hour: i64,
    worth: Option<Money>,
}

/// Where a delivery was found to stand.
enum Stands {
    Row(Box<Delivery>),
    Waits { pixel: PixelId, deadline_hour: i64, worth: Option<Money> },
    Nowhere { pixel: PixelId, key: String },
}

impl Count<'_> {
    fn is_of_part(&self, mark: u128) -> bool {
        mark % self.parts == self.part
    }

    fn is_wanted(&self, pixel: &PixelId) -> bool {
        self.only.as_ref().is_none_or(|only| only == pixel)
    }

    async fn read_the_log(&mut self) -> Result<(), ReadError> {
        for (partition, end) in self.ends.clone() {
            let mut span = Span::new(self.storage, partition, 0, end);
            while let Some(records) = span.next().await? {
                for record in &records {
                    let Ok(head) = serde_json::from_slice::<Head<'_>>(&record.value) else {
                        self.unreadable += u64::from(self.part == 0);
                        continue;
                    };
                    let mark = self.marker.mark(head.pixel_id.as_str(), &head.dedup_key);
                    if !self.is_of_part(mark) || !self.is_wanted(&head.pixel_id) {
                        continue;
                    }
                    if self.left.insert(mark) {
                        self.tally(&head.pixel_id).counts.dispatched += 1;
                    } else if head.revision > 1 {
                        self.revised.insert(mark);
                    }
                }
            }
        }
        Ok(())
    }

    async fn strike_off_rows(&mut self) -> Result<(), ReadError> {
        let mut after = None;
        loop {
            let page = self.readings.deliveries(after, ROWS_AT_ONCE).await?;
            let mut rows = Vec::with_capacity(page.rows.len());
            for row in page.rows {
                let mark = self.marker.mark(row.pixel_id.as_str(), &row.dedup_key);
                if !self.is_of_part(mark) || !self.is_wanted(&row.pixel_id) {
                    continue;
                }
                if !self.left.remove(&mark) {
                    self.tally(&row.pixel_id).counts.dispatched += 1; // the log has let it go, or it came after the count began
                }
                rows.push(row);
            }
            self.add_rows(rows).await?;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
            tokio::task::yield_now().await;
        }
    }

    /// What is left has no row, or got one behind our back.
    async fn look_up_what_is_left(&mut self) -> Result<(), ReadError> {
        for (partition, end) in self.ends.clone() {
            if self.left.is_empty() {
                break;
            }
            // Before the rows: what the sink had read by then has one.
            let committed = self.storage.committed(Group::Capi, partition).await?.next_offset;
            let mut span = Span::new(self.storage, partition, 0, end);
            while let Some(records) = span.next().await? {
                let left: Vec<Left> = records.iter().filter_map(|record| self.left(record, committed)).collect();
                let readings = &self.readings;
                let stands: Vec<Stands> = stream::iter(left).map(|left| look_up(readings, left)).buffered(AT_ONCE).try_collect().await?;
                let mut rows = Vec::new();
                for stands in stands {
                    match stands {
                        Stands::Row(row) => rows.push(*row),
                        Stands::Waits { pixel, deadline_hour, worth } => {
                            let tally = self.tally(&pixel);
                            tally.counts.stands(None);
                            tally.waits(deadline_hour, worth);
                        }
                        Stands::Nowhere { pixel, key } => {
                            tracing::error!(%pixel, dedup_key = key, "a dispatch is neither recorded nor waiting");
                            self.tally(&pixel).counts.missing += 1;
                        }
                    }
                }
                self.add_rows(rows).await?;
            }
        }
        // The log let them go meanwhile, ten days old and read by the sink; they had no row.
        self.lost += self.left.len() as u64;
        self.left.clear();
        self.revised.clear();
        Ok(())
    }

    /// The record, if it speaks for a delivery that is left: of several revisions the last does.
    fn left(&mut self, record: &Stored, committed: u64) -> Option<Left> {
        let head = serde_json::from_slice::<Head<'_>>(&record.value).ok()?;
        let mark = self.marker.mark(head.pixel_id.as_str(), &head.dedup_key);
        let is_replaced = head.revision == 1 && self.revised.contains(&mark);
        if is_replaced || !self.left.remove(&mark) {
            return None;
        }
        Some(Left {
            is_unread: record.position.offset >= committed,
            deadline_hour: deadline_hour(head.occurred_at),
            worth: worth(&head.event_name, head.payload),
            key: head.dedup_key.into_owned(),
            pixel: head.pixel_id,
        })
    }

    async fn add_rows(&mut self, rows: Vec<Delivery>) -> Result<(), ReadError> {
        let (waiting, ended): (Vec<Delivery>, Vec<Delivery>) = rows.into_iter().partition(|row| row.outcome.is_none());
        for row in ended {
            self.tally(&row.pixel_id).counts.stands(row.outcome);
        }
        let readings = &self.readings;
        let looked: Vec<_> = stream::iter(waiting).map(|row| look_again(readings, row)).buffered(AT_ONCE).try_collect().await?;
        for (row, worth) in looked {
            let tally = self.tally(&row.pixel_id);
            tally.counts.stands(row.outcome);
            if row.outcome.is_none() {
                tally.waits(deadline_hour(row.occurred_at), worth);
            }
        }
        Ok(())
    }

    fn tally(&mut self, pixel: &PixelId) -> &mut Tally {
        if !self.pixels.contains_key(pixel) {
            self.pixels.insert(pixel.clone(), Tally::default());
        }
        self.pixels.get_mut(pixel).expect("it was just put there")
    }
}

async fn look_up(readings: &Readings, left: Left) -> Result<Stands, ReadError> {
    let Left { pixel, key, is_unread, deadline_hour, worth } = left;
    Ok(match readings.delivery(&pixel, &key).await? {
        Some(row) => Stands::Row(Box::new(row)),
        None if is_unread => Stands::Waits { pixel, deadline_hour, worth },
        None => Stands::Nowhere { pixel, key },
    })
}

/// A row that waits, with what it is worth. If it waits no more it is read again.
async fn look_again(readings: &Readings, row: Delivery) -> Result<(Delivery, Option<Money>), ReadError> {
    if let Some(waiting) = readings.waiting(&row.pixel_id, deadline_hour(row.occurred_at), &row.dedup_key).await? {
        let worth = worth(&row.event_name, waiting.dispatch.payload.as_deref());
        return Ok((row, worth));
    }
    let again = readings.delivery(&row.pixel_id, &row.dedup_key).await?;
    Ok((again.unwrap_or(row), None))
}
