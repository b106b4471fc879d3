//! Meta's JSON: `samples/meta/` case by case, then anything a page could send, judged by a checker that knows Meta's rules from its
//! documentation and nothing of our code.

mod meta_rules;

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use schemas::{
    dispatch::Withheld,
    fact::{Context, LegName},
    meta::{self, ActionSource, Conversion},
    money::{Currency, Money},
    order::OrderId,
    person::{Digest, Person},
    time::{DAY_US, SECOND_US, Time},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

#[derive(Deserialize)]
struct Case {
    conversion: Told,
    event: Option<Value>,
    withheld: Option<String>,
}

/// A conversion as a sample writes it.
#[derive(Deserialize)]
struct Told {
    name: String,
    event_id: String,
    event_time: Time,
    leg: LegName,
    action_source: Option<ActionSource>,
    person: Person,
    external_ids: Vec<Digest>,
    context: Context,
    amount: Option<String>,
    currency: Option<Currency>,
    order_id: Option<OrderId>,
    product_name: Option<String>,
    properties: Option<Box<RawValue>>,
}

impl Told {
    fn conversion(&self) -> Conversion<'_> {
        let money = |amount: &String| Money::parse_decimal(amount, self.currency.expect("an amount has a currency")).expect("an amount");
        Conversion {
            name: &self.name,
            event_id: &self.event_id,
            event_time: self.event_time,
            action_source: self.action_source.unwrap_or_else(|| ActionSource::honest(self.leg, &self.context)),
            person: &self.person,
            external_ids: &self.external_ids,
            context: &self.context,
            money: self.amount.as_ref().map(money),
            order_id: self.order_id.as_ref(),
            product_name: self.product_name.as_deref(),
            properties: self.properties.as_deref().map(RawValue::get),
        }
    }
}

fn cases() -> Vec<(String, Case)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples/meta");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a sample is text");
        (path.display().to_string(), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    fs::read_dir(folder).expect("the folder is part of the repository").map(|entry| read(entry.expect("an entry").path())).collect()
}

