//! The judge on the real embedded engine: raw records in, facts, dispatches and answers out.
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
    id::{FunnelId, PixelId, VisitorId, WorkspaceId},
    money::Currency,
    raw::{Consent, Raw, RawKind},
    secret::Key,
    session::Event,
    time::Time,
    topic::{Group, Topic},
    verdict::{ConflictField, Verdict},
    webhook::Webhook,
    world::World,
};
use serde_json::{Value, json, value::RawValue};
use storage::{Append, Storage};
use tokio_util::sync::CancellationToken;

/// A world whose time moves by a millisecond at each look and whose bytes count up.
#[derive(Default)]
struct CountingWorld(AtomicU64);

impl World for CountingWorld {
    fn now(&self) -> Time {
        Time::from_millis(1_764_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed) as i64)
    }
    fn fill(&self, bytes: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        bytes.iter_mut().zip(n.iter().cycle()).for_each(|(to, from)| *to = *from);
    }
}

struct Room {
    storage: Storage,
    world: Arc<CountingWorld>,
    config: Config,
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
    fn open(data: &Path, always_cold: bool) -> Self {
        let storage = Storage::open_embedded(&storage::Config {
            data: data.to_owned(),
            partitions: 2,
            free_bytes_min: 0,
            queue_bytes_max: 1 << 24,
            pause_at: None,
            fail_sync_after: None,
        });
        Self { storage: storage.expect("the folder is free"), world: Arc::default(), config: config(always_cold) }
    }

