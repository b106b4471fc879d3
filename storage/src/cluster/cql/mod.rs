//! The ledger on a CQL server: ScyllaDB, or Apache Cassandra of the same dialect.
//!
//! Every row is written under a timestamp that is a function of what was read ([`stamp`]), so a step written twice, or by two processes
//! that overlap for a moment, or out of order, comes to the same. Conditional writes are needed in one place only: whose turn it is to
//! send a partition of `dispatch` ([`owner`]). The tables are `schemas/cql`, one file each.

mod at_once;
mod cell;
mod checksum;
mod client;
mod conditional;
mod config;
mod connect;
mod delivery;
mod error;
mod fact;
mod filter_snapshot;
mod intent;
mod key;
mod metrics;
mod migrate;
mod migration;
mod owner;
mod person;
mod seen;
mod stamp;
mod statement;
mod tls;
mod topic;
mod waiting;
mod write;

#[cfg(test)]
mod live;

use std::sync::Arc;

pub use config::CqlConfig;
pub(crate) use error::LedgerError;
pub(crate) use metrics::Metrics;
pub(crate) use topic::TopicMade;

use client::Client;
use connect::connect;
use owner::Turns;

/// A handle to the ledger. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Inner>);

struct Inner {
    client: Client,
    turns: Turns,
}

impl Ledger {
    /// Connects, and refuses with a sentence unless keyspace and tables are there.
    pub(crate) async fn open(config: &CqlConfig) -> Result<Self, String> {
        let connected = connect(config).await?;
        migrate::look(&connected.session, &config.keyspace).await?;
        Ok(Self(Arc::new(Inner { client: Client::prepare(connected, config).await?, turns: Turns::default() })))
    }

    /// Makes keyspace and tables as far as they are missing; answers the names of the files that were applied now.
    pub(crate) async fn migrate(config: &CqlConfig) -> Result<Vec<String>, String> {
        migrate::migrate(config, &connect(config).await?).await
    }

    /// The client's metrics, to be registered by the house.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.client().metrics
    }

    /// The server's name and version.
    pub(crate) async fn server_version(&self) -> Result<String, LedgerError> {
        let session = &self.client().session;
        let (name, select) = if migrate::is_scylla(session).await {
            ("ScyllaDB", "SELECT version FROM system.versions WHERE key = 'local'")
        } else {
            ("Apache Cassandra", "SELECT release_version FROM system.local")
        };
        let rows = session.query_unpaged(select, &[]).await.map_err(LedgerError::transient)?;
        let rows = rows.into_rows_result().map_err(LedgerError::transient)?;
        let (version,) = rows.single_row::<(String,)>().map_err(LedgerError::transient)?;
        Ok(format!("{name} {version}"))
    }

    /// Empties every table; which files were applied stays noted.
    pub(crate) async fn truncate_all(&self) -> Result<(), LedgerError> {
        for migration in &migration::ALL {
            let truncate = format!("TRUNCATE {}", migration.table());
            self.client().session.query_unpaged(truncate, &[]).await.map_err(LedgerError::transient)?;
        }
        Ok(())
    }

    fn client(&self) -> &Client {
        &self.0.client
    }

    fn turns(&self) -> &Turns {
        &self.0.turns
    }
}
