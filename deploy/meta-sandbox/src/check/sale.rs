//! Rules about `custom_data`: what a purchase must say, and in which money.

use iso_currency::Currency;

use super::{Event, parameter};
use crate::json::Json;
use crate::refusal::Refusal;

pub(super) fn value_missing(event: &Event) -> Option<Refusal> {
    (event.is_purchase() && event.custom("value").is_empty()).then_some(Refusal::ValueMissing)
}

pub(super) fn currency_missing(event: &Event) -> Option<Refusal> {
    (event.is_purchase() && event.custom("currency").is_empty()).then_some(Refusal::CurrencyMissing)
}

/// Lower case is accepted: an official SDK sends it.
pub(super) fn currency_unknown(event: &Event) -> Option<Refusal> {
    let known = |code: &str| Currency::from_code(&code.to_ascii_uppercase()).is_some();
    match event.custom("currency") {
        currency if currency.is_empty() => None,
        Json::Text(code) if known(code) => None,
        _ => Some(parameter("currency is not an ISO 4217 code")),
    }
}

pub(super) fn value_no_number(event: &Event) -> Option<Refusal> {
    let value = event.custom("value");
    (!value.is_empty() && number(value).is_none()).then(|| parameter("value is not a number"))
}

/// Two of Meta's own samples quote the number.
pub(super) fn value_is_text(event: &Event) -> Option<Refusal> {
    matches!(event.custom("value"), Json::Text(_)).then(|| parameter("value must be a JSON number"))
}

pub(super) fn value_negative(event: &Event) -> Option<Refusal> {
    number(event.custom("value")).is_some_and(|value| value < 0.0).then(|| parameter("value is negative"))
}

pub(super) fn value_without_currency(event: &Event) -> Option<Refusal> {
    (!event.custom("value").is_empty() && event.custom("currency").is_empty()).then_some(Refusal::ValueWithoutCurrency)
}

pub(super) fn content_id_missing(event: &Event) -> Option<Refusal> {
    some_content_lacks(event, "id").then_some(Refusal::ContentIdMissing)
}

pub(super) fn content_quantity_missing(event: &Event) -> Option<Refusal> {
    some_content_lacks(event, "quantity").then(|| parameter("an entry of contents has no quantity"))
}

/// Whether some entry of `contents` lacks this key.
fn some_content_lacks(event: &Event, key: &str) -> bool {
    matches!(event.custom("contents"), Json::List(contents) if contents.iter().any(|content| content.get(key).is_empty()))
}

fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Integer(value) => Some(*value as f64),
        Json::Float(value) => Some(*value),
        Json::Text(text) => text.trim().parse().ok().filter(|value: &f64| value.is_finite()),
        Json::Null | Json::Bool(_) | Json::List(_) | Json::Object(_) => None,
    }
}
