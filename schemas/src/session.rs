//! The browser's batch, as `session.js` posts it. Door and judge read each event by the same function, so they cannot disagree.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::{
    data_use::DataUse,
    id::{FunnelId, VisitorId},
    json::{self, Fields, FieldsError},
    key::{self, DedupKey},
    meta::is_test_event_code,
    money::{Currency, CurrencyError, Money},
    order::OrderId,
    person::ClearPerson,
    raw::Consent,
    time::Time,
    verdict::Refusal,
};

mod bot;
mod place;

pub use place::context;

/// Largest body in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most events in a batch.
pub const EVENTS_MAX: usize = 50;
/// The largest whole number that JavaScript holds exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
/// Longest event name in characters. Meta gives no limit; 50 is often quoted for custom names.
pub const NAME_CHARS_MAX: usize = 50;
/// Longest event id in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 200;
/// Largest `props` of an event in bytes: the webhook's limit, so that both doors agree.
pub const PROPS_BYTES_MAX: usize = 10_240;

/// One request of the script. Events stay text until each is read by itself: a bad one must not harm its neighbours.
#[derive(Debug, Deserialize)]
pub struct Batch<'a> {
    /// The funnel's public id.
    #[serde(borrow)]
    pub fid: Cow<'a, str>,
    /// The browser's clock when it sent the batch, ms.
    #[serde(default)]
    pub sent_at: Option<f64>,
    /// `{"url","referrer","title"}`.
    #[serde(borrow, default)]
    pub page: Option<&'a RawValue>,
    /// `{"fbp","fbc"}`.
    #[serde(borrow, default)]
    pub ids: Option<&'a RawValue>,
    /// The visitor's consent; absent means the site needs none.
    #[serde(default)]
    pub consent: Option<Consent>,
    /// What the page knows of the person.
    #[serde(borrow, default)]
    pub person: Option<&'a RawValue>,
    /// First and last touch: `{"first":{…},"last":{…}}`, of which `landing` (an address with its click id) and `at` (ms) are read.
    #[serde(borrow, default)]
    pub attribution: Option<&'a RawValue>,
    /// The events: an array, or the text of one, as pages with an old Prototype.js write it (it teaches every array to become text).
    #[serde(borrow, deserialize_with = "events")]
    pub events: Vec<Cow<'a, RawValue>>,
}

impl<'a> Batch<'a> {
    /// Reads a body.
    pub fn parse(body: &'a str) -> Result<Self, Refusal> {
        let batch: Self = serde_json::from_str(body).map_err(|error| {
            let code = if error.is_data() { "invalid_batch" } else { "invalid_json" };
            Refusal::whole(code, format!("the body is not a batch of events: {error}"))
        })?;
        if batch.events.len() > EVENTS_MAX {
            return Err(Refusal::of("too_many_events", "events", format!("at most {EVENTS_MAX} events in a batch")));
        }
        Ok(batch)
    }
}

/// Reads the events in the one pass that reads the batch.
fn events<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Cow<'de, RawValue>>, D::Error> {
    struct Events;
    impl<'de> de::Visitor<'de> for Events {
        type Value = Vec<Cow<'de, RawValue>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of events")
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut events = Vec::new();
            while let Some(event) = seq.next_element::<&RawValue>()? {
                events.push(Cow::Borrowed(event));
            }
            Ok(events)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let events: Vec<Box<RawValue>> = serde_json::from_str(text).map_err(E::custom)?;
            Ok(events.into_iter().map(Cow::Owned).collect())
        }
    }
    from.deserialize_any(Events)
}

/// What an event of the script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Who the visitor is.
    Identify,
    /// What the visitor did.
    Track,
}

/// Said of a purchase without an order: the webhook's telling of it will be another sale.
const NO_ORDER: &str = "order_id missing: cannot join the webhook's purchase";

