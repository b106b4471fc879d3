//! The rules, row by row: an event, and what the two modes say of it.

use serde_json::{Value, json};

use super::{check, partner_agent};
use crate::json::Json;
use crate::pixel::Mode;

const NOW_S: i64 = 1_790_000_000;
const DIGEST: &str = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f";

/// A purchase that both modes accept.
fn good() -> Value {
    json!({
        "event_name": "Purchase", "event_time": NOW_S - 10, "event_id": "f:1", "action_source": "website",
        "event_source_url": "https://shop.example/thanks",
        "user_data": {"em": [DIGEST], "client_ip_address": "2001:db8::1", "client_user_agent": "UA",
            "fbp": "fb.1.1596403881668.1116446470", "fbc": "fb.1.1554763741205.AbC.AQQCAQMC"},
        "custom_data": {"value": 59.97, "currency": "usd", "contents": [{"id": "sku", "quantity": 1}], "anything": {"goes": [1]}}
    })
}

/// The good purchase with one place changed: `a/b` is key `b` of `a`; null takes the key away.
fn with(path: &str, value: Value) -> Value {
    let mut event = good();
    let mut place = &mut event;
    for key in path.split('/') {
        place = &mut place[key];
    }
    *place = value;
    event
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        other => other,
    }
}

/// `ok`, `ok: remark, remark`, `100/2804003` or `100: message`.
fn said(event: &Value, mode: Mode) -> String {
    let text = without_nulls(event.clone()).to_string();
    let parsed: Json = serde_json::from_str(&text).expect("valid JSON");
    let mut remarks = Vec::new();
    match check(&parsed, 3, NOW_S, mode, |name| remarks.push(name)).map_err(|refusal| refusal.body()) {
        Ok(()) if remarks.is_empty() => "ok".to_owned(),
        Ok(()) => format!("ok: {}", remarks.join(", ")),
        Err(error) => match error.error_subcode {
            Some(subcode) => format!("{}/{subcode}", error.code),
            None => format!("{}: {}", error.code, error.message),
        },
    }
}

#[test]
fn both_modes_agree_on_these() {
    for (path, value, expected) in [
        ("event_id", json!("f:2"), "ok"),
        ("event_id", json!(null), "ok"),
        (
            "advertiser_tracking_enabled",
            json!(true),
            "100: Server Side Api Parameter Error: unexpected key \"advertiser_tracking_enabled\" at $['data'][3]",
        ),
        ("event_name", json!(null), "100: Server Side Api Parameter Error: \"event_name\" must be a string at $['data'][3]"),
        ("event_name", json!(7), "100: Server Side Api Parameter Error: \"event_name\" must be a string at $['data'][3]"),
        ("event_name", json!("PageView"), "ok"),
        ("event_name", json!("My own name"), "ok"),
        ("event_time", json!(null), "100: Server Side Api Parameter Error: \"event_time\" must be an integer at $['data'][3]"),
        ("event_time", json!("1790000000"), "100: Server Side Api Parameter Error: \"event_time\" must be an integer at $['data'][3]"),
        ("event_time", json!(NOW_S - 604_800), "ok"),
        ("event_time", json!(NOW_S - 604_801), "100/2804003"),
        ("event_time", json!(NOW_S + 60), "ok"),
        ("event_time", json!(NOW_S + 61), "100/2804004"),
        ("event_time", json!(NOW_S * 1_000), "100/2804004"),
        ("user_data", json!(null), "100: Server Side Api Parameter Error: \"user_data\" must be an object at $['data'][3]"),
        ("user_data", json!([]), "100: Server Side Api Parameter Error: \"user_data\" must be an object at $['data'][3]"),
        ("custom_data", json!("x"), "100: Server Side Api Parameter Error: \"custom_data\" must be an object at $['data'][3]"),
        ("custom_data", json!(null), "100/2804009"),
        ("custom_data/value", json!(null), "100/2804009"),
        ("custom_data/value", json!(0), "ok"),
        ("custom_data/value", json!("many"), "100: Invalid parameter: value is not a number"),
        ("custom_data/value", json!(-1), "ok: value_negative"),
        ("custom_data/currency", json!(null), "100/2804010"),
        ("custom_data/currency", json!("US$"), "100: Invalid parameter: currency is not an ISO 4217 code"),
        ("custom_data/currency", json!("ABC"), "100: Invalid parameter: currency is not an ISO 4217 code"),
        ("custom_data/currency", json!("JPY"), "ok"),
        ("user_data/em", json!("jane@example.com"), "100/2804016"),
        ("user_data/em", json!([DIGEST, "jane@example.com"]), "100/2804016"),
        ("user_data/em", json!(DIGEST.to_uppercase()), "100/2804016"),
        ("user_data/em", json!("d4c74594d841139328695756648b6bd6"), "100/2804016"),
        ("user_data/em", json!(""), "100/2804016"),
        ("user_data/country", json!("us"), "100/2804016"),
        ("user_data/em", json!(format!("{DIGEST}.AQQCAQMC")), "ok"),
        ("user_data/em", json!(format!("{DIGEST}.Ag")), "ok"),
        ("user_data/em", json!(format!("{DIGEST}.no")), "100/2804016"),
        ("user_data/ph", json!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), "ok: user_data_digest_of_nothing"),
        ("user_data/external_id", json!("cust_123"), "ok"),
        ("user_data/never_heard_of", json!("x"), "ok"),
        ("action_source", json!("webshop"), "100: Invalid parameter: action_source is none of the known ones"),
        ("action_source", json!("system_generated"), "ok"),
        ("custom_data/contents", json!([{"quantity": 1}]), "100/2804008"),
    ] {
        let event = with(path, value);
        for mode in [Mode::Real, Mode::Strict] {
            assert_eq!(said(&event, mode), expected, "{mode:?} {event}");
        }
    }
}

