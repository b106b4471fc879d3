//! Whatever a page or a backend sends, what we would send on is taken by Meta in a box, which holds every documented rule firmly and
//! shares no line with our rendering.

mod arbitrary;

use std::sync::LazyLock;

use arbitrary::properties;
use meta_sandbox::{Config, Mode, Sandbox, run};
use proptest::prelude::*;
use schemas::{
    dispatch::Withheld,
    fact::{Context, LegName},
    meta::{self, ActionSource, Conversion, Frozen},
    person::{self, Digest, Person},
    raw::{Raw, RawKind},
    session::{self, Event},
    time::Time,
    webhook::Webhook,
};
use serde_json::{Value, json, value::RawValue};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;

/// The box, served on a port of its own for as long as the test runs.
struct Meta {
    runtime: Runtime,
    url: String,
    http: reqwest::Client,
}

static META: LazyLock<Meta> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("threads");
    let sandbox = Sandbox::open(Config::default()).expect("a box in memory");
    sandbox.put_pixel("42", "TOKEN", Mode::Strict).expect("a pixel");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let url = format!("http://{}/v26.0/42/events", listener.local_addr().expect("bound"));
    runtime.spawn(run(listener, sandbox, CancellationToken::new()));
    Meta { runtime, url, http: reqwest::Client::new() }
});

impl Meta {
    /// Sends one event as the sink does; what is wrong with it, if something is.
    fn refusal(&self, event: &str) -> Option<String> {
        let body = format!(r#"{{"data":[{event}],"access_token":"TOKEN"}}"#);
        self.runtime.block_on(async {
            let request = self.http.post(&self.url).header("content-type", "application/json").body(body);
            let answer = request.send().await.expect("the box answers");
            if answer.status() == 200 { None } else { Some(answer.text().await.expect("a text")) }
        })
    }
}

/// The box judges by the clock of the machine.
fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Time::from_millis(since.as_millis() as i64)
}

/// One raw event on its way to Meta, alone: what the judge concludes of a first leg.
fn frozen(raw: &Raw<'_>) -> Option<Frozen> {
    let (name, money, order, product, properties, clear, context, leg);
    let (hook, event);
    if raw.kind == RawKind::Webhook {
        hook = Webhook::parse(raw.body.get(), raw.currency).ok()?;
        (name, money, order, product) = (hook.event.meta_name(), hook.money, &hook.order_id, hook.product_name.as_deref());
        (properties, clear, leg) = (None, hook.person.clone(), LegName::Server);
        context = Context { data_use: hook.data_use, ..Context::default() };
    } else {
        event = Event::parse(raw.body.get(), &raw.funnel_id).ok()?;
        (name, money, order, product) = (&*event.name, event.money(raw.currency), &event.order_id, None);
        (properties, clear, leg) = (event.props.map(RawValue::get), session::person(raw.person), LegName::Browser);
        context = session::context(raw, &event, now());
    }
    let visitor = raw.visitor_id.as_ref().and_then(|id| person::external_id(id.as_str())).map(|id| Digest::of(&id));
    let conversion = Conversion {
        name,
        event_id: &raw.event_id,
        event_time: now(),
        action_source: ActionSource::honest(leg, &context),
        person: &Person::hashed(&clear, None, now()),
        external_ids: visitor.as_slice(),
        context: &context,
        money,
        order_id: order.as_ref(),
        product_name: product,
        properties,
    };
    Some(meta::freeze(&conversion, leg))
}

/// A word as people, templates and attackers write it.
fn word() -> impl Strategy<Value = Value> {
    let known = vec![
        "jane@example.com",
        "JANE.ROE+x@Example.CO.UK",
        "not an email",
        "+1 (650) 555-1212",
        "0049 171 1234567",
        "12345",
        "D'Angelo",
        "🙂",
        "USA",
        "Germany",
        "XX",
        "1997-02-16",
        "f",
        "94035-1234",
        "{{email}}",
        "undefined",
        "",
        " ",
        "\u{0}",
        "\"\\\n\u{7f}",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "62A14E44F765419D10FEA99367361A727C12365E2520F32218D505ED9AA0F62F",
        "d4c74594d841139328695756648b6bd6",
    ];
    prop_oneof![
        6 => prop::sample::select(known).prop_map(Value::from),
        2 => "\\PC{0,20}".prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => prop::sample::select(vec![json!(null), json!([]), json!({}), json!(true)]),
    ]
}

fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(names), word(), 0..=names.len())
        .prop_map(|map| Value::Object(map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

const PERSON: [&str; 11] =
    ["email", "phone", "first_name", "last_name", "customer_id", "city", "state", "zip", "country", "date_of_birth", "gender"];

/// Amounts and currencies of every kind.
fn price() -> impl Strategy<Value = (String, String)> {
    let amounts =
        ["49.9", "0", "-1", "\"49.90\"", "\"49,99\"", "\"$5\"", "1e400", "92233720368547758", "59.970000000000006", "0.1", "null", "[]"];
    let currencies = ["\"USD\"", "\"jpy\"", "\" Kwd \"", "\"US$\"", "\"EURO\"", "\"XXX\"", "\"BTC\"", "7", "null", "\"\""];
    (prop::sample::select(amounts.to_vec()), prop::sample::select(currencies.to_vec())).prop_map(|(a, c)| (a.to_owned(), c.to_owned()))
}

fn limit() -> impl Strategy<Value = String> {
    let options = prop::sample::select(vec![r#"["LDU"]"#, "[]", r#""LDU""#, r#"["X"]"#, "null", "7"]);
    let place = || prop::sample::select(vec!["0", "1", "2", "1000", "1013", "1014", "\"1\"", "null", "{}"]);
    let told = (options, place(), place()).prop_map(|(options, country, state)| {
        format!(
            r#""data_processing_options":{options},"data_processing_options_country":{country},"data_processing_options_state":{state},"#
        )
    });
    prop_oneof![3 => Just(String::new()), 1 => told]
}

fn browser() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => prop::sample::select(vec!["Purchase", "Lead", "AddToCart", "PageView", "Search", "My own"]).prop_map(str::to_owned),
        1 => "\\PC{0,60}",
    ];
    let props = prop_oneof![
        2 => properties(),
        1 => price().prop_map(|(value, currency)| format!(r#"{{"value":{value},"currency":{currency},"order_id":"A1"}}"#)),
    ];
    (name, limit(), props).prop_map(|(name, limit, props)| {
        let props = if props.starts_with('{') && serde_json::from_str::<&RawValue>(&props).is_ok() { props } else { "{}".to_owned() };
        format!(r#"{{{limit}"type":"track","name":{},"visitor_id":"v1","event_id":"e1","props":{props}}}"#, json!(name))
    })
}

fn webhook() -> impl Strategy<Value = String> {
    let event = prop::sample::select(vec!["purchase", "lead"]);
    let email = prop_oneof![4 => Just(json!("jane@example.com")), 1 => word()];
    (event, email, price(), limit(), word(), word(), word(), word()).prop_map(
        |(event, email, (amount, currency), limit, product, first, phone, order)| {
            let amount = if currency == "7" { "12.5" } else { &amount };
            let currency = if currency == "7" { "\"EUR\"" } else { &currency };
            format!(
                r#"{{{limit}"event":"{event}","email":{email},"amount":{amount},"currency":{currency},"product_name":{product},"first_name":{first},"phone":{phone},"order_id":{order}}}"#
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn meta_in_a_box_takes_every_event_that_is_not_withheld(
        (is_webhook, body) in prop_oneof![3 => browser().prop_map(|body| (false, body)), 1 => webhook().prop_map(|body| (true, body))],
        person in object(&PERSON),
        context in arbitrary::context(),
        click in prop::option::weighted(0.3, "[A-Za-z0-9_.%-]{1,12}"),
    ) {
        let url = match (context.url, click) {
            (Some(url), Some(click)) => Some(format!("{url}?fbclid={click}")),
            (url, _) => url,
        };
        let raw = json!({
            "id": "0193a2f1-4b2c-7d10-8f5e-2a6b9c3d4e5f", "type": "track", "version": 1, "funnel_id": "fn_1", "workspace_id": "ws_1",
            "received_at": now().to_string(), "event_id": "e1", "currency": "USD", "body": {},
            "visitor_id": if is_webhook { None } else { Some("v1") },
            "client_ip": context.client_ip, "user_agent": context.user_agent,
            "page": {"url": url, "referrer": context.referrer}, "ids": {"fbp": context.fbp, "fbc": context.fbc}, "person": person,
        })
        .to_string();
        let body = RawValue::from_string(body.clone()).map_err(|error| TestCaseError::fail(format!("{error}: {body}")))?;
        let raw: Raw<'_> = serde_json::from_str(&raw).expect("a raw event");
        let raw = Raw { kind: if is_webhook { RawKind::Webhook } else { RawKind::Track }, body: &body, ..raw };
        match frozen(&raw) {
            None => {} // refused at the door
            Some(Frozen { payload: Some(payload), .. }) => prop_assert_eq!(META.refusal(payload.get()), None, "{}", payload),
            Some(Frozen { withheld: Some(Withheld::Invalid { code, .. }), fact, .. }) => {
                let event = fact.and_then(|fact| fact.event).expect("what could be said");
                // Names are held to what Meta's tools and partners keep to; the endpoint is not known to refuse them.
                prop_assert!(code.starts_with("event_name") || META.refusal(event.get()).is_some(), "withheld for nothing: {}", event);
            }
            Some(frozen) => prop_assert!(false, "neither bytes nor a reason: {:?}", frozen),
        }
    }
}
