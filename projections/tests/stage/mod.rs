//! A stage for the sink: a real store, Meta in a box on a port of its own, and a clock that can be moved.
//!
//! The store is a folder that goes away; with `RAPIDMETRICS_TEST_ENGINE=cluster` it is topics and tables of their own on the servers that
//! `RAPIDMETRICS_TEST_KAFKA` and `RAPIDMETRICS_TEST_CQL` name.

#![allow(dead_code, reason = "each suite uses its part")]

pub mod nowhere;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use meta_sandbox::{Mode, Sandbox};
use projections::capi::{Config, Error, Metrics, Note, Parts, run};
use schemas::{
    delivery::{Delivery, Outcome},
    directory::{Change, Directory, Pixel, Workspace},
    dispatch::Dispatch,
    envelope::{Kind, Position},
    id::{FunnelId, PixelId, WorkspaceId},
    secret::Key,
    time::Time,
    topic::{Group, Topic},
    world::World,
};
use scylla::{client::session_builder::SessionBuilder, statement::unprepared::Statement};
use serde_json::{Value, json, value::RawValue};
use storage::{Append, ClusterConfig, CqlConfig, KafkaConfig, Step, Storage, Stored};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const TOKEN: &str = "EAAtoken\"with\\signs";
const PATIENCE: Duration = Duration::from_secs(30);
/// Partitions of each topic.
const PARTITIONS: u32 = 2;

/// The system's clock, moved by as much as a test likes; random bytes that are only different.
pub struct Clock {
    shift_us: AtomicI64,
    drawn: AtomicI64,
}

impl World for Clock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        Time::from_micros(since.as_micros() as i64 + self.shift_us.load(Ordering::Relaxed))
    }

    fn fill(&self, bytes: &mut [u8]) {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        for (number, byte) in bytes.iter_mut().enumerate() {
            *byte = (drawn as u8).wrapping_mul(151).wrapping_add(number as u8 * 53);
        }
    }
}

pub struct Stage {
    /// The log and the tables, as whoever looks at them sees them.
    pub storage: Storage,
    engine: Engine,
    pub sandbox: Sandbox,
    pub clock: Arc<Clock>,
    pub config: Config,
    pub metrics: Metrics,
    directory: Arc<ArcSwap<Directory>>,
    keys: Key,
    pub http: reqwest::Client,
}

/// Where log and tables are.
enum Engine {
    /// In a folder, whose one store everybody shares.
    Embedded(tempfile::TempDir),
    /// On servers: a sink has a store of its own, as a process of its own has.
    Cluster(Box<ClusterConfig>),
}

impl Engine {
    async fn make() -> Self {
        match std::env::var("RAPIDMETRICS_TEST_ENGINE").as_deref() {
            Ok("cluster") => Self::Cluster(Box::new(cluster().await)),
            Ok(other) => panic!("RAPIDMETRICS_TEST_ENGINE is {other}: it may be cluster"),
            Err(_) => Self::Embedded(tempfile::tempdir().expect("a folder")),
        }
    }

    async fn open(&self) -> Storage {
        match self {
            Self::Embedded(folder) => Storage::open_embedded(&storage::Config {
                data: folder.path().to_owned(),
                partitions: PARTITIONS,
                free_bytes_min: 0,
                queue_bytes_max: 64 << 20,
                pause_at: None,
                fail_sync_after: None,
            })
            .expect("a new store opens"),
            Self::Cluster(config) => {
                let process = ClusterConfig { instance: Uuid::now_v7().to_string(), ..(**config).clone() };
                Storage::open_cluster(process, Uuid::now_v7()).await.expect("the store opens")
            }
        }
    }
}

/// Each table costs the servers memory for as long as it is there, and a run makes hundreds.
impl Drop for Engine {
    fn drop(&mut self) {
        let Self::Cluster(config) = self else { return };
        let CqlConfig { nodes, keyspace, .. } = config.cql.clone();
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let session = SessionBuilder::new().known_nodes(nodes).build().await.expect("the server answers");
                let mut removal = Statement::new(format!("DROP KEYSPACE IF EXISTS {keyspace}"));
                removal.set_request_timeout(Some(PATIENCE));
                session.query_unpaged(removal, ()).await.expect("the keyspace is dropped");
            });
        });
        if removing.join().is_err() {
            eprintln!("a keyspace stayed behind");
        }
    }
}

