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
    /// It is good, but may no longer write to the pixel: 403 with 200.
    Forbidden,
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
pub struct Pixels(BTreeMap<String, Known>);

#[derive(Debug)]
struct Known {
    pixel: Pixel,
    /// When its token was first put, on the box's clock; 0 when that was in an earlier life.
    token_since_ms: u64,
}

impl Pixels {
    /// Adds or replaces one.
    pub fn put(&mut self, id: &str, pixel: Pixel, now_ms: u64) {
        let before = self.0.get(id).filter(|known| known.pixel.access_token == pixel.access_token);
        let token_since_ms = before.map_or(now_ms, |known| known.token_since_ms);
        self.0.insert(id.to_owned(), Known { pixel, token_since_ms });
    }

    /// The pixel of this id.
    pub fn get(&self, id: &str) -> Option<&Pixel> {
        self.0.get(id).map(|known| &known.pixel)
    }

    /// Lets a token write to a pixel, or says why not. The token is looked at first, as Meta does. `scripted` is asked for what
    /// befell a pixel's token since it was put.
    pub fn admit(&self, id: &str, token: Option<&str>, scripted: impl Fn(&str, u64) -> Option<TokenState>) -> Result<Mode, Refusal> {
        let own = self.0.get_key_value(id);
        let token = token.filter(|token| !token.is_empty()).ok_or(Refusal::TokenUnknown)?;
        let is_of = |(_, known): &(&String, &Known)| known.pixel.access_token == token;
        let (of_id, of_token) = own.filter(is_of).or_else(|| self.0.iter().find(is_of)).ok_or(Refusal::TokenUnknown)?;
        let state = scripted(of_id, of_token.token_since_ms).unwrap_or(of_token.pixel.token_state);
        match state {
            TokenState::Valid | TokenState::Forbidden => {}
            TokenState::Expired => return Err(Refusal::TokenExpired),
            TokenState::Revoked => return Err(Refusal::TokenRevoked),
        }
        match own {
            None => Err(Refusal::PixelUnknown(id.to_owned())),
            Some((_, known)) if known.pixel.access_token != token => Err(Refusal::TokenOfAnotherPixel),
            Some(_) if state == TokenState::Forbidden => Err(Refusal::PermissionMissing),
            Some((_, known)) => Ok(known.pixel.mode),
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
            ("5", "mute", TokenState::Forbidden),
        ] {
            pixels.put(id, Pixel { access_token: token.to_owned(), mode: Mode::Strict, token_state }, 0);
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
            ("5", Some("mute"), Err(Refusal::PermissionMissing)),
            ("1", Some("mute"), Err(Refusal::TokenOfAnotherPixel)),
        ] {
            assert_eq!(pixels.admit(id, token, |_, _| None), expected, "pixel {id} with {token:?}");
        }
    }

    #[test]
    fn the_script_is_asked_about_the_pixel_whose_token_it_is_and_since_when() {
        let mut pixels = Pixels::default();
        let pixel = |token: &str| Pixel { access_token: token.to_owned(), mode: Mode::Real, token_state: TokenState::Revoked };
        pixels.put("1", pixel("one"), 5);
        pixels.put("1", pixel("one"), 7);
        pixels.put("2", pixel("two"), 9);
        let asked = |of: &str, since| [("1", 5), ("2", 9)].contains(&(of, since)).then_some(TokenState::Valid);
        assert_eq!(pixels.admit("1", Some("one"), asked), Ok(Mode::Real), "put again, the same token is no newer");
        assert_eq!(pixels.admit("1", Some("two"), asked), Err(Refusal::TokenOfAnotherPixel));
        pixels.put("1", pixel("new"), 8);
        assert_eq!(pixels.admit("1", Some("new"), asked), Err(Refusal::TokenRevoked), "the script is not about this one");
    }
}
