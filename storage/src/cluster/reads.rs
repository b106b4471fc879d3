//! What the engine answers: the log from the brokers, the ledger from the tables. Whoever works on the log waits until there is an
//! answer; whoever only looks is told at once that there is none.

use schemas::{
    delivery::Delivery,
    fact::{Lead, Purchase},
    id::{FunnelId, PixelId, VisitorId},
    person::Digest,
    row::{FilterSnapshot, Intent, PersonKey, PersonRow, Seen, Visitor, Waiting},
    time::Time,
    topic::{Group, Topic},
};

use super::{
    Cluster, Owned,
    cql::LedgerError,
    told::{self, Told},
};
use crate::{
    ledger::{Known, KnownWaiting, Page, TakenOver},
    log::{Committed, ReadError},
};

/// The log.
impl Cluster {
    pub(crate) async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), ReadError> {
        self.asker.bounds(topic, partition).await
    }

    pub(crate) async fn committed(&self, group: Group, partition: u32) -> Result<Committed, ReadError> {
        let mut committed = self.asker.committed(group, partition).await?;
        // Asked after it: the end never lies below what was committed before.
        let (_, end) = self.bounds(group.topic(), partition).await?;
        if committed.next_offset > end {
            return Err(ReadError::Failed(format!(
                "partition {partition} of {} ends at {end}, before the committed offset {}: the log went back; restore it, or move to a new prefix",
                group.topic().name(),
                committed.next_offset
            )));
        }
        if group == Group::Capi {
            committed.metadata = Told::read(committed.metadata.as_deref()).1;
        }
        Ok(committed)
    }
}

/// The judge's tables.
impl Cluster {
    pub(crate) async fn seen(&self, keys: &[String]) -> Result<Vec<Option<Seen>>, ReadError> {
        self.patiently("seen", || Box::pin(self.ledger.seen(keys))).await
    }

    pub(crate) async fn scan_seen(&self, partition: u32, each: &mut (dyn FnMut(&str, &Seen) + Send)) -> Result<(), ReadError> {
        // Told twice, a key does no harm: a scan that breaks off begins anew, at the filter's cost, not the judge's.
        self.ledger.scan_seen(partition, each).await.map_err(failed)
    }

    pub(crate) async fn visitor(&self, funnel: &FunnelId, visitor: &VisitorId) -> Result<Option<Visitor>, ReadError> {
        self.patiently("visitor", || Box::pin(self.ledger.visitor(funnel, visitor))).await
    }

    pub(crate) async fn person(&self, funnel: &FunnelId, email: &Digest) -> Result<Option<PersonRow>, ReadError> {
        self.patiently("person", || Box::pin(self.ledger.person(funnel, email))).await
    }

    pub(crate) async fn person_keys(&self, funnel: &FunnelId, email: &Digest) -> Result<Vec<PersonKey>, ReadError> {
        self.patiently("person_keys", || Box::pin(self.ledger.person_keys(funnel, email))).await
    }

    pub(crate) async fn filter_snapshots(&self, partition: u32) -> Result<Vec<FilterSnapshot>, ReadError> {
        self.patiently("filter_snapshots", || Box::pin(self.ledger.filter_snapshots(partition))).await
    }
}

/// The sink's tables.
impl Cluster {
    pub(crate) async fn take_over(&self, partition: u32) -> Result<TakenOver, ReadError> {
        let (epoch, next_attempt) = self.patiently("take_over", || Box::pin(self.ledger.take_over(partition, self.owner))).await?;
        let (_, end) = self.bounds(Topic::Dispatch, partition).await?;
        let committed = self.asker.committed(Group::Capi, partition).await?;
        let (told, _) = Told::read(committed.metadata.as_deref());
        self.owned().insert(partition, Owned { epoch, number: 0, told });
        tracing::info!(partition, epoch, next_attempt, "took a dispatch partition over");
        Ok(TakenOver { next_attempt, touched_below: end })
    }

    pub(crate) async fn delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<Known>, ReadError> {
        let row = self.patiently("delivery", || Box::pin(self.ledger.delivery(pixel, dedup_key))).await?;
        Ok(row.map(|(delivery, stamp)| {
            let partition = self.names.partition_of(Topic::Dispatch, pixel.as_str().as_bytes());
            Known { delivery, is_told: self.is_told(partition, stamp) }
        }))
    }

