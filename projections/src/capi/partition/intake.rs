//! Records of the log become items of lanes, or end at once, or wait.

use std::sync::atomic::Ordering;

use schemas::{
    dead::{Dead, DeadReason},
    dispatch::{Dispatch, REPLAY_VERSION},
    envelope::VERSION,
    id::PixelId,
    time::{SECOND_US, Time},
    topic::Topic,
};
use serde::Deserialize;
use storage::{Known, Record, Stored};
use uuid::Uuid;

use super::{OPEN_ROWS_MAX, Partition, replaying::row_of};
use crate::capi::{
    Error,
    item::{Item, Waits, revised},
    lane::{Late, Queued},
    schedule::{self, Standing},
};

/// The newest version of a dispatch that this build reads: an ordinary one, or a replay.
const NEWEST: u16 = if VERSION > REPLAY_VERSION { VERSION } else { REPLAY_VERSION };
/// How long reading waits for memory before it looks for slow pixels (again).
const MEMORY_US: i64 = 20_000;
/// Records of one pixel that may wait for a step; beyond it reading waits for the step.
const LATE_MAX: usize = 1_000;

impl Partition {
    /// Places what was read. Reading waits for quick pixels, never for slow ones: their dispatches go to `waiting`.
    pub(super) async fn intake(&mut self) -> Result<(), Error> {
        self.resolve_late().await?;
        while self.books.rows() < OPEN_ROWS_MAX {
            let Some((offset, dispatch)) = self.next_dispatch() else { break };
            self.hold_until = self.holds(&dispatch.pixel_id);
            if self.hold_until.is_some() {
                self.front = Some((offset, dispatch));
                break;
            }
            self.place(offset, dispatch).await?;
        }
        Ok(())
    }

    fn next_dispatch(&mut self) -> Option<(u64, Dispatch)> {
        if self.front.is_some() {
            return self.front.take();
        }
        loop {
            let stored = self.read.pop_front()?;
            let offset = stored.position.offset;
            match parse(&stored) {
                Ok(dispatch) => {
                    self.books.take(offset);
                    return Some((offset, dispatch));
                }
                Err(Unreadable::Newer(version)) => {
                    tracing::error!(
                        partition = self.number,
                        offset,
                        version,
                        "a dispatch is newer than this build, which reads up to version {NEWEST}: upgrade this process; the partition stands still"
                    );
                    self.room.metrics.stopped.with_label_values(&[&self.label]).set(1);
                    self.stands_still = true;
                    self.read.clear();
                    return None;
                }
                Err(Unreadable::Damaged(why)) => {
                    tracing::error!(partition = self.number, offset, why, "a dispatch cannot be read and is put aside");
                    self.room.metrics.dead.inc();
                    self.books.take(offset);
                    self.books.record(dead(&stored, why));
                    self.books.done(offset);
                }
            }
        }
    }

    /// Until when reading waits for room, if it must. A slow pixel makes room by waiting in the ledger instead.
    fn holds(&mut self, pixel: &PixelId) -> Option<Time> {
        let config = &self.room.config;
        if let Some(lane) = self.lanes.get_mut(pixel) {
            if lane.late.len() >= LATE_MAX {
                return Some(self.room.world.now().plus_micros(MEMORY_US));
            }
            if lane.holds_until(Time::default()).is_some() {
                return None; // it goes to `waiting` anyway
            }
            if !lane.has_room(config) {
                let now = self.room.world.now();
                return match lane.slow_at(config) {
                    Some(at) if at > now => Some(at),
                    _ => {
                        lane.spill();
                        None
                    }
                };
            }
        }
        if self.room.pending.load(Ordering::Relaxed) < config.pending_bytes_max {
            return None;
        }
        let now = self.now();
        if self.hold_until.is_none_or(|at| at <= now) {
            self.make_room(now);
        }
        Some(now.plus_micros(MEMORY_US))
    }

    /// The memory is full: the queues of slow pixels go to `waiting`.
    fn make_room(&mut self, now: Time) {
        for (pixel, lane) in &mut self.lanes {
            if lane.slow_at(&self.room.config).is_none_or(|at| at > now) {
                continue;
            }
            lane.spill();
            let due = lane.due_at(now);
            self.agenda.note(pixel, due);
            for item in lane.take_queue() {
                if item.is_unwritten() {
                    lane.busy.insert(item.dispatch.dedup_key.clone());
                    self.books.wait(item, None, now, None);
                } else {
                    self.books.leave(item);
                }
            }
        }
    }

