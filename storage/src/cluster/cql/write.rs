//! Rows of a step, each as the statements that write it.

use std::collections::HashMap;

use schemas::{row::Row, time::Time};

use super::{Ledger, at_once::Writes, error::LedgerError, stamp};

impl Ledger {
    /// Writes rows, in no order among them, but of two with one key the later stays. All are durable when this answers `Ok`; otherwise
    /// some are, and the same call may be made again.
    ///
    /// `tag` is the write timestamp of what the sink writes: epoch·2^40 + attempt. It must rise between two calls that write one key. An
    /// open intent is refused: that is what [`Ledger::intend`] is for.
    pub(crate) async fn write(&self, rows: &[Row], tag: i64, now: Time) -> Result<(), LedgerError> {
        let open = |row: &Row| matches!(row, Row::Intent(intent) if !intent.settled);
        if rows.iter().any(open) {
            return Err(LedgerError::Damaged("an open attempt is written by `intend`, which asks whose turn it is".to_owned()));
        }
        if let [row] = rows {
            return self.write_row(row, tag, now).await;
        }
        let mut writes = Writes::at_most(self.client().in_flight_max);
        for row in latest(rows) {
            writes.push(self.write_row(row, tag, now)).await?;
        }
        writes.finish().await
    }

    async fn write_row(&self, row: &Row, tag: i64, now: Time) -> Result<(), LedgerError> {
        match row {
            Row::Seen { key, leg, cell } => self.write_leg(key, *leg, cell, cell.position.partition).await,
            Row::Purchase(purchase) => self.write_purchase(purchase).await,
            Row::Lead(lead) => self.write_lead(lead).await,
            Row::Visitor(visitor) => self.write_visitor(visitor).await,
            Row::Person(person) => self.write_person(person).await,
            Row::PersonKey(key) => self.write_person_key(key).await,
            Row::FilterSnapshot(snapshot) => self.write_snapshot(snapshot).await,
            Row::Intent(intent) => self.write_intent(stamp::epoch_of(tag), intent).await,
            Row::Delivery(delivery) => self.write_delivery(delivery, tag).await,
            Row::Waiting(waiting) => self.write_waiting(waiting, tag, now).await,
            Row::WaitingDone { pixel_id, deadline_hour, dedup_key } => self.drop_waiting(pixel_id, *deadline_hour, dedup_key, tag).await,
        }
    }
}

/// A key under which the sink may write twice in one call: table (by the hour it has), pixel, dedup key.
type Tagged<'a> = (Option<i64>, &'a str, &'a str);

fn tagged(row: &Row) -> Option<Tagged<'_>> {
    match row {
        Row::Delivery(row) => Some((None, row.pixel_id.as_str(), &row.dedup_key)),
        Row::Waiting(row) => Some((Some(row.deadline_hour), row.dispatch.pixel_id.as_str(), &row.dispatch.dedup_key)),
        Row::WaitingDone { pixel_id, deadline_hour, dedup_key } => Some((Some(*deadline_hour), pixel_id.as_str(), dedup_key)),
        Row::Seen { .. }
        | Row::Purchase(_)
        | Row::Lead(_)
        | Row::Visitor(_)
        | Row::Person(_)
        | Row::PersonKey(_)
        | Row::FilterSnapshot(_)
        | Row::Intent(_) => None,
    }
}

/// The rows without those that a later one replaces: under one tag the server could not tell which came later.
fn latest(rows: &[Row]) -> Vec<&Row> {
    let mut last = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        if let Some(key) = tagged(row) {
            last.insert(key, at);
        }
    }
    let stays = |at: usize, row: &Row| tagged(row).is_none_or(|key| last.get(&key) == Some(&at));
    rows.iter().enumerate().filter(|(at, row)| stays(*at, row)).map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use schemas::id::PixelId;

    use super::*;

    #[test]
    fn of_two_rows_with_one_key_the_later_stays() {
        let done = |hour, key: &str| Row::WaitingDone {
            pixel_id: PixelId::parse("7").expect("an id"),
            deadline_hour: hour,
            dedup_key: key.into(),
        };
        let rows = [done(1, "a"), done(2, "a"), done(1, "b"), done(1, "a")];
        let kept: Vec<_> = latest(&rows).into_iter().map(|row| rows.iter().position(|other| std::ptr::eq(other, row))).collect();
        assert_eq!(kept, [Some(1), Some(2), Some(3)]);
    }
}
