//! The judge's answer about one raw event.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the judge concluded. A function of the log: a replay concludes the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// New.
    First {
        /// 1 if a purchase was created.
        purchases_created: u32,
        /// Dispatches emitted: one per pixel of the funnel.
        pixel_events_queued: u32,
    },
    /// The other leg of a known order.
    Joined {
        /// 1 if this is the first server leg of a purchase.
        purchases_created: u32,
    },
    /// Known, and nothing new.
    Repeat,
    /// A known leg says something else; the first stays.
    Conflict {
        /// The names of the fields that differ, in the order amount, currency, email, body.
        fields: Vec<ConflictField>,
    },
    /// The door let through what the judge cannot accept.
    Refused(Refusal),
}

impl Verdict {
    /// The verdict's name, as metrics label it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::First { .. } => "first",
            Self::Joined { .. } => "joined",
            Self::Repeat => "repeat",
            Self::Conflict { .. } => "conflict",
            Self::Refused(_) => "refused",
        }
    }
}

/// What may differ between two tellings of the same leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictField {
    /// The amount.
    Amount,
    /// The currency.
    Currency,
    /// The e-mail address (compared by digest).
    Email,
    /// The whole body, under one `Idempotency-Key`.
    Body,
}

/// Why a request was not accepted: the shape of every error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// A stable word for programs.
    pub code: std::borrow::Cow<'static, str>,
    /// A sentence for people: what is wrong and what to do. Never repeats the caller's data.
    pub message: String,
    /// The field at fault; null where no field is.
    pub field: Option<std::borrow::Cow<'static, str>>,
}

impl Refusal {
    /// A refusal that blames a field.
    pub fn of(code: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), field: Some(field.into()) }
    }

    /// A refusal where no field is at fault.
    pub fn whole(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), field: None }
    }
}

/// A verdict on its way to the door that asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The raw event it answers.
    pub raw_id: Uuid,
    /// The partition of raw in which it stands, so that a door knows which judges are at work.
    pub raw_partition: u32,
    /// The answer.
    #[serde(flatten)]
    pub verdict: Verdict,
}
