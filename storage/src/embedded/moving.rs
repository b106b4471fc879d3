//! The tables as a move reads them: every row once, in the order of its key, a page at a time.

use std::ops::Bound;

use schemas::row::Row;

use super::{Embedded, row, tables::Table};
use crate::{ledger::Page, log::ReadError};

/// The tables whose rows move, in the order in which they do. Attempts do not: each is settled before a folder moves. Filters neither:
/// a scan of `seen` makes them anew for the partitions of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Seen,
    Purchases,
    Leads,
    Visitors,
    People,
    PersonKeys,
    Deliveries,
    Waiting,
}

impl Moved {
    pub(crate) const ALL: [Self; 8] =
        [Self::Seen, Self::Purchases, Self::Leads, Self::Visitors, Self::People, Self::PersonKeys, Self::Deliveries, Self::Waiting];

    fn table(self) -> Table {
        match self {
            Self::Seen => Table::Seen,
            Self::Purchases => Table::Purchases,
            Self::Leads => Table::Leads,
            Self::Visitors => Table::Visitors,
            Self::People => Table::People,
            Self::PersonKeys => Table::PersonKeys,
            Self::Deliveries => Table::Deliveries,
            Self::Waiting => Table::Waiting,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.table().name()
    }

    fn decode(self, key: &[u8], value: &[u8], rows: &mut Vec<Row>) -> Result<(), ReadError> {
        rows.push(match self {
            Self::Seen => {
                let (key, leg, cell) = row::seen::whole(key, value)?;
                Row::Seen { key: key.to_owned(), leg, cell }
            }
            Self::Purchases => Row::Purchase(Box::new(row::purchase::decode(value)?)),
            Self::Leads => Row::Lead(Box::new(row::lead::decode(value)?)),
            Self::Visitors => Row::Visitor(Box::new(row::visitor::decode(value)?)),
            Self::People => Row::Person(Box::new(row::person::decode(value)?)),
            Self::Deliveries => Row::delivery(row::delivery::decode(value)?),
            Self::Waiting => Row::Waiting(Box::new(row::waiting::decode(value)?)),
            Self::PersonKeys => {
                rows.extend(row::person_key::decode(value)?.into_iter().map(Row::PersonKey));
                return Ok(());
            }
        });
        Ok(())
    }
}

impl Embedded {
    /// The next rows of a table.
    pub(crate) fn moved_rows(&self, table: Moved, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Row>, ReadError> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let store = self.store()?;
        let mut found = store.range(table.table(), (begin, Bound::Unbounded));
        let (mut rows, mut last) = (Vec::with_capacity(limit), None);
        for row in found.by_ref().take(limit) {
            let (key, value) = row?;
            table.decode(&key, &value, &mut rows)?;
            last = Some(key.to_vec());
        }
        let is_more = found.next_key()?.is_some();
        Ok(Page { rows, next: last.filter(|_| is_more) })
    }
}