#[test]
fn documented_rules_are_errors_in_strict_mode_only() {
    for (path, value, real, strict) in [
        ("event_id", json!(1), "ok: event_id_no_string", "Server Side Api Parameter Error: \"event_id\" must be a string at $['data'][3]"),
        ("custom_data/value", json!("59.97"), "ok: value_is_text", "Invalid parameter: value must be a JSON number"),
        ("action_source", json!(null), "ok: action_source_missing", "Invalid parameter: action_source is missing"),
        ("event_source_url", json!(null), "ok: website_without_url", "Invalid parameter: a website event needs event_source_url"),
        (
            "user_data/client_user_agent",
            json!(null),
            "ok: website_without_user_agent",
            "Invalid parameter: a website event needs user_data.client_user_agent",
        ),
        (
            "custom_data/contents",
            json!([{"id": "sku"}]),
            "ok: content_quantity_missing",
            "Invalid parameter: an entry of contents has no quantity",
        ),
        ("user_data/fbp", json!("garbage"), "ok: browser_identity_malformed", "Invalid parameter: user_data.fbp is malformed"),
        ("user_data/fbc", json!("fb.1.2.a.b.c"), "ok: browser_identity_malformed", "Invalid parameter: user_data.fbc is malformed"),
        (
            "user_data/client_ip_address",
            json!("unknown"),
            "ok: browser_identity_malformed",
            "Invalid parameter: user_data.client_ip_address is malformed",
        ),
    ] {
        let event = with(path, value);
        assert_eq!(said(&event, Mode::Real), real, "{event}");
        assert_eq!(said(&event, Mode::Strict), format!("100: {strict}"), "{event}");
    }
}

#[test]
fn every_key_that_must_hold_a_digest_is_held_to_it() {
    for key in ["em", "ph", "fn", "ln", "ge", "db", "ct", "st", "zp", "country"] {
        let path = format!("user_data/{key}");
        for mode in [Mode::Real, Mode::Strict] {
            assert_eq!(said(&with(&path, json!([DIGEST, DIGEST])), mode), "ok", "{key}");
            assert_eq!(said(&with(&path, json!("clear text")), mode), "100/2804016", "{key}");
        }
        let told = with(&path, json!("clear text")).to_string();
        let parsed: Json = serde_json::from_str(&told).expect("valid JSON");
        let refusal = check(&parsed, 0, NOW_S, Mode::Real, |_| {}).expect_err("refused").body();
        assert_eq!(refusal.error_user_msg.as_deref(), Some(&*format!("{key} is not a SHA-256 digest")), "the text names the parameter");
    }
}