    async fn place(&mut self, offset: u64, dispatch: Dispatch) -> Result<(), Error> {
        if let Some(replay) = dispatch.replay {
            return self.place_replay(offset, dispatch, replay).await;
        }
        if dispatch.revision > 1 {
            return self.place_revision(offset, dispatch).await;
        }
        // Above the mark nothing was ever written.
        let mut left = None;
        if offset < self.touched_before {
            let lane = self.lanes.entry(dispatch.pixel_id.clone()).or_default();
            if lane.busy.contains(&dispatch.dedup_key) || lane.is_known(&dispatch.dedup_key) {
                self.books.done(offset); // a look into `waiting` met its row before
                return Ok(());
            }
            match self.deliveries.delivery(&dispatch.pixel_id, &dispatch.dedup_key).await? {
                Some(known) if self.finish_left(&known).await? => {
                    self.books.done(offset);
                    return Ok(());
                }
                known => left = known,
            }
        }
        let mut item = Item::fresh(offset, dispatch, self.now(), &self.room.pending);
        item.delivery = left.map(|known| Box::new(known.delivery));
        self.admit(item);
        Ok(())
    }

    /// What an owner died over, before its step was true, is finished: its rows may be there in part. Answers whether the delivery now
    /// stands where it belongs, so that its record needs nothing more.
    async fn finish_left(&mut self, known: &Known) -> Result<bool, Error> {
        // One that was told has its outcome, or it waits; one that was replayed had been told before.
        if known.is_told || known.delivery.replayed.is_some() {
            return Ok(true);
        }
        if known.delivery.outcome.is_some() {
            self.tell_left(known.clone()).await?;
            return Ok(true);
        }
        let Some(row) = row_of(&self.deliveries, &known.delivery).await? else { return Ok(false) };
        if !row.is_counted {
            let Dispatch { pixel_id, dedup_key, .. } = &row.row.dispatch;
            self.lanes.entry(pixel_id.clone()).or_default().busy.insert(dedup_key.clone());
            let now = self.now();
            self.books.adopt(row, Some(known.delivery.clone()), now, &self.room.pending);
        }
        Ok(true)
    }

    /// Gives an item to its lane, unless it ends at once or must wait.
    fn admit(&mut self, item: Item) {
        let now = self.now();
        let resend_us = self.resend_us();
        let pixel = item.dispatch.pixel_id.clone();
        let lane = self.lanes.entry(pixel.clone()).or_default();
        let waits_until = match schedule::standing(&item.dispatch, item.delivery.as_deref(), now, resend_us) {
            Standing::End(outcome, reason) => return self.books.end(item, None, outcome, Some(reason), now),
            Standing::Later(at) => Some(at),
            Standing::Send => lane.holds_until(now),
        };
        if let Some(at) = waits_until {
            return self.let_wait(item, None, at, None);
        }
        lane.push(item);
        if lane.wants_attention(&self.room.config) {
            self.agenda.at_once(&pixel);
        }
    }

    /// A later revision takes the place of the first if no request carried that one; else it is noted and not sent.
    async fn place_revision(&mut self, offset: u64, dispatch: Dispatch) -> Result<(), Error> {
        let (now, is_writing) = (self.now(), self.is_writing());
        let lane = self.lanes.entry(dispatch.pixel_id.clone()).or_default();
        match lane.queued(&dispatch.dedup_key) {
            Some(Queued::Unattempted(mut item)) if dispatch.revision <= item.dispatch.revision => {
                item.also.push(offset);
                lane.push(*item);
            }
            Some(Queued::Unattempted(item)) => {
                let item = item.replaced(offset, dispatch, now, &self.room.pending);
                self.admit(item);
            }
            Some(Queued::Attempted(item)) => {
                if dispatch.revision > item.dispatch.revision {
                    item.noted_revision = item.noted_revision.max(Some(dispatch.revision));
                }
                item.also.push(offset);
            }
            // Its first revision may stand in a step that is not true yet: the ledger is asked when it is.
            None if is_writing => self.put_off(offset, dispatch),
            None => self.resolve(offset, dispatch).await?,
        }
        Ok(())
    }

    /// Whether a step is not true yet.
    pub(super) fn is_writing(&self) -> bool {
        !self.writing.is_empty() || !self.books.is_clean()
    }

    /// The record is looked at when everything that was written so far is true.
    pub(super) fn put_off(&mut self, offset: u64, dispatch: Dispatch) {
        self.with_late.insert(dispatch.pixel_id.clone());
        let lane = self.lanes.entry(dispatch.pixel_id.clone()).or_default();
        lane.late.push(Late { after: self.books.latest(), offset, dispatch });
    }

