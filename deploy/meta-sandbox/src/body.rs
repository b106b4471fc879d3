//! The three encodings of a request body, brought into one shape without copying what need not be copied.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{Json, Key};
use crate::refusal::Refusal;

/// Meta's only stated limit.
const EVENTS_MAX: usize = 1_000;

/// What stands at the top level of a body, whatever its encoding.
#[derive(Debug)]
pub struct Fields<'a> {
    /// `access_token`, if the body has one.
    pub token: Option<Cow<'a, str>>,
    /// Where tokens stand in the body's text, in rising order.
    pub token_spans: Vec<Range<usize>>,
    /// `data` as JSON text.
    pub data: Option<Cow<'a, str>>,
    /// `partner_agent`.
    pub partner_agent: Option<Cow<'a, str>>,
}

/// Reads the top level. Unknown keys there are tolerated: an official SDK sends some.
pub fn fields<'a>(content_type: &str, text: &'a str) -> Result<Fields<'a>, Refusal> {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let pairs = match kind.as_str() {
        "application/json" => json_pairs(text)?,
        "application/x-www-form-urlencoded" => form_pairs(text),
        "multipart/form-data" => multipart_pairs(content_type, text)?,
        _ if text.trim_start().starts_with('{') => json_pairs(text)?,
        _ => form_pairs(text),
    };
    let mut found = Fields { token: None, token_spans: Vec::new(), data: None, partner_agent: None };
    for (name, value, span) in pairs {
        match name.as_ref() {
            "access_token" => {
                found.token = Some(value);
                found.token_spans.push(span);
            }
            "data" => found.data = Some(value),
            "partner_agent" => found.partner_agent = Some(value),
            _ => {}
        }
    }
    Ok(found)
}

/// The events in `data`, each as its own JSON text. An official SDK sends each event as a *string* that holds JSON.
pub fn events(data: &str) -> Result<Vec<Cow<'_, str>>, Refusal> {
    let items: Vec<&RawValue> = serde_json::from_str(data).map_err(|_| Refusal::Parameter("data must be an array of events".to_owned()))?;
    match items.len() {
        0 => Err(Refusal::Parameter("data must hold at least one event".to_owned())),
        1..=EVENTS_MAX => items.into_iter().map(|item| unquoted(item.get())).collect(),
        more => Err(Refusal::Parameter(format!("data holds {more} events, at most {EVENTS_MAX} are allowed"))),
    }
}

/// Pairs of a query string or a urlencoded form, decoded.
pub fn form(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_pairs(text).into_iter().map(|(name, value, _)| (name, value))
}

/// A name, its value, and where the value stands in the text.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>, Range<usize>);

fn json_pairs(text: &str) -> Result<Vec<Pair<'_>>, Refusal> {
    let broken = |error: serde_json::Error| Refusal::Parameter(format!("the body is not a JSON object: {error}"));
    let TopLevel(entries) = serde_json::from_str(text).map_err(broken)?;
    let mut pairs = Vec::with_capacity(entries.len());
    for (Key(name), raw) in entries {
        let raw = raw.get();
        let Range { start, end } = span(text, raw);
        match raw.as_bytes().first() {
            Some(b'"') => pairs.push((name, unquoted(raw)?, start + 1..end - 1)),
            Some(b'n') => {} // null: as if it were not there
            _ => pairs.push((name, Cow::Borrowed(raw), start..end)),
        }
    }
    Ok(pairs)
}

fn form_pairs(text: &str) -> Vec<Pair<'_>> {
    let named = |part| {
        // A name alone has an empty value at its end: a text from elsewhere would stand nowhere in this one.
        let (name, value) = str::split_once(part, '=').unwrap_or(part.split_at(part.len()));
        (decoded(name), decoded(value), span(text, value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(named).collect()
}

fn multipart_pairs<'a>(content_type: &str, text: &'a str) -> Result<Vec<Pair<'a>>, Refusal> {
    let broken = || Refusal::Parameter("the multipart body is broken".to_owned());
    let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary=")).ok_or_else(broken)?;
    let delimiter = format!("--{}", boundary.trim_matches('"'));
    let mut pairs = Vec::new();
    let mut rest = text.split_once(&delimiter).ok_or_else(broken)?.1;
    while !rest.starts_with("--") {
        let (head, tail) = rest.split_once("\r\n\r\n").ok_or_else(broken)?;
        let (value, after) = tail.split_once(&format!("\r\n{delimiter}")).ok_or_else(broken)?;
        let name = head.split("name=\"").nth(1).and_then(|name| name.split('"').next()).ok_or_else(broken)?;
        pairs.push((Cow::Borrowed(name), Cow::Borrowed(value), span(text, value)));
        rest = after;
    }
    Ok(pairs)
}

