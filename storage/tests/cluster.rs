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
