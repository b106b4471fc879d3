//! The pixels the box plays, and who may write to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// How much of Meta's documentation is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As lenient as the real endpoint is known to be.
    #[default]
    Real,
    /// Every documented rule is an error.
    Strict,
}

/// What Meta would say of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// It works.
    #[default]
    Valid,
    /// It ran out: 190 with 463.
    Expired,
    /// Its owner withdrew it: 190 with 460.
    Revoked,
}

/// One pixel: its token and how strict it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pixel {
    /// The token that may write to it.
    pub access_token: String,
    /// How strict it is.
    #[serde(default)]
    pub mode: Mode,
    /// What became of the token.
    #[serde(default)]
    pub token_state: TokenState,
}

/// All pixels by id.
#[derive(Debug, Default)]
pub struct Pixels(BTreeMap<String, Pixel>);

impl Pixels {
    /// Adds or replaces one. Says whether anything changed.
    pub fn put(&mut self, id: &str, pixel: Pixel) -> bool {
        self.0.insert(id.to_owned(), pixel.clone()) != Some(pixel)
    }

    /// The pixel of this id.
    pub fn get(&self, id: &str) -> Option<&Pixel> {
        self.0.get(id)
    }

    /// Lets a token write to a pixel, or says why not. The token is looked at first, as Meta does.
    pub fn admit(&self, id: &str, token: Option<&str>) -> Result<Mode, Refusal> {
        let own = self.0.get(id);
        let token = token.filter(|token| !token.is_empty()).ok_or(Refusal::TokenUnknown)?;
        let of_token = own
            .filter(|pixel| pixel.access_token == token)
            .or_else(|| self.0.values().find(|pixel| pixel.access_token == token))
            .ok_or(Refusal::TokenUnknown)?;
        match of_token.token_state {
            TokenState::Valid => {}
            TokenState::Expired => return Err(Refusal::TokenExpired),
            TokenState::Revoked => return Err(Refusal::TokenRevoked),
        }
        match own {
            None => Err(Refusal::PixelUnknown(id.to_owned())),
            Some(pixel) if pixel.access_token != token => Err(Refusal::TokenOfAnotherPixel),
            Some(pixel) => Ok(pixel.mode),
        }
    }
}

/// Whether this can be a pixel's id: decimal digits, as in the path.
pub fn is_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Mode, Pixel, Pixels, TokenState};
    use crate::refusal::Refusal;

    #[test]
    fn a_token_opens_its_own_pixel_only() {
        let mut pixels = Pixels::default();
        for (id, token, token_state) in [
            ("1", "one", TokenState::Valid),
            ("2", "two", TokenState::Valid),
            ("3", "old", TokenState::Expired),
            ("4", "gone", TokenState::Revoked),
        ] {
            pixels.put(id, Pixel { access_token: token.to_owned(), mode: Mode::Strict, token_state });
        }
        let unknown = || Err(Refusal::TokenUnknown);
        for (id, token, expected) in [
            ("1", Some("one"), Ok(Mode::Strict)),
            ("1", None, unknown()),
            ("1", Some(""), unknown()),
            ("1", Some("nobody's"), unknown()),
            ("1", Some("two"), Err(Refusal::TokenOfAnotherPixel)),
            ("9", Some("two"), Err(Refusal::PixelUnknown("9".to_owned()))),
            ("9", Some("nobody's"), unknown()),
            ("3", Some("old"), Err(Refusal::TokenExpired)),
            ("1", Some("old"), Err(Refusal::TokenExpired)),
            ("4", Some("gone"), Err(Refusal::TokenRevoked)),
        ] {
            assert_eq!(pixels.admit(id, token), expected, "pixel {id} with {token:?}");
        }
    }
}
