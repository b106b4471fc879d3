//! What must hold on a real server: run against the one that `RAPIDMETRICS_TEST_CQL` (`host:port`) names, or skipped and said.
//!
//! With `RAPIDMETRICS_TEST_CQL_CA` (a PEM file of authorities) everything goes over TLS.
//! One keyspace for the process, made once; tests stay apart by their funnels, pixels and partitions.

use std::{env, time::Instant};

use schemas::{
    delivery::{Delivery, Outcome},
    dispatch::Dispatch,
    envelope::{Kind, Position},
    fact::{Context, LegName, Purchase},
    id::{FunnelId, PixelId, VisitorId, WorkspaceId},
    money::Currency,
    order::OrderId,
    person::{Digest, Person},
    raw::Consent,
    row::{Cell, FilterSnapshot, Intent, IntentItem, Leg, LegContext, PersonKey, PersonRow, Row, Seen, Visitor, Waiting},
    time::{DAY_US, Time},
};
use scylla::serialize::row::SerializeRow;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{CqlConfig, Ledger, LedgerError, TopicMade, stamp};

/// The way to a keyspace of that name on the test server; `None` and a word about it if there is no server.
fn config(name: &str) -> Option<CqlConfig> {
    let Ok(node) = env::var("RAPIDMETRICS_TEST_CQL") else {
        println!("skipped: RAPIDMETRICS_TEST_CQL is not set");
        return None;
    };
    let tls_ca_file = env::var_os("RAPIDMETRICS_TEST_CQL_CA").map(Into::into);
    Some(CqlConfig {
        nodes: vec![node],
        keyspace: format!("rm_{name}_{}", std::process::id()),
        datacenter: String::new(),
        replication_factor: 1,
        username: String::new(),
        password: String::new(),
        tls: tls_ca_file.is_some(),
        tls_ca_file,
        request_timeout_ms: 10_000,
        in_flight_max: 256,
    })
}

/// The process's own ledger.
async fn ledger() -> Option<Ledger> {
    static MADE: OnceCell<()> = OnceCell::const_new();
    let config = config("test")?;
    MADE.get_or_init(|| async { drop(Ledger::migrate(&config).await.expect("the server makes tables")) }).await;
    Some(Ledger::open(&config).await.expect("it was just made"))
}

/// The one value that a statement selects.
async fn select<T>(ledger: &Ledger, statement: &str, values: impl SerializeRow) -> T
where
    T: for<'row> scylla::deserialize::value::DeserializeValue<'row, 'row>,
{
    let answer = ledger.client().session.query_unpaged(statement, values).await.expect("it answers");
    answer.into_rows_result().expect("rows").first_row::<(T,)>().expect("a row").0
}

fn at(ms: i64) -> Time {
    Time::from_millis(ms)
}

fn funnel(name: &str) -> FunnelId {
    FunnelId::parse(name).expect("an id")
}

fn pixel(number: u64) -> PixelId {
    PixelId::parse(&number.to_string()).expect("an id")
}

