//! Meta's cookies, the click in an address, and the visitor's address: what a browser shows, and what Meta is told of it.
//! `samples/cookies.json`, line by line.

use schemas::{
    meta::{self, ActionSource, Conversion},
    person::{Digest, Person},
    raw::Raw,
    session::{self, Event},
    time::Time,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// So many cases are Meta's own library's; what we added ourselves has a number from 101.
const REFERENCE: usize = 19;

#[derive(Deserialize)]
struct Case {
    id: String,
    url: String,
    referrer: Option<String>,
    fbp: Option<String>,
    fbc: Option<String>,
    client_ip: Option<String>,
    #[serde(default)]
    attribution: Value,
    told: Told,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Told {
    fbp: Option<String>,
    fbc: Option<String>,
    client_ip: Option<String>,
}

/// The clock under which Meta's own library was watched.
fn now() -> Time {
    Time::from_millis(1_790_000_000_000)
}

/// What Meta is told of the browser that sent this.
fn told(case: &Case) -> Told {
    let raw = json!({
        "id": "0193a2f1-4b2c-7d10-8f5e-2a6b9c3d4e5f", "type": "track", "version": 1, "funnel_id": "fn_1", "workspace_id": "ws_1",
        "received_at": now().to_string(), "event_id": "e1", "visitor_id": "v1", "currency": "USD", "client_ip": case.client_ip,
        "page": {"url": case.url, "referrer": case.referrer}, "ids": {"fbp": case.fbp, "fbc": case.fbc}, "attribution": case.attribution,
        "body": {"type": "track", "name": "PageView", "visitor_id": "v1", "event_id": "e1"},
    })
    .to_string();
    let raw: Raw<'_> = serde_json::from_str(&raw).expect("a raw event");
    let event = Event::parse(raw.body.get(), &raw.funnel_id).expect("an event");
    let context = session::context(&raw, &event, now());
    let conversion = Conversion {
        name: &event.name,
        event_id: &event.event_id,
        event_time: now(),
        action_source: ActionSource::Other,
        person: &Person { email_sha256: Some(Digest::of("jane@example.com")), ..Person::default() },
        external_ids: &[],
        context: &context,
        money: None,
        order_id: None,
        product_name: None,
        properties: None,
    };
    let user = serde_json::from_str::<Value>(&meta::render(&conversion)).expect("JSON")["user_data"].take();
    let text = |key: &str| user[key].as_str().map(str::to_owned);
    Told { fbp: text("fbp"), fbc: text("fbc"), client_ip: text("client_ip_address") }
}

#[test]
fn meta_is_told_what_the_sample_says() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../samples/cookies.json")).expect("the sample file is a list of cases");
    let is_own = |case: &&Case| case.id.rsplit_once("-1").is_some_and(|(_, number)| number.len() == 2);
    let own = cases.iter().filter(is_own).count();
    for case in &cases {
        assert_eq!(told(case), case.told, "{}", case.id);
    }
    println!("cookies: {} cases of the reference and {own} of our own are checked", cases.len() - own);
    assert_eq!(cases.len() - own, REFERENCE);
}
