//! A reader of one partition: asks the log from its offset on, and waits for growth at the end.

use std::sync::Arc;

use schemas::topic::Topic;

use super::Embedded;
use crate::log::{ReadError, Stored};

/// Where a reader of a partition stands.
pub(crate) struct Cursor {
    engine: Arc<Embedded>,
    topic: Topic,
    partition: u32,
    next: u64,
}

impl Cursor {
    pub(crate) fn new(engine: Arc<Embedded>, topic: Topic, partition: u32, from: u64) -> Self {
        Self { engine, topic, partition, next: from }
    }

    pub(crate) async fn next(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        loop {
            let batch = self.available(records_max, bytes_max).await?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            self.engine.grown(self.topic, self.partition, self.next).await?;
        }
    }

    pub(crate) async fn available(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        let batch = self.engine.read(self.topic, self.partition, self.next, records_max, bytes_max).await?;
        if let Some(last) = batch.last() {
            self.next = last.position.offset + 1;
        }
        Ok(batch)
    }

    pub(crate) fn position(&self) -> u64 {
        self.next
    }
}
