//! What every engine must do, said once over an engine that is handed in.

mod support;

use std::{collections::HashMap, time::Duration};

use schemas::{
    delivery::Outcome,
    envelope::Position,
    fact::{Context, LegName},
    money::Currency,
    person::Digest,
    raw::Consent,
    row::{Cell, FilterSnapshot, Intent, IntentItem, LegContext, PersonKey, PersonRow, Row, Seen, Visitor},
    secret::Sealed,
    topic::{Group, Topic},
};
use storage::{Append, AppendError, CommitError, Consumed, ReadError, Reader, Step, Storage, Stored};
use support::{Cluster, Embedded, Engine, at, delivery, funnel, lead, leg, pixel, purchase, record, values, visitor, waiting};
use uuid::Uuid;

/// Runs each check on each engine, as a test of its own.
macro_rules! on_every_engine {
    ($($check:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(super::Embedded::new()).await;
            })*
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                match super::Cluster::new().await {
                    Ok(engine) => super::$check(engine).await,
                    Err(why) => println!("skipped: {why}"),
                }
            })*
        }
    };
}

on_every_engine!(
    records_are_read_in_the_order_in_which_they_were_appended,
    a_key_always_lands_in_its_partition_and_offsets_have_no_gaps,
    a_reader_begins_inside_a_block_and_keeps_to_its_limits,
    a_waiting_reader_wakes,
    a_waiting_reader_may_be_dropped_and_nothing_is_lost,
    a_partition_that_does_not_exist_is_an_error,
    records_days_ahead_of_the_clock_are_taken_as_they_are,
    a_step_is_true_as_a_whole,
    many_steps_at_once_are_all_true,
    legs_are_written_apart_and_read_together,
    a_leg_comes_back_with_all_its_cells,
    a_scan_finds_the_rows_of_its_partition_only,
    visitor_cells_merge_in_any_order,
    people_merge_within_one_step,
    a_person_may_have_several_keys,
    purchases_and_leads_keep_their_newest_revision,
    whoever_looks_sees_what_judge_and_sink_wrote,
    pages_lead_through_all_rows_once,
    the_last_two_filter_snapshots_are_kept,
    a_large_filter_snapshot_comes_back_whole,
    waiting_work_is_found_by_due_time_and_sorted_by_deadline,
    waiting_work_that_is_done_or_moved_is_not_found_again,
    what_waits_of_a_pixel_is_read_by_deadline_a_page_at_a_time,
    open_intents_are_found_and_numbers_never_come_again,
    everything_is_there_after_a_restart,
    a_closed_store_answers_that_it_is_closed,
);

async fn commit(storage: &Storage, rows: impl IntoIterator<Item = Row>) {
    let mut step = Step::named("test");
    step.rows.extend(rows);
    storage.commit(step).await.expect("it becomes true");
}

/// The next `count` records: an engine may hand them out in smaller parts.
async fn take(reader: &mut Reader, count: usize) -> Vec<Stored> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(soon(reader.next(count - taken.len(), usize::MAX)).await.expect("it reads"));
    }
    taken
}

