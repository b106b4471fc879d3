//! A receipt: the whole life of one order or event in one answer, from its legs to what Meta said. It names which personal fields are
//! known and never tells their values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    delivery::{Attempt, Outcome, Reason},
    dispatch::Replay,
    envelope::Position,
    fact::LegName,
    id::{FunnelId, PixelId},
    meta::ActionSource,
    money::Currency,
    order::OrderId,
    raw::Consent,
    time::Time,
};

/// What a receipt says of hashed fields, in every receipt that knows a person.
pub const PSEUDONYMS: &str = "Hashes stay as pseudonyms: they still tell one person from another after the clear fields became unreadable.";

/// The whole life of one order or event. Its shape only grows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// All of it as one plain sentence.
    pub sentence: String,
    /// The version of its words.
    pub version: u16,
    /// When it was written; what waits may have ended since.
    pub at: Time,
    /// The funnel.
    pub funnel_id: FunnelId,
    /// The order; null for an event that named none.
    pub order_id: Option<OrderId>,
    /// The event's id at Meta.
    pub event_id: String,
    /// The event's name at Meta; null if that is no longer known.
    pub event_name: Option<String>,
    /// What made its tellings one event; with a pixel, the key of a delivery.
    pub dedup_key: String,
    /// The same order is known under the other kind too: ask for it by `kind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<SaleKind>,
    /// How it reached us, in the order in which it did; empty if that is no longer kept (event keys, after 32 days).
    pub legs: Vec<ReceiptLeg>,
    /// What was known beside the amount; null if nothing of it is kept.
    pub enrichment: Option<Enrichment>,
    /// What was concluded; null for an event that is no purchase or lead.
    pub fact: Option<ReceiptFact>,
    /// What became of it at each pixel.
    pub deliveries: Vec<ReceiptDelivery>,
}

/// The two facts that are told by orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaleKind {
    /// A purchase.
    Purchase,
    /// A lead.
    Lead,
}

impl SaleKind {
    /// The kind in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Lead => "lead",
        }
    }
}

/// One way it reached us. Repeats leave no trace, and conflicts stand in the topic `dead`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptLeg {
    /// Which way.
    pub leg: LegName,
    /// When the door received it.
    pub received_at: Time,
    /// Where the raw record stands.
    pub position: Position,
    /// Which record it was.
    pub raw_id: Uuid,
    /// The amount that it told in major units; null if it told none.
    #[schemars(with = "Option<f64>")]
    pub amount: Option<Box<RawValue>>,
    /// The same in minor units of `currency`.
    pub amount_minor: Option<i64>,
    /// ISO 4217; null without an amount.
    pub currency: Option<Currency>,
    /// The verdict that follows from the positions of the legs.
    pub verdict: LegVerdict,
    /// 1 if it is the first server leg of a purchase.
    pub purchases_created: u32,
    /// Dispatches that it caused; null where that is not kept.
    pub pixel_events_queued: Option<u32>,
}

/// The verdicts that leave a leg behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegVerdict {
    /// It was new.
    First,
    /// The other leg was known.
    Joined,
}

/// What the event carries to Meta beside its amount, and what is known of the person: names of fields, never values.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Enrichment {
    /// Whose browser the event carries.
    pub context: ContextOf,
    /// Which marks of that browser are present; null if that is no longer kept.
    pub carried: Option<Carried>,
    /// Where the customer acted, as Meta is told; null if the dispatch is no longer kept.
    #[schemars(with = "Option<String>")]
    pub action_source: Option<ActionSource>,
    /// Consent as it was told last; null if nobody told any.
    pub consent: Option<Consent>,
    /// Whether the dispatch was emitted without payload because consent was missing.
    pub is_withheld: bool,
    /// Hashed fields of the person that are known, by name.
    pub person: Vec<String>,
    /// Keys under which clear fields of the person are sealed: destroy them and nobody reads the fields again.
    pub sealed_under: Vec<Uuid>,
    /// What stays of a person whose keys are destroyed; null if nothing of the person is known.
    pub note: Option<String>,
}

/// Whose browser an event carries to Meta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextOf {
    /// The browser that told it.
    BrowserLeg,
    /// The browser in which the buyer was last seen, found by e-mail address for a backend's event.
    Borrowed,
    /// None: no browser of this buyer was known.
    Nobody,
    /// Not found: the dispatch has left the log, ten days after it was emitted, or stands too deep among others.
    NotKept,
}

/// Which marks of a browser are present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Carried {
    /// Meta's browser id.
    pub fbp: bool,
    /// Meta's click id.
    pub fbc: bool,
    /// The visitor's address.
    pub client_ip: bool,
    /// The user agent.
    pub user_agent: bool,
    /// The page's address.
    pub page: bool,
}

impl Carried {
    /// The marks with their names.
    pub fn named(self) -> [(&'static str, bool); 5] {
        [("fbp", self.fbp), ("fbc", self.fbc), ("client_ip", self.client_ip), ("user_agent", self.user_agent), ("page", self.page)]
    }
}

/// What was concluded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptFact {
    /// Purchase or lead.
    pub kind: SaleKind,
    /// Rises with each leg that joins.
    pub revision: u32,
    /// When it happened.
    pub occurred_at: Time,
    /// The amount in major units; null if none was told.
    #[schemars(with = "Option<f64>")]
    pub amount: Option<Box<RawValue>>,
    /// The same in minor units of `currency`.
    pub amount_minor: Option<i64>,
    /// ISO 4217.
    pub currency: Currency,
}

/// What became of it at one pixel.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptDelivery {
    /// Meta's id of the pixel.
    pub pixel_id: PixelId,
    /// The event's name at Meta.
    pub event_name: String,
    /// The revision that was sent, or waits to be.
    pub revision: u32,
    /// A later revision that came when an attempt was already made, and was not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted_revision: Option<u32>,
    /// Where it stands.
    pub outcome: Standing,
    /// When the outcome was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Time>,
    /// How many POSTs carried it.
    pub attempts: u32,
    /// How many of them were ambiguous.
    pub ambiguous_attempts: u32,
    /// Those POSTs in order; at most the last twenty.
    pub attempt_log: Vec<Attempt>,
    /// Why it did not end as delivered, or why it still waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// While it waits: whether the sink has not read its dispatch yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unread: bool,
    /// While it waits: it is not sent earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Time>,
    /// While it waits: when Meta stops accepting it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// The last replay, and the outcome that it took back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replay>,
}

/// Where a delivery stands: its outcome, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has no outcome yet.
    Waiting,
    /// Meta said yes.
    Delivered,
    /// Meta, or our own check, said no.
    Rejected,
    /// Older than Meta accepts.
    Expired,
    /// Pixel or funnel deleted, consent withdrawn, or an operator said so.
    Cancelled,
    /// Sent, the answer lost, and past the time in which it may be sent again.
    Unknown,
    /// There is no row of it any more: outcomes are kept 90 days.
    NotKept,
    /// There should be a row of it, and there is none.
    Missing,
}

impl From<Option<Outcome>> for Standing {
    fn from(outcome: Option<Outcome>) -> Self {
        match outcome {
            None => Self::Waiting,
            Some(Outcome::Delivered) => Self::Delivered,
            Some(Outcome::Rejected) => Self::Rejected,
            Some(Outcome::Expired) => Self::Expired,
            Some(Outcome::Cancelled) => Self::Cancelled,
            Some(Outcome::Unknown) => Self::Unknown,
        }
    }
}

impl Standing {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::NotKept => "not kept",
            Self::Missing => "missing",
        }
    }
}
