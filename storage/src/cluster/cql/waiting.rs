//! Waiting dispatches, the earliest deadline first: which hours hold any is marked apart, so that a look reads only those.

use schemas::{id::PixelId, row::Waiting, time::Time};

use super::{Ledger, LedgerError, from_json};

const TABLE: &str = "waiting";

impl Ledger {
    /// Dispatches of a partition that are due, of one pixel or of all, earliest deadline first.
    pub(crate) async fn due(&self, partition: u32, pixel: Option<&PixelId>, now: Time, limit: usize) -> Result<Vec<Waiting>, LedgerError> {
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
            for (due_at, waiting) in self.all_rows::<(i64, String)>(&to.hour_waiting, (pixel.as_str(), hour), TABLE).await? {
                if due_at > now.micros() {
                    continue;
                }
                let row: Waiting = from_json(TABLE, &waiting)?;
                if row.partition == partition {
                    found.push(row);
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// One waiting dispatch.
    pub(crate) async fn waiting(&self, pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Result<Option<Waiting>, LedgerError> {
        let values = (pixel.as_str(), deadline_hour, dedup_key);
        match self.one_row::<(String,)>(&self.statements()?.get_waiting, values, TABLE).await? {
            Some((waiting,)) => from_json(TABLE, &waiting).map(Some),
            None => Ok(None),
        }
    }
}
