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
        json!({"fid": "fn_1", "api": "http://m.example.com/v1/session", "pixels": ["1234567890"], "currency": "EUR",
            "namespace": "RapidMetrics", "storage": "cookie"})
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
        assert!(reply.body.contains("console.warn(\"RapidMetrics: unknown funnel\","));
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

#[tokio::test]
async fn the_settings_of_the_funnels_pages_are_in_the_script_and_in_a_file_of_their_own() {
    let house = House::open("public_url = \"https://m.shop.example\"").await;
    let script = house.ask("GET /v1/session.js?fid=fn_site HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let expected = json!({"fid": "fn_site", "api": "https://m.shop.example/v1/session", "pixels": [], "currency": "EUR", "credentials": "include",
        "namespace": "RapidMetrics", "storage": "cookie", "consent": "pending", "cookieDomain": "shop.example", "dnt": true,
        "advanced_matching": {"email": "em", "phone": "ph", "first_name": "fn", "last_name": "ln", "customer_id": "external_id", "city": "ct",
            "state": "st", "zip": "zp", "country": "country", "date_of_birth": "db", "gender": "ge"}});
    assert_eq!(configuration(&script), expected, "and not whose pages may send");
    let file = house.ask("GET /v1/session/fn_site.json HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((file.status, file.json()), (200, expected));
    assert_eq!((file.header("content-type"), file.header("access-control-allow-origin")), (Some("application/json"), Some("*")));
    let unknown = house.ask("GET /v1/session/fn_none.json HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((unknown.status, &unknown.json()["unknown"]), (200, &json!(true)));
}

#[tokio::test]
async fn the_script_for_all_is_the_same_bytes_for_ever() {
    let house = House::open("").await;
    let reply = house.ask("GET /v1/sdk/1.0.0/session.js HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("public, max-age=31536000, immutable")));
    assert_eq!((reply.header("access-control-allow-origin"), reply.body.contains("fn_1")), (Some("*"), false));
    let again = house.ask("GET /v1/sdk/1.0.0/session.js?fid=fn_1 HTTP/1.1\r\nhost: y\r\n\r\n").await;
    assert_eq!(again.body, reply.body);
    assert_eq!(house.ask("GET /v1/sdk/0.0.1/session.js HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 404);
}

#[tokio::test]
async fn the_script_comes_compressed_where_the_browser_takes_it() {
    let length = async |house: &House, encodings: &str| {
        let request = format!("HEAD /v1/session.js?fid=fn_1 HTTP/1.1\r\nhost: x\r\naccept-encoding: {encodings}\r\n\r\n");
        let mut client = house.connect().await;
        client.send(&request).await;
        let head = client.head().await;
        assert_eq!((head.status, head.header("vary")), (200, Some("accept-encoding")));
        let length: usize = head.header("content-length").expect("it says how long").parse().expect("a number");
        (head.header("content-encoding").map(str::to_owned), length)
    };
    let house = House::open("").await;
    let (plain, gzip) = (length(&house, "identity").await, length(&house, "gzip, deflate").await);
    let brotli = length(&house, "gzip, deflate, br, zstd").await;
    assert_eq!([&plain.0, &gzip.0, &brotli.0].map(Option::as_deref), [None, Some("gzip"), Some("br")]);
    assert!(brotli.1 < gzip.1 && gzip.1 * 9 < plain.1 * 5, "{brotli:?} {gzip:?} {plain:?}");
    // Where the settings name our host nobody can ask for ever new ones, so all effort is made.
    let named = House::open("public_url = \"https://m.shop.example\"").await;
    let most = length(&named, "br").await;
    assert!(most.1 + 100 < brotli.1, "{most:?} {brotli:?}");
}
