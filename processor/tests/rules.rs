//! Every rule by which Meta refuses a batch, and what becomes of an event that would break it: told in a way that Meta takes, withheld
//! with a reason, or refused at the door. What is told is shown to Meta in a box, which holds every documented rule firmly.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod stage;

use meta_sandbox::{Config, Mode, Sandbox, run};
use schemas::{meta, raw::Consent, time::Time};
use serde_json::{Value, json};
use stage::{Page, Room};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What becomes of an event.
enum Becomes {
    /// Meta is told, and at this place (a JSON pointer) stands this; null for nothing.
    Told(&'static str, Value),
    /// Our own check withholds it: the code of the reason.
    Withheld(&'static str),
    /// The door refuses it: the code of the refusal.
    Refused(&'static str),
    /// The sink lets it expire: only then is it known to be too old.
    Expires,
}
use Becomes::{Expires, Refused, Told, Withheld};

/// How an event comes.
enum From {
    /// From a page with these properties.
    Props(&'static str, Value),
    /// From a page, with fields of the event itself.
    Fields(Value),
    /// From a page that shows this of itself.
    Page(Box<Page>),
    /// From a backend: the fields of its body.
    Hook(Value),
}
use From::{Fields, Hook, Props};

fn page(change: impl FnOnce(&mut Page)) -> From {
    let mut page = Page::default();
    change(&mut page);
    From::Page(Box::new(page))
}

const SENT_AT_MS: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 86_400_000;
const EMAIL: &str = "8c87b489ce35cf2e2f39f80e282cb2e804932a56a213983eeeb428407d43b52d"; // of jane@example.com

/// The rules: Meta's subcode or the row of the checklist, an input that would break it, and what becomes of it.
#[rustfmt::skip] // one rule a line
fn rules() -> Vec<(&'static str, From, Becomes)> {
    let unhashed = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    vec![
        ("unknown key", Fields(json!({"advertiser_tracking_enabled": true})), Told("/advertiser_tracking_enabled", json!(null))),
        ("unknown key: app data 2804043", Fields(json!({"app_data": {"extinfo": ["i2", "", "", ""]}})), Told("/app_data", json!(null))),
        ("unknown key: messaging 2804063", Fields(json!({"messaging_channel": "fax"})), Told("/messaging_channel", json!(null))),
        ("event_name missing", Fields(json!({"name": null})), Refused("invalid_name")),
        ("event_name of nothing but white space", Fields(json!({"name": " "})), Refused("invalid_name")),
        ("event_name too long", Fields(json!({"name": "x".repeat(51)})), Refused("invalid_name")),
        ("event_name of a webhook", Hook(json!({"event": "Purchase"})), Refused("invalid_event")),
        ("event_id is no string", Fields(json!({"event_id": 7})), Refused("invalid_event_id")),
        ("event_time in milliseconds", Fields(json!({"at": SENT_AT_MS})), Told("/event_name", json!("ViewContent"))),
        ("event_time of no sense", Fields(json!({"at": "yesterday"})), Told("/event_name", json!("ViewContent"))),
        ("event_time too old 2804003", Fields(json!({"at": SENT_AT_MS - 8 * DAY_MS})), Expires),
        ("event_time in the future 2804004", Fields(json!({"at": SENT_AT_MS + DAY_MS})), Told("/event_name", json!("ViewContent"))),
        ("user_data missing", page(|page| page.person = json!(null)), Told("/user_data/client_user_agent", json!("Test/1.0"))),
        ("custom_data no object", Fields(json!({"props": []})), Refused("invalid_props")),
        ("purchase without value 2804009", Props("Purchase", json!({"currency": "USD"})), Withheld("purchase_without_value")),
        ("purchase without value: a webhook", Hook(json!({"amount": null})), Refused("missing_field")),
        ("purchase without currency 2804010", Props("Purchase", json!({"value": 5})), Told("/custom_data/currency", json!("USD"))),
        ("purchase without currency: a webhook", Hook(json!({"currency": null})), Told("/custom_data/currency", json!("USD"))),
        ("value without currency 2804023", Props("Lead", json!({"value": 5})), Told("/custom_data/currency", json!("USD"))),
        ("currency not ISO 4217", Props("Purchase", json!({"value": 5, "currency": "US$"})), Withheld("purchase_currency_unknown")),
        ("currency not ISO 4217: another event", Props("AddToCart", json!({"value": 5, "currency": "BTC"})), Told("/custom_data", json!(null))),
        ("currency not ISO 4217: a webhook", Hook(json!({"currency": "EURO"})), Refused("invalid_currency")),
        ("currency in lower case", Props("Purchase", json!({"value": 5, "currency": " eur "})), Told("/custom_data/currency", json!("EUR"))),
        ("value as text", Props("Purchase", json!({"value": "49.90", "currency": "USD"})), Told("/custom_data/value", json!(49.9))),
        ("value no number", Props("Purchase", json!({"value": "$49", "currency": "USD"})), Withheld("purchase_value_unreadable")),
        ("value no number: another event", Props("AddToCart", json!({"value": "$49", "plan": "x"})), Told("/custom_data", json!({"plan": "x"}))),
        ("value negative", Props("Purchase", json!({"value": -1, "currency": "USD"})), Withheld("purchase_value_unreadable")),
        ("value negative: a webhook", Hook(json!({"amount": -1})), Refused("invalid_amount")),
        ("value too large", Hook(json!({"amount": "1000000000000000000000"})), Refused("invalid_amount")),
        ("not hashed 2804016: a clear field", page(|page| page.person = json!({"email": "jane@example.com"})), Told("/user_data/em", json!([EMAIL]))),
        ("not hashed: a digest in upper case", page(|page| page.person = json!({"email": EMAIL.to_uppercase()})), Told("/user_data/em", json!([EMAIL]))),
        ("not hashed: no e-mail", page(|page| page.person = json!({"email": "jane at example"})), Told("/user_data/em", json!(null))),
        ("not hashed: an MD5", page(|page| page.person = json!({"email": "d4c74594d841139328695756648b6bd6"})), Told("/user_data/em", json!(null))),
        ("digest of nothing", page(|page| page.person = json!({"phone": unhashed})), Told("/user_data/ph", json!(null))),
        ("a person among the properties", Props("ViewContent", json!({"em": "jane@example.com", "plan": "x"})), Told("/custom_data", json!({"plan": "x"}))),
        ("too broad 2804050: a user agent alone", page(|page| { page.person = json!({}); page.ids = json!({}); page.ip = "10.0.0.1"; }), Told("/user_data/client_ip_address", json!(null))),
        ("too broad: a webhook without e-mail", Hook(json!({"email": null})), Refused("missing_field")),
        ("action_source unknown", Fields(json!({"action_source": "webshop"})), Told("/action_source", json!("website"))),
        ("website without user agent", page(|page| page.user_agent = None), Told("/action_source", json!("other"))),
        ("website without address", page(|page| page.url = json!("about:blank")), Told("/action_source", json!("other"))),
        ("website: a webhook of nobody we know", Hook(json!({"email": "stranger@example.com"})), Told("/action_source", json!("system_generated"))),
        ("contents without id 2804008", Props("AddToCart", json!({"contents": [{"quantity": 1}], "plan": "x"})), Told("/custom_data", json!({"plan": "x"}))),
        ("contents without quantity", Props("AddToCart", json!({"contents": [{"id": "A"}]})), Told("/custom_data/contents", json!([{"id": "A", "quantity": 1}]))),
        ("contents no list", Props("AddToCart", json!({"contents": "A"})), Told("/custom_data", json!(null))),
        ("lead_id 2804036", Props("Lead", json!({"lead_id": "none"})), Told("/user_data/lead_id", json!(null))),
        ("data use: an unknown option", Fields(json!({"data_processing_options": ["X"]})), Told("/data_processing_options", json!(null))),
        ("data use: a country without state", Fields(json!({"data_processing_options": ["LDU"], "data_processing_options_country": 1})), Told("/data_processing_options_state", json!(0))),
        ("data use: an unknown country", Fields(json!({"data_processing_options": ["LDU"], "data_processing_options_country": 49})), Told("/data_processing_options_country", json!(0))),
        ("data use: an unknown state", Fields(json!({"data_processing_options": ["LDU"], "data_processing_options_state": 1014})), Told("/data_processing_options_state", json!(0))),
        ("data use: a place without options", Fields(json!({"data_processing_options_country": 1, "data_processing_options_state": 1000})), Told("/data_processing_options_country", json!(null))),
        ("fbp malformed", page(|page| page.ids = json!({"fbp": "garbage"})), Told("/user_data/fbp", json!(null))),
        ("fbc malformed", page(|page| page.ids = json!({"fbc": "fb.1.2.a.b.c"})), Told("/user_data/fbc", json!(null))),
        ("address malformed", page(|page| page.ip = "unknown"), Told("/user_data/client_ip_address", json!(null))),
        ("address private", page(|page| page.ip = "192.168.0.7"), Told("/user_data/client_ip_address", json!(null))),
        ("order_id malformed", Props("AddToCart", json!({"order_id": {}})), Told("/custom_data", json!(null))),
        ("num_items no count", Props("AddToCart", json!({"num_items": "many"})), Told("/custom_data", json!(null))),
        ("a number beyond numbers", Props("AddToCart", json!({"predicted_ltv": "1e400"})), Told("/custom_data", json!(null))),
    ]
}

/// Each event comes of a visitor and under an id of its own, so that no rule's case knows of another.
fn event(number: usize, change: &Value) -> String {
    let mut event = json!({
        "type": "track", "name": "ViewContent", "visitor_id": format!("v{number}"), "event_id": format!("e{number}"), "at": SENT_AT_MS, "props": {},
    });
    let fields = event.as_object_mut().expect("an object");
    fields.extend(change.as_object().expect("an object").clone());
    event.to_string()
}

struct MetaBox {
    url: String,
    http: reqwest::Client,
}

impl MetaBox {
    async fn open() -> Self {
        let sandbox = Sandbox::open(Config::default()).expect("a box in memory");
        sandbox.put_pixel("42", "TOKEN", Mode::Strict).expect("a pixel");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/v26.0/42/events", listener.local_addr().expect("bound"));
        tokio::spawn(run(listener, sandbox, CancellationToken::new()));
        Self { url, http: reqwest::Client::new() }
    }

    /// What the box has against an event.
    async fn refusal(&self, event: &Value) -> Option<Value> {
        let answer = self.http.post(&self.url).json(&json!({"data": [event], "access_token": "TOKEN"})).send().await.expect("an answer");
        if answer.status() == 200 { None } else { Some(answer.json().await.expect("JSON")) }
    }
}

fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Time::from_millis(since.as_millis() as i64)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_makes_meta_refuse_a_batch() {
    let data = tempfile::tempdir().unwrap();
    let room = Room::open_at(data.path(), false, now().millis());
    let (stop, judge) = room.judge();
    let meta_box = MetaBox::open().await;
    let rules = rules();
    for (number, (rule, from, becomes)) in rules.iter().enumerate() {
        let sent = |page: &Page| Page { sent_at: Some(SENT_AT_MS), consent: Some(Consent::Granted), ..page.clone() };
        let came = match from {
            Props(name, props) => room.browse(&sent(&Page::default()), &event(number, &json!({"name": name, "props": props}))).await,
            Fields(fields) => room.browse(&sent(&Page::default()), &event(number, fields)).await,
            From::Page(page) => room.browse(&sent(page), &event(number, &json!({}))).await,
            Hook(fields) => {
                let mut body = json!({"event": "purchase", "email": format!("buyer{number}@example.com"), "amount": 12.5});
                body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
                room.hook(&body.to_string()).await
            }
        };
        let (id, _) = match (came, becomes) {
            (Ok(came), _) => came,
            (Err(refusal), Refused(code)) => {
                assert_eq!(refusal.code, *code, "{rule}");
                assert!(refusal.message.len() > 10, "{rule}: a refusal says what to do");
                continue;
            }
            (Err(refusal), _) => panic!("{rule}: refused: {refusal:?}"),
        };
        let dispatch = room.dispatched(id).await.unwrap_or_else(|| panic!("{rule}: not dispatched"));
        let (payload, withheld) = (&dispatch["payload"], &dispatch["withheld"]);
        match becomes {
            Told(place, value) => {
                assert_eq!(meta_box.refusal(payload).await, None, "{rule}: {payload}");
                assert_eq!(payload.pointer(place).unwrap_or(&Value::Null), value, "{rule}: {payload}");
            }
            Withheld(code) => {
                assert_eq!((payload, &withheld["code"]), (&Value::Null, &json!(code)), "{rule}");
                assert!(withheld["message"].as_str().is_some_and(|message| message.len() > 20), "{rule}: a reason says what to do");
                let refusal = meta_box.refusal(&dispatch["fact"]["event"]).await;
                assert!(refusal.is_some(), "{rule}: Meta would have taken {}", dispatch["fact"]["event"]);
            }
            Expires => {
                let refusal = meta_box.refusal(payload).await.expect("Meta refuses it");
                assert_eq!(refusal["error"]["error_subcode"], 2_804_003, "{rule}");
                let at = Time::from_millis(payload["event_time"].as_i64().unwrap() * 1_000);
                assert!(meta::too_old(at, now()), "{rule}: the sink sees it before it sends");
            }
            Refused(code) => panic!("{rule}: the door should say {code}"),
        }
    }
    println!("{} rules checked", rules.len());
    stop.cancel();
    judge.await.unwrap().unwrap();
}
