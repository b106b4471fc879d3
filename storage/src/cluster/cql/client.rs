//! One statement at a time: prepared, bounded, measured.

use std::{sync::Arc, time::Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use prometheus::{Histogram, IntCounter, IntGauge};
use scylla::{
    client::session::Session,
    deserialize::row::DeserializeRow,
    errors::ExecutionError,
    response::{
        PagingState, PagingStateResponse,
        query_result::{QueryResult, QueryRowsResult},
    },
    serialize::row::SerializeRow,
    statement::prepared::PreparedStatement,
};
use tokio::sync::Semaphore;

use super::{
    config::CqlConfig,
    connect::{Connected, Profiles},
    error::LedgerError,
    metrics::Metrics,
    statement::Statement,
};

/// Statements prepared at one time.
const PREPARED_AT_ONCE: usize = 16;
/// Rows of a scan's page: the server looks through the rows of all partitions for them, and must answer in time.
const SCAN_ROWS: i32 = 500;
/// Pieces of a snapshot in a page: 4 MiB.
const SNAPSHOT_PIECES: i32 = 8;

/// The session with every statement prepared.
pub(super) struct Client {
    pub(super) session: Session,
    statements: Vec<Prepared>,
    turns: Semaphore,
    pub(super) in_flight_max: usize,
    pub(super) metrics: Metrics,
}

struct Prepared {
    statement: PreparedStatement,
    seconds: Histogram,
    errors: IntCounter,
}

/// Where the next page begins.
pub(super) type Next = Option<Vec<u8>>;

impl Client {
    /// Prepares every statement in the keyspace that the session has entered.
    pub(super) async fn prepare(connected: Connected, config: &CqlConfig) -> Result<Self, String> {
        let profiles = Profiles::new(config, &connected.datacenter);
        let metrics = Metrics::new();
        let session = connected.session;
        let statements = stream::iter(Statement::ALL)
            .map(|statement| prepare(&session, statement, &profiles, &metrics))
            .buffered(PREPARED_AT_ONCE)
            .try_collect()
            .await?;
        let in_flight_max = config.in_flight_max;
        Ok(Self { session, statements, turns: Semaphore::new(in_flight_max), in_flight_max, metrics })
    }

    /// Runs a statement whose answer is one page.
    pub(super) async fn run(&self, statement: Statement, values: impl SerializeRow) -> Result<QueryResult, LedgerError> {
        let prepared = self.prepared(statement);
        self.measured(prepared, Box::pin(self.session.execute_unpaged(&prepared.statement, values))).await
    }

    /// Runs a statement and answers its rows.
    pub(super) async fn rows(&self, statement: Statement, values: impl SerializeRow) -> Result<QueryRowsResult, LedgerError> {
        self.run(statement, values).await?.into_rows_result().map_err(LedgerError::transient)
    }

    /// One page of a statement's rows, beginning at `from`, with as many rows as asked for or as the statement has by itself.
    pub(super) async fn page(
        &self,
        statement: Statement,
        values: impl SerializeRow,
        from: Next,
        rows: Option<usize>,
    ) -> Result<(QueryRowsResult, Next), LedgerError> {
        let prepared = self.prepared(statement);
        let resized;
        let text = match rows {
            Some(rows) => {
                resized = sized(prepared.statement.clone(), i32::try_from(rows).unwrap_or(i32::MAX).max(1));
                &resized
            }
            None => &prepared.statement,
        };
        let state = from.map_or_else(PagingState::start, PagingState::new_from_raw_bytes);
        let (answer, next) = self.measured(prepared, Box::pin(self.session.execute_single_page(text, values, state))).await?;
        let next = match next {
            PagingStateResponse::HasMorePages { state } => state.as_bytes_slice().map(|bytes| Arc::as_ref(bytes).to_vec()),
            PagingStateResponse::NoMorePages => None,
        };
        Ok((answer.into_rows_result().map_err(LedgerError::transient)?, next))
    }

    /// All rows of a statement, page after page.
    pub(super) async fn all<R>(&self, statement: Statement, values: impl SerializeRow + Copy) -> Result<Vec<R>, LedgerError>
    where
        R: for<'row> DeserializeRow<'row, 'row>,
    {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let (rows, next) = self.page(statement, values, from, None).await?;
            for row in rows.rows::<R>().map_err(|cause| LedgerError::row(statement.label(), cause))? {
                all.push(row.map_err(|cause| LedgerError::row(statement.label(), cause))?);
            }
            if next.is_none() {
                return Ok(all);
            }
            from = next;
        }
    }

    fn prepared(&self, statement: Statement) -> &Prepared {
        &self.statements[statement as usize]
    }

    /// Waits for a turn, then for the answer. The driver's future takes eight KiB, so it comes in a box: those that wait for it stay small.
    async fn measured<T>(&self, prepared: &Prepared, answer: impl Future<Output = Result<T, ExecutionError>>) -> Result<T, LedgerError> {
        let _turn = self.turns.acquire().await.map_err(LedgerError::transient)?;
        let _under_way = UnderWay::begin(&self.metrics.in_flight);
        let began = Instant::now();
        let answer = answer.await;
        prepared.seconds.observe(began.elapsed().as_secs_f64());
        answer.map_err(|cause| {
            prepared.errors.inc();
            LedgerError::transient(cause)
        })
    }
}

async fn prepare(session: &Session, statement: Statement, profiles: &Profiles, metrics: &Metrics) -> Result<Prepared, String> {
    let prepared = session.prepare(statement.text()).await;
    let mut prepared = prepared.map_err(|cause| format!("the CQL server does not take {:?}: {cause}", statement.text()))?;
    let (profile, is_repeatable) = profiles.of(statement.kind());
    prepared.set_execution_profile_handle(Some(profile));
    prepared.set_is_idempotent(is_repeatable);
    let prepared = match statement {
        Statement::ScanSeen => sized(prepared, SCAN_ROWS),
        Statement::ReadSnapshotPieces => sized(prepared, SNAPSHOT_PIECES),
        _ => prepared,
    };
    let (seconds, errors) = metrics.of(statement);
    Ok(Prepared { statement: prepared, seconds, errors })
}

fn sized(mut statement: PreparedStatement, rows: i32) -> PreparedStatement {
    statement.set_page_size(rows);
    statement
}

/// Counts a statement while it is under way, dropped or answered.
struct UnderWay<'a>(&'a IntGauge);

impl<'a> UnderWay<'a> {
    fn begin(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
