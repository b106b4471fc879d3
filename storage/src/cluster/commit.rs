//! A step becomes true: rows, verdicts, transaction, and last what takes evidence away.
//!
//! Rows may be written as often as one likes: their stamps follow from the log or from the owner's count, so that the same row again
//! changes nothing and an older owner's late row loses. While a server is away the step waits; it ends early only when the partition is
//! lost or the store closes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use schemas::{
    envelope::Position,
    row::{Intent, Row},
    time::Time,
    topic::Group,
};

use super::{
    Cluster,
    cql::{LedgerError, Stamped},
    told,
    transactor::Answered,
    verdicts,
};
use crate::{
    log::ReadError,
    step::{Begun, CommitError, Step},
};

/// How long to wait before the ledger is asked again, at first and at most.
const AGAIN_MIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_secs(1);

impl Cluster {
    pub(crate) async fn commit(self: Arc<Self>, step: Step) -> Result<Vec<Position>, CommitError> {
        self.begin(step).await?.await
    }

    /// Rows and verdicts now; the transaction in its turn; last what takes evidence away.
    pub(crate) async fn begin(self: Arc<Self>, step: Step) -> Result<Begun, CommitError> {
        if *self.closed.borrow() {
            return Err(CommitError::Closed);
        }
        let began = Instant::now();
        let name = step.name;
        self.pauses.at(name, "before");
        let (last, answered) = self.write_first(step).await?;
        Ok(Begun(Box::pin(async move {
            let positions = match answered {
                Some(answered) => answered.await.unwrap_or(Err(CommitError::Closed))?,
                None => Vec::new(),
            };
            self.until_written(&last).await?;
            self.pauses.at(name, "after");
            self.metrics.step_seconds.with_label_values(&[name]).observe(began.elapsed().as_secs_f64());
            Ok(positions)
        })))
    }

    /// Everything before the transaction, and the transaction on its way. Answers the rows that come after it.
    async fn write_first(&self, step: Step) -> Result<(Vec<Stamped>, Option<Answered>), CommitError> {
        let Step { name, rows, records, mut consumed, answers } = step;
        let of_sink = consumed.iter().find(|consumed| consumed.group == Group::Capi).map(|consumed| consumed.partition);
        let stamps = self.count(of_sink.or_else(|| intent_partition(&rows)), rows.len() as u64);
        let Split { first, intents, last } = split(rows, stamps.first);

        self.until_written(&first).await?;
        self.intend(intents).await?;
        self.pauses.at(name, "rows");
        for reply in &answers {
            self.producer.tell(&verdicts::record(reply), reply.to);
        }
        if records.is_empty() && consumed.is_empty() {
            return Ok((last, None));
        }
        for consumed in consumed.iter_mut().filter(|consumed| consumed.group == Group::Capi) {
            consumed.metadata = Some(self.with_told(consumed.partition, &stamps, consumed.metadata.take()));
        }
        let group = consumed.first().map(|consumed| consumed.group);
        let transactor = self.transactors.get(&group).ok_or(CommitError::Closed)?;
        Ok((last, Some(transactor.begin(records, consumed)?)))
    }

    /// Stamps for so many rows, counted on from the owner's last.
    fn count(&self, sink: Option<u32>, rows: u64) -> Stamps {
        let partition = sink.unwrap_or(u32::MAX); // rows outside any partition's step: an owner of their own, epoch 0
        let mut owned = self.owned();
        let owned = owned.entry(partition).or_default();
        let first = told::stamp(owned.epoch, owned.number + 1);
        owned.number += rows;
        Stamps { epoch: owned.epoch, first, last: owned.number }
    }

    /// What is committed beside the offset: how far this owner's rows are told once the transaction is true.
    fn with_told(&self, partition: u32, stamps: &Stamps, note: Option<String>) -> String {
        let mut told = self.owned().get(&partition).map(|owned| owned.told.clone()).unwrap_or_default();
        told.note(stamps.epoch, stamps.last);
        told.with(note)
    }

