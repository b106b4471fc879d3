//! What may come of a page or a backend, odd things included: the one place from which properties of rendering draw.

#![allow(dead_code, reason = "each test draws its part")]

use proptest::prelude::*;
use schemas::{
    data_use::DataUse,
    fact::Context,
    person::{Digest, Person},
};
use serde_json::{Value, json};

/// What stands where a person's data might be; none of it may come out.
pub const CLEAR: [&str; 3] = ["jane.roe@example.com", "JANE-ROE-CLEAR", "jane.roe%40example.com"];

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

pub fn properties() -> impl Strategy<Value = String> {
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

pub fn address() -> impl Strategy<Value = String> {
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

fn data_use() -> impl Strategy<Value = DataUse> {
    prop_oneof![
        Just(DataUse::Full),
        (0..4_u8, prop::sample::select(vec![0, 7, 999, 1000, 1013, 1014])).prop_map(|(country, state)| DataUse::Limited { country, state })
    ]
}

pub fn context() -> impl Strategy<Value = Context> {
    let maybe = |texts: Vec<&'static str>| prop::option::of(prop::sample::select(texts).prop_map(str::to_owned));
    (
        maybe(vec!["fb.1.1596403881668.1116446470", "fb.1.1596403881668.1116446470.AQQCAQMC", "fb.1.x", ""]),
        maybe(vec!["fb.1.1554763741205.IwAR2", "fb.1.1700000000000.a.b.c"]),
        maybe(vec!["203.0.113.7", "10.0.0.1", "2001:db8::1", "::1", "localhost", ""]),
        maybe(vec!["Mozilla/5.0", "", " ", "\"\\\n"]),
        prop::option::of(address()),
        prop::option::of(address()),
        prop::option::of(data_use()),
    )
        .prop_map(|(fbp, fbc, client_ip, user_agent, url, referrer, data_use)| Context {
            fbp,
            fbc,
            client_ip,
            user_agent,
            url,
            referrer,
            data_use,
            visitor_id: None,
        })
}

pub fn person() -> impl Strategy<Value = Person> {
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
