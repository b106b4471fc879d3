//! Rows of the ledger. Each says its key, its writer, how often it is written, and how long it is kept.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    delivery::{Delivery, Written},
    dispatch::Dispatch,
    envelope::Position,
    fact::{Context, Lead, LegName, Purchase},
    id::{FunnelId, PixelId, VisitorId},
    money::{Currency, Money},
    person::{Digest, Person},
    raw::Consent,
    secret::Sealed,
    time::Time,
};

/// One write to the ledger. A row is idempotent: written again from the same record it changes nothing.
#[derive(Clone, Debug)]
pub enum Row {
    /// See [`Seen`]. The key is the dedup key's text, the leg is the one cell that is written.
    Seen {
        /// The dedup key's text, which begins with the funnel.
        key: String,
        /// Which leg is written; the other stays as it is.
        leg: LegName,
        /// The cell.
        cell: Leg,
    },
    /// See [`Purchase`]: the newest revision.
    Purchase(Box<Purchase>),
    /// See [`Lead`]: the newest revision.
    Lead(Box<Lead>),
    /// See [`Visitor`]: cells that changed.
    Visitor(Box<Visitor>),
    /// See [`PersonRow`]: cells that changed.
    Person(Box<PersonRow>),
    /// See [`PersonKey`].
    PersonKey(PersonKey),
    /// See [`FilterSnapshot`]; replaces every older snapshot of its partition but one.
    FilterSnapshot(FilterSnapshot),
    /// See [`Intent`].
    Intent(Intent),
    /// See [`Delivery`].
    Delivery(Box<Written>),
    /// `deliveries`: a remark on one that was told before. It is written when the rest of its step is true: a remark that stood there
    /// without its step would look like an outcome that nobody was told.
    DeliveryNote(Box<Written>),
    /// See [`Waiting`].
    Waiting(Box<Waiting>),
    /// The same, of one that waits from this step on: with it the partition's totals count it.
    WaitingBegins(Box<Waiting>),
    /// A waiting delivery got its outcome, or moved to another hour.
    WaitingDone {
        /// The pixel.
        pixel_id: PixelId,
        /// The deadline's hour as the row has it.
        deadline_hour: i64,
        /// The delivery's key.
        dedup_key: String,
    },
}

impl Row {
    /// The row of a delivery.
    pub fn delivery(delivery: Delivery) -> Self {
        Self::Delivery(Box::new(Written::new(delivery)))
    }
}

/// Table `seen`: key (funnel, dedup key); written by the processor once per leg; orders are kept for ever, events 32 days.
///
/// Each leg stands in a cell of its own. Amount, legs and "created" are computed from the legs, never stored as a verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// The browser leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<Leg>,
    /// The server leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Leg>,
}

impl Seen {
    /// The cell of one leg.
    pub fn leg(&self, name: LegName) -> Option<&Leg> {
        match name {
            LegName::Browser => self.browser.as_ref(),
            LegName::Server => self.server.as_ref(),
        }
    }

    /// Writes the cell of one leg.
    pub fn set(&mut self, name: LegName, cell: Leg) {
        match name {
            LegName::Browser => self.browser = Some(cell),
            LegName::Server => self.server = Some(cell),
        }
    }
}

/// What the first record of one leg said: one cell of [`Seen`].
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    /// Where the record stands.
    pub position: Position,
    /// Which record it was: finding it at one's own position means "this very record, again".
    pub raw_id: Uuid,
    /// When it was received: event keys count 30 days from here.
    pub received_at: Time,
    /// The amount in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_minor: Option<i64>,
    /// Its currency, told together with an amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// Digest of the e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Digest>,
    /// Digest of the whole body, under an `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Digest>,
    /// The pixels it was dispatched to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pixels: Vec<PixelId>,
    /// What the other leg's revision needs of this one; on orders only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Box<LegContext>>,
}

impl PartialEq for Leg {
    /// Legs are told apart by the record that wrote them.
    fn eq(&self, other: &Self) -> bool {
        (self.position, self.raw_id) == (other.position, other.raw_id)
    }
}

impl Leg {
    /// The amount with its currency, if one was told.
    pub fn money(&self) -> Option<Money> {
        Some(Money { minor: self.amount_minor?, currency: self.currency? })
    }
}

