//! Table `seen`: what is known of dedup keys.

use futures_util::{StreamExt, stream::FuturesUnordered};
use schemas::{
    fact::LegName,
    row::{Leg, Seen},
};

use super::{Ledger, at_once::Reads, cell, client::Next, error::LedgerError, key::funnel_of, stamp, statement::Statement};

const TABLE: &str = "seen";

/// Parts of the ring that a scan reads one by one: the larger the table, the smaller each must be.
const RANGES: u64 = 256;
/// Parts under way at one time: enough to keep a cluster's nodes busy, few enough to leave them room for the living.
const RANGES_AT_ONCE: usize = 8;

impl Ledger {
    /// Writes one leg's cell.
    pub(super) async fn write_leg(&self, key: &str, leg: LegName, cell: &Leg, raw_partition: u32) -> Result<(), LedgerError> {
        let statement = match leg {
            LegName::Browser => Statement::WriteSeenBrowser,
            LegName::Server => Statement::WriteSeenServer,
        };
        let text = cell::text(cell);
        let values = (funnel_of(key), key, raw_partition as i32, &text, cell.position.stamp(), stamp::seen_s(key));
        self.client().run(statement, values).await.map(drop)
    }

    /// Writes a row that comes from another engine: both legs as they are, in the partition which the key has here.
    pub(crate) async fn write_moved(&self, key: &str, seen: &Seen, raw_partition: u32) -> Result<(), LedgerError> {
        for leg in [LegName::Browser, LegName::Server] {
            if let Some(cell) = seen.leg(leg) {
                self.write_leg(key, leg, cell, raw_partition).await?;
            }
        }
        Ok(())
    }

    /// What is known of dedup keys (their text), in their order.
    pub(crate) async fn seen(&self, keys: &[String]) -> Result<Vec<Option<Seen>>, LedgerError> {
        let mut reads = Reads::at_most(self.client().in_flight_max);
        for key in keys {
            reads.push(self.seen_one(key)).await?;
        }
        reads.finish().await
    }

    async fn seen_one(&self, key: &str) -> Result<Option<Seen>, LedgerError> {
        let rows = self.client().rows(Statement::ReadSeen, (funnel_of(key), key)).await?;
        let row = rows.maybe_first_row::<(Option<&str>, Option<&str>)>().map_err(|cause| LedgerError::row(TABLE, cause))?;
        row.map(|(browser, server)| decode(browser, server)).transpose()
    }

    /// Every row whose key belongs to that partition of `raw`, in no order; `each` is called with the key and the row.
    pub(crate) async fn scan_seen(&self, raw_partition: u32, each: &mut (dyn FnMut(&str, &Seen) + Send)) -> Result<(), LedgerError> {
        let mut left = ranges(RANGES);
        let mut under_way = FuturesUnordered::new();
        for range in left.by_ref().take(RANGES_AT_ONCE) {
            under_way.push(self.scan_page(range, None, raw_partition));
        }
        while let Some(page) = under_way.next().await {
            let ScanPage { range, rows, next } = page?;
            if next.is_some() {
                under_way.push(self.scan_page(range, next, raw_partition));
            } else if let Some(range) = left.next() {
                under_way.push(self.scan_page(range, None, raw_partition));
            }
            for (key, seen) in rows {
                each(&key, &seen);
            }
        }
        Ok(())
    }

    async fn scan_page(&self, range: (i64, i64), from: Next, raw_partition: u32) -> Result<ScanPage, LedgerError> {
        let (found, next) = self.client().page(Statement::ScanSeen, (range.0, range.1, raw_partition as i32), from, None).await?;
        let mut rows = Vec::with_capacity(found.rows_num());
        for row in found.rows::<(&str, Option<&str>, Option<&str>)>().map_err(|cause| LedgerError::row(TABLE, cause))? {
            let (key, browser, server) = row.map_err(|cause| LedgerError::row(TABLE, cause))?;
            rows.push((key.to_owned(), decode(browser, server)?));
        }
        Ok(ScanPage { range, rows, next })
    }
}

/// One page of a part of the ring, and where its next one begins.
struct ScanPage {
    range: (i64, i64),
    rows: Vec<(String, Seen)>,
    next: Next,
}

fn decode(browser: Option<&str>, server: Option<&str>) -> Result<Seen, LedgerError> {
    Ok(Seen { browser: cell::read_some(TABLE, browser)?, server: cell::read_some(TABLE, server)? })
}

/// The ring of tokens in equal parts, both ends of each included.
fn ranges(count: u64) -> impl Iterator<Item = (i64, i64)> {
    let width = u64::MAX / count;
    let begin = move |part: u64| i64::MIN.wrapping_add_unsigned(width * part);
    (0..count).map(move |part| (begin(part), if part + 1 == count { i64::MAX } else { begin(part + 1) - 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_ring_without_gap_or_overlap() {
        for count in [1, 2, 3, 256] {
            let all: Vec<_> = ranges(count).collect();
            assert_eq!((all[0].0, all[all.len() - 1].1, all.len() as u64), (i64::MIN, i64::MAX, count));
            assert!(all.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0 && pair[0].0 <= pair[0].1));
        }
    }
}
