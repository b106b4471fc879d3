//! The script: its configuration, and the headers that caches and browsers go by.

use serde_json::{Value, json};

use crate::house::{House, Reply};

fn configuration(reply: &Reply) -> Value {
    let from = reply.body.find(r#"{"fid":"#).expect("the configuration is inside");
    let mut values = serde_json::Deserializer::from_str(&reply.body[from..]).into_iter::<Value>();
    values.next().expect("there is a value").expect("it is JSON")
}

#[tokio::test]
async fn a_known_funnel_gets_its_configuration() {
    let house = House::open("").await;
    let reply = house.ask("GET /v1/session.js?fid=fn_1 HTTP/1.1\r\nhost: m.example.com\r\n\r\n").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        configuration(&reply),
        json!({"fid": "fn_1", "api": "http://m.example.com/v1/session", "pixels": ["1234567890"], "currency": "EUR"})
    );
    for (name, value) in [
        ("content-type", "text/javascript; charset=utf-8"),
        ("cache-control", "public, max-age=300, stale-while-revalidate=86400"),
        ("access-control-allow-origin", "*"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
    let etag = reply.header("etag").expect("it has an etag");
    let again = house.ask(format!("GET /v1/session.js?fid=fn_1 HTTP/1.1\r\nhost: m.example.com\r\nif-none-match: {etag}\r\n\r\n")).await;
    assert_eq!((again.status, again.header("etag"), again.body.len()), (304, Some(etag), 0));
    let elsewhere =
        house.ask(format!("GET /v1/session.js?fid=fn_1 HTTP/1.1\r\nhost: n.example.com\r\nif-none-match: {etag}\r\n\r\n")).await;
    assert_eq!(elsewhere.status, 200);
}

#[tokio::test]
async fn an_unknown_funnel_gets_a_script_that_says_so() {
    let house = House::open("public_url = \"https://m.example.com/rm/\"").await;
    for (query, fid) in
        [("?fid=fn_2", "fn_2"), ("?fid=%3C%2Fscript%3E%E2%80%A8", "</script>\u{2028}"), ("?fid=", ""), ("?fid=a&fid=b", ""), ("", "")]
    {
        let reply = house.ask(format!("GET /v1/session.js{query} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!(reply.status, 200);
        let configuration = configuration(&reply);
        assert_eq!((&configuration["fid"], &configuration["unknown"]), (&json!(fid), &json!(true)));
        assert_eq!(configuration["api"], "https://m.example.com/rm/v1/session");
        assert!(!reply.body.contains("</script>") && !reply.body.contains('\u{2028}'));
    }
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let house = House::open("").await;
    let mut client = house.connect().await;
    client.send("HEAD /v1/session.js?fid=fn_1 HTTP/1.1\r\nhost: x\r\n\r\nPOST /v1/session.js HTTP/1.1\r\ncontent-length: 0\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    assert!(head.header("content-length").is_some_and(|length| length.len() > 3));
    let reply = client.reply().await;
    assert_eq!((reply.error().0, reply.header("allow")), (405, Some("get, head")));
}