/// One leg's share of a purchase or lead.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LegContext {
    /// When it happened by this leg.
    pub occurred_at: Time,
    /// The person by this leg.
    #[serde(default, skip_serializing_if = "Person::is_empty")]
    pub person: Person,
    /// The browser, on a browser leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visitor_id: Option<VisitorId>,
    /// Where the browser was, on a browser leg; on a server leg only how Meta may use what is told.
    #[serde(default)]
    pub client: Arc<Context>,
    /// The visitor's refusal to be measured, on a browser leg: it holds for the server leg of the same order too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
    /// The code under which Meta's Test Events page shows it, on a browser leg that asked for one: it holds for the whole order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_event_code: Option<String>,
    /// What was bought, in this leg's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_name: Option<String>,
    /// The page's properties as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub properties: Option<Box<RawValue>>,
    /// The backend's metadata as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub metadata: Option<Box<RawValue>>,
}

/// A cell written from many partitions: the newest `at` wins, so that the order of writing does not matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cell<T> {
    /// `received_at` of the event that told it.
    pub at: Time,
    /// What was told.
    pub value: T,
}

fn newest<T>(old: Option<Cell<T>>, new: Option<Cell<T>>) -> Option<Cell<T>> {
    match (old, new) {
        (Some(old), Some(new)) => Some(if new.at >= old.at { new } else { old }),
        (old, new) => new.or(old),
    }
}

/// Table `visitors`: key (funnel, visitor); written by the processor when a cell changed; kept 400 days after the last change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Visitor {
    /// The funnel.
    pub funnel_id: FunnelId,
    /// The browser.
    pub visitor_id: VisitorId,
    /// Who it is known to be: digests only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Cell<Person>>,
    /// Where it was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Cell<Context>>,
    /// Its consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Cell<Consent>>,
}

impl Visitor {
    /// This row with the newer cells of another of the same key.
    #[must_use]
    pub fn merged(self, new: Self) -> Self {
        Self {
            person: newest(self.person, new.person),
            context: newest(self.context, new.context),
            consent: newest(self.consent, new.consent),
            ..self
        }
    }
}

/// Table `people`: key (funnel, email digest); written by the processor when a cell changed; kept 400 days.
/// A webhook finds its buyer's browser here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PersonRow {
    /// The funnel.
    pub funnel_id: FunnelId,
    /// Digest of the e-mail address.
    pub email: Digest,
    /// Where a browser of this person was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Cell<Context>>,
    /// The person's consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Cell<Consent>>,
}

impl PersonRow {
    /// This row with the newer cells of another of the same key.
    #[must_use]
    pub fn merged(self, new: Self) -> Self {
        Self { context: newest(self.context, new.context), consent: newest(self.consent, new.consent), ..self }
    }
}

/// Table `person_keys`: key (funnel, email digest, key id); written once by whoever found none; kept until the person is forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PersonKey {
    /// The funnel.
    pub funnel_id: FunnelId,
    /// Digest of the e-mail address.
    pub email: Digest,
    /// The key's id, which sealed cells name.
    pub key_id: Uuid,
    /// The key itself, sealed under the master key for the purpose `person-key`.
    pub key: Sealed,
}

/// Table `filter_snapshots`: key (partition, generation, number); written by the processor now and then; the last two are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSnapshot {
    /// The raw partition.
    pub partition: u32,
    /// The raw topic's generation.
    pub generation: u32,
    /// The filter holds every key below this offset.
    pub next_offset: u64,
    /// The filters' bytes, with a checksum of their own (the processor's format).
    pub bytes: Vec<u8>,
}

/// Table `intents`: key (dispatch partition, attempt); written by the sink before each POST and again when it is settled; kept 30 days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Intent {
    /// The dispatch partition.
    pub partition: u32,
    /// The attempt's number in that partition.
    pub attempt: u64,
    /// When it was written.
    pub at: Time,
    /// The pixel the batch goes to.
    pub pixel_id: PixelId,
    /// Whether what came of it is written: an intent that is not settled on start was ambiguous.
    pub settled: bool,
    /// The deliveries in the batch; emptied when it is settled, because each delivery then lists the attempt itself.
    pub items: Vec<IntentItem>,
}

/// One delivery of an [`Intent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntentItem {
    /// Where the dispatch stands in the partition.
    pub offset: u64,
    /// The delivery's key.
    pub dedup_key: String,
}

/// Table `waiting`: key (pixel, deadline hour, dedup key); written by the sink for what cannot be sent in its turn; it counts only
/// while its delivery has no outcome, and whole hours are dropped.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// The deadline in whole hours since the epoch: the earliest is sent first.
    pub deadline_hour: i64,
    /// Not to be sent earlier (backoff, or a browser purchase that waits for its server leg).
    pub due_at: Time,
    /// How many tries came to nothing so far: the exponent of the backoff.
    pub tries: u32,
    /// Where the dispatch stands.
    pub offset: u64,
    /// The dispatch partition, whose owner sends it.
    pub partition: u32,
    /// The dispatch itself, as it will be sent.
    pub dispatch: Dispatch,
}
