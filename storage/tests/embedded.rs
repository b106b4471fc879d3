//! What only the embedded engine does: its folder, its disk, its one thread.

mod support;

use std::time::Duration;

use schemas::topic::{Group, Topic};
use storage::{AppendError, CommitError, Config, Consumed, OpenError, Step, Storage};
use support::{Embedded, Engine, record};

fn open(config: &Config) -> Result<Storage, OpenError> {
    Storage::open_embedded(config)
}

#[tokio::test]
async fn a_folder_belongs_to_one_process() {
    let engine = Embedded::new();
    let storage = engine.open().await;
    assert!(matches!(open(&engine.config()), Err(OpenError::Locked(folder)) if folder == engine.config().data));
    drop(storage);
    open(&engine.config()).expect("it is free again");
}

#[tokio::test]
async fn a_changed_number_of_partitions_is_refused_with_a_sentence_that_says_what_to_do() {
    let engine = Embedded::new();
    drop(engine.open().await);
    let error = open(&Config { partitions: 8, ..engine.config() }).err().expect("it is refused").to_string();
    assert!(error.contains("storage.partitions = 4"), "{error}");
    open(&engine.config()).expect("the folder is unharmed");
}

#[tokio::test]
async fn a_log_that_went_back_is_refused() {
    let engine = Embedded::new();
    let storage = engine.open().await;
    let mut step = Step::named("test");
    step.consumed.push(Consumed { group: Group::Capi, partition: 2, next_offset: 5, metadata: None, lease: None });
    storage.commit(step).await.expect("it becomes true");
    drop(storage);
    let error = open(&engine.config()).err();
    assert!(matches!(error, Some(OpenError::WentBack { topic: "dispatch", partition: 2, end: 0, committed: 5 })), "{error:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_and_not_a_panic() {
    let engine = Embedded::new();
    let file = engine.config().data;
    std::fs::write(&file, "no folder").expect("a file");
    assert!(matches!(open(&engine.config()), Err(OpenError::Engine { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_taken_any_more_and_what_was_answered_is_there() {
    let engine = Embedded::new();
    let storage = open(&Config { fail_sync_after: Some(5), ..engine.config() }).expect("it opens");
    let mut answered = Vec::new();
    let failure = loop {
        match storage.appender().append(vec![record(Topic::Audit, "k", &answered.len().to_string())]).await {
            Ok(_) => answered.push(answered.len().to_string()),
            Err(failure) => break failure,
        }
    };
    assert_eq!(answered.len(), 5);
    assert!(matches!(failure, AppendError::Lost(_)), "{failure}");
    let why = tokio::time::timeout(Duration::from_secs(5), storage.failed()).await.expect("it is told");
    assert!(why.contains("sync"), "{why}");
    assert!(!storage.appender().accepts());
    assert!(matches!(storage.appender().append(vec![record(Topic::Audit, "k", "v")]).await, Err(AppendError::Lost(_))));
    assert!(matches!(storage.commit(Step::named("test")).await, Err(CommitError::Lost(_))));
    let storage = engine.reopen(storage).await;
    let read = storage.reader(Topic::Audit, 0, 0).available(100, usize::MAX).await.expect("it reads");
    assert!(support::values(&read).starts_with(&answered.iter().map(String::as_str).collect::<Vec<_>>()));
}

#[tokio::test]
async fn under_the_free_space_floor_raw_is_refused_and_the_rest_goes_on() {
    let engine = Embedded::new();
    let storage = open(&Config { free_bytes_min: u64::MAX, ..engine.config() }).expect("it opens");
    let appender = storage.appender();
    assert!(!appender.accepts());
    assert_eq!(appender.append(vec![record(Topic::Raw, "k", "v")]).await, Err(AppendError::Full));
    appender.append(vec![record(Topic::Directory, "k", "v")]).await.expect("what frees space later must go on");
    storage.commit(Step::named("judge")).await.expect("steps go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_appends_wait_and_none_is_lost() {
    let engine = Embedded::new();
    let storage = open(&Config { queue_bytes_max: 1_000, ..engine.config() }).expect("it opens");
    let big = "x".repeat(5_000); // larger than the whole queue
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (appender, big) = (storage.appender(), big.clone());
            tokio::spawn(async move { appender.append(vec![record(Topic::Audit, "k", &big)]).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("it is durable");
    }
    assert_eq!(storage.bounds(Topic::Audit, 0).await, Ok((0, 50)));
}

#[tokio::test]
async fn metrics_count_what_is_durable() {
    let engine = Embedded::new();
    let storage = engine.open().await;
    let registry = prometheus::Registry::new();
    storage.metrics().register(&registry).expect("they register");
    storage.appender().append(vec![record(Topic::Raw, "k", "12345"), record(Topic::Raw, "k", "12345")]).await.expect("it is durable");
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
    assert!(text.contains("rapidmetrics_storage_appended_records_total{topic=\"raw\"} 2"), "{text}");
    assert!(text.contains("rapidmetrics_storage_appended_bytes_total{topic=\"raw\"} 12"), "{text}");
}
