//! A step: rows, records and consumed offsets that become true together.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use schemas::{envelope::Position, row::Row, topic::Group, verdict::Answer};

use crate::claims::LeaseId;

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
    /// Verdicts for doors that wait. A verdict is a function of the log: they leave as soon as the rows are durable.
    pub answers: Vec<Reply>,
}

impl Step {
    /// An empty step of that name.
    pub fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }
}

/// A step of which the rows are durable and the verdicts gone; awaiting it says when the rest is true, and where its records stand.
/// Steps of one partition become true in the order in which they were begun. Dropped, it becomes true all the same.
pub struct Begun(pub(crate) BoxFuture<'static, Result<Vec<Position>, CommitError>>);

impl Future for Begun {
    type Output = Result<Vec<Position>, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// A verdict and the door that waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The partition of verdicts that the door reads (`reply_to` of the raw event).
    pub to: u32,
    /// What it is told.
    pub answer: Answer,
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
    /// Under which lease. Without one whoever may work on the partition may make the step.
    pub lease: Option<LeaseId>,
}

/// Why a step is not known to be true. In every case the same step may be made again, by whoever works on the partition then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The partition was given to another process; it makes the step again. Whoever is told this stops working on the partition.
    #[error("the partition is now another process's")]
    Fenced,
    /// The store is closing; nothing became true.
    #[error("the store is closing")]
    Closed,
    /// The engine failed: the step is wholly there or wholly absent after a restart.
    #[error("the store failed: {0}")]
    Lost(String),
}
