//! What the engine answers: log and ledger, from memory or from `fjall`.

#![expect(clippy::unused_async, reason = "other engines ask over the network; the rooms await all of them alike")]

use std::ops::Bound;

use schemas::{
    delivery::Delivery,
    fact::{Lead, Purchase},
    id::{FunnelId, PixelId, VisitorId},
    person::Digest,
    row::{FilterSnapshot, Intent, PersonKey, PersonRow, Seen, Visitor, Waiting},
    time::Time,
    topic::{Group, Topic},
};

use super::{Embedded, row, tables::Table};
use crate::{
    ledger::{Known, KnownWaiting, Page, TakenOver},
    log::{Committed, ReadError, Stored},
};

/// Rows after which a walk makes room for others.
const ROWS_BETWEEN_YIELDS: usize = 256;

/// The log.
impl Embedded {
    pub(crate) async fn read(
        &self,
        topic: Topic,
        partition: u32,
        from: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let slot = self.shared.log.slot(topic, partition)?;
        self.shared.log.read(&*self.store()?, slot, self.generation(topic), from, records_max, bytes_max)
    }

    pub(crate) async fn grown(&self, topic: Topic, partition: u32, next: u64) -> Result<(), ReadError> {
        self.shared.log.grown(self.shared.log.slot(topic, partition)?, next).await
    }

    pub(crate) async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), ReadError> {
        Ok(self.shared.log.at(self.shared.log.slot(topic, partition)?).bounds())
    }

    pub(crate) async fn committed(&self, group: Group, partition: u32) -> Result<Committed, ReadError> {
        Ok(self.shared.offsets.get(group, partition))
    }
}

/// The ledger.
impl Embedded {
    pub(crate) async fn seen(&self, keys: &[String]) -> Result<Vec<Option<Seen>>, ReadError> {
        let store = self.store()?;
        keys.iter().map(|key| row::seen::get(&store, key)).collect()
    }

