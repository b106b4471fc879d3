//! The backend's webhook: one purchase or lead. Door and judge read the body by this same function, so they cannot disagree.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::{
    data_use::DataUse,
    fact::LegName,
    id::FunnelId,
    json::{self, Fields, FieldsError},
    key::DedupKey,
    money::{AmountError, Currency, Money},
    order::OrderId,
    person::{self, ClearPerson, Digest},
    verdict::Refusal,
};

/// Largest body in bytes.
pub const BODY_BYTES_MAX: usize = 10_240;

/// Longest `Idempotency-Key` in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// What a webhook tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookEvent {
    /// `"purchase"`.
    Purchase,
    /// `"lead"`.
    Lead,
}

impl WebhookEvent {
    /// The word of the body and of the answer.
    pub fn word(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Lead => "lead",
        }
    }

    /// The event's name at Meta.
    pub fn meta_name(self) -> &'static str {
        match self {
            Self::Purchase => "Purchase",
            Self::Lead => "Lead",
        }
    }
}

/// A webhook's body, checked.
#[derive(Debug)]
pub struct Webhook<'a> {
    /// What it tells of.
    pub event: WebhookEvent,
    /// The person: the e-mail is always there and plausible.
    pub person: ClearPerson,
    /// Digest of the e-mail address.
    pub email: Digest,
    /// The amount; always there on a purchase.
    pub money: Option<Money>,
    /// The body's currency, or the funnel's.
    pub currency: Currency,
    /// What was bought.
    pub product_name: Option<Cow<'a, str>>,
    /// The order, if one was named.
    pub order_id: Option<OrderId>,
    /// How Meta may use what is told of the buyer, under Meta's own names.
    pub data_use: Option<DataUse>,
    /// Stored, never sent to Meta.
    pub metadata: Option<&'a RawValue>,
    /// What was accepted with a remark.
    pub warnings: Vec<String>,
}

