//! Old records leave the topics that our groups consume: those older than their topic is kept *and* below what the group has committed.
//! The brokers know no such rule, so these topics have no limit there and whoever works on a partition deletes from it. The other topics
//! are the brokers' to age.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    error::KafkaError,
};
use schemas::{
    time::{DAY_US, Time},
    topic::Group,
};
use tokio::sync::watch;

use super::{client::Plain, commit::now, membership::Membership, metrics::Metrics, names::Names, offsets::Asker};
use crate::log::ReadError;

/// The age counts in days.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// So soon while no partition is ours yet.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);

/// What the keeper of one group works with.
pub(super) struct Keeper {
    pub(super) settings: ClientConfig,
    pub(super) asker: Asker,
    pub(super) names: Arc<Names>,
    pub(super) member: Arc<Membership>,
    pub(super) group: Group,
    pub(super) metrics: Metrics,
    pub(super) closed: watch::Receiver<bool>,
}

impl Keeper {
    /// Keeps at it until the store closes or the member leaves.
    pub(super) async fn run(self) {
        let admin: AdminClient<Plain> = match self.settings.create() {
            Ok(admin) => admin,
            Err(error) => {
                tracing::warn!(group = self.group.name(), %error, "no client for deletions: old records stay");
                return;
            }
        };
        let mut closed = self.closed.clone();
        while !self.member.is_leaving() {
            let held = self.member.partitions();
            match self.delete_from(&admin, &held).await {
                Ok(()) => {}
                Err(ReadError::Closed) => return,
                Err(error) => {
                    self.metrics.retention_failures.with_label_values(&[self.group.topic().name()]).inc();
                    tracing::warn!(
                        topic = self.group.topic().name(),
                        %error,
                        "old records cannot be deleted, so the topic grows: this client needs DESCRIBE and DELETE on it; it tries again in an hour"
                    );
                }
            }
            tokio::select! {
                _ = closed.wait_for(|closed| *closed) => return,
                () = tokio::time::sleep(if held.is_empty() { LOOK_AGAIN } else { LOOK_EVERY }) => {}
            }
        }
    }

    /// Deletes what may go from these partitions.
    async fn delete_from(&self, admin: &AdminClient<Plain>, partitions: &[u32]) -> Result<(), ReadError> {
        let topic = self.group.topic();
        let Some(days) = topic.keep_days() else { return Ok(()) };
        let cutoff = Time::from_micros(now().micros() - i64::from(days) * DAY_US);
        let mut below = TopicPartitionList::new();
        for partition in partitions.iter().copied() {
            let (begin, _) = self.asker.bounds(topic, partition).await?;
            let young = self.asker.first_since(topic, partition, cutoff).await?;
            let keep_from = young.min(self.asker.committed(self.group, partition).await?.next_offset);
            if keep_from > begin {
                let offset = Offset::Offset(keep_from as i64);
                below.add_partition_offset(self.names.of(topic).0, partition as i32, offset).map_err(failed)?;
            }
        }
        if below.count() == 0 {
            return Ok(());
        }
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for partition in admin.delete_records(&below, &options).await.map_err(failed)?.elements() {
            partition.error().map_err(failed)?;
        }
        tracing::info!(topic = topic.name(), partitions = below.count(), days, "old records that were read are deleted");
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn failed(error: KafkaError) -> ReadError {
    ReadError::Failed(error.to_string())
}