macro_rules! standard_events {
    ($($name:literal),*) => {
        /// Meta's standard events, which are optimised for, and what is said of a name that is almost one.
        const STANDARD: &[(&str, &str)] = &[$(($name, concat!("did you mean ", $name, "?"))),*];
    };
}
standard_events!(
    "PageView",
    "Purchase",
    "InitiateCheckout",
    "AddToCart",
    "AddPaymentInfo",
    "Lead",
    "CompleteRegistration",
    "ViewContent",
    "Search",
    "AddToWishlist",
    "Subscribe",
    "StartTrial",
    "Contact",
    "Schedule",
    "SubmitApplication"
);

/// The name under which an `identify` stands in dedup keys and in the events topic.
pub const IDENTIFY: &str = "identify";

/// One event of a batch, checked.
#[derive(Debug)]
pub struct Event<'a> {
    /// What it is.
    pub kind: EventKind,
    /// Its name; `identify` for an identify.
    pub name: Cow<'a, str>,
    /// The visitor under which the script made it.
    pub visitor_id: VisitorId,
    /// The id that pixel and server share: the order's, or the script's own.
    pub event_id: Cow<'a, str>,
    /// The browser's clock when it happened, ms.
    pub at: Option<f64>,
    /// Its properties, as they came.
    pub props: Option<&'a RawValue>,
    /// The order, on a Purchase or Lead that names one.
    pub order_id: Option<OrderId>,
    /// Whether the page wants only its own pixel told.
    pub is_pixel_only: bool,
    /// Under which code Meta's Test Events page shows it, if the page wants to see it there.
    pub test_event_code: Option<Cow<'a, str>>,
    /// Whether the browser says of itself that a program drives it.
    pub is_automated: bool,
    /// Whether somebody looks at what this browser sends.
    pub is_debug: bool,
    /// How Meta may use it, as the event itself tells.
    pub data_use: Option<DataUse>,
    /// What was accepted with a remark.
    pub warnings: Vec<&'static str>,
}

impl<'a> Event<'a> {
    /// Reads one event of a batch that was sent to `funnel`.
    pub fn parse(json: &'a str, funnel: &FunnelId) -> Result<Self, Refusal> {
        let fields = Fields::parse(json).map_err(|error| match error {
            FieldsError::Duplicate(_) => Refusal::whole("duplicate_key", "a key is given more than once in an event"),
            FieldsError::NotAnObject | FieldsError::NotJson(_) => Refusal::whole("invalid_event", "an event must be an object"),
        })?;
        let text = |name: &'static str| fields.get(name).and_then(json::string);
        let kind = match text("type").as_deref() {
            Some("track") => EventKind::Track,
            Some("identify") => EventKind::Identify,
            _ => return Err(Refusal::of("invalid_type", "type", "type must be \"track\" or \"identify\"")),
        };
        let name = match kind {
            EventKind::Identify => Cow::Borrowed(IDENTIFY),
            EventKind::Track => text("name").filter(|name| is_name(name)).ok_or_else(|| {
                Refusal::of("invalid_name", "name", format!("name must be 1 to {NAME_CHARS_MAX} characters, none of them | or a control"))
            })?,
        };
        let visitor_id = text("visitor_id").and_then(|id| VisitorId::parse(&id).ok()).ok_or_else(|| {
            Refusal::of("invalid_visitor_id", "visitor_id", "visitor_id must be 1 to 128 visible ASCII characters without |")
        })?;
        let given = text("event_id").filter(|id| is_event_id(id)).ok_or_else(|| {
            Refusal::of(
                "invalid_event_id",
                "event_id",
                format!("event_id must be 1 to {EVENT_ID_BYTES_MAX} bytes without control characters"),
            )
        })?;
        let props = match fields.raw("props") {
            None => None,
            Some(props) if !props.get().starts_with('{') => return Err(Refusal::of("invalid_props", "props", "props must be an object")),
            Some(props) if props.get().len() > PROPS_BYTES_MAX => {
                return Err(Refusal::of("payload_too_large", "props", format!("props must be at most {PROPS_BYTES_MAX} bytes")));
            }
            props => props,
        };
        let at = fields.get("at").and_then(|at| at.parse().ok());
        let mut warnings = Vec::new();
        let order_id = if name_is_order(kind, &name) { order_id(props, &mut warnings) } else { None };
        let event_id = match &order_id {
            Some(order) => {
                let id = key::order_event_id(funnel, order);
                if id != given {
                    warnings.push("event_id was replaced by the order's");
                }
                Cow::Owned(id)
            }
            None if given.strip_prefix(funnel.as_str()).is_some_and(|rest| rest.starts_with(':')) => {
                warnings.push("event_id begins with the funnel's id, which is kept for orders; it was replaced");
                Cow::Owned(key::replaced_event_id(funnel, &visitor_id, &given))
            }
            None => given,
        };
        let is_pixel_only = fields.get("server") == Some("false");
        let test_event_code = text("test_event_code").filter(|code| !code.is_empty());
        let test_event_code = match test_event_code {
            Some(code) if !is_test_event_code(&code) => {
                warnings.push("test_event_code is none (1 to 64 visible ASCII characters); it was left out");
                None
            }
            code => code,
        };
        let [is_automated, is_debug] = ["bot", "debug"].map(|flag| fields.get(flag) == Some("true"));
        let data_use = DataUse::told(&fields);
        Ok(Self {
            kind,
            name,
            visitor_id,
            event_id,
            at,
            props,
            order_id,
            is_pixel_only,
            test_event_code,
            is_automated,
            is_debug,
            data_use,
            warnings,
        })
    }

