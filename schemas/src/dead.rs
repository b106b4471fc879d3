//! What could not be accepted as it came: the topic `dead`. It points at the raw record instead of repeating it, so that clear
//! personal fields stand nowhere longer than in raw.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{envelope::Position, id::FunnelId, time::Time, verdict::ConflictField};

/// One record of the topic `dead`. Key: the source record's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dead {
    /// The raw record's id; nil if it could not even be read.
    pub id: Uuid,
    /// The version of these words.
    pub version: u16,
    /// The funnel, if it could be read.
    pub funnel_id: Option<FunnelId>,
    /// When the source record was received.
    pub received_at: Time,
    /// Where the source record stands in raw.
    pub position: Position,
    /// Why it is here.
    #[serde(flatten)]
    pub reason: DeadReason,
}

/// Why a record is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum DeadReason {
    /// A known leg said something else; the first stays.
    Conflict {
        /// What differed.
        differences: Vec<Difference>,
    },
    /// The judge could not accept what the door let through.
    Refused {
        /// A stable word.
        code: String,
        /// In words.
        message: String,
    },
}

/// One field that differed between two tellings of the same leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The field.
    pub field: ConflictField,
    /// What was told first, and stays; a digest for `email` and `body`.
    pub first: String,
    /// What was told now.
    pub now: String,
}
