//! What is due in the table `waiting` comes back into memory, earliest deadline first.

use std::sync::atomic::Ordering;

use futures_util::future::try_join_all;
use schemas::{delivery::Delivery, id::PixelId, time::Time, topic::Topic};
use storage::{Deliveries, Known, KnownWaiting};

use super::{CENSUS_US, Partition};
use crate::capi::{
    Error,
    classify::Class,
    item::Item,
    lane::Refused,
    schedule::{self, Standing},
};

/// About what a waiting dispatch takes in memory.
const ROW_BYTES: usize = 2_048;
/// How long a look is put off while the memory is full.
const MEMORY_US: i64 = 100_000;
/// How long until a lane with more rows than one look can show is surveyed again.
const SURVEY_US: i64 = 10 * schemas::time::SECOND_US;
/// Deliveries asked for at a time, half of what the cluster's driver lets be on their way.
const READS_AT_ONCE: usize = 64;
/// Rows read in a census.
const CENSUS_ROWS: usize = 1_000;

impl Partition {
    /// Reads a pixel's due rows into its lane. Answers whether the lane may have something to do now.
    pub(super) async fn look(&mut self, pixel: &PixelId, now: Time) -> Result<bool, Error> {
        let limit = self.look_limit();
        let resend_us = self.resend_us();
        let Some(lane) = self.lanes.get_mut(pixel) else { return Ok(false) };
        lane.looked(now);
        if limit == 0 {
            let at = lane.due_at(now.plus_micros(MEMORY_US));
            self.agenda.note(pixel, at);
            return Ok(true); // what is in the queue may go, and makes room
        }
        let eager_until = lane.eager_until.unwrap_or(now).max(now);
        let is_survey = !lane.is_surveyed && now >= lane.survey_at;
        let horizon = if is_survey { Time::from_micros(i64::MAX) } else { eager_until };
        let rows = self.deliveries.due(self.number, Some(pixel), horizon, limit).await?;
        let is_all = rows.len() < limit;
        let (mut items, mut ended, mut passed_over) = (Vec::new(), 0, 0);
        // No request was made yet in this process: what waits says how it was with the pixel before.
        let is_new = lane.access.is_none();
        let mut was_refused = false;
        let mut wanted = Vec::with_capacity(rows.len());
        for found in rows {
            if lane.busy.contains(&found.row.dispatch.dedup_key) {
                passed_over += 1;
            } else if found.row.due_at > eager_until && found.is_counted {
                let at = lane.due_at(found.row.due_at);
                self.agenda.note(pixel, at);
            } else {
                wanted.push(found);
            }
        }
        let recorded = recorded(&self.deliveries, pixel, &wanted).await?;
        for (found, known) in wanted.into_iter().zip(recorded) {
            let row = &found.row;
            if let Some(known) = known.as_ref().filter(|known| known.delivery.outcome.is_some()) {
                lane.busy.insert(row.dispatch.dedup_key.clone());
                if known.is_told {
                    self.books.drop_row(row);
                } else {
                    self.books.tell(known.delivery.clone(), Some(&found), now);
                }
                continue;
            }
            let is_reopened = known.as_ref().is_some_and(|known| known.delivery.replayed.is_some());
            let delivery = known.map(|known| known.delivery);
            was_refused |= is_new && delivery.as_ref().is_some_and(was_at_fault);
            if !found.is_counted {
                lane.busy.insert(row.dispatch.dedup_key.clone());
                if is_reopened {
                    self.books.reopen(Item::waited(found, delivery, now, &self.room.pending), now);
                } else {
                    self.books.adopt(found, delivery, now, &self.room.pending);
                }
                continue;
            }
            let item = Item::waited(found, delivery, now, &self.room.pending);
            match schedule::standing(&item.dispatch, item.delivery.as_deref(), now, resend_us) {
                Standing::End(outcome, reason) => {
                    lane.busy.insert(item.dispatch.dedup_key.clone());
                    self.books.end(item, None, outcome, Some(reason), now);
                    ended += 1;
                }
                Standing::Later(at) => {
                    let at = lane.due_at(at);
                    self.agenda.note(pixel, at);
                }
                Standing::Send => {
                    lane.busy.insert(item.dispatch.dedup_key.clone());
                    items.push(item);
                }
            }
        }
        let progress = items.len() + ended;
        lane.push_front(items);
        if is_all {
            lane.is_surveyed |= is_survey;
            lane.eager_until = None;
            lane.looks_again |= passed_over > 0;
        } else if progress > 0 || is_survey {
            lane.due_at(now);
        } else {
            lane.looks_again = true; // all of them are on their way
        }
        if !lane.is_surveyed {
            if is_survey {
                lane.survey_at = now.plus_micros(SURVEY_US);
            }
            let at = lane.due_at(lane.survey_at);
            self.agenda.note(pixel, at);
        }
        if was_refused {
            let token = self.token(pixel);
            self.lanes.entry(pixel.clone()).or_default().refused.get_or_insert(Refused(token)); // one event is enough to ask again
        }
        Ok(true)
    }

    /// How many rows fit into memory now.
    fn look_limit(&self) -> usize {
        let free = self.room.config.pending_bytes_max.saturating_sub(self.room.pending.load(Ordering::Relaxed));
        (free / ROW_BYTES).min(self.room.config.batch_events_max)
    }

    /// Gives a lane to every pixel that may have rows: all of the directory, and those that only `waiting` knows. What expires first is
    /// found first, so that no dispatch is forgotten.
    pub(super) async fn census(&mut self, horizon: Time) -> Result<(), Error> {
        let now = self.now();
        self.census_at = now.plus_micros(CENSUS_US);
        let directory = self.room.directory.load_full();
        let mine = |pixel: &PixelId| self.room.storage.partition_of(Topic::Dispatch, pixel.as_str().as_bytes()) == self.number;
        let mut pixels: Vec<PixelId> = directory.all().2.map(|pixel| pixel.id.clone()).filter(mine).collect();
        let rows = self.deliveries.due(self.number, None, horizon, CENSUS_ROWS).await?;
        pixels.extend(rows.into_iter().map(|found| found.row.dispatch.pixel_id));
        for pixel in pixels {
            self.lanes.entry(pixel.clone()).or_default().due_at(now);
            self.agenda.at_once(&pixel);
        }
        Ok(())
    }
}

/// What is recorded of rows of a pixel, several asked for at a time: in a cluster each answer is a way there and back.
async fn recorded(deliveries: &Deliveries, pixel: &PixelId, rows: &[KnownWaiting]) -> Result<Vec<Option<Known>>, Error> {
    let mut recorded = Vec::with_capacity(rows.len());
    for rows in rows.chunks(READS_AT_ONCE) {
        let answers = rows.iter().map(|found| deliveries.delivery(pixel, &found.row.dispatch.dedup_key));
        recorded.extend(try_join_all(answers).await?);
    }
    Ok(recorded)
}

/// Whether a delivery waits because something is wrong with its pixel.
fn was_at_fault(delivery: &Delivery) -> bool {
    delivery.reason.as_ref().is_some_and(|reason| [Class::Token, Class::Config].map(Class::name).contains(&&*reason.code))
}
