//! Rows that have aged out leave when compaction comes by: no sweep, no extra write. Compaction reads the head of a value, no more.
//!
//! A row may stay longer than said here, never shorter. Nothing relies on a row being gone: the judge counts days itself.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use fjall::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};
use schemas::time::{DAY_US, Time};

use super::{row, tables::Table};

/// The log's own time: the latest time any record carried, held back by the clock of the machine so that one record from the future
/// ages nothing. Without traffic it stands still, and so does ageing.
#[derive(Clone, Default, Debug)]
pub(super) struct LogTime(Arc<AtomicI64>);

impl LogTime {
    /// A record of that time is durable.
    pub(super) fn saw(&self, time: Time) {
        self.0.fetch_max(time.micros().min(machine_us()), Relaxed);
    }

    /// Microseconds since the epoch.
    pub(super) fn micros(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

fn machine_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// How long a table's rows are kept, counted from the moment in their head.
fn keep_days(table: Table) -> Option<i64> {
    match table {
        Table::Seen => Some(32), // event keys count for 30 days; orders carry no age
        Table::Visitors | Table::People => Some(400),
        Table::Intents => Some(30),
        Table::Deliveries => Some(90),
        Table::Waiting | Table::WaitingDue => Some(2), // after the deadline
        Table::LogMonth
        | Table::LogDispatch
        | Table::LogKept
        | Table::LogHours
        | Table::Offsets
        | Table::Meta
        | Table::Purchases
        | Table::Leads
        | Table::PersonKeys
        | Table::FilterSnapshots
        | Table::OpenIntents => None,
    }
}

/// What compaction of a keyspace asks, if its rows age.
pub(super) fn factory(keyspace: &str, now: &LogTime) -> Option<Arc<dyn Factory>> {
    let table = Table::ALL.into_iter().find(|table| table.name() == keyspace)?;
    Some(Arc::new(Expiry { now: now.clone(), keep_us: keep_days(table)? * DAY_US }))
}

struct Expiry {
    now: LogTime,
    keep_us: i64,
}

impl Factory for Expiry {
    fn name(&self) -> &'static str {
        "age"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Older(self.now.micros() - self.keep_us))
    }
}

/// Drops rows that count from before a moment.
struct Older(i64);

impl Older {
    fn is_out(&self, value: &[u8]) -> bool {
        row::kept_from(value).is_some_and(|from| from < self.0)
    }
}

impl CompactionFilter for Older {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> Result<Verdict, fjall::LsmError> {
        Ok(if self.is_out(&item.value()?) { Verdict::Remove } else { Verdict::Keep })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_from_the_future_ages_nothing() {
        let now = LogTime::default();
        now.saw(Time::from_micros(i64::MAX));
        assert!(now.micros() <= machine_us());
        now.saw(Time::from_micros(5));
        assert!(now.micros() > 5);
    }

    #[test]
    fn rows_leave_by_the_age_in_their_head_and_rows_without_one_stay() {
        let value = |from: i64| [&[1][..], &from.to_be_bytes(), b"{}"].concat();
        let older = Older(1_000);
        assert!(older.is_out(&value(999)));
        assert!(!older.is_out(&value(1_000)));
        assert!(!older.is_out(&value(row::FOR_EVER)));
        assert!(!older.is_out(b"short"));
    }
}
