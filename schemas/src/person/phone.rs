//! A phone number as Meta wants it: digits only, country code first, no leading zeros.

use super::Country;

/// A phone number. National numbers (a leading zero) need a default country; without any prefix the caller is trusted to have
/// written the country code.
pub fn phone(text: &str, default_country: Option<Country>) -> Option<String> {
    let number = Number::read(text);
    let digits = number.digits.trim_start_matches('0');
    let digits = match (number.is_international, default_country) {
        (false, None) if number.digits.starts_with('0') => return None,
        (false, Some(country)) => with_country(&number.digits, country)?,
        (true, _) | (false, None) => digits.to_owned(),
    };
    (7..=15).contains(&digits.len()).then_some(digits)
}

/// A number as it would be dialled from abroad.
fn with_country(digits: &str, country: Country) -> Option<String> {
    let code = country.calling_code()?;
    Some(match digits.strip_prefix('0') {
        Some(_) if keeps_zero(country) => format!("{code}{digits}"),
        Some(national) => format!("{code}{national}"),
        // North America dials no zero: ten digits are a number without its country code.
        None if code == "1" && digits.len() == 10 => format!("1{digits}"),
        None => digits.to_owned(),
    })
}

/// Countries whose leading zero belongs to the number and is dialled from abroad too.
fn keeps_zero(country: Country) -> bool {
    matches!(country.code(), "it" | "sm" | "va" | "ci" | "cg")
}

struct Number {
    digits: String,
    /// It began with `+` or `00`.
    is_international: bool,
}

impl Number {
    fn read(text: &str) -> Self {
        let mut number = Self { digits: String::with_capacity(16), is_international: false };
        let mut rest = without_extension(text).chars();
        while let Some(c) = rest.next() {
            match c {
                '+' | '\u{ff0b}' if number.digits.is_empty() => number.is_international = true,
                // The trunk zero that is dialled only inside the country: +44 (0)20 …
                '(' if number.is_international && rest.as_str().starts_with("0)") => {
                    rest.next();
                }
                _ => number.digits.extend(digit(c)),
            }
            number.is_international |= number.digits == "00";
        }
        number
    }
}

/// The number before `ext 5`, `x5`, `#5`, `;ext=5` or a second number after a comma.
fn without_extension(text: &str) -> &str {
    let end = text.find(['x', 'X', '#', ';', ',']).unwrap_or(text.len());
    &text[..end]
}

/// Zeros of the decimal digits that people type outside the ASCII ones: Arabic (two kinds), Indic scripts, Thai, Lao, Tibetan,
/// Myanmar, Khmer, Mongolian, full width.
const ZEROS: [u32; 19] = [
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x17e0,
    0x1810, 0xff10,
];

fn digit(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    let zero = ZEROS.into_iter().find(|zero| (*zero..zero + 10).contains(&u32::from(c)))?;
    char::from_digit(u32::from(c) - zero, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_country_completes_national_numbers() {
        for (text, country, number) in [
            ("(650)555-1212", "US", Some("16505551212")),
            ("16505551212", "US", Some("16505551212")),
            ("020 7946 0958", "GB", Some("442079460958")),
            ("06 12 34 56 78", "FR", Some("33612345678")),
            ("+33 6 12 34 56 78", "GB", Some("33612345678")),
            ("0033 6 12 34 56 78", "GB", Some("33612345678")),
            ("06 1234 5678", "IT", Some("390612345678")),
            ("447911123456", "GB", Some("447911123456")),
            ("(0)20 7946 0958", "GB", Some("442079460958")),
            ("12", "GB", None),
        ] {
            assert_eq!(phone(text, Country::parse(country)).as_deref(), number, "{text} {country}");
        }
    }

    #[test]
    fn digits_of_other_scripts_are_digits() {
        assert_eq!(phone("+٩٦٦ ٥٠ ١٢٣ ٤٥٦٧", None).as_deref(), Some("966501234567"));
        assert_eq!(phone("＋１６５０５５５１２１２", None).as_deref(), Some("16505551212"));
    }
}