/// Everything up to the end.
async fn rest(mut reader: Reader) -> Vec<Stored> {
    let mut all = Vec::new();
    loop {
        let part = soon(reader.available(1_000, usize::MAX)).await.expect("it reads");
        if part.is_empty() {
            return all;
        }
        all.extend(part);
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it comes")
}

async fn records_are_read_in_the_order_in_which_they_were_appended(engine: impl Engine) {
    let storage = engine.open().await;
    let first = storage.appender().append(vec![record(Topic::Audit, "k", "a"), record(Topic::Audit, "k", "b")]).await;
    let second = storage.appender().append(vec![record(Topic::Audit, "k", "c")]).await;
    let at = |offset| Position { generation: 0, partition: 0, offset };
    assert_eq!((first, second), (Ok(vec![at(0), at(1)]), Ok(vec![at(2)])));
    let mut reader = storage.reader(Topic::Audit, 0, 0);
    let read = take(&mut reader, 3).await;
    assert_eq!(values(&read), ["a", "b", "c"]);
    assert_eq!((read[2].position, &read[2].key[..], read[2].time), (at(2), &b"k"[..], support::at(1)));
    assert_eq!(reader.position(), 3);
    assert!(reader.available(10, usize::MAX).await.expect("it reads").is_empty());
    assert_eq!(storage.bounds(Topic::Audit, 0).await, Ok((0, 3)));
}

async fn a_key_always_lands_in_its_partition_and_offsets_have_no_gaps(engine: impl Engine) {
    let storage = engine.open().await;
    let appends = (0..40).map(|task: usize| {
        let appender = storage.appender();
        async move {
            let records = (0..5).map(|n| record(Topic::Raw, &format!("key-{}", (task + n) % 17), "v")).collect();
            appender.append(records).await.expect("it is durable")
        }
    });
    let mut offsets: HashMap<u32, Vec<u64>> = HashMap::new();
    for task in appends.map(tokio::spawn).collect::<Vec<_>>() {
        for position in task.await.expect("no panic") {
            offsets.entry(position.partition).or_default().push(position.offset);
        }
    }
    for (partition, mut offsets) in offsets {
        offsets.sort_unstable();
        assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>());
        let read = rest(storage.reader(Topic::Raw, partition, 0)).await;
        assert_eq!(read.len(), offsets.len());
        for stored in read {
            assert_eq!(storage.partition_of(Topic::Raw, &stored.key), partition);
        }
    }
    assert_eq!(storage.partitions(Topic::Directory), 1, "single whatever the setting says");
}

async fn a_reader_begins_inside_a_block_and_keeps_to_its_limits(engine: impl Engine) {
    let storage = engine.open().await;
    let all: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    for part in all.chunks(4) {
        storage.appender().append(part.iter().map(|value| record(Topic::Dead, "k", value)).collect()).await.expect("it is durable");
    }
    // Once from memory, once from disk.
    let again = async |storage: &Storage| {
        for from in 0..10 {
            assert_eq!(values(&rest(storage.reader(Topic::Dead, 0, from)).await), all[from as usize..]);
        }
        let mut reader = storage.reader(Topic::Dead, 0, 3);
        assert_eq!(values(&take(&mut reader, 2).await), ["3", "4"]);
        assert_eq!(values(&reader.available(2, 1).await.expect("it reads")), ["5"], "at least one, whatever the bytes");
        assert_eq!(values(&reader.available(0, 0).await.expect("it reads")), ["6"]);
        assert!(storage.reader(Topic::Dead, 0, 11).available(1, 1).await.expect("it reads").is_empty());
    };
    again(&storage).await;
    again(&engine.reopen(storage).await).await;
}

/// A process whose clock is wrong must not stand still: brokers refuse what is an hour ahead of them unless a topic says otherwise.
async fn records_days_ahead_of_the_clock_are_taken_as_they_are(engine: impl Engine) {
    let storage = engine.open().await;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let time = at(since.as_millis() as i64 + 3 * 24 * 3_600 * 1_000);
    soon(storage.appender().append(vec![Append { time, ..record(Topic::Raw, "k", "appended") }])).await.expect("it is durable");
    let mut step = Step::named("test");
    step.records.push(Append { time, ..record(Topic::Raw, "k", "of a step") });
    soon(storage.commit(step)).await.expect("it becomes true");
    let read = rest(storage.reader(Topic::Raw, storage.partition_of(Topic::Raw, b"k"), 0)).await;
    assert_eq!(values(&read), ["appended", "of a step"]);
    assert!(read.iter().all(|stored| stored.time == time), "{read:?}");
}

async fn a_waiting_reader_wakes(engine: impl Engine) {
    let storage = engine.open().await;
    let mut reader = storage.reader(Topic::Commands, storage.partition_of(Topic::Commands, b"k"), 0);
    let waits = tokio::spawn(async move { reader.next(1, 1).await.map(|read| values(&read).join(",")) });
    tokio::task::yield_now().await;
    let mut step = Step::named("test");
    step.records.push(record(Topic::Commands, "k", "wake"));
    storage.commit(step).await.expect("it becomes true");
    assert_eq!(soon(waits).await.expect("no panic"), Ok("wake".to_owned()));
}

async fn a_waiting_reader_may_be_dropped_and_nothing_is_lost(engine: impl Engine) {
    let storage = engine.open().await;
    let mut reader = storage.reader(Topic::Audit, 0, 0);
    assert!(tokio::time::timeout(Duration::from_millis(5), reader.next(1, 1)).await.is_err(), "nothing is there");
    storage.appender().append(vec![record(Topic::Audit, "k", "a")]).await.expect("it is durable");
    assert_eq!(values(&soon(reader.next(1, 1)).await.expect("it reads")), ["a"]);
}

