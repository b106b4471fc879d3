//! Table `deliveries`: what became of each dispatch.

use schemas::{delivery::Delivery, id::PixelId};

use super::{Ledger, cell, error::LedgerError, stamp, statement::Statement};
use crate::ledger::Page;

const TABLE: &str = "deliveries";

impl Ledger {
    /// Writes the whole row under that tag: over one with a lower tag, never over one with a higher.
    pub(super) async fn write_delivery(&self, row: &Delivery, tag: i64) -> Result<(), LedgerError> {
        let values = (row.pixel_id.as_str(), &row.dedup_key, cell::text(row), tag, stamp::delivery_s(row.outcome.is_some()));
        self.client().run(Statement::WriteDelivery, values).await.map(drop)
    }

    /// One delivery, and the tag under which it was written.
    pub(crate) async fn delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<(Delivery, i64)>, LedgerError> {
        let rows = self.client().rows(Statement::ReadDelivery, (pixel.as_str(), dedup_key)).await?;
        let row = rows.maybe_first_row::<(&str, i64)>().map_err(|cause| LedgerError::row(TABLE, cause))?;
        row.map(|(text, tag)| Ok((cell::read(TABLE, text)?, tag))).transpose()
    }

    /// Deliveries, in no order that means something, each once.
    pub(crate) async fn deliveries(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Delivery>, LedgerError> {
        self.page_of(TABLE, Statement::PageDeliveries, after, limit).await
    }
}
