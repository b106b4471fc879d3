//! The cluster engine: Kafka is the log, a CQL server is the ledger, any number of processes share the work.
//!
//! A step becomes true in an order that no crash can spoil ([`commit`]): first the ledger's rows, which say the same however often they
//! are written; then the verdicts; then one transaction of records and consumed offsets; last, what takes evidence away. Whoever dies in
//! between leaves the offset where it was, and the same step is made again.
//!
//! | file | what |
//! |---|---|
//! | `producer` | appends outside transactions |
//! | `fetcher` | readers |
//! | `membership` | which partitions are ours |
//! | `transactor` | records and offsets, true together |
//! | `cql` | the tables |
//! | `told` | what the sink's transactions have told |

mod client;
mod commit;
mod config;
pub(crate) mod cql;
mod fetcher;
mod known;
mod lag;
mod membership;
mod metrics;
mod moving;
mod names;
mod offsets;
mod producer;
mod reads;
mod retention;
mod told;
mod topics;
mod transactor;
mod verdicts;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use schemas::{
    envelope::Position,
    topic::{Group, Topic},
};
use tokio::sync::watch;
use uuid::Uuid;

use self::{
    client::{Health, group_name},
    cql::Ledger,
    fetcher::Fetchers,
    membership::Membership,
    metrics::Metrics,
    names::Names,
    offsets::Asker,
    producer::Producer,
    told::Told,
    transactor::Transactor,
};
use crate::{
    OpenError,
    answers::Answers,
    claims::Claims,
    log::{Append, AppendError, ReadError},
    pause::Pauses,
};

pub use config::{ClusterConfig, KafkaConfig};
pub use cql::CqlConfig;
pub(crate) use fetcher::Lane;
pub(crate) use moving::FILLED;

/// How long a close waits for what was handed to the brokers: verdicts at most, since every append is awaited by whoever asked. With the
/// second that leaving each group may take it stays below what the house allows.
const FLUSH: Duration = Duration::from_secs(1);
/// How long a boot waits for servers that are away, which is mostly a restart of theirs; then it ends with a sentence.
const BOOT: Duration = Duration::from_secs(60);
const BOOT_AGAIN: Duration = Duration::from_secs(1);
/// How long the brokers may take to answer a boot that can do without them.
const BOOT_BRIEFLY: Duration = Duration::from_secs(3);

/// The engine.
pub(crate) struct Cluster {
    config: ClusterConfig,
    names: Arc<Names>,
    ledger: Ledger,
    producer: Producer,
    fetchers: Arc<Fetchers>,
    asker: Asker,
    observer: client::Observer,
    health: Arc<Health>,
    /// Transactions with a group's offsets, and those without any.
    transactors: HashMap<Option<Group>, Transactor>,
    memberships: HashMap<Group, Arc<Mutex<Option<Arc<Membership>>>>>,
    /// Dispatch partitions whose sink is in this process.
    owned: Mutex<HashMap<u32, Owned>>,
    /// This process among the owners of partitions.
    owner: Uuid,
    answers: Answers,
    hears: OnceLock<()>,
    metrics: Metrics,
    common: crate::metrics::Metrics,
    pauses: Pauses,
    closed: watch::Sender<bool>,
    /// Whether the servers were reached since the boot.
    is_reached: AtomicBool,
    /// Why this process cannot go on.
    failed: watch::Sender<Option<String>>,
}

/// What the owner of a dispatch partition knows.
#[derive(Clone, Debug, Default)]
struct Owned {
    epoch: i64,
    /// The number of the last row.
    number: u64,
    told: Told,
}