    pub(crate) async fn waiting(&self, pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Result<Option<KnownWaiting>, ReadError> {
        let found = self.patiently("waiting", || Box::pin(self.ledger.waiting(pixel, deadline_hour, dedup_key))).await?;
        Ok(found.map(|found| self.known_waiting(found)))
    }

    pub(crate) async fn due(
        &self,
        partition: u32,
        pixel: Option<&PixelId>,
        now: Time,
        limit: usize,
    ) -> Result<Vec<KnownWaiting>, ReadError> {
        let found = self.patiently("due", || Box::pin(self.ledger.due(partition, pixel, now, limit))).await?;
        Ok(found.into_iter().map(|found| self.known_waiting(found)).collect())
    }

    fn known_waiting(&self, (row, began): (Waiting, Option<i64>)) -> KnownWaiting {
        KnownWaiting { is_counted: began.is_none_or(|stamp| self.is_told(row.partition, stamp)), row }
    }

    /// Whether the step that wrote a row of the sink's partition is true. What this owner wrote is, or is about to be.
    fn is_told(&self, partition: u32, stamp: i64) -> bool {
        self.owned().get(&partition).is_none_or(|owned| told::epoch(stamp) == owned.epoch || owned.told.is_told(stamp))
    }

    pub(crate) async fn open_intents(&self, partition: u32, from: u64, below: u64) -> Result<Vec<Intent>, ReadError> {
        self.patiently("open_intents", || Box::pin(self.ledger.open_intents(partition, from, below))).await
    }
}

/// What people look at.
impl Cluster {
    pub(crate) async fn purchases(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Purchase>, ReadError> {
        self.ledger.purchases(after, limit).await.map_err(failed)
    }

    pub(crate) async fn leads(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Lead>, ReadError> {
        self.ledger.leads(after, limit).await.map_err(failed)
    }

    pub(crate) async fn deliveries(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Delivery>, ReadError> {
        self.ledger.deliveries(after, limit).await.map_err(failed)
    }

    pub(crate) async fn purchase(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Purchase>, ReadError> {
        self.ledger.purchase(funnel, order_or_event_id).await.map_err(failed)
    }

    pub(crate) async fn lead(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Lead>, ReadError> {
        self.ledger.lead(funnel, order_or_event_id).await.map_err(failed)
    }

    pub(crate) async fn look_at_seen(&self, key: &str) -> Result<Option<Seen>, ReadError> {
        self.ledger.seen_one(key).await.map_err(failed)
    }

    pub(crate) async fn look_at_waiting(&self, pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Result<Option<Waiting>, ReadError> {
        self.ledger.waiting(pixel, deadline_hour, dedup_key).await.map(|found| found.map(|(row, _)| row)).map_err(failed)
    }

    pub(crate) async fn look_at_waiting_of(
        &self,
        pixel: &PixelId,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page<Waiting>, ReadError> {
        let partition = self.names.partition_of(Topic::Dispatch, pixel.as_str().as_bytes());
        self.ledger.waiting_of(partition, pixel, after, limit).await.map_err(failed)
    }

    pub(crate) async fn look_at_visitor(&self, funnel: &FunnelId, visitor: &VisitorId) -> Result<Option<Visitor>, ReadError> {
        self.ledger.visitor(funnel, visitor).await.map_err(failed)
    }

    pub(crate) async fn look_at_person(&self, funnel: &FunnelId, email: &Digest) -> Result<Option<PersonRow>, ReadError> {
        self.ledger.person(funnel, email).await.map_err(failed)
    }

    pub(crate) async fn look_at_delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<Delivery>, ReadError> {
        Ok(self.ledger.delivery(pixel, dedup_key).await.map_err(failed)?.map(|(delivery, _)| delivery))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn failed(error: LedgerError) -> ReadError {
    match &error {
        LedgerError::Transient(why) => ReadError::Failed(format!("the ledger does not answer: {why}")),
        LedgerError::Damaged(..) => ReadError::Failed(error.to_string()),
    }
}
