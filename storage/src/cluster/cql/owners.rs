//! Owners of dispatch partitions and their attempts: the only conditional writes of the system, one per request to Meta.
//!
//! A condition's answer may be lost. Then the row is read as all conditional writes before it left it: if it says what we wanted to
//! write, under our own name, we wrote it.

use schemas::row::Intent;
use scylla::{response::query_result::QueryResult, value::Row as AnyRow};
use uuid::Uuid;

use super::{Ledger, LedgerError, from_json, shape, statements::Asked, write};

const TABLE: &str = "owners";
/// Bits of a stamp below the epoch.
const EPOCH_SHIFT: u32 = 40;
/// Attempts in one partition of `intents`.
const BUCKET: u64 = 1_024;

/// The epoch in a stamp of the sink.
pub(super) fn epoch(stamp: i64) -> i64 {
    stamp >> EPOCH_SHIFT
}

/// The stamp of an intent's row: an older owner's loses, and settling goes above opening.
pub(super) fn intent_stamp(epoch: i64, attempt: u64, is_settled: bool) -> i64 {
    (epoch << EPOCH_SHIFT) + attempt as i64 * 2 + i64::from(is_settled)
}

/// Where an attempt stands.
pub(super) fn bucket(attempt: u64) -> i64 {
    (attempt / BUCKET) as i64
}

/// One row of `owners`.
struct Owner {
    epoch: i64,
    by: Uuid,
    attempt: i64,
}

impl Ledger {
    /// Makes this process the owner, under a rising epoch. Answers the epoch and the number of the next attempt.
    pub(crate) async fn take_over(&self, partition: u32, owner: Uuid) -> Result<(i64, u64), LedgerError> {
        loop {
            let before = self.owner(partition).await?;
            let (epoch, applied) = match &before {
                None => {
                    let values = (partition as i32, 1_i64, owner, -1_i64);
                    (1, self.conditional(&self.statements()?.first_owner, values).await)
                }
                Some(before) => {
                    let values = (before.epoch + 1, owner, partition as i32, before.epoch);
                    (before.epoch + 1, self.conditional(&self.statements()?.next_owner, values).await)
                }
            };
            if applied.is_err() {
                applied?; // try again from the beginning: a second take-over only raises the epoch once more
            }
            // The attempt is read after the take-over: from here on no former owner can raise it.
            if let Some(now) = self.owner(partition).await?.filter(|now| now.epoch == epoch && now.by == owner) {
                return Ok((epoch, (now.attempt + 1) as u64));
            }
        }
    }

    /// Puts attempts on record before they are made. `false`: another owner has taken over, and nothing may be sent.
    pub(crate) async fn intend(&self, partition: u32, epoch: i64, intents: &[&Intent]) -> Result<bool, LedgerError> {
        let Some(highest) = intents.iter().map(|intent| intent.attempt).max() else { return Ok(true) };
        // The rows first: whoever takes over reads the highest number, and must find the row of every attempt below it.
        let to = self.statements()?;
        self.put(intents.iter().map(|intent| write::put_intent(to, intent, epoch)).collect()).await?;
        self.own_attempt(partition, epoch, highest).await
    }

    async fn own_attempt(&self, partition: u32, epoch: i64, highest: u64) -> Result<bool, LedgerError> {
        let highest = highest as i64;
        let answer = self.conditional(&self.statements()?.own_attempt, (highest, partition as i32, epoch, highest)).await;
        if matches!(answer, Ok(true)) {
            return Ok(true);
        }
        // Not applied, or the answer was lost: then an earlier try may have been, under our own epoch.
        match self.owner(partition).await? {
            Some(now) if now.epoch != epoch => Ok(false),
            Some(now) if now.attempt >= highest => Ok(true),
            _ => Err(answer.err().unwrap_or_else(|| LedgerError::Transient("the attempt was not put on record".to_owned()))),
        }
    }

    async fn owner(&self, partition: u32) -> Result<Option<Owner>, LedgerError> {
        let answer = self.run(&self.statements()?.get_owner, (partition as i32,)).await?;
        let answer = answer.into_rows_result().map_err(|error| shape(TABLE, &error))?;
        let row = answer.maybe_first_row::<(i64, Uuid, i64)>().map_err(|error| shape(TABLE, &error))?;
        Ok(row.map(|(epoch, by, attempt)| Owner { epoch, by, attempt }))
    }

    async fn conditional(&self, asked: &Asked, values: impl scylla::serialize::row::SerializeRow) -> Result<bool, LedgerError> {
        applied(self.run(asked, values).await?)
    }

    /// Attempts of a partition that are not settled, in order.
    pub(crate) async fn open_intents(&self, partition: u32, from: u64, below: u64) -> Result<Vec<Intent>, LedgerError> {
        let mut open = Vec::new();
        if from >= below {
            return Ok(open);
        }
        for bucket in bucket(from)..=bucket(below - 1) {
            let values = (partition as i32, bucket, from as i64, below as i64);
            for (is_settled, intent) in self.all_rows::<(bool, String)>(&self.statements()?.get_intents, values, "intents").await? {
                if !is_settled {
                    open.push(from_json("intents", &intent)?);
                }
            }
        }
        Ok(open)
    }
}

/// Whether a conditional write was applied: the first column, whatever stands beside it. ScyllaDB always sends the whole row, Cassandra
/// only when it was not applied.
fn applied(answer: QueryResult) -> Result<bool, LedgerError> {
    let answer = answer.into_rows_result().map_err(|error| shape(TABLE, &error))?;
    let row = answer.first_row::<AnyRow>().map_err(|error| shape(TABLE, &error))?;
    let first = row.columns.first().and_then(|column| column.as_ref()).and_then(scylla::value::CqlValue::as_boolean);
    first.ok_or_else(|| LedgerError::Damaged(TABLE, "a conditional write did not say whether it was applied".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_owners_intent_goes_above_and_settling_above_opening() {
        assert!(intent_stamp(1, 5, true) > intent_stamp(1, 5, false));
        assert!(intent_stamp(2, 0, false) > intent_stamp(1, (1 << 38) - 1, true));
        assert_eq!(epoch(intent_stamp(7, 9, true)), 7);
        assert_eq!((bucket(1_023), bucket(1_024)), (0, 1));
    }
}
