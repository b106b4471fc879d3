//! Rows come back as the words of `schemas`.

use std::collections::HashMap;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use schemas::{
    delivery::Delivery,
    fact::{Lead, Purchase},
    id::{FunnelId, PixelId, VisitorId},
    person::Digest,
    row::{PersonKey, PersonRow, Seen, Visitor},
};
use scylla::{
    deserialize::row::DeserializeRow,
    response::{PagingState, PagingStateResponse},
    serialize::row::SerializeRow,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{Ledger, LedgerError, from_json, shape, statements::Asked, write};
use crate::ledger::Page;

/// As what a topic was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicMade {
    pub(crate) generation: u32,
    pub(crate) partitions: u32,
}

/// The judge's tables.
impl Ledger {
    /// What is known of dedup keys, in their order.
    pub(crate) async fn seen(&self, keys: &[String]) -> Result<Vec<Option<Seen>>, LedgerError> {
        let asked: Vec<BoxFuture<'_, _>> = keys.iter().map(|key| self.seen_one(key).boxed()).collect();
        stream::iter(asked).buffered(self.0.in_flight_max).try_collect().await
    }

    /// The same of one key.
    pub(crate) async fn seen_one(&self, key: &str) -> Result<Option<Seen>, LedgerError> {
        let row = self.one_row::<Legs>(&self.statements()?.get_seen, (write::funnel_of(key), key), "seen").await?;
        row.map(seen).transpose()
    }

    /// Every row of a raw partition. A page at a time, so that a large table does not run into the time of one statement.
    pub(crate) async fn scan_seen(&self, raw_partition: u32, each: &mut (dyn FnMut(&str, &Seen) + Send)) -> Result<(), LedgerError> {
        let mut state = PagingState::start();
        loop {
            let (rows, next) = self
                .page_rows::<(String, String, Option<String>, Option<String>)>(
                    &self.statements()?.scan_seen,
                    (raw_partition as i32,),
                    state,
                    "seen",
                )
                .await?;
            for (_, key, browser, server) in rows {
                each(&key, &seen((browser, server))?);
            }
            match next {
                Some(next) => state = next,
                None => return Ok(()),
            }
        }
    }

    pub(crate) async fn visitor(&self, funnel: &FunnelId, visitor: &VisitorId) -> Result<Option<Visitor>, LedgerError> {
        type Cells = (Option<String>, Option<String>, Option<String>);
        let row = self.one_row::<Cells>(&self.statements()?.get_visitor, write::visitor_key(funnel, visitor), "visitors").await?;
        let Some((person, context, consent)) = row else { return Ok(None) };
        Ok(Some(Visitor {
            funnel_id: funnel.clone(),
            visitor_id: visitor.clone(),
            person: cell("visitors", person)?,
            context: cell("visitors", context)?,
            consent: cell("visitors", consent)?,
        }))
    }

    pub(crate) async fn person(&self, funnel: &FunnelId, email: &Digest) -> Result<Option<PersonRow>, LedgerError> {
        type Cells = (Option<String>, Option<String>);
        let row = self.one_row::<Cells>(&self.statements()?.get_person, write::person_key(funnel, email), "people").await?;
        let Some((context, consent)) = row else { return Ok(None) };
        Ok(Some(PersonRow {
            funnel_id: funnel.clone(),
            email: *email,
            context: cell("people", context)?,
            consent: cell("people", consent)?,
        }))
    }

    pub(crate) async fn person_keys(&self, funnel: &FunnelId, email: &Digest) -> Result<Vec<PersonKey>, LedgerError> {
        let asked = &self.statements()?.get_person_keys;
        let rows = self.all_rows::<(Uuid, String)>(asked, write::person_key(funnel, email), "person_keys").await?;
        let key = |(key_id, sealed): (Uuid, String)| {
            let key = from_json("person_keys", &sealed)?;
            Ok(PersonKey { funnel_id: funnel.clone(), email: *email, key_id, key })
        };
        rows.into_iter().map(key).collect()
    }
}

/// The sink's tables.
impl Ledger {
    /// A delivery with its stamp.
    pub(crate) async fn delivery(&self, pixel: &PixelId, dedup_key: &str) -> Result<Option<(Delivery, i64)>, LedgerError> {
        let asked = &self.statements()?.get_delivery;
        match self.one_row::<(Option<String>, Option<i64>)>(asked, (pixel.as_str(), dedup_key), "deliveries").await? {
            Some((Some(delivery), Some(stamp))) => Ok(Some((from_json("deliveries", &delivery)?, stamp))),
            _ => Ok(None),
        }
    }
}

