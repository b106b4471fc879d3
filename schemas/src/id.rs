//! Names of things: workspaces, funnels, pixels, visitors. Each can only be made from text that is one.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {rule}")]
pub struct IdError {
    what: &'static str,
    rule: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id, if the text is one.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let ok: fn(&str) -> bool = $ok;
                if ok(text) { Ok(Self(text.into())) } else { Err(IdError { what: $what, rule: $rule }) }
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($rule)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                from.deserialize_str(Text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn short_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Visible ASCII without the separator of dedup keys: what a browser script may hand us as an id.
fn visible(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'|')
}

id!(
    /// A tenant: owns an API key, funnels and pixels.
    WorkspaceId, "a workspace id", "1 to 64 of A-Z a-z 0-9 _ -", short_word
);
id!(
    /// One site or flow: the public id in `fid` and in the webhook's path.
    FunnelId, "a funnel id", "1 to 64 of A-Z a-z 0-9 _ -", short_word
);
id!(
    /// Meta's id of a pixel (dataset): digits.
    PixelId, "a pixel id", "1 to 20 digits", |t| (1..=20).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit())
);
id!(
    /// An anonymous browser, the value of `_rm_vid`.
    VisitorId, "a visitor id", "1 to 128 visible ASCII characters without |", visible
);

/// Letters of made ids: lower case and digits without look-alikes.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

fn word(prefix: &str, random: [u8; 12]) -> String {
    let mut text = String::with_capacity(prefix.len() + random.len());
    text.push_str(prefix);
    text.extend(random.iter().map(|b| char::from(LETTERS[usize::from(b & 31)])));
    text
}

impl WorkspaceId {
    /// A new id from twelve random bytes (60 of their bits are used).
    pub fn new(random: [u8; 12]) -> Self {
        Self(word("ws_", random).into())
    }
}

impl FunnelId {
    /// A new id from twelve random bytes (60 of their bits are used).
    pub fn new(random: [u8; 12]) -> Self {
        Self(word("fn_", random).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_are_ids() {
        assert_eq!(FunnelId::parse(FunnelId::new([7; 12]).as_str()), Ok(FunnelId::new([7; 12])));
        assert_eq!(WorkspaceId::parse(WorkspaceId::new([255; 12]).as_str()), Ok(WorkspaceId::new([255; 12])));
    }

    #[test]
    fn texts_that_could_break_a_key_or_a_path_are_no_ids() {
        for bad in ["", "a|b", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert!(FunnelId::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a|b", "a b", "\n", &"x".repeat(129)] {
            assert!(VisitorId::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "12a", "-1", &"1".repeat(21)] {
            assert!(PixelId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
