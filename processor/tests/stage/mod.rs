//! The judge on the real embedded engine, told raw records as the door would.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use processor::{Config, Metrics, Parts};
use schemas::{
    id::{FunnelId, PixelId, WorkspaceId},
    money::Currency,
    raw::{Consent, Raw, RawKind},
    secret::Key,
    session::{Event, EventKind},
    time::Time,
    topic::Topic,
    verdict::{Refusal, Verdict},
    webhook::Webhook,
    world::World,
};
use serde_json::{Value, json, value::RawValue};
use storage::{Append, Storage};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A world whose time moves by a millisecond at each look and whose bytes count up.
pub struct CountingWorld {
    begins_ms: i64,
    looks: AtomicU64,
}

impl World for CountingWorld {
    fn now(&self) -> Time {
        Time::from_millis(self.begins_ms + self.looks.fetch_add(1, Ordering::Relaxed) as i64)
    }
    fn fill(&self, bytes: &mut [u8]) {
        let n = self.looks.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        bytes.iter_mut().zip(n.iter().cycle()).for_each(|(to, from)| *to = *from);
    }
}

/// The judge's room: log and ledger in a folder.
pub struct Room {
    pub storage: Storage,
    pub world: Arc<CountingWorld>,
    config: Config,
    /// What the door stamps into a browser's purchase of an order.
    pub server_leg_wait_s: u32,
}

/// What a browser shows of itself beside its events.
#[derive(Clone)]
pub struct Page {
    pub url: Value,
    pub ids: Value,
    pub person: Value,
    pub attribution: Value,
    pub consent: Option<Consent>,
    pub ip: &'static str,
    pub user_agent: Option<&'static str>,
    /// The browser's clock at sending, ms.
    pub sent_at: Option<i64>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            url: json!("https://shop.example/thanks"),
            ids: json!({"fbp": "fb.1.1596403881668.1116446470"}),
            person: json!({"email": "Jane@Example.com"}),
            attribution: Value::Null,
            consent: Some(Consent::Granted),
            ip: "203.0.113.7",
            user_agent: Some("Test/1.0"),
            sent_at: None,
        }
    }
}

fn config(always_cold: bool) -> Config {
    Config {
        batch_records_max: 100,
        batch_bytes_max: 1 << 20,
        filter_first_keys: 1_000,
        filter_bytes_max: 1 << 20,
        snapshot_records: 3,
        drain_timeout_ms: 8_000,
        visitors_cached: 1_000,
        filter_always_cold: always_cold,
        person_keys_cached: 100,
    }
}

impl Room {
    pub fn open(data: &Path, always_cold: bool) -> Self {
        Self::open_at(data, always_cold, 1_764_000_000_000)
    }

    /// One whose time begins at a moment.
    pub fn open_at(data: &Path, always_cold: bool, begins_ms: i64) -> Self {
        let storage = Storage::open_embedded(&storage::Config {
            data: data.to_owned(),
            partitions: 2,
            free_bytes_min: 0,
            queue_bytes_max: 1 << 24,
            pause_at: None,
            fail_sync_after: None,
        });
        Self {
            storage: storage.expect("the folder is free"),
            world: Arc::new(CountingWorld { begins_ms, looks: AtomicU64::new(0) }),
            config: config(always_cold),
            server_leg_wait_s: 0,
        }
    }

    pub fn judge(&self) -> (CancellationToken, tokio::task::JoinHandle<Result<(), processor::Error>>) {
        let stop = CancellationToken::new();
        let parts = Parts {
            storage: self.storage.clone(),
            keys: Key::new([7; 32]),
            world: self.world.clone(),
            config: self.config.clone(),
            metrics: Metrics::new(),
        };
        (stop.clone(), tokio::spawn(processor::run(parts, stop)))
    }

    /// Appends one raw event as the door would, and waits for its verdict.
    async fn tell(&self, raw: Raw<'_>, partition_key: String) -> Verdict {
        let answers = self.storage.answers().await.expect("the store is open");
        let mut waiter = answers.expect(raw.id);
        let append =
            Append { topic: Topic::Raw, key: partition_key.into(), value: serde_json::to_vec(&raw).unwrap().into(), time: raw.received_at };
        self.storage.appender().append(vec![append]).await.expect("it is durable");
        tokio::time::timeout(Duration::from_secs(30), waiter.verdict()).await.expect("a verdict comes").expect("it is told")
    }

