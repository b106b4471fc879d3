//! A step: rows, records and consumed offsets that become true together.

use schemas::{row::Row, topic::Group};

/// What becomes true together.
#[derive(Debug, Default)]
pub struct Step {
    /// Which step of the way this is, for pauses in tests and for metrics: `judge`, `intent`, `outcome`, …
    pub name: &'static str,
    /// Rows of the ledger.
    pub rows: Vec<Row>,
    /// Records of the log.
    pub records: Vec<Record>,
    /// What was consumed.
    pub consumed: Vec<Consumed>,
}

impl Step {
    /// An empty step of that name.
    pub fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }
}

/// One record of a step: the same shape as one that is appended by itself. Its partition follows from its key.
pub type Record = crate::log::Append;

/// Everything below an offset was consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// Who consumed.
    pub group: Group,
    /// The partition of the group's topic.
    pub partition: u32,
    /// The next offset to read.
    pub next_offset: u64,
    /// A note for the next start.
    pub metadata: Option<String>,
}

/// Why a step is not known to be true. In both cases the same step may be made again after a restart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The store is closing; nothing became true.
    #[error("the store is closing")]
    Closed,
    /// The engine failed: the step is wholly there or wholly absent after a restart.
    #[error("the store failed: {0}")]
    Lost(String),
}