impl Cluster {
    /// Connects to both servers and checks that everything is as `migrate` made it; without `to_move` also that no move is under way.
    pub(crate) async fn open(config: ClusterConfig, owner: Uuid, to_move: bool) -> Result<Arc<Self>, OpenError> {
        let (ledger, names, is_reached) = Self::found(&config, to_move).await?;
        let names = Arc::new(names);
        let metrics = Metrics::new();
        let health = Arc::new(Health::default());
        let observer = client::Observer { purpose: "append", health: health.clone(), metrics: metrics.clone() };
        let (closed, is_closed) = watch::channel(false);
        let broken = |error: rdkafka::error::KafkaError| OpenError::Cluster(format!("a Kafka client cannot be made: {error}"));

        let settings = |purpose: &str| client::settings(&config.kafka, &config.instance, purpose);
        let of_group = |group| membership::settings(settings("ask"), &group_name(&config.kafka, group), config.kafka.session_timeout_ms);
        let asker = Asker::open(names.clone(), of_group, is_closed.clone()).map_err(broken)?;
        let mut appends = producer::settings(settings("append"), config.kafka.delivery_timeout_ms);
        if to_move {
            // A record that fails takes those after it along: what is there is always the beginning of what was to come.
            appends.set("enable.gapless.guarantee", "true");
        }
        let producer = Producer::open(appends, observer.clone(), names.clone()).map_err(broken)?;
        let reads = fetcher::settings(settings("read"), &config.kafka.prefix, config.kafka.fetch_bytes_max);
        let reader = client::Observer { purpose: "read", ..observer.clone() };
        let fetchers = Fetchers::new(reads, reader, names.clone(), asker.clone(), config.kafka.fetch_bytes_max);

        let memberships: HashMap<Group, Arc<Mutex<Option<Arc<Membership>>>>> =
            Group::ALL.into_iter().map(|group| (group, Arc::default())).collect();
        let mut transactors = HashMap::new();
        for group in Group::ALL.into_iter().map(Some).chain([None]) {
            let purpose = group.map_or("steps", Group::name);
            let id = format!("{}{purpose}-{}", config.kafka.prefix, config.instance);
            let parts = transactor::Parts {
                settings: transactor::settings(settings(purpose), &id, config.kafka.transaction_timeout_ms),
                observer: client::Observer { purpose, ..observer.clone() },
                names: names.clone(),
                asker: asker.clone(),
                group,
                membership: group.and_then(|group| memberships.get(&group)).cloned().unwrap_or_default(),
                bytes_max: config.kafka.step_bytes_max,
                transaction_timeout: Duration::from_millis(u64::from(config.kafka.transaction_timeout_ms)),
                closed: is_closed.clone(),
            };
            let started = Transactor::start(parts).map_err(|error| OpenError::Cluster(format!("no thread can be started: {error}")))?;
            transactors.insert(group, started);
        }
        let pauses = Pauses::new(config.pause_at.as_deref());
        let engine = Arc::new(Self {
            names,
            ledger,
            is_reached: AtomicBool::new(is_reached),
            failed: watch::Sender::new(None),
            producer,
            fetchers,
            asker,
            observer,
            health,
            transactors,
            memberships,
            owned: Mutex::default(),
            owner,
            answers: Answers::at(verdicts::partition_for(owner, config.partitions)),
            hears: OnceLock::new(),
            metrics,
            common: crate::metrics::Metrics::new(),
            pauses,
            closed,
            config,
        });
        if !is_reached {
            tokio::spawn(engine.clone().reach());
        }
        Ok(engine)
    }

