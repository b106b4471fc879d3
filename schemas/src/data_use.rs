//! Limited data use (LDU): what laws of some US states let a visitor ask for. Meta's three fields make sense only together, so here they
//! are one value, and whatever was told of them becomes one that Meta takes.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json::{self, Fields, Text};

/// Meta's names of the three fields.
pub const FIELDS: [&str; 3] = ["data_processing_options", "data_processing_options_country", "data_processing_options_state"];

/// How Meta may use what is told of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataUse {
    /// Without limits: an empty list was told.
    Full,
    /// Limited, where a law of that place says so.
    Limited {
        /// 1 is the USA; 0 lets Meta find out by the address.
        country: u8,
        /// From 1000 (California); 0 lets Meta find out.
        state: u16,
    },
}

impl DataUse {
    /// What an object tells under Meta's names; none if it tells nothing readable. A limit is kept, however badly its place is told:
    /// then Meta finds out where the visitor is.
    pub fn told(fields: &Fields<'_>) -> Option<Self> {
        let [options, country, state] = FIELDS;
        let place = |name| fields.get(name).and_then(number);
        Some(if is_limited(fields.get(options)?)? { Self::limited(place(country), place(state)) } else { Self::Full })
    }

    /// The same of an object as text. Nearly none tells anything, so its names are looked for before it is read.
    pub fn told_in(object: &str) -> Option<Self> {
        if object.contains(FIELDS[0]) { Self::told(&Fields::parse(object).ok()?) } else { None }
    }

    /// A limit at a place. Every state that Meta lists lies in the USA.
    fn limited(country: Option<u16>, state: Option<u16>) -> Self {
        let state = state.filter(|state| (1000..=1013).contains(state)).unwrap_or(0);
        Self::Limited { country: u8::from(country == Some(1) || state > 0), state }
    }

    /// Country and state to tell Meta; none without a limit. A place that Meta does not know is left to it.
    pub(crate) fn limit(self) -> Option<(u8, u16)> {
        match self {
            Self::Full => None,
            Self::Limited { country, state } => match Self::limited(Some(country.into()), Some(state)) {
                Self::Limited { country, state } => Some((country, state)),
                Self::Full => None,
            },
        }
    }
}

/// Whether the options limit: `["LDU"]` does, `[]` does not, another word is none of ours.
fn is_limited(options: &str) -> Option<bool> {
    let is_ldu = |word: &str| word.trim().eq_ignore_ascii_case("LDU");
    if options.starts_with('[') {
        let words: Vec<Text<'_>> = serde_json::from_str(options).ok()?;
        return (words.is_empty() || words.iter().any(|Text(word)| is_ldu(word))).then_some(!words.is_empty());
    }
    is_ldu(&json::string(options)?).then_some(true)
}

fn number(value: &str) -> Option<u16> {
    json::string(value).unwrap_or(Cow::Borrowed(value)).trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_fields_are_one_value_that_meta_takes() {
        for (options, country, state, told) in [
            (r#"["LDU"]"#, "0", "0", Some(Some((0, 0)))),
            (r#"["LDU"]"#, "1", "1000", Some(Some((1, 1000)))),
            (r#"["LDU"]"#, "\"1\"", "\"1013\"", Some(Some((1, 1013)))),
            (r#"["LDU"]"#, "1", "null", Some(Some((1, 0)))),
            (r#"["LDU"]"#, "null", "1000", Some(Some((1, 1000)))),
            (r#"["LDU"]"#, "null", "null", Some(Some((0, 0)))),
            (r#"["LDU"]"#, "2", "1014", Some(Some((0, 0)))),
            (r#"["LDU"]"#, "\"USA\"", "[]", Some(Some((0, 0)))),
            (r#"["ldu","X"]"#, "0", "0", Some(Some((0, 0)))),
            (r#""LDU""#, "1", "1000", Some(Some((1, 1000)))),
            ("[]", "1", "1000", Some(None)),
            (r#"["X"]"#, "1", "1000", None),
            ("true", "1", "1000", None),
            ("null", "1", "1000", None),
            ("[7]", "1", "1000", None),
        ] {
            let object = format!(
                r#"{{"data_processing_options":{options},"data_processing_options_country":{country},"data_processing_options_state":{state}}}"#
            );
            assert_eq!(DataUse::told_in(&object).map(DataUse::limit), told, "{object}");
        }
        assert_eq!(DataUse::told_in(r#"{"data_processing_options_country":1,"data_processing_options_state":1000}"#), None);
        assert_eq!(DataUse::Limited { country: 9, state: 7 }.limit(), Some((0, 0)), "what was stored is not trusted either");
    }
}