async fn a_partition_that_does_not_exist_is_an_error(engine: impl Engine) {
    let storage = engine.open().await;
    assert!(matches!(storage.reader(Topic::Audit, 1, 0).next(1, 1).await, Err(ReadError::Failed(_))));
    assert!(matches!(storage.bounds(Topic::Raw, 4).await, Err(ReadError::Failed(_))));
}

async fn a_step_is_true_as_a_whole(engine: impl Engine) {
    let storage = engine.open().await;
    storage.appender().append(vec![record(Topic::Raw, "k", "raw")]).await.expect("it is durable");
    let partition = storage.partition_of(Topic::Raw, b"k");
    let mut step = Step::named("judge");
    step.rows.push(Row::Seen { key: "fn_1|purchase|A".into(), leg: LegName::Server, cell: leg(partition, 0) });
    step.records.push(record(Topic::Purchases, "A", "fact"));
    step.consumed.push(Consumed { group: Group::Processor, partition, next_offset: 1, metadata: Some("note".into()), lease: None });
    let positions = storage.commit(step).await.expect("it becomes true");
    let storage = engine.reopen(storage).await;
    let seen = storage.facts().seen(&["fn_1|purchase|A".into(), "fn_1|purchase|B".into()]).await.expect("it reads");
    assert_eq!(seen, [Some(Seen { browser: None, server: Some(leg(partition, 0)) }), None]);
    let committed = storage.committed(Group::Processor, partition).await.expect("it reads");
    assert_eq!((committed.next_offset, committed.metadata.as_deref()), (1, Some("note")));
    assert_eq!(storage.committed(Group::Capi, partition).await.expect("it reads").next_offset, 0);
    let read = soon(storage.reader(Topic::Purchases, positions[0].partition, 0).next(1, 1)).await.expect("it reads");
    assert_eq!(values(&read), ["fact"]);
}

async fn many_steps_at_once_are_all_true(engine: impl Engine) {
    let storage = engine.open().await;
    let tasks: Vec<_> = (0..100_u64)
        .map(|n| {
            let storage = storage.clone();
            tokio::spawn(async move {
                let mut step = Step::named("judge");
                step.rows.push(Row::Seen { key: format!("fn_1|purchase|{n}"), leg: LegName::Server, cell: leg(0, n) });
                step.records.push(record(Topic::Audit, "k", &n.to_string()));
                storage.commit(step).await.map(|positions| (n, positions[0].offset))
            })
        })
        .collect();
    let mut said = HashMap::new();
    for task in tasks {
        let (n, offset) = task.await.expect("no panic").expect("it becomes true");
        said.insert(offset, n.to_string());
    }
    let read = rest(storage.reader(Topic::Audit, 0, 0)).await;
    assert_eq!(read.len(), 100);
    for stored in &read {
        assert_eq!(said[&stored.position.offset].as_bytes(), &stored.value[..]);
    }
    let keys: Vec<_> = (0..100).map(|n| format!("fn_1|purchase|{n}")).collect();
    assert!(storage.facts().seen(&keys).await.expect("it reads").iter().all(Option::is_some));
}

async fn legs_are_written_apart_and_read_together(engine: impl Engine) {
    let storage = engine.open().await;
    let key = "fn_1|purchase|A".to_owned();
    commit(&storage, [Row::Seen { key: key.clone(), leg: LegName::Browser, cell: leg(1, 7) }]).await;
    commit(&storage, [Row::Seen { key: key.clone(), leg: LegName::Server, cell: leg(1, 9) }]).await;
    commit(&storage, [Row::Seen { key: key.clone(), leg: LegName::Browser, cell: leg(1, 7) }]).await; // a replay
    let seen = storage.facts().seen(&[key]).await.expect("it reads");
    assert_eq!(seen, [Some(Seen { browser: Some(leg(1, 7)), server: Some(leg(1, 9)) })]);
}

