//! A thousand at once: one order is one purchase, and the answers say so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::{collections::HashMap, sync::Arc};

use serde_json::json;
use support::{House, MetaBox};
use tokio::sync::Barrier;

/// Sends all bodies at the same moment, each on a connection of its own, and answers status and JSON of each.
async fn all_at_once(house: &House, funnel: &str, key: &str, bodies: Vec<String>) -> Vec<(u16, serde_json::Value)> {
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
    let barrier = Arc::new(Barrier::new(bodies.len()));
    let url = format!("{}/v1/webhook/custom/{funnel}", house.public);
    let tasks: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let request = client.post(&url).header("x-api-key", key).header("content-type", "application/json").body(body);
            let barrier = barrier.clone();
            tokio::spawn(async move {
                barrier.wait().await;
                let answer = request.send().await.expect("an answer");
                (answer.status().as_u16(), answer.json().await.expect("JSON"))
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("it did not panic"));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_simultaneous_webhooks_for_one_order_exactly_one_says_created() {
    let data = tempfile::tempdir().expect("a folder");
    let meta = MetaBox::start();
    let house = House::start(data.path(), &meta, &[]);
    let account = house.account(&meta, &["2001", "2002"]);

    let body = json!({"event":"purchase","email":"jane@example.com","amount":49.99,"order_id":"ORD-1"}).to_string();
    let answers = all_at_once(&house, &account.funnel, &account.api_key, vec![body; 1_000]).await;
    let mut statuses: HashMap<u16, usize> = HashMap::new();
    for (status, _) in &answers {
        *statuses.entry(*status).or_default() += 1;
    }
    assert_eq!(statuses, HashMap::from([(200, 1_000)]), "none is refused, none is answered 202");
    assert_eq!(answers.iter().filter(|(_, body)| body["purchases_created"] == 1).count(), 1);
    assert_eq!(answers.iter().filter(|(_, body)| body["duplicate"] == true).count(), 999);
    assert_eq!(house.export("purchases").len(), 1);

    let deliveries = house.wait_delivered(2);
    assert_eq!(deliveries.len(), 2);
    let event_id = format!("{}:ORD-1", account.funnel);
    for pixel in &account.pixels {
        assert_eq!(meta.conversion(pixel, "Purchase", &event_id)["server_copies"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_orders_told_many_times_at_once_are_each_created_once() {
    let data = tempfile::tempdir().expect("a folder");
    let meta = MetaBox::start();
    let house = House::start(data.path(), &meta, &[]);
    let account = house.account(&meta, &["2003"]);

    let bodies = (0..1_000)
        .map(|n| json!({"event":"purchase","email":"jane@example.com","amount":1,"order_id":format!("ORD-{}", n % 100)}).to_string())
        .collect();
    let answers = all_at_once(&house, &account.funnel, &account.api_key, bodies).await;
    let mut created: HashMap<String, u64> = HashMap::new();
    for (_, body) in &answers {
        *created.entry(body["order_id"].to_string()).or_default() += body["purchases_created"].as_u64().expect("a number");
    }
    assert_eq!(created.len(), 100);
    assert!(created.values().all(|created| *created == 1), "{created:?}");
    house.wait_delivered(100);
    assert_eq!(meta.report()["2003"]["double_conversions"], 0);
}
