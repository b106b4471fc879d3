//! Engines to be tested, and things to put into them.

#![allow(dead_code)] // each suite uses its part

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use schemas::{
    delivery::{Delivery, Outcome},
    dispatch::Dispatch,
    envelope::{Kind, Position},
    fact::{Lead, Purchase},
    id::{FunnelId, PixelId, VisitorId, WorkspaceId},
    order::OrderId,
    row::{Leg, Waiting},
    time::Time,
    topic::Topic,
};
use storage::{Append, ClusterConfig, Config, CqlConfig, KafkaConfig, Storage, Stored};
use uuid::Uuid;

/// An engine whose memory can be lost.
pub trait Engine {
    /// Opens it.
    async fn open(&self) -> Storage;
    /// Closes it and opens it again.
    async fn reopen(&self, storage: Storage) -> Storage {
        storage.close().await;
        drop(storage);
        self.open().await
    }
}

/// Topics and tables of its own on real servers.
pub struct Cluster {
    config: ClusterConfig,
}

impl Cluster {
    /// Fresh topics and tables; or why there are none.
    pub async fn new() -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let server = |name: &str| std::env::var(name).map_err(|_| format!("{name} does not name a server"));
        let (kafka, cql) = (server("RAPIDMETRICS_TEST_KAFKA")?, server("RAPIDMETRICS_TEST_CQL")?);
        let name = format!("s{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let config = ClusterConfig {
            kafka: KafkaConfig {
                brokers: vec![kafka],
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
                nodes: vec![cql],
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
            partitions: 4,
            instance: "test".to_owned(),
            known_topics: None,
            pause_at: None,
        };
        Storage::migrate(&config).await.expect("topics and tables are made");
        Ok(Self { config })
    }
}

impl Engine for Cluster {
    async fn open(&self) -> Storage {
        Storage::open_cluster(self.config.clone(), Uuid::now_v7()).await.expect("the store opens")
    }
}

/// One process, one folder.
pub struct Embedded {
    folder: tempfile::TempDir,
}

impl Engine for Embedded {
    async fn open(&self) -> Storage {
        Storage::open_embedded(&self.config()).expect("the store opens")
    }
}

impl Embedded {
    /// A fresh store.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Its settings.
    pub fn config(&self) -> Config {
        Config {
            data: self.folder.path().join("data"),
            partitions: 4,
            free_bytes_min: 0,
            queue_bytes_max: 16 * 1_024 * 1_024,
            pause_at: None,
            fail_sync_after: None,
        }
    }
}

/// A record.
pub fn record(topic: Topic, key: &str, value: &str) -> Append {
    Append {
        topic,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        time: Time::from_millis(1),
    }
}

/// The values of records as text.
pub fn values(records: &[Stored]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(&record.value).expect("text")).collect()
}

/// A moment.
pub fn at(ms: i64) -> Time {
    Time::from_millis(ms)
}

/// A funnel.
pub fn funnel() -> FunnelId {
    FunnelId::parse("fn_1").expect("an id")
}

/// A visitor.
pub fn visitor() -> VisitorId {
    VisitorId::parse("v-1").expect("an id")
}

/// A pixel.
pub fn pixel(number: u64) -> PixelId {
    PixelId::parse(&number.to_string()).expect("an id")
}

/// A leg whose record stands there.
pub fn leg(partition: u32, offset: u64) -> Leg {
    Leg {
        position: Position { generation: 0, partition, offset },
        raw_id: Uuid::from_u128(u128::from(offset) + 1),
        received_at: at(1_000),
        amount_minor: None,
        currency: None,
        email: None,
        body: None,
        pixels: vec![],
        context: None,
    }
}

/// A purchase.
pub fn purchase(order: Option<&str>, event_id: &str, revision: u32) -> Purchase {
    Purchase {
        id: Uuid::from_u128(1),
        kind: Kind::Purchase,
        version: 1,
        funnel_id: funnel(),
        workspace_id: WorkspaceId::parse("ws_1").expect("an id"),
        occurred_at: at(1),
        received_at: at(2),
        position: Position { generation: 0, partition: 0, offset: 0 },
        revision,
        first_received_at: None,
        order_id: order.map(|order| OrderId::parse(order).expect("it fits").expect("it is not blank")),
        event_id: event_id.into(),
        amount: None,
        amount_minor: None,
        currency: schemas::money::Currency::parse("USD").expect("a currency"),
        legs: vec![],
        visitor_id: None,
        person: schemas::person::Person::default(),
        product_name: None,
        properties: None,
        metadata: None,
    }
}

/// A lead.
pub fn lead(order: Option<&str>, event_id: &str, revision: u32) -> Lead {
    let mut words = serde_json::to_value(purchase(order, event_id, revision)).expect("a fact is JSON");
    words["type"] = "lead".into();
    serde_json::from_value(words).expect("leads and purchases say the same of themselves")
}

/// A delivery.
pub fn delivery(pixel_id: PixelId, dedup_key: &str, outcome: Option<Outcome>) -> Delivery {
    Delivery {
        id: Uuid::from_u128(1),
        kind: Kind::Delivery,
        version: 1,
        funnel_id: funnel(),
        workspace_id: WorkspaceId::parse("ws_1").expect("an id"),
        occurred_at: at(1),
        received_at: at(2),
        position: Position { generation: 0, partition: 0, offset: 0 },
        pixel_id,
        event_name: "Purchase".into(),
        event_id: "e".into(),
        dedup_key: dedup_key.into(),
        revision: 1,
        noted_revision: None,
        outcome,
        settled_at: outcome.map(|_| at(3)),
        attempts: 0,
        ambiguous_attempts: 0,
        attempt_log: vec![],
        first_ambiguous_at: None,
        reason: None,
        replayed: None,
    }
}

/// A waiting dispatch.
pub fn waiting(partition: u32, pixel_id: PixelId, dedup_key: &str, deadline_hour: i64, due_ms: i64) -> Waiting {
    Waiting {
        deadline_hour,
        due_at: at(due_ms),
        tries: 0,
        offset: 0,
        partition,
        dispatch: Dispatch {
            id: Uuid::from_u128(1),
            kind: Kind::Dispatch,
            version: 1,
            funnel_id: funnel(),
            workspace_id: WorkspaceId::parse("ws_1").expect("an id"),
            occurred_at: at(1),
            received_at: at(2),
            position: Position { generation: 0, partition, offset: 0 },
            pixel_id,
            event_name: "Purchase".into(),
            event_id: "e".into(),
            dedup_key: dedup_key.into(),
            revision: 1,
            not_before: None,
            payload: None,
            withheld: None,
            test_event_code: None,
            fact: None,
            replay: None,
        },
    }
}