async fn a_leg_comes_back_with_all_its_cells(engine: impl Engine) {
    let storage = engine.open().await;
    let mut cell = leg(2, u64::MAX >> 20);
    cell.position.generation = 3;
    cell.amount_minor = Some(4_999);
    cell.currency = Some(Currency::parse("KWD").expect("a currency"));
    cell.email = Some(Digest::of("a@b.example"));
    cell.body = Some(Digest::of("body"));
    cell.pixels = vec![pixel(1), pixel(2)];
    cell.context = Some(Box::new(LegContext { occurred_at: at(9), product_name: Some("Ärmel \"x\"".into()), ..LegContext::default() }));
    commit(&storage, [Row::Seen { key: "fn_1|hook|e".into(), leg: LegName::Server, cell: cell.clone() }]).await;
    let seen = storage.facts().seen(&["fn_1|hook|e".into()]).await.expect("it reads");
    let read = seen[0].as_ref().and_then(|seen| seen.server.clone()).expect("it is there");
    assert_eq!(serde_json::to_value(&read).expect("JSON"), serde_json::to_value(&cell).expect("JSON"));
}

async fn a_scan_finds_the_rows_of_its_partition_only(engine: impl Engine) {
    let storage = engine.open().await;
    let rows = (0..2_000_u64).map(|n| Row::Seen { key: format!("fn_1|hook|{n}"), leg: LegName::Server, cell: leg((n % 4) as u32, n) });
    commit(&storage, rows).await;
    let mut found = Vec::new();
    let mut each = |key: &str, seen: &Seen| found.push((key.to_owned(), seen.server.as_ref().map(|leg| leg.position.offset)));
    storage.facts().scan_seen(3, &mut each).await.expect("it reads");
    found.sort();
    let mut expected: Vec<_> = (0..2_000_u64).filter(|n| n % 4 == 3).map(|n| (format!("fn_1|hook|{n}"), Some(n))).collect();
    expected.sort();
    assert_eq!(found, expected);
}

async fn visitor_cells_merge_in_any_order(engine: impl Engine) {
    let storage = engine.open().await;
    let row = |person: bool, ms: i64, url: &str| Visitor {
        funnel_id: funnel(),
        visitor_id: visitor(),
        person: person.then(|| Cell { at: at(ms), value: schemas::person::Person::default() }),
        context: Some(Cell { at: at(ms), value: Context { url: Some(url.into()), ..Context::default() } }),
        consent: None,
    };
    commit(&storage, [Row::Visitor(Box::new(row(true, 30, "newest")))]).await;
    commit(&storage, [Row::Visitor(Box::new(row(false, 10, "oldest")))]).await;
    commit(&storage, [Row::Visitor(Box::new(row(false, 20, "middle")))]).await;
    let read = storage.facts().visitor(&funnel(), &visitor()).await.expect("it reads").expect("it is there");
    assert_eq!(read, row(true, 30, "newest"));
}

async fn people_merge_within_one_step(engine: impl Engine) {
    let storage = engine.open().await;
    let email = Digest::of("a@b.example");
    let empty = PersonRow { funnel_id: funnel(), email, context: None, consent: None };
    let told = PersonRow { consent: Some(Cell { at: at(5), value: Consent::Granted }), ..empty.clone() };
    let seen = PersonRow { context: Some(Cell { at: at(3), value: Context::default() }), ..empty };
    commit(&storage, [Row::Person(Box::new(told.clone())), Row::Person(Box::new(seen.clone()))]).await;
    let read = storage.facts().person(&funnel(), &email).await.expect("it reads").expect("it is there");
    assert_eq!(read, told.merged(seen));
}

async fn a_person_may_have_several_keys(engine: impl Engine) {
    let storage = engine.open().await;
    let sealed: Sealed = serde_json::from_str("\"sealed\"").expect("text");
    let key = |email: &str, id: u128| PersonKey {
        funnel_id: funnel(),
        email: Digest::of(email),
        key_id: Uuid::from_u128(id),
        key: sealed.clone(),
    };
    commit(&storage, [key("a", 1), key("a", 2), key("b", 3)].map(Row::PersonKey)).await;
    let read = storage.facts().person_keys(&funnel(), &Digest::of("a")).await;
    assert_eq!(read, Ok(vec![key("a", 1), key("a", 2)]));
}

