//! The ledger's tables on a CQL server: ScyllaDB, or any server of the same dialect. Key, writer and retention of each table stand in its
//! file in `schemas/cql`.
//!
//! Every write but an owner's is an idempotent upsert whose stamp is handed in or follows from the log: the same row written again
//! changes nothing, and an older word loses. So writes need no conditions and may be tried as often as one likes.

mod config;
mod connect;
mod metrics;
mod migrate;
mod moving;
mod owners;
mod put;
mod reads;
mod snapshots;
mod statements;
mod waiting;
mod write;

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use prometheus::Histogram;
use scylla::{
    client::session::Session,
    response::{PagingState, PagingStateResponse, query_result::QueryResult},
    serialize::row::SerializeRow,
};
use tokio::sync::Semaphore;

use self::statements::{Asked, Statements};
use crate::OpenError;

pub use config::CqlConfig;
pub(crate) use metrics::Metrics;
pub(crate) use reads::TopicMade;
pub(crate) use write::Stamped;

/// The tables. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Inner>);

struct Inner {
    config: CqlConfig,
    /// Unset until the server was reached for the first time.
    live: OnceLock<Live>,
    /// Statements on their way at once.
    room: Semaphore,
    in_flight_max: usize,
    metrics: Metrics,
}

/// A session, and its statements.
struct Live {
    session: Session,
    statements: Statements,
    batch_seconds: Histogram,
}

/// The name of statements in company, in metrics.
const BATCH: &str = "batch";

/// Why the ledger did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// Try again: the server is away, slow, or short of replicas.
    #[error("{0}")]
    Transient(String),
    /// What is stored cannot be read.
    #[error("a row of the table {0} is damaged: {1}")]
    Damaged(&'static str, String),
}

impl Ledger {
    /// Connects, and refuses a keyspace that is not as [`Ledger::migrate`] made it.
    pub(crate) async fn open(config: &CqlConfig) -> Result<Self, OpenError> {
        let ledger = Self::unreached(config);
        ledger.reach().await?;
        Ok(ledger)
    }

    /// Answers nothing yet: see [`Ledger::reach`].
    pub(crate) fn unreached(config: &CqlConfig) -> Self {
        let in_flight_max = config.in_flight_max.max(1);
        let (room, metrics) = (Semaphore::new(in_flight_max), Metrics::new());
        Self(Arc::new(Inner { config: config.clone(), live: OnceLock::new(), room, in_flight_max, metrics }))
    }

    /// Connects for the first time.
    pub(crate) async fn reach(&self) -> Result<(), OpenError> {
        let Inner { config, metrics, .. } = &*self.0;
        let session = connect::connect(config).await?;
        migrate::check(&session, config).await?;
        let statements = Statements::prepare(&session, config, metrics).await?;
        let batch_seconds = metrics.seconds.with_label_values(&[BATCH]);
        let _ = self.0.live.set(Live { session, statements, batch_seconds }); // one that was there already serves as well
        Ok(())
    }

    /// Makes the keyspace and the tables that are not there. Answers their names.
    pub(crate) async fn migrate(config: &CqlConfig) -> Result<Vec<String>, OpenError> {
        let session = connect::connect(config).await?;
        migrate::migrate(&session, config).await.map_err(OpenError::Cluster)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn live(&self) -> Result<&Live, LedgerError> {
        self.0.live.get().ok_or_else(|| LedgerError::Transient("no CQL server was reached yet".to_owned()))
    }

    fn statements(&self) -> Result<&Statements, LedgerError> {
        self.live().map(|live| &live.statements)
    }

    /// One statement, in its turn.
    async fn run(&self, asked: &Asked, values: impl SerializeRow) -> Result<QueryResult, LedgerError> {
        self.in_turn(asked.name, &asked.seconds, self.live()?.session.execute_unpaged(&asked.statement, values)).await
    }

    /// One page of a statement's answer, in its turn.
    async fn run_page(
        &self,
        asked: &Asked,
        values: impl SerializeRow,
        state: PagingState,
    ) -> Result<(QueryResult, PagingStateResponse), LedgerError> {
        self.in_turn(asked.name, &asked.seconds, self.live()?.session.execute_single_page(&asked.statement, values, state)).await
    }

    async fn in_turn<T, E: std::fmt::Display>(
        &self,
        name: &str,
        seconds: &Histogram,
        statement: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LedgerError> {
        let _turn = self.0.room.acquire().await.map_err(|_| LedgerError::Transient("the session is closing".to_owned()))?;
        let began = Instant::now();
        self.0.metrics.in_flight.inc();
        let answer = statement.await;
        self.0.metrics.in_flight.dec();
        seconds.observe(began.elapsed().as_secs_f64());
        answer.map_err(|error| {
            self.0.metrics.errors.with_label_values(&[name]).inc();
            LedgerError::Transient(format!("{name}: {error}"))
        })
    }
}

/// A cell's JSON as its type.
fn from_json<T: serde::de::DeserializeOwned>(table: &'static str, text: &str) -> Result<T, LedgerError> {
    serde_json::from_str(text).map_err(|error| LedgerError::Damaged(table, error.to_string()))
}

/// A value as a cell's JSON.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() // the words of schemas are JSON: string keys and finite numbers
}

/// Rows of a shape that the statement does not have: the table was changed by somebody else.
fn shape(table: &'static str, error: &impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged(table, error.to_string())
}