/// What people look at.
impl Ledger {
    pub(crate) async fn purchases(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Purchase>, LedgerError> {
        self.page(&self.statements()?.page_purchases, after, limit, "purchases").await
    }

    pub(crate) async fn leads(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Lead>, LedgerError> {
        self.page(&self.statements()?.page_leads, after, limit, "leads").await
    }

    pub(crate) async fn deliveries(&self, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Delivery>, LedgerError> {
        self.page(&self.statements()?.page_deliveries, after, limit, "deliveries").await
    }

    pub(crate) async fn purchase(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Purchase>, LedgerError> {
        self.fact(&self.statements()?.get_purchase, funnel, order_or_event_id, "purchases").await
    }

    pub(crate) async fn lead(&self, funnel: &FunnelId, order_or_event_id: &str) -> Result<Option<Lead>, LedgerError> {
        self.fact(&self.statements()?.get_lead, funnel, order_or_event_id, "leads").await
    }

    async fn fact<T: DeserializeOwned>(
        &self,
        asked: &Asked,
        funnel: &FunnelId,
        order_or_event_id: &str,
        table: &'static str,
    ) -> Result<Option<T>, LedgerError> {
        for key in [write::fact_key(Some(order_or_event_id), ""), write::fact_key(None, order_or_event_id)] {
            if let Some((fact,)) = self.one_row::<(String,)>(asked, (funnel.as_str(), key), table).await? {
                return from_json(table, &fact).map(Some);
            }
        }
        Ok(None)
    }

    /// Pages in the order of the server's tokens; the cursor is the server's own.
    async fn page<T: DeserializeOwned>(
        &self,
        asked: &Asked,
        after: Option<Vec<u8>>,
        limit: usize,
        table: &'static str,
    ) -> Result<Page<T>, LedgerError> {
        let mut state = after.map_or_else(PagingState::start, PagingState::new_from_raw_bytes);
        let mut sized = Asked { name: asked.name, statement: asked.statement.clone(), seconds: asked.seconds.clone() };
        sized.statement.set_page_size(limit.clamp(1, 10_000) as i32);
        loop {
            // A page may be empty and still not the last, where much was deleted.
            let (rows, next) = self.page_rows::<(String,)>(&sized, (), state, table).await?;
            let rows: Vec<T> = rows.into_iter().map(|(fact,)| from_json(table, &fact)).collect::<Result<_, _>>()?;
            match next {
                Some(next) if rows.is_empty() => state = next,
                next => return Ok(Page { rows, next: next.and_then(|next| next.as_bytes_slice().map(|bytes| bytes.to_vec())) }),
            }
        }
    }
}

/// The topics' book.
impl Ledger {
    pub(crate) async fn topics(&self) -> Result<HashMap<String, TopicMade>, LedgerError> {
        let rows = self.all_rows::<(String, i32, i32)>(&self.statements()?.get_topics, (), "topics").await?;
        let made = |(name, generation, partitions): (String, i32, i32)| {
            (name, TopicMade { generation: generation as u32, partitions: partitions as u32 })
        };
        Ok(rows.into_iter().map(made).collect())
    }

    pub(crate) async fn set_topic(&self, name: &str, made: TopicMade) -> Result<(), LedgerError> {
        self.run(&self.statements()?.put_topic, (name, made.generation as i32, made.partitions as i32)).await.map(drop)
    }
}

/// Answers as rows.
impl Ledger {
    pub(super) async fn one_row<T>(&self, asked: &Asked, values: impl SerializeRow, table: &'static str) -> Result<Option<T>, LedgerError>
    where
        T: for<'a> DeserializeRow<'a, 'a>,
    {
        let answer = self.run(asked, values).await?.into_rows_result().map_err(|error| shape(table, &error))?;
        answer.maybe_first_row::<T>().map_err(|error| shape(table, &error))
    }

    /// All rows, page by page. For reads whose number of rows has a bound.
    pub(super) async fn all_rows<T>(&self, asked: &Asked, values: impl SerializeRow, table: &'static str) -> Result<Vec<T>, LedgerError>
    where
        T: for<'a> DeserializeRow<'a, 'a>,
    {
        let mut all = Vec::new();
        let mut state = PagingState::start();
        loop {
            let (rows, next) = self.page_rows::<T>(asked, &values, state, table).await?;
            all.extend(rows);
            match next {
                Some(next) => state = next,
                None => return Ok(all),
            }
        }
    }

    async fn page_rows<T>(
        &self,
        asked: &Asked,
        values: impl SerializeRow,
        state: PagingState,
        table: &'static str,
    ) -> Result<(Vec<T>, Option<PagingState>), LedgerError>
    where
        T: for<'a> DeserializeRow<'a, 'a>,
    {
        let (answer, next) = self.run_page(asked, values, state).await?;
        let answer = answer.into_rows_result().map_err(|error| shape(table, &error))?;
        let rows = answer.rows::<T>().map_err(|error| shape(table, &error))?;
        let rows = rows.map(|row| row.map_err(|error| shape(table, &error))).collect::<Result<_, _>>()?;
        let next = match next {
            PagingStateResponse::HasMorePages { state } => Some(state),
            PagingStateResponse::NoMorePages => None,
        };
        Ok((rows, next))
    }
}

type Legs = (Option<String>, Option<String>);

fn seen((browser, server): Legs) -> Result<Seen, LedgerError> {
    let leg = |text: Option<String>| text.map(|text| from_json("seen", &text)).transpose();
    Ok(Seen { browser: leg(browser)?, server: leg(server)? })
}

fn cell<T: DeserializeOwned>(table: &'static str, text: Option<String>) -> Result<Option<T>, LedgerError> {
    text.map(|text| from_json(table, &text)).transpose()
}