fn leg(partition: u32, offset: u64) -> Leg {
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

fn seen_row(key: &str, leg: LegName, cell: Leg) -> Row {
    Row::Seen { key: key.into(), leg, cell }
}

async fn write(ledger: &Ledger, rows: impl IntoIterator<Item = Row>) {
    write_tagged(ledger, rows, 1 << 40).await;
}

async fn write_tagged(ledger: &Ledger, rows: impl IntoIterator<Item = Row>, tag: i64) {
    let rows: Vec<_> = rows.into_iter().collect();
    ledger.write(&rows, tag, at(0)).await.expect("it becomes true");
}

#[tokio::test]
async fn a_keyspace_without_migrate_is_refused_with_a_sentence() {
    let Some(config) = config("nothing") else { return };
    let said = Ledger::open(&config).await.err().expect("it is not there");
    assert!(said.contains(&config.keyspace) && said.contains("run `rapidmetrics migrate`"), "{said}");
}

#[tokio::test]
async fn a_datacenter_that_does_not_exist_is_refused_with_those_that_do() {
    let Some(config) = config("nowhere") else { return };
    let said = Ledger::open(&CqlConfig { datacenter: "atlantis".into(), ..config }).await.err().expect("it is not there");
    assert!(said.contains("atlantis"), "{said}");
}

#[tokio::test]
async fn more_copies_than_nodes_are_refused_before_anything_is_made() {
    let Some(config) = config("copies") else { return };
    let said = Ledger::migrate(&CqlConfig { replication_factor: 9, ..config.clone() }).await.expect_err("there are not nine");
    assert!(said.contains("9 copies"), "{said}");
    assert!(Ledger::open(&config).await.is_err_and(|said| said.contains("keyspace")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrate_runs_twice_and_by_two_at_once_and_notices_what_is_not_ours() {
    let Some(config) = config("migrate") else { return };
    let (one, two) = (config.clone(), config.clone());
    let both =
        tokio::join!(tokio::spawn(async move { Ledger::migrate(&one).await }), tokio::spawn(async move { Ledger::migrate(&two).await }));
    let mut names = both.0.expect("no panic").expect("it becomes true");
    names.extend(both.1.expect("no panic").expect("it becomes true"));
    assert_eq!(names.len(), super::migration::ALL.len(), "each file is applied by one of them: {names:?}");
    assert_eq!(Ledger::migrate(&config).await, Ok(vec![]));
    let ledger = Ledger::open(&config).await.expect("it was just made");
    assert!(ledger.server_version().await.expect("it answers").contains(' '));
    let ask = async |statement: &str| ledger.client().session.query_unpaged(statement, &[]).await.expect("it answers");

    ask("DROP TABLE topics").await;
    let said = Ledger::open(&config).await.err().expect("a table is gone");
    assert!(said.contains("table topics is missing"), "{said}");
    assert_eq!(Ledger::migrate(&config).await, Ok(vec!["015_topics".to_owned()]));

    ask("DELETE FROM schema_migrations WHERE id = 15").await;
    let said = Ledger::open(&config).await.err().expect("a migration is gone");
    assert!(said.contains("migration 015_topics is missing"), "{said}");
    assert_eq!(Ledger::migrate(&config).await, Ok(vec!["015_topics".to_owned()]));

    ask("INSERT INTO schema_migrations (id, name, checksum) VALUES (999, '999_later', 'x')").await;
    assert!(Ledger::migrate(&config).await.is_err_and(|said| said.contains("999_later")));
    assert!(Ledger::open(&config).await.is_ok(), "an older build goes on while the newer one is rolled out");
    ask("INSERT INTO schema_migrations (id, name, checksum) VALUES (1, '001_seen', 'x')").await;
    assert!(Ledger::open(&config).await.is_err_and(|said| said.contains("001_seen")));
    ask(&format!("DROP KEYSPACE {}", config.keyspace)).await;
}

#[tokio::test]
async fn a_replay_changes_nothing_and_an_older_word_loses() {
    let Some(ledger) = ledger().await else { return };
    let key = "fn_replay|purchase|A".to_owned();
    let older = Leg { amount_minor: Some(999), ..leg(1, 7) };
    let newer = leg(1, 8);
    for cell in [&newer, &older, &newer] {
        write(&ledger, [seen_row(&key, LegName::Browser, cell.clone())]).await;
    }
    let seen = ledger.seen(&[key.clone(), "fn_replay|purchase|B".into()]).await;
    assert_eq!(seen, Ok(vec![Some(Seen { browser: Some(newer), server: None }), None]));
    let stamp = "SELECT WRITETIME(browser) FROM seen WHERE funnel = 'fn_replay' AND dedup_key = ?";
    assert_eq!(select::<i64>(&ledger, stamp, (key,)).await, 8);
}

#[tokio::test]
async fn legs_are_written_apart_and_come_back_with_all_their_cells() {
    let Some(ledger) = ledger().await else { return };
    let full = Leg {
        position: Position { generation: 3, partition: 2, offset: u64::MAX >> 25 },
        amount_minor: Some(4_999),
        currency: Some(Currency::parse("KWD").expect("a currency")),
        email: Some(Digest::of("a@b.example")),
        body: Some(Digest::of("body")),
        pixels: vec![pixel(1), pixel(2)],
        context: Some(Box::new(LegContext { occurred_at: at(9), product_name: Some("Ärmel \"x\"".into()), ..LegContext::default() })),
        ..leg(2, 0)
    };
    let key = "fn_legs|lead|A|7".to_owned();
    write(&ledger, [seen_row(&key, LegName::Server, full.clone())]).await;
    write(&ledger, [seen_row(&key, LegName::Browser, leg(2, 5))]).await;
    let seen = ledger.seen(&[key]).await.expect("it reads").remove(0).expect("it is there");
    assert_eq!(seen.browser, Some(leg(2, 5)));
    let said = |leg: Option<&Leg>| serde_json::to_value(leg).expect("JSON");
    assert_eq!(said(seen.server.as_ref()), said(Some(&full)));
}

#[tokio::test]
async fn each_row_lives_as_long_as_its_table_says() {
    let Some(ledger) = ledger().await else { return };
    let now = Time::from_micros(500_000 * 3_600_000_000);
    let name = "fn_life";
    let rows = [
        seen_row("fn_life|hook|e", LegName::Server, leg(0, 1)),
        seen_row("fn_life|purchase|e", LegName::Server, leg(0, 1)),
        Row::Visitor(Box::new(visitor(name, Some(3), Some(3)))),
        Row::Delivery(Box::new(delivery(pixel(90), "ended", Some(Outcome::Delivered)))),
        Row::Delivery(Box::new(delivery(pixel(90), "waits", None))),
        Row::Waiting(Box::new(waiting(90, pixel(90), "k", 500_010, 1))),
        Row::Intent(intent(90, 0, true)),
    ];
    ledger.write(&rows, 1 << 40, now).await.expect("it becomes true");
    let ttl = async |statement: &str| select::<Option<i32>>(&ledger, statement, &[]).await;
    let near = |seconds: Option<i32>, days: f64| seconds.is_some_and(|seconds| (f64::from(seconds) - days * 86_400.0).abs() < 60.0);
    assert!(near(ttl("SELECT TTL(server) FROM seen WHERE funnel = 'fn_life' AND dedup_key = 'fn_life|hook|e'").await, 32.0));
    assert_eq!(ttl("SELECT TTL(server) FROM seen WHERE funnel = 'fn_life' AND dedup_key = 'fn_life|purchase|e'").await, None);
    assert!(near(ttl("SELECT TTL(context) FROM visitors WHERE funnel = 'fn_life' AND visitor = 'v-1'").await, 400.0));
    assert!(near(ttl("SELECT TTL(delivery) FROM deliveries WHERE pixel = '90' AND dedup_key = 'ended'").await, 90.0));
    assert_eq!(ttl("SELECT TTL(delivery) FROM deliveries WHERE pixel = '90' AND dedup_key = 'waits'").await, None);
    let of_waiting = "SELECT TTL(waiting) FROM waiting WHERE pixel = '90' AND deadline_hour = 500010 AND dedup_key = 'k'";
    assert!(near(ttl(of_waiting).await, 3.0 + 11.0 / 24.0));
    assert!(near(ttl("SELECT TTL(intent) FROM intents WHERE partition = 90 AND bucket = 0 AND attempt = 0").await, 30.0));
}

#[tokio::test]
async fn a_scan_finds_the_rows_of_its_partition_only() {
    let Some(ledger) = ledger().await else { return };
    let rows = (0..2_000_u64).map(|n| seen_row(&format!("fn_scan|hook|{n}"), LegName::Server, leg(1_000 + (n % 4) as u32, n)));
    write(&ledger, rows).await;
    let moved = Seen { browser: Some(leg(7, 1)), server: Some(leg(7, 2)) };
    ledger.write_moved("fn_scan|purchase|moved", &moved, 1_003).await.expect("it becomes true");
    let mut found = Vec::new();
    let mut each = |key: &str, seen: &Seen| found.push((key.to_owned(), seen.server.as_ref().map(|leg| leg.position.offset)));
    ledger.scan_seen(1_003, &mut each).await.expect("it reads");
    found.sort();
    let mut expected: Vec<_> = (0..2_000_u64).filter(|n| n % 4 == 3).map(|n| (format!("fn_scan|hook|{n}"), Some(n))).collect();
    expected.push(("fn_scan|purchase|moved".to_owned(), Some(2)));
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(ledger.seen(&["fn_scan|purchase|moved".into()]).await, Ok(vec![Some(moved)]));
}

fn visitor(funnel_name: &str, person_ms: Option<i64>, context_ms: Option<i64>) -> Visitor {
    let url = |ms: i64| Context { url: Some(ms.to_string()), ..Context::default() };
    Visitor {
        funnel_id: funnel(funnel_name),
        visitor_id: VisitorId::parse("v-1").expect("an id"),
        person: person_ms.map(|ms| Cell { at: at(ms), value: Person::default() }),
        context: context_ms.map(|ms| Cell { at: at(ms), value: url(ms) }),
        consent: None,
    }
}

#[tokio::test]
async fn cells_merge_in_any_order() {
    let Some(ledger) = ledger().await else { return };
    let told = [(Some(30), Some(10)), (None, Some(30)), (Some(5), Some(20)), (Some(7), Some(7))];
    for (order, name) in [([0, 1, 2, 3], "fn_cells_a"), ([3, 2, 1, 0], "fn_cells_b"), ([2, 0, 3, 1], "fn_cells_c")] {
        for step in order {
            write(&ledger, [Row::Visitor(Box::new(visitor(name, told[step].0, told[step].1)))]).await;
        }
        let merged = visitor(name, Some(30), Some(30));
        assert_eq!(ledger.visitor(&merged.funnel_id, &merged.visitor_id).await, Ok(Some(merged)));
    }
    let email = Digest::of("a@b.example");
    let empty = PersonRow { funnel_id: funnel("fn_cells"), email, context: None, consent: None };
    let told = PersonRow { consent: Some(Cell { at: at(5), value: Consent::Granted }), ..empty.clone() };
    let seen = PersonRow { context: Some(Cell { at: at(3), value: Context::default() }), ..empty };
    write(&ledger, [Row::Person(Box::new(told.clone())), Row::Person(Box::new(seen.clone()))]).await;
    assert_eq!(ledger.person(&told.funnel_id, &email).await, Ok(Some(told.merged(seen))));
    assert_eq!(ledger.person(&funnel("fn_nobody"), &email).await, Ok(None));
}

#[tokio::test]
async fn a_person_may_have_several_keys() {
    let Some(ledger) = ledger().await else { return };
    let sealed: schemas::secret::Sealed = serde_json::from_str("\"sealed\"").expect("text");
    let key = |email: &str, key_id: Uuid| PersonKey { funnel_id: funnel("fn_keys"), email: Digest::of(email), key_id, key: sealed.clone() };
    let timed: Uuid = "01890a5d-ac96-7cc1-8111-a1b2c3d4e5f6".parse().expect("an id");
    let ids = [Uuid::from_u128(1), Uuid::from_u128(2), timed];
    for _ in 0..2 {
        write(&ledger, ids.map(|id| Row::PersonKey(key("a", id)))).await;
    }
    write(&ledger, [Row::PersonKey(key("b", timed))]).await;
    let read = ledger.person_keys(&funnel("fn_keys"), &Digest::of("a")).await;
    assert_eq!(read, Ok(vec![key("a", ids[0]), key("a", ids[1]), key("a", timed)]));
}

fn purchase(funnel_name: &str, order: Option<&str>, event_id: &str, revision: u32, offset: u64) -> Purchase {
    Purchase {
        id: Uuid::from_u128(1),
        kind: Kind::Purchase,
        version: 1,
        funnel_id: funnel(funnel_name),
        workspace_id: WorkspaceId::parse("ws_1").expect("an id"),
        occurred_at: at(1),
        received_at: Time::from_micros(DAY_US + 2),
        position: Position { generation: 0, partition: 0, offset },
        revision,
        order_id: order.map(|order| OrderId::parse(order).expect("it fits").expect("it is not blank")),
        event_id: event_id.into(),
        amount: None,
        amount_minor: None,
        currency: Currency::parse("USD").expect("a currency"),
        legs: vec![],
        visitor_id: None,
        person: Person::default(),
        product_name: None,
        properties: None,
        metadata: None,
    }
}

#[tokio::test]
async fn the_newest_revision_stays_and_an_order_goes_before_an_event_of_its_name() {
    let Some(ledger) = ledger().await else { return };
    let name = "fn_facts";
    let rows = [
        purchase(name, Some("A"), "fn_facts:A", 2, 9),
        purchase(name, None, "A", 1, 3),
        purchase(name, None, "B", 1, 3),
        purchase(name, Some("A"), "fn_facts:A", 1, 4),
    ];
    for row in rows {
        write(&ledger, [Row::Purchase(Box::new(row))]).await;
    }
    let read = async |key| ledger.purchase(&funnel(name), key).await.expect("it reads").map(|row| (row.event_id, row.revision));
    assert_eq!(read("A").await, Some(("fn_facts:A".to_owned(), 2)));
    assert_eq!(read("B").await, Some(("B".to_owned(), 1)));
    assert_eq!(read("C").await, None);
    let by_day = "SELECT fact FROM purchases_by_day WHERE funnel = ? AND day = '1970-01-02' AND bucket = ? AND fact_key = 'o|A'";
    let fact: String = select(&ledger, by_day, (name, super::key::day_bucket("o|A"))).await;
    assert!(fact.contains("\"revision\":2"), "{fact}");
}

fn delivery(pixel_id: PixelId, dedup_key: &str, outcome: Option<Outcome>) -> Delivery {
    Delivery {
        id: Uuid::from_u128(1),
        kind: Kind::Delivery,
        version: 1,
        funnel_id: funnel("fn_1"),
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
    }
}

#[tokio::test]
async fn pages_lead_through_all_rows_once() {
    let Some(ledger) = ledger().await else { return };
    let rows = (0..25).map(|n| Row::Delivery(Box::new(delivery(pixel(70 + n % 3), &format!("page{n:02}"), Some(Outcome::Delivered)))));
    write(&ledger, rows).await;
    for limit in [1, 10, 1_000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = ledger.deliveries(after, limit).await.expect("it reads");
            assert!(page.rows.len() <= limit);
            found.extend(page.rows.into_iter().map(|row| row.dedup_key).filter(|key| key.starts_with("page")));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        found.sort();
        assert_eq!(found, (0..25).map(|n| format!("page{n:02}")).collect::<Vec<_>>(), "in pages of {limit}");
    }
}

fn snapshot(partition: u32, generation: u32, next_offset: u64, bytes: Vec<u8>) -> Row {
    Row::FilterSnapshot(FilterSnapshot { partition, generation, next_offset, bytes })
}

async fn snapshots(ledger: &Ledger, partition: u32) -> Vec<(u32, u64, usize)> {
    let read = ledger.filter_snapshots(partition).await.expect("it reads");
    read.into_iter().map(|snapshot| (snapshot.generation, snapshot.next_offset, snapshot.bytes.len())).collect()
}

#[tokio::test]
async fn the_last_two_filter_snapshots_are_kept_over_all_generations() {
    let Some(ledger) = ledger().await else { return };
    for (generation, next_offset) in [(0, 10), (0, 20), (0, 300), (1, 5)] {
        write(&ledger, [snapshot(u32::MAX, generation, next_offset, vec![7; 100])]).await;
    }
    write(&ledger, [snapshot(201, 0, 5, vec![]), snapshot(202, 0, 6, vec![1])]).await;
    assert_eq!(snapshots(&ledger, u32::MAX).await, [(1, 5, 100), (0, 300, 100)]);
    assert_eq!(snapshots(&ledger, 201).await, [(0, 5, 0)]);
    assert_eq!(snapshots(&ledger, 203).await, []);
    let pieces = "SELECT COUNT(*) FROM filter_snapshots WHERE partition = -1 AND bucket = ?";
    for bucket in [0, 1] {
        assert_eq!(select::<i64>(&ledger, pieces, (bucket,)).await, 2, "those that are too many leave nothing behind");
    }
}

#[tokio::test]
async fn a_large_filter_snapshot_comes_back_whole_and_a_damaged_one_not_at_all() {
    let Some(ledger) = ledger().await else { return };
    let bytes: Vec<u8> = (0..20_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    write(&ledger, [snapshot(210, 0, 1, bytes.clone())]).await;
    write(&ledger, [snapshot(210, 0, 1, bytes[..700_000].to_vec())]).await; // shorter, under the same name
    write(&ledger, [snapshot(210, 0, 2, bytes.clone())]).await;
    let read = ledger.filter_snapshots(210).await.expect("it reads");
    assert!(read.len() == 2 && read[0].bytes == bytes && read[1].bytes == bytes[..700_000]);
    let left = "SELECT COUNT(*) FROM filter_snapshots WHERE partition = 210 AND bucket IN (1, 2) AND generation = 0 AND next_offset = 1";
    assert_eq!(select::<i64>(&ledger, left, &[]).await, 2);

    let ask = async |statement: &str| ledger.client().session.query_unpaged(statement, &[]).await.expect("it answers");
    let key = "partition = 210 AND bucket = 2 AND generation = 0 AND next_offset = 2 AND piece = 33";
    ask(&format!("DELETE FROM filter_snapshots WHERE {key}")).await;
    assert_eq!(snapshots(&ledger, 210).await, [(0, 1, 700_000)], "a piece is gone");
    ask("UPDATE filter_snapshots SET bytes = 0x00000000000aae60 WHERE partition = 210 AND bucket = 0 AND generation = 0 AND next_offset = 1 AND piece = 0").await;
    assert_eq!(snapshots(&ledger, 210).await, [], "one that was begun");
}

fn intent(partition: u32, attempt: u64, settled: bool) -> Intent {
    let items = if settled { vec![] } else { vec![IntentItem { offset: attempt, dedup_key: "k".into() }] };
    Intent { partition, attempt, at: at(1), pixel_id: pixel(7), settled, items }
}

#[tokio::test]
async fn attempts_are_numbered_and_those_that_are_open_are_found() {
    let Some(ledger) = ledger().await else { return };
    let (epoch, next) = ledger.take_over(300, Uuid::from_u128(1)).await.expect("it answers");
    assert_eq!((epoch, next), (1, 0));
    let rows: Vec<_> = [0, 1, 2, 5_000].map(|attempt| intent(300, attempt, false)).into();
    assert_eq!(ledger.intend(300, epoch, &rows.iter().collect::<Vec<_>>()).await, Ok(true));
    let late = intent(300, 17, false);
    assert_eq!(ledger.intend(300, epoch, &[&late]).await, Ok(true), "a lower number than the highest is an attempt too");
    assert_eq!(ledger.intend(300, epoch, &[]).await, Ok(true));
    write_tagged(&ledger, [Row::Intent(intent(300, 1, true)), Row::Intent(intent(300, 17, true))], epoch << 40).await;
    let open = async |from, below| ledger.open_intents(300, from, below).await.expect("it reads");
    assert_eq!(open(0, 5_001).await, [rows[0].clone(), rows[2].clone(), rows[3].clone()]);
    assert_eq!(open(2, 5_000).await, [rows[2].clone()]);
    assert_eq!(open(5, 5).await, []);
    assert_eq!(ledger.take_over(300, Uuid::from_u128(2)).await, Ok((2, 5_001)), "the highest, whatever came later");
    let refused = ledger.write(&[Row::Intent(intent(300, 9, false))], 0, at(0)).await;
    assert!(matches!(refused, Err(LedgerError::Damaged(_))));
    assert!(matches!(ledger.intend(301, 1, &[&late]).await, Err(LedgerError::Damaged(_))), "of another partition");
}

#[tokio::test]
async fn an_older_owner_begins_nothing_and_its_late_word_loses() {
    let Some(ledger) = ledger().await else { return };
    assert_eq!(ledger.intend(310, 1, &[&intent(310, 0, false)]).await, Ok(false), "nobody owns it");
    let (old, _) = ledger.take_over(310, Uuid::from_u128(1)).await.expect("it answers");
    assert_eq!(ledger.intend(310, old, &[&intent(310, 0, false)]).await, Ok(true));
    let (new, next) = ledger.take_over(310, Uuid::from_u128(2)).await.expect("it answers");
    assert_eq!((new, next), (old + 1, 1));
    assert_eq!(ledger.intend(310, old, &[&intent(310, 1, false)]).await, Ok(false));
    assert_eq!(ledger.intend(310, new, &[&intent(310, 1, false)]).await, Ok(true));

    let tag = |epoch: i64, attempt: i64| (epoch << 40) + attempt;
    write_tagged(&ledger, [Row::Delivery(Box::new(delivery(pixel(310), "k", Some(Outcome::Delivered))))], tag(new, 1)).await;
    write_tagged(&ledger, [Row::Delivery(Box::new(delivery(pixel(310), "k", None)))], tag(old, 900)).await;
    let (row, tagged) = ledger.delivery(&pixel(310), "k").await.expect("it reads").expect("it is there");
    assert_eq!((row.outcome, tagged), (Some(Outcome::Delivered), tag(new, 1)));
    // The new owner settles what the old one left; the old one's own row comes late.
    write_tagged(&ledger, [Row::Intent(intent(310, 0, true))], tag(new, 1)).await;
    ledger.write_intent(old, &intent(310, 0, false)).await.expect("it becomes true");
    assert_eq!(ledger.open_intents(310, 0, 1).await, Ok(vec![]));
    assert!(stamp::epoch_of(tagged) == new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_owners_at_once_the_last_one_alone_begins_attempts() {
    let Some(ledger) = ledger().await else { return };
    let tasks: Vec<_> = (1..=6_u128)
        .map(|owner| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.take_over(320, Uuid::from_u128(owner)).await })
        })
        .collect();
    let mut epochs = Vec::new();
    for task in tasks {
        epochs.push(task.await.expect("no panic").expect("it answers").0);
    }
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
    let attempts = (0..40_u64).map(|attempt| {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.intend(320, 1 + (attempt % 6) as i64, &[&intent(320, attempt, false)]).await })
    });
    for (attempt, task) in attempts.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(task.await.expect("no panic"), Ok(attempt % 6 == 5), "{attempt}");
    }
    assert_eq!(ledger.take_over(320, Uuid::from_u128(9)).await, Ok((7, 36)));
}

fn waiting(partition: u32, pixel_id: PixelId, dedup_key: &str, deadline_hour: i64, due_ms: i64) -> Waiting {
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
            funnel_id: funnel("fn_1"),
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
        },
    }
}

