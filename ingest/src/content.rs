//! What a body says it is: JSON in UTF-8, said in the ways that clients say it.

use axum::http::{HeaderMap, header};

use crate::refuse::Refused;

/// What a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// `application/json`, `application/*+json`, or nothing said.
    Json,
    /// Also `text/plain`, which a browser sends without asking first.
    JsonAsText,
}

/// Refuses a body that says it is something else, is in another charset or is compressed.
pub(crate) fn check(headers: &HeaderMap, takes: Takes) -> Result<(), Refused> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refused::Encoding);
    }
    match headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str()) {
        None => Ok(()),
        Some(Ok(kind)) if is_taken(kind, takes) => Ok(()),
        Some(_) => Err(Refused::MediaType),
    }
}

fn is_taken(kind: &str, takes: Takes) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let named = match takes {
        Takes::Json => is_json(essence),
        Takes::JsonAsText => is_json(essence) || essence.eq_ignore_ascii_case("text/plain"),
    };
    (named || essence.is_empty()) && parts.all(is_utf8_or_no_charset)
}

fn is_json(essence: &str) -> bool {
    if essence.eq_ignore_ascii_case("application/json") {
        return true;
    }
    let essence = essence.to_ascii_lowercase();
    essence.strip_prefix("application/").and_then(|sub| sub.strip_suffix("+json")).is_some_and(|sub| !sub.is_empty())
}

fn is_utf8_or_no_charset(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return true };
    let value = value.trim().trim_matches('"');
    !name.trim().eq_ignore_ascii_case("charset") || ["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_said_in_many_ways() {
        for (kind, json, text) in [
            ("application/json", true, true),
            ("Application/JSON", true, true),
            ("application/json; charset=utf-8", true, true),
            ("application/json;charset=\"UTF-8\"", true, true),
            ("application/json; charset=iso-8859-1", false, false),
            ("application/vnd.shop.v1+json", true, true),
            ("application/+json", false, false),
            ("application/jsonp", false, false),
            ("text/plain", false, true),
            ("text/plain;charset=UTF-8", false, true),
            ("text/html", false, false),
            ("application/x-www-form-urlencoded", false, false),
            ("", true, true),
        ] {
            assert_eq!((is_taken(kind, Takes::Json), is_taken(kind, Takes::JsonAsText)), (json, text), "{kind}");
        }
    }

    #[test]
    fn compressed_bodies_are_refused() {
        let mut headers = HeaderMap::new();
        assert!(check(&headers, Takes::Json).is_ok());
        headers.insert(header::CONTENT_ENCODING, "identity".parse().expect("a value"));
        assert!(check(&headers, Takes::Json).is_ok());
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().expect("a value"));
        assert!(matches!(check(&headers, Takes::Json), Err(Refused::Encoding)));
    }
}
