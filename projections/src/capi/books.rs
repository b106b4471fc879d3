//! What will become true together in the partition's next step: outcomes, rows to try again, settled intents, consumed offsets.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicUsize},
};

use bytes::Bytes;
use schemas::{
    delivery::{Attempt, Delivery, Outcome, Reason, Written},
    dispatch::Replay,
    id::PixelId,
    row::{Intent, Row, Waiting},
    time::{SECOND_US, Time},
    topic::{Group, Topic},
};
use serde::{Deserialize, Serialize};
use storage::{Consumed, KnownWaiting, LeaseId, Record, Step};

use super::{
    item::{Item, Waits},
    metrics::Metrics,
    offsets::Offsets,
    schedule,
};

/// The partition's open page. Steps are committed one after another, so each may build on those before it.
pub struct Books {
    partition: u32,
    lease: Option<LeaseId>,
    metrics: Metrics,
    offsets: Offsets,
    note: Note,
    /// Attempts begun and not settled, and the number of the next.
    open: BTreeSet<u64>,
    next_attempt: u64,
    /// The number of the open step.
    seq: u64,
    step: Step,
    /// Keys whose rows may be read again once the open step is true.
    released: Vec<(PixelId, String)>,
    /// Pixels that wait for the open step.
    attend: Vec<PixelId>,
    /// When rows become due that can be read once the open step is true.
    dues: Vec<(PixelId, Time)>,
    is_changed: bool,
    /// Outcomes in the open step, counted.
    ended: [u64; Outcome::ALL.len()],
    pixel_key: Option<(PixelId, Bytes)>,
}

/// An attempt that did not end its dispatch.
pub struct Tried {
    pub attempt: Attempt,
    /// Whether it says anything about the event: what was often tried goes in ever smaller company.
    pub counts: bool,
}

/// What the partition's committed offset carries along for the next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Of no dispatch at or above this offset anything was ever written in a step.
    pub touched: u64,
    /// Rows in `waiting`.
    pub waiting: u64,
    /// Every attempt below this number is settled and told.
    #[serde(default)]
    pub settled: u64,
    /// Deliveries of this partition so far: each either waits or has its outcome. They are committed with the rows and records that they
    /// count, so that no crash parts them.
    #[serde(default)]
    pub dispatched: u64,
    /// How many of them ended, by outcome.
    #[serde(default)]
    pub ended: [u64; Outcome::ALL.len()],
}

/// A step on its way, and what follows when it is true.
pub struct Closed {
    pub seq: u64,
    pub step: Step,
    pub released: Vec<(PixelId, String)>,
    pub attend: Vec<PixelId>,
    pub dues: Vec<(PixelId, Time)>,
}

impl Books {
    pub fn new(partition: u32, lease: Option<LeaseId>, next_offset: u64, note: Note, metrics: Metrics) -> Self {
        Self {
            partition,
            lease,
            metrics,
            offsets: Offsets::new(next_offset),
            note,
            open: BTreeSet::new(),
            next_attempt: note.settled,
            seq: 1,
            step: Step::default(),
            released: Vec::new(),
            attend: Vec::new(),
            dues: Vec::new(),
            is_changed: false,
            ended: [0; Outcome::ALL.len()],
            pixel_key: None,
        }
    }

    /// A record was read; its offset is done later.
    pub fn take(&mut self, offset: u64) {
        self.offsets.take(offset);
    }

    /// A record needs nothing (more).
    pub fn done(&mut self, offset: u64) {
        self.offsets.done(offset);
        self.touched(offset);
        self.is_changed = true;
    }

    /// Of that dispatch something is (or was) written.
    pub fn touched(&mut self, offset: u64) {
        self.note.touched = self.note.touched.max(offset + 1);
    }

    /// Records below this may have been touched before.
    pub fn touched_before(&self) -> u64 {
        self.note.touched
    }

    /// An attempt is about to be made, or was left open by a former owner.
    pub fn begin(&mut self, attempt: u64) {
        self.open.insert(attempt);
        self.next_attempt = self.next_attempt.max(attempt + 1);
    }

    /// An outcome that a former owner wrote and did not live to tell, and the row in `waiting` that the delivery still has.
    pub fn tell(&mut self, delivery: Delivery, row: Option<&KnownWaiting>, now: Time) {
        let (pixel, key) = (delivery.pixel_id.clone(), delivery.dedup_key.clone());
        self.count_end(delivery, row.is_some_and(|row| row.is_counted), now);
        if let Some(row) = row {
            self.waits_no_more(&pixel, row.row.deadline_hour, &key, row.is_counted);
        }
        self.released.push((pixel, key));
    }

    /// `was_counted`: the totals have it among those that wait.
    fn count_end(&mut self, delivery: Delivery, was_counted: bool, now: Time) {
        if let Some(outcome) = delivery.outcome {
            self.note.ended[outcome as usize] += 1;
            self.ended[outcome as usize] += 1;
        }
        if !was_counted {
            self.note.dispatched += 1;
        }
        self.write(delivery, now);
    }