async fn due(ledger: &Ledger, partition: u32, of: Option<u64>, now_ms: i64, limit: usize) -> Vec<String> {
    let of = of.map(pixel);
    let rows = ledger.due(partition, of.as_ref(), at(now_ms), limit).await.expect("it reads");
    rows.into_iter().map(|row| row.dispatch.dedup_key).collect()
}

#[tokio::test]
async fn waiting_work_is_found_by_due_time_and_sorted_by_deadline() {
    let Some(ledger) = ledger().await else { return };
    let rows = [
        waiting(400, pixel(407), "late deadline", 500, 10),
        waiting(400, pixel(407), "early deadline", 400, 20),
        waiting(400, pixel(408), "same hour, due before", 400, 15),
        waiting(400, pixel(408), "other pixel", 450, 30),
        waiting(400, pixel(407), "not due", 300, 99),
        waiting(401, pixel(407), "other partition", 400, 10),
        waiting(401, pixel(409), "other partition and pixel", 100, 10),
    ];
    write(&ledger, rows.map(|row| Row::Waiting(Box::new(row)))).await;
    let all = ["same hour, due before", "early deadline", "other pixel", "late deadline"];
    assert_eq!(due(&ledger, 400, None, 50, 10).await, all);
    assert_eq!(due(&ledger, 400, None, 50, 2).await, all[..2]);
    assert_eq!(due(&ledger, 400, None, 50, 0).await, Vec::<String>::new());
    assert_eq!(due(&ledger, 400, Some(407), 50, 10).await, ["early deadline", "late deadline"]);
    assert_eq!(due(&ledger, 400, Some(407), 10, 10).await, ["late deadline"], "due at this very moment");
    assert_eq!(due(&ledger, 400, Some(470), 50, 10).await, Vec::<String>::new());
    let row = ledger.waiting(&pixel(407), 300, "not due").await.expect("it reads").expect("it is there");
    assert_eq!((row.due_at, row.partition), (at(99), 400));
    assert!(ledger.waiting(&pixel(407), 300, "never there").await.expect("it reads").is_none());
}

