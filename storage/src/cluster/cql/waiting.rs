//! Waiting dispatches, the earliest deadline first: which hours hold any is marked apart, so that a look reads only those.

use schemas::{id::PixelId, row::Waiting, time::Time};

use super::{Ledger, LedgerError, from_json};
use crate::ledger::Page;

const TABLE: &str = "waiting";

impl Ledger {
    /// Dispatches of a partition that are due, of one pixel or of all, earliest deadline first; each with the stamp of the step in which it
    /// began to wait.
    pub(crate) async fn due(
        &self,
        partition: u32,
        pixel: Option<&PixelId>,
        now: Time,
        limit: usize,
    ) -> Result<Vec<(Waiting, Option<i64>)>, LedgerError> {
        let to = self.statements()?;
        let mut hours = match pixel {
            Some(pixel) => self.all_rows::<(String, i64)>(&to.get_hours_of, (partition as i32, pixel.as_str()), "waiting_hours").await?,
            None => self.all_rows::<(String, i64)>(&to.get_hours, (partition as i32,), "waiting_hours").await?,
        };
        hours.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        let mut found = Vec::new();
        for (pixel, hour) in hours {
            if found.len() >= limit {
                break;
            }
            let rows = self.all_rows::<(i64, String, Option<i64>)>(&to.hour_waiting, (pixel.as_str(), hour), TABLE).await?;
            for (due_at, waiting, began) in rows {
                if due_at > now.micros() {
                    continue;
                }
                let row: Waiting = from_json(TABLE, &waiting)?;
                if row.partition == partition {
                    found.push((row, began));
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// What waits of a pixel, the earliest deadline hour first. The cursor is the last row's hour and key.
    pub(crate) async fn waiting_of(
        &self,
        partition: u32,
        pixel: &PixelId,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page<Waiting>, LedgerError> {
        let to = self.statements()?;
        let (first, mut key) = cursor(after.as_deref());
        let hours = self.all_rows::<(String, i64)>(&to.get_hours_of, (partition as i32, pixel.as_str()), "waiting_hours").await?;
        let mut hours: Vec<i64> = hours.into_iter().map(|(_, hour)| hour).filter(|hour| *hour >= first).collect();
        hours.sort_unstable();
        let mut rows: Vec<Waiting> = Vec::new();
        for hour in hours {
            let after = if hour == first { std::mem::take(&mut key) } else { String::new() };
            let values = (pixel.as_str(), hour, after, (limit - rows.len()) as i32);
            for (waiting,) in self.all_rows::<(String,)>(&to.page_waiting, values, TABLE).await? {
                rows.push(from_json(TABLE, &waiting)?);
            }
            if let Some(last) = rows.last().filter(|_| rows.len() >= limit) {
                let next = [&hour.to_be_bytes(), last.dispatch.dedup_key.as_bytes()].concat();
                return Ok(Page { rows, next: Some(next) });
            }
        }
        Ok(Page { rows, next: None })
    }

    /// One waiting dispatch, with the stamp of the step in which it began to wait.
    pub(crate) async fn waiting(
        &self,
        pixel: &PixelId,
        deadline_hour: i64,
        dedup_key: &str,
    ) -> Result<Option<(Waiting, Option<i64>)>, LedgerError> {
        let values = (pixel.as_str(), deadline_hour, dedup_key);
        match self.one_row::<(String, Option<i64>)>(&self.statements()?.get_waiting, values, TABLE).await? {
            Some((waiting, began)) => Ok(Some((from_json(TABLE, &waiting)?, began))),
            None => Ok(None),
        }
    }
}

/// The hour and the key after which a page begins.
fn cursor(after: Option<&[u8]>) -> (i64, String) {
    let parts = after.and_then(|after| after.split_first_chunk::<8>());
    parts.map_or((i64::MIN, String::new()), |(hour, key)| (i64::from_be_bytes(*hour), String::from_utf8_lossy(key).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::cursor;

    #[test]
    fn a_page_begins_behind_the_last_row_of_the_one_before() {
        let after = [&500_000_i64.to_be_bytes()[..], b"fn_1|hook|e"].concat();
        assert_eq!(cursor(Some(&after)), (500_000, "fn_1|hook|e".to_owned()));
        assert_eq!(cursor(None), (i64::MIN, String::new()));
    }
}