    /// Ledger and topics as `migrate` made them, and whether the servers said so themselves; waits a while for servers that are away if
    /// nothing is known of them.
    async fn found(config: &ClusterConfig, to_move: bool) -> Result<(Ledger, Names, bool), OpenError> {
        let until = tokio::time::Instant::now() + BOOT;
        let known = known::read(config);
        let patience = if known.is_some() { BOOT_BRIEFLY } else { topics::PATIENCE };
        let ledger = Ledger::unreached(&config.cql);
        loop {
            match Self::ask(config, &ledger, patience, to_move).await {
                Ok(names) => return Ok((ledger, names, true)),
                Err(OpenError::Away(why)) if let Some(names) = known => {
                    tracing::warn!(why, "opening without the servers, with the topics as they were last found");
                    return Ok((ledger, names, false));
                }
                Err(OpenError::Away(why)) if tokio::time::Instant::now() < until => {
                    tracing::warn!(why, "waiting for a server");
                    tokio::time::sleep(BOOT_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reaches the ledger and checks the topics; without `to_move` also that no move is under way.
    async fn ask(config: &ClusterConfig, ledger: &Ledger, patience: Duration, to_move: bool) -> Result<Names, OpenError> {
        let plain = client::settings(&config.kafka, &config.instance, "check");
        ledger.reach().await?;
        let names = topics::check(config, &plain, ledger, patience).await?;
        if !to_move {
            moving::refuse(config, ledger).await?;
        }
        if let Some(path) = &config.known_topics
            && let Err(error) = known::write(path, &names)
        {
            tracing::warn!(%error, file = %path.display(), "the topics cannot be written down: the next boot needs the servers");
        }
        Ok(names)
    }

    /// Looks for servers that were away at the boot until they are back. What they say may differ from what was known of them.
    async fn reach(self: Arc<Self>) {
        let mut closed = self.closed.subscribe();
        while !*closed.borrow_and_update() {
            match Self::ask(&self.config, &self.ledger, topics::PATIENCE, false).await {
                Ok(names) if names == *self.names => {
                    tracing::info!("the servers are back, and are as they were");
                    self.is_reached.store(true, Relaxed);
                    return;
                }
                Ok(_) => return self.fail("the topics are not as they were when this process last saw them; start it again".to_owned()),
                Err(OpenError::Away(why)) => tracing::debug!(why, "a server is still away"),
                Err(error) => return self.fail(error.to_string()),
            }
            tokio::select! {
                _ = closed.wait_for(|closed| *closed) => {}
                () = tokio::time::sleep(BOOT_AGAIN) => {}
            }
        }
    }

    fn fail(&self, why: String) {
        self.failed.send_replace(Some(why));
    }

    /// Whether the servers were reached since the boot.
    pub(crate) fn is_reached(&self) -> bool {
        self.is_reached.load(Relaxed)
    }

    /// Makes topics and tables that are not there. Answers their names.
    pub(crate) async fn migrate(config: &ClusterConfig) -> Result<Vec<String>, OpenError> {
        let mut made = Ledger::migrate(&config.cql).await?;
        let ledger = Ledger::open(&config.cql).await?;
        let settings = client::settings(&config.kafka, &config.instance, "migrate");
        made.extend(topics::make(config, &settings, &ledger).await?);
        Ok(made)
    }

    pub(crate) fn partitions(&self, topic: Topic) -> u32 {
        self.names.partitions(topic)
    }

    pub(crate) fn partition_of(&self, topic: Topic, key: &[u8]) -> u32 {
        self.names.partition_of(topic, key)
    }

    pub(crate) fn generation(&self, topic: Topic) -> u32 {
        self.names.of(topic).1
    }

    pub(crate) fn accepts(&self) -> bool {
        !*self.closed.borrow()
    }

    pub(crate) fn last_append_worked(&self) -> bool {
        self.health.is_well()
    }

    pub(crate) fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    pub(crate) fn metrics(&self) -> &crate::metrics::Metrics {
        &self.common
    }

    pub(crate) fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        self.metrics.register(registry)?;
        self.ledger.metrics().register(registry)
    }

    pub(crate) async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, AppendError> {
        if *self.closed.borrow() {
            return Err(AppendError::Closed);
        }
        let began = std::time::Instant::now();
        let positions = self.producer.append(&records).await?;
        self.pauses.at("append", "after");
        self.common.commit_seconds.with_label_values(&["append"]).observe(began.elapsed().as_secs_f64());
        for record in &records {
            self.common.appended(record.topic.name(), record.key.len() + record.value.len());
        }
        Ok(positions)
    }

    pub(crate) fn lane(&self, topic: Topic, partition: u32, from: u64) -> Lane {
        self.fetchers.lane(topic, partition, from)
    }

    /// Joins a group.
    pub(crate) fn claims(&self, group: Group) -> Result<Claims, ReadError> {
        let settings = client::settings(&self.config.kafka, &self.config.instance, group.name());
        let name = group_name(&self.config.kafka, group);
        let settings = membership::settings(settings, &name, self.config.kafka.session_timeout_ms);
        let observer = client::Observer { purpose: group.name(), ..self.observer.clone() };
        let session = Duration::from_millis(u64::from(self.config.kafka.session_timeout_ms));
        let joined = Membership::join(&settings, observer, &self.names, group, session);
        let (member, claims) = joined.map_err(|error| ReadError::Failed(format!("the group {name} cannot be joined: {error}")))?;
        let shows = lag::show(self.asker.clone(), member.clone(), group, self.metrics.clone(), self.closed.subscribe());
        tokio::spawn(shows);
        let keeper = retention::Keeper {
            settings: client::settings(&self.config.kafka, &self.config.instance, "delete"),
            asker: self.asker.clone(),
            names: self.names.clone(),
            member: member.clone(),
            group,
            metrics: self.metrics.clone(),
            closed: self.closed.subscribe(),
        };
        tokio::spawn(keeper.run());
        if let Some(slot) = self.memberships.get(&group) {
            *lock(slot) = Some(member);
        }
        Ok(claims)
    }

    /// Verdicts are heard from the moment this answers.
    pub(crate) async fn answers(self: &Arc<Self>) -> Result<Answers, ReadError> {
        if self.hears.get().is_none() {
            let partition = self.answers.partition();
            if self.is_reached() {
                let (_, end) = self.asker.bounds(Topic::Verdicts, partition).await?;
                if self.hears.set(()).is_ok() {
                    tokio::spawn(verdicts::hear(self.lane(Topic::Verdicts, partition, end), self.answers.clone()));
                }
            } else if self.hears.set(()).is_ok() {
                // Nothing comes before the brokers are back, and what is asked meanwhile is answered by the spool.
                let engine = self.clone();
                tokio::spawn(async move {
                    if let Ok((_, end)) = engine.asker.bounds(Topic::Verdicts, partition).await {
                        verdicts::hear(engine.lane(Topic::Verdicts, partition, end), engine.answers.clone()).await;
                    }
                });
            }
        }
        Ok(self.answers.clone())
    }

    pub(crate) async fn failed(&self) -> String {
        // Servers that are away come back. What they are found to be may be wrong.
        let mut failed = self.failed.subscribe();
        let why = failed.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_default()
    }

    pub(crate) async fn close(self: &Arc<Self>) {
        let members: Vec<_> = self.memberships.values().filter_map(|slot| lock(slot).clone()).collect();
        for member in members {
            member.leave().await;
        }
        self.closed.send_replace(true);
        for transactor in self.transactors.values() {
            transactor.close();
        }
        let engine = self.clone();
        let _ = tokio::task::spawn_blocking(move || {
            engine.producer.flush(FLUSH);
            engine.fetchers.close();
        })
        .await; // a panic there loses nothing that was acknowledged
    }

    fn owned(&self) -> MutexGuard<'_, HashMap<u32, Owned>> {
        lock(&self.owned)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner) // each change is whole after its line
}
