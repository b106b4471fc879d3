//! How far this process is behind in the partitions it works on, by the brokers' own numbers: the end of each, less what its group has
//! committed. Counted here and not from what was read, so that a reader that hangs shows.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use schemas::topic::Group;
use tokio::sync::watch;

use super::{membership::Membership, metrics::Metrics, offsets::Asker};
use crate::log::ReadError;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Shows it until the store closes or the member leaves. While the brokers are away it stands as they last told it.
pub(super) async fn show(asker: Asker, member: Arc<Membership>, group: Group, metrics: Metrics, mut closed: watch::Receiver<bool>) {
    let mut shown = BTreeSet::new();
    while !member.is_leaving() {
        let held: BTreeSet<u32> = member.partitions().into_iter().collect();
        for gone in shown.difference(&held) {
            let _ = metrics.lag.remove_label_values(&[group.name(), &gone.to_string()]); // it is another's to show
        }
        for partition in &held {
            let lag = match lag(&asker, group, *partition).await {
                Ok(lag) => lag,
                Err(ReadError::Closed) => return,
                Err(error) => {
                    tracing::warn!(group = group.name(), %error, "the lag is not shown any more; mend the cause and start this process again");
                    return;
                }
            };
            metrics.lag.with_label_values(&[group.name(), &partition.to_string()]).set(lag as i64);
        }
        shown = held;
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn lag(asker: &Asker, group: Group, partition: u32) -> Result<u64, ReadError> {
    let (begin, end) = asker.bounds(group.topic(), partition).await?;
    let committed = asker.committed(group, partition).await?.next_offset;
    Ok(end.saturating_sub(committed.max(begin)))
}
