//! Meta's event frozen as the bytes that will be sent, and rendered anew from what a dispatch carries.
//!
//! A dispatch does not carry its fact twice. What was told Meta is read back from the bytes, which hold digests where a person is meant;
//! beside them stands only what they do not tell ([`Fact`]). A later build thus renders by its own rules what Meta refused by ours, and
//! the same build renders the same bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ActionSource, Conversion, check, render_and_gather};
use crate::{
    data_use::DataUse,
    dispatch::{Dispatch, Fact, Withheld},
    fact::{Context, LegName},
    json::{self, Fields, Text},
    key,
    money::{Currency, Money},
    order::OrderId,
    person::{Digest, Person},
    session,
};

/// What a dispatch carries of a conversion.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// The bytes that will be sent; none if they must not be.
    pub payload: Option<Box<RawValue>>,
    /// Why there are none.
    pub withheld: Option<Withheld>,
    /// What they do not tell.
    pub fact: Option<Box<Fact>>,
}

/// Renders a conversion and checks it.
pub fn freeze(conversion: &Conversion<'_>, leg: LegName) -> Frozen {
    let mut left_out = String::new();
    let event = raw(render_and_gather(conversion, &mut left_out));
    let left_out = (!left_out.is_empty()).then(|| raw(format!("{{{left_out}}}")));
    let (payload, withheld, event) = match check(conversion) {
        Ok(()) => (Some(event), None, None),
        Err(withheld) => (None, Some(withheld), Some(event)),
    };
    Frozen { payload, withheld, fact: Some(Box::new(Fact { leg, event, left_out })) }
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("what is rendered is JSON")
}

/// Renders a dispatch anew: the same id, the same time, the rules of this build. What carries nothing to render from, because consent
/// was missing or the record is an old one, stays as it is.
pub fn render_again(dispatch: &Dispatch) -> Frozen {
    let as_it_is = || Frozen { payload: dispatch.payload.clone(), withheld: dispatch.withheld.clone(), fact: dispatch.fact.clone() };
    if dispatch.withheld == Some(Withheld::NoConsent) {
        return as_it_is();
    }
    let fact = dispatch.fact.as_deref();
    let Some(event) = dispatch.payload.as_deref().or_else(|| fact?.event.as_deref()) else { return as_it_is() };
    match serde_json::from_str::<Event<'_>>(event.get()) {
        Ok(event) => event.again(dispatch, fact),
        Err(_) => as_it_is(),
    }
}

/// Meta's event, read back.
#[derive(Deserialize)]
struct Event<'a> {
    action_source: ActionSource,
    #[serde(rename = "event_source_url")]
    url: Option<String>,
    referrer_url: Option<String>,
    #[serde(borrow, default)]
    data_processing_options: Vec<Text<'a>>,
    #[serde(default)]
    data_processing_options_country: u8,
    #[serde(default)]
    data_processing_options_state: u16,
    user_data: User,
    #[serde(borrow)]
    custom_data: Option<&'a RawValue>,
}

/// Meta's words of a person, read back.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct User {
    em: Vec<Digest>,
    ph: Vec<Digest>,
    #[serde(rename = "fn")]
    first_name: Vec<Digest>,
    ln: Vec<Digest>,
    ge: Vec<Digest>,
    db: Vec<Digest>,
    ct: Vec<Digest>,
    st: Vec<Digest>,
    zp: Vec<Digest>,
    country: Vec<Digest>,
    external_id: Vec<Digest>,
    client_ip_address: Option<String>,
    client_user_agent: Option<String>,
    fbc: Option<String>,
    fbp: Option<String>,
}

impl Event<'_> {
    fn again(self, dispatch: &Dispatch, fact: Option<&Fact>) -> Frozen {
        let properties = joined(self.custom_data, fact.and_then(|fact| fact.left_out.as_deref()));
        let fields = Fields::parse(&properties).unwrap_or_default();
        let order_id = fields.get("order_id").and_then(|json| OrderId::parse_json(json).ok()?);
        let limited = DataUse::Limited { country: self.data_processing_options_country, state: self.data_processing_options_state };
        let user = self.user_data;
        let context = Context {
            fbp: user.fbp,
            fbc: user.fbc,
            client_ip: user.client_ip_address,
            user_agent: user.client_user_agent,
            url: self.url,
            referrer: self.referrer_url,
            data_use: (!self.data_processing_options.is_empty()).then_some(limited),
            visitor_id: None,
        };
        let one = |digests: Vec<Digest>| digests.into_iter().next();
        let person = Person {
            email_sha256: one(user.em),
            phone_sha256: one(user.ph),
            first_name_sha256: one(user.first_name),
            last_name_sha256: one(user.ln),
            gender_sha256: one(user.ge),
            date_of_birth_sha256: one(user.db),
            city_sha256: one(user.ct),
            state_sha256: one(user.st),
            zip_sha256: one(user.zp),
            country_sha256: one(user.country),
            customer_id_sha256: None, // it is the first of the external ids
            sealed: None,
        };
        let conversion = Conversion {
            name: &dispatch.event_name,
            event_id: &dispatch.event_id,
            event_time: dispatch.occurred_at,
            action_source: fact.map_or(self.action_source, |fact| ActionSource::honest(fact.leg, &context)),
            person: &person,
            external_ids: &user.external_id,
            context: &context,
            money: money(&fields),
            // On other events than orders it is just a property.
            order_id: order_id.as_ref().filter(|order| key::order_event_id(&dispatch.funnel_id, order) == dispatch.event_id),
            product_name: None, // it stands among the properties
            properties: Some(&properties),
        };
        let frozen = super::freeze(&conversion, fact.map_or(LegName::Server, |fact| fact.leg));
        Frozen { fact: frozen.fact.filter(|_| fact.is_some()), ..frozen }
    }
}

/// The value, which always stands beside its currency.
fn money(fields: &Fields<'_>) -> Option<Money> {
    session::money(fields, Currency::parse(&json::string(fields.get("currency")?)?).ok()?)
}

/// The members of both objects as one.
fn joined<'a>(told: Option<&'a RawValue>, left_out: Option<&RawValue>) -> Cow<'a, str> {
    let told = told.map_or("{}", RawValue::get);
    let Some(left_out) = left_out else { return Cow::Borrowed(told) };
    match (inside(told), inside(left_out.get())) {
        (told, "") => Cow::Owned(format!("{{{told}}}")),
        ("", left_out) => Cow::Owned(format!("{{{left_out}}}")),
        (told, left_out) => Cow::Owned(format!("{{{told},{left_out}}}")),
    }
}

/// An object's text without its brackets.
fn inside(object: &str) -> &str {
    object.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().trim()
}
