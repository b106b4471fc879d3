//! The log as rooms see it: append, read, and what was committed.

use bytes::Bytes;
use schemas::{envelope::Position, time::Time, topic::Topic};

use crate::{cluster, embedded::Cursor, engine::Engine};

/// One record to append.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where to.
    pub topic: Topic,
    /// Determines the partition.
    pub key: Bytes,
    /// The record's JSON.
    pub value: Bytes,
    /// When it was made; retention counts from here.
    pub time: Time,
}

/// Why an append did not happen. Only [`AppendError::Lost`] leaves open whether it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The volume is nearly full; nothing was written. Try again when space was made.
    #[error("the volume has less free space than storage.free_bytes_min")]
    Full,
    /// Too much waits for the brokers already; nothing was written. Try again a little later.
    #[error("the log is not keeping up: {0}")]
    Busy(String),
    /// The store is closing; nothing was written.
    #[error("the store is closing")]
    Closed,
    /// The engine failed while it was being written: it may or may not be there.
    #[error("the store failed: {0}")]
    Lost(String),
}

/// Appends durably. Cheap to clone.
#[derive(Clone)]
pub struct Appender {
    engine: Engine,
}

impl Appender {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Appends all records in one batch; answers their positions once they would survive. Waits while too much is queued.
    pub async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, AppendError> {
        self.engine.append(records).await
    }

    /// Whether an append would be tried now: false while the volume is too full or after a failure. For
    /// readiness.
    pub fn accepts(&self) -> bool {
        self.engine.accepts()
    }

    /// Whether the last append of this process worked and no server was lost since, as far as is known. For readiness: else somebody must
    /// try.
    pub fn last_worked(&self) -> bool {
        self.engine.last_append_worked()
    }
}

/// A record as read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where it stands.
    pub position: Position,
    /// Its key.
    pub key: Bytes,
    /// Its JSON.
    pub value: Bytes,
    /// When it was made.
    pub time: Time,
}

/// Why the log or the ledger cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
    /// The engine failed, or what it holds is damaged.
    #[error("the store cannot be read: {0}")]
    Failed(String),
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read; 0 if nothing was committed.
    pub next_offset: u64,
    /// The committer's own note.
    pub metadata: Option<String>,
}

/// Reads one partition in order. Offsets rise and may have gaps: a log may keep marks of its own between records.
pub struct Reader(pub(crate) Source);

/// Each engine reads in its own way.
pub(crate) enum Source {
    Embedded(Cursor),
    Cluster(cluster::Lane),
}

impl Reader {
    /// The next records, at least one: waits until there are some. At most `records_max`, and about `bytes_max`. Cancel-safe: dropped
    /// while it waits, it has read nothing.
    pub async fn next(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        match &mut self.0 {
            Source::Embedded(cursor) => cursor.next(records_max, bytes_max).await,
            Source::Cluster(lane) => lane.next(records_max, bytes_max).await,
        }
    }

    /// The next records without waiting for new ones: empty at the end of the log.
    pub async fn available(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        match &mut self.0 {
            Source::Embedded(cursor) => cursor.available(records_max, bytes_max).await,
            Source::Cluster(lane) => lane.available(records_max, bytes_max).await,
        }
    }

    /// The offset that will be read next.
    pub fn position(&self) -> u64 {
        match &self.0 {
            Source::Embedded(cursor) => cursor.position(),
            Source::Cluster(lane) => lane.position(),
        }
    }
}