    pub async fn webhook(&self, body: &str) -> Verdict {
        self.hook(body).await.expect("the door would let it through").1
    }

    pub async fn browser(&self, event: Value, consent: Consent) -> Verdict {
        let page = Page { consent: Some(consent), ..Page::default() };
        self.browse(&page, &event.to_string()).await.expect("the door would let it through").1
    }

    /// A backend's webhook: which raw record it became, and its verdict; or the door's refusal.
    pub async fn hook(&self, body: &str) -> Result<(Uuid, Verdict), Refusal> {
        let body = RawValue::from_string(body.to_owned()).unwrap();
        let mut raw = self.raw(RawKind::Webhook, &body);
        let hook = Webhook::parse(body.get(), raw.currency)?;
        let funnel = raw.funnel_id.clone();
        if let Some(order) = &hook.order_id {
            raw.event_id = schemas::key::order_event_id(&funnel, order).into();
        }
        let key = hook.dedup_key(&funnel, &raw.event_id).partition_key();
        Ok((raw.id, self.tell(raw, key).await))
    }

    /// A browser's event: which raw record it became, and its verdict; or the door's refusal.
    pub async fn browse(&self, page: &Page, event: &str) -> Result<(Uuid, Verdict), Refusal> {
        let raw_value = |value: &Value| RawValue::from_string(value.to_string()).unwrap();
        let body = RawValue::from_string(event.to_owned()).unwrap();
        let told = [&json!({"url": page.url}), &page.ids, &page.person, &page.attribution].map(raw_value);
        let [place, ids, person, attribution] = told.each_ref().map(|value| Some(&**value));
        let mut raw = self.raw(RawKind::Track, &body);
        let funnel = raw.funnel_id.clone();
        let read = Event::parse(body.get(), &funnel)?;
        if read.kind == EventKind::Identify {
            raw.kind = RawKind::Identify;
        }
        raw.event_id = read.event_id.clone();
        raw.visitor_id = Some(read.visitor_id.clone());
        (raw.page, raw.ids, raw.person, raw.attribution) = (place, ids, person, attribution);
        (raw.consent, raw.sent_at) = (page.consent, page.sent_at);
        raw.client_ip = Some(page.ip.into());
        raw.user_agent = page.user_agent.map(Into::into);
        let key = read.dedup_key(&funnel).partition_key();
        Ok((raw.id, self.tell(raw, key).await))
    }

    /// What was dispatched because of a raw record, to the first of its pixels.
    pub async fn dispatched(&self, raw_id: Uuid) -> Option<Value> {
        self.topic(Topic::Dispatch).await.into_iter().find(|dispatch| dispatch["id"] == json!(raw_id))
    }

    fn raw<'a>(&self, kind: RawKind, body: &'a RawValue) -> Raw<'a> {
        let id = self.world.new_id();
        Raw {
            id,
            kind,
            version: 1,
            funnel_id: FunnelId::parse("fn_1").unwrap(),
            workspace_id: WorkspaceId::parse("ws_1").unwrap(),
            received_at: self.world.now(),
            event_id: id.to_string().into(),
            visitor_id: None,
            pixels: vec![PixelId::parse("11").unwrap(), PixelId::parse("22").unwrap()],
            currency: Currency::parse("USD").unwrap(),
            server_leg_wait_s: if kind == RawKind::Track { self.server_leg_wait_s } else { 0 },
            client_ip: None,
            user_agent: None,
            reply_to: Some(0),
            idempotent: false,
            sent_at: None,
            page: None,
            ids: None,
            consent: None,
            person: None,
            attribution: None,
            body,
        }
    }

    pub async fn topic(&self, topic: Topic) -> Vec<Value> {
        let mut found = Vec::new();
        for partition in 0..self.storage.partitions(topic) {
            let mut reader = self.storage.reader(topic, partition, 0);
            loop {
                let batch = reader.available(1_000, 1 << 20).await.unwrap();
                if batch.is_empty() {
                    break;
                }
                found.extend(batch.iter().map(|stored| serde_json::from_slice::<Value>(&stored.value).unwrap()));
            }
        }
        found
    }
}