/// Fresh topics and tables on the servers that the environment names.
async fn cluster() -> ClusterConfig {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let server = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} names no server (tests/servers up)"));
    let name = format!("p{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let config = ClusterConfig {
        kafka: KafkaConfig {
            brokers: vec![server("RAPIDMETRICS_TEST_KAFKA")],
            prefix: format!("{name}."),
            replication: 1,
            min_insync_replicas: 1,
            properties: vec![],
            session_timeout_ms: 6_000,
            delivery_timeout_ms: 4_000,
            transaction_timeout_ms: 10_000,
            step_bytes_max: 8 << 20,
            fetch_bytes_max: 8 << 20,
        },
        cql: CqlConfig {
            nodes: vec![server("RAPIDMETRICS_TEST_CQL")],
            keyspace: name,
            datacenter: String::new(),
            replication_factor: 1,
            username: String::new(),
            password: String::new(),
            tls: false,
            tls_ca_file: None,
            request_timeout_ms: 10_000,
            in_flight_max: 128,
        },
        partitions: PARTITIONS,
        instance: String::new(),
        known_topics: None,
        pause_at: None,
    };
    Storage::migrate(&config).await.expect("topics and tables are made");
    config
}

/// The sink at work.
pub struct Sink {
    storage: Storage,
    /// Whether the store is the stage's too.
    is_shared: bool,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Sink {
    /// An orderly end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it does not panic").expect("it stops in order");
        if !self.is_shared {
            self.storage.close().await;
        }
    }

    /// The end as a crash would have it: nothing more is done, said or written.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        if self.is_shared {
            // What was already handed to the store becomes true before anybody starts again: steps are made one after another.
            self.storage.commit(Step::named("barrier")).await.expect("the store goes on");
        } else {
            self.storage.close().await; // which gives up what is not true by then
        }
    }
}

impl Stage {
    pub async fn new() -> Self {
        let engine = Engine::make().await;
        let storage = engine.open().await;
        let sandbox = Sandbox::open(meta_sandbox::Config::default()).expect("a box in memory");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(meta_sandbox::run(listener, sandbox.clone(), CancellationToken::new()));
        let stage = Self {
            storage,
            engine,
            sandbox,
            clock: Arc::new(Clock { shift_us: AtomicI64::new(0), drawn: AtomicI64::new(1) }),
            config: config(base_url),
            metrics: Metrics::new(),
            directory: Arc::default(),
            keys: Key::new([7; 32]),
            http: way_to_meta(Duration::from_secs(2)),
        };
        let lookup = stage.keys.lookup("key");
        let api_key = stage.keys.seal("api-key", b"key", [1; 24]);
        stage.change(Change::WorkspaceCreated(Workspace { id: workspace(), name: "shop".into(), api_key, api_key_lookup: lookup }));
        stage
    }

    /// With one pixel that both sides know.
    pub async fn with_pixel(id: &str) -> Self {
        let stage = Self::new().await;
        stage.pixel_at_meta(id);
        stage.pixel_here(id, TOKEN);
        stage
    }

    pub fn pixel_at_meta(&self, id: &str) {
        self.sandbox.put_pixel(id, TOKEN, Mode::Real).expect("a pixel");
    }

    pub fn pixel_here(&self, id: &str, token: &str) {
        let access_token = self.keys.seal("access-token", token.as_bytes(), [3; 24]);
        self.change(Change::PixelSet(Pixel { id: pixel(id), workspace_id: workspace(), access_token, test_event_code: None }));
    }

    fn change(&self, change: Change) {
        let mut directory = (*self.directory.load_full()).clone();
        directory.fold(change).expect("it fits");
        self.directory.store(Arc::new(directory));
    }

    pub async fn sink(&self) -> Sink {
        let is_shared = matches!(self.engine, Engine::Embedded(_));
        let storage = if is_shared { self.storage.clone() } else { self.engine.open().await };
        let parts = Parts {
            storage: storage.clone(),
            directory: self.directory.clone(),
            keys: self.keys.clone(),
            world: self.clock.clone(),
            http: self.http.clone(),
            config: self.config.clone(),
            metrics: self.metrics.clone(),
        };
        let stop = CancellationToken::new();
        Sink { storage, is_shared, task: tokio::spawn(run(parts, stop.clone())), stop }
    }