    async fn until_written(&self, rows: &[Stamped]) -> Result<(), CommitError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.patiently("write", || Box::pin(self.ledger.write(rows, now()))).await.map_err(|error| match error {
            ReadError::Closed => CommitError::Closed,
            ReadError::Failed(why) => CommitError::Lost(why),
        })
    }

    /// Attempts about to be made: each is on record, and this process is still the owner.
    async fn intend(&self, intents: Vec<Intent>) -> Result<(), CommitError> {
        let Some(partition) = intents.first().map(|intent| intent.partition) else { return Ok(()) };
        let epoch = self.owned().get(&partition).map_or(0, |owned| owned.epoch);
        let intents: Vec<&Intent> = intents.iter().collect();
        let is_ours = self.patiently("intend", || Box::pin(self.ledger.intend(partition, epoch, &intents))).await;
        match is_ours {
            Ok(true) => Ok(()),
            Ok(false) => Err(CommitError::Fenced),
            Err(ReadError::Closed) => Err(CommitError::Closed),
            Err(ReadError::Failed(why)) => Err(CommitError::Lost(why)),
        }
    }

    /// Asks the ledger until it answers or the store closes.
    pub(super) async fn patiently<'a, T>(
        &self,
        question: &'static str,
        mut ask: impl FnMut() -> BoxFuture<'a, Result<T, LedgerError>> + Send,
    ) -> Result<T, ReadError> {
        let mut closed = self.closed.subscribe();
        let mut pause = AGAIN_MIN;
        let mut is_told = false;
        loop {
            let answer = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return Err(ReadError::Closed),
                answer = ask() => answer,
            };
            match answer {
                Ok(answer) => {
                    if is_told {
                        tracing::info!(question, "the ledger answers again");
                    }
                    return Ok(answer);
                }
                Err(damaged @ LedgerError::Damaged(..)) => return Err(ReadError::Failed(damaged.to_string())),
                Err(LedgerError::Transient(why)) => {
                    self.metrics.retries.with_label_values(&[question]).inc();
                    if !is_told {
                        is_told = true;
                        tracing::warn!(question, why, "the ledger does not answer; asking on");
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }
}

/// A step's stamps.
struct Stamps {
    epoch: i64,
    /// Of its first row.
    first: i64,
    /// The number of its last row.
    last: u64,
}

/// Rows by when they are written.
#[derive(Default)]
struct Split {
    /// Before the transaction.
    first: Vec<Stamped>,
    /// Attempts about to be made.
    intents: Vec<Intent>,
    /// After the transaction: they take away what a successor would find unfinished work by, or say what is only true with it.
    last: Vec<Stamped>,
}

/// Stamps rise in the order of the step, whenever a row is written: of two words about one key the later stands.
fn split(rows: Vec<Row>, first_stamp: i64) -> Split {
    let mut split = Split::default();
    for (row, stamp) in rows.into_iter().zip(first_stamp..) {
        match row {
            Row::Intent(intent) if !intent.settled => split.intents.push(intent),
            Row::Intent(_) | Row::WaitingDone { .. } | Row::DeliveryNote(_) => split.last.push(Stamped { row, stamp }),
            Row::Seen { .. }
            | Row::Purchase(_)
            | Row::Lead(_)
            | Row::Visitor(_)
            | Row::Person(_)
            | Row::PersonKey(_)
            | Row::FilterSnapshot(_)
            | Row::Delivery(_)
            | Row::Waiting(_)
            | Row::WaitingBegins(_) => split.first.push(Stamped { row, stamp }),
        }
    }
    split
}

/// The partition whose attempts are settled, where a step consumes nothing.
fn intent_partition(rows: &[Row]) -> Option<u32> {
    rows.iter().find_map(|row| match row {
        Row::Intent(intent) => Some(intent.partition),
        _ => None,
    })
}

/// The machine's clock, for how long rows are kept; what they say never depends on it.
pub(super) fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|since| Time::from_micros(since.as_micros() as i64)).unwrap_or_default()
}
