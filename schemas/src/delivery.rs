//! A delivery: what became of a dispatch. It waits until it has its one outcome.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    dispatch::Replay,
    envelope::{Kind, Position},
    fact::record,
    id::{FunnelId, PixelId, WorkspaceId},
    time::Time,
};

/// How a delivery ended. Exactly one per delivery, never changed but by an operator's replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
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
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 5] = [Self::Delivered, Self::Rejected, Self::Expired, Self::Cancelled, Self::Unknown];

    /// The outcome's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

/// One POST that carried this delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// The attempt's number in its dispatch partition: every POST is preceded by a durable intent with this number.
    pub number: u64,
    /// When the intent was written.
    pub at: Time,
    /// HTTP status of the answer; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Meta's error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Meta's error subcode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subcode: Option<i64>,
    /// Meta's support id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Whether Meta may have taken the event although we saw no answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
}

/// Why a delivery did not end as delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// A stable word: `meta` for Meta's own refusal, or the name of our rule.
    pub code: String,
    /// In words a marketer understands.
    pub message: String,
}

record! {
    /// What became of a dispatch: a row of the table and, once it has its outcome, a record of the topic.
    Delivery {
        /// Meta's id of the pixel.
        pub pixel_id: PixelId,
        /// The event's name at Meta.
        pub event_name: String,
        /// The event's id at Meta.
        pub event_id: String,
        /// With the pixel, the key of the delivery.
        pub dedup_key: String,
        /// The revision that was sent, or waits to be.
        pub revision: u32,
        /// A later revision that came when an attempt was already made, and was not sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub noted_revision: Option<u32>,
        /// The outcome; `waiting` on the wire while there is none.
        #[serde(with = "outcome_or_waiting")]
        #[schemars(with = "String", extend("enum" = ["waiting", "delivered", "rejected", "expired", "cancelled", "unknown"]))]
        pub outcome: Option<Outcome>,
        /// When the outcome was written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub settled_at: Option<Time>,
        /// How many POSTs carried it.
        pub attempts: u32,
        /// How many of them were ambiguous.
        pub ambiguous_attempts: u32,
        /// Those POSTs in order; at most the last [`ATTEMPTS_KEPT`].
        pub attempt_log: Vec<Attempt>,
        /// When the first ambiguous attempt was made: it may be sent again until 47 h later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub first_ambiguous_at: Option<Time>,
        /// Why it did not end as delivered, or why it still waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<Reason>,
        /// The last replay, and the outcome that it took back: the delivery is told once more, and the newest replaces. Attempts are
        /// counted on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub replayed: Option<Replay>,
    }
}

/// A delivery as it is written: into its table and, once it has its outcome, into its topic. Its JSON is made once for both.
#[derive(Clone, Debug)]
pub struct Written {
    delivery: Delivery,
    json: String,
}

impl Written {
    /// What is written of this delivery.
    pub fn new(delivery: Delivery) -> Self {
        let json = serde_json::to_string(&delivery).expect("plain values under text keys");
        Self { delivery, json }
    }

    /// Its JSON.
    pub fn json(&self) -> &str {
        &self.json
    }
}

impl std::ops::Deref for Written {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

/// Attempts kept in a delivery; older ones are only counted, so that a week of retries keeps a bound.
pub const ATTEMPTS_KEPT: usize = 20;

impl Delivery {
    /// Notes one more POST, keeping the log within its bound.
    pub fn note(&mut self, attempt: Attempt) {
        self.attempts += 1;
        if attempt.ambiguous {
            self.ambiguous_attempts += 1;
            self.first_ambiguous_at.get_or_insert(attempt.at);
        }
        if self.attempt_log.len() == ATTEMPTS_KEPT {
            self.attempt_log.remove(0);
        }
        self.attempt_log.push(attempt);
    }
}

mod outcome_or_waiting {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Outcome;

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Standing {
        Waiting,
        #[serde(untagged)]
        Ended(Outcome),
    }

    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
    pub fn serialize<S: Serializer>(outcome: &Option<Outcome>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(outcome.map_or("waiting", Outcome::name))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Outcome>, D::Error> {
        Ok(match Standing::deserialize(from)? {
            Standing::Waiting => None,
            Standing::Ended(outcome) => Some(outcome),
        })
    }
}
