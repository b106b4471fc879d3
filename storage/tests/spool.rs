//! The spool before a log that is away: what it took reaches the log, in order, whoever hands it on.

mod support;

use std::{path::Path, time::Duration};

use schemas::topic::Topic;
use storage::{AppendError, Config, Durable, Intake, OpenError, SpoolConfig, Storage};
use support::record;
use tokio_util::sync::CancellationToken;

fn log(data: &Path, fail_sync_after: Option<u64>) -> Storage {
    let data = data.join(if fail_sync_after.is_some() { "away" } else { "log" });
    let config = Config { data, partitions: 1, free_bytes_min: 0, queue_bytes_max: 1 << 20, pause_at: None, fail_sync_after };
    Storage::open_embedded(&config).expect("it opens")
}

fn spool(data: &Path, drain_timeout: Duration) -> SpoolConfig {
    SpoolConfig {
        folder: data.join("spool"),
        after: Duration::from_millis(200),
        drain_timeout,
        free_bytes_min: 0,
        queue_bytes_max: 1 << 20,
    }
}

fn event(n: usize) -> storage::Append {
    record(Topic::Raw, &format!("k{n}"), &format!("v{n}"))
}

async fn values(log: &Storage) -> Vec<String> {
    let stored = log.reader(Topic::Raw, 0, 0).available(10_000, usize::MAX).await.expect("it reads");
    stored.iter().map(|stored| String::from_utf8_lossy(&stored.value).into_owned()).collect()
}

#[tokio::test]
async fn what_the_spool_took_while_the_log_was_away_reaches_it_in_order_from_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let away = log(folder.path(), Some(0));
    let intake = Intake::with_spool(away.appender(), spool(folder.path(), Duration::from_millis(100))).await.expect("it opens");
    assert!(!intake.is_spooling());
    for n in 0..50 {
        assert_eq!(intake.append(vec![event(n)]).await, Ok(Durable::Spool));
    }
    assert!(intake.is_spooling() && intake.has_spool());
    // It is told to stop while the log is still away: it says what remains and ends.
    let stop = CancellationToken::new();
    stop.cancel();
    intake.drain(stop).await.expect("it ends");

    let log = log(folder.path(), None);
    let intake = Intake::with_spool(log.appender(), spool(folder.path(), Duration::from_secs(60))).await.expect("it opens");
    assert!(intake.is_spooling(), "what was left goes first");
    assert_eq!(intake.append(vec![event(50), event(51)]).await, Ok(Durable::Spool), "new events queue behind it");
    let stop = CancellationToken::new();
    let draining = tokio::spawn(intake.clone().drain(stop.clone()));
    while intake.is_spooling() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(intake.append(vec![event(52)]).await, Ok(Durable::Log(_))));
    assert_eq!(values(&log).await, (0..53).map(|n| format!("v{n}")).collect::<Vec<_>>());
    stop.cancel();
    draining.await.expect("it does not panic").expect("it ends");
}

#[tokio::test]
async fn under_load_that_never_rests_the_spool_gives_way_to_the_log_again_and_nothing_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let away = log(folder.path(), Some(0));
    let before = Intake::with_spool(away.appender(), spool(folder.path(), Duration::ZERO)).await.expect("it opens");
    for n in 0..500 {
        before.append(vec![event(n)]).await.expect("it is durable");
    }
    let stop = CancellationToken::new();
    stop.cancel();
    before.drain(stop).await.expect("it ends");

    let log = log(folder.path(), None);
    let intake = Intake::with_spool(log.appender(), spool(folder.path(), Duration::from_secs(60))).await.expect("it opens");
    let stop = CancellationToken::new();
    let draining = tokio::spawn(intake.clone().drain(stop.clone()));
    // Each sender goes on until the log itself has taken ten of its events.
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let intake = intake.clone();
            tokio::spawn(async move {
                let (mut sent, mut direct) = (0, 0);
                while direct < 10 {
                    match intake.append(vec![record(Topic::Raw, "k", &format!("s{sender}-{sent}"))]).await.expect("it is durable") {
                        Durable::Log(_) => direct += 1,
                        Durable::Spool => {}
                    }
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    let mut expected: Vec<String> = (0..500).map(|n| format!("v{n}")).collect();
    for (sender, sent) in senders.into_iter().enumerate() {
        let sent: usize = sent.await.expect("it ends");
        expected.extend((0..sent).map(|n| format!("s{sender}-{n}")));
    }
    stop.cancel();
    draining.await.expect("it does not panic").expect("it ends");
    let mut found = values(&log).await;
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_spool_belongs_to_one_process_and_is_no_data_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path(), None);
    let config = spool(folder.path(), Duration::ZERO);
    let first = Intake::with_spool(log.appender(), config.clone()).await.expect("it opens");
    let second = Intake::with_spool(log.appender(), config).await.err();
    assert!(matches!(second, Some(OpenError::SpoolLocked(_))), "{second:?}");
    drop(first);
    let direct = Intake::direct(log.appender());
    log.close().await;
    assert_eq!(direct.append(vec![event(0)]).await, Err(AppendError::Closed));
    assert!(!direct.has_spool() && !direct.is_spooling());
}
