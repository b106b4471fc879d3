//! The sections `[storage.kafka]`, `[storage.cql]` and `[spool]`, and the files they name.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use storage::{ClusterConfig, CqlConfig, KafkaConfig, SpoolConfig};

use super::ConfigError;

/// The servers of a cluster, as the settings name them.
#[derive(Clone, Debug)]
pub struct Cluster {
    kafka: KafkaConfig,
    cql: CqlConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kafka {
    brokers: Vec<String>,
    prefix: String,
    replication: u32,
    min_insync_replicas: u32,
    properties: Vec<String>,
    properties_file: PathBuf,
    session_timeout_ms: u32,
    delivery_timeout_ms: u32,
    transaction_timeout_ms: u32,
    step_bytes_max: usize,
    fetch_bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cql {
    nodes: Vec<String>,
    keyspace: String,
    datacenter: String,
    replication_factor: u32,
    username: String,
    password_file: PathBuf,
    tls: bool,
    tls_ca_file: PathBuf,
    request_timeout_ms: u64,
    in_flight_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spool {
    dir: PathBuf,
    after_ms: u64,
    drain_timeout_ms: u64,
}

impl Spool {
    /// What storage needs; `None` where no folder is named.
    pub(super) fn config(self, shared: &storage::Config) -> Option<SpoolConfig> {
        (!self.dir.as_os_str().is_empty()).then_some(SpoolConfig {
            folder: self.dir,
            after: Duration::from_millis(self.after_ms),
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
            free_bytes_min: shared.free_bytes_min,
            queue_bytes_max: shared.queue_bytes_max,
        })
    }
}

impl Cluster {
    pub(super) fn new(kafka: Kafka, cql: Cql) -> Result<Self, ConfigError> {
        let mut properties = pairs("storage.kafka.properties", &kafka.properties)?;
        if let Some(text) = read("storage.kafka.properties_file", &kafka.properties_file)? {
            let lines: Vec<String> =
                text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
            properties.extend(pairs("storage.kafka.properties_file", &lines)?);
        }
        let password = read("storage.cql.password_file", &cql.password_file)?.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        Ok(Self {
            kafka: KafkaConfig {
                brokers: kafka.brokers,
                prefix: kafka.prefix,
                replication: kafka.replication,
                min_insync_replicas: kafka.min_insync_replicas,
                properties,
                session_timeout_ms: kafka.session_timeout_ms,
                delivery_timeout_ms: kafka.delivery_timeout_ms,
                transaction_timeout_ms: kafka.transaction_timeout_ms,
                step_bytes_max: kafka.step_bytes_max,
                fetch_bytes_max: kafka.fetch_bytes_max,
            },
            cql: CqlConfig {
                nodes: cql.nodes,
                keyspace: cql.keyspace,
                datacenter: cql.datacenter,
                replication_factor: cql.replication_factor,
                username: cql.username,
                password: password.unwrap_or_default(),
                tls: cql.tls,
                tls_ca_file: Some(cql.tls_ca_file).filter(|file| !file.as_os_str().is_empty()),
                request_timeout_ms: cql.request_timeout_ms,
                in_flight_max: cql.in_flight_max,
            },
        })
    }

    /// What storage needs, for a process of that name. A door with a spool can do without the servers for a while.
    pub fn config(&self, shared: &storage::Config, instance: String, spool: Option<&SpoolConfig>) -> ClusterConfig {
        ClusterConfig {
            kafka: self.kafka.clone(),
            cql: self.cql.clone(),
            partitions: shared.partitions,
            instance,
            known_topics: spool.map(|spool| spool.folder.join("topics.json")),
            pause_at: shared.pause_at.clone(),
        }
    }
}

fn pairs(setting: &'static str, lines: &[String]) -> Result<Vec<(String, String)>, ConfigError> {
    let pair = |line: &String| match line.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        // The line may be half a secret: only its beginning up to a sign is shown, which here is all there is of a name.
        None => Err(ConfigError::Wrong {
            origin: setting.to_owned(),
            setting: format!("{:?}", line.chars().take(24).collect::<String>()),
            why: "must be name=value".to_owned(),
        }),
    };
    lines.iter().map(pair).collect()
}

fn read(setting: &'static str, file: &Path) -> Result<Option<String>, ConfigError> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file);
    text.map(Some).map_err(|error| ConfigError::File { setting, file: file.to_owned(), why: error.to_string() })
}
