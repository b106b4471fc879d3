//! The ledger as rooms see it: one handle per writer, reads only; writes go through a step.

use schemas::{
    delivery::Delivery,
    fact::{Lead, Purchase},
    id::{FunnelId, PixelId, VisitorId},
    person::Digest,
    row::{FilterSnapshot, Intent, PersonKey, PersonRow, Seen, Visitor, Waiting},
    time::Time,
};

use crate::{engine::Engine, log::ReadError};

/// The judge's tables.
#[derive(Clone)]
pub struct Facts {
    engine: Engine,
}

impl Facts {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// What is known of dedup keys (their text), in their order.
    pub async fn seen(&self, keys: &[String]) -> Result<Vec<Option<Seen>>, ReadError> {
        self.engine.seen(keys).await
    }

    /// Every row of `seen` whose raw record stands in that partition, in no order: to make a filter warm. `each` is called with the
    /// key and the row.
    pub async fn scan_seen(&self, partition: u32, each: &mut (dyn FnMut(&str, &Seen) + Send)) -> Result<(), ReadError> {
        self.engine.scan_seen(partition, each).await
    }

    /// A visitor.
    pub async fn visitor(&self, funnel: &FunnelId, visitor: &VisitorId) -> Result<Option<Visitor>, ReadError> {
        self.engine.visitor(funnel, visitor).await
    }

    /// A person by e-mail digest.
    pub async fn person(&self, funnel: &FunnelId, email: &Digest) -> Result<Option<PersonRow>, ReadError> {
        self.engine.person(funnel, email).await
    }

    /// A person's keys.
    pub async fn person_keys(&self, funnel: &FunnelId, email: &Digest) -> Result<Vec<PersonKey>, ReadError> {
        self.engine.person_keys(funnel, email).await
    }

    /// The filter snapshots kept of a partition, the newest first.
    pub async fn filter_snapshots(&self, partition: u32) -> Result<Vec<FilterSnapshot>, ReadError> {
        self.engine.filter_snapshots(partition).await
    }
}

/// The sink's tables.
#[derive(Clone)]
pub struct Deliveries {
    engine: Engine,
}

impl Deliveries {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Makes this process the owner of a partition; what a former owner still does comes to nothing. Called once per lease, first.
    pub async fn take_over(&self, partition: u32) -> Result<TakenOver, ReadError> {
        self.engine.take_over(partition).await
    }

    /// One delivery.
    pub async fn delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<Known>, ReadError> {
        self.engine.delivery(pixel, dedup_key).await
    }

    /// One waiting dispatch.
    pub async fn waiting(&self, pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Result<Option<KnownWaiting>, ReadError> {
        self.engine.waiting(pixel, deadline_hour, dedup_key).await
    }

    /// Dispatches of a partition that wait and are due, of one pixel or of all, earliest deadline first.
    pub async fn due(&self, partition: u32, pixel: Option<&PixelId>, now: Time, limit: usize) -> Result<Vec<KnownWaiting>, ReadError> {
        self.engine.due(partition, pixel, now, limit).await
    }

    /// Intents of a partition that are not settled, in order, with numbers from `from` on and below `below`.
    pub async fn open_intents(&self, partition: u32, from: u64, below: u64) -> Result<Vec<Intent>, ReadError> {
        self.engine.open_intents(partition, from, below).await
    }
}

/// What a new owner of a dispatch partition must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// The number of the partition's next attempt: one more than the highest ever intended.
    pub next_attempt: u64,
    /// Of dispatches below this offset rows may stand that a former owner's last step left behind; 0 where a step is one with its rows.
    pub touched_below: u64,
}

/// A delivery as the sink finds it.
#[derive(Clone, Debug)]
pub struct Known {
    /// The row.
    pub delivery: Delivery,
    /// Whether it was told to data teams as it stands. One with an outcome that was not told is the rest of a step whose owner died
    /// before its transaction: it is told now.
    pub is_told: bool,
}

/// A waiting dispatch as the sink finds it.
#[derive(Clone, Debug)]
pub struct KnownWaiting {
    /// The row.
    pub row: Waiting,
    /// Whether the step in which it began to wait is true, and so the totals that were committed with it count it. One that is not
    /// counted is the rest of a step whose owner died before its transaction: it is counted now.
    pub is_counted: bool,
}

/// One page of rows, and where the next begins.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Hand this in for the next page; `None` after the last.
    pub next: Option<Vec<u8>>,
}

/// What people may look at.
#[derive(Clone)]
pub struct Readings {
    engine: Engine,
}

impl Readings {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Purchases in the order of their keys.
    pub async fn purchases(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Purchase>, ReadError> {
        self.engine.purchases(after, limit).await
    }

    /// Leads in the order of their keys.
    pub async fn leads(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Lead>, ReadError> {
        self.engine.leads(after, limit).await
    }

    /// Deliveries in the order of their keys. Those whose dispatch the sink has not touched yet are not rows: read the dispatch topic
    /// from the sink's committed offset on.
    pub async fn deliveries(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Delivery>, ReadError> {
        self.engine.deliveries(after, limit).await
    }

    /// One purchase by funnel and order id or event id (its table key).
    pub async fn purchase(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Purchase>, ReadError> {
        self.engine.purchase(funnel, order_or_event_id).await
    }

    /// One lead, found as a purchase is.
    pub async fn lead(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Lead>, ReadError> {
        self.engine.lead(funnel, order_or_event_id).await
    }

    /// One delivery.
    pub async fn delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<Delivery>, ReadError> {
        self.engine.look_at_delivery(pixel, dedup_key).await
    }

    /// What is known of one dedup key (its text).
    pub async fn seen(&self, key: &str) -> Result<Option<Seen>, ReadError> {
        self.engine.look_at_seen(key).await
    }

    /// One waiting dispatch. A row counts only while its delivery has no outcome.
    pub async fn waiting(&self, pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Result<Option<Waiting>, ReadError> {
        self.engine.look_at_waiting(pixel, deadline_hour, dedup_key).await
    }

    /// What waits of a pixel, the earliest deadline hour first. A row counts only while its delivery has no outcome.
    pub async fn waiting_of(&self, pixel: &PixelId, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Waiting>, ReadError> {
        self.engine.look_at_waiting_of(pixel, after, limit).await
    }

    /// A visitor.
    pub async fn visitor(&self, funnel: &FunnelId, visitor: &VisitorId) -> Result<Option<Visitor>, ReadError> {
        self.engine.look_at_visitor(funnel, visitor).await
    }

    /// A person by e-mail digest.
    pub async fn person(&self, funnel: &FunnelId, email: &Digest) -> Result<Option<PersonRow>, ReadError> {
        self.engine.look_at_person(funnel, email).await
    }
}