    fn judge(&self) -> (CancellationToken, tokio::task::JoinHandle<Result<(), processor::Error>>) {
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

    async fn webhook(&self, body: &str) -> Verdict {
        let body = RawValue::from_string(body.to_owned()).unwrap();
        let mut raw = self.raw(RawKind::Webhook, &body);
        let hook = Webhook::parse(body.get(), raw.currency).expect("the door would let it through");
        let funnel = raw.funnel_id.clone();
        if let Some(order) = &hook.order_id {
            raw.event_id = schemas::key::order_event_id(&funnel, order).into();
        }
        let key = hook.dedup_key(&funnel, &raw.event_id).partition_key();
        self.tell(raw, key).await
    }

    async fn browser(&self, event: Value, consent: Consent) -> Verdict {
        let body = RawValue::from_string(event.to_string()).unwrap();
        let page = RawValue::from_string(json!({"url":"https://shop.example/thanks"}).to_string()).unwrap();
        let ids = RawValue::from_string(json!({"fbp":"fb.1.1596403881668.1116446470"}).to_string()).unwrap();
        let person = RawValue::from_string(json!({"email":"Jane@Example.com"}).to_string()).unwrap();
        let mut raw = self.raw(RawKind::Track, &body);
        let funnel = raw.funnel_id.clone();
        let read = Event::parse(body.get(), &funnel).expect("the door would let it through");
        raw.event_id = read.event_id.clone();
        raw.visitor_id = Some(read.visitor_id.clone());
        raw.page = Some(&page);
        raw.ids = Some(&ids);
        raw.person = Some(&person);
        raw.consent = Some(consent);
        raw.client_ip = Some("203.0.113.7".into());
        raw.user_agent = Some("Test/1.0".into());
        let key = read.dedup_key(&funnel).partition_key();
        self.tell(raw, key).await
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

    async fn topic(&self, topic: Topic) -> Vec<Value> {
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

const HOOK: &str = r#"{"event":"purchase","email":"jane@example.com","amount":12.50,"order_id":"A1","first_name":"Jane"}"#;

fn purchase_event(order: &str, value: f64) -> Value {
    json!({"type":"track","name":"Purchase","visitor_id":"v1","event_id":"own","props":{"value":value,"currency":"USD","order_id":order,"content_name":"Tea"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn both_orders_of_arrival_conclude_one_purchase_with_the_servers_amount() {
    for (cold, browser_first) in [(false, true), (false, false), (true, true), (true, false)] {
        let data = tempfile::tempdir().unwrap();
        let room = Room::open(data.path(), cold);
        let (stop, judge) = room.judge();
        let browser = async || room.browser(purchase_event("A1", 10.0), Consent::Granted).await;
        let first = |created| Verdict::First { purchases_created: created, pixel_events_queued: 2 };
        if browser_first {
            assert_eq!(browser().await, first(0));
            assert_eq!(room.webhook(HOOK).await, Verdict::Joined { purchases_created: 1 });
        } else {
            assert_eq!(room.webhook(HOOK).await, first(1));
            assert_eq!(browser().await, Verdict::Joined { purchases_created: 0 });
        }
        assert_eq!(browser().await, Verdict::Repeat);
        assert_eq!(room.webhook(HOOK).await, Verdict::Repeat);
        assert_eq!(
            room.browser(purchase_event("A1", 99.0), Consent::Granted).await,
            Verdict::Conflict { fields: vec![ConflictField::Amount] }
        );

        let purchase = room.storage.readings().purchases(None, 10).await.unwrap().rows.remove(0);
        assert_eq!((purchase.amount_minor, purchase.legs.len(), purchase.revision), (Some(1_250), 2, 2));
        assert_eq!(purchase.product_name.as_deref(), Some("Tea"));
        let told = room.topic(Topic::Purchases).await;
        assert_eq!(told[0].get("first_received_at"), None, "the first revision is its own first leg");
        assert_eq!(told[1]["first_received_at"], told[0]["received_at"], "the sale stays on the day of its first leg");
        assert!(purchase.person.first_name_sha256.is_some(), "what the backend knew");
        let dispatches = room.topic(Topic::Dispatch).await;
        assert_eq!(dispatches.len(), if browser_first { 4 } else { 2 }, "revision 2 only where the browser came first");
        let last = dispatches.iter().find(|d| d["revision"] == if browser_first { 2 } else { 1 }).unwrap();
        assert_eq!(last["payload"]["custom_data"]["value"], 12.5);
        if browser_first {
            assert_eq!(last["payload"]["user_data"]["fbp"], "fb.1.1596403881668.1116446470");
            assert_eq!(last["payload"]["action_source"], "website");
        }
        assert_eq!(room.topic(Topic::Dead).await.len(), 1, "the conflict is recorded");
        assert_eq!(room.topic(Topic::Events).await.len(), 1, "only what is First");
        stop.cancel();
        judge.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_starts_again_knows_every_key_from_snapshot_scan_or_ledger() {
    let data = tempfile::tempdir().unwrap();
    for (round, cold) in [(0, false), (1, false), (2, true), (3, false)] {
        let room = Room::open(data.path(), cold);
        let (stop, judge) = room.judge();
        for n in 0..20 {
            let verdict = room.webhook(&format!(r#"{{"event":"purchase","email":"a@b.co","amount":1,"order_id":"{n}"}}"#)).await;
            assert_eq!(verdict == Verdict::Repeat, round > 0, "round {round}, order {n}: {verdict:?}");
        }
        stop.cancel();
        judge.await.unwrap().unwrap();
        room.storage.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consent_a_dispatch_is_queued_without_payload() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let denied = room.browser(purchase_event("A1", 10.0), Consent::Denied).await;
    assert_eq!(denied, Verdict::First { purchases_created: 0, pixel_events_queued: 2 }, "the count is that of the pixels stamped in raw");
    for dispatch in room.topic(Topic::Dispatch).await {
        assert_eq!((&dispatch["payload"], &dispatch["withheld"]["why"]), (&Value::Null, &json!("no_consent")));
    }
    // The buyer's webhook knows by the e-mail that consent was declined.
    room.webhook(r#"{"event":"purchase","email":"jane@example.com","amount":5,"order_id":"B2"}"#).await;
    assert!(room.topic(Topic::Dispatch).await.iter().all(|dispatch| dispatch["payload"].is_null()));
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_fields_are_sealed_and_a_webhook_borrows_the_buyers_browser() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let view = json!({"type":"track","name":"ViewContent","visitor_id":"v1","event_id":"e1","props":{}});
    room.browser(view, Consent::Granted).await;
    room.webhook(HOOK).await;
    let dispatched = room.topic(Topic::Dispatch).await;
    let purchase = dispatched.iter().find(|d| d["event_name"] == "Purchase").unwrap();
    assert_eq!(purchase["payload"]["user_data"]["client_user_agent"], "Test/1.0");
    assert_eq!(purchase["payload"]["action_source"], "website");
    let mut everything = String::new();
    for topic in [Topic::Events, Topic::Purchases, Topic::Dispatch] {
        everything.push_str(&serde_json::to_string(&room.topic(topic).await).unwrap());
    }
    assert!(!everything.to_lowercase().contains("jane"), "clear personal fields stand in raw only");
    let facts = room.topic(Topic::Purchases).await;
    assert!(facts[0]["person"]["sealed"]["key_id"].is_string());
    let funnel = FunnelId::parse("fn_1").unwrap();
    let visitor = room.storage.facts().visitor(&funnel, &VisitorId::parse("v1").unwrap()).await.unwrap().unwrap();
    let email = visitor.person.unwrap().value.email_sha256.unwrap();
    assert_eq!(room.storage.facts().person_keys(&funnel, &email).await.unwrap().len(), 1, "one person, one key, whichever leg came first");
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_newer_version_stops_the_partition_and_is_judged_by_a_newer_build() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let value = br#"{"version":2,"shape":"unknown"}"#.as_slice();
    let append = Append { topic: Topic::Raw, key: "k".into(), value: value.into(), time: room.world.now() };
    let position = room.storage.appender().append(vec![append]).await.unwrap().remove(0);
    let poison = Append { topic: Topic::Raw, key: "k".into(), value: "not JSON".into(), time: room.world.now() };
    room.storage.appender().append(vec![poison]).await.unwrap();
    // The other partition goes on: orders are told until one of them is judged there.
    let mut judged_elsewhere = false;
    for n in 0..20 {
        let key = format!("fn_1|purchase|{n}");
        if room.storage.partition_of(Topic::Raw, key.as_bytes()) != position.partition {
            room.webhook(&format!(r#"{{"event":"purchase","email":"a@b.co","amount":1,"order_id":"{n}"}}"#)).await;
            judged_elsewhere = true;
        }
    }
    assert!(judged_elsewhere);
    assert_eq!(room.storage.committed(Group::Processor, position.partition).await.unwrap().next_offset, position.offset);
    assert!(room.topic(Topic::Dead).await.is_empty(), "newer is not poison");
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_put_aside_and_the_partition_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    for key in ["fn_1|purchase|A1", "x", "y", "z"] {
        let poison = Append { topic: Topic::Raw, key: key.into(), value: "not JSON".into(), time: room.world.now() };
        room.storage.appender().append(vec![poison]).await.unwrap();
    }
    assert!(matches!(room.webhook(HOOK).await, Verdict::First { .. }));
    let dead = room.topic(Topic::Dead).await;
    assert!(!dead.is_empty() && dead.iter().all(|record| record["code"] == "refused_unreadable"));
    stop.cancel();
    judge.await.unwrap().unwrap();
}