    /// What is odd about it and accepted, in words for whoever made the page. Only the door asks: it changes nothing that is judged.
    pub fn remarks(&self) -> impl Iterator<Item = &'static str> {
        let is_track = self.kind == EventKind::Track;
        let fields = self.props.filter(|_| is_track).and_then(|props| Fields::parse(props.get()).ok()).unwrap_or_default();
        let value = fields.get("value");
        let is_text = value.is_some_and(|value| !value.starts_with(|first: char| first == '-' || first.is_ascii_digit()));
        let is_bare = value.is_some() && fields.get("currency").is_none_or(|currency| currency == "\"\"");
        // One that is there and is none was remarked upon when it was read.
        let is_unnamed = self.is_unpaired_purchase() && fields.get("order_id").is_none_or(|order| order == "\"\"");
        let almost = if is_track { near_miss(&self.name) } else { None };
        let odd = [(is_text, "value is not a number"), (is_bare, "currency missing"), (is_unnamed, NO_ORDER)];
        almost.into_iter().chain(odd.into_iter().filter_map(|(is_so, remark)| is_so.then_some(remark)))
    }

    /// Whether it comes from a program, by what its browser says of itself. That is told to whoever reads the events; nobody is refused for
    /// it, because a sale that was taken for a robot's would be lost.
    pub fn is_bot(&self, user_agent: Option<&str>) -> bool {
        self.is_automated || user_agent.is_some_and(bot::is_bot)
    }

    /// Whether it is a purchase that no webhook can join, for it names no order.
    pub fn is_unpaired_purchase(&self) -> bool {
        self.kind == EventKind::Track && self.name == "Purchase" && self.order_id.is_none()
    }

    /// The dedup key.
    pub fn dedup_key(&self, funnel: &FunnelId) -> DedupKey {
        match (&self.order_id, &*self.name) {
            (Some(order), "Purchase") => DedupKey::Purchase(funnel.clone(), order.clone()),
            (Some(order), _) => DedupKey::Lead(funnel.clone(), order.clone()),
            (None, name) => DedupKey::Event {
                funnel: funnel.clone(),
                visitor: self.visitor_id.clone(),
                name: name.into(),
                event_id: self.event_id.as_ref().into(),
            },
        }
    }

    /// The value and currency of the properties. A value without currency gets the funnel's; what is no amount is left out.
    pub fn money(&self, default: Currency) -> Option<Money> {
        money(&Fields::parse(self.props?.get()).ok()?, default)
    }
}

/// The value and currency of properties, as [`Event::money`] reads them.
pub fn money(props: &Fields<'_>, default: Currency) -> Option<Money> {
    let currency = match props.get("currency") {
        None => default,
        Some(json) => json::string(json).ok_or(CurrencyError::NotThreeLetters).and_then(|text| Currency::parse(&text)).ok()?,
    };
    let value = props.get("value")?;
    match json::string(value) {
        Some(text) => Money::parse_decimal(&text, currency).ok(),
        None => Money::parse_number(value, currency).ok(),
    }
}

