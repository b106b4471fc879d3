//! The server leg goes first: a browser purchase waits for its backend's word and is told in that word, once; without it, it goes out by
//! itself when the wait is over. In both orders of arrival, before and after the wait, killed at every step, on both engines.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};
use support::{Account, House, MetaBox, cluster::Cluster, http::Client, wait_for};

const PAUSE: &str = "RAPIDMETRICS_STORAGE__PAUSE_AT";
/// What the page says, and what the backend knows better.
const PAGE_SAYS: f64 = 40.0;
const BACKEND_SAYS: f64 = 49.99;
/// A wait that no test outlasts, and one that every test can sit out, in seconds.
const LONG: u32 = 600;
const SHORT: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Leg {
    Browser,
    Server,
}

/// When the second leg is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Second {
    WhenTheFirstIsRecorded,
    WhenMetaKnowsTheFirst,
}

/// Posts one leg of an order; without an answer the sender does not know what came of it.
fn post(client: &Client, account: &Account, order: &str, leg: Leg) -> Option<Value> {
    let (path, headers, body) = match leg {
        Leg::Server => (
            format!("/v1/webhook/custom/{}", account.funnel),
            [("content-type", "application/json"), ("x-api-key", account.api_key.as_str())],
            json!({"event":"purchase","email":"jane@example.com","amount":BACKEND_SAYS,"currency":"EUR","order_id":order}),
        ),
        Leg::Browser => (
            "/v1/session".to_owned(),
            [("content-type", "text/plain"), ("user-agent", "Test/1.0")],
            json!({"v":1,"fid":account.funnel,"sent_at":1_764_000_000_000_i64,"page":{"url":"https://shop.example/thanks"},
                   "ids":{"fbp":"fb.1.1596403881668.1116446470"},"consent":"granted",
                   "events":[{"event_id":format!("own-{order}"),"visitor_id":"visitor-1","type":"track","name":"Purchase",
                              "props":{"value":PAGE_SAYS,"currency":"EUR","order_id":order},"at":1_764_000_000_000_i64}]}),
        ),
    };
    let answer = client.try_send("POST", &path, &headers, body.to_string().as_bytes()).ok()?;
    assert!(answer.status < 300 || answer.status == 503, "{answer:?}");
    (answer.status < 300).then(|| answer.json())
}

/// The houses of both engines, each with its box.
struct Stage {
    house: House,
    meta: MetaBox,
    account: Account,
    _folder: tempfile::TempDir,
    _cluster: Option<Cluster>,
}

impl Stage {
    /// On the embedded engine.
    fn embedded(wait_s: u32, pixels: &[&str]) -> Self {
        Self::start(wait_s, pixels, MetaBox::start(), None)
    }

    /// On real servers; nothing where there are none.
    fn cluster(name: &str, wait_s: u32, pixels: &[&str]) -> Option<Self> {
        let meta = MetaBox::start();
        let cluster = Cluster::made(&meta, name)?;
        Some(Self::start(wait_s, pixels, meta, Some(cluster)))
    }

    fn start(wait_s: u32, pixels: &[&str], meta: MetaBox, cluster: Option<Cluster>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let house = match &cluster {
            Some(cluster) => cluster.house(folder.path(), &meta),
            None => House::start(folder.path(), &meta, &[]),
        };
        let account = house.account(&meta, pixels);
        house.command(&["funnel", "set", &account.funnel, "--server-leg-wait-s", &wait_s.to_string()]);
        Self { house, meta, account, _folder: folder, _cluster: cluster }
    }

    fn post(&self, order: &str, leg: Leg) -> Value {
        wait_for("an answer to a leg", || post(&self.house.client, &self.account, order, leg))
    }

    fn event_id(&self, order: &str) -> String {
        format!("{}:{order}", self.account.funnel)
    }

    fn deliveries(&self, order: &str) -> Vec<Value> {
        let id = self.event_id(order);
        self.house.export("deliveries").into_iter().filter(|delivery| delivery["event_id"] == *id).collect()
    }

