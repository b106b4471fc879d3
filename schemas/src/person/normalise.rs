//! How Meta wants each field of a person written before it is hashed. `None` means: leave the field out, keep the event.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, char::is_combining_mark, is_nfc_quick};

use super::Country;

/// Longest address in bytes that mail can reach (RFC 5321, a path of 256 less its brackets).
const EMAIL_BYTES_MAX: usize = 254;

/// A plausible e-mail address in lower case: one `@`, a domain with a dot. Dots and plus tags of the local part stay.
pub fn email(text: &str) -> Option<String> {
    let lower = lower(text);
    let (local, domain) = lower.split_once('@')?;
    let plausible = lower.len() <= EMAIL_BYTES_MAX && is_local_part(local) && is_domain(domain);
    plausible.then(|| lower.into_owned())
}

fn is_local_part(local: &str) -> bool {
    // Marks that stand in lists, quotes, display names and links rather than in an address.
    let stray =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | ';' | ':' | '"' | '<' | '>' | '(' | ')' | '[' | ']' | '\\');
    !local.is_empty() && !local.contains("..") && !local.contains(stray)
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || is_combining_mark(c) || c == '-')
    };
    let Some((_, top)) = domain.rsplit_once('.') else { return false };
    domain.split('.').all(is_label) && top.chars().count() >= 2 && top.chars().any(char::is_alphabetic)
}

/// A first or last name: lower case without punctuation, symbols and white space; letters of every script keep their accents.
pub fn name(text: &str) -> Option<String> {
    with_a_letter(lower(text).chars().filter(|&c| c.is_alphanumeric() || is_accent(c)))
}

/// A city: as a name, and without digits.
pub fn city(text: &str) -> Option<String> {
    with_a_letter(lower(text).chars().filter(|&c| c.is_alphabetic() || is_accent(c)))
}

/// A state or province: the two letters of US and Canadian ones, elsewhere its name as of a city.
pub fn state(text: &str) -> Option<String> {
    let letters = city(text)?;
    Some(match super::state::code(&letters) {
        Some(code) => code.to_owned(),
        None => letters,
    })
}

/// A postal code: lower case without white space, up to the first dash; five digits in the US.
pub fn zip(text: &str, country: Option<Country>) -> Option<String> {
    let lower = lower(text);
    let kept = lower.split('-').next().unwrap_or_default().chars().filter(|c| !c.is_whitespace());
    let zip = composed(match country {
        Some(country) if country.is_us() => kept.take(5).collect(),
        _ => kept.collect(),
    });
    (zip.chars().count() >= 2 && zip.contains(char::is_alphanumeric)).then_some(zip)
}

/// A gender as Meta knows two: `f` or `m`.
pub fn gender(text: &str) -> Option<String> {
    let letters: String = text.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect();
    match &*letters {
        "f" | "female" | "woman" => Some("f".to_owned()),
        "m" | "male" | "man" => Some("m".to_owned()),
        _ => None,
    }
}

/// The shop's own id of a person: lower case without white space, so that every channel gives the same digest.
pub fn external_id(text: &str) -> Option<String> {
    let id = composed(lower(text).chars().filter(|c| !c.is_whitespace()).collect());
    (!id.is_empty()).then_some(id)
}

/// Trimmed, composed (NFC: Meta's documented digest of an accented name is the composed one) and in lower case.
fn lower(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if text.is_ascii() {
        return if text.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) };
    }
    Cow::Owned(composed(composed(text.to_owned()).to_lowercase()))
}

/// The composed form. What was removed from between two characters may let them compose, so it is asked for again at the end.
fn composed(text: String) -> String {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text,
        IsNormalized::No | IsNormalized::Maybe => text.nfc().collect(),
    }
}

/// Accents and vowel signs that stand as characters of their own, but not the selectors that turn a symbol into an emoji.
fn is_accent(c: char) -> bool {
    is_combining_mark(c) && !matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{20dd}'..='\u{20e4}' | '\u{e0100}'..='\u{e01ef}')
}

fn with_a_letter(chars: impl Iterator<Item = char>) -> Option<String> {
    let text = composed(chars.collect());
    text.contains(char::is_alphabetic).then_some(text)
}