/// The top level of a JSON body: keys in order, values as the text that came.
struct TopLevel<'a>(Vec<(Key<'a>, &'a RawValue)>);

impl<'de> Deserialize<'de> for TopLevel<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = TopLevel<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLevel<'de>, A::Error> {
                let mut entries = Vec::with_capacity(4);
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(TopLevel(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The text inside a JSON string; any other JSON stays as it is.
fn unquoted(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    if !raw.starts_with('"') {
        return Ok(Cow::Borrowed(raw));
    }
    match serde_json::from_str(raw) {
        Ok(Json::Text(text)) => Ok(text),
        Ok(_) | Err(_) => Err(Refusal::Parameter("a string is not valid JSON".to_owned())),
    }
}

/// Where a part of a text stands in it.
fn span(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// Plus signs and percent escapes resolved; what is no escape stays.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| Some(hex_digit(*bytes.get(at + 1)?)? << 4 | hex_digit(*bytes.get(at + 2)?)?)).flatten();
        out.push(match (escaped, byte) {
            (Some(escaped), _) => escaped,
            (None, b'+') => b' ',
            (None, other) => other,
        });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::{events, fields, form};

    const MULTIPART: &str = "--B\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n[{\"a\":1}]\r\n\
        --B\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\nT&K\r\n--B--\r\n";

    #[test]
    fn all_encodings_say_the_same() {
        for (content_type, text, token_as_written) in [
            ("application/json", r#"{"data":[{"a":1}],"access_token":"T&K","upload_id":null}"#, "T&K"),
            ("application/json; charset=utf-8", r#"{"access_token":"T\u0026K","data":"[{\"a\":1}]"}"#, r"T\u0026K"),
            ("", r#" {"access_token":"T&K","data":["{\"a\":1}"]}"#, "T&K"),
            ("application/x-www-form-urlencoded", "data=%5B%22%7B%5C%22a%5C%22%3A1%7D%22%5D&access_token=T%26K", "T%26K"),
            ("multipart/form-data; boundary=B", MULTIPART, "T&K"),
        ] {
            let found = fields(content_type, text).expect("well-formed");
            assert_eq!(found.token.as_deref(), Some("T&K"), "{text}");
            assert_eq!(&text[found.token_spans[0].clone()], token_as_written, "{text}");
            let data = found.data.expect("has data");
            assert_eq!(events(&data).expect("an array"), [r#"{"a":1}"#], "{text}");
        }
    }

    #[test]
    fn a_token_without_a_value_stands_where_its_name_ends() {
        let found = fields("application/x-www-form-urlencoded", "data=[]&access_token").expect("well-formed");
        assert_eq!((found.token.as_deref(), found.token_spans.first()), (Some(""), Some(&(20..20))));
    }

    #[test]
    fn broken_bodies_are_refused_not_guessed() {
        for (content_type, text) in [
            ("application/json", "{\"data\":[}"),
            ("application/json", "[]"),
            ("application/json", ""),
            ("multipart/form-data; boundary=B", "--B\r\nno headers"),
            ("multipart/form-data", "--B--"),
        ] {
            assert!(fields(content_type, text).is_err(), "{content_type}: {text}");
        }
        for data in ["{}", "[]", "7", "[", "null"] {
            assert!(events(data).is_err(), "{data}");
        }
    }

    #[test]
    fn a_thousand_events_pass_and_one_more_does_not() {
        let of = |count| format!("[{}]", vec!["{}"; count].join(","));
        assert_eq!(events(&of(1_000)).expect("within the limit").len(), 1_000);
        assert!(events(&of(1_001)).is_err());
    }

    #[test]
    fn percent_escapes_are_resolved_and_stray_signs_stay() {
        let pairs: Vec<_> = form("id=f%3Ao+1&x=100%&cd%5Bvalue%5D=9&y").collect();
        let expected = [("id", "f:o 1"), ("x", "100%"), ("cd[value]", "9"), ("y", "")];
        assert_eq!(pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect::<Vec<_>>(), expected);
    }
}