async fn purchases_and_leads_keep_their_newest_revision(engine: impl Engine) {
    let storage = engine.open().await;
    let rows = [purchase(Some("A"), "fn_1:A", 1), purchase(None, "A", 1), purchase(Some("A"), "fn_1:A", 2)];
    commit(&storage, rows.map(|row| Row::Purchase(Box::new(row)))).await;
    let readings = storage.readings();
    let read = async |key| readings.purchase(&funnel(), key).await.expect("it reads").map(|row| (row.event_id, row.revision));
    assert_eq!(read("A").await, Some(("fn_1:A".to_owned(), 2)), "an order goes before an event of the same name");
    assert_eq!(read("B").await, None);
    assert_eq!(readings.purchases(None, 10).await.expect("it reads").rows.len(), 2);
}

async fn whoever_looks_sees_what_judge_and_sink_wrote(engine: impl Engine) {
    let storage = engine.open().await;
    let email = Digest::of("a@b.example");
    let known = Visitor { funnel_id: funnel(), visitor_id: visitor(), person: None, context: None, consent: None };
    let known = Visitor { consent: Some(Cell { at: at(5), value: Consent::Granted }), ..known };
    let person = PersonRow { funnel_id: funnel(), email, context: Some(Cell { at: at(3), value: Context::default() }), consent: None };
    let leads = [lead(Some("A"), "fn_1:A", 1), lead(None, "e", 1), lead(Some("A"), "fn_1:A", 2)];
    let rows = [
        Row::Seen { key: "fn_1|lead|A".into(), leg: LegName::Browser, cell: leg(1, 7) },
        Row::Visitor(Box::new(known.clone())),
        Row::Person(Box::new(person.clone())),
        Row::Waiting(Box::new(waiting(1, pixel(7), "fn_1|lead|A", 400, 10))),
    ];
    commit(&storage, rows.into_iter().chain(leads.map(|lead| Row::Lead(Box::new(lead))))).await;
    let readings = storage.readings();
    let seen = async |key| readings.seen(key).await.expect("it reads");
    assert_eq!(seen("fn_1|lead|A").await, Some(Seen { browser: Some(leg(1, 7)), server: None }));
    assert_eq!(seen("fn_1|lead|B").await, None);
    let read = async |key| readings.lead(&funnel(), key).await.expect("it reads").map(|row| (row.event_id, row.revision));
    assert_eq!(read("A").await, Some(("fn_1:A".to_owned(), 2)));
    assert_eq!((read("e").await, read("B").await), (Some(("e".to_owned(), 1)), None));
    let row = async |hour| readings.waiting(&pixel(7), hour, "fn_1|lead|A").await.expect("it reads").map(|row| row.due_at);
    assert_eq!((row(400).await, row(401).await), (Some(at(10)), None));
    assert_eq!(readings.visitor(&funnel(), &visitor()).await, Ok(Some(known)));
    assert_eq!(readings.person(&funnel(), &email).await, Ok(Some(person)));
    assert_eq!(readings.person(&funnel(), &Digest::of("nobody")).await, Ok(None));
}

