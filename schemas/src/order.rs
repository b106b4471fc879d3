//! The order id: what makes two requests one order.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de};

/// Longest order id in bytes, after trimming.
pub const ORDER_ID_BYTES_MAX: usize = 128;

/// An order's id in the shop: trimmed as JavaScript trims, case kept, 1 to 128 bytes, never a left-over template.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct OrderId(Arc<str>);

/// Why a text is not an order id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderIdError {
    /// Neither a string nor an integer.
    #[error("must be a string or an integer")]
    WrongType,
    /// Longer than [`ORDER_ID_BYTES_MAX`].
    #[error("must be at most 128 bytes")]
    TooLong,
    /// A template that nobody filled in; it would fold all sales into one.
    #[error("looks like a template that was not filled in")]
    Template,
    /// A control character inside.
    #[error("must not contain control characters")]
    Control,
}

impl OrderId {
    /// The order id in a text; `None` if it is blank, which means absent.
    pub fn parse(text: &str) -> Result<Option<Self>, OrderIdError> {
        let text = text.trim_matches(is_blank);
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > ORDER_ID_BYTES_MAX {
            return Err(OrderIdError::TooLong);
        }
        if is_template(text) {
            return Err(OrderIdError::Template);
        }
        if text.chars().any(char::is_control) {
            return Err(OrderIdError::Control);
        }
        Ok(Some(Self(text.into())))
    }

    /// The order id in the text of a JSON value: a string, an integer (its decimal text), or null (absent).
    pub fn parse_json(json: &str) -> Result<Option<Self>, OrderIdError> {
        match json.as_bytes().first() {
            Some(b'"') => {
                let text: std::borrow::Cow<'_, str> =
                    serde_json::from_str::<crate::json::Text<'_>>(json).map_err(|_| OrderIdError::WrongType)?.0;
                Self::parse(&text)
            }
            Some(b'n') => Ok(None),
            Some(b'-' | b'0'..=b'9') if json.bytes().all(|b| b == b'-' || b.is_ascii_digit()) => Self::parse(json),
            _ => Err(OrderIdError::WrongType),
        }
    }

    /// The trimmed text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What JavaScript's `trim` takes away, so that page, pixel and webhook make one id of one order.
fn is_blank(c: char) -> bool {
    c == '\u{feff}' || c.is_whitespace() && c != '\u{85}'
}

fn is_template(text: &str) -> bool {
    ["undefined", "null", "nan", "[object object]"].iter().any(|word| text.eq_ignore_ascii_case(word))
        || (text.contains("{{") && text.contains("}}"))
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for OrderId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = crate::json::Text::deserialize(from)?;
        Self::parse(&text.0).map_err(de::Error::custom)?.ok_or_else(|| de::Error::custom("an order id must not be blank"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_in_every_form() {
        for (json, id) in [
            (r#""ORD-123""#, Ok(Some("ORD-123"))),
            (r#""  ORD-123\n""#, Ok(Some("ORD-123"))),
            ("\"\u{a0}ORD-123\u{feff}\u{2003}\"", Ok(Some("ORD-123"))),
            ("\"ORD-123\u{85}\"", Err(OrderIdError::Control)),
            (r#""ord-123""#, Ok(Some("ord-123"))),
            (r#""№ 7|a:b""#, Ok(Some("№ 7|a:b"))),
            ("123", Ok(Some("123"))),
            ("-5", Ok(Some("-5"))),
            ("12345678901234567890123", Ok(Some("12345678901234567890123"))),
            ("null", Ok(None)),
            (r#""""#, Ok(None)),
            (r#"" \t ""#, Ok(None)),
            ("1.5", Err(OrderIdError::WrongType)),
            ("1e3", Err(OrderIdError::WrongType)),
            ("true", Err(OrderIdError::WrongType)),
            ("{}", Err(OrderIdError::WrongType)),
            ("[]", Err(OrderIdError::WrongType)),
            (r#""{{order.id}}""#, Err(OrderIdError::Template)),
            (r#""ORD-{{id}}""#, Err(OrderIdError::Template)),
            (r#""undefined""#, Err(OrderIdError::Template)),
            (r#""null""#, Err(OrderIdError::Template)),
            (r#""NaN""#, Err(OrderIdError::Template)),
            (r#""[object Object]""#, Err(OrderIdError::Template)),
            (r#""a\u0000b""#, Err(OrderIdError::Control)),
        ] {
            assert_eq!(OrderId::parse_json(json).as_ref().map(|o| o.as_ref().map(OrderId::as_str)), id.as_ref().copied(), "{json}");
        }
        assert_eq!(OrderId::parse(&"x".repeat(128)).map(|o| o.is_some()), Ok(true));
        assert_eq!(OrderId::parse(&"x".repeat(129)), Err(OrderIdError::TooLong));
    }
}