    async fn resolve_late(&mut self) -> Result<(), Error> {
        for pixel in std::mem::take(&mut self.with_late) {
            let Some(lane) = self.lanes.get_mut(&pixel) else { continue };
            let (ready, late): (Vec<Late>, Vec<Late>) =
                std::mem::take(&mut lane.late).into_iter().partition(|late| late.after <= self.durable);
            lane.late = late;
            if !lane.late.is_empty() {
                self.with_late.insert(pixel.clone());
            }
            for Late { offset, dispatch, .. } in ready {
                let lane = self.lanes.entry(pixel.clone()).or_default();
                let is_known = lane.is_known(&dispatch.dedup_key);
                if !is_known && lane.busy.contains(&dispatch.dedup_key) {
                    self.put_off(offset, dispatch); // the record before it stands in a step that is not true yet
                } else if let Some(replay) = dispatch.replay {
                    self.resolve_replay(offset, dispatch, replay).await?;
                } else if is_known {
                    self.place_revision(offset, dispatch).await?; // another revision came meanwhile
                } else {
                    self.resolve(offset, dispatch).await?;
                }
            }
            self.agenda.at_once(&pixel); // looks into `waiting` were held back
        }
        Ok(())
    }

    /// The ledger knows everything about the first revision.
    async fn resolve(&mut self, offset: u64, dispatch: Dispatch) -> Result<(), Error> {
        let (pixel, key) = (dispatch.pixel_id.clone(), dispatch.dedup_key.clone());
        let known = self.deliveries.delivery(&pixel, &key).await?;
        let now = self.now();
        let item = match known {
            None => {
                self.admit(Item::fresh(offset, dispatch, now, &self.room.pending));
                return Ok(());
            }
            Some(known) if known.delivery.outcome.is_some() && !known.is_told => {
                self.tell_left(known.clone()).await?;
                self.books.note_revision(known.delivery, dispatch.revision, offset);
                return Ok(());
            }
            Some(Known { delivery, .. }) if delivery.revision.max(delivery.noted_revision.unwrap_or(0)) >= dispatch.revision => {
                self.books.done(offset);
                return Ok(());
            }
            Some(Known { delivery, .. }) if delivery.outcome.is_some() || delivery.attempts > 0 => {
                self.lanes.entry(pixel).or_default().busy.insert(key);
                self.books.note_revision(delivery, dispatch.revision, offset);
                return Ok(());
            }
            Some(Known { delivery, .. }) => {
                let row = row_of(&self.deliveries, &delivery).await?;
                let revised = revised(&delivery, &dispatch);
                let mut item = Item::fresh(offset, dispatch, now, &self.room.pending);
                item.delivery = revised;
                item.waits = row.as_ref().map(Waits::of);
                item
            }
        };
        if item.waits.is_some() {
            self.lanes.entry(pixel).or_default().busy.insert(key);
        }
        self.admit(item);
        Ok(())
    }

    pub(super) fn resend_us(&self) -> i64 {
        i64::from(self.room.config.ambiguous_resend_hours) * 3_600 * SECOND_US
    }
}

enum Unreadable {
    Newer(u16),
    Damaged(String),
}

fn parse(stored: &Stored) -> Result<Dispatch, Unreadable> {
    #[derive(Deserialize)]
    struct Head {
        version: u16,
    }
    match serde_json::from_slice::<Dispatch>(&stored.value) {
        Ok(dispatch) if dispatch.version <= NEWEST => Ok(dispatch),
        Ok(dispatch) => Err(Unreadable::Newer(dispatch.version)),
        Err(error) => match serde_json::from_slice::<Head>(&stored.value) {
            Ok(head) if head.version > NEWEST => Err(Unreadable::Newer(head.version)),
            _ => Err(Unreadable::Damaged(error.to_string())),
        },
    }
}

fn dead(stored: &Stored, why: String) -> Record {
    let dead = Dead {
        id: Uuid::nil(),
        version: VERSION,
        funnel_id: None,
        received_at: stored.time,
        position: stored.position,
        reason: DeadReason::Refused { code: "unreadable_dispatch".to_owned(), message: why },
    };
    let value = serde_json::to_vec(&dead).expect("plain values, and a vector takes every byte");
    Record { topic: Topic::Dead, key: stored.key.clone(), value: value.into(), time: stored.time }
}
