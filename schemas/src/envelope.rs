//! What every record carries: who, when, where from, and which version of the words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// The kinds of records that carry the head which [`crate::fact`] gives them: id, kind, version, funnel, workspace, times, position.
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
