//! Meta's two cookies, and the click on an ad from which one of them is made.
//!
//! `_fbp` and `_fbc` read `fb.{index}.{milliseconds}.{id}`, where the id of `_fbc` is the click: the `fbclid` that Meta puts into the
//! address of the page. Meta's own libraries may append a fifth part. What came is kept byte for byte; the case of a click matters.

use std::borrow::Cow;

use crate::time::Time;

/// Longest click id in bytes; Meta's own library passes over longer ones.
const CLICK_BYTES_MAX: usize = 500;

/// Whether a text is one of Meta's cookies.
pub fn is_cookie(text: &str) -> bool {
    parts(text).is_some()
}

/// The click of an `_fbc`: its fourth part, and not what follows the last dot, where an appendix may stand.
pub fn of_cookie(fbc: &str) -> Option<&str> {
    parts(fbc).map(|(_, id)| id)
}

/// When an `_fbc` says that its click was first seen, in milliseconds.
fn seen_at_ms(fbc: &str) -> Option<i64> {
    parts(fbc)?.0.parse().ok()
}

/// The click in a page's address, decoded once; none if it could not live in a cookie.
pub fn of_url(url: &str) -> Option<String> {
    const NAME: &str = "fbclid=";
    let is_parameter = |at: &usize| matches!(url.as_bytes()[..*at].last(), Some(b'?' | b'&'));
    let at = url.match_indices(NAME).map(|(at, _)| at).find(is_parameter)?;
    let value = &url[at + NAME.len()..];
    let click = decoded(&value[..value.find(['&', '#']).unwrap_or(value.len())])?;
    is_click(&click).then(|| click.into_owned())
}

/// The `_fbc` of a click that was first seen at a moment. Its index is the one for cookies that no browser holds.
pub fn fbc(click: &str, seen_at: Time) -> Option<String> {
    is_click(click).then(|| format!("fb.1.{}.{click}", seen_at.millis()))
}

/// An event's `_fbc`, given what is remembered of the same browser. One that was only now made from an address yields to a remembered
/// one of the same click, because a click keeps the moment at which it was first seen.
pub fn kept<'a>(own: Option<&'a str>, remembered: Option<&'a str>, at: Time) -> Option<&'a str> {
    match (own, remembered) {
        (Some(own), Some(old)) if seen_at_ms(own) == Some(at.millis()) && of_cookie(own) == of_cookie(old) => Some(old),
        (own, remembered) => own.or(remembered),
    }
}

/// A cookie's milliseconds and id.
fn parts(text: &str) -> Option<(&str, &str)> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let mut parts = text.split('.');
    let (fb, index, at, id, appendix) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next());
    let is_one = fb == "fb"
        && is_number(index)
        && is_number(at)
        && !id.is_empty()
        && id.bytes().all(|b| b.is_ascii_graphic())
        && appendix.is_none_or(is_appendix)
        && parts.next().is_none();
    is_one.then_some((at, id))
}

/// Eight characters of base64url whose first byte is 1 (hence `AQ`), or one of six older marks.
fn is_appendix(text: &str) -> bool {
    match text.len() {
        8 => text.starts_with("AQ") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
        _ => matches!(text, "AQ" | "Ag" | "Aw" | "BA" | "BQ" | "Bg"),
    }
}

/// Whether a click can live in a cookie: no dot, which would look like an appendix, and nothing that ends a cookie.
fn is_click(text: &str) -> bool {
    (1..=CLICK_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'.' | b';' | b','))
}

/// Percent escapes undone, as `decodeURIComponent` does; none if one is broken.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        if b == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push((digit()? * 16 + digit()?) as u8);
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_of_meta_has_four_parts_and_perhaps_an_appendix() {
        for (text, is) in [
            ("fb.1.1596403881668.1116446470", true),
            ("fb.1.1554763741205.IwAR2AbC-_x", true),
            ("fb.1.1596403881668.1116446470.AQQCAQMC", true),
            ("fb.1.1596403881668.1116446470.Bg", true),
            ("fb.0.1.x", true),
            ("fb.1.1596403881668.1116446470.zzzzzzzz", false),
            ("fb.1.1596403881668.1116446470.", false),
            ("fb.1.1700000000000.a.b.c", false),
            ("fb.1.IwAR2", false),
            ("fb.1.1596403881668.", false),
            ("fb.x.1596403881668.1", false),
            ("fb.1..1", false),
            ("FB.1.1.1", false),
            ("fb.1.1.a b", false),
            ("garbage", false),
            ("", false),
        ] {
            assert_eq!(is_cookie(text), is, "{text}");
        }
    }

    #[test]
    fn a_click_is_read_from_an_address_as_the_script_reads_it() {
        let long = format!("https://shop.example/?fbclid={}", "x".repeat(501));
        for (url, click) in [
            ("https://shop.example/?fbclid=IwAR2AbC-_x&a=1", Some("IwAR2AbC-_x")),
            ("https://shop.example/?a=1&fbclid=A%2Bb%252F#fbclid=no", Some("A+b%2F")),
            ("https://shop.example/?fbclid=with.dot", None),
            ("https://shop.example/?fbclid=with%20space", None),
            ("https://shop.example/?fbclid=", None),
            ("https://shop.example/?fbclid=%E0%A4%A", None),
            ("https://shop.example/?fbclid=%C3%A4", None),
            ("https://shop.example/?xfbclid=A", None),
            ("https://shop.example/fbclid=A", None),
            ("https://shop.example/?xfbclid=A&fbclid=B", Some("B")),
            (&long, None),
            (&long[..long.len() - 1], Some(&long[29..long.len() - 1])),
        ] {
            assert_eq!(of_url(url).as_deref(), click, "{url}");
        }
    }

    #[test]
    fn a_click_keeps_the_moment_at_which_it_was_first_seen() {
        let at = Time::from_millis(1_790_000_000_000);
        let made = fbc("IwAR2", at).expect("a click");
        assert_eq!(made, "fb.1.1790000000000.IwAR2");
        let remembered = "fb.1.1780000000000.IwAR2";
        assert_eq!(kept(Some(&made), Some(remembered), at), Some(remembered), "made again from the same click");
        assert_eq!(kept(Some(&made), Some("fb.1.1780000000000.iwar2"), at), Some(&*made), "another case is another click");
        assert_eq!(kept(Some("fb.2.1785000000000.IwAR2"), Some(remembered), at), Some("fb.2.1785000000000.IwAR2"), "the browser's own");
        assert_eq!(kept(None, Some(remembered), at), Some(remembered));
        assert_eq!(kept(Some(&made), None, at), Some(&*made));
        assert_eq!(fbc("Iw.AR", at), None);
    }
}