    fn write(&mut self, delivery: Delivery, now: Time) {
        let key = self.key_of(&delivery.pixel_id);
        let written = Written::new(delivery);
        let value = Bytes::copy_from_slice(written.json().as_bytes());
        self.step.records.push(Record { topic: Topic::Deliveries, key, value, time: now });
        self.step.rows.push(Row::Delivery(Box::new(written)));
        self.is_changed = true;
    }

    /// A delivery got its one outcome.
    pub fn end(&mut self, mut item: Item, attempt: Option<Attempt>, outcome: Outcome, reason: Option<Reason>, now: Time) {
        let mut delivery = {
            item.delivery();
            item.delivery.take().expect("it was just begun")
        };
        if let Some(attempt) = attempt {
            delivery.note(attempt);
        }
        delivery.outcome = Some(outcome);
        delivery.settled_at = Some(now);
        delivery.reason = reason;
        if outcome == Outcome::Delivered {
            self.metrics.end_to_end.observe(now.since(delivery.received_at) as f64 / SECOND_US as f64);
        }
        self.count_end(*delivery, item.is_counted(), now);
        self.consume(&mut item);
        if let Some(waits) = item.waits {
            self.waits_no_more(&item.dispatch.pixel_id, waits.deadline_hour, &item.dispatch.dedup_key, waits.is_counted);
            self.released.push((item.dispatch.pixel_id, item.dispatch.dedup_key));
        }
    }

    /// A dispatch leaves memory to wait. Until the step is true its lane must hold its key to be busy: in a cluster the rows of a step
    /// come one by one, and whoever sees the one in `waiting` before the delivery's takes it for one that was never tried.
    pub fn wait(&mut self, mut item: Item, tried: Option<Tried>, due_at: Time, reason: Option<Reason>) {
        let due_at = schedule::due(&item.dispatch, due_at);
        if self.dues.last().is_none_or(|(pixel, at)| (pixel, *at) != (&item.dispatch.pixel_id, due_at)) {
            self.dues.push((item.dispatch.pixel_id.clone(), due_at));
        }
        self.keep(&mut item, tried, due_at, reason);
        self.released.push((item.dispatch.pixel_id, item.dispatch.dedup_key));
    }

    /// An operator takes back a told outcome: the delivery waits again, and is no longer counted by that outcome. `item` carries the
    /// delivery as it was opened again; whatever row it has in `waiting` is not counted.
    pub fn reopen(&mut self, mut item: Item, now: Time) {
        if let Some(Replay { outcome, .. }) = item.delivery().replayed {
            let counted = &mut self.note.ended[outcome as usize];
            if let Some(fewer) = counted.checked_sub(1) {
                *counted = fewer;
                self.note.dispatched = self.note.dispatched.saturating_sub(1); // `keep` counts it as one more, which it is after a move
            }
        }
        item.waits = None;
        let reason = Reason { code: "replayed".to_owned(), message: "it was replayed and is sent again".to_owned() };
        self.wait(item, None, now, Some(reason));
    }

    /// A dispatch gets (or changes) its row in `waiting`, and stays in memory too.
    pub fn keep(&mut self, item: &mut Item, tried: Option<Tried>, due_at: Time, reason: Option<Reason>) {
        let tries = item.tries() + u32::from(tried.as_ref().is_some_and(|tried| tried.counts));
        let delivery = item.delivery();
        if let Some(tried) = tried {
            delivery.note(tried.attempt);
        }
        delivery.reason = reason;
        self.step.rows.push(Row::delivery(delivery.clone()));
        let deadline_hour = schedule::deadline_hour(item.dispatch.occurred_at);
        if let Some(waits) = item.waits.filter(|waits| waits.deadline_hour != deadline_hour) {
            // It is the same delivery, and counts on in its new hour.
            self.waits_no_more(&item.dispatch.pixel_id, waits.deadline_hour, &item.dispatch.dedup_key, false);
        }
        if !item.is_counted() {
            self.note.dispatched += 1;
            self.note.waiting += 1;
        }
        let stays = item.waits.is_some_and(|waits| waits.is_counted && waits.deadline_hour == deadline_hour);
        let row = Box::new(Waiting {
            deadline_hour,
            due_at: schedule::due(&item.dispatch, due_at),
            tries,
            offset: item.offset,
            partition: self.partition,
            dispatch: item.dispatch.clone(),
        });
        self.step.rows.push(if stays { Row::Waiting(row) } else { Row::WaitingBegins(row) });
        item.waits = Some(Waits { deadline_hour, tries, is_counted: true });
        self.consume(item);
    }

    /// A row of `waiting` that a step left behind which is not true: with it written anew it counts. Whoever meets it must hold its key to
    /// be busy, as for [`Books::wait`].
    pub fn adopt(&mut self, known: KnownWaiting, delivery: Option<Delivery>, now: Time, pending: &Arc<AtomicUsize>) {
        let (due_at, reason) = (known.row.due_at, delivery.as_ref().and_then(|delivery| delivery.reason.clone()));
        self.wait(Item::waited(known, delivery, now, pending), None, due_at, reason);
    }

