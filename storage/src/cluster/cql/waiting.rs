//! Tables `waiting` and `waiting_hours`: what cannot be sent in its turn, by the hour of its deadline.

use std::collections::BTreeMap;

use futures_util::future::try_join;
use schemas::{id::PixelId, row::Waiting, time::Time};

use super::{Ledger, at_once::Reads, cell, error::LedgerError, stamp, statement::Statement};

const TABLE: &str = "waiting";

/// Rows looked at in one hour of one pixel: a bound on memory. Among more than that which are due, those that come first by their key
/// are sent first, and the others when they are done.
const EXAMINED_MAX: usize = 20_000;

/// A row that is due: when, of which pixel, which key. They sort as they are to be sent.
type Due = (i64, String, String);

impl Ledger {
    /// Writes a row and the mark of its hour.
    pub(super) async fn write_waiting(&self, row: &Waiting, tag: i64, now: Time) -> Result<(), LedgerError> {
        let (pixel, hour, key) = (row.dispatch.pixel_id.as_str(), row.deadline_hour, row.dispatch.dedup_key.as_str());
        let kept_s = stamp::waiting_s(hour, now);
        let mark = self.client().run(Statement::WriteWaitingHour, (row.partition as i32, pixel, hour, tag, kept_s));
        let values = (pixel, hour, key, row.due_at.micros(), cell::text(row), tag, kept_s);
        try_join(mark, self.client().run(Statement::WriteWaiting, values)).await.map(drop)
    }

    /// Takes a row away that was written under a lower tag, or under this one.
    pub(super) async fn drop_waiting(&self, pixel: &PixelId, hour: i64, dedup_key: &str, tag: i64) -> Result<(), LedgerError> {
        self.client().run(Statement::DropWaiting, (tag, pixel.as_str(), hour, dedup_key)).await.map(drop)
    }

    /// One waiting dispatch.
    pub(crate) async fn waiting(&self, pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Result<Option<Waiting>, LedgerError> {
        self.waiting_row(pixel.as_str(), deadline_hour, dedup_key).await
    }

    /// Dispatches of a partition that wait and are due, of one pixel or of all, earliest deadline first.
    pub(crate) async fn due(&self, partition: u32, pixel: Option<&PixelId>, now: Time, limit: usize) -> Result<Vec<Waiting>, LedgerError> {
        let mut found: Vec<Waiting> = Vec::new();
        for (hour, pixels) in self.hours(partition, pixel).await? {
            if found.len() >= limit {
                break;
            }
            let due = self.due_in(hour, pixels, now).await?;
            for some in due.chunks(limit - found.len()) {
                let mut reads = Reads::at_most(self.client().in_flight_max);
                for (_, pixel, key) in some {
                    reads.push(self.waiting_row(pixel, hour, key)).await?;
                }
                // Gone since it was found, or waiting for a partition that the pixel had before or has now.
                let is_due = |row: &Waiting| row.partition == partition && row.due_at <= now;
                found.extend(reads.finish().await?.into_iter().flatten().filter(is_due));
                if found.len() >= limit {
                    break;
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn waiting_row(&self, pixel: &str, hour: i64, dedup_key: &str) -> Result<Option<Waiting>, LedgerError> {
        let rows = self.client().rows(Statement::ReadWaiting, (pixel, hour, dedup_key)).await?;
        let row = rows.maybe_first_row::<(&str,)>().map_err(|cause| LedgerError::row(TABLE, cause))?;
        row.map(|(text,)| cell::read(TABLE, text)).transpose()
    }

    /// The hours in which something waits or did, each with its pixels.
    async fn hours(&self, partition: u32, pixel: Option<&PixelId>) -> Result<BTreeMap<i64, Vec<String>>, LedgerError> {
        let client = self.client();
        let marks: Vec<(String, i64)> = match pixel {
            None => client.all(Statement::ReadWaitingHours, (partition as i32,)).await?,
            Some(pixel) => client.all(Statement::ReadWaitingHoursOfPixel, (partition as i32, pixel.as_str())).await?,
        };
        let mut hours = BTreeMap::<_, Vec<_>>::new();
        for (pixel, hour) in marks {
            hours.entry(hour).or_default().push(pixel);
        }
        Ok(hours)
    }

    /// What is due in one hour, in the order in which it is to be sent.
    async fn due_in(&self, hour: i64, pixels: Vec<String>, now: Time) -> Result<Vec<Due>, LedgerError> {
        let mut reads = Reads::at_most(self.client().in_flight_max);
        for pixel in pixels {
            reads.push(self.due_of(hour, pixel, now)).await?;
        }
        let mut due = reads.finish().await?.concat();
        due.sort_unstable();
        Ok(due)
    }

    async fn due_of(&self, hour: i64, pixel: String, now: Time) -> Result<Vec<Due>, LedgerError> {
        let values = (&pixel[..], hour, now.micros(), EXAMINED_MAX as i32);
        let rows: Vec<(i64, String)> = self.client().all(Statement::ReadDue, values).await?;
        Ok(rows.into_iter().map(|(due_at, key)| (due_at, pixel.clone(), key)).collect())
    }
}
