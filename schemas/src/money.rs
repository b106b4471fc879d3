//! Money: whole minor units and an ISO 4217 currency, parsed from the number's own text and never through a float.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A currency people pay in: ISO 4217 with a known number of decimals. `XXX` (no currency) and metals are refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency {
    code: [u8; 3],
    decimals: u8,
}

/// Why a text is not a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CurrencyError {
    /// Not three letters.
    #[error("must be three letters, such as USD")]
    NotThreeLetters,
    /// Three letters that ISO 4217 does not list as money one can pay with.
    #[error("is not an ISO 4217 currency")]
    Unknown,
}

impl Currency {
    /// The currency of that code; ASCII white space around it and its case do not matter.
    pub fn parse(text: &str) -> Result<Self, CurrencyError> {
        let code: [u8; 3] = text.trim_ascii().as_bytes().try_into().map_err(|_| CurrencyError::NotThreeLetters)?;
        if !code.iter().all(u8::is_ascii_alphabetic) {
            return Err(CurrencyError::NotThreeLetters);
        }
        let code = code.map(|b| b.to_ascii_uppercase());
        let known = std::str::from_utf8(&code).ok().and_then(iso_currency::Currency::from_code).ok_or(CurrencyError::Unknown)?;
        match known.exponent() {
            Some(decimals) if !matches!(&code, b"XXX" | b"XTS") => Ok(Self { code, decimals: decimals as u8 }),
            _ => Err(CurrencyError::Unknown),
        }
    }

    /// The upper-case code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.code).expect("only ASCII letters are ever stored")
    }

    /// Digits after the decimal point: 2 for USD, 0 for JPY, 3 for KWD.
    pub fn decimals(self) -> u8 {
        self.decimals
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Currency;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an ISO 4217 code")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Currency, E> {
                Currency::parse(text).map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217"})
    }
}

/// An amount in whole minor units of its currency: 4999 of USD is 49.99, 4999 of JPY is 4999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// Whole minor units, 0 and more.
    pub minor: i64,
    /// The currency, which knows its decimals.
    pub currency: Currency,
}

/// The largest amount: 10^15 minor units, exact in every JSON reader that uses doubles.
pub const MINOR_MAX: i64 = 1_000_000_000_000_000;

/// Why a number's text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a number, or a string that is not a plain decimal.
    #[error("must be a number or a plain decimal string such as \"49.99\"")]
    NotANumber,
    /// Below zero.
    #[error("must not be negative")]
    Negative,
    /// More than [`MINOR_MAX`].
    #[error("is too large")]
    TooLarge,
    /// More decimals than the currency has, beyond what a binary float leaves behind.
    #[error("has more decimals than the currency allows")]
    TooManyDecimals,
}

impl Money {
    /// Parses the text of a JSON number (`49.99`, `1e2`) into the currency's minor units.
    ///
    /// A remainder under a millionth of a unit is what binary floats leave behind (59.970000000000006) and is rounded away.
    pub fn parse_number(text: &str, currency: Currency) -> Result<Self, AmountError> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let money = Self { minor: minor_units(mantissa, exponent, currency.decimals())?, currency };
        let is_zero = mantissa.bytes().all(|b| matches!(b, b'0' | b'.'));
        if negative && !is_zero { Err(AmountError::Negative) } else { Ok(money) }
    }

    /// Parses a plain decimal string (`"49.99"`): digits, and at most one point between digits. No exponent, no sign but `-`, no
    /// thousands separators. White space around it does not matter.
    pub fn parse_decimal(text: &str, currency: Currency) -> Result<Self, AmountError> {
        let text = text.trim_ascii();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if plain(whole) && plain(fraction) { Self::parse_number(text, currency) } else { Err(AmountError::NotANumber) }
    }

    /// The amount as a decimal text with exactly the currency's decimals, which is also a JSON number.
    pub fn decimal(self) -> String {
        let decimals = usize::from(self.currency.decimals());
        if decimals == 0 {
            return self.minor.to_string();
        }
        let digits = format!("{:0width$}", self.minor, width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        format!("{whole}.{fraction}")
    }
}

fn exponent(text: &str) -> Result<i64, AmountError> {
    // Beyond ±10,000 every amount is either zero or too large, so a longer exponent says nothing more.
    let value: i64 = match text.strip_prefix('+').unwrap_or(text).parse() {
        Ok(value) => value,
        Err(error) => match error.kind() {
            std::num::IntErrorKind::PosOverflow => 10_000,
            std::num::IntErrorKind::NegOverflow => -10_000,
            _ => return Err(AmountError::NotANumber),
        },
    };
    Ok(value.clamp(-10_000, 10_000))
}