impl<'a> Webhook<'a> {
    /// Reads a body. The first thing that is wrong, in the order of the documented fields, is the refusal.
    pub fn parse(body: &'a str, default_currency: Currency) -> Result<Self, Refusal> {
        let fields = object(body)?;
        let event = event(&fields)?;
        let email = email(&fields)?;
        let (money, currency) = money(&fields, event, default_currency)?;
        let product_name = text(&fields, "product_name")?;
        let first_name = text(&fields, "first_name")?.map(Cow::into_owned);
        let last_name = text(&fields, "last_name")?.map(Cow::into_owned);
        let mut warnings = Vec::new();
        let phone = phone(&fields, &mut warnings);
        let order_id = order_id(&fields)?;
        let metadata = metadata(&fields)?;
        // The names of the body itself were compared as it was read; only what is nested may still repeat one.
        let is_nested = |(_, value): &(Cow<'_, str>, &RawValue)| value.get().starts_with(['{', '[']);
        if fields.0.iter().any(is_nested)
            && let Some(name) = json::duplicate_key(body)
        {
            return Err(duplicate(&name));
        }
        let digest = person::email(&email).map(|normalised| Digest::of(&normalised)).ok_or_else(bad_email)?;
        let person = ClearPerson { email: Some(email), phone, first_name, last_name, ..ClearPerson::default() };
        let data_use = DataUse::told(&fields);
        Ok(Self { event, person, email: digest, money, currency, product_name, order_id, data_use, metadata, warnings })
    }

    /// The dedup key of this webhook under its event id.
    pub fn dedup_key(&self, funnel: &FunnelId, event_id: &str) -> DedupKey {
        match (&self.order_id, self.event) {
            (Some(order), WebhookEvent::Purchase) => DedupKey::Purchase(funnel.clone(), order.clone()),
            (Some(order), WebhookEvent::Lead) => DedupKey::Lead(funnel.clone(), order.clone()),
            (None, _) => DedupKey::Hook(funnel.clone(), event_id.into()),
        }
    }

    /// A webhook is always the server leg.
    pub const LEG: LegName = LegName::Server;
}

fn object(body: &str) -> Result<Fields<'_>, Refusal> {
    Fields::parse(body).map_err(|error| match error {
        FieldsError::NotJson(why) => Refusal::whole("invalid_json", format!("the body is not valid JSON: {why}")),
        FieldsError::NotAnObject => Refusal::whole("invalid_json", "the body must be a JSON object"),
        FieldsError::Duplicate(name) => duplicate(&name),
    })
}

/// Names of documented fields are blamed; another name is not repeated, because it is the caller's data.
fn duplicate(name: &str) -> Refusal {
    const KNOWN: [&str; 10] =
        ["event", "email", "amount", "currency", "product_name", "first_name", "last_name", "phone", "order_id", "metadata"];
    match KNOWN.into_iter().find(|known| *known == name) {
        Some(field) => Refusal::of("duplicate_key", field, format!("{field} is given more than once; give it once")),
        None => Refusal::whole("duplicate_key", "a key is given more than once in the same object; give each key once"),
    }
}

fn event(fields: &Fields<'_>) -> Result<WebhookEvent, Refusal> {
    let json = fields.get("event").ok_or_else(|| missing("event", "\"purchase\" or \"lead\""))?;
    match json::string(json).as_deref() {
        Some("purchase") => Ok(WebhookEvent::Purchase),
        Some("lead") => Ok(WebhookEvent::Lead),
        _ => Err(Refusal::of("invalid_event", "event", "event must be \"purchase\" or \"lead\"")),
    }
}

fn bad_email() -> Refusal {
    Refusal::of("invalid_email", "email", "email must be a valid e-mail address")
}

fn email(fields: &Fields<'_>) -> Result<String, Refusal> {
    let json = fields.get("email").ok_or_else(|| missing("email", "the customer's e-mail address"))?;
    let text = json::string(json).ok_or_else(bad_email)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(missing("email", "the customer's e-mail address"));
    }
    person::email(text).map(|_| text.to_owned()).ok_or_else(bad_email)
}

fn money(fields: &Fields<'_>, event: WebhookEvent, default: Currency) -> Result<(Option<Money>, Currency), Refusal> {
    let currency = currency(fields, default);
    // With a bad currency the amount is still checked first, because it stands first in the documentation.
    let probe = currency.as_ref().copied().unwrap_or(default);
    let amount = match fields.get("amount") {
        Some(json) => match (parse_amount(json, probe), &currency) {
            (Ok(money), _) => Some(money),
            (Err(AmountError::TooManyDecimals), Err(_)) => None,
            (Err(error), _) => return Err(Refusal::of("invalid_amount", "amount", format!("amount {error}"))),
        },
        None if event == WebhookEvent::Purchase => return Err(missing("amount", "the order's total, for example 49.99")),
        None => None,
    };
    Ok((amount, currency?))
}

fn parse_amount(json: &str, currency: Currency) -> Result<Money, AmountError> {
    match json.as_bytes().first() {
        Some(b'"') => Money::parse_decimal(&json::string(json).ok_or(AmountError::NotANumber)?, currency),
        Some(b'-' | b'0'..=b'9') => Money::parse_number(json, currency),
        _ => Err(AmountError::NotANumber),
    }
}

fn currency(fields: &Fields<'_>, default: Currency) -> Result<Currency, Refusal> {
    let refuse = |why: String| Refusal::of("invalid_currency", "currency", format!("currency {why}"));
    match fields.get("currency") {
        None => Ok(default),
        Some(json) => {
            let text = json::string(json).ok_or_else(|| refuse("must be three letters, such as USD".into()))?;
            Currency::parse(&text).map_err(|error| refuse(error.to_string()))
        }
    }
}

/// An optional text; blank means absent.
fn text<'a>(fields: &Fields<'a>, name: &'static str) -> Result<Option<Cow<'a, str>>, Refusal> {
    match fields.get(name) {
        None => Ok(None),
        Some(json) => match json::string(json) {
            Some(text) if text.trim().is_empty() => Ok(None),
            Some(text) => Ok(Some(text)),
            None => Err(Refusal::of("invalid_field", name, format!("{name} must be a string"))),
        },
    }
}

/// A phone that is none is left out with a warning: it is worth less than the sale.
fn phone(fields: &Fields<'_>, warnings: &mut Vec<String>) -> Option<String> {
    let json = fields.get("phone")?;
    let text = json::string(json).unwrap_or(Cow::Borrowed(json));
    if text.trim().is_empty() {
        return None;
    }
    if person::phone(&text, None).is_some() {
        return Some(text.into_owned());
    }
    warnings.push("phone is not a phone number with its country code; it was left out".to_owned());
    None
}

fn order_id(fields: &Fields<'_>) -> Result<Option<OrderId>, Refusal> {
    let Some(json) = fields.get("order_id") else { return Ok(None) };
    OrderId::parse_json(json).map_err(|error| Refusal::of("invalid_order_id", "order_id", format!("order_id {error}")))
}

fn metadata<'a>(fields: &Fields<'a>) -> Result<Option<&'a RawValue>, Refusal> {
    match fields.raw("metadata") {
        None => Ok(None),
        Some(value) if value.get().starts_with('{') => Ok(Some(value)),
        Some(_) => Err(Refusal::of("invalid_field", "metadata", "metadata must be an object")),
    }
}