/// When an event happened: reception minus the time that passed in the browser since; never after reception.
pub fn occurred_at(received_at: Time, sent_at: Option<f64>, at: Option<f64>) -> Time {
    let age_ms = match (sent_at, at) {
        (Some(sent), Some(at)) if (sent - at).is_finite() => (sent - at).max(0.0),
        _ => 0.0,
    };
    received_at.plus_micros(-((age_ms * 1_000.0) as i64)) // a float too large for i64 becomes its end, and `Time` holds it at 1970
}

/// The person that a page told: unknown keys are passed over, blank fields are absent, numbers are taken as text.
pub fn person(json: Option<&RawValue>) -> ClearPerson {
    let Some(fields) = json.and_then(|json| Fields::parse(json.get()).ok()) else { return ClearPerson::default() };
    let text = |name: &str| {
        let json = fields.get(name)?;
        let text = match json.as_bytes().first() {
            Some(b'"') => json::string(json)?,
            Some(b'-' | b'0'..=b'9') => Cow::Borrowed(json),
            _ => return None,
        };
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    ClearPerson {
        email: text("email"),
        phone: text("phone"),
        first_name: text("first_name"),
        last_name: text("last_name"),
        customer_id: text("customer_id"),
        city: text("city"),
        state: text("state"),
        zip: text("zip"),
        country: text("country"),
        date_of_birth: text("date_of_birth"),
        gender: text("gender"),
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(|c| c.is_control() || c == '|') && !name.trim().is_empty()
}

fn is_event_id(id: &str) -> bool {
    (1..=EVENT_ID_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// `add to cart` is not what Meta optimises for, and most likely meant to be.
fn near_miss(name: &str) -> Option<&'static str> {
    let letters = |text: &'static str| text.bytes().map(|byte| byte.to_ascii_lowercase());
    let given = || name.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_lowercase());
    STANDARD.iter().find(|(known, _)| *known != name && given().eq(letters(known))).map(|(_, remark)| *remark)
}

/// On other events an `order_id` is just a property.
fn name_is_order(kind: EventKind, name: &str) -> bool {
    kind == EventKind::Track && matches!(name, "Purchase" | "Lead")
}

fn order_id(props: Option<&RawValue>, warnings: &mut Vec<&'static str>) -> Option<OrderId> {
    let fields = Fields::parse(props?.get()).ok()?;
    let json = fields.get("order_id")?;
    // Beyond what JavaScript counts exactly, neighbouring numbers have become one: two orders would be one sale.
    if json.parse::<f64>().is_ok_and(|number| number.abs() > EXACT_MAX) {
        warnings.push("order_id is a number that JavaScript has rounded; the event counts as one without order: send it as text");
        return None;
    }
    let order = OrderId::parse_json(json);
    if order.is_err() {
        warnings.push("order_id is no order id (a template that was not filled in?); the event counts as one without order");
    }
    order.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn funnel() -> FunnelId {
        FunnelId::parse("fn_1").expect("an id")
    }

    fn event(rest: &str) -> String {
        format!(r#"{{"type":"track","visitor_id":"v1","event_id":"e1",{rest}}}"#)
    }

    #[test]
    fn an_event_names_itself() {
        for (rest, key, event_id, warnings) in [
            (r#""name":"Purchase","props":{"order_id":" A1 "}"#, "fn_1|purchase|A1", "fn_1:A1", 1),
            (r#""name":"Lead","props":{"order_id":7}"#, "fn_1|lead|7", "fn_1:7", 1),
            (r#""name":"Purchase","props":{"order_id":"{{id}}"}"#, "fn_1|event|v1|Purchase|e1", "e1", 1),
            (r#""name":"Purchase","props":{"order_id":9007199254740991}"#, "fn_1|purchase|9007199254740991", "fn_1:9007199254740991", 1),
            (r#""name":"Purchase","props":{"order_id":1234567890123456800}"#, "fn_1|event|v1|Purchase|e1", "e1", 1),
            (r#""name":"Purchase","props":{"order_id":null}"#, "fn_1|event|v1|Purchase|e1", "e1", 0),
            (r#""name":"AddToCart","props":{"order_id":"A1"}"#, "fn_1|event|v1|AddToCart|e1", "e1", 0),
        ] {
            let json = event(rest);
            let event = Event::parse(&json, &funnel()).expect("it is an event");
            assert_eq!(
                (event.dedup_key(&funnel()).to_string().as_str(), &*event.event_id, event.warnings.len()),
                (key, event_id, warnings)
            );
        }
    }

    #[test]
    fn what_is_almost_a_standard_event_is_told_its_name() {
        for (name, said) in [
            ("add to cart", Some("did you mean AddToCart?")),
            ("purchase", Some("did you mean Purchase?")),
            ("PAGE_VIEW", Some("did you mean PageView?")),
            ("AddToCart", None),
            ("Add2Cart", None),
            ("1-2-3", None),
        ] {
            let json = event(&format!(r#""name":"{name}""#));
            let event = Event::parse(&json, &funnel()).expect("an event");
            let said: Vec<&str> = said.into_iter().chain(event.is_unpaired_purchase().then_some(NO_ORDER)).collect();
            assert_eq!(event.remarks().collect::<Vec<_>>(), said, "{name}");
        }
    }

    #[test]
    fn odd_properties_are_remarked_upon() {
        for (rest, said) in [
            (r#""name":"Purchase""#, &[NO_ORDER][..]),
            (r#""name":"Purchase","props":{"value":5,"order_id":""}"#, &["currency missing", NO_ORDER]),
            (r#""name":"Purchase","props":{"value":"5","currency":"EUR","order_id":"A1"}"#, &["value is not a number"]),
            (r#""name":"AddToCart","props":{"value":-5.5,"currency":"EUR"}"#, &[]),
            (r#""name":"AddToCart","props":{"value":null}"#, &[]),
        ] {
            let json = event(rest);
            let event = Event::parse(&json, &funnel()).expect("an event");
            assert_eq!(event.remarks().collect::<Vec<_>>(), said, "{rest}");
            assert_eq!(event.is_unpaired_purchase(), said.contains(&NO_ORDER), "{rest}");
        }
    }

    #[test]
    fn an_id_that_pretends_to_be_an_orders_is_replaced_the_same_way_each_time() {
        let json = r#"{"type":"track","name":"AddToCart","visitor_id":"v1","event_id":"fn_1:A1"}"#;
        let (first, again) = (Event::parse(json, &funnel()).expect("an event"), Event::parse(json, &funnel()).expect("an event"));
        assert_eq!(first.event_id, again.event_id);
        assert!(!first.event_id.starts_with("fn_1:"));
        assert_eq!(first.warnings.len(), 1);
    }

    #[test]
    fn what_cannot_be_an_event_is_refused_with_its_field() {
        for (json, field) in [
            ("7", None),
            (r#"{"type":"page"}"#, Some("type")),
            (r#"{"type":"track","name":""}"#, Some("name")),
            (r#"{"type":"track","name":"a|b"}"#, Some("name")),
            (r#"{"type":"track","name":"X","visitor_id":"a b"}"#, Some("visitor_id")),
            (r#"{"type":"track","name":"X","visitor_id":"v"}"#, Some("event_id")),
            (r#"{"type":"track","name":"X","visitor_id":"v","event_id":"e","props":[]}"#, Some("props")),
        ] {
            let refusal = Event::parse(json, &funnel()).expect_err("it is refused");
            assert_eq!(refusal.field.as_deref(), field, "{json}");
        }
    }

    #[test]
    fn an_event_happened_before_it_was_received() {
        let received = Time::from_millis(10_000);
        for (sent, at, ms) in [
            (Some(5_000.0), Some(4_000.0), 9_000),
            (Some(5_000.0), Some(6_000.0), 10_000),
            (Some(5_000.0), None, 10_000),
            (None, Some(1.0), 10_000),
            (Some(1e300), Some(0.0), 0),
        ] {
            assert_eq!(occurred_at(received, sent, at).millis(), ms, "{sent:?} {at:?}");
        }
    }
}