#[test]
fn each_conversion_is_told_or_withheld_as_its_sample_says() {
    let cases = cases();
    assert!(cases.len() >= 30, "samples were lost: {}", cases.len());
    for (file, case) in &cases {
        let conversion = case.conversion.conversion();
        let rendered: Value = serde_json::from_str(&meta::render(&conversion)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let withheld = match meta::check(&conversion) {
            Ok(()) => None,
            Err(Withheld::Invalid { code, .. }) => Some(code),
            Err(Withheld::NoConsent) => panic!("{file}: consent is not Meta's rule"),
        };
        assert_eq!(withheld, case.withheld, "{file}");
        if let Some(event) = &case.event {
            assert_eq!(&rendered, event, "{file}");
            assert_eq!(meta_rules::fault(&rendered, conversion.event_time.seconds()), None, "{file}");
        }
    }
}

/// What our check withholds because Meta refuses it, the checker must refuse as well: neither is stricter for itself alone.
#[test]
fn what_is_withheld_breaks_a_rule_of_meta() {
    for (file, case) in cases().iter().filter(|(_, case)| case.withheld.is_some()) {
        let rendered: Value = serde_json::from_str(&meta::render(&case.conversion.conversion())).expect("JSON");
        assert!(meta_rules::fault(&rendered, case.conversion.event_time.seconds()).is_some(), "{file}");
    }
}

#[test]
fn the_amount_is_told_in_its_own_decimals() {
    for (amount, currency, told) in [
        ("49.90", "USD", r#""value":49.90,"#),
        ("0.1", "USD", r#""value":0.10,"#),
        ("4999", "JPY", r#""value":4999,"#),
        ("1.005", "KWD", r#""value":1.005,"#),
    ] {
        let currency = Currency::parse(currency).expect("a currency");
        let (person, context) = (Person::default(), Context::default());
        let conversion = Conversion { money: Some(Money::parse_decimal(amount, currency).expect("an amount")), ..plain(&person, &context) };
        assert!(meta::render(&conversion).contains(told), "{amount} {}", meta::render(&conversion));
    }
}

#[test]
fn an_event_is_too_old_ten_minutes_before_meta_says_so() {
    let at = Time::from_millis(1_795_631_558_980);
    let after = |us| meta::too_old(at, at.plus_micros(us));
    assert!(!after(0));
    assert!(!after(7 * DAY_US - 600 * SECOND_US));
    assert!(after(7 * DAY_US - 600 * SECOND_US + 1));
    assert!(!meta::too_old(at, at.plus_micros(-DAY_US)));
    assert_eq!(meta::clamped(at, at.plus_micros(-5)), at.plus_micros(-5));
    assert_eq!(meta::clamped(at, at.plus_micros(5)), at);
}

fn plain<'a>(person: &'a Person, context: &'a Context) -> Conversion<'a> {
    Conversion {
        name: "ViewContent",
        event_id: "e",
        event_time: Time::from_millis(1_795_631_558_980),
        action_source: ActionSource::honest(LegName::Browser, context),
        person,
        external_ids: &[],
        context,
        money: None,
        order_id: None,
        product_name: None,
        properties: None,
    }
}

/// What stands where a person's data might be; none of it may come out.
const CLEAR: [&str; 3] = ["jane.roe@example.com", "JANE-ROE-CLEAR", "jane.roe%40example.com"];

fn property_name() -> impl Strategy<Value = String> {
    let standard = vec![
        "value",
        "currency",
        "content_name",
        "content_ids",
        "contents",
        "content_type",
        "content_category",
        "num_items",
        "order_id",
        "predicted_ltv",
        "net_revenue",
        "search_string",
        "status",
        "delivery_category",
        "item_number",
        "customer_segmentation",
        "id",
        "quantity",
        "item_price",
        "title",
        "city_tour",
        "plan",
    ];
    prop_oneof![3 => prop::sample::select(standard).prop_map(str::to_owned), 1 => "\\PC{0,8}"]
}

/// JSON as a page may send it, with a person's address in some of its texts.
fn property_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        4 => "\\PC{0,12}",
        1 => prop::sample::select(vec!["product", "in_store", "new_customer_to_medium", "12", "jane.roe@example.com", "to jane.roe@example.com!", "q=jane.roe%40example.com"]).prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u32..100).prop_map(Value::from),
        text.prop_map(Value::String),
    ];
    let clear = prop::sample::select(vec!["email", "Phone", "first-name", "lastName", "customer_email", "fn", "zip"])
        .prop_map(|name| json!({name: "JANE-ROE-CLEAR"}));
    prop_oneof![9 => leaf, 1 => clear].prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(property_name(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn properties() -> impl Strategy<Value = String> {
    let personal =
        prop::sample::select(vec!["email", "e_mail", "Phone", "first_name", "lastName", "customer_id", "em", "zp", "date_of_birth"]);
    let personal = prop::option::of(personal.prop_map(|name| (name.to_owned(), Value::from("JANE-ROE-CLEAR"))));
    let name =
        prop::sample::select(vec!["plan", "note", "search_string", "content_name", "content_ids", "order_id", "item_number", "status"]);
    let address = prop::sample::select(vec!["jane.roe@example.com", "for jane.roe@example.com!", "?q=jane.roe%40example.com"]);
    let address = prop::option::of((name, address).prop_map(|(name, address)| (name.to_owned(), Value::from(address))));
    let object = (prop::collection::btree_map(property_name(), property_value(), 0..8), personal, address).prop_map(
        |(mut map, personal, address)| {
            map.extend(personal.into_iter().chain(address));
            Value::Object(map.into_iter().collect()).to_string()
        },
    );
    let odd = prop::sample::select(vec![
        r#"{"a":1e400}"#,
        r#"{"a":[1e400]}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":{"b":"\udfff"}}"#,
        r#"{"\ud800":1}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"predicted_ltv":1e999,"num_items":1e2}"#,
        r#"{"a":"jane.roe\u0040example.com"}"#,
        r#"{"jane.roe\u0040example.com":1}"#,
        r#"{"content_name":"jane.roe\u0040example.com"}"#,
        r#"{"m":{"jane.roe@example.com":1}}"#,
        "{",
        "null",
        "\"x\"",
        "",
    ]);
    prop_oneof![9 => object, 1 => odd.prop_map(str::to_owned)]
}

fn address() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "x=1",
        "email=JANE-ROE-CLEAR",
        "jane.roe@example.com",
        "q=jane.roe%40example.com",
        "first_name=JANE-ROE-CLEAR",
        "utm_source=fb",
        "ü",
        "\"",
        "",
    ]);
    let start = prop::sample::select(vec![
        "https://shop.example/",
        "http://jane.roe@example.com/",
        "https://a:JANE-ROE-CLEAR@shop.example?",
        "",
        "/",
        "about:blank",
    ]);
    (start, prop::collection::vec((piece, prop::sample::select(vec!["/", "?", "&", "#", ";"])), 0..6))
        .prop_map(|(start, pieces)| pieces.into_iter().fold(start.to_owned(), |url, (piece, mark)| url + piece + mark))
}

fn context() -> impl Strategy<Value = Context> {
    let maybe = |texts: Vec<&'static str>| prop::option::of(prop::sample::select(texts).prop_map(str::to_owned));
    (
        maybe(vec!["fb.1.1596403881668.1116446470", "fb.1.1596403881668.1116446470.AQQCAQMC", "fb.1.x", ""]),
        maybe(vec!["fb.1.1554763741205.IwAR2", "fb.1.1700000000000.a.b.c"]),
        maybe(vec!["203.0.113.7", "10.0.0.1", "2001:db8::1", "::1", "localhost", ""]),
        maybe(vec!["Mozilla/5.0", "", " ", "\"\\\n"]),
        prop::option::of(address()),
        prop::option::of(address()),
    )
        .prop_map(|(fbp, fbc, client_ip, user_agent, url, referrer)| Context { fbp, fbc, client_ip, user_agent, url, referrer })
}

fn person() -> impl Strategy<Value = Person> {
    let digest = || {
        prop::option::weighted(
            0.2,
            prop::array::uniform32(any::<u8>()).prop_map(|bytes| Digest::parse(&hex(&bytes)).expect("64 hex digits")),
        )
    };
    let one = (digest(), digest(), digest(), digest(), digest(), digest());
    let two = (digest(), digest(), digest(), digest(), digest());
    (one, two).prop_map(|((email, phone, first, last, customer, city), (state, zip, country, birth, gender))| Person {
        email_sha256: email,
        phone_sha256: phone,
        first_name_sha256: first,
        last_name_sha256: last,
        customer_id_sha256: customer,
        city_sha256: city,
        state_sha256: state,
        zip_sha256: zip,
        country_sha256: country,
        date_of_birth_sha256: birth,
        gender_sha256: gender,
        sealed: None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, b| text + &format!("{b:02x}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_meta_gets_an_event_it_takes_or_none(
        name in prop_oneof![prop::sample::select(vec!["Purchase", "Lead", "AddToCart", ""]).prop_map(str::to_owned), "\\PC{0,60}"],
        event_id in "[ -~]{0,20}",
        leg in prop::sample::select(vec![LegName::Browser, LegName::Server]),
        person in person(),
        context in context(),
        minor in prop::option::of(0..1_000_000_000_000_i64),
        code in prop::sample::select(vec!["USD", "JPY", "KWD"]),
        product in prop::option::of(prop_oneof!["\\PC{0,10}", Just("for jane.roe@example.com".to_owned())]),
        properties in prop::option::of(properties()),
    ) {
        let currency = Currency::parse(code).expect("a currency");
        let conversion = Conversion {
            name: &name,
            event_id: &event_id,
            action_source: ActionSource::honest(leg, &context),
            money: minor.map(|minor| Money { minor, currency }),
            product_name: product.as_deref(),
            properties: properties.as_deref(),
            ..plain(&person, &context)
        };
        let text = meta::render(&conversion);
        let event: Value = serde_json::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        for clear in CLEAR {
            prop_assert!(!text.contains(clear), "{} in {}", clear, text);
        }
        let fault = meta_rules::fault(&event, conversion.event_time.seconds());
        match meta::check(&conversion) {
            Ok(()) => prop_assert_eq!(fault, None, "{}", text),
            Err(_) => prop_assert!(fault.is_some(), "withheld without a rule: {}", text),
        }
    }
}
