//! Tables `purchases`, `leads` and their rows by day: what was concluded, newest revision.

use futures_util::future::try_join;
use schemas::{
    fact::{Lead, Purchase},
    id::FunnelId,
};
use serde::de::DeserializeOwned;

use super::{
    Ledger, cell,
    error::LedgerError,
    key::{day_bucket, event_key, fact_key, order_key},
    stamp,
    statement::Statement,
};
use crate::ledger::Page;

/// Purchases and leads say the same things of themselves.
macro_rules! write {
    ($(#[$doc:meta])* $name:ident $kind:ident $row:ident $by_day:ident) => {
        $(#[$doc])*
        pub(super) async fn $name(&self, fact: &$kind) -> Result<(), LedgerError> {
            let key = fact_key(fact.order_id.as_ref(), &fact.event_id);
            let (funnel, text, stamp) = (fact.funnel_id.as_str(), cell::text(fact), stamp::fact(fact.position, fact.revision));
            let by_day = (funnel, fact.received_at.day(), day_bucket(&key), &key, &text, stamp);
            let row = self.client().run(Statement::$row, (funnel, &key, &text, stamp));
            try_join(row, self.client().run(Statement::$by_day, by_day)).await.map(drop)
        }
    };
}

impl Ledger {
    write!(
        /// Writes a purchase, by its key and by its day.
        write_purchase Purchase WritePurchase WritePurchaseByDay
    );
    write!(
        /// Writes a lead, by its key and by its day.
        write_lead Lead WriteLead WriteLeadByDay
    );

    /// A purchase by order id, or else by event id.
    pub(crate) async fn purchase(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Purchase>, LedgerError> {
        let of = |key: String| async move {
            let rows = self.client().rows(Statement::ReadPurchase, (funnel.as_str(), &key)).await?;
            let row = rows.maybe_first_row::<(&str,)>().map_err(|cause| LedgerError::row("purchases", cause))?;
            row.map(|(text,)| cell::read("purchases", text)).transpose()
        };
        let (order, event) = try_join(of(order_key(order_or_event_id)), of(event_key(order_or_event_id))).await?;
        Ok(order.or(event))
    }

    /// Purchases, in no order that means something, each once.
    pub(crate) async fn purchases(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Purchase>, LedgerError> {
        self.page_of("purchases", Statement::PagePurchases, after, limit).await
    }

    /// Leads, in no order that means something, each once.
    pub(crate) async fn leads(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Lead>, LedgerError> {
        self.page_of("leads", Statement::PageLeads, after, limit).await
    }

    /// One page of a table whose rows are one cell; the cursor is the server's own.
    pub(super) async fn page_of<T: DeserializeOwned>(
        &self,
        table: &str,
        statement: Statement,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page<T>, LedgerError> {
        let mut page = Page { rows: Vec::new(), next: after };
        loop {
            let (rows, next) = self.client().page(statement, (), page.next, Some(limit - page.rows.len())).await?;
            for row in rows.rows::<(&str,)>().map_err(|cause| LedgerError::row(table, cause))? {
                let (text,) = row.map_err(|cause| LedgerError::row(table, cause))?;
                page.rows.push(cell::read(table, text)?);
            }
            page.next = next;
            // A server may end a page early, even with no row in it.
            if page.next.is_none() || page.rows.len() >= limit {
                return Ok(page);
            }
        }
    }
}
