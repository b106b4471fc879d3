//! The values of properties, as text: what each is, and whether it may tell who somebody is.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::personal;
use crate::json::{self, Text};

/// Deepest nesting of a custom property.
const NESTING_MAX: u8 = 16;
/// Most digits of a count: what every reader holds exactly.
const COUNT_DIGITS_MAX: usize = 15;

/// A JSON string that says something, and nothing of who somebody is.
pub(super) fn is_text(value: &str) -> bool {
    value.len() > 2 && value.starts_with('"') && is_readable(value) && !personal::has_email(value)
}

/// Whether the escapes of a JSON string make characters: half a surrogate pair does not.
fn is_readable(value: &str) -> bool {
    !value.contains('\\') || json::string(value).is_some()
}

/// A JSON number that a double can hold.
fn is_number(value: &str) -> bool {
    value.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && value.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A number, also one that was sent as text.
pub(super) fn number(value: &str) -> Option<Cow<'_, str>> {
    if is_number(value) {
        return Some(Cow::Borrowed(value));
    }
    let text = json::string(value)?;
    let text = text.trim();
    // What reads as a number need not be one in JSON: 007, 1., Infinity.
    (is_number(text) && serde_json::from_str::<f64>(text).is_ok()).then(|| Cow::Owned(text.to_owned()))
}

/// A whole number from 0, also one that was sent as text.
pub(super) fn count(value: &str) -> Option<Cow<'_, str>> {
    number(value).filter(|digits| digits.len() <= COUNT_DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// An id: a string, or a whole number as its digits.
pub(super) fn id(value: &str) -> Option<Cow<'_, str>> {
    let id = match value.as_bytes().first()? {
        b'"' if !personal::has_email(value) => json::string(value)?,
        b'0'..=b'9' if value.bytes().all(|b| b.is_ascii_digit()) => Cow::Borrowed(value),
        _ => return None,
    };
    (!id.trim().is_empty()).then_some(id)
}

/// Ids in a list; one that stands alone is a list of one.
pub(super) fn ids(value: &str) -> Option<Vec<Cow<'_, str>>> {
    if !value.starts_with('[') {
        return id(value).map(|id| vec![id]);
    }
    let values: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    let ids: Vec<_> = values.into_iter().map(|value| id(value.get())).collect::<Option<_>>()?;
    (!ids.is_empty()).then_some(ids)
}

/// Whether a custom property tells nothing of who somebody is, at any depth, and every reader of JSON can read it. Null says
/// nothing and is left out.
pub(super) fn is_harmless(value: &str) -> bool {
    match value.as_bytes().first() {
        Some(b'"') => is_readable(value) && !personal::has_email(value),
        Some(b't' | b'f') => true,
        Some(b'{' | b'[') => {
            let mut reader = serde_json::Deserializer::from_str(value);
            Harmless { depth: 0 }.deserialize(&mut reader).is_ok()
        }
        _ => is_number(value),
    }
}

/// Reads through a value and fails at the first thing that must not go out.
#[derive(Clone, Copy)]
struct Harmless {
    depth: u8,
}

impl Harmless {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == NESTING_MAX { Err(E::custom("nested too deeply")) } else { Ok(Self { depth: self.depth + 1 }) }
    }
}

impl<'de> DeserializeSeed<'de> for Harmless {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Harmless {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property that tells nothing of who somebody is")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        if personal::has_email(text) { Err(E::custom("an e-mail address")) } else { Ok(()) }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            if personal::is_personal(&name) || personal::has_email(&name) {
                return Err(de::Error::custom("a person's data"));
            }
            map.next_value_seed(inner)?;
        }
        Ok(())
    }
}
