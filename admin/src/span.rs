//! Dispatches of one partition of the log up to an end, a page at a time: a long walk takes no memory, and what comes meanwhile is not met.

use schemas::topic::{Group, Topic};
use storage::{ReadError, Reader, Storage, Stored};

/// Records in a page at most: also what a replay appends at a time.
const RECORDS_AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// What is left of a walk.
pub(crate) struct Span {
    reader: Reader,
    end: u64,
}

impl Span {
    /// From an offset up to an end.
    pub(crate) fn new(storage: &Storage, partition: u32, from: u64, end: u64) -> Self {
        Self { reader: storage.reader(Topic::Dispatch, partition, from), end }
    }

    /// What the sink had not consumed when this was asked.
    pub(crate) async fn unread(storage: &Storage, partition: u32) -> Result<Self, ReadError> {
        let from = storage.committed(Group::Capi, partition).await?.next_offset;
        let (_, end) = storage.bounds(Topic::Dispatch, partition).await?;
        Ok(Self::new(storage, partition, from, end))
    }

    /// The next page; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Stored>>, ReadError> {
        if self.reader.position() >= self.end {
            return Ok(None);
        }
        let mut records = self.reader.available(RECORDS_AT_ONCE, BYTES_AT_ONCE).await?;
        let is_over = records.is_empty();
        records.retain(|record| record.position.offset < self.end);
        Ok((!is_over).then_some(records))
    }
}