    /// How often a sink is killed: on servers each start takes seconds.
    pub fn rounds(&self, embedded: u64) -> u64 {
        match self.engine {
            Engine::Embedded(_) => embedded,
            Engine::Cluster(_) => embedded / 4,
        }
    }

    pub fn move_clock(&self, us: i64) {
        self.clock.shift_us.fetch_add(us, Ordering::Relaxed);
    }

    /// A good purchase for a pixel.
    pub fn purchase(&self, pixel_id: &str, order: &str) -> Dispatch {
        let at = self.clock.now();
        let event_id = format!("fn_1:{order}");
        let payload = json!({
            "event_name": "Purchase", "event_time": at.seconds(), "event_id": event_id, "action_source": "system_generated",
            "user_data": {"em": ["f".repeat(64)]}, "custom_data": {"value": 10.5, "currency": "USD"},
        });
        Dispatch {
            id: Uuid::nil(),
            kind: Kind::Dispatch,
            version: 1,
            funnel_id: FunnelId::parse("fn_1").expect("an id"),
            workspace_id: workspace(),
            occurred_at: at,
            received_at: at,
            position: Position { generation: 0, partition: 0, offset: 0 },
            pixel_id: pixel(pixel_id),
            event_name: "Purchase".into(),
            event_id,
            dedup_key: format!("fn_1|purchase|{order}"),
            revision: 1,
            not_before: None,
            payload: Some(raw(&payload)),
            withheld: None,
            test_event_code: None,
            fact: None,
            replay: None,
        }
    }

    /// One that Meta refuses: a purchase without currency.
    pub fn bad_purchase(&self, pixel_id: &str, order: &str) -> Dispatch {
        let good = self.purchase(pixel_id, order);
        let mut payload: Value = serde_json::from_str(good.payload.as_ref().expect("it has one").get()).expect("it is JSON");
        payload["custom_data"] = json!({"value": 10.5});
        Dispatch { payload: Some(raw(&payload)), ..good }
    }

    pub async fn dispatch(&self, dispatches: &[Dispatch]) {
        let append = |dispatch: &Dispatch| Append {
            topic: Topic::Dispatch,
            key: dispatch.pixel_id.as_str().to_owned().into(),
            value: serde_json::to_vec(dispatch).expect("JSON").into(),
            time: dispatch.received_at,
        };
        self.storage.appender().append(dispatches.iter().map(append).collect()).await.expect("appended");
    }

    /// One that Meta refuses and names: its schema knows no such key.
    pub fn odd_purchase(&self, pixel_id: &str, order: &str) -> Dispatch {
        let good = self.purchase(pixel_id, order);
        let mut payload: Value = serde_json::from_str(good.payload.as_ref().expect("it has one").get()).expect("it is JSON");
        payload["no_such_key"] = json!(1);
        Dispatch { payload: Some(raw(&payload)), ..good }
    }

    pub async fn delivery(&self, pixel_id: &str, order: &str) -> Option<Delivery> {
        let known = self.storage.deliveries().delivery(&pixel(pixel_id), &format!("fn_1|purchase|{order}")).await;
        known.expect("the store answers").map(|known| known.delivery)
    }

