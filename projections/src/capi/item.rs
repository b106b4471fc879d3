//! A dispatch in memory, with what is recorded of it so far.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use schemas::{
    delivery::{Attempt, Delivery},
    dispatch::{Dispatch, Replay},
    envelope::{Kind, VERSION},
    time::Time,
};
use storage::KnownWaiting;

/// About what an item takes beside its payload: its texts, ids and times.
const ITEM_BYTES: usize = 1_024;

/// A dispatch in memory.
#[derive(Debug)]
pub struct Item {
    /// Where the dispatch stands in its partition.
    pub offset: u64,
    /// Whether that offset is still to be consumed; it is not if the dispatch came out of `waiting`.
    pub is_fresh: bool,
    /// Offsets of other records of the same delivery, consumed with it.
    pub also: Vec<u64>,
    /// What is sent.
    pub dispatch: Dispatch,
    /// What is recorded of it; nothing if it was never touched.
    pub delivery: Option<Box<Delivery>>,
    /// Its row in `waiting`, if it has one.
    pub waits: Option<Waits>,
    /// A later revision that came too late.
    pub noted_revision: Option<u32>,
    /// When it came into memory.
    pub arrived: Time,
    /// Its share of the memory.
    #[expect(dead_code, reason = "it counts by being held")]
    weight: Weight,
}

/// What is needed of a row in `waiting`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// A part of its key.
    pub deadline_hour: i64,
    /// Tries so far.
    pub tries: u32,
    /// Whether the totals count it. If not, a step that is not true left the row behind.
    pub is_counted: bool,
}

impl Waits {
    pub fn of(known: &KnownWaiting) -> Self {
        Self { deadline_hour: known.row.deadline_hour, tries: known.row.tries, is_counted: known.is_counted }
    }
}

impl Item {
    /// A dispatch just read.
    pub fn fresh(offset: u64, dispatch: Dispatch, now: Time, pending: &Arc<AtomicUsize>) -> Self {
        Self {
            offset,
            is_fresh: true,
            also: Vec::new(),
            delivery: None,
            waits: None,
            noted_revision: None,
            arrived: now,
            weight: Weight::new(bytes(&dispatch), pending),
            dispatch,
        }
    }

    /// A dispatch whose offset is consumed already, with what is recorded of it.
    pub fn known(
        offset: u64,
        dispatch: Dispatch,
        delivery: Option<Delivery>,
        waits: Option<Waits>,
        now: Time,
        pending: &Arc<AtomicUsize>,
    ) -> Self {
        Self { is_fresh: false, waits, delivery: delivery.map(Box::new), ..Self::fresh(offset, dispatch, now, pending) }
    }

    /// A dispatch that waited.
    pub fn waited(known: KnownWaiting, delivery: Option<Delivery>, now: Time, pending: &Arc<AtomicUsize>) -> Self {
        let waits = Waits::of(&known);
        Self::known(known.row.offset, known.row.dispatch, delivery, Some(waits), now, pending)
    }

    /// Bytes that it adds to a request.
    pub fn payload(&self) -> &[u8] {
        self.dispatch.payload.as_ref().map_or(b"", |payload| payload.get().as_bytes())
    }

    /// The code of Meta's Test Events page that its page asked for.
    pub fn test_event_code(&self) -> Option<&str> {
        self.dispatch.test_event_code.as_deref()
    }

    /// Tries that came to nothing so far.
    pub fn tries(&self) -> u32 {
        self.waits.map_or(0, |waits| waits.tries)
    }

    /// Whether it waits and the totals count it.
    pub fn is_counted(&self) -> bool {
        self.waits.is_some_and(|waits| waits.is_counted)
    }

    /// Whether no request ever carried it.
    pub fn is_unattempted(&self) -> bool {
        self.delivery.as_ref().is_none_or(|delivery| delivery.attempts == 0)
    }

    /// Whether memory knows something of it that the ledger does not.
    pub fn is_unwritten(&self) -> bool {
        self.is_fresh || !self.also.is_empty() || self.noted_revision.is_some()
    }

    /// Whether an earlier request that carried it was answered in the same way.
    pub fn was_told(&self, status: Option<u16>, code: Option<i64>) -> bool {
        let told = |attempt: &Attempt| !attempt.ambiguous && (attempt.status, attempt.code) == (status, code);
        self.delivery.as_ref().is_some_and(|delivery| delivery.attempt_log.iter().any(told))
    }

    /// The bytes of a later revision take the place of these, which were never sent.
    #[must_use]
    pub fn replaced(mut self, offset: u64, dispatch: Dispatch, now: Time, pending: &Arc<AtomicUsize>) -> Self {
        if self.is_fresh {
            self.also.push(self.offset);
        }
        let delivery = self.delivery.take().and_then(|delivery| revised(&delivery, &dispatch));
        Self { also: self.also, waits: self.waits, delivery, ..Self::fresh(offset, dispatch, now, pending) }
    }

    /// What is recorded of it, begun if nothing was.
    pub fn delivery(&mut self) -> &mut Delivery {
        let delivery = self.delivery.get_or_insert_with(|| Box::new(opened(&self.dispatch)));
        delivery.noted_revision = delivery.noted_revision.max(self.noted_revision);
        delivery
    }
}

fn bytes(dispatch: &Dispatch) -> usize {
    ITEM_BYTES + dispatch.payload.as_ref().map_or(0, |payload| payload.get().len())
}

/// What stays of a delivery that no request carried when a later revision takes its place: only that it was replayed.
pub fn revised(delivery: &Delivery, dispatch: &Dispatch) -> Option<Box<Delivery>> {
    delivery.replayed.is_some().then(|| Box::new(Delivery { replayed: delivery.replayed, ..opened(dispatch) }))
}

/// A told delivery, opened again by a replay: its attempts are counted on, and it may be sent as long as Meta accepts it, whatever came
/// of the attempts before.
pub fn reopened(delivery: Delivery, dispatch: &Dispatch, replay: Replay) -> Delivery {
    Delivery {
        noted_revision: delivery.noted_revision.filter(|noted| *noted > dispatch.revision),
        attempts: delivery.attempts,
        ambiguous_attempts: delivery.ambiguous_attempts,
        attempt_log: delivery.attempt_log,
        replayed: Some(replay),
        ..opened(dispatch)
    }
}

/// A delivery of which nothing is recorded yet.
pub fn opened(dispatch: &Dispatch) -> Delivery {
    Delivery {
        id: dispatch.id,
        kind: Kind::Delivery,
        version: VERSION,
        funnel_id: dispatch.funnel_id.clone(),
        workspace_id: dispatch.workspace_id.clone(),
        occurred_at: dispatch.occurred_at,
        received_at: dispatch.received_at,
        position: dispatch.position,
        pixel_id: dispatch.pixel_id.clone(),
        event_name: dispatch.event_name.clone(),
        event_id: dispatch.event_id.clone(),
        dedup_key: dispatch.dedup_key.clone(),
        revision: dispatch.revision,
        noted_revision: None,
        outcome: None,
        settled_at: None,
        attempts: 0,
        ambiguous_attempts: 0,
        attempt_log: Vec::new(),
        first_ambiguous_at: None,
        reason: None,
        replayed: None,
    }
}

/// A share of the memory that all pixels have together, given back when dropped.
#[derive(Debug)]
struct Weight {
    bytes: usize,
    pending: Arc<AtomicUsize>,
}

impl Weight {
    fn new(bytes: usize, pending: &Arc<AtomicUsize>) -> Self {
        pending.fetch_add(bytes, Ordering::Relaxed);
        Self { bytes, pending: pending.clone() }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.pending.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
