//! The memory: append durably; make a step true all at once.
//!
//! Two promises, whatever the engine:
//!
//! 1. [`Appender::append`] answers only after the records would survive `kill -9` and power loss.
//! 2. [`Storage::commit`] makes a [`Step`] (rows, records, consumed offsets) true all at once or not at all, and answers only
//!    after it would survive.
//!
//! Rooms see these types and never an engine's. The engine is one of a closed list.

mod answers;
mod checksum;
mod claims;
mod cluster;
mod embedded;
mod engine;
mod ledger;
mod log;
mod mark;
mod metrics;
mod moving;
mod partitioner;
mod pause;
mod spool;
mod step;

use std::path::PathBuf;

pub use answers::{Answers, Waiter};
pub use claims::{Claims, Lease, LeaseId};
pub use cluster::{ClusterConfig, CqlConfig, KafkaConfig};
pub use ledger::{Deliveries, Facts, Known, KnownWaiting, Page, Readings, TakenOver};
pub use log::{Append, AppendError, Appender, Committed, ReadError, Reader, Stored};
pub use mark::{Mark, MoveState};
pub use metrics::Metrics;
pub use moving::{Move, MoveError, Progress};
pub use spool::{Durable, Intake, SpoolConfig};
pub use step::{Begun, CommitError, Consumed, Record, Reply, Step};

use engine::Engine;
use schemas::topic::{Group, Topic};

/// What the embedded engine needs to open.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder. One process at a time.
    pub data: PathBuf,
    /// Partitions of each topic that is not single; fixed when the folder is made.
    pub partitions: u32,
    /// Under this many free bytes on the volume, appends are refused as [`AppendError::Full`] before anything fails.
    pub free_bytes_min: u64,
    /// Bytes of records that may wait for the commit thread; beyond it appends wait.
    pub queue_bytes_max: usize,
    /// Tests only: the step of the way at which the process stands still for ever, to be killed there
    /// (`append.after`, `judge.before`, `judge.after`, `intent.before`, `intent.after`, `outcome.before`, `outcome.after`, …); the room
    /// alone, at a question to its tables (`due.before`, `due.after`, …) or a step of its own ([`Storage::pause`]).
    pub pause_at: Option<String>,
    /// Tests only: the sync after that many successful ones fails as a disk would.
    pub fail_sync_after: Option<u64>,
}

/// Why a store does not open: a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the data folder {0} is in use by another process; stop it, or give another folder with --data")]
    Locked(PathBuf),
    /// Another process has the spool.
    #[error("the spool {0} is in use by another process; give each process its own with spool.dir")]
    SpoolLocked(PathBuf),
    /// The number of partitions cannot be changed.
    #[error(
        "the data folder {folder} was made with {made} partitions and the settings say {asked}; \
         set storage.partitions = {made}, or start with an empty folder"
    )]
    Partitions {
        /// The folder.
        folder: PathBuf,
        /// As it was made.
        made: u32,
        /// As the settings say.
        asked: u32,
    },
    /// The log ends before what a consumer has committed: it went back.
    #[error(
        "partition {partition} of {topic} ends at {end}, before the committed offset {committed}: the log went back. \
         Restore the data folder as a whole, or start with an empty one"
    )]
    WentBack {
        /// The topic.
        topic: &'static str,
        /// The partition.
        partition: u32,
        /// Its end.
        end: u64,
        /// What was committed.
        committed: u64,
    },
    /// The folder is on its way into a cluster.
    #[error(
        "the data folder {folder} is being moved to a cluster ({to}): run `rapidmetrics migrate --from {folder}` again to finish, or \
         `rapidmetrics migrate --abort --from {folder}` to go on here"
    )]
    Moving {
        /// The folder.
        folder: PathBuf,
        /// Where to.
        to: String,
    },
    /// The folder's successor is a cluster.
    #[error(
        "the data folder {folder} was moved to a cluster ({to}), which goes on from it: start the roles there, with storage.engine = \"cluster\""
    )]
    Moved {
        /// The folder.
        folder: PathBuf,
        /// Where to.
        to: String,
    },
    /// A move into the cluster has not ended.
    #[error("a data folder is being moved into this cluster: wait until `rapidmetrics migrate --from …` has ended, or end it with --abort")]
    MovingIn,
    /// A server of the cluster cannot be reached. It may come back.
    #[error("{0}")]
    Away(String),
    /// A server of the cluster is not as `migrate` made it, or says no.
    #[error("{0}")]
    Cluster(String),
    /// A topic is missing.
    #[error("the topic {name} is missing; run `rapidmetrics migrate` with the same settings")]
    NoTopic {
        /// The topic's name at the brokers.
        name: String,
    },
    /// A topic is there, and the ledger does not know it.
    #[error(
        "the topic {name} is at the brokers but the ledger does not know it; run `rapidmetrics migrate`, or choose another \
         storage.kafka.prefix if it belongs to somebody else"
    )]
    UnknownTopic {
        /// The topic's name at the brokers.
        name: String,
    },
    /// A topic has another number of partitions than the settings say.
    #[error("the topic {name} has {found} partitions and the settings say {asked}; set storage.partitions = {found}")]
    TopicPartitions {
        /// The topic's name at the brokers.
        name: String,
        /// As it is.
        found: u32,
        /// As the settings say.
        asked: u32,
    },
    /// A topic was changed after it was made: keys would no longer be found where they were.
    #[error(
        "the topic {name} was made with {made} partitions and has {found} now: orders would be looked for in the wrong place. Make it \
         anew with {made} partitions, or move to a new prefix"
    )]
    TopicRemade {
        /// The topic's name at the brokers.
        name: String,
        /// As it is.
        found: u32,
        /// As it was made.
        made: u32,
    },
    /// The engine says no.
    #[error("the data folder {folder} does not open: {cause}")]
    Engine {
        /// The folder.
        folder: PathBuf,
        /// The engine's reason.
        cause: String,
    },
}

