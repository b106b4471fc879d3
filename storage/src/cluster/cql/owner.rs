//! Table `owners`: who sends a partition of `dispatch`. The only conditional writes of the ledger.
//!
//! An error of a conditional write does not say that it was not made. So it is looked up with a serial read, which sees every conditional
//! write that was begun: an epoch is ours if the row says so, whichever answer was lost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

use super::{
    Ledger,
    conditional::{Said, said},
    error::LedgerError,
    statement::Statement,
};

/// Tries before the caller is asked to try again: others may be taking over too, or answers get lost.
const TRIES: u32 = 5;
/// Before the first attempt.
const NO_ATTEMPT: i64 = -1;

/// What stands in the row.
#[derive(Clone, Copy, Debug)]
struct Standing {
    epoch: i64,
    owner: Uuid,
    attempt: i64,
}

/// One conditional write of this process at a time for each partition: on the server they would only hinder each other.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<u32, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, partition: u32) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(partition).or_default())
    }
}

impl Ledger {
    /// Makes `owner` the owner of a dispatch partition: answers its epoch, higher than every one before, and the number of the next
    /// attempt. From then on an older owner's `intend` answers false.
    pub(crate) async fn take_over(&self, partition: u32, owner: Uuid) -> Result<(i64, u64), LedgerError> {
        let turns = self.turns().of(partition);
        let _turn = turns.lock().await;
        let mut lost = LedgerError::Transient(format!("others are taking over dispatch partition {partition}"));
        for _ in 0..TRIES {
            let before = self.standing(partition).await?;
            let epoch = before.map_or(0, |standing| standing.epoch) + 1;
            let answer = match before {
                None => self.conditional(Statement::FirstOwner, (partition as i32, epoch, owner, NO_ATTEMPT)).await,
                Some(before) => self.conditional(Statement::NextOwner, (epoch, owner, partition as i32, before.epoch)).await,
            };
            if let Ok(Said::Refused { .. }) = answer {
                continue;
            }
            // Read after the epoch is ours: the one before may have begun attempts until then, and none after.
            match self.standing(partition).await? {
                Some(now) if now.epoch == epoch && now.owner == owner => return Ok((epoch, next(now.attempt))),
                // Taken over again since: the first attempt will tell.
                Some(now) if answer.is_ok() => return Ok((epoch, next(now.attempt))),
                _ => lost = answer.err().unwrap_or(lost),
            }
        }
        Err(lost)
    }

    /// Notes that attempts up to this one begin, if the epoch is still the partition's: false if it is not.
    pub(super) async fn begin_attempt(&self, partition: u32, epoch: i64, attempt: u64) -> Result<bool, LedgerError> {
        let attempt = attempt as i64;
        let turns = self.turns().of(partition);
        let _turn = turns.lock().await;
        let mut lost = None;
        for _ in 0..TRIES {
            // The second condition keeps the number from falling: attempts of several pixels may be noted out of order, and one whose
            // answer was lost may arrive late.
            let answer = self.conditional(Statement::BeginAttempt, (attempt, partition as i32, epoch, attempt)).await;
            let (now, highest) = match answer {
                Ok(Said::Applied) => return Ok(true),
                Ok(Said::Refused { epoch, attempt }) => (epoch, attempt),
                Err(cause) => {
                    lost = Some(cause);
                    let standing = self.standing(partition).await?;
                    (standing.map(|standing| standing.epoch), standing.map(|standing| standing.attempt))
                }
            };
            if now != Some(epoch) {
                return Ok(false);
            }
            if highest.is_some_and(|highest| highest >= attempt) {
                return Ok(true);
            }
        }
        Err(lost.unwrap_or_else(|| LedgerError::Transient(format!("attempt {attempt} of dispatch partition {partition} was refused"))))
    }

    async fn standing(&self, partition: u32) -> Result<Option<Standing>, LedgerError> {
        let rows = self.client().rows(Statement::ReadOwner, (partition as i32,)).await?;
        let row = rows.maybe_first_row::<(i64, Uuid, i64)>().map_err(|cause| LedgerError::row("owners", cause))?;
        Ok(row.map(|(epoch, owner, attempt)| Standing { epoch, owner, attempt }))
    }

    async fn conditional(&self, statement: Statement, values: impl scylla::serialize::row::SerializeRow) -> Result<Said, LedgerError> {
        said(&self.client().rows(statement, values).await?)
    }
}

fn next(attempt: i64) -> u64 {
    u64::try_from(attempt.saturating_add(1)).unwrap_or_default()
}
