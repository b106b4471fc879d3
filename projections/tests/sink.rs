//! The sink on a real engine (see `stage`), against Meta in a box.

mod stage;

use std::{collections::HashMap, time::Duration};

use schemas::{
    delivery::{Attempt, Outcome},
    dispatch::{Dispatch, Withheld},
    time::{DAY_US, SECOND_US},
    topic::Topic,
    world::World,
};
use serde_json::json;
use stage::{Stage, TOKEN, eventually, nowhere, revision, way_to_meta};

const HOUR_US: i64 = 3_600 * SECOND_US;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dispatches_are_delivered_once_in_one_request_as_the_bytes_they_were_frozen_as() {
    let stage = Stage::with_pixel("1").await;
    let dispatches: Vec<Dispatch> = (0..50).map(|order| stage.purchase("1", &order.to_string())).collect();
    stage.dispatch(&dispatches).await;
    let sink = stage.sink().await;
    stage.consumed().await;
    sink.stop().await;
    for order in 0..50 {
        let order = order.to_string();
        let delivery = stage.settled("1", &order).await;
        assert_eq!((delivery.outcome, delivery.attempts, delivery.ambiguous_attempts), (Some(Outcome::Delivered), 1, 0));
        assert!(delivery.attempt_log[0].trace_id.is_some() && delivery.settled_at.is_some());
        assert_eq!(stage.copies("1", &order), 1);
    }
    assert_eq!(stage.told().await.len(), 50);
    assert_eq!(stage.waiting().await, (0, 0));
    let requests = stage.requests().await;
    assert_eq!(requests.len(), 1, "{requests:?}");
    let body = requests[0]["body"].as_str().expect("a text");
    let frozen: Vec<&str> = dispatches.iter().filter_map(|dispatch| dispatch.payload.as_ref()).map(|payload| payload.get()).collect();
    assert!(body.contains(&format!(r#"{{"data":[{}]"#, frozen.join(","))), "{body}");
    assert_eq!(stage.metrics.deliveries.with_label_values(&["delivered"]).get(), 50);
    assert_eq!(stage.balance().await, (50, [("delivered", 50)].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_event_code_goes_with_its_own_events_and_with_no_other() {
    let stage = Stage::with_pixel("1").await;
    let coded = |order: &str, code: &str| Dispatch { test_event_code: Some(code.into()), ..stage.purchase("1", order) };
    stage
        .dispatch(&[stage.purchase("1", "a"), coded("b", "TEST1"), coded("c", "TEST1"), coded("d", "TEST2"), stage.purchase("1", "e")])
        .await;
    let sink = stage.sink().await;
    stage.consumed().await;
    sink.stop().await;
    for order in ["a", "b", "c", "d", "e"] {
        assert_eq!(stage.settled("1", order).await.outcome, Some(Outcome::Delivered));
        assert_eq!(stage.copies("1", order), 1);
    }
    let mut told: Vec<(serde_json::Value, usize)> = Vec::new();
    for request in stage.requests().await {
        let body: serde_json::Value = serde_json::from_str(request["body"].as_str().expect("a text")).expect("JSON");
        told.push((body["test_event_code"].clone(), body["data"].as_array().map_or(0, Vec::len)));
    }
    assert_eq!(told, [(json!(null), 1), (json!("TEST1"), 2), (json!("TEST2"), 1), (json!(null), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pixel_that_lags_has_four_requests_on_their_way_and_never_more() {
    const HELD_MS: i64 = 250;
    let mut stage = Stage::with_pixel("1").await;
    stage.config.batch_events_max = 10;
    stage.faults(json!([{"fault": "slow", "ms": HELD_MS}])).await;
    let dispatches: Vec<Dispatch> = (0..200).map(|order| stage.purchase("1", &order.to_string())).collect();
    stage.dispatch(&dispatches).await;
    let sink = stage.sink().await;
    eventually("all are delivered", || async { stage.balance().await.1.get("delivered") == Some(&200) }).await;
    sink.stop().await;
    let came: Vec<i64> = stage.requests().await.iter().map(|request| request["received_at"].as_i64().expect("a time")).collect();
    assert!(came.len() >= 20, "{came:?}");
    // Each request is held, so of any five in a row the last can only come when one of the others was answered.
    assert!(came.windows(5).all(|five| five[4] - five[0] >= HELD_MS - 1), "more than four: {came:?}");
    assert!(came.windows(4).any(|four| four[3] - four[0] < HELD_MS), "never four: {came:?}");
    for order in 0..200 {
        assert_eq!(stage.copies("1", &order.to_string()), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_the_token_holds_all_its_pixels_and_one_of_a_pixel_only_that() {
    for (code, holds_both) in [(4, true), (80_004, false)] {
        let stage = Stage::with_pixel("1").await;
        stage.pixel_at_meta("2");
        stage.pixel_here("2", TOKEN);
        stage.dispatch(&[stage.purchase("2", "before")]).await;
        let sink = stage.sink().await;
        stage.settled("2", "before").await; // the token of both is known to be the same
        stage.faults(json!([{"pixel": "1", "fault": "throttle", "code": code, "times": 1, "retry_after_s": 2}])).await;
        stage.dispatch(&[stage.purchase("1", "a")]).await;
        let refused = stage.until("1", "a", |delivery| delivery.attempts == 1).await;
        stage.dispatch(&[stage.purchase("2", "b")]).await;
        let other = stage.settled("2", "b").await;
        let held = other.attempt_log[0].at.since(refused.attempt_log[0].at);
        assert_eq!(held >= 2 * SECOND_US, holds_both, "code {code}: {held} us");
        assert_eq!(stage.settled("1", "a").await.outcome, Some(Outcome::Delivered));
        sink.stop().await;
        let requests = stage.reports();
        assert_eq!((requests["1"].requests, requests["2"].requests), (2, 2), "code {code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_limit_requests_keep_a_pace_and_usage_that_is_told_slows_down_before_one() {
    for fault in [json!({"fault": "throttle", "code": 80_004, "times": 2}), json!({"fault": "slow", "ms": 0, "usage": 95, "times": 8})] {
        let mut stage = Stage::with_pixel("1").await;
        stage.config.batch_events_max = 1;
        stage.faults(json!([fault])).await;
        let dispatches: Vec<Dispatch> = (0..12).map(|order| stage.purchase("1", &order.to_string())).collect();
        stage.dispatch(&dispatches).await;
        let sink = stage.sink().await;
        eventually("all are delivered", || async { stage.balance().await.1.get("delivered") == Some(&12) }).await;
        sink.stop().await;
        let came: Vec<i64> = stage.requests().await.iter().map(|request| request["received_at"].as_i64().expect("a time")).collect();
        // Without a pace all of it takes about 100 ms. A request that comes late shortens the gap behind it, and never the whole.
        assert!(came[came.len() - 1] - came[0] >= 300, "{fault}: {came:?}");
        assert_eq!(stage.metrics.ambiguous.get(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_names_the_bad_event_spares_the_search() {
    let stage = Stage::with_pixel("1").await;
    let odd = [3, 64, 99];
    let dispatches: Vec<Dispatch> = (0..100)
        .map(|number| {
            let order = number.to_string();
            if odd.contains(&number) { stage.odd_purchase("1", &order) } else { stage.purchase("1", &order) }
        })
        .collect();
    stage.dispatch(&dispatches).await;
    let sink = stage.sink().await;
    eventually("all ended", || async { stage.balance().await == (100, [("delivered", 97), ("rejected", 3)].into()) }).await;
    sink.stop().await;
    for number in 0..100 {
        let copies = u32::from(!odd.contains(&number));
        assert_eq!(stage.copies("1", &number.to_string()), copies, "{number}");
    }
    let requests = stage.reports()["1"].requests;
    assert_eq!(requests, 1 + 2 * 3, "each of the three costs one request that names it, and one alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_ambiguous_and_the_same_id_goes_again() {
    for (fault, ambiguous, copies) in [
        (json!({"fault": "reset_after", "times": 2}), 2, 3),
        (json!({"fault": "timeout", "ms": 5_000, "times": 1}), 1, 1),
        (json!({"fault": "reset_before", "times": 2}), 2, 1),
        (json!({"fault": "http500", "times": 2}), 2, 1),
        (json!({"fault": "http503", "times": 1}), 1, 1),
        (json!({"fault": "http504", "times": 1}), 1, 1),
        (json!({"fault": "html500", "times": 1}), 1, 1),
        (json!({"fault": "html500", "status": 404, "times": 1}), 0, 1),
        (json!({"fault": "slow", "ms": 100, "times": 1}), 0, 1),
        (json!({"fault": "code1", "times": 3}), 0, 1),
        (json!({"fault": "throttle", "times": 3}), 0, 1),
        (json!({"fault": "throttle", "times": 1, "code": 80_004, "usage": 100, "retry_after_s": 1}), 0, 1),
    ] {
        let mut stage = Stage::with_pixel("1").await;
        stage.config.request_timeout_ms = 200;
        stage.faults(json!([fault])).await;
        stage.dispatch(&[stage.purchase("1", "a")]).await;
        let sink = stage.sink().await;
        let delivery = stage.settled("1", "a").await;
        sink.stop().await;
        assert_eq!((delivery.outcome, delivery.ambiguous_attempts), (Some(Outcome::Delivered), ambiguous), "{fault}");
        assert_eq!(delivery.reason, None);
        assert_eq!(stage.copies("1", "a"), copies, "{fault}");
        let numbers: Vec<u64> = delivery.attempt_log.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (numbers[0]..numbers[0] + u64::from(delivery.attempts)).collect::<Vec<_>>());
        assert_eq!(stage.told().await.len(), 1);
        assert_eq!(stage.waiting().await, (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_never_came_about_sent_nothing_and_is_not_ambiguous() {
    let (strict, silent) = (nowhere::SelfSigned::listen(), nowhere::silent());
    for (what, base_url) in [
        ("nobody at home", Some("http://127.0.0.1:1".to_owned())),
        ("a name that nobody has", Some("http://meta.invalid".to_owned())),
        ("plain HTTP where TLS was expected", None),
        ("a certificate that nobody vouches for", Some(strict.url())),
        ("a host that says nothing", Some(format!("https://{}", silent.local_addr().expect("it is bound")))),
    ] {
        let mut stage = Stage::with_pixel("1").await;
        stage.http = way_to_meta(Duration::from_millis(300)); // where names are asked for in vain, that takes long
        let home = stage.config.base_url.clone();
        stage.config.base_url = base_url.unwrap_or_else(|| home.replace("http:", "https:"));
        stage.dispatch(&[stage.purchase("1", "a"), stage.purchase("1", "b")]).await;
        let sink = stage.sink().await;
        let delivery = stage.until("1", "a", |delivery| delivery.attempts > 2).await;
        assert_eq!((delivery.outcome, delivery.ambiguous_attempts), (None, 0), "{what}: {delivery:?}");
        assert!(delivery.attempt_log.iter().all(|attempt| attempt.status.is_none()), "{what}: {delivery:?}");
        assert_eq!(delivery.reason.map(|reason| reason.code).as_deref(), Some("retry"), "{what}");
        sink.stop().await;
        stage.config.base_url = home;
        let sink = stage.sink().await;
        for order in ["a", "b"] {
            let delivery = stage.settled("1", order).await;
            assert_eq!((delivery.outcome, delivery.ambiguous_attempts), (Some(Outcome::Delivered), 0), "{what}");
            assert_eq!(stage.copies("1", order), 1, "{what}");
        }
        sink.stop().await;
        assert_eq!((stage.metrics.ambiguous.get(), stage.waiting().await), (0, (0, 0)), "{what}");
    }
    assert!(strict.greeted() > 2, "it was asked {} times", strict.greeted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_refused_in_the_middle_of_a_run_loses_and_doubles_nothing() {
    for fault in ["token_expired", "token_revoked"] {
        let mut stage = Stage::with_pixel("1").await;
        stage.config.batch_events_max = 10;
        stage.faults(json!([{"fault": fault, "after": 5, "times": 8}, {"fault": "slow", "ms": 20}])).await;
        let dispatches: Vec<Dispatch> = (0..200).map(|order| stage.purchase("1", &order.to_string())).collect();
        stage.dispatch(&dispatches).await;
        let sink = stage.sink().await;
        eventually("all are delivered", || async { stage.balance().await.1.get("delivered") == Some(&200) }).await;
        sink.stop().await;
        let (mut refused, mut attempts) = (0, 0);
        for order in 0..200 {
            let order = order.to_string();
            let delivery = stage.settled("1", &order).await;
            assert_eq!((delivery.ambiguous_attempts, stage.copies("1", &order)), (0, 1), "{fault}: {delivery:?}");
            attempts += delivery.attempts;
            refused += delivery.attempt_log.iter().filter(|attempt| attempt.code == Some(190)).count();
        }
        // Up to four requests of ten were on their way when the first was refused; after that one event asks at a time.
        assert!((8..=4 * 10 + 4).contains(&refused), "{fault}: {refused}");
        assert_eq!(attempts as usize, 200 + refused, "{fault}");
        assert_eq!((stage.waiting().await, stage.told().await.len()), ((0, 0), 200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_events_are_isolated_and_rejected_and_the_others_delivered_once() {
    let stage = Stage::with_pixel("1").await;
    let bad = [3, 64, 99];
    let dispatches: Vec<Dispatch> = (0..100)
        .map(|number| {
            let order = number.to_string();
            if bad.contains(&number) { stage.bad_purchase("1", &order) } else { stage.purchase("1", &order) }
        })
        .collect();
    stage.dispatch(&dispatches).await;
    let sink = stage.sink().await;
    for number in 0..100 {
        let order = number.to_string();
        let delivery = stage.settled("1", &order).await;
        if bad.contains(&number) {
            assert_eq!(delivery.outcome, Some(Outcome::Rejected));
            let last = delivery.attempt_log.last().expect("it was tried");
            assert_eq!((last.code, last.subcode, last.status), (Some(100), Some(2_804_010), Some(400)));
            assert_eq!(delivery.reason.map(|reason| reason.code).as_deref(), Some("meta"));
        } else {
            assert_eq!(delivery.outcome, Some(Outcome::Delivered));
            assert_eq!(stage.copies("1", &order), 1);
        }
    }
    sink.stop().await;
    let requests = stage.reports()["1"].requests;
    assert!(requests <= 1 + 2 * 3 * 7, "{requests} requests");
    assert_eq!(stage.told().await.len(), 100);
    assert_eq!(stage.waiting().await, (0, 0));
    assert_eq!(stage.metrics.ambiguous.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_refusal_is_tried_once_more_and_then_rejected() {
    let stage = Stage::with_pixel("1").await;
    stage.faults(json!([{"fault": "throttle", "code": 987_654}])).await;
    stage.dispatch(&[stage.purchase("1", "a")]).await;
    let sink = stage.sink().await;
    let delivery = stage.settled("1", "a").await;
    sink.stop().await;
    assert_eq!((delivery.outcome, delivery.attempts), (Some(Outcome::Rejected), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_token_burns_nothing_delays_nobody_and_resumes() {
    let stage = Stage::with_pixel("1").await;
    stage.pixel_at_meta("2");
    stage.pixel_here("2", TOKEN);
    stage.faults(json!([{"pixel": "1", "fault": "token_expired"}])).await;
    let orders: Vec<String> = (0..30).map(|order| order.to_string()).collect();
    let both: Vec<Dispatch> = orders.iter().flat_map(|order| [stage.purchase("1", order), stage.purchase("2", order)]).collect();
    stage.dispatch(&both).await;
    let sink = stage.sink().await;
    for order in &orders {
        assert_eq!(stage.settled("2", order).await.outcome, Some(Outcome::Delivered));
    }
    stage.consumed().await; // the dead pixel holds no offset
    stage.until("1", "0", |delivery| delivery.attempts >= 8).await;
    eventually("all wait", || async { stage.waiting().await == (30, 30) }).await;
    sink.stop().await;
    let sink = stage.sink().await; // one that begins anew asks no louder
    stage.until("1", "0", |delivery| delivery.attempts >= 12).await;
    let events = |request: &serde_json::Value| request["body"].as_str().map_or(0, |body| body.matches(r#""event_id""#).count());
    let probes: Vec<usize> = stage.requests().await.iter().filter(|request| request["pixel"] == "1").map(events).collect();
    assert_eq!(probes[1..], vec![1; probes.len() - 1], "one event is enough to ask");
    stage.dispatch(&[stage.purchase("1", "late")]).await;
    let late = stage.until("1", "late", |_| true).await;
    assert_eq!(late.outcome, None);

    stage.faults(json!([])).await;
    for order in orders.iter().map(String::as_str).chain(["late"]) {
        let delivery = stage.settled("1", order).await;
        assert_eq!((delivery.outcome, delivery.ambiguous_attempts), (Some(Outcome::Delivered), 0));
        assert_eq!(stage.copies("1", order), 1);
    }
    sink.stop().await;
    assert_eq!(stage.waiting().await, (0, 0));
    assert_eq!(stage.told().await.len(), 61);
    assert_eq!(stage.balance().await, (61, [("delivered", 61)].into()));
    let after = stage.requests().await.iter().filter(|request| request["pixel"] == "1").count() - probes.len();
    assert!(after < 8, "{after} requests after the token worked again: what was probed with burnt nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_is_used_at_once() {
    let mut stage = Stage::with_pixel("1").await;
    stage.config.probe_ms = 3_600_000;
    stage.pixel_here("1", "of yesterday");
    stage.dispatch(&[stage.purchase("1", "a"), stage.purchase("2", "b")]).await;
    let sink = stage.sink().await;
    let delivery = stage.until("1", "a", |delivery| delivery.attempts == 1).await;
    assert_eq!(delivery.reason.map(|reason| reason.code).as_deref(), Some("token"));
    stage.until("2", "b", |delivery| delivery.reason.as_ref().is_some_and(|reason| reason.code == "config")).await;
    stage.pixel_here("1", TOKEN);
    stage.pixel_at_meta("2");
    stage.pixel_here("2", TOKEN);
    assert_eq!(stage.settled("1", "a").await.outcome, Some(Outcome::Delivered));
    let unknown = stage.settled("2", "b").await;
    assert_eq!((unknown.outcome, unknown.attempts), (Some(Outcome::Delivered), 1), "a pixel that nobody knew got no request");
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_revision_takes_the_place_of_one_that_was_never_sent() {
    for waits_s in [2, 3_600] {
        let stage = Stage::with_pixel("1").await;
        let not_before = Some(stage.clock.now().plus_micros(waits_s * SECOND_US));
        let first = Dispatch { not_before, ..stage.purchase("1", "a") };
        stage.dispatch(std::slice::from_ref(&first)).await;
        let sink = stage.sink().await;
        let waiting = stage.until("1", "a", |_| true).await;
        assert_eq!((waiting.outcome, waiting.attempts), (None, 0));
        eventually("it waits by offset and by row", || async { stage.waiting().await == (1, 1) }).await;
        stage.dispatch(&[revision(&first, 99.0)]).await;
        let delivery = stage.settled("1", "a").await;
        sink.stop().await;
        assert_eq!((delivery.outcome, delivery.revision, delivery.noted_revision), (Some(Outcome::Delivered), 2, None));
        let requests = stage.requests().await;
        assert_eq!(requests.len(), 1);
        assert!(requests[0]["body"].as_str().is_some_and(|body| body.contains("99.0")), "the better data is what Meta got");
        assert_eq!(stage.waiting().await, (0, 0));
        assert_eq!(stage.told().await.len(), 1);
        stage.consumed().await;
    }
}

/// It comes while the step that lets the first one wait is on its way, and after it nothing else comes that could move the partition on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_revision_just_behind_the_first_needs_nobody_behind_itself() {
    let stage = Stage::with_pixel("1").await;
    let sink = stage.sink().await;
    for round in 0..150_u64 {
        let order = round.to_string();
        let not_before = Some(stage.clock.now().plus_micros(HOUR_US));
        let first = Dispatch { not_before, ..stage.purchase("1", &order) };
        stage.dispatch(std::slice::from_ref(&first)).await;
        tokio::time::sleep(Duration::from_micros(round * 37 % 2_000)).await; // anywhere in the step's way
        stage.dispatch(&[revision(&first, 99.0)]).await;
        let delivery = stage.settled("1", &order).await;
        assert_eq!((delivery.outcome, delivery.revision, stage.copies("1", &order)), (Some(Outcome::Delivered), 2, 1));
    }
    stage.consumed().await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_revisions_in_one_reading_become_one_copy() {
    let stage = Stage::with_pixel("1").await;
    let first = stage.purchase("1", "a");
    stage.dispatch(&[first.clone(), revision(&first, 99.0)]).await;
    let sink = stage.sink().await;
    let delivery = stage.settled("1", "a").await;
    sink.stop().await;
    stage.consumed().await;
    assert_eq!((delivery.revision, stage.copies("1", "a")), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_revision_is_noted_when_the_first_was_sent() {
    let stage = Stage::with_pixel("1").await;
    let (sent, slow, dead) = (stage.purchase("1", "sent"), stage.purchase("1", "slow"), stage.purchase("1", "dead"));
    let sink = stage.sink().await;
    stage.dispatch(std::slice::from_ref(&sent)).await;
    stage.settled("1", "sent").await;
    stage.dispatch(&[revision(&sent, 99.0)]).await;
    let delivery = stage.until("1", "sent", |delivery| delivery.noted_revision == Some(2)).await;
    assert_eq!((delivery.outcome, delivery.revision), (Some(Outcome::Delivered), 1));

    stage.faults(json!([{"fault": "slow", "ms": 400, "times": 1}])).await;
    stage.dispatch(std::slice::from_ref(&slow)).await;
    eventually("it is at Meta", || async { stage.copies("1", "slow") == 1 }).await;
    stage.dispatch(&[revision(&slow, 99.0)]).await;
    let delivery = stage.settled("1", "slow").await;
    assert_eq!((delivery.noted_revision, delivery.attempts), (Some(2), 1));

    stage.faults(json!([{"fault": "token_expired"}])).await;
    stage.dispatch(std::slice::from_ref(&dead)).await;
    stage.until("1", "dead", |delivery| delivery.attempts > 0).await;
    stage.dispatch(&[revision(&dead, 99.0)]).await;
    stage.until("1", "dead", |delivery| delivery.noted_revision == Some(2)).await;
    stage.faults(json!([])).await;
    let delivery = stage.settled("1", "dead").await;
    assert_eq!((delivery.noted_revision, delivery.revision), (Some(2), 1), "what waits keeps the note");
    stage.consumed().await;
    sink.stop().await;
    assert!(["sent", "slow", "dead"].iter().all(|order| stage.copies("1", order) == 1));
    assert_eq!(stage.told().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_sent_ends_without_a_request() {
    let stage = Stage::with_pixel("1").await;
    let declined = Dispatch { payload: None, withheld: Some(Withheld::NoConsent), ..stage.purchase("1", "declined") };
    let invalid = Withheld::Invalid { code: "currency".into(), message: "no such currency".into() };
    let invalid = Dispatch { payload: None, withheld: Some(invalid), ..stage.purchase("1", "invalid") };
    let old = Dispatch { occurred_at: stage.clock.now().plus_micros(-7 * DAY_US), ..stage.purchase("1", "old") };
    stage.dispatch(&[declined, invalid, old]).await;
    let sink = stage.sink().await;
    for (order, outcome, code) in
        [("declined", Outcome::Cancelled, "no_consent"), ("invalid", Outcome::Rejected, "currency"), ("old", Outcome::Expired, "too_old")]
    {
        let delivery = stage.settled("1", order).await;
        assert_eq!((delivery.outcome, delivery.attempts), (Some(outcome), 0));
        assert_eq!(delivery.reason.map(|reason| reason.code).as_deref(), Some(code));
    }
    stage.consumed().await;
    sink.stop().await;
    assert!(stage.requests().await.is_empty());
    assert_eq!(stage.told().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_work_ends_as_unknown_and_other_work_as_expired() {
    let stage = Stage::with_pixel("1").await;
    stage.pixel_at_meta("2");
    stage.pixel_here("2", TOKEN);
    stage.faults(json!([{"pixel": "1", "fault": "http500"}, {"pixel": "2", "fault": "token_expired"}])).await;
    stage.dispatch(&[stage.purchase("1", "a"), stage.purchase("2", "b")]).await;
    let sink = stage.sink().await;
    stage.until("1", "a", |delivery| delivery.ambiguous_attempts > 0).await;
    stage.until("2", "b", |delivery| delivery.attempts > 0).await;
    stage.move_clock(46 * HOUR_US);
    let tried = stage.delivery("1", "a").await.expect("it waits").attempts;
    stage.until("1", "a", |delivery| delivery.attempts > tried).await;
    stage.move_clock(2 * HOUR_US);
    assert_eq!(stage.settled("1", "a").await.outcome, Some(Outcome::Unknown));
    assert_eq!(stage.delivery("2", "b").await.and_then(|delivery| delivery.outcome), None);
    stage.move_clock(6 * DAY_US);
    assert_eq!(stage.settled("2", "b").await.outcome, Some(Outcome::Expired));
    sink.stop().await;
    assert_eq!(stage.waiting().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_left_open_by_a_crash_is_ambiguous_and_is_made_again() {
    let stage = Stage::with_pixel("1").await;
    stage.faults(json!([{"fault": "slow", "ms": 4_000, "times": 1}])).await;
    stage.dispatch(&[stage.purchase("1", "a"), stage.purchase("1", "b")]).await;
    let partition = stage.storage.partition_of(Topic::Dispatch, b"1");
    let open_intents = async || stage.storage.deliveries().open_intents(partition, 0, 1_000).await.expect("the store answers");
    let sink = stage.sink().await;
    eventually("both are at Meta", || async { ["a", "b"].iter().all(|order| stage.copies("1", order) == 1) }).await;
    sink.kill().await;
    let open = open_intents().await.remove(0);
    assert_eq!(open.items.len(), 2, "one request, one attempt");

    let sink = stage.sink().await;
    for order in ["a", "b"] {
        let delivery = stage.settled("1", order).await;
        assert_eq!((delivery.outcome, delivery.attempts, delivery.ambiguous_attempts), (Some(Outcome::Delivered), 2, 1));
        let left = Attempt { number: open.attempt, at: open.at, status: None, code: None, subcode: None, trace_id: None, ambiguous: true };
        assert_eq!((&delivery.attempt_log[0], delivery.attempt_log[1].number), (&left, open.attempt + 1));
        assert_eq!((delivery.first_ambiguous_at, stage.copies("1", order)), (Some(open.at), 2), "a double, and it is recorded");
    }
    stage.consumed().await;
    sink.stop().await;
    assert!(open_intents().await.is_empty());
    assert_eq!(stage.waiting().await, (0, 0));
    assert_eq!(stage.told().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_finishes_what_is_in_flight() {
    let stage = Stage::with_pixel("1").await;
    stage.faults(json!([{"fault": "slow", "ms": 500, "times": 1}])).await;
    stage.dispatch(&[stage.purchase("1", "a")]).await;
    let sink = stage.sink().await;
    eventually("it is at Meta", || async { stage.copies("1", "a") == 1 }).await;
    sink.stop().await;
    let delivery = stage.delivery("1", "a").await.expect("it is recorded");
    assert_eq!((delivery.outcome, delivery.ambiguous_attempts), (Some(Outcome::Delivered), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_dispatches_are_found_again_after_a_restart() {
    let stage = Stage::with_pixel("1").await;
    let soon = Some(stage.clock.now().plus_micros(SECOND_US));
    stage
        .dispatch(&[Dispatch { not_before: soon, ..stage.purchase("1", "a") }, Dispatch { not_before: soon, ..stage.purchase("3", "b") }])
        .await;
    let sink = stage.sink().await;
    stage.until("1", "a", |_| true).await;
    stage.until("3", "b", |_| true).await;
    sink.kill().await;
    let sink = stage.sink().await;
    let delivery = stage.settled("1", "a").await;
    assert_eq!((delivery.outcome, delivery.attempts), (Some(Outcome::Delivered), 1));
    assert!(delivery.settled_at >= soon);
    stage.pixel_at_meta("3");
    stage.pixel_here("3", TOKEN);
    assert_eq!(stage.settled("3", "b").await.outcome, Some(Outcome::Delivered));
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_pixel_takes_neither_memory_nor_the_turn_of_others() {
    let mut stage = Stage::with_pixel("1").await;
    stage.config.batch_events_max = 10;
    stage.config.pending_bytes_max = 200_000;
    stage.config.read_hold_ms = 50;
    for id in ["2", "3", "4"] {
        stage.pixel_at_meta(id);
        stage.pixel_here(id, TOKEN);
    }
    stage.faults(json!([{"pixel": "1", "fault": "slow", "ms": 300, "times": 12}])).await;
    let orders: Vec<String> = (0..400).map(|order| order.to_string()).collect();
    let flood: Vec<Dispatch> = orders.iter().map(|order| stage.purchase("1", order)).collect();
    stage.dispatch(&flood).await;
    for id in ["2", "3", "4"] {
        stage.dispatch(&[stage.purchase(id, "a")]).await;
    }
    let began = tokio::time::Instant::now();
    let sink = stage.sink().await;
    for id in ["2", "3", "4"] {
        stage.settled(id, "a").await;
    }
    let neighbours = began.elapsed();
    assert!(neighbours < Duration::from_millis(1_500), "{neighbours:?} behind a flood that needs 3.6 s");
    for order in &orders {
        assert_eq!(stage.settled("1", order).await.outcome, Some(Outcome::Delivered));
        assert_eq!(stage.copies("1", order), 1);
    }
    stage.consumed().await;
    sink.stop().await;
    assert_eq!(stage.waiting().await, (0, 0));
    assert_eq!(stage.told().await.len(), 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_memory_for_many_pixels_loses_nothing() {
    let mut stage = Stage::new().await;
    stage.config.batch_events_max = 10;
    stage.config.pending_bytes_max = 60_000;
    stage.config.read_hold_ms = 1;
    stage.faults(json!([{"fault": "slow", "ms": 30, "share": 0.3}, {"fault": "http500", "share": 0.1}])).await;
    let ids: Vec<String> = (100..130).map(|id| id.to_string()).collect();
    for id in &ids {
        stage.pixel_at_meta(id);
        stage.pixel_here(id, TOKEN);
    }
    for order in 0..60 {
        let dispatches: Vec<Dispatch> = ids.iter().map(|id| stage.purchase(id, &order.to_string())).collect();
        stage.dispatch(&dispatches).await;
    }
    let sink = stage.sink().await;
    for id in &ids {
        for order in 0..60 {
            let order = order.to_string();
            let delivery = stage.settled(id, &order).await;
            assert_eq!((delivery.outcome, stage.copies(id, &order)), (Some(Outcome::Delivered), 1));
        }
    }
    stage.consumed().await;
    sink.stop().await;
    assert_eq!(stage.waiting().await, (0, 0));
    assert_eq!(stage.told().await.len(), 30 * 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_dispatch_is_put_aside_and_a_newer_one_stops_the_partition() {
    let stage = Stage::with_pixel("1").await;
    let append = |value: Vec<u8>| storage::Append { topic: Topic::Dispatch, key: "1".into(), value: value.into(), time: stage.clock.now() };
    let newer = Dispatch { version: 3, ..stage.purchase("1", "newer") };
    stage.storage.appender().append(vec![append(b"{\"version\":1}".to_vec())]).await.expect("appended");
    stage.dispatch(&[stage.purchase("1", "a"), newer]).await;
    let sink = stage.sink().await;
    assert_eq!(stage.settled("1", "a").await.outcome, Some(Outcome::Delivered));
    let dead = stage.storage.reader(Topic::Dead, 0, 0).available(10, 1 << 20).await.expect("the store answers");
    assert_eq!(dead.len(), 1);
    sink.stop().await;
    let partition = stage.storage.partition_of(Topic::Dispatch, b"1");
    // On the cluster a row is seen before its transaction is through.
    eventually("both are consumed, and the newer one is not", || async {
        stage.storage.committed(schemas::topic::Group::Capi, partition).await.expect("the store answers").next_offset == 2
    })
    .await;
    assert_eq!(stage.metrics.stopped.with_label_values(&[&partition.to_string()]).get(), 1);
}

/// The sink is killed at whatever point it has reached, over and over, while Meta loses answers: nothing is lost, each delivery has one
/// outcome, and copies never exceed what is recorded as ambiguous.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_nothing_is_lost_and_every_copy_is_accounted_for() {
    let mut stage = Stage::with_pixel("1").await;
    stage.pixel_at_meta("2");
    stage.pixel_here("2", TOKEN);
    stage.config.batch_events_max = 25;
    stage.config.linger_ms = 1;
    stage
        .faults(json!([
            {"fault": "reset_after", "share": 0.08}, {"fault": "http500", "share": 0.05},
            {"fault": "throttle", "share": 0.05}, {"fault": "slow", "ms": 15, "share": 0.5},
        ]))
        .await;
    let mut expected: HashMap<(String, String), Outcome> = HashMap::new();
    for round in 0..stage.rounds(40) {
        let mut dispatches = Vec::new();
        for number in 0..30 {
            let (id, order) = (["1", "2"][number % 2], format!("{round}-{number}"));
            let is_bad = number == 7 && round % 4 == 0;
            let first = if is_bad { stage.bad_purchase(id, &order) } else { stage.purchase(id, &order) };
            let waits = (number % 5 == 0).then(|| stage.clock.now().plus_micros(20_000));
            let first = Dispatch { not_before: waits, ..first };
            if number % 6 == 0 {
                dispatches.push(revision(&first, 99.0));
            }
            dispatches.insert(dispatches.len().saturating_sub(usize::from(number % 6 == 0)), first);
            expected.insert((id.to_owned(), order), if is_bad { Outcome::Rejected } else { Outcome::Delivered });
        }
        stage.dispatch(&dispatches).await;
        let (sink, before) = (stage.sink().await, stage.sent());
        if round % 2 == 0 {
            eventually("it sends", || async { stage.sent() > before }).await;
        } // otherwise it may still be finding out where it was
        tokio::time::sleep(Duration::from_millis(round * 13 % 60)).await;
        sink.kill().await;
    }
    stage.faults(json!([])).await;
    let sink = stage.sink().await;
    let mut ambiguous = 0;
    for ((id, order), outcome) in &expected {
        let delivery = stage.settled(id, order).await;
        assert_eq!(delivery.outcome, Some(*outcome), "{delivery:?}");
        let copies = stage.copies(id, order);
        assert!(copies <= 1 + delivery.ambiguous_attempts, "{copies} copies: {delivery:?}");
        assert_eq!(copies > 0, *outcome == Outcome::Delivered);
        ambiguous += delivery.ambiguous_attempts;
    }
    stage.consumed().await;
    sink.stop().await;
    let doubles: u64 = stage.reports().values().map(|totals| totals.double_conversions).sum();
    println!("{} deliveries, {ambiguous} ambiguous attempts, {doubles} double conversions", expected.len());
    assert!(ambiguous > 0 && doubles > 0, "the test met no crash in flight");
    let mut told = HashMap::new();
    for delivery in stage.told().await {
        *told.entry((delivery.pixel_id, delivery.dedup_key)).or_insert(0) += 1;
    }
    assert_eq!(told.len(), expected.len());
    assert!(told.values().all(|times| *times == 1), "each outcome is told once");
    assert_eq!(stage.waiting().await, (0, 0));
    let (dispatched, states) = stage.balance().await;
    assert_eq!((dispatched, states.values().sum()), (expected.len() as u64, expected.len() as u64), "{states:?}");
}
