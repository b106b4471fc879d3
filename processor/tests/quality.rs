//! How well Meta can match what it is told: clicks, limits of use, consent and ids on their way from a browser to every later event.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod stage;

use schemas::{person::Digest, raw::Consent, topic::Topic, verdict::Verdict};
use serde_json::{Value, json};
use stage::{Page, Room};

const HOOK: &str = r#"{"event":"purchase","email":"jane@example.com","amount":12.50,"order_id":"A1"}"#;

fn track(name: &str, event_id: &str, props: &Value) -> String {
    json!({"type": "track", "name": name, "visitor_id": "v1", "event_id": event_id, "props": props}).to_string()
}

/// Dispatches told to Meta, under the names of what caused them.
async fn payload(room: &Room, page: &Page, event: &str) -> Value {
    let (id, _) = room.browse(page, event).await.expect("the door lets it through");
    room.dispatched(id).await.expect("it is dispatched")["payload"].take()
}

async fn hooked(room: &Room, body: &str) -> Value {
    let (id, _) = room.hook(body).await.expect("the door lets it through");
    room.dispatched(id).await.expect("it is dispatched")
}

/// A page whose browser holds no cookies.
fn without_cookies(url: &str) -> Page {
    Page { url: json!(url), ids: json!({}), ..Page::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_is_told_with_every_later_event_of_its_visitor_under_its_first_moment() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let landing = payload(&room, &without_cookies("https://shop.example/?fbclid=IwAR2AbC-_x"), &track("PageView", "e1", &json!({}))).await;
    let click = landing["user_data"]["fbc"].as_str().expect("made from the address").to_owned();
    assert!(click.starts_with("fb.1.17640000") && click.ends_with(".IwAR2AbC-_x"), "{click}");

    // The same address again, an address without the click, and an order, which another partition may judge.
    for (url, event) in [
        ("https://shop.example/?fbclid=IwAR2AbC-_x", track("ViewContent", "e2", &json!({}))),
        ("https://shop.example/cart", track("AddToCart", "e3", &json!({}))),
        ("https://shop.example/thanks", track("Purchase", "e4", &json!({"value": 1, "order_id": "B2"}))),
    ] {
        assert_eq!(payload(&room, &without_cookies(url), &event).await["user_data"]["fbc"], json!(click), "{url}");
    }
    // What the browser holds itself goes before what is remembered, whatever Meta's library appended to it.
    let cookies = json!({"fbp": "fb.1.1700000000000.7.AQQCAQMC", "fbc": "fb.2.1700000000000.IwAR2AbC-_x.AQQCAQMC"});
    let page = Page { ids: cookies.clone(), ..without_cookies("https://shop.example/?fbclid=IwAR2AbC-_x") };
    let user = payload(&room, &page, &track("PageView", "e5", &json!({}))).await["user_data"].take();
    assert_eq!((&user["fbc"], &user["fbp"]), (&cookies["fbc"], &cookies["fbp"]));
    // Another click is a new one.
    let user = payload(&room, &without_cookies("https://shop.example/?fbclid=IwNEW"), &track("PageView", "e6", &json!({}))).await;
    assert!(user["user_data"]["fbc"].as_str().is_some_and(|fbc| fbc.starts_with("fb.1.17640000") && fbc.ends_with(".IwNEW")));
    assert_eq!(user["user_data"]["fbp"], cookies["fbp"], "Meta's browser id is remembered too");

    let hook = hooked(&room, HOOK).await["payload"].take();
    assert!(hook["user_data"]["fbc"].as_str().is_some_and(|fbc| fbc.ends_with(".IwNEW")), "a webhook borrows the newest: {hook}");
    assert_eq!(hook["user_data"]["external_id"], json!([Digest::of("v1")]), "and the id of the browser");
    assert_eq!(hook["action_source"], "website");
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shops_own_id_stands_before_the_browsers() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let page = Page { person: json!({"customer_id": "Cust_123"}), ..Page::default() };
    let user = payload(&room, &page, &track("PageView", "e1", &json!({}))).await["user_data"].take();
    assert_eq!(user["external_id"], json!([Digest::of("cust_123"), Digest::of("v1")]));
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn limited_data_use_holds_for_the_browser_and_the_buyers_webhooks_until_another_word() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let limit = |country: i64, state: i64| json!({"data_processing_options": ["LDU"], "data_processing_options_country": country, "data_processing_options_state": state});
    let of = |payload: &Value| {
        let part = |name: &str| payload[name].clone();
        json!([part("data_processing_options"), part("data_processing_options_country"), part("data_processing_options_state")])
    };
    let page = Page::default();
    // Told once among the properties; from then on it holds.
    assert_eq!(of(&payload(&room, &page, &track("PageView", "e1", &limit(1, 1000))).await), json!([["LDU"], 1, 1000]));
    assert_eq!(of(&payload(&room, &page, &track("ViewContent", "e2", &json!({}))).await), json!([["LDU"], 1, 1000]));
    assert_eq!(of(&hooked(&room, HOOK).await["payload"]), json!([["LDU"], 1, 1000]), "the buyer's webhook");
    // The backend's own word goes before what is borrowed.
    let own = r#"{"event":"purchase","email":"jane@example.com","amount":1,"order_id":"A2","data_processing_options":[]}"#;
    assert_eq!(of(&hooked(&room, own).await["payload"]), json!([null, null, null]));
    // Whatever place is told, the limit is kept, and Meta gets three fields that it takes.
    let odd = json!({"data_processing_options": ["LDU"], "data_processing_options_country": "Mars"});
    assert_eq!(of(&payload(&room, &page, &track("ViewContent", "e3", &odd)).await), json!([["LDU"], 0, 0]));
    let free = json!({"data_processing_options": []});
    assert_eq!(of(&payload(&room, &page, &track("ViewContent", "e4", &free)).await), json!([null, null, null]));
    assert_eq!(of(&payload(&room, &page, &track("ViewContent", "e5", &json!({}))).await), json!([null, null, null]));
    // As a trait of the person, by identify or by what the page knows.
    let knows = Page { person: limit(0, 0), ..Page::default() };
    assert_eq!(of(&payload(&room, &knows, &track("ViewContent", "e6", &json!({}))).await), json!([["LDU"], 0, 0]));
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_on_the_page_holds_for_the_webhook_of_the_same_order() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    // Nobody's page: the webhook cannot know the browser by the e-mail, only by the order.
    let page = Page { person: json!({}), consent: Some(Consent::Denied), ..Page::default() };
    room.browse(&page, &track("Purchase", "e1", &json!({"value": 12.5, "order_id": "A1"}))).await.unwrap();
    let (id, verdict) = room.hook(HOOK).await.unwrap();
    assert_eq!(verdict, Verdict::Joined { purchases_created: 1 }, "the sale counts, it is only not told to Meta");
    let joined = room.dispatched(id).await.expect("revision 2");
    assert_eq!((&joined["payload"], &joined["withheld"]["why"], &joined["fact"]), (&Value::Null, &json!("no_consent"), &Value::Null));
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refused_before_being_known_by_name_has_refused() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let nobody = Page { person: json!({}), consent: Some(Consent::Denied), ..Page::default() };
    room.browse(&nobody, &track("PageView", "e1", &json!({}))).await.unwrap();
    let silent = Page { person: json!({}), consent: None, ..Page::default() };
    let identify = json!({"type": "identify", "visitor_id": "v1", "event_id": "e2", "props": {"email": "jane@example.com"}});
    room.browse(&silent, &identify.to_string()).await.unwrap();
    let hook = hooked(&room, HOOK).await;
    assert_eq!((&hook["payload"], &hook["withheld"]["why"]), (&Value::Null, &json!("no_consent")));
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_for_the_pixel_alone_is_recorded_and_not_told() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let event = |name: &str, id: &str, props: Value| {
        json!({"type": "track", "name": name, "visitor_id": "v1", "event_id": id, "server": false, "props": props}).to_string()
    };
    let (id, verdict) = room.browse(&Page::default(), &event("ViewContent", "e1", json!({}))).await.unwrap();
    assert_eq!(verdict, Verdict::First { purchases_created: 0, pixel_events_queued: 0 });
    assert!(room.dispatched(id).await.is_none());
    // Of an order the webhook's better telling replaces the page's, so there must be one to replace.
    let order = json!({"value": 1, "order_id": "B2"});
    let (id, verdict) = room.browse(&Page::default(), &event("Purchase", "e2", order)).await.unwrap();
    assert_eq!(verdict, Verdict::First { purchases_created: 0, pixel_events_queued: 2 });
    assert!(room.dispatched(id).await.is_some());
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_code_goes_with_every_telling_of_its_order_and_with_no_other() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let coded = |name: &str, id: &str, code: Value, props: Value| {
        json!({"type": "track", "name": name, "visitor_id": "v1", "event_id": id, "test_event_code": code, "props": props}).to_string()
    };
    let order = json!({"value": 12.5, "order_id": "A1"});
    for (event, code) in [
        (coded("Purchase", "e1", json!("TEST123"), order), json!("TEST123")),
        (coded("ViewContent", "e2", json!("no code"), json!({})), Value::Null),
        (coded("ViewContent", "e3", json!(7), json!({})), Value::Null),
        (track("ViewContent", "e4", &json!({})), Value::Null),
    ] {
        let (id, _) = room.browse(&Page::default(), &event).await.unwrap();
        assert_eq!(room.dispatched(id).await.unwrap()["test_event_code"], code, "{event}");
    }
    let joined = hooked(&room, HOOK).await;
    assert_eq!((&joined["revision"], &joined["test_event_code"]), (&json!(2), &json!("TEST123")), "the order's other leg");
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_an_old_prototype_js_made_text_of_are_told_as_lists() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let props = json!({"content_ids": "[\"a\", \"b\"]", "contents": "[{\"id\": \"a\", \"quantity\": 2}]"});
    let told = payload(&room, &Page::default(), &track("AddToCart", "e1", &props)).await["custom_data"].take();
    assert_eq!(told, json!({"content_ids": ["a", "b"], "contents": [{"id": "a", "quantity": 2}]}));
    let props = json!({"content_ids": "[a]", "contents": "[a]"});
    let told = payload(&room, &Page::default(), &track("AddToCart", "e2", &props)).await["custom_data"].take();
    assert_eq!(told["content_ids"], json!(["[a]"]), "an id may look odd");
    stop.cancel();
    judge.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_programs_and_of_whoever_debugs_are_marked_and_told_like_others() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open(data.path(), false);
    let (stop, judge) = room.judge();
    let crawler = Page { user_agent: Some("Mozilla/5.0 (compatible; Googlebot/2.1)"), ..Page::default() };
    let flagged = |id: &str, flag: &str| {
        json!({"type": "track", "name": "X", "visitor_id": "v1", "event_id": id, flag: true, "props": {}}).to_string()
    };
    for (page, event, bot, debug) in [
        (&crawler, track("X", "e1", &json!({})), json!(true), Value::Null),
        (&Page::default(), flagged("e2", "bot"), json!(true), Value::Null),
        (&Page::default(), flagged("e3", "debug"), Value::Null, json!(true)),
        (&Page::default(), track("X", "e4", &json!({})), Value::Null, Value::Null),
    ] {
        let (id, _) = room.browse(page, &event).await.unwrap();
        assert!(room.dispatched(id).await.is_some(), "{event}");
        let facts = room.topic(Topic::Events).await;
        let fact = facts.iter().find(|fact| fact["id"] == json!(id)).expect("it is an event");
        assert_eq!((&fact["bot"], &fact["debug"]), (&bot, &debug), "{event}");
    }
    stop.cancel();
    judge.await.unwrap().unwrap();
}
