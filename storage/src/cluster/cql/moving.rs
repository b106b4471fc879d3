//! The ledger's side of a move: whose it is, rows with the rest of their time, and empty tables again.

use std::time::Duration;

use schemas::{
    key,
    row::Row,
    time::{DAY_US, SECOND_US, Time},
};
use scylla::statement::{Consistency, unprepared::Statement};
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    put::Put,
    statements::Statements,
    write::{self, DELIVERY_DAYS, EVENT_ROW_DAYS, PERSON_DAYS},
};

/// The tables that a move fills, and those that work on what it filled fills after it.
const TABLES: [&str; 14] = [
    "seen",
    "purchases",
    "leads",
    "purchases_by_day",
    "leads_by_day",
    "visitors",
    "people",
    "person_keys",
    "filter_snapshots",
    "owners",
    "intents",
    "deliveries",
    "waiting",
    "waiting_hours",
];
/// A server writes out what it holds of a table before it drops it.
const TRUNCATE: Duration = Duration::from_secs(90);
/// The stamp of the sink's rows: below that of every owner, the first of whom has epoch 1.
const STAMP: i64 = 1;

/// A move on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MoveMade {
    pub(crate) id: Uuid,
    pub(crate) has_ended: bool,
}

/// Whose move it is.
impl Ledger {
    pub(crate) async fn move_of(&self, prefix: &str) -> Result<Option<MoveMade>, LedgerError> {
        let row = self.one_row::<(Uuid, bool)>(&self.statements()?.get_move, (prefix,), "moves").await?;
        Ok(row.map(|(id, has_ended)| MoveMade { id, has_ended }))
    }

    /// Puts a move on record, unless there is one.
    pub(crate) async fn claim_move(&self, prefix: &str, id: Uuid) -> Result<(), LedgerError> {
        self.run(&self.statements()?.claim_move, (prefix, id)).await.map(drop)
    }

    pub(crate) async fn end_move(&self, prefix: &str, id: Uuid) -> Result<(), LedgerError> {
        self.run(&self.statements()?.end_move, (prefix, id)).await.map(drop)
    }

    pub(crate) async fn forget_move(&self, prefix: &str, id: Uuid) -> Result<(), LedgerError> {
        self.run(&self.statements()?.forget_move, (prefix, id)).await.map(drop)
    }
}

/// Tables as a whole.
impl Ledger {
    /// The first table that holds anything.
    pub(crate) async fn filled_table(&self) -> Result<Option<&'static str>, LedgerError> {
        for table in TABLES {
            let mut question = Statement::new(format!("SELECT * FROM {table} LIMIT 1"));
            question.set_consistency(Consistency::LocalQuorum);
            let answer =
                self.live()?.session.query_unpaged(question, ()).await.map_err(|error| LedgerError::Transient(error.to_string()))?;
            let answer = answer.into_rows_result().map_err(|error| LedgerError::Damaged(table, error.to_string()))?;
            if answer.rows_num() > 0 {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    /// Empties the tables, deletions and all: what is written next need not be newer than what was there.
    pub(crate) async fn empty_tables(&self) -> Result<(), LedgerError> {
        for table in TABLES {
            let mut statement = Statement::new(format!("TRUNCATE {table}"));
            statement.set_request_timeout(Some(TRUNCATE));
            statement.set_is_idempotent(true);
            self.live()?.session.query_unpaged(statement, ()).await.map_err(|error| LedgerError::Transient(format!("{table}: {error}")))?;
        }
        Ok(())
    }
}

/// Rows that were told long ago.
impl Ledger {
    /// Writes rows as they stood in a folder; on `Ok` all of them are durable. Their days count from when they were told. `place` says the
    /// partition of a key: the cluster may have another number of them.
    pub(crate) async fn write_moved(
        &self,
        rows: &[Row],
        raw_partition: &(dyn Fn(&str) -> u32 + Sync),
        dispatch_partition: &(dyn Fn(&str) -> u32 + Sync),
        now: Time,
    ) -> Result<(), LedgerError> {
        let to = self.statements()?;
        let puts = rows.iter().flat_map(|row| puts_of_moved(to, row, raw_partition, dispatch_partition, now)).collect();
        self.put(puts).await
    }
}

fn puts_of_moved<'a>(
    to: &'a Statements,
    row: &'a Row,
    raw_partition: &(dyn Fn(&str) -> u32 + Sync),
    dispatch_partition: &(dyn Fn(&str) -> u32 + Sync),
    now: Time,
) -> Vec<Put<'a>> {
    match row {
        Row::Seen { key: text, leg, cell } => {
            let ttl_s = if key::is_order(text) { Some(0) } else { left_s(EVENT_ROW_DAYS, cell.received_at, now) };
            let put = |ttl_s| write::put_seen(to, text, *leg, cell, raw_partition(&key::partition_key_of(text)), ttl_s);
            ttl_s.map(put).into_iter().collect() // nothing if it has aged out
        }
        Row::Visitor(visitor) => write::put_visitor(to, visitor, |at| left_s(PERSON_DAYS, Time::from_micros(at), now)),
        Row::Person(person) => write::put_person(to, person, |at| left_s(PERSON_DAYS, Time::from_micros(at), now)),
        Row::Delivery(delivery) | Row::DeliveryNote(delivery) => {
            let settled = delivery.settled_at.filter(|_| delivery.outcome.is_some());
            let ttl_s = settled.map_or(Some(0), |settled| left_s(DELIVERY_DAYS, settled, now));
            ttl_s.map(|ttl_s| write::put_delivery(to, delivery, STAMP, ttl_s)).into_iter().collect()
        }
        Row::Waiting(waiting) | Row::WaitingBegins(waiting) => {
            let mut waiting = waiting.clone();
            waiting.partition = dispatch_partition(waiting.dispatch.pixel_id.as_str());
            waiting.offset = 0; // it stands nowhere in the cluster's log: the row is all there is
            write::put_waiting(to, &waiting, false, STAMP, now)
        }
        // Facts and keys say themselves how old they are, and never leave.
        Row::Purchase(_) | Row::Lead(_) | Row::PersonKey(_) => write::puts_of(to, row, STAMP, now),
        Row::FilterSnapshot(_) | Row::Intent(_) | Row::WaitingDone { .. } => Vec::new(), // they belong to the folder's own partitions
    }
}

/// Seconds that are left of a row's days; `None` if they are over.
fn left_s(days: i64, told: Time, now: Time) -> Option<i32> {
    let left_s = told.plus_micros(days * DAY_US).since(now) / SECOND_US;
    // A clock that went back must not keep a row for longer than its days.
    (left_s > 0).then(|| left_s.min(days * DAY_US / SECOND_US) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_rest_of_its_days() {
        let day = |day: i64| Time::from_micros(day * DAY_US);
        for (told, left) in [(100, Some(32 * 86_400)), (90, Some(22 * 86_400)), (68, None), (500, Some(32 * 86_400))] {
            assert_eq!(left_s(32, day(told), day(100)), left, "{told}");
        }
    }
}