    /// A dispatch leaves memory; its row in `waiting` stands as it is.
    pub fn leave(&mut self, item: Item) {
        self.released.push((item.dispatch.pixel_id, item.dispatch.dedup_key));
        self.is_changed = true;
    }

    /// A row of `waiting` whose delivery has its outcome, told: with that it ceased to count.
    pub fn drop_row(&mut self, row: &Waiting) {
        self.waits_no_more(&row.dispatch.pixel_id, row.deadline_hour, &row.dispatch.dedup_key, false);
        self.released.push((row.dispatch.pixel_id.clone(), row.dispatch.dedup_key.clone()));
    }

    /// A row of `waiting` that goes; `was_counted` among those that wait.
    fn waits_no_more(&mut self, pixel_id: &PixelId, deadline_hour: i64, dedup_key: &str, was_counted: bool) {
        self.step.rows.push(Row::WaitingDone { pixel_id: pixel_id.clone(), deadline_hour, dedup_key: dedup_key.to_owned() });
        if was_counted {
            match self.note.waiting.checked_sub(1) {
                Some(waiting) => self.note.waiting = waiting,
                None => self.note.dispatched += 1, // it came with a move, or from before anybody counted
            }
        }
        self.is_changed = true;
    }

    /// A later revision came too late: it is noted on the delivery and not sent.
    pub fn note_revision(&mut self, mut delivery: Delivery, revision: u32, offset: u64) {
        delivery.noted_revision = Some(revision);
        self.released.push((delivery.pixel_id.clone(), delivery.dedup_key.clone()));
        self.step.rows.push(Row::DeliveryNote(Box::new(Written::new(delivery))));
        self.done(offset);
    }

    /// What came of an attempt is written; each delivery lists it itself.
    pub fn settle(&mut self, attempt: u64, at: Time, pixel_id: PixelId) {
        let intent = Intent { partition: self.partition, attempt, at, pixel_id, settled: true, items: Vec::new() };
        self.step.rows.push(Row::Intent(intent));
        self.open.remove(&attempt);
        self.is_changed = true;
    }

    /// A record for another reader goes along.
    pub fn record(&mut self, record: Record) {
        self.step.records.push(record);
        self.is_changed = true;
    }

    /// Looks at the pixel again when the open step is true.
    pub fn attend(&mut self, pixel: &PixelId) {
        self.attend.push(pixel.clone());
        self.is_changed = true;
    }

    /// The number of the open step.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The step after which everything that was written so far is true.
    pub fn latest(&self) -> u64 {
        if self.is_changed { self.seq } else { self.seq - 1 }
    }

    /// Whether nothing waits to be written.
    pub fn is_clean(&self) -> bool {
        !self.is_changed
    }

    /// Rows that wait to be written.
    pub fn rows(&self) -> usize {
        self.step.rows.len()
    }

    /// Closes the page and opens the next.
    pub fn close(&mut self, name: &'static str) -> Closed {
        let mut step = std::mem::take(&mut self.step);
        step.name = name;
        self.note.settled = self.open.first().copied().unwrap_or(self.next_attempt);
        let metadata = serde_json::to_string(&self.note).expect("plain numbers");
        step.consumed.push(Consumed {
            group: Group::Capi,
            partition: self.partition,
            next_offset: self.offsets.low(),
            metadata: Some(metadata),
            lease: self.lease,
        });
        self.show();
        for (outcome, count) in Outcome::ALL.into_iter().zip(std::mem::take(&mut self.ended)).filter(|(_, count)| *count > 0) {
            self.metrics.deliveries.with_label_values(&[outcome.name()]).inc_by(count);
        }
        self.is_changed = false;
        self.seq += 1;
        let (released, attend, dues) =
            (std::mem::take(&mut self.released), std::mem::take(&mut self.attend), std::mem::take(&mut self.dues));
        Closed { seq: self.seq - 1, step, released, attend, dues }
    }

    /// Tells the books' sums.
    pub fn show(&self) {
        let partition = self.partition.to_string();
        self.metrics.waiting.with_label_values(&[&partition]).set(self.note.waiting as i64);
        let ended = Outcome::ALL.into_iter().map(|outcome| (outcome.name(), self.note.ended[outcome as usize]));
        for (state, count) in ended.chain([("dispatched", self.note.dispatched), ("waiting", self.note.waiting)]) {
            self.metrics.dispatches.with_label_values(&[partition.as_str(), state]).set(count as i64);
        }
    }

    fn consume(&mut self, item: &mut Item) {
        if std::mem::take(&mut item.is_fresh) {
            self.done(item.offset);
        }
        for offset in item.also.drain(..) {
            self.done(offset);
        }
        self.is_changed = true;
    }

    /// The record's key; neighbours in a step mostly share it.
    fn key_of(&mut self, pixel: &PixelId) -> Bytes {
        match &self.pixel_key {
            Some((known, key)) if known == pixel => key.clone(),
            _ => {
                let key = Bytes::copy_from_slice(pixel.as_str().as_bytes());
                self.pixel_key = Some((pixel.clone(), key.clone()));
                key
            }
        }
    }
}
