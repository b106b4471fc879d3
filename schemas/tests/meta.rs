//! Meta's JSON: `samples/meta/` case by case, then anything a page could send, judged by a checker that knows Meta's rules from its
//! documentation and nothing of our code.

mod arbitrary;
mod meta_rules;

use std::{fs, path::PathBuf};

use arbitrary::{CLEAR, context, person, properties};
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
use serde_json::{Value, value::RawValue};

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
