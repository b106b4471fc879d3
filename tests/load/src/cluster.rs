//! The program as a cluster: roles as processes of their own, on topics and tables that no other run has.
//!
//! They are removed when everything is measured: a server throws what was removed away for a minute afterwards, and whoever asks it
//! something meanwhile waits for up to a second.

pub mod bare;
pub mod door;
pub mod judge;
mod member;
pub mod reads;
pub mod scaling;
pub mod webhook;

use std::{
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use rand::Rng;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use schemas::{topic::Topic, world::World};
use scylla::client::session_builder::SessionBuilder;
use storage::{ClusterConfig, CqlConfig, KafkaConfig, Storage};

pub use member::Member;

use crate::{
    program::{self, Account},
    traffic::RealWorld,
};

/// Partitions of each topic, as the settings have them that are shipped.
const PARTITIONS: u32 = 4;
/// Names of all that were made.
static MADE: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// A CQL server drops a keyspace of many tables slowly.
const DROP: Duration = Duration::from_secs(60);

/// The servers that the environment names.
pub struct Servers {
    kafka: String,
    cql: String,
}

impl Servers {
    /// What is said when it names none.
    pub const MISSING: &str =
        "RAPIDMETRICS_TEST_KAFKA and RAPIDMETRICS_TEST_CQL name no broker and CQL server (tests/load/run starts them, if they can be had)";

    /// Those of the environment.
    pub fn named() -> Option<Self> {
        let server = |name: &str| std::env::var(name).ok();
        Some(Self { kafka: server("RAPIDMETRICS_TEST_KAFKA")?, cql: server("RAPIDMETRICS_TEST_CQL")? })
    }
}

/// Topics and tables of one run.
pub struct Cluster {
    servers: Servers,
    /// The keyspace; the topics begin with it.
    name: String,
    folder: tempfile::TempDir,
    /// To fill the log and to see how far it is judged.
    storage: Storage,
}

impl Cluster {
    /// Makes them, by the command that users have.
    pub async fn make() -> anyhow::Result<Self> {
        let servers = Servers::named().context(Servers::MISSING)?;
        let name = format!("load{:016x}", rand::rng().next_u64());
        MADE.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        let folder = tempfile::tempdir()?;
        let mut migrate = program::program("rapidmetrics")?;
        migrate.arg("migrate").arg("--data").arg(folder.path().join("migrate"));
        let made = migrate.envs(env(&servers, &name, &folder)).output()?;
        ensure!(made.status.success(), "migrate failed: {}", String::from_utf8_lossy(&made.stderr));
        let storage = Storage::open_cluster(config(&servers, &name), RealWorld.new_id()).await?;
        Ok(Self { servers, name, folder, storage })
    }

    /// A workspace, a funnel and a pixel, made through a desk that ends again.
    pub async fn account(&self) -> anyhow::Result<Account> {
        let desk = self.member("admin", "desk", &[]).await?;
        let account = program::account(&self.data("desk"))?;
        desk.end()?;
        Ok(account)
    }

    /// Starts a process of a role and waits until it is ready.
    pub async fn member(&self, role: &str, name: &str, settings: &[(&str, &str)]) -> anyhow::Result<Member> {
        let mut command = self.command(role, name)?;
        command.envs(settings.iter().copied());
        Member::start(command, role, &self.data(name)).await
    }

    /// The name of a topic at the broker.
    pub fn topic(&self, topic: Topic) -> String {
        topic_of(&self.name, topic)
    }

    /// Lets go of the servers.
    pub async fn end(self) {
        self.storage.close().await;
    }

    fn command(&self, role: &str, name: &str) -> anyhow::Result<Command> {
        let mut command = program::program("rapidmetrics")?;
        command.arg(role).arg("--data").arg(self.data(name)).envs(env(&self.servers, &self.name, &self.folder));
        Ok(command)
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Removes topics and tables of all that were made: the servers are others' too.
pub async fn remove_all(servers: &Servers) -> anyhow::Result<()> {
    let made = std::mem::take(&mut *MADE.lock().unwrap_or_else(PoisonError::into_inner));
    if made.is_empty() {
        return Ok(()); // brokers refuse to remove nothing
    }
    let topics: Vec<String> = made.iter().flat_map(|name| Topic::ALL.map(|topic| topic_of(name, topic))).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &servers.kafka).create()?;
    admin.delete_topics(&names, &AdminOptions::new()).await?;
    let session = SessionBuilder::new().known_node(&servers.cql).build().await?;
    for name in made {
        let mut drop = scylla::statement::unprepared::Statement::new(format!("DROP KEYSPACE IF EXISTS {name}"));
        drop.set_request_timeout(Some(DROP));
        session.query_unpaged(drop, ()).await?;
    }
    Ok(())
}

fn topic_of(name: &str, topic: Topic) -> String {
    format!("{name}.{}.v1", topic.name())
}

/// Settings of every process: where the servers are, one copy of everything because there is one of each, all else as it is shipped.
fn env(servers: &Servers, name: &str, folder: &tempfile::TempDir) -> Vec<(String, String)> {
    let key_file = folder.path().join("master.key").display().to_string();
    let prefix = format!("{name}.");
    let settings = [
        ("STORAGE__ENGINE", "cluster"),
        ("STORAGE__KAFKA__BROKERS", &servers.kafka),
        ("STORAGE__KAFKA__PREFIX", &prefix),
        ("STORAGE__KAFKA__REPLICATION", "1"),
        ("STORAGE__KAFKA__MIN_INSYNC_REPLICAS", "1"),
        ("STORAGE__CQL__NODES", &servers.cql),
        ("STORAGE__CQL__KEYSPACE", name),
        ("STORAGE__CQL__REPLICATION_FACTOR", "1"),
        ("SECURITY__MASTER_KEY_FILE", &key_file),
        ("ADMIN__LISTEN", "127.0.0.1:0"),
        ("LOG__LEVEL", "warn,scylla=off"),
    ];
    settings.into_iter().map(|(key, value)| (format!("RAPIDMETRICS_{key}"), value.to_owned())).collect()
}

/// For this process, which only fills the log and looks on.
fn config(servers: &Servers, name: &str) -> ClusterConfig {
    ClusterConfig {
        kafka: KafkaConfig {
            brokers: vec![servers.kafka.clone()],
            prefix: format!("{name}."),
            replication: 1,
            min_insync_replicas: 1,
            properties: vec![],
            session_timeout_ms: 10_000,
            delivery_timeout_ms: 10_000,
            transaction_timeout_ms: 10_000,
            step_bytes_max: 8 << 20,
            fetch_bytes_max: 8 << 20,
        },
        cql: CqlConfig {
            nodes: vec![servers.cql.clone()],
            keyspace: name.to_owned(),
            datacenter: String::new(),
            replication_factor: 1,
            username: String::new(),
            password: String::new(),
            tls: false,
            tls_ca_file: None,
            request_timeout_ms: 10_000,
            in_flight_max: 16,
        },
        partitions: PARTITIONS,
        instance: "load".to_owned(),
        known_topics: None,
        pause_at: None,
    }
}
