//! Each field of a person, from what people type to what Meta hashes: `samples/normalisation.json`, line by line.

use schemas::{
    money::Currency,
    person::{self, ClearPerson, Country, Digest, Person},
    time::Time,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    field: String,
    input: String,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expect {
    /// Leave the field out, keep the event.
    Drop,
    /// Refuse the caller's request.
    Reject,
    /// It is a digest already.
    Pass(Digest),
    #[serde(untagged)]
    Send { send: String, sha256: Option<Digest> },
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../samples/normalisation.json")).expect("the sample file is a list of cases")
}

fn now() -> Time {
    "2026-11-25T12:00:00Z".parse().expect("a time")
}

fn normalised(field: &str, text: &str) -> Option<String> {
    match field {
        "em" => person::email(text),
        "ph" => person::phone(text, None),
        "fn" | "ln" => person::name(text),
        "ge" => person::gender(text),
        "db" => person::date_of_birth(text, now()),
        "ct" => person::city(text),
        "st" => person::state(text),
        "zp" => person::zip(text, None),
        "country" => Country::parse(text).map(|country| country.code().to_owned()),
        "external_id" => person::external_id(text),
        other => panic!("no field {other}"),
    }
}

fn hashed(field: &str, text: &str) -> Option<Digest> {
    let mut clear = ClearPerson::default();
    let slot = match field {
        "em" => &mut clear.email,
        "ph" => &mut clear.phone,
        "fn" => &mut clear.first_name,
        "ln" => &mut clear.last_name,
        "ge" => &mut clear.gender,
        "db" => &mut clear.date_of_birth,
        "ct" => &mut clear.city,
        "st" => &mut clear.state,
        "zp" => &mut clear.zip,
        "country" => &mut clear.country,
        "external_id" => &mut clear.customer_id,
        other => panic!("no field {other}"),
    };
    *slot = Some(text.to_owned());
    let p = Person::hashed(&clear, None, now());
    let all = [
        p.email_sha256,
        p.phone_sha256,
        p.first_name_sha256,
        p.last_name_sha256,
        p.customer_id_sha256,
        p.city_sha256,
        p.state_sha256,
        p.zip_sha256,
        p.country_sha256,
        p.date_of_birth_sha256,
        p.gender_sha256,
    ];
    all.into_iter().flatten().next()
}

/// How many cases of each field the reference gives. What we added ourselves has a number from 101.
const REFERENCE: [(&str, usize); 12] = [
    ("em", 25),
    ("ph", 32),
    ("fn", 21),
    ("ln", 10),
    ("ge", 15),
    ("db", 14),
    ("ct", 17),
    ("st", 17),
    ("zp", 17),
    ("country", 16),
    ("external_id", 9),
    ("currency", 10),
];

#[test]
fn no_case_of_the_reference_is_missing() {
    let cases = cases();
    let ids: std::collections::BTreeSet<&str> = cases.iter().map(|case| &*case.id).collect();
    assert_eq!(ids.len(), cases.len(), "an id stands twice");
    for (field, count) in REFERENCE {
        let missing: Vec<String> = (1..=count).map(|n| format!("{field}-{n:02}")).filter(|id| !ids.contains(&**id)).collect();
        assert!(missing.is_empty(), "samples/normalisation.json lacks {missing:?}");
    }
    let of_reference: usize = REFERENCE.iter().map(|(_, count)| count).sum();
    println!("normalisation: {of_reference} cases of the reference and {} of our own are checked", cases.len() - of_reference);
    assert_eq!(of_reference, 203);
}

#[test]
fn each_field_is_normalised_and_hashed_as_the_sample_says() {
    let cases = cases();
    for Case { id, field, input, expect } in cases.iter().filter(|case| case.field != "currency") {
        match expect {
            Expect::Send { send, sha256 } => {
                assert_eq!(normalised(field, input).as_ref(), Some(send), "{id}");
                assert_eq!(hashed(field, input), *sha256, "{id}");
            }
            Expect::Pass(digest) => assert_eq!(hashed(field, input), Some(*digest), "{id}"),
            Expect::Drop => assert_eq!(hashed(field, input), None, "{id}"),
            Expect::Reject => panic!("{id}: no field of a person refuses an event"),
        }
    }
}

#[test]
fn currencies_are_read_as_the_sample_says() {
    for Case { id, input, expect, .. } in cases().iter().filter(|case| case.field == "currency") {
        match expect {
            Expect::Send { send, .. } => assert_eq!(Currency::parse(input).map(|c| c.code().to_owned()).as_ref(), Ok(send), "{id}"),
            Expect::Pass(_) => panic!("{id}: a currency is never hashed"),
            Expect::Drop | Expect::Reject => assert!(Currency::parse(input).is_err(), "{id}"),
        }
    }
}

#[test]
fn a_us_postal_code_keeps_five_digits() {
    assert_eq!(person::zip("940351234", Country::parse("us")).as_deref(), Some("94035"));
    assert_eq!(person::zip("940351234", Country::parse("de")).as_deref(), Some("940351234"));
}

#[test]
fn a_national_phone_number_is_read_by_the_persons_own_country() {
    let clear = ClearPerson { phone: Some("020 7946 0958".into()), country: Some("UK".into()), ..ClearPerson::default() };
    assert_eq!(Person::hashed(&clear, None, now()).phone_sha256, Some(Digest::of("442079460958")));
    let clear = ClearPerson { country: None, ..clear };
    assert_eq!(Person::hashed(&clear, None, now()).phone_sha256, None);
    assert_eq!(Person::hashed(&clear, Country::parse("gb"), now()).phone_sha256, Some(Digest::of("442079460958")));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..proptest::test_runner::Config::default() })]

    #[test]
    fn normalising_twice_changes_nothing(text in "\\PC{0,24}", field in proptest::sample::select(vec!["em", "fn", "ct", "st", "zp", "external_id"])) {
        if let Some(once) = normalised(field, &text) {
            proptest::prop_assert_eq!(normalised(field, &once), Some(once.clone()));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}|[-0-9/.() +x]{0,20}") {
        for field in ["em", "ph", "fn", "ln", "ge", "db", "ct", "st", "zp", "country", "external_id"] {
            let _ = hashed(field, &text);
        }
    }
}