/// `mantissa`·10^`exponent` in units of 10^-`decimals`, rounded only where the remainder is float noise.
fn minor_units(mantissa: &str, exponent: i64, decimals: u8) -> Result<i64, AmountError> {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(AmountError::NotANumber);
    }
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip_while(|&b| b == b'0').map(|b| b - b'0').collect();
    if digits.is_empty() {
        return Ok(0);
    }
    // The amount is 0.d1d2d3… · 10^point major units, hence the first `kept` digits are minor units.
    let point = digits.len() as i64 - fraction.len() as i64 + exponent;
    let kept = point + i64::from(decimals);
    if kept > 16 {
        return Err(AmountError::TooLarge);
    }
    let digit = |at: i64| usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
    let minor = (0..kept.max(0)).fold(0_i64, |sum, at| sum * 10 + i64::from(digit(at)));

    // From there to the sixth decimal of the major unit all digits must be 0, or all 9 with more behind them.
    let between = || (kept..point + 6).map(digit);
    let minor = if between().all(|d| d == 0) {
        minor
    } else if between().all(|d| d == 9) && digits.iter().skip((point + 6).max(0) as usize).any(|&d| d != 0) {
        minor + 1
    } else {
        return Err(AmountError::TooManyDecimals);
    };
    if minor > MINOR_MAX { Err(AmountError::TooLarge) } else { Ok(minor) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(text: &str, code: &str) -> Result<i64, AmountError> {
        Money::parse_number(text, Currency::parse(code).expect("a currency")).map(|m| m.minor)
    }

    #[test]
    fn amounts_are_exact_in_the_decimals_of_their_currency() {
        for (text, code, minor) in [
            ("49.99", "USD", Ok(4999)),
            ("0", "USD", Ok(0)),
            ("-0", "USD", Ok(0)),
            ("-0.00", "USD", Ok(0)),
            ("0.01", "USD", Ok(1)),
            ("0.1", "USD", Ok(10)),
            ("49.990", "USD", Ok(4999)),
            ("1e2", "USD", Ok(10_000)),
            ("4.999E+1", "USD", Ok(4999)),
            ("4999", "JPY", Ok(4999)),
            ("1.234", "KWD", Ok(1234)),
            ("59.970000000000006", "USD", Ok(5997)),
            ("59.96999999999999", "USD", Ok(5997)),
            ("0.30000000000000004", "USD", Ok(30)),
            ("0.0000000001", "USD", Ok(0)),
            ("4999.0000000001", "JPY", Ok(4999)),
            ("0.9999999999", "JPY", Ok(1)),
            ("10000000000000", "USD", Ok(MINOR_MAX)),
            ("49.999", "USD", Err(AmountError::TooManyDecimals)),
            ("0.001", "USD", Err(AmountError::TooManyDecimals)),
            ("0.00001", "USD", Err(AmountError::TooManyDecimals)),
            ("59.970001", "USD", Err(AmountError::TooManyDecimals)),
            ("49.5", "JPY", Err(AmountError::TooManyDecimals)),
            ("-1", "USD", Err(AmountError::Negative)),
            ("-0.01", "USD", Err(AmountError::Negative)),
            ("1e400", "USD", Err(AmountError::TooLarge)),
            ("1e99999999999999999999", "USD", Err(AmountError::TooLarge)),
            ("1e-99999999999999999999", "USD", Ok(0)),
            ("10000000000000.01", "USD", Err(AmountError::TooLarge)),
            ("", "USD", Err(AmountError::NotANumber)),
            ("NaN", "USD", Err(AmountError::NotANumber)),
        ] {
            assert_eq!(money(text, code), minor, "{text} {code}");
        }
    }

    #[test]
    fn only_plain_decimal_strings_are_amounts() {
        let usd = Currency::parse("USD").expect("a currency");
        for (text, minor) in [
            ("49.99", Ok(4999)),
            (" 49.99 ", Ok(4999)),
            ("1e2", Err(AmountError::NotANumber)),
            ("49,99", Err(AmountError::NotANumber)),
            ("1,000.00", Err(AmountError::NotANumber)),
            ("$5", Err(AmountError::NotANumber)),
            ("", Err(AmountError::NotANumber)),
            (".5", Err(AmountError::NotANumber)),
            ("5.", Err(AmountError::NotANumber)),
            ("+5", Err(AmountError::NotANumber)),
            ("-5", Err(AmountError::Negative)),
        ] {
            assert_eq!(Money::parse_decimal(text, usd).map(|m| m.minor), minor, "{text:?}");
        }
    }

    #[test]
    fn currencies_are_three_letters_of_iso_4217() {
        for (text, code) in [
            ("usd", Ok("USD")),
            (" Eur ", Ok("EUR")),
            ("US$", Err(CurrencyError::NotThreeLetters)),
            ("EURO", Err(CurrencyError::NotThreeLetters)),
            ("", Err(CurrencyError::NotThreeLetters)),
            ("XXX", Err(CurrencyError::Unknown)),
            ("XTS", Err(CurrencyError::Unknown)),
            ("ABC", Err(CurrencyError::Unknown)),
            ("BTC", Err(CurrencyError::Unknown)),
        ] {
            assert_eq!(Currency::parse(text).as_ref().map(Currency::code), code.as_ref().copied(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_amount_parses_to_itself(minor in 0..=MINOR_MAX, code in prop::sample::select(vec!["USD", "JPY", "KWD", "CLF"])) {
            let currency = Currency::parse(code).expect("a currency");
            let money = Money { minor, currency };
            prop_assert_eq!(Money::parse_number(&money.decimal(), currency), Ok(money));
            prop_assert_eq!(Money::parse_decimal(&money.decimal(), currency), Ok(money));
        }

        #[test]
        fn what_a_double_prints_for_cents_is_those_cents(minor in 0_i64..1_000_000_000) {
            let currency = Currency::parse("USD").expect("a currency");
            let sum = (minor as f64) * 0.01; // as a careless shop would compute it
            prop_assert_eq!(Money::parse_number(&format!("{sum}"), currency).map(|m| m.minor), Ok(minor));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9eE.]{0,40}") {
            let _ = Money::parse_number(&text, Currency::parse("USD").expect("a currency"));
        }
    }
}
