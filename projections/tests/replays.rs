//! Replays on a real engine (see `stage`), against Meta in a box: what was told is opened again, once, and never lost or doubled.

mod stage;

use std::{collections::HashMap, time::Duration};

use schemas::{
    delivery::{Delivery, Outcome},
    dispatch::{Dispatch, REPLAY_VERSION, Replay, Withheld},
    time::SECOND_US,
};
use serde_json::json;
use stage::{Stage, eventually};
use uuid::Uuid;

/// What the desk appends to replay a delivery with these bytes.
fn replay_of(told: &Delivery, dispatch: Dispatch, command: u128) -> Dispatch {
    let outcome = told.outcome.expect("it was told");
    let replay = Replay { id: Uuid::from_u128(command), outcome, settled_at: told.settled_at };
    let occurred_at = told.occurred_at;
    Dispatch { version: REPLAY_VERSION, occurred_at, received_at: told.received_at, replay: Some(replay), ..dispatch }
}

fn is_delivered(delivery: &Delivery) -> bool {
    delivery.outcome == Some(Outcome::Delivered)
}

/// How often each key was told.
async fn times_told(stage: &Stage) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for delivery in stage.told().await {
        *times.entry(delivery.dedup_key).or_insert(0) += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_delivery_is_opened_again_and_delivered_under_its_id_as_a_new_attempt() {
    let stage = Stage::with_pixel("1").await;
    stage.dispatch(&[stage.bad_purchase("1", "a")]).await;
    let sink = stage.sink().await;
    let rejected = stage.settled("1", "a").await;
    assert_eq!((rejected.outcome, rejected.attempts), (Some(Outcome::Rejected), 1));
    stage.dispatch(&[replay_of(&rejected, stage.purchase("1", "a"), 1)]).await;
    let delivered = stage.until("1", "a", is_delivered).await;
    stage.consumed().await;
    sink.stop().await;
    assert_eq!((delivered.id, delivered.event_id, delivered.attempts), (rejected.id, rejected.event_id, 2));
    assert_eq!((delivered.attempt_log[0].status, delivered.attempt_log[1].status), (Some(400), Some(200)));
    assert_eq!(delivered.replayed.map(|replay| replay.outcome), Some(Outcome::Rejected));
    assert_eq!((delivered.reason, stage.copies("1", "a")), (None, 1));
    assert_eq!(times_told(&stage).await, [("fn_1|purchase|a".to_owned(), 2)].into(), "the newest replaces");
    assert_eq!(stage.waiting().await, (0, 0));
    assert_eq!(stage.balance().await, (1, [("delivered", 1)].into()), "a replay is no new dispatch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_holds_once_and_only_for_the_outcome_it_names() {
    let stage = Stage::with_pixel("1").await;
    stage.dispatch(&[stage.bad_purchase("1", "bad"), stage.purchase("1", "good")]).await;
    let sink = stage.sink().await;
    let rejected = stage.settled("1", "bad").await;
    let good = stage.settled("1", "good").await;
    let again = replay_of(&rejected, stage.bad_purchase("1", "bad"), 1);
    stage.dispatch(&[again.clone(), again.clone()]).await;
    let twice = stage.until("1", "bad", |delivery| delivery.replayed.is_some() && delivery.outcome.is_some()).await;
    assert_eq!((twice.outcome, twice.attempts), (Some(Outcome::Rejected), rejected.attempts + 1));
    // The same once more; another command that saw the first outcome; and one that never fits.
    let late = replay_of(&rejected, stage.purchase("1", "bad"), 2);
    let wrong = replay_of(&Delivery { outcome: Some(Outcome::Rejected), ..good }, stage.purchase("1", "good"), 3);
    let unknown = replay_of(&rejected, stage.purchase("1", "nobody"), 4);
    stage.dispatch(&[again, late, wrong, unknown]).await;
    stage.consumed().await;
    let [bad, good] = [stage.delivery("1", "bad").await, stage.delivery("1", "good").await].map(|row| row.expect("it is recorded"));
    assert_eq!((bad.attempts, bad.settled_at), (twice.attempts, twice.settled_at));
    assert_eq!((good.outcome, good.replayed, stage.delivery("1", "nobody").await.is_none()), (Some(Outcome::Delivered), None, true));
    // One that saw the second outcome holds.
    stage.dispatch(&[replay_of(&twice, stage.purchase("1", "bad"), 5)]).await;
    assert_eq!(stage.until("1", "bad", is_delivered).await.attempts, twice.attempts + 1);
    sink.stop().await;
    assert_eq!(stage.balance().await, (2, [("delivered", 2)].into()));
    assert_eq!(stage.waiting().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_read_again_after_a_crash_changes_nothing() {
    let stage = Stage::with_pixel("1").await;
    stage.dispatch(&[stage.bad_purchase("1", "a")]).await;
    let sink = stage.sink().await;
    let rejected = stage.settled("1", "a").await;
    stage.consumed().await;
    // A request that is on its way holds the offset, so that everything behind it is read again.
    stage.faults(json!([{"fault": "slow", "ms": 30_000, "times": 1}])).await;
    stage.dispatch(&[stage.purchase("1", "slow")]).await;
    eventually("it is at Meta", || async { stage.copies("1", "slow") == 1 }).await;
    stage.dispatch(&[replay_of(&rejected, stage.purchase("1", "a"), 1)]).await;
    let opened = stage.until("1", "a", |delivery| delivery.replayed.is_some()).await;
    assert_eq!((opened.outcome, opened.attempts, opened.reason.map(|reason| reason.code)), (None, 1, Some("replayed".to_owned())));
    assert_eq!(stage.waiting().await.1, 1);
    sink.kill().await;
    let sink = stage.sink().await;
    let delivered = stage.until("1", "a", is_delivered).await;
    assert_eq!((delivered.attempts, delivered.ambiguous_attempts, stage.copies("1", "a")), (2, 0, 1));
    let slow = stage.settled("1", "slow").await;
    assert_eq!((slow.outcome, slow.ambiguous_attempts), (Some(Outcome::Delivered), 1));
    stage.consumed().await;
    sink.stop().await;
    let sink = stage.sink().await;
    stage.consumed().await;
    sink.stop().await;
    assert_eq!(times_told(&stage).await, [("fn_1|purchase|a".to_owned(), 2), ("fn_1|purchase|slow".to_owned(), 1)].into());
    assert_eq!(stage.balance().await, (2, [("delivered", 2)].into()));
    assert_eq!(stage.waiting().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_one_that_is_replayed_is_sent_again_and_its_lost_answers_stay_counted() {
    let stage = Stage::with_pixel("1").await;
    stage.faults(json!([{"fault": "reset_after", "times": 1}, {"fault": "http500"}])).await;
    let first = stage.purchase("1", "a");
    stage.dispatch(std::slice::from_ref(&first)).await;
    let sink = stage.sink().await;
    stage.until("1", "a", |delivery| delivery.ambiguous_attempts > 1).await;
    stage.move_clock(48 * 3_600 * SECOND_US);
    let unknown = stage.settled("1", "a").await;
    assert_eq!((unknown.outcome, stage.copies("1", "a")), (Some(Outcome::Unknown), 1));
    stage.faults(json!([])).await;
    stage.dispatch(&[replay_of(&unknown, first, 1)]).await;
    let delivered = stage.until("1", "a", is_delivered).await;
    sink.stop().await;
    assert_eq!((delivered.attempts, delivered.ambiguous_attempts), (unknown.attempts + 1, unknown.ambiguous_attempts));
    assert_eq!(delivered.first_ambiguous_at, None, "the operator took the risk, and the 47 hours with it");
    assert!(stage.copies("1", "a") <= 1 + delivered.ambiguous_attempts);
    assert_eq!(stage.balance().await, (1, [("delivered", 1)].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_leg_that_comes_after_a_replay_neither_undoes_nor_doubles_it() {
    let stage = Stage::with_pixel("1").await;
    let invalid = Withheld::Invalid { code: "currency".into(), message: "no such currency".into() };
    let withheld = Dispatch { payload: None, withheld: Some(invalid), ..stage.purchase("1", "a") };
    stage.dispatch(&[withheld, stage.bad_purchase("1", "b")]).await;
    let sink = stage.sink().await;
    let both = [stage.settled("1", "a").await, stage.settled("1", "b").await];
    for (order, rejected) in ["a", "b"].into_iter().zip(both) {
        let again = replay_of(&rejected, stage.purchase("1", order), 1);
        let later = Dispatch { version: 1, replay: None, ..stage::revision(&again, 99.0) };
        stage.dispatch(&[again, later]).await;
    }
    for (order, attempts) in [("a", 1), ("b", 2)] {
        let delivered = stage.until("1", order, is_delivered).await;
        assert_eq!((delivered.attempts, stage.copies("1", order)), (attempts, 1), "{delivered:?}");
        assert!(delivered.replayed.is_some(), "{delivered:?}");
        assert!(delivered.revision.max(delivered.noted_revision.unwrap_or(0)) == 2, "{delivered:?}");
    }
    stage.consumed().await;
    sink.stop().await;
    assert_eq!(stage.waiting().await, (0, 0));
    assert_eq!(stage.balance().await, (2, [("delivered", 2)].into()));
}

/// The sink is killed at whatever point it has reached while two hundred rejected deliveries are replayed and Meta loses answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_of_a_replay_everything_is_delivered_and_every_copy_accounted_for() {
    const ORDERS: usize = 200;
    let mut stage = Stage::with_pixel("1").await;
    stage.config.batch_events_max = 25;
    stage.config.linger_ms = 1;
    let invalid = || Withheld::Invalid { code: "currency".into(), message: "no such currency".into() };
    let first = |order: usize| match order % 4 {
        0 => stage.bad_purchase("1", &order.to_string()),
        _ => Dispatch { payload: None, withheld: Some(invalid()), ..stage.purchase("1", &order.to_string()) },
    };
    stage.dispatch(&(0..ORDERS).map(first).collect::<Vec<_>>()).await;
    let sink = stage.sink().await;
    let mut rejected = Vec::new();
    for order in 0..ORDERS {
        rejected.push(stage.settled("1", &order.to_string()).await);
    }
    sink.stop().await;
    assert!(rejected.iter().all(|delivery| delivery.outcome == Some(Outcome::Rejected)));
    stage
        .faults(json!([
            {"fault": "reset_after", "share": 0.1}, {"fault": "http500", "share": 0.05},
            {"fault": "throttle", "share": 0.05}, {"fault": "slow", "ms": 15, "share": 0.5},
        ]))
        .await;
    let rounds = stage.rounds(40) as usize;
    for round in 0..rounds {
        let part = round * ORDERS / rounds..(round + 1) * ORDERS / rounds;
        let again = |order: usize| replay_of(&rejected[order], stage.purchase("1", &order.to_string()), 7);
        stage.dispatch(&part.map(again).collect::<Vec<_>>()).await;
        let (sink, before) = (stage.sink().await, stage.sent());
        if round % 2 == 0 {
            eventually("it sends", || async { stage.sent() > before }).await;
        } // otherwise it may still be finding out where it was
        tokio::time::sleep(Duration::from_millis(round as u64 * 17 % 60)).await; // whatever it has reached
        sink.kill().await;
    }
    stage.faults(json!([])).await;
    let sink = stage.sink().await;
    let mut ambiguous = 0;
    for (order, before) in rejected.iter().enumerate() {
        let order = order.to_string();
        let delivered = stage.until("1", &order, is_delivered).await;
        let copies = stage.copies("1", &order);
        assert!((1..=1 + delivered.ambiguous_attempts).contains(&copies), "{copies} copies: {delivered:?}");
        assert_eq!((delivered.id, &delivered.event_id), (before.id, &before.event_id));
        ambiguous += delivered.ambiguous_attempts;
    }
    stage.consumed().await;
    sink.stop().await;
    let told = times_told(&stage).await;
    assert_eq!(told.len(), ORDERS);
    assert!(told.values().all(|times| *times == 2), "rejected once, delivered once: {told:?}");
    assert_eq!(stage.waiting().await, (0, 0));
    assert_eq!(stage.balance().await, (ORDERS as u64, [("delivered", ORDERS as u64)].into()));
    println!("{ORDERS} replayed deliveries, {ambiguous} ambiguous attempts");
    assert!(ambiguous > 0, "the test met no crash in flight");
}
