//! `kill -9` of the sink at every point at which it waits for somebody: the store, its tables, Meta. After each kill it starts again under
//! load. At the end ledger, topic and Meta say the same: nothing lost, each outcome told once, and every copy too many recorded as
//! ambiguous.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{
    Account, House, MetaBox,
    cluster::{Cluster, Door},
    command_on,
    load::Load,
    try_command_on, wait_for,
};

const PAUSE: &str = "RAPIDMETRICS_STORAGE__PAUSE_AT";

/// Where the sink is killed.
struct Point {
    /// A name of `storage.pause_at`.
    at: &'static str,
    /// The kills meet the first time in a process that it comes there, up to so many times later, in turn.
    spread: usize,
    /// Whether an attempt must have been left open before, for it to come there.
    after_an_open_attempt: bool,
}

const fn point(at: &'static str, spread: usize) -> Point {
    Point { at, spread, after_an_open_attempt: false }
}

/// A point of the recovery.
const fn recovery(at: &'static str) -> Point {
    Point { at, spread: 1, after_an_open_attempt: true }
}

/// Steps that the sink commits.
const STEPS: [Point; 6] = [
    point("intent.before", 5),
    point("intent.after", 5),
    point("outcome.before", 5),
    point("outcome.after", 5),
    recovery("recover.before"),
    recovery("recover.after"),
];

/// What it asks of log and tables: at its start (four partitions), in its recovery, and at work.
const QUESTIONS: [Point; 11] = [
    point("take_over.before", 4),
    point("take_over.after", 4),
    recovery("open_intents.before"),
    recovery("open_intents.after"),
    point("due.before", 9),
    point("due.after", 9),
    point("delivery.before", 4),
    point("delivery.after", 4),
    point("waiting.before", 2),
    point("waiting.after", 2),
    point("reading.after", 5),
];

/// Its way to Meta.
const POSTS: [Point; 2] = [point("post.before", 5), point("post.after", 5)];

/// On a cluster: also where a step's rows stand and the transaction that tells them does not.
const ON_THE_CLUSTER: [Point; 8] = [
    point("take_over.after", 2),
    point("intent.before", 2),
    point("intent.after", 2),
    point("post.after", 2),
    point("outcome.rows", 2),
    point("outcome.after", 2),
    recovery("open_intents.after"),
    recovery("recover.rows"),
];

