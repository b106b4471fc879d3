//! What only the cluster engine must do.

mod support;

use schemas::topic::{Group, Topic};
use storage::{Consumed, ReadError, Step, Storage};
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
    step.consumed.push(Consumed { group: Group::Processor, partition, next_offset: 2, metadata: None });
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