async fn pages_lead_through_all_rows_once(engine: impl Engine) {
    let storage = engine.open().await;
    let rows = (0..25).map(|n| Row::delivery(delivery(pixel(n % 3), &format!("k{n:02}"), Some(Outcome::Delivered))));
    commit(&storage, rows).await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = storage.readings().deliveries(after, 10).await.expect("it reads");
        found.extend(page.rows.into_iter().map(|row| (row.pixel_id, row.dedup_key)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 25);
    let one = storage.deliveries().delivery(&pixel(1), "k01").await.expect("it reads").expect("it is there");
    assert_eq!((one.delivery.outcome, one.is_told), (Some(Outcome::Delivered), true));
}

fn snapshot(partition: u32, next_offset: u64, bytes: Vec<u8>) -> FilterSnapshot {
    FilterSnapshot { partition, generation: 0, next_offset, bytes }
}

async fn the_last_two_filter_snapshots_are_kept(engine: impl Engine) {
    let storage = engine.open().await;
    for next_offset in [10, 20, 30, 300] {
        commit(&storage, [Row::FilterSnapshot(snapshot(1, next_offset, vec![next_offset as u8; 100]))]).await;
    }
    commit(&storage, [Row::FilterSnapshot(snapshot(0, 5, vec![])), Row::FilterSnapshot(snapshot(2, 6, vec![1]))]).await;
    let read = storage.facts().filter_snapshots(1).await;
    assert_eq!(read, Ok(vec![snapshot(1, 300, vec![44; 100]), snapshot(1, 30, vec![30; 100])]));
    assert_eq!(storage.facts().filter_snapshots(0).await, Ok(vec![snapshot(0, 5, vec![])]));
    assert_eq!(storage.facts().filter_snapshots(3).await, Ok(vec![]));
}

async fn a_large_filter_snapshot_comes_back_whole(engine: impl Engine) {
    let storage = engine.open().await;
    let bytes: Vec<u8> = (0..20_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    commit(&storage, [Row::FilterSnapshot(snapshot(0, 1, bytes.clone()))]).await;
    commit(&storage, [Row::FilterSnapshot(snapshot(0, 1, bytes[..700_000].to_vec()))]).await; // shorter, under the same name
    commit(&storage, [Row::FilterSnapshot(snapshot(0, 2, bytes.clone()))]).await;
    let storage = engine.reopen(storage).await;
    let read = storage.facts().filter_snapshots(0).await.expect("it reads");
    assert_eq!(read.len(), 2);
    assert!(read[0] == snapshot(0, 2, bytes.clone()) && read[1] == snapshot(0, 1, bytes[..700_000].to_vec()));
}

async fn due(storage: &Storage, partition: u32, of: Option<u64>, now_ms: i64, limit: usize) -> Vec<String> {
    let of = of.map(pixel);
    let rows = storage.deliveries().due(partition, of.as_ref(), at(now_ms), limit).await.expect("it reads");
    rows.into_iter().map(|found| found.row.dispatch.dedup_key).collect()
}

async fn waiting_work_is_found_by_due_time_and_sorted_by_deadline(engine: impl Engine) {
    let storage = engine.open().await;
    let rows = [
        waiting(1, pixel(7), "late deadline", 500, 10),
        waiting(1, pixel(7), "early deadline", 400, 20),
        waiting(1, pixel(8), "other pixel", 450, 30),
        waiting(1, pixel(7), "not due", 300, 99),
        waiting(2, pixel(7), "other partition", 100, 10),
    ];
    commit(&storage, rows.map(|row| Row::WaitingBegins(Box::new(row)))).await;
    assert_eq!(due(&storage, 1, None, 50, 10).await, ["early deadline", "other pixel", "late deadline"]);
    assert_eq!(due(&storage, 1, None, 50, 2).await, ["early deadline", "other pixel"]);
    assert_eq!(due(&storage, 1, Some(7), 50, 10).await, ["early deadline", "late deadline"]);
    assert_eq!(due(&storage, 1, Some(7), 10, 10).await, ["late deadline"], "due at this very moment");
    assert_eq!(due(&storage, 1, Some(70), 50, 10).await, Vec::<String>::new());
    let found = storage.deliveries().waiting(&pixel(7), 300, "not due").await.expect("it reads").expect("it is there");
    assert_eq!((found.row.due_at, found.row.partition), (at(99), 1));
}

async fn waiting_work_that_is_done_or_moved_is_not_found_again(engine: impl Engine) {
    let storage = engine.open().await;
    let wait = |key: &str, due_ms| Row::Waiting(Box::new(waiting(1, pixel(7), key, 400, due_ms)));
    let done = |key: &str| Row::WaitingDone { pixel_id: pixel(7), deadline_hour: 400, dedup_key: key.into() };
    commit(&storage, [wait("a", 10), wait("b", 20)]).await;
    commit(&storage, [wait("a", 80), wait("c", 30), done("c"), done("never there")]).await;
    assert_eq!(due(&storage, 1, None, 50, 10).await, ["b"]);
    commit(&storage, [done("b")]).await;
    assert_eq!(due(&storage, 1, None, 79, 10).await, Vec::<String>::new());
    assert_eq!(due(&storage, 1, None, 80, 10).await, ["a"]);
    commit(&storage, [done("a"), wait("a", 40)]).await;
    assert_eq!(due(&storage, 1, Some(7), 50, 10).await, ["a"]);
    assert_eq!(due(&storage, 1, Some(7), 100, 10).await, ["a"]);
}

async fn what_waits_of_a_pixel_is_read_by_deadline_a_page_at_a_time(engine: impl Engine) {
    let storage = engine.open().await;
    let partition_of = |of: u64| storage.partition_of(Topic::Dispatch, pixel(of).as_str().as_bytes());
    let wait = |of, key: &str, hour| Row::Waiting(Box::new(waiting(partition_of(of), pixel(of), key, hour, 10)));
    let rows = [(7, "d", 500), (7, "a", 400), (7, "c", 400), (7, "b", 400), (7, "gone", 300), (70, "other", 100)];
    commit(&storage, rows.map(|(of, key, hour)| wait(of, key, hour))).await;
    commit(&storage, [Row::WaitingDone { pixel_id: pixel(7), deadline_hour: 300, dedup_key: "gone".into() }]).await;
    for limit in 1..6 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = storage.readings().waiting_of(&pixel(7), after, limit).await.expect("it reads");
            assert!(page.rows.len() <= limit);
            found.extend(page.rows.into_iter().map(|row| row.dispatch.dedup_key));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(found, ["a", "b", "c", "d"], "{limit} at a time");
    }
    let none = storage.readings().waiting_of(&pixel(8), None, 5).await.expect("it reads");
    assert_eq!((none.rows.len(), none.next), (0, None));
}

async fn open_intents_are_found_and_numbers_never_come_again(engine: impl Engine) {
    let storage = engine.open().await;
    let intent = |partition, attempt, settled| Intent {
        partition,
        attempt,
        at: at(1),
        pixel_id: pixel(7),
        settled,
        items: if settled { vec![] } else { vec![IntentItem { offset: attempt, dedup_key: "k".into() }] },
    };
    let next = async |storage: &Storage, partition| storage.deliveries().take_over(partition).await.expect("it is ours").next_attempt;
    assert_eq!((next(&storage, 1).await, next(&storage, 2).await), (0, 0));
    commit(&storage, [0, 1, 2, 300].map(|attempt| Row::Intent(intent(1, attempt, false)))).await;
    commit(&storage, [Row::Intent(intent(1, 1, true)), Row::Intent(intent(2, 9, false)), Row::Intent(intent(2, 9, true))]).await;
    let storage = engine.reopen(storage).await;
    assert_eq!(next(&storage, 1).await, 301, "settling an older one does not lower it");
    assert_eq!(next(&storage, 2).await, 10);
    let open = storage.deliveries().open_intents(1, 0, 301).await;
    assert_eq!(open, Ok(vec![intent(1, 0, false), intent(1, 2, false), intent(1, 300, false)]));
    assert_eq!(storage.deliveries().open_intents(2, 0, 10).await, Ok(vec![]));
}

async fn everything_is_there_after_a_restart(engine: impl Engine) {
    let mut storage = engine.open().await;
    for round in 0..4_u64 {
        let records = (0..50).map(|n| record(Topic::Raw, &format!("k{n}"), &round.to_string())).collect();
        storage.appender().append(records).await.expect("it is durable");
        storage = engine.reopen(storage).await;
    }
    let mut count = 0;
    for partition in 0..storage.partitions(Topic::Raw) {
        let (start, end) = storage.bounds(Topic::Raw, partition).await.expect("it reads");
        let read = rest(storage.reader(Topic::Raw, partition, 0)).await;
        assert_eq!((start, end), (0, read.len() as u64));
        assert!(values(&read).is_sorted(), "rounds in order");
        count += read.len();
    }
    assert_eq!(count, 200);
    assert_eq!(storage.generation(Topic::Raw), 0);
}

async fn a_closed_store_answers_that_it_is_closed(engine: impl Engine) {
    let storage = engine.open().await;
    let appender = storage.appender();
    let mut reader = storage.reader(Topic::Audit, 0, 0);
    let waits = tokio::spawn(async move { reader.next(1, 1).await.map(|_| ()) });
    tokio::task::yield_now().await;
    storage.close().await;
    assert_eq!(soon(waits).await.expect("no panic"), Err(ReadError::Closed));
    assert!(!appender.accepts());
    assert_eq!(appender.append(vec![record(Topic::Audit, "k", "v")]).await, Err(AppendError::Closed));
    assert_eq!(storage.commit(Step::named("test")).await, Err(CommitError::Closed));
    assert_eq!(storage.facts().seen(&["k".into()]).await, Err(ReadError::Closed));
}