#[tokio::test]
async fn waiting_work_that_is_done_or_moved_is_not_found_again() {
    let Some(ledger) = ledger().await else { return };
    let wait = |key: &str, due_ms| Row::Waiting(Box::new(waiting(410, pixel(417), key, 400, due_ms)));
    let done = |key: &str| Row::WaitingDone { pixel_id: pixel(417), deadline_hour: 400, dedup_key: key.into() };
    write_tagged(&ledger, [wait("a", 10), wait("b", 20)], 11).await;
    write_tagged(&ledger, [wait("a", 80), wait("c", 30), done("c"), done("never there")], 12).await;
    assert_eq!(due(&ledger, 410, None, 50, 10).await, ["b"]);
    write_tagged(&ledger, [done("b")], 13).await;
    write_tagged(&ledger, [wait("b", 1)], 12).await; // an older owner's late word
    assert_eq!(due(&ledger, 410, None, 100, 10).await, ["a"]);
    write_tagged(&ledger, [done("a"), wait("a", 40)], 14).await;
    assert_eq!(due(&ledger, 410, Some(417), 50, 10).await, ["a"]);
}

#[tokio::test]
async fn topics_are_noted_and_found() {
    let Some(ledger) = ledger().await else { return };
    ledger.set_topic("raw", TopicMade { generation: 0, partitions: 12 }).await.expect("it becomes true");
    ledger.set_topic("raw", TopicMade { generation: 1, partitions: 24 }).await.expect("it becomes true");
    let topics = ledger.topics().await.expect("it reads");
    assert_eq!(topics.get("raw"), Some(&TopicMade { generation: 1, partitions: 24 }));
}