/// What Meta does with a request that is on its way when the sink dies.
const ON_THEIR_WAY: [(&str, &str); 3] = [
    ("taken and not answered", r#"{"fault":"slow","ms":20000}"#),
    ("neither taken nor answered", r#"{"fault":"timeout","ms":20000}"#),
    ("refused and not answered", r#"{"fault":"http500","ms":20000}"#),
];

fn kills() -> usize {
    if std::env::var_os("RAPIDMETRICS_LONG").is_some() { 50 } else { 3 }
}

/// A house under load, and Meta in a box that now and then fails.
struct Scene {
    meta: MetaBox,
    house: House,
    account: Account,
    load: Load,
    _data: tempfile::TempDir,
    _cluster: Option<Cluster>,
}

impl Scene {
    /// On the embedded engine.
    fn open() -> Self {
        Self::start(MetaBox::start(), None)
    }

    /// On real servers; nothing where there are none.
    fn on_cluster() -> Option<Self> {
        let meta = MetaBox::start();
        let cluster = Cluster::made(&meta, "kills")?;
        Some(Self::start(meta, Some(cluster)))
    }

    fn start(meta: MetaBox, cluster: Option<Cluster>) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let house = match &cluster {
            Some(cluster) => cluster.house(data.path(), &meta),
            None => House::start(data.path(), &meta, &[]),
        };
        let account = house.account(&meta, &["7001", "7002"]);
        let pace = Duration::from_millis(if kills() > 3 { 100 } else { 40 });
        let load = Load::paced(&account, &[Door::at(&house.public)], pace);
        let scene = Self { meta, house, account, load, _data: data, _cluster: cluster };
        scene.often_fails(&[]);
        scene
    }

    /// Meta's usual failures, after these.
    fn often_fails(&self, first: &[Value]) {
        let usual = [
            json!({"fault":"http500","share":0.08}),
            json!({"fault":"reset_after","share":0.08}),
            json!({"fault":"throttle","share":0.08}),
            json!({"fault":"slow","ms":30,"share":0.3}),
        ];
        self.meta.faults(&first.iter().chain(&usual).cloned().collect());
    }

    /// Lets a process work for a while that was started after a kill.
    fn work(&mut self) {
        self.house.kill_and_start(&[(PAUSE, "")]);
        self.load.progress();
    }

    /// Kills the process, and the next one where it stands still at that point.
    fn kill_at(&mut self, at: &str, time: usize) {
        self.house.process.kill();
        self.house.begin_again(&[(PAUSE, &format!("{at}:{time}"))]);
        let paused = format!("paused at {at}");
        let process = &mut self.house.process;
        wait_for(&paused, || {
            let ended = process.has_ended();
            assert!(ended.is_none(), "it ended by itself before it was {paused}: {ended:?}\n{}", process.log());
            process.log().contains(&paused).then_some(())
        });
        process.kill();
    }

    /// Kills the process at a point once more.
    fn work_and_kill(&mut self, Point { at, spread, after_an_open_attempt }: &Point, kill: usize) {
        self.work();
        if *after_an_open_attempt {
            self.kill_at("intent.after", 1 + kill % 4);
        }
        self.kill_at(at, 1 + kill % spread);
    }

    /// Starts the process a last time, and accounts for everything.
    fn end(mut self, what: &str, killed: usize) {
        self.work();
        let orders = self.load.end();
        self.meta.no_faults();
        account_for(&self.house, &self.meta, &self.account, &orders, &format!("killed {killed} times {what}"));
    }
}

/// Ledger, topic and Meta, one by one and against each other. Prints the counts.
fn account_for(house: &House, meta: &MetaBox, account: &Account, orders: &[String], context: &str) {
    let expected = orders.len() * account.pixels.len();
    let totals = || try_command_on(&house.data, &["totals"]).unwrap_or_else(|why| panic!("{context}: {why}")).remove(0);
    let until = Instant::now() + Duration::from_secs(120);
    let totals = loop {
        let totals = totals();
        if totals["waiting"] == 0 && totals["dispatched"] == expected {
            break totals;
        }
        if Instant::now() > until {
            let late: Vec<Value> = house.export("deliveries").into_iter().filter(|delivery| delivery["outcome"] == "waiting").collect();
            panic!("{context}: {expected} are not all told: {totals}; these wait: {late:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((&totals["holds"], &totals["missing"], &totals["delivered"]), (&json!(true), &json!(0), &json!(expected)), "{context}");

    let mut copies: HashMap<(String, String), u64> = HashMap::new();
    for pixel in &account.pixels {
        for conversion in meta.conversions(pixel) {
            let id = conversion["event_id"].as_str().expect("an id").to_owned();
            copies.insert((pixel.clone(), id), conversion["server_copies"].as_u64().expect("a number"));
        }
    }
    let slot = |delivery: &Value| (delivery["pixel_id"].as_str().unwrap().to_owned(), delivery["event_id"].as_str().unwrap().to_owned());
    let wanted: HashSet<(String, String)> = account
        .pixels
        .iter()
        .flat_map(|pixel| orders.iter().map(move |order| (pixel.clone(), format!("{}:{order}", account.funnel))))
        .collect();
    let deliveries = house.export("deliveries");
    assert_eq!(deliveries.iter().map(slot).collect::<HashSet<_>>(), wanted, "{context}: the ledger has each, and no other");
    let (mut doubled, mut ambiguous) = (0, 0);
    for delivery in &deliveries {
        let copies = copies.get(&slot(delivery)).copied().unwrap_or(0);
        let (attempts, lost) = (delivery["attempts"].as_u64().unwrap(), delivery["ambiguous_attempts"].as_u64().unwrap());
        assert!((1..=attempts).contains(&copies), "{context}: {copies} copies: {delivery}");
        assert!(copies - 1 <= lost, "{context}: a copy too many was not recorded: {copies} copies: {delivery}");
        doubled += copies - 1;
        ambiguous += lost;
    }

    let mut told: HashMap<(String, String), usize> = HashMap::new();
    for record in command_on(&house.data, &["tail", "deliveries", "--from", "beginning"]) {
        assert_eq!(record["value"]["outcome"], "delivered", "{context}: {record}");
        *told.entry(slot(&record["value"])).or_default() += 1;
    }
    assert!(told.len() == expected && told.values().all(|times| *times == 1), "{context}: each outcome is told once");

    let events: Vec<_> = wanted.into_iter().map(|(pixel, id)| (pixel, "Purchase".to_owned(), id)).collect();
    meta.expect(&events);
    let report = meta.report();
    let sum = |what: &str| account.pixels.iter().map(|pixel| report[pixel][what].as_u64().unwrap_or(0)).sum::<u64>();
    assert_eq!((sum("expected"), sum("lost"), sum("double_conversions")), (expected as u64, 0, doubled), "{context}: {report}");
    println!(
        "{context}: {} orders, {expected} deliveries, each told once, lost 0, ambiguous attempts {ambiguous}, doubled at Meta {doubled}",
        orders.len()
    );
}

fn killed_at(points: &[Point]) {
    for point in points {
        let mut scene = Scene::open();
        for kill in 0..kills() {
            scene.work_and_kill(point, kill);
        }
        scene.end(&format!("at {}", point.at), kills());
    }
}

#[test]
fn at_each_step() {
    killed_at(&STEPS);
}

#[test]
fn at_each_question_to_its_tables() {
    killed_at(&QUESTIONS);
}

/// After a kill the brokers miss the process for its session's six seconds: fewer kills than on the embedded engine.
#[test]
fn at_steps_and_questions_on_the_cluster() {
    let Some(mut scene) = Scene::on_cluster() else { return };
    let rounds = if kills() > 3 { 3 } else { 1 };
    for round in 0..rounds {
        for point in &ON_THE_CLUSTER {
            scene.work_and_kill(point, round);
        }
    }
    scene.end("on the cluster, at each of its points", rounds * ON_THE_CLUSTER.len());
}

#[test]
fn on_the_way_to_meta() {
    killed_at(&POSTS);
    for (what, fault) in ON_THEIR_WAY {
        let mut scene = Scene::open();
        let fault: Value = serde_json::from_str(fault).expect("JSON");
        for _ in 0..kills() {
            scene.house.process.kill();
            scene.often_fails(std::slice::from_ref(&fault));
            let requests = |scene: &Scene| scene.meta.report()["7001"]["requests"].as_u64().unwrap_or(0);
            let before = requests(&scene);
            scene.house.start_again(&[]);
            wait_for("a request on its way", || (requests(&scene) > before).then_some(()));
            scene.house.process.kill();
            scene.often_fails(&[]);
        }
        scene.end(&format!("with requests {what}"), kills());
    }
}