/// A handle to log and ledger. Cheap to clone; each room is handed only the part it needs.
#[derive(Clone)]
pub struct Storage {
    engine: Engine,
}

impl Storage {
    /// Opens the embedded engine, making the folder if it is new. Blocks while old journals are read.
    pub fn open_embedded(config: &Config) -> Result<Self, OpenError> {
        Ok(Self { engine: Engine::Embedded(embedded::Embedded::open(config, embedded::Purpose::Work)?) })
    }

    /// The same for a folder that is there, to move what it holds: with as many partitions as it has, and whatever its mark says.
    pub fn open_embedded_to_move(config: &Config) -> Result<Self, OpenError> {
        Ok(Self { engine: Engine::Embedded(embedded::Embedded::open(config, embedded::Purpose::Move)?) })
    }

    /// Connects to the servers of a cluster; refuses what is not as [`Storage::migrate`] made it. `owner` is a fresh id of this process.
    pub async fn open_cluster(config: ClusterConfig, owner: uuid::Uuid) -> Result<Self, OpenError> {
        Ok(Self { engine: Engine::Cluster(Box::pin(cluster::Cluster::open(config, owner, false)).await?) })
    }

    /// The same while a folder moves into the cluster, which keeps everybody else out.
    pub async fn open_cluster_to_move(config: ClusterConfig, owner: uuid::Uuid) -> Result<Self, OpenError> {
        Ok(Self { engine: Engine::Cluster(Box::pin(cluster::Cluster::open(config, owner, true)).await?) })
    }

    /// Makes the topics and tables of a cluster that are not there. Answers their names.
    pub async fn migrate(config: &ClusterConfig) -> Result<Vec<String>, OpenError> {
        Box::pin(cluster::Cluster::migrate(config)).await
    }

    /// Whether the servers were reached since the boot: false in a cluster that was opened while they were away, until they are back.
    pub fn is_reached(&self) -> bool {
        self.engine.is_reached()
    }

    /// How many partitions a topic has.
    pub fn partitions(&self, topic: Topic) -> u32 {
        self.engine.partitions(topic)
    }

    /// The topic's generation: 0, and one more each time it was made anew.
    pub fn generation(&self, topic: Topic) -> u32 {
        self.engine.generation(topic)
    }

    /// The partition that a key belongs to (`murmur2`, as Java, Flink and ksqlDB place it).
    pub fn partition_of(&self, topic: Topic, key: &[u8]) -> u32 {
        partitioner::partition(key, self.partitions(topic))
    }

    /// Appends to the log, outside any step.
    pub fn appender(&self) -> Appender {
        Appender::new(self.engine.clone())
    }

    /// Whether raw events are refused from now on, as while the store closes: what was taken is finished first.
    pub fn refuse_events(&self, refuse: bool) {
        self.engine.refuse_events(refuse);
    }

    /// Reads one partition from an offset on; from the first record kept if that one is gone.
    pub fn reader(&self, topic: Topic, partition: u32, from: u64) -> Reader {
        self.engine.reader(topic, partition, from)
    }

    /// Joins a group: the partitions of its topic on which this process shall work, as they come and go.
    pub fn claims(&self, group: Group) -> Result<Claims, ReadError> {
        self.engine.claims(group)
    }

    /// What a group has committed for a partition of its topic.
    pub async fn committed(&self, group: Group, partition: u32) -> Result<Committed, ReadError> {
        self.engine.committed(group, partition).await
    }

    /// The offset of the first record kept, and the one after the last.
    pub async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), ReadError> {
        self.engine.bounds(topic, partition).await
    }

    /// Makes a step true all at once. Answers the positions of its records, in their order.
    pub async fn commit(&self, step: Step) -> Result<Vec<schemas::envelope::Position>, CommitError> {
        self.engine.commit(step).await
    }

    /// Makes a step true in two parts: answers when its rows are durable, so that the next step may build on them, and hands back what
    /// says when the rest is true.
    pub async fn begin(&self, step: Step) -> Result<Begun, CommitError> {
        self.engine.begin(step).await
    }

    /// Passes by. Only where a test let the process stand still at this step of a room ([`Config::pause_at`]) it never comes back.
    pub async fn pause(&self, step: &'static str, when: &'static str) {
        self.engine.pauses().alone_at(step, when).await;
    }

    /// The judge's tables.
    pub fn facts(&self) -> Facts {
        Facts::new(self.engine.clone())
    }

    /// The sink's tables.
    pub fn deliveries(&self) -> Deliveries {
        Deliveries::new(self.engine.clone())
    }

    /// What people may look at; nothing can be written through it.
    pub fn readings(&self) -> Readings {
        Readings::new(self.engine.clone())
    }

    /// The way of verdicts from the judge to the door that asked: heard from the moment this answers.
    pub async fn answers(&self) -> Result<Answers, ReadError> {
        self.engine.answers().await
    }

    /// Registers this room's metrics.
    pub fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        self.engine.register(registry)
    }

    /// This room's metrics.
    pub fn metrics(&self) -> &Metrics {
        self.engine.metrics()
    }

    /// Resolves when the engine can no longer keep its promises (a sync failed): the process must end at once, non-zero, because
    /// what the kernel dropped cannot be synced again.
    pub async fn failed(&self) -> String {
        self.engine.failed().await
    }

    /// Syncs and closes. Handles that are still held then answer errors.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}
