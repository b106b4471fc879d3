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
