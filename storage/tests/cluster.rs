//! What only the cluster engine must do.

mod support;

use schemas::{
    time::Time,
    topic::{Group, Topic},
};
use storage::{Append, Consumed, ReadError, Step, Storage};
use support::{Cluster, Engine, record};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_went_back_is_refused() {
    let engine = match Cluster::new().await {
        Ok(engine) => engine,
        Err(why) => return println!("skipped: {why}"),
    };
    let storage = engine.open().await;
    let partition = storage.partition_of(Topic::Raw, b"k");
    storage.appender().append(vec![record(Topic::Raw, "k", "raw")]).await.expect("it is durable");
    let mut step = Step::named("test");
    step.consumed.push(Consumed { group: Group::Processor, partition, next_offset: 2, metadata: None, lease: None });
    storage.commit(step).await.expect("the brokers take any offset");
    let refused = storage.committed(Group::Processor, partition).await;
    assert!(matches!(&refused, Err(ReadError::Failed(why)) if why.contains("the log went back")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_is_on_record_once_and_only_for_the_owner() {
    use schemas::{
        id::PixelId,
        row::{Intent, IntentItem, Row},
    };
    let engine = match Cluster::new().await {
        Ok(engine) => engine,
        Err(why) => return println!("skipped: {why}"),
    };
    let intend = async |storage: &Storage, attempt| {
        let items = vec![IntentItem { offset: attempt, dedup_key: "k".into() }];
        let pixel_id = PixelId::parse("7").expect("an id");
        let mut step = Step::named("intent");
        step.rows.push(Row::Intent(Intent { partition: 1, attempt, at: support::at(1), pixel_id, settled: false, items }));
        storage.commit(step).await.map(drop)
    };
    let (first, second) = (engine.open().await, engine.open().await);
    assert_eq!(first.deliveries().take_over(1).await.expect("it is free").next_attempt, 0);
    assert_eq!(intend(&first, 0).await, Ok(()));
    assert_eq!(intend(&first, 0).await, Ok(()), "told twice, because the first answer may be lost");
    assert_eq!(second.deliveries().take_over(1).await.expect("it is taken").next_attempt, 1);
    assert_eq!(intend(&first, 1).await, Err(storage::CommitError::Fenced));
    assert_eq!(intend(&second, 1).await, Ok(()));
    let open = second.deliveries().open_intents(1, 0, 2).await.expect("it reads");
    assert_eq!(open.iter().map(|intent| intent.attempt).collect::<Vec<_>>(), [0, 1]);
}

/// A step's rows are there before its transaction; the owner may die between the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_began_to_wait_in_a_step_that_never_became_true_is_not_counted_until_it_is_written_anew() {
    use schemas::row::{Intent, Row};
    let engine = match Cluster::new().await {
        Ok(engine) => engine,
        Err(why) => return println!("skipped: {why}"),
    };
    let row = |key: &str| Box::new(support::waiting(1, support::pixel(7), key, 400, 10));
    let consumed = |next_offset| Consumed { group: Group::Capi, partition: 1, next_offset, metadata: None, lease: None };
    // A step without its transaction is one with rows of the partition's owner and no offset.
    let owners = || Intent { partition: 1, attempt: 0, at: support::at(1), pixel_id: support::pixel(7), settled: true, items: vec![] };
    let commit = async |storage: &Storage, mut rows: Vec<Row>, consumed: Option<Consumed>| {
        rows.push(Row::Intent(owners()));
        let mut step = Step::named("test");
        step.rows = rows;
        step.consumed.extend(consumed);
        storage.commit(step).await.expect("committed");
    };
    let counted = async |storage: &Storage| {
        let found = storage.deliveries().due(1, None, support::at(50), 10).await.expect("it reads");
        found.into_iter().map(|found| (found.row.dispatch.dedup_key, found.is_counted)).collect::<Vec<_>>()
    };
    let as_said = |a, b| vec![("a".to_owned(), a), ("b".to_owned(), b)];
    storage_of_log(&engine).await;

    let first = engine.open().await;
    first.deliveries().take_over(1).await.expect("it is free");
    commit(&first, vec![Row::WaitingBegins(row("a"))], Some(consumed(1))).await;
    commit(&first, vec![Row::Waiting(row("a")), Row::WaitingBegins(row("b"))], None).await; // and here it dies
    let second = engine.open().await;
    second.deliveries().take_over(1).await.expect("it is taken");
    assert_eq!(counted(&second).await, as_said(true, false), "a began before and was only tried again");
    commit(&second, vec![Row::Waiting(row("b"))], None).await;
    let third = engine.open().await;
    third.deliveries().take_over(1).await.expect("it is taken");
    assert_eq!(counted(&third).await, as_said(true, false));
    commit(&third, vec![Row::WaitingBegins(row("b"))], Some(consumed(2))).await;
    let fourth = engine.open().await;
    fourth.deliveries().take_over(1).await.expect("it is taken");
    assert_eq!(counted(&fourth).await, as_said(true, true));
}

/// A log with two dispatches in partition 1, so that there is something to have consumed.
async fn storage_of_log(engine: &Cluster) {
    let storage = engine.open().await;
    let key = (0..100).map(|number: u32| number.to_string()).find(|key| storage.partition_of(Topic::Dispatch, key.as_bytes()) == 1);
    let key = key.expect("keys go everywhere");
    let records = ["1", "2"].map(|value| record(Topic::Dispatch, &key, value)).to_vec();
    storage.appender().append(records).await.expect("they are durable");
    storage.close().await;
}

/// A reader that begins lower than the one before it on the same partition is handed everything from its own beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_follows_another_misses_nothing() {
    let engine = match Cluster::new().await {
        Ok(engine) => engine,
        Err(why) => return println!("skipped: {why}"),
    };
    let storage = engine.open().await;
    // Enough that a consumer is still busy with what it fetched for one reader when the next one comes. In transactions, as dispatches
    // are: the log keeps marks of its own between them.
    let mut offsets = Vec::new();
    for part in 0..40 {
        let mut step = Step::named("test");
        step.records.extend((0..1_000).map(|n| record(Topic::Audit, "k", &(part * 1_000 + n).to_string())));
        offsets.extend(storage.commit(step).await.expect("it becomes true").into_iter().map(|position| position.offset));
    }
    let mut at = 7;
    for _ in 0..300 {
        at = (at * 31 + 1_017) % offsets.len(); // here and there, without a pattern
        let mut reader = storage.reader(Topic::Audit, 0, offsets[at]);
        let read = reader.available(1, usize::MAX).await.expect("it reads");
        assert_eq!(read.first().map(|stored| stored.position.offset), Some(offsets[at]));
    }
}

/// The brokers know no age after which what was not read stays: whoever works on a partition deletes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_records_leave_when_they_were_read_and_young_ones_and_unread_ones_stay() {
    let engine = match Cluster::new().await {
        Ok(engine) => engine,
        Err(why) => return println!("skipped: {why}"),
    };
    let storage = engine.open().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let days_ago = |days: i64| Time::from_millis(now - days * 24 * 3_600 * 1_000);
    let told = |key: &str, days| Append { time: days_ago(days), ..record(Topic::Raw, key, "raw") };
    // Two keys of two partitions.
    let key_of = |partition| (0..1_000).map(|n| format!("k{n}")).find(|key| storage.partition_of(Topic::Raw, key.as_bytes()) == partition);
    let (read, unread) = (key_of(0).expect("there are many"), key_of(1).expect("there are many"));
    for key in [&read, &unread] {
        let records = [40, 35, 31, 29, 1].map(|days| told(key, days));
        storage.appender().append(records.into()).await.expect("it is durable");
    }
    for (partition, next_offset) in [(0, 5), (1, 1)] {
        let mut step = Step::named("test");
        step.consumed.push(Consumed { group: Group::Processor, partition, next_offset, metadata: None, lease: None });
        storage.commit(step).await.expect("it is true");
    }
    let mut claims = storage.claims(Group::Processor).expect("the group is joined");
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(claims.next().await.expect("it is ours"));
    }
    let began = std::time::Instant::now();
    let begins = loop {
        let begins =
            [storage.bounds(Topic::Raw, 0).await.expect("it answers").0, storage.bounds(Topic::Raw, 1).await.expect("it answers").0];
        if begins == [3, 1] || began.elapsed().as_secs() > 30 {
            break begins;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(begins, [3, 1], "of the first those older than thirty days, of the second the one that was read");
}
