//! What the cluster engine needs to open.

use std::{fmt, path::PathBuf};

use super::cql::CqlConfig;

/// The log's settings.
#[derive(Clone)]
pub struct KafkaConfig {
    /// Brokers to begin with, `host:port`.
    pub brokers: Vec<String>,
    /// Before each topic's name: the topic is `<prefix><name>.v1`.
    pub prefix: String,
    /// Copies of each partition; used when topics are made.
    pub replication: u32,
    /// Copies that must have a record before it counts as durable; used when topics are made.
    pub min_insync_replicas: u32,
    /// Settings of `librdkafka` for every client, as they are: TLS, SASL.
    pub properties: Vec<(String, String)>,
    /// A process that was silent for so long loses its partitions.
    pub session_timeout_ms: u32,
    /// An append that the brokers have not acknowledged within this has failed.
    pub delivery_timeout_ms: u32,
    /// The brokers abort the open transaction of a silent process after this.
    pub transaction_timeout_ms: u32,
    /// Bytes of records in one transaction.
    pub step_bytes_max: usize,
    /// Bytes fetched ahead per reader of a partition.
    pub fetch_bytes_max: usize,
}

impl fmt::Debug for KafkaConfig {
    /// Properties may hold passwords: only their names are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.properties.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("prefix", &self.prefix)
            .field("properties", &names)
            .finish_non_exhaustive()
    }
}

/// Log and ledger of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The log.
    pub kafka: KafkaConfig,
    /// The ledger.
    pub cql: CqlConfig,
    /// Partitions of each topic that is not single; fixed when the topics are made.
    pub partitions: u32,
    /// A name of this process that it keeps over restarts: the brokers abort at once what it left open. Two processes of one name
    /// would stop each other.
    pub instance: String,
    /// A file in which the topics are kept as they were last found: with it, the engine opens while the servers are away. For a door
    /// that has a spool; nobody else can do anything without them.
    pub known_topics: Option<PathBuf>,
    /// Tests only: see [`crate::Config::pause_at`]; also `judge.rows` and `outcome.rows`, between the ledger's rows and the
    /// transaction.
    pub pause_at: Option<String>,
}