#[tokio::test]
async fn an_emptied_ledger_is_empty_and_still_migrated() {
    let Some(config) = config("empty") else { return };
    Ledger::migrate(&config).await.expect("the server makes tables");
    let ledger = Ledger::open(&config).await.expect("it was just made");
    write(&ledger, [seen_row("fn_1|hook|e", LegName::Server, leg(0, 1))]).await;
    ledger.truncate_all().await.expect("it becomes true");
    assert_eq!(ledger.seen(&["fn_1|hook|e".into()]).await, Ok(vec![None]));
    assert_eq!(Ledger::migrate(&config).await, Ok(vec![]));
    let _ = ledger.client().session.query_unpaged(format!("DROP KEYSPACE {}", config.keyspace), &[]).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_sentence() {
    let Some(config) = config("away") else { return };
    let said = Ledger::open(&CqlConfig { nodes: vec!["127.0.0.1:1".into()], ..config }).await.err().expect("nobody listens");
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

/// Rooms run on tasks that move between threads: that this compiles is the check.
#[expect(dead_code)]
async fn every_answer_may_be_awaited_on_any_thread(ledger: &Ledger, config: &CqlConfig, seen: &Seen) {
    fn sendable<T>(future: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
        future
    }
    let (funnel, email) = (funnel("f"), Digest::of("a"));
    let _ = sendable(Ledger::open(config)).await;
    let _ = sendable(Ledger::migrate(config)).await;
    let _ = sendable(ledger.server_version()).await;
    let _ = sendable(ledger.write(&[], 0, at(0))).await;
    let _ = sendable(ledger.write_moved("", seen, 0)).await;
    let _ = sendable(ledger.take_over(0, Uuid::nil())).await;
    let _ = sendable(ledger.intend(0, 0, &[])).await;
    let _ = sendable(ledger.seen(&[])).await;
    let _ = sendable(ledger.scan_seen(0, &mut |_, _| {})).await;
    let _ = sendable(ledger.visitor(&funnel, &VisitorId::parse("v").expect("an id"))).await;
    let _ = sendable(ledger.person(&funnel, &email)).await;
    let _ = sendable(ledger.person_keys(&funnel, &email)).await;
    let _ = sendable(ledger.filter_snapshots(0)).await;
    let _ = sendable(ledger.delivery(&pixel(1), "")).await;
    let _ = sendable(ledger.waiting(&pixel(1), 0, "")).await;
    let _ = sendable(ledger.due(0, None, at(0), 1)).await;
    let _ = sendable(ledger.open_intents(0, 0, 1)).await;
    let _ = sendable(ledger.purchases(None, 1)).await;
    let _ = sendable(ledger.leads(None, 1)).await;
    let _ = sendable(ledger.deliveries(None, 1)).await;
    let _ = sendable(ledger.purchase(&funnel, "")).await;
    let _ = sendable(ledger.topics()).await;
    let _ = sendable(ledger.set_topic("", TopicMade { generation: 0, partitions: 1 })).await;
    let _ = sendable(ledger.truncate_all()).await;
}

/// A measurement, not a check: `--ignored --nocapture --test-threads=1` with `RAPIDMETRICS_TEST_CQL` set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn what_a_tracked_event_costs_the_client() {
    const ROWS: u64 = 200_000;
    let Some(ledger) = ledger().await else { return };
    let cpu_ticks = || -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
        stat.rsplit(')').next().expect("fields").split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum()
    };
    let told = |name: &str, count: u64, began: Instant, ticks: u64| {
        let (seconds, cpu_us) = (began.elapsed().as_secs_f64(), (cpu_ticks() - ticks) as f64 * 10_000.0);
        println!("{name}: {:.0} per s, {:.1} CPU-µs each", count as f64 / seconds, cpu_us / count as f64);
    };
    for round in 0..3_u64 {
        let first = round * ROWS;
        let rows: Vec<_> = (first..first + ROWS)
            .map(|n| {
                seen_row(
                    &format!("fn_speed|event|018f2b7e-0000-7000-8000-{n:012}|PageView|{n:032}"),
                    LegName::Browser,
                    leg((n % 12) as u32, n),
                )
            })
            .collect();
        let (began, ticks) = (Instant::now(), cpu_ticks());
        for step in rows.chunks(500) {
            ledger.write(step, 0, at(0)).await.expect("it becomes true");
        }
        told("seen, written", ROWS, began, ticks);
        let keys: Vec<_> =
            (first..first + ROWS / 4).map(|n| format!("fn_speed|event|018f2b7e-0000-7000-8000-{n:012}|PageView|{n:032}")).collect();
        let (began, ticks) = (Instant::now(), cpu_ticks());
        for step in keys.chunks(500) {
            assert!(ledger.seen(step).await.expect("it reads").iter().all(Option::is_some));
        }
        told("seen, read", ROWS / 4, began, ticks);
    }
    let (began, ticks, mut count) = (Instant::now(), cpu_ticks(), 0);
    ledger.scan_seen(3, &mut |_, _| count += 1).await.expect("it reads");
    told("seen, scanned", count, began, ticks);
    let hours = (0..2_400).map(|n| Row::Waiting(Box::new(waiting(500, pixel(5_000 + n % 10), "k", n as i64 / 10, i64::from(u32::MAX)))));
    write(&ledger, hours).await;
    let (began, ticks) = (Instant::now(), cpu_ticks());
    assert!(due(&ledger, 500, None, 1, 10).await.is_empty());
    told("hours of ten pixels in which nothing is due, looked at", 2_400, began, ticks);
}
