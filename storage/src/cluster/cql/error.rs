//! What can go wrong between us and the CQL server, and what to do about it.

use std::fmt::Display;

/// Why the ledger did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LedgerError {
    /// Try again: the server, or the way there, said no for now. A write may have happened; made again it changes nothing.
    #[error("the CQL server does not answer as it should: {0}")]
    Transient(String),
    /// It would fail the same way again: what is stored cannot be read, or what was asked makes no sense.
    #[error("the ledger cannot be read: {0}")]
    Damaged(String),
}

impl LedgerError {
    /// The server, the network or the driver said no.
    pub(super) fn transient(cause: impl Display) -> Self {
        Self::Transient(cause.to_string())
    }

    /// A row of that table is not what we write.
    pub(super) fn row(table: &str, cause: impl Display) -> Self {
        Self::Damaged(format!("a row of {table} is damaged: {cause}"))
    }
}