    /// Waits until every pixel's delivery of the order says what is asked for.
    fn wait_deliveries(&self, order: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Vec<Value> {
        wait_for(&format!("the deliveries of {order}: {what}"), || {
            let deliveries = self.deliveries(order);
            (deliveries.len() == self.account.pixels.len() && deliveries.iter().all(&is_so)).then_some(deliveries)
        })
    }

    /// The amounts that Meta was told of an order by one pixel, one per copy.
    fn amounts_at_meta(&self, pixel: &str, order: &str) -> Vec<f64> {
        let id = self.event_id(order);
        let events = self.meta.requests(pixel).into_iter().filter(|request| request["status"] == 200).flat_map(|request| {
            let body: Value = serde_json::from_str(request["body"].as_str().expect("a text")).expect("JSON");
            body["data"].as_array().cloned().unwrap_or_default()
        });
        events.filter(|event| event["event_id"] == *id).map(|event| event["custom_data"]["value"].as_f64().expect("a number")).collect()
    }

    /// One purchase of both legs with the backend's amount.
    fn check_purchase(&self, order: &str) {
        let purchases: Vec<Value> = self.house.export("purchases").into_iter().filter(|p| p["order_id"] == order).collect();
        assert_eq!(purchases.len(), 1, "one order, one purchase");
        assert_eq!((&purchases[0]["legs"], &purchases[0]["amount"]), (&json!(["browser", "server"]), &json!(BACKEND_SAYS)));
    }
}

fn goes_first(stage: &Stage) {
    // Before the wait is over, browser first: the backend's word takes the place of the page's and leaves at once.
    stage.post("BROWSER-FIRST", Leg::Browser);
    let waiting = stage.wait_deliveries("BROWSER-FIRST", "it waits", |_| true);
    assert!(waiting.iter().all(|delivery| delivery["outcome"] == "waiting" && delivery["attempts"] == 0), "{waiting:?}");
    let answer = stage.post("BROWSER-FIRST", Leg::Server);
    assert_eq!((&answer["purchases_created"], &answer["pixel_events_queued"]), (&json!(1), &json!(0)), "{answer}");
    let delivered = stage.wait_deliveries("BROWSER-FIRST", "delivered", |delivery| delivery["outcome"] == "delivered");
    assert!(delivered.iter().all(|delivery| delivery["revision"] == 2 && delivery["attempts"] == 1), "{delivered:?}");

    // Server first: nothing waits.
    stage.post("SERVER-FIRST", Leg::Server);
    stage.wait_deliveries("SERVER-FIRST", "delivered", |delivery| delivery["outcome"] == "delivered");
    stage.post("SERVER-FIRST", Leg::Browser);
    wait_for("the browser leg to be recorded", || {
        stage.house.export("purchases").iter().any(|p| p["order_id"] == "SERVER-FIRST" && p["revision"] == 2).then_some(())
    });

    // A lead waits for nobody.
    let lead = json!({"v":1,"fid":stage.account.funnel,"sent_at":1_764_000_000_000_i64,"page":{"url":"https://shop.example/"},"consent":"granted",
                      "person":{"email":"jane@example.com"},
                      "events":[{"event_id":"lead","visitor_id":"visitor-1","type":"track","name":"Lead","props":{"order_id":"LEAD"},
                                 "at":1_764_000_000_000_i64}]});
    assert_eq!(stage.house.client.session(&lead).status, 200);
    stage.wait_deliveries("LEAD", "delivered", |delivery| delivery["outcome"] == "delivered");

    for order in ["BROWSER-FIRST", "SERVER-FIRST"] {
        stage.check_purchase(order);
        for pixel in &stage.account.pixels {
            assert_eq!(stage.amounts_at_meta(pixel, order), [BACKEND_SAYS], "{order}: one copy, in the backend's words");
        }
    }
}

fn goes_alone_when_the_wait_is_over(stage: &Stage) {
    let wait_us = i64::from(SHORT) * 1_000_000;
    stage.post("LATE", Leg::Browser);
    let delivered = stage.wait_deliveries("LATE", "delivered", |delivery| delivery["outcome"] == "delivered");
    for delivery in &delivered {
        let at = |field: &str| delivery[field].as_str().expect("a time").parse::<schemas::time::Time>().expect("a time");
        assert!(at("settled_at").since(at("received_at")) >= wait_us, "it did not wait: {delivery}");
        assert_eq!((&delivery["revision"], &delivery["attempts"]), (&json!(1), &json!(1)));
    }
    let answer = stage.post("LATE", Leg::Server);
    assert_eq!((&answer["purchases_created"], &answer["pixel_events_queued"]), (&json!(1), &json!(0)), "{answer}");
    stage.wait_deliveries("LATE", "the later word is noted", |delivery| delivery["noted_revision"] == 2);
    stage.check_purchase("LATE");
    for pixel in &stage.account.pixels {
        assert_eq!(stage.amounts_at_meta(pixel, "LATE"), [PAGE_SAYS], "what was sent is not sent again");
    }
}

#[test]
fn within_the_wait_the_server_leg_is_what_meta_hears() {
    goes_first(&Stage::embedded(LONG, &["7101", "7102"]));
}

#[test]
fn within_the_wait_the_server_leg_is_what_meta_hears_on_the_cluster() {
    let Some(stage) = Stage::cluster("legfirst", LONG, &["7103", "7104"]) else { return };
    goes_first(&stage);
}

#[test]
fn after_the_wait_a_browser_purchase_goes_out_alone_and_the_server_leg_is_noted() {
    goes_alone_when_the_wait_is_over(&Stage::embedded(SHORT, &["7105", "7106"]));
}

#[test]
fn after_the_wait_a_browser_purchase_goes_out_alone_on_the_cluster() {
    let Some(stage) = Stage::cluster("legalone", SHORT, &["7107", "7108"]) else { return };
    goes_alone_when_the_wait_is_over(&stage);
}

/// Kills the house at a step of an order's way, starts it again, tells both legs again as senders do, and counts what came of it.
fn killed_at(stage: &mut Stage, order: &str, point: &str, legs: [Leg; 2], second: Second) {
    stage.house.process.terminate();
    stage.house.start_again(&[(PAUSE, point)]);
    let paused = format!("paused at {}", point.split(':').next().unwrap_or(point));
    let is_over = Arc::new(AtomicBool::new(false));
    let sender = {
        let (client, account, order, is_over) = (stage.house.client.clone(), stage.account.clone(), order.to_owned(), is_over.clone());
        let (meta, _) = MetaBox::at(&stage.meta.url);
        let (id, data) = (stage.event_id(&order), stage.house.data.clone());
        std::thread::spawn(move || {
            post(&client, &account, &order, legs[0]);
            // Both legs in one batch are one step, not two: the second comes when the first has been through.
            let knows = |pixel: &String| support::conversion(&meta, pixel, "Purchase", &id)["server_copies"].as_u64() > Some(0);
            let is_recorded = || {
                let deliveries = support::try_command_on(&data, &["export", "deliveries"]).unwrap_or_default(); // it may just be killed
                deliveries.iter().filter(|delivery| delivery["event_id"] == *id).count() == account.pixels.len()
            };
            wait_for("the first leg to have been through, or the kill", || {
                let is_through = match second {
                    Second::WhenTheFirstIsRecorded => is_recorded(),
                    Second::WhenMetaKnowsTheFirst => account.pixels.iter().all(knows),
                };
                (is_over.load(Ordering::Relaxed) || is_through).then_some(())
            });
            post(&client, &account, &order, legs[1]);
        })
    };
    wait_for(&paused, || stage.house.process.log().contains(&paused).then_some(()));
    stage.house.process.kill();
    is_over.store(true, Ordering::Relaxed);
    sender.join().expect("the sender ends when the connection does");
    stage.house.start_again(&[(PAUSE, "")]);
    for leg in legs {
        stage.post(order, leg);
    }
    let context = format!("{order}, killed at {point}");
    let deliveries = stage.wait_deliveries(order, "delivered", |delivery| delivery["outcome"] == "delivered");
    stage.check_purchase(order);
    for delivery in &deliveries {
        let amounts = stage.amounts_at_meta(delivery["pixel_id"].as_str().expect("a pixel"), order);
        let ambiguous = delivery["ambiguous_attempts"].as_u64().expect("a number") as usize;
        assert!(!amounts.is_empty() && amounts.len() <= 1 + ambiguous, "{context}: {amounts:?}, {delivery}");
        if second == Second::WhenTheFirstIsRecorded {
            assert!(amounts.iter().all(|amount| *amount == BACKEND_SAYS), "{context}: the backend's word came in time: {amounts:?}");
            assert_eq!(delivery["revision"], if legs[0] == Leg::Browser { 2 } else { 1 }, "{context}: {delivery}");
        }
    }
}

/// Steps of an order whose browser leg comes first: each leg is appended and judged, the first begins to wait, the second is sent.
const STEPS: [&str; 12] = [
    "append.after:1",
    "judge.before:1",
    "judge.after:1",
    "outcome.before:1",
    "outcome.after:1",
    "append.after:2",
    "judge.before:2",
    "judge.after:2",
    "intent.before:1",
    "intent.after:1",
    "outcome.before:2",
    "outcome.after:2",
];

#[test]
fn killed_at_any_step_within_the_wait_one_copy_goes_out_in_the_backends_words() {
    let mut stage = Stage::embedded(LONG, &["7109", "7110"]);
    for (number, point) in STEPS.into_iter().enumerate() {
        killed_at(&mut stage, &format!("PROMPT-{number}"), point, [Leg::Browser, Leg::Server], Second::WhenTheFirstIsRecorded);
    }
}

#[test]
fn killed_at_any_step_around_the_end_of_the_wait_copies_are_accounted_for() {
    let mut stage = Stage::embedded(SHORT, &["7111", "7112"]);
    for (number, point) in STEPS.into_iter().chain(["outcome.before:3", "outcome.after:3"]).enumerate() {
        killed_at(&mut stage, &format!("LATE-{number}"), point, [Leg::Browser, Leg::Server], Second::WhenMetaKnowsTheFirst);
    }
}

#[test]
fn killed_at_any_step_with_the_server_leg_first_one_copy_goes_out() {
    let mut stage = Stage::embedded(LONG, &["7113", "7114"]);
    for (number, point) in STEPS.into_iter().filter(|point| !point.starts_with("outcome") || point.ends_with(":1")).enumerate() {
        killed_at(&mut stage, &format!("SERVER-{number}"), point, [Leg::Server, Leg::Browser], Second::WhenTheFirstIsRecorded);
    }
}

#[test]
fn killed_at_steps_on_the_cluster_one_copy_goes_out_in_the_backends_words() {
    let Some(mut stage) = Stage::cluster("legkill", LONG, &["7115", "7116"]) else { return };
    for (number, point) in ["judge.rows", "outcome.rows", "intent.before", "intent.after"].into_iter().enumerate() {
        killed_at(&mut stage, &format!("PROMPT-{number}"), point, [Leg::Browser, Leg::Server], Second::WhenTheFirstIsRecorded);
    }
}
