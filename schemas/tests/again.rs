//! A dispatch carries what its event is rendered from: by the same build, the same bytes come again.

mod arbitrary;

use arbitrary::{CLEAR, context, person, properties};
use proptest::prelude::*;
use schemas::{
    dispatch::{Dispatch, Withheld},
    fact::{Context, LegName},
    json::Fields,
    key,
    meta::{self, ActionSource, Conversion, Frozen},
    money::{Currency, Money},
    order::OrderId,
    person::{Digest, Person},
    session,
};
use serde_json::value::RawValue;

const DISPATCH: &str = include_str!("../samples/dispatch.json");

/// The sample's dispatch of another event.
fn dispatch(name: &str, event_id: &str, frozen: &Frozen) -> Dispatch {
    let sample: Dispatch = serde_json::from_str(DISPATCH).expect("a dispatch");
    let dispatch = Dispatch {
        event_name: name.to_owned(),
        event_id: event_id.to_owned(),
        payload: frozen.payload.clone(),
        withheld: frozen.withheld.clone(),
        fact: frozen.fact.clone(),
        ..sample
    };
    // As it stands in the log.
    serde_json::from_str(&serde_json::to_string(&dispatch).expect("JSON")).expect("it is read back")
}

/// Everything that a frozen event says, as text.
fn text(frozen: &Frozen) -> String {
    let json = |value: &Option<Box<RawValue>>| value.as_deref().map_or("none", RawValue::get).to_owned();
    let fact = frozen.fact.as_deref().map(|fact| serde_json::to_string(fact).expect("JSON"));
    format!("{}\n{:?}\n{}", json(&frozen.payload), frozen.withheld, fact.unwrap_or_default())
}

