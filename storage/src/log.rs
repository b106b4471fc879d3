//! The log as rooms see it: append, read, and what was committed.

use bytes::Bytes;
use schemas::{envelope::Position, time::Time, topic::Topic};

use crate::engine::Engine;

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
    /// The store is closing; nothing was written.
    #[error("the store is closing")]
    Closed,
    /// The engine failed while it was being written: it may or may not be there after a restart.
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

    /// Whether an append would be tried now: false while the volume is too full or after a failure. For readiness.
    pub fn accepts(&self) -> bool {
        self.engine.accepts()
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

/// Reads one partition in order.
pub struct Reader {
    engine: Engine,
    topic: Topic,
    partition: u32,
    next: u64,
}

impl Reader {
    pub(crate) fn new(engine: Engine, topic: Topic, partition: u32, from: u64) -> Self {
        Self { engine, topic, partition, next: from }
    }

    /// The next records, at least one: waits until there are some. At most `records_max`, and about `bytes_max`. Cancel-safe: dropped
    /// while it waits, it has read nothing.
    pub async fn next(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        loop {
            let batch = self.engine.read(self.topic, self.partition, self.next, records_max, bytes_max).await?;
            if let Some(last) = batch.last() {
                self.next = last.position.offset + 1;
                return Ok(batch);
            }
            self.engine.grown(self.topic, self.partition, self.next).await?;
        }
    }

    /// The next records without waiting: empty at the end of the log.
    pub async fn available(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        let batch = self.engine.read(self.topic, self.partition, self.next, records_max, bytes_max).await?;
        if let Some(last) = batch.last() {
            self.next = last.position.offset + 1;
        }
        Ok(batch)
    }

    /// The offset that will be read next.
    pub fn position(&self) -> u64 {
        self.next
    }
}
