//! Addresses of pages as Meta may see them: http or https, without what tells who somebody is.

use std::borrow::Cow;

use super::personal;

/// Whether it is the address of a web page.
pub(super) fn is_web(url: &str) -> bool {
    rest(url.trim()).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
}

/// What stands behind `https://` or `http://`.
fn rest(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    (scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")).then_some(rest)
}

/// The address to tell: a path segment, query value or fragment that is an e-mail address, and the value of a query parameter
/// that names a person's data, is left empty. A user's name and password before the host are left out.
pub(super) fn told(url: &str) -> Option<Cow<'_, str>> {
    let url = url.trim();
    if !is_web(url) {
        return None;
    }
    let rest = rest(url)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.len() == authority.len() && !tells_somebody(path) {
        return Some(Cow::Borrowed(url));
    }
    let mut kept = String::with_capacity(url.len());
    kept.push_str(&url[..url.len() - rest.len()]);
    kept.push_str(host);
    for piece in pieces(path) {
        kept.extend(piece.mark);
        if !piece.is_personal() {
            kept.push_str(piece.text);
        }
    }
    Some(Cow::Owned(kept))
}

/// Whether something in it must go. Nearly no address has anything, so it is asked of the whole before each piece is looked at.
fn tells_somebody(path: &str) -> bool {
    personal::has_email(path) || (path.contains('=') && pieces(path).any(|piece| piece.is_identifier()))
}

/// One part between the marks of an address.
struct Piece<'a> {
    /// The mark before it.
    mark: Option<char>,
    text: &'a str,
    /// The parameter's name, if this is its value.
    name: Option<&'a str>,
}

impl Piece<'_> {
    fn is_personal(&self) -> bool {
        personal::has_email(self.text) || self.is_identifier()
    }

    fn is_identifier(&self) -> bool {
        self.name.is_some_and(personal::is_identifier)
    }
}

fn pieces(path: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = Some(path);
    let mut mark = None;
    let mut before = "";
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.bytes().position(|b| matches!(b, b'/' | b'?' | b'&' | b'=' | b'#' | b';'));
        let piece = Piece { mark, text: &text[..end.unwrap_or(text.len())], name: (mark == Some('=')).then_some(before) };
        mark = end.map(|end| char::from(text.as_bytes()[end]));
        rest = end.map(|end| &text[end + 1..]);
        before = piece.text;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_without_what_tells_who_somebody_is() {
        for (url, kept) in [
            ("https://shop.example/thanks?utm_source=fb&x=1#top", Some("https://shop.example/thanks?utm_source=fb&x=1#top")),
            (" https://shop.example ", Some("https://shop.example")),
            ("HTTP://shop.example/", Some("HTTP://shop.example/")),
            ("https://shop.example/?q=john@example.com&x=1", Some("https://shop.example/?q=&x=1")),
            ("https://shop.example/?q=john%40example.com&x=1", Some("https://shop.example/?q=&x=1")),
            (
                "https://shop.example/?x=1&phone=%2B1650&first_name=John&FirstName=John",
                Some("https://shop.example/?x=1&phone=&first_name=&FirstName="),
            ),
            ("https://shop.example/u/john@example.com/orders", Some("https://shop.example/u//orders")),
            ("https://shop.example/#/reset?email=x", Some("https://shop.example/#/reset?email=")),
            ("https://shop.example/@john?state=ca&city=x", Some("https://shop.example/@john?state=ca&city=x")),
            ("https://user:secret@shop.example/a", Some("https://shop.example/a")),
            ("android-app://com.example", None),
            ("about:blank", None),
            ("https://", None),
            ("https:///x", None),
            ("/relative", None),
            ("", None),
        ] {
            assert_eq!(told(url).as_deref(), kept, "{url}");
        }
    }
}