/// A conversion of the sample's funnel and time.
fn conversion<'a>(person: &'a Person, context: &'a Context, leg: LegName) -> Conversion<'a> {
    let sample: Dispatch = serde_json::from_str(DISPATCH).expect("a dispatch");
    Conversion {
        name: "ViewContent",
        event_id: "e1",
        event_time: sample.occurred_at,
        action_source: ActionSource::honest(leg, context),
        person,
        external_ids: &[],
        context,
        money: None,
        order_id: None,
        product_name: None,
        properties: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_rendered_is_rendered_again_in_the_same_bytes(
        name in prop::sample::select(vec!["Purchase", "Lead", "AddToCart", "My own", ""]),
        leg in prop::sample::select(vec![LegName::Browser, LegName::Server]),
        person in person(),
        visitor in prop::option::of("[a-z]{3}"),
        context in context(),
        minor in prop::option::of(0..1_000_000_000_000_i64),
        code in prop::sample::select(vec!["USD", "JPY", "KWD"]),
        order in prop::option::of("\\PC{1,12}"),
        product in prop::option::of("\\PC{0,10}"),
        properties in prop::option::of(properties()),
    ) {
        let currency = Currency::parse(code).expect("a currency");
        let funnel = serde_json::from_str::<Dispatch>(DISPATCH).expect("a dispatch").funnel_id;
        let order = order.and_then(|order| OrderId::parse(&order).ok().flatten());
        let event_id = order.as_ref().map_or("e1".to_owned(), |order| key::order_event_id(&funnel, order));
        let visitor = visitor.map(|visitor| Digest::of(&visitor));
        // As the judge does it: a backend's amount, or what the page's properties say.
        let told = properties.as_deref().and_then(|text| session::money(&Fields::parse(text).ok()?, currency));
        let conversion = Conversion {
            name,
            event_id: &event_id,
            external_ids: visitor.as_slice(),
            money: minor.map(|minor| Money { minor, currency }).or(told),
            order_id: order.as_ref(),
            product_name: product.as_deref(),
            properties: properties.as_deref(),
            ..conversion(&person, &context, leg)
        };
        let frozen = meta::freeze(&conversion, leg);
        prop_assert_eq!(frozen.payload.is_none(), frozen.withheld.is_some());
        let again = meta::render_again(&dispatch(name, &event_id, &frozen));
        prop_assert_eq!(text(&again), text(&frozen));
        for clear in CLEAR {
            prop_assert!(!text(&frozen).contains(clear), "{} in {}", clear, text(&frozen));
        }
        if let Some(payload) = &frozen.payload {
            prop_assert_eq!(payload.get(), meta::render(&conversion), "freezing renders nothing else");
        }
    }
}

#[test]
fn what_a_later_build_learned_is_told_when_it_renders_again() {
    let (person, context) = (Person { email_sha256: Some(Digest::of("x")), ..Person::default() }, Context::default());
    let properties = r#"{"value":"49.90","currency":"XQQ","plan":"summer","email":"jane@example.com"}"#;
    let purchase = Conversion { name: "Purchase", properties: Some(properties), ..conversion(&person, &context, LegName::Browser) };
    let frozen = meta::freeze(&purchase, LegName::Browser);
    assert!(matches!(&frozen.withheld, Some(Withheld::Invalid { code, .. }) if code == "purchase_currency_unknown"));
    let fact = frozen.fact.as_deref().expect("it is there");
    assert_eq!(fact.left_out.as_deref().map(RawValue::get), Some(r#"{"value":"49.90","currency":"XQQ"}"#), "and no clear field");
    assert!(fact.event.as_deref().expect("what could be said").get().contains(r#""custom_data":{"plan":"summer"}"#));

    // A build that knows the currency: here one that we know.
    let learned = serde_json::to_string(&dispatch("Purchase", "e1", &frozen)).expect("JSON").replace("XQQ", "EUR");
    let again = meta::render_again(&serde_json::from_str(&learned).expect("a dispatch"));
    let payload = again.payload.expect("it may be sent now");
    assert!(payload.get().contains(r#""custom_data":{"value":49.90,"currency":"EUR","plan":"summer"}"#), "{payload}");
    assert!(again.fact.is_some_and(|fact| fact.event.is_none() && fact.left_out.is_none()));
}

#[test]
fn a_payload_costs_next_to_nothing_beside_its_bytes() {
    let (person, context) = (Person { email_sha256: Some(Digest::of("x")), ..Person::default() }, Context::default());
    let view = Conversion { properties: Some(r#"{"plan":"summer"}"#), ..conversion(&person, &context, LegName::Browser) };
    let fact = meta::freeze(&view, LegName::Browser).fact.expect("it is there");
    assert_eq!(serde_json::to_string(&fact).expect("JSON"), r#"{"leg":"browser"}"#);
}

#[test]
fn what_has_nothing_to_render_from_stays_as_it_is() {
    let declined: Dispatch = serde_json::from_str(include_str!("../samples/dispatch-without-consent.json")).expect("a dispatch");
    let again = meta::render_again(&declined);
    assert!(again.payload.is_none() && again.withheld == Some(Withheld::NoConsent) && again.fact.is_none());

    let foreign = RawValue::from_string(r#"{"event_id":"fn_1:A1"}"#.into()).expect("JSON");
    let old = Dispatch { payload: Some(foreign.clone()), fact: None, ..declined };
    let old = Dispatch { withheld: None, ..old };
    assert_eq!(meta::render_again(&old).payload.map(|payload| payload.get().to_owned()), Some(foreign.get().to_owned()));
}

/// Records of builds before the fact stood beside the bytes.
#[test]
fn a_dispatch_without_fact_is_rendered_from_its_bytes_alone() {
    let sample: Dispatch = serde_json::from_str(DISPATCH).expect("a dispatch");
    let again = meta::render_again(&Dispatch { fact: None, ..sample.clone() });
    let value = |payload: Option<Box<RawValue>>| serde_json::from_str::<serde_json::Value>(payload.expect("bytes").get()).expect("JSON");
    assert_eq!(value(again.payload), value(sample.payload));
    assert!(again.fact.is_none());
}