    /// Waits until a delivery is as wished, and answers it.
    pub async fn until(&self, pixel_id: &str, order: &str, wish: impl Fn(&Delivery) -> bool) -> Delivery {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let delivery = self.delivery(pixel_id, order).await;
            if let Some(delivery) = delivery.as_ref().filter(|delivery| wish(delivery)) {
                return delivery.clone();
            }
            assert!(tokio::time::Instant::now() < deadline, "{pixel_id} {order} is still {delivery:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn settled(&self, pixel_id: &str, order: &str) -> Delivery {
        self.until(pixel_id, order, |delivery| delivery.outcome.is_some()).await
    }

    /// Waits until all dispatches are consumed.
    pub async fn consumed(&self) {
        eventually("all dispatches are consumed", || async {
            for partition in 0..PARTITIONS {
                let (_, end) = self.storage.bounds(Topic::Dispatch, partition).await.expect("the store answers");
                if self.storage.committed(Group::Capi, partition).await.expect("the store answers").next_offset < end {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Rows that wait, as the committed offsets say and as the table has them.
    pub async fn waiting(&self) -> (u64, u64) {
        let (mut noted, mut rows) = (0, 0);
        for partition in 0..PARTITIONS {
            noted += self.note(partition).await.waiting;
            let ever = Time::from_micros(i64::MAX);
            rows += self.storage.deliveries().due(partition, None, ever, 100_000).await.expect("the store answers").len() as u64;
        }
        (noted, rows)
    }

    /// What the partition's committed offset carries.
    async fn note(&self, partition: u32) -> Note {
        let metadata = self.storage.committed(Group::Capi, partition).await.expect("the store answers").metadata;
        metadata.map(|note| serde_json::from_str(&note).expect("a note")).unwrap_or_default()
    }

    /// How many deliveries there are by the books, each of which waits or ended; and how many ended in each outcome.
    pub async fn balance(&self) -> (u64, BTreeMap<&'static str, u64>) {
        let (mut dispatched, mut states) = (0, BTreeMap::new());
        for partition in 0..PARTITIONS {
            let note = self.note(partition).await;
            assert_eq!(note.dispatched, note.waiting + note.ended.iter().sum::<u64>(), "{note:?}");
            dispatched += note.dispatched;
            for outcome in Outcome::ALL {
                *states.entry(outcome.name()).or_default() += note.ended[outcome as usize];
            }
        }
        states.retain(|_, count| *count > 0);
        (dispatched, states)
    }

    /// Everything told on the topic of deliveries.
    pub async fn told(&self) -> Vec<Delivery> {
        let mut told = Vec::new();
        for partition in 0..PARTITIONS {
            let mut reader = self.storage.reader(Topic::Deliveries, partition, 0);
            loop {
                let records: Vec<Stored> = reader.available(1_000, 1 << 20).await.expect("the store answers");
                if records.is_empty() {
                    break;
                }
                told.extend(records.iter().map(|record| serde_json::from_slice::<Delivery>(&record.value).expect("a delivery")));
            }
        }
        told
    }

    pub async fn faults(&self, faults: Value) {
        let url = format!("{}/sandbox/faults", self.config.base_url);
        self.http.put(url).json(&faults).send().await.expect("the box answers").error_for_status().expect("good faults");
    }

    pub async fn requests(&self) -> Vec<Value> {
        let url = format!("{}/sandbox/requests?limit=10000", self.config.base_url);
        self.http.get(url).send().await.expect("the box answers").json().await.expect("a list")
    }

    /// How many requests have come to Meta.
    pub fn sent(&self) -> u64 {
        self.reports().values().map(|totals| totals.requests).sum()
    }

    /// Server copies at Meta.
    pub fn copies(&self, pixel_id: &str, order: &str) -> u32 {
        self.sandbox.conversion(pixel_id, "Purchase", &format!("fn_1:{order}")).server_copies
    }

    pub fn reports(&self) -> BTreeMap<String, meta_sandbox::Totals> {
        self.sandbox.report()
    }
}

/// A server leg's better data for the same delivery.
pub fn revision(first: &Dispatch, value: f64) -> Dispatch {
    let mut payload: Value = serde_json::from_str(first.payload.as_ref().expect("it has one").get()).expect("it is JSON");
    payload["custom_data"]["value"] = value.into();
    Dispatch { revision: 2, not_before: None, payload: Some(raw(&payload)), ..first.clone() }
}

/// The way that the house makes: past every proxy, and with so long for a connection, which is less than a request may take.
pub fn way_to_meta(connect_wait: Duration) -> reqwest::Client {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    client.connect_timeout(connect_wait).build().expect("a client")
}

pub fn pixel(id: &str) -> PixelId {
    PixelId::parse(id).expect("an id")
}

pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn workspace() -> WorkspaceId {
    WorkspaceId::parse("ws_1").expect("an id")
}

fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).expect("JSON")
}

fn config(base_url: String) -> Config {
    Config {
        base_url,
        api_version: "v26.0".into(),
        pixel_script_url: String::new(),
        request_timeout_ms: 5_000,
        linger_ms: 20,
        in_flight_max: 4,
        batch_events_max: 1_000,
        batch_bytes_max: 2_000_000,
        pending_bytes_max: 64 << 20,
        read_hold_ms: 1_000,
        retry_base_ms: 10,
        retry_max_ms: 200,
        probe_ms: 100,
        ambiguous_resend_hours: 47,
        drain_timeout_ms: 6_000,
    }
}
