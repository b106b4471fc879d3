//! Connections: slow ones, rude ones, and those that are here when the house stops.

use std::time::Duration;

use schemas::verdict::Verdict;
use tokio::time::{Instant, sleep};

use crate::house::{House, KEY, post};

const SALE: &str = r#"{"event":"purchase","email":"a@b.co","amount":49.99,"order_id":"ORD-123"}"#;

#[tokio::test]
async fn a_connection_without_a_whole_head_is_closed() {
    let house = House::open("header_timeout_ms = 100").await;
    for start in ["", "GET /v1/session.js HTTP/1.1\r\nhost: "] {
        let mut client = house.connect().await;
        client.send(start).await;
        client.closed().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_later_than_a_new_one() {
    let house = House::open("header_timeout_ms = 50\nidle_timeout_ms = 400").await;
    let mut client = house.connect().await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 404);
    let since = Instant::now();
    client.closed().await;
    assert!(since.elapsed() > Duration::from_millis(300), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let house = House::open("body_timeout_ms = 100").await;
    let mut client = house.connect().await;
    client.send(format!("POST /v1/webhook/custom/fn_1 HTTP/1.1\r\nx-api-key: {KEY}\r\ncontent-length: 9\r\n\r\n{{")).await;
    assert_eq!(client.reply().await.error().1, "body_timeout");
    client.closed().await;
}

#[tokio::test]
async fn who_announces_too_much_is_answered_at_once_and_may_finish() {
    let house = House::open("").await;
    let mut client = house.connect().await;
    client.send(format!("POST /v1/webhook/custom/fn_1 HTTP/1.1\r\nx-api-key: {KEY}\r\ncontent-length: 500000\r\n\r\n")).await;
    assert_eq!(client.reply().await.error().1, "payload_too_large");
    client.send("x".repeat(500_000)).await;
    client.closed().await;

    let mut client = house.connect().await;
    client
        .send(format!(
            "POST /v1/webhook/custom/fn_1 HTTP/1.1\r\nx-api-key: {KEY}\r\nexpect: 100-continue\r\ncontent-length: 500000\r\n\r\n"
        ))
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.header("connection")), (413, Some("close")), "and no 100 before it");
}

#[tokio::test]
async fn a_refusal_does_not_cost_a_connection_whose_body_is_small() {
    let house = House::open("verdict_timeout_ms = 0").await;
    let mut client = house.connect().await;
    client.send(post("/v1/webhook/custom/fn_1", "", SALE)).await;
    assert_eq!(client.reply().await.status, 401);
    client.send(post("/v1/webhook/custom/fn_1", &format!("x-api-key: {KEY}\r\n"), SALE)).await;
    assert_eq!(client.reply().await.status, 202);
}

#[tokio::test]
async fn nonsense_ends_only_its_own_connection() {
    let house = House::open("").await;
    for nonsense in [
        &b"\0\xff\xfe"[..],
        b"GET\r\n\r\n",
        b"POST /v1/session HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = house.connect().await;
        client.try_send(nonsense).await;
        client.try_send("\r\n\r\n").await;
        client.closed().await;
    }
    assert_eq!(house.ask("GET /%ff%00 HTTP/1.1\r\n\r\n").await.error().1, "not_found");
    assert_eq!(house.ask("GET /v1/session.js?fid=%ff%zz HTTP/1.1\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn beyond_the_cap_a_connection_waits() {
    let house = House::open("connections_max = 1").await;
    let first = house.connect().await;
    let mut second = house.connect().await;
    second.send("GET / HTTP/1.1\r\n\r\n").await;
    assert!(tokio::time::timeout(Duration::from_millis(100), second.reply()).await.is_err());
    drop(first);
    assert_eq!(second.reply().await.status, 404);
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_idle_connections_go() {
    let house = House::open("").await;
    let mut idle = house.connect().await;
    idle.send("GET / HTTP/1.1\r\n\r\n").await;
    idle.reply().await;
    let mut busy = house.connect().await;
    busy.send(post("/v1/webhook/custom/fn_1", &format!("x-api-key: {KEY}\r\n"), SALE)).await;
    while house.raw().await.is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    house.stop.cancel();
    idle.closed().await;
    house.judge(&Verdict::Repeat);
    assert!(busy.reply().await.body.ends_with(r#""duplicate":true}"#));
    busy.closed().await;
    house.running.await.expect("it does not panic").expect("it ends well");
}

#[tokio::test]
async fn what_does_not_finish_is_cut_at_the_end_of_the_drain() {
    let house = House::open("drain_timeout_ms = 100").await;
    let mut slow = house.connect().await;
    slow.send("POST /v1/session HTTP/1.1\r\ncontent-length: 9\r\n\r\n{").await;
    sleep(Duration::from_millis(50)).await; // it must have been taken for a request
    house.stop.cancel();
    slow.closed().await;
    house.running.await.expect("it does not panic").expect("it ends well");
}

#[tokio::test]
async fn a_store_that_is_closing_is_answered_503() {
    let house = House::open("").await;
    house.storage.close().await;
    let reply = house.webhook("", SALE).await;
    assert_eq!((reply.error().1.as_str(), reply.status), ("unavailable", 503));
    assert!(reply.header("retry-after").is_some());
}
