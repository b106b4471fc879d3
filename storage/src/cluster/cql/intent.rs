//! Table `intents`: the attempts of a dispatch partition.

use std::ops::Range;

use schemas::row::Intent;

use super::{
    Ledger,
    at_once::{Reads, Writes},
    cell,
    error::LedgerError,
    key::attempt_bucket,
    stamp,
    statement::Statement,
};

const TABLE: &str = "intents";

/// Buckets read at one time.
const BUCKETS_AT_ONCE: usize = 8;

impl Ledger {
    /// Writes attempts that are about to be made by the owner of that epoch; false: another owner has taken over, nothing may be sent.
    ///
    /// First the rows, then one conditional write for all of them: whoever takes over after it was made finds the rows, and whoever took
    /// over before it makes it fail. At the same time would be faster by one answer, and a new owner could miss an attempt that is then
    /// made after all.
    pub(crate) async fn intend(&self, partition: u32, epoch: i64, intents: &[&Intent]) -> Result<bool, LedgerError> {
        if let Some(odd) = intents.iter().find(|intent| intent.settled || intent.partition != partition) {
            return Err(LedgerError::Damaged(format!("attempt {} is no open one of partition {partition}", odd.attempt)));
        }
        let Some(highest) = intents.iter().map(|intent| intent.attempt).max() else { return Ok(true) };
        let mut writes = Writes::at_most(self.client().in_flight_max);
        for intent in intents {
            writes.push(self.write_intent(epoch, intent)).await?;
        }
        writes.finish().await?;
        self.begin_attempt(partition, epoch, highest).await
    }

    /// Writes one attempt under its owner's epoch; settled goes over open.
    pub(super) async fn write_intent(&self, epoch: i64, intent: &Intent) -> Result<(), LedgerError> {
        let (bucket, attempt) = (attempt_bucket(intent.attempt), intent.attempt as i64);
        let values = (intent.partition as i32, bucket, attempt, cell::text(intent), stamp::intent(epoch, intent), stamp::INTENT_S);
        self.client().run(Statement::WriteIntent, values).await.map(drop)
    }

    /// Attempts of a partition from one on and below another that are not settled, in order.
    pub(crate) async fn open_intents(&self, partition: u32, from_attempt: u64, below: u64) -> Result<Vec<Intent>, LedgerError> {
        if from_attempt >= below {
            return Ok(Vec::new());
        }
        let mut reads = Reads::at_most(BUCKETS_AT_ONCE);
        for bucket in attempt_bucket(from_attempt)..=attempt_bucket(below - 1) {
            reads.push(self.open_in(partition, bucket, from_attempt..below)).await?;
        }
        Ok(reads.finish().await?.concat())
    }

    async fn open_in(&self, partition: u32, bucket: i64, attempts: Range<u64>) -> Result<Vec<Intent>, LedgerError> {
        let values = (partition as i32, bucket, attempts.start as i64, attempts.end as i64);
        let mut open = Vec::new();
        for (text,) in self.client().all::<(String,)>(Statement::ReadIntents, values).await? {
            let intent: Intent = cell::read(TABLE, &text)?;
            if !intent.settled {
                open.push(intent);
            }
        }
        Ok(open)
    }
}