    pub(crate) async fn scan_seen(&self, partition: u32, each: &mut (dyn FnMut(&str, &Seen) + Send)) -> Result<(), ReadError> {
        for (count, row) in self.store()?.prefix(Table::Seen, &[]).enumerate() {
            let (key, value) = row?;
            if let Some((key, leg, cell)) = row::seen::in_partition(&key, &value, partition)? {
                let mut seen = Seen::default();
                seen.set(leg, cell);
                each(key, &seen);
            }
            if count % ROWS_BETWEEN_YIELDS == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    pub(crate) async fn visitor(&self, funnel: &FunnelId, visitor: &VisitorId) -> Result<Option<Visitor>, ReadError> {
        let value = self.store()?.get(Table::Visitors, &row::visitor::key(funnel, visitor))?;
        value.map(|value| row::visitor::decode(&value)).transpose()
    }

    pub(crate) async fn person(&self, funnel: &FunnelId, email: &Digest) -> Result<Option<PersonRow>, ReadError> {
        let value = self.store()?.get(Table::People, &row::person::key(funnel, email))?;
        value.map(|value| row::person::decode(&value)).transpose()
    }

    pub(crate) async fn person_keys(&self, funnel: &FunnelId, email: &Digest) -> Result<Vec<PersonKey>, ReadError> {
        row::person_key::of(&*self.store()?, funnel, email)
    }

    pub(crate) async fn filter_snapshots(&self, partition: u32) -> Result<Vec<FilterSnapshot>, ReadError> {
        // Tens of megabytes: not on a thread that others wait for.
        let store = self.store()?;
        tokio::task::spawn_blocking(move || row::filter_snapshot::of(&store, partition)).await.map_err(|_| ReadError::Closed)?
    }

    /// A step is one with its rows: whatever stands here was told.
    pub(crate) async fn delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<Known>, ReadError> {
        Ok(self.look_at_delivery(pixel, dedup_key).await?.map(|delivery| Known { delivery, is_told: true }))
    }

    pub(crate) async fn look_at_delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<Delivery>, ReadError> {
        row::delivery::get(&*self.store()?, pixel, dedup_key)
    }

    /// A step is one with its rows: whatever waits is counted.
    pub(crate) async fn waiting(&self, pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Result<Option<KnownWaiting>, ReadError> {
        let row = self.look_at_waiting(pixel, deadline_hour, dedup_key).await?;
        Ok(row.map(|row| KnownWaiting { row, is_counted: true }))
    }

    pub(crate) async fn look_at_waiting(&self, pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Result<Option<Waiting>, ReadError> {
        let value = self.store()?.get(Table::Waiting, &row::waiting::key(pixel, deadline_hour, dedup_key))?;
        value.map(|value| row::waiting::decode(&value)).transpose()
    }

    pub(crate) async fn due(
        &self,
        partition: u32,
        pixel: Option<&PixelId>,
        now: Time,
        limit: usize,
    ) -> Result<Vec<KnownWaiting>, ReadError> {
        let rows = row::waiting::due(&*self.store()?, partition, pixel, now, limit)?;
        Ok(rows.into_iter().map(|row| KnownWaiting { row, is_counted: true }).collect())
    }

    /// All of them stand in a table of their own, so nothing need be skipped.
    pub(crate) async fn open_intents(&self, partition: u32, _from: u64, _below: u64) -> Result<Vec<Intent>, ReadError> {
        row::intent::open(&*self.store()?, partition)
    }

    pub(crate) async fn take_over(&self, partition: u32) -> Result<TakenOver, ReadError> {
        let value = self.store()?.get(Table::OpenIntents, &row::intent::highest_key(partition))?;
        let next_attempt = value.map(|value| row::intent::highest(&value)).transpose()?.map_or(0, |highest| highest + 1);
        Ok(TakenOver { next_attempt, touched_below: 0 })
    }

    pub(crate) async fn purchases(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Purchase>, ReadError> {
        self.page(Table::Purchases, after, limit, row::purchase::decode)
    }

    pub(crate) async fn leads(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Lead>, ReadError> {
        self.page(Table::Leads, after, limit, row::lead::decode)
    }

    pub(crate) async fn deliveries(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Delivery>, ReadError> {
        self.page(Table::Deliveries, after, limit, row::delivery::decode)
    }

    pub(crate) async fn purchase(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Purchase>, ReadError> {
        row::purchase::get(&*self.store()?, funnel, order_or_event_id)
    }

    pub(crate) async fn lead(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Lead>, ReadError> {
        row::lead::get(&*self.store()?, funnel, order_or_event_id)
    }

    pub(crate) async fn look_at_seen(&self, key: &str) -> Result<Option<Seen>, ReadError> {
        row::seen::get(&*self.store()?, key)
    }

    pub(crate) async fn look_at_waiting_of(
        &self,
        pixel: &PixelId,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page<Waiting>, ReadError> {
        row::waiting::page(&*self.store()?, pixel, after, limit)
    }

    pub(crate) async fn look_at_visitor(&self, funnel: &FunnelId, visitor: &VisitorId) -> Result<Option<Visitor>, ReadError> {
        self.visitor(funnel, visitor).await
    }

    pub(crate) async fn look_at_person(&self, funnel: &FunnelId, email: &Digest) -> Result<Option<PersonRow>, ReadError> {
        self.person(funnel, email).await
    }

    fn page<T>(
        &self,
        table: Table,
        after: Option<Vec<u8>>,
        limit: usize,
        decode: fn(&[u8]) -> Result<T, ReadError>,
    ) -> Result<Page<T>, ReadError> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let store = self.store()?;
        let mut found = store.range(table, (begin, Bound::Unbounded));
        let (mut rows, mut last) = (Vec::new(), None);
        for row in found.by_ref().take(limit) {
            let (key, value) = row?;
            rows.push(decode(&value)?);
            last = Some(key.to_vec());
        }
        let is_more = found.next_key()?.is_some();
        Ok(Page { rows, next: last.filter(|_| is_more) })
    }
}