#[test]
fn every_documented_action_source_is_known() {
    for source in ["website", "email", "app", "phone_call", "chat", "physical_store", "system_generated", "business_messaging", "other"] {
        assert_eq!(said(&with("action_source", json!(source)), Mode::Strict), "ok", "{source}");
    }
}

#[test]
fn every_documented_key_of_an_event_is_known() {
    for (key, value) in [
        ("referrer_url", json!("https://search.example/")),
        ("opt_out", json!(false)),
        ("original_event_data", json!({"event_name": "Lead", "event_time": NOW_S})),
        ("app_data", json!({"advertiser_tracking_enabled": 1})),
        ("messaging_channel", json!("whatsapp")),
        ("attribution_data", json!({})),
        ("advanced_measurement_table", json!("x")),
    ] {
        assert_eq!(said(&with(key, value), Mode::Strict), "ok", "{key}");
    }
}

#[test]
fn a_shop_may_be_two_months_late() {
    let event = |age_s: i64| {
        let mut event = with("action_source", json!("physical_store"));
        event["event_time"] = json!(NOW_S - age_s);
        said(&event, Mode::Strict)
    };
    assert_eq!(event(62 * 86_400), "ok");
    assert_eq!(event(62 * 86_400 + 1), "100/2804003");
}

#[test]
fn customer_information_that_could_be_anybodys_is_refused() {
    let person = |user_data: Value| {
        let mut event = with("action_source", json!("other"));
        event["user_data"] = user_data;
        said(&event, Mode::Real)
    };
    for broad in [
        json!({}),
        json!({"em": []}),
        json!({"never_heard_of": "x"}),
        json!({"client_user_agent": "UA"}),
        json!({"client_user_agent": "UA", "ct": DIGEST, "country": [DIGEST], "st": DIGEST, "zp": DIGEST, "ge": DIGEST}),
        json!({"client_user_agent": "UA", "db": DIGEST}),
        json!({"fn": DIGEST, "ge": DIGEST}),
        json!({"ln": DIGEST, "ge": DIGEST}),
    ] {
        assert_eq!(person(broad.clone()), "100/2804050", "{broad}");
    }
    for enough in [
        json!({"client_ip_address": "192.0.2.1", "client_user_agent": "UA"}),
        json!({"fbp": "fb.1.1596403881668.1116446470"}),
        json!({"fbc": "fb.1.1596403881668.click"}),
        json!({"external_id": "cust_123"}),
        json!({"em": DIGEST}),
        json!({"fn": DIGEST, "ln": DIGEST}),
        json!({"db": DIGEST, "country": DIGEST}),
    ] {
        assert_eq!(person(enough.clone()), "ok", "{enough}");
    }
}

#[test]
fn value_without_currency_is_remarked_on_other_events() {
    let mut lead = with("custom_data/currency", json!(null));
    lead["event_name"] = json!("Lead");
    assert_eq!(said(&lead, Mode::Real), "ok: value_without_currency");
}

#[test]
fn limited_data_use_is_a_unit() {
    for (options, country, state, fits) in [
        (json!(["LDU"]), json!(0), json!(0), true),
        (json!(["LDU"]), json!(1), json!(1013), true),
        (json!([]), json!(null), json!(null), true),
        (json!(["LDU"]), json!(1), json!(null), false),
        (json!(["LDU"]), json!(2), json!(0), false),
        (json!(["LDU"]), json!(1), json!(1014), false),
        (json!(["XYZ"]), json!(0), json!(0), false),
        (json!("LDU"), json!(0), json!(0), false),
    ] {
        let mut event = with("data_processing_options", options);
        event["data_processing_options_country"] = country;
        event["data_processing_options_state"] = state;
        assert_eq!(said(&event, Mode::Strict) == "ok", fits, "{event}");
        assert!(said(&event, Mode::Real).starts_with("ok"), "{event}");
    }
}

#[test]
fn something_that_is_no_event_is_refused() {
    assert!(said(&json!(7), Mode::Real).contains("an event must be an object"));
}

#[test]
fn partner_agents_are_short_and_have_letters() {
    for (agent, fits) in [(None, true), (Some("rapidmetrics-0.1"), true), (Some("12345678901234567890abc"), false), (Some("1.2"), false)] {
        assert_eq!(partner_agent(agent, Mode::Strict).is_ok(), fits, "{agent:?}");
        assert!(partner_agent(agent, Mode::Real).is_ok());
    }
}