fn missing(field: &'static str, what: &str) -> Refusal {
    Refusal::of("missing_field", field, format!("{field} is required: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> (String, Option<String>) {
        let usd = Currency::parse("USD").expect("a currency");
        let refusal = Webhook::parse(body, usd).expect_err("it is refused");
        (refusal.code.into_owned(), refusal.field.map(Cow::into_owned))
    }

    #[test]
    fn the_first_wrong_field_in_documented_order_is_blamed() {
        for (body, code, field) in [
            ("{}", "missing_field", Some("event")),
            ("[]", "invalid_json", None),
            ("nonsense", "invalid_json", None),
            (r#"{"event":"sale"}"#, "invalid_event", Some("event")),
            (r#"{"event":"Purchase"}"#, "invalid_event", Some("event")),
            (r#"{"event":"purchase"}"#, "missing_field", Some("email")),
            (r#"{"event":"purchase","email":" "}"#, "missing_field", Some("email")),
            (r#"{"event":"purchase","email":"nobody"}"#, "invalid_email", Some("email")),
            (r#"{"event":"purchase","email":"a@b.co"}"#, "missing_field", Some("amount")),
            (r#"{"event":"purchase","email":"a@b.co","amount":null}"#, "missing_field", Some("amount")),
            (r#"{"event":"purchase","email":"a@b.co","amount":-1,"currency":"?"}"#, "invalid_amount", Some("amount")),
            (r#"{"event":"purchase","email":"a@b.co","amount":true}"#, "invalid_amount", Some("amount")),
            (r#"{"event":"purchase","email":"a@b.co","amount":"49,99"}"#, "invalid_amount", Some("amount")),
            (r#"{"event":"purchase","email":"a@b.co","amount":1e400}"#, "invalid_amount", Some("amount")),
            (r#"{"event":"purchase","email":"a@b.co","amount":1.234,"currency":"?"}"#, "invalid_currency", Some("currency")),
            (r#"{"event":"purchase","email":"a@b.co","amount":1,"currency":"XXX"}"#, "invalid_currency", Some("currency")),
            (r#"{"event":"purchase","email":"a@b.co","amount":1,"currency":7}"#, "invalid_currency", Some("currency")),
            (r#"{"event":"lead","email":"a@b.co","product_name":7}"#, "invalid_field", Some("product_name")),
            (r#"{"event":"lead","email":"a@b.co","order_id":1.5}"#, "invalid_order_id", Some("order_id")),
            (r#"{"event":"lead","email":"a@b.co","metadata":[]}"#, "invalid_field", Some("metadata")),
            (r#"{"event":"lead","event":"lead","email":"a@b.co"}"#, "duplicate_key", Some("event")),
            (r#"{"event":"lead","email":"a@b.co","metadata":{"x":1,"x":2}}"#, "duplicate_key", None),
        ] {
            assert_eq!(refusal(body), (code.to_owned(), field.map(str::to_owned)), "{body}");
        }
    }

    #[test]
    fn what_is_acceptable_is_read_exactly() {
        let usd = Currency::parse("USD").expect("a currency");
        let body = r#"{"event":"purchase","email":" A@b.co ","amount":"59.970000000000006","currency":"eur","phone":"none",
                       "order_id":17,"metadata":{"a":[1]},"unknown":true,"first_name":null}"#;
        let hook = Webhook::parse(body, usd).expect("it is accepted");
        assert_eq!(hook.money.map(|m| (m.minor, m.currency.to_string())), Some((5997, "EUR".into())));
        assert_eq!(hook.person.email.as_deref(), Some("A@b.co"));
        assert_eq!(hook.person.phone, None);
        assert_eq!(hook.warnings.len(), 1);
        assert_eq!(hook.order_id.as_ref().map(OrderId::as_str), Some("17"));
        assert_eq!(hook.metadata.map(RawValue::get), Some(r#"{"a":[1]}"#));
    }
}
