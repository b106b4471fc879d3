//! When a folder is empty of work: the judge has read raw to its end, and the sink dispatch. What cannot be sent now waits in the ledger.

use std::time::Duration;

use anyhow::bail;
use schemas::topic::{Group, Topic};
use storage::{ReadError, Storage};
use tokio::time::Instant;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longer than any request to Meta and its retries within a lane: if nothing moved for so long, nothing will.
const STANDSTILL: Duration = Duration::from_secs(120);

/// Records that were not consumed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub raw: u64,
    pub dispatch: u64,
}

impl Left {
    /// Counts them. Raw first: when nothing is left of it, no more dispatches come.
    pub async fn of(storage: &Storage) -> Result<Self, ReadError> {
        Ok(Self { raw: lag(storage, Group::Processor).await?, dispatch: lag(storage, Group::Capi).await? })
    }

    pub fn is_nothing(self) -> bool {
        self.raw == 0 && self.dispatch == 0
    }
}

/// Waits until nothing is left. Whoever calls this has seen to it that nothing comes in, and that judge and sink are at work.
pub async fn until_drained(storage: &Storage) -> anyhow::Result<()> {
    let mut last = (Left::of(storage).await?, Instant::now());
    while !last.0.is_nothing() {
        tokio::time::sleep(LOOK_EVERY).await;
        let left = Left::of(storage).await?;
        if left != last.0 {
            last = (left, Instant::now());
        } else if last.1.elapsed() > STANDSTILL {
            bail!(
                "{} raw events and {} dispatches are not finished, and nothing moves any more: the log says what stands in the way",
                left.raw,
                left.dispatch
            );
        }
    }
    Ok(())
}

/// Whether an attempt of the sink has no outcome yet.
pub async fn has_open_attempts(storage: &Storage) -> Result<bool, ReadError> {
    for partition in 0..storage.partitions(Topic::Dispatch) {
        if !storage.deliveries().open_intents(partition, 0, u64::MAX).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn lag(storage: &Storage, group: Group) -> Result<u64, ReadError> {
    let mut lag = 0;
    for partition in 0..storage.partitions(group.topic()) {
        let (_, end) = storage.bounds(group.topic(), partition).await?;
        lag += end.saturating_sub(storage.committed(group, partition).await?.next_offset);
    }
    Ok(lag)
}
