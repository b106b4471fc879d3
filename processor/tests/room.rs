//! The judge on the real embedded engine: raw records in, facts, dispatches and answers out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod stage;

use schemas::{
    id::{FunnelId, VisitorId},
    raw::Consent,
    topic::{Group, Topic},
    verdict::{ConflictField, Verdict},
    world::World,
};
use serde_json::{Value, json};
use stage::Room;
use storage::Append;

const HOOK: &str = r#"{"event":"purchase","email":"jane@example.com","amount":12.50,"order_id":"A1","first_name":"Jane"}"#;

fn purchase_event(order: &str, value: f64) -> Value {
    json!({"type":"track","name":"Purchase","visitor_id":"v1","event_id":"own","props":{"value":value,"currency":"USD","order_id":order,"content_name":"Tea"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_browsers_purchase_of_an_order_waits_for_its_server_leg() {
    let data = tempfile::tempdir().unwrap();
    let mut room = Room::open(data.path(), false);
    room.server_leg_wait_s = 60;
    let (stop, judge) = room.judge();
    room.browser(purchase_event("A1", 10.0), Consent::Granted).await;
    room.webhook(HOOK).await;
    room.webhook(&HOOK.replace("A1", "A2")).await;
    let dispatches = room.topic(Topic::Dispatch).await;
    let of = |order: &str, revision: u32| {
        let id = format!("fn_1:{order}");
        dispatches.iter().filter(|d| d["event_id"] == id && d["revision"] == revision).cloned().collect::<Vec<Value>>()
    };
    for waiting in of("A1", 1) {
        let at = |field: &str| waiting[field].as_str().unwrap().parse::<schemas::time::Time>().unwrap();
        assert_eq!(at("not_before").since(at("received_at")), 60 * schemas::time::SECOND_US);
    }
    let at_once = [of("A1", 2), of("A2", 1)].concat();
    assert_eq!((of("A1", 1).len(), at_once.len()), (2, 4));
    assert!(at_once.iter().all(|dispatch| dispatch.get("not_before").is_none()), "{at_once:?}");
    stop.cancel();
    judge.await.unwrap().unwrap();
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
