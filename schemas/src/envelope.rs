//! What every record carries: who, when, where from, and which version of the words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    id::{FunnelId, WorkspaceId},
    time::Time,
};

/// The version of the records this build writes. A reader that meets a newer one stops and says so: it is not poison.
pub const VERSION: u16 = 1;

/// A place in the log. Within one partition of one topic generation offsets rise without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// Rises when a topic is made anew; every position of a later generation is after every earlier one.
    pub generation: u32,
    /// The partition of the topic.
    pub partition: u32,
    /// The record's number within the partition, from 0.
    pub offset: u64,
}

impl Position {
    /// The write timestamp of rows stamped by position: generation·2^40 + offset, so that a rewrite is harmless.
    pub fn stamp(self) -> i64 {
        (i64::from(self.generation) << 40) + self.offset as i64
    }

    /// Whether this position comes before the other in their common partition.
    pub fn is_before(self, other: Self) -> bool {
        (self.generation, self.offset) < (other.generation, other.offset)
    }
}

/// The head of every fact and dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// The id of the raw record that caused this one: unique within a topic, revision by revision.
    pub id: Uuid,
    /// What kind of record this is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The version of its words.
    pub version: u16,
    /// The funnel it belongs to.
    pub funnel_id: FunnelId,
    /// The funnel's workspace.
    pub workspace_id: WorkspaceId,
    /// When it happened, by the sender's clock corrected by ours; never after `received_at`.
    pub occurred_at: Time,
    /// When the door received it.
    pub received_at: Time,
    /// Where the raw record stands.
    pub position: Position,
}

/// The kinds of records that carry an [`Envelope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A concluded purchase.
    Purchase,
    /// A concluded lead.
    Lead,
    /// Any event judged First.
    Event,
    /// One fact meant for one pixel.
    Dispatch,
    /// What became of a dispatch.
    Delivery,
}
