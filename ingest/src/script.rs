//! `GET /v1/session.js?fid=`: the script with the funnel's public configuration inside. No secrets are in it.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
};

use axum::{
    body::Bytes,
    extract::Query,
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
    },
};
use http_body_util::Full;
use schemas::{
    id::{FunnelId, PixelId},
    money::Currency,
};
use serde::{Deserialize, Serialize};

use crate::{Door, Reply, call::Call, refuse::Refused};

const BUILT: &str = include_str!("../session-js/dist/session.js");
/// The place of the configuration in the built file.
const TOKEN: &str = "__RM_CONFIG__";
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The built script, cut at the place of its configuration.
pub(crate) struct Script {
    before: &'static str,
    after: &'static str,
    hash: u64,
}

#[derive(Deserialize)]
struct Asked {
    fid: String,
}

/// What the script may know.
#[derive(Serialize)]
struct Configuration<'a> {
    fid: &'a str,
    api: &'a str,
    pixels: &'a [PixelId],
    currency: Option<Currency>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pixel_script_url: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unknown: bool,
}

impl Script {
    pub(crate) fn new() -> Self {
        let (before, after) = BUILT.split_once(TOKEN).unwrap_or((BUILT, "")); // a test proves that the place is there
        Self { before, after, hash: digest(&BUILT) }
    }

    fn with(&self, configuration: &str) -> Bytes {
        [self.before, configuration, self.after].concat().into()
    }
}

pub(crate) fn answer(door: &Door, call: &Call) -> Result<Reply, Refused> {
    if !matches!(*call.method(), Method::GET | Method::HEAD) {
        return Err(Refused::Method { allow: "GET, HEAD" });
    }
    let fid = Query::<Asked>::try_from_uri(call.uri()).map(|Query(asked)| asked.fid).unwrap_or_default();
    let configuration = configuration(door, &fid, &base(door, call));
    let etag = etag(door.script.hash, &configuration);
    let unchanged = call.headers().get_all(IF_NONE_MATCH).iter().any(|known| names(known.as_bytes(), etag.as_bytes()));
    let mut reply = if unchanged {
        let mut reply = Reply::new(Full::default());
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply
    } else {
        Reply::new(Full::new(door.script.with(&configuration)))
    };
    let headers = reply.headers_mut();
    if !unchanged {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300, stale-while-revalidate=86400"));
    headers.insert(ETAG, etag);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(reply)
}

fn base(door: &Door, call: &Call) -> String {
    door.config.public_url.get().map_or_else(|| call.base(), str::to_owned)
}

/// The configuration as JavaScript. An unknown funnel gets one too: the page's calls must be answered, not left waiting.
fn configuration(door: &Door, fid: &str, base: &str) -> String {
    let directory = door.directory.load();
    let funnel = FunnelId::parse(fid).ok().and_then(|id| directory.funnel(id.as_str()));
    let configuration = Configuration {
        fid,
        api: &format!("{base}/v1/session"),
        pixels: funnel.map_or(&[], |funnel| &funnel.pixels),
        currency: funnel.map(|funnel| funnel.funnel.currency).or_else(|| Currency::parse("USD").ok()),
        pixel_script_url: &door.config.pixel_script_url,
        unknown: funnel.is_none(),
    };
    javascript(&configuration)
}

/// JSON that is safe wherever a script may be pasted: it cannot end a `<script>` element or a line.
fn javascript(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("a struct of text and numbers, written to memory");
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn etag(script: u64, configuration: &str) -> HeaderValue {
    let text = format!("\"{script:016x}{:016x}\"", digest(&configuration));
    HeaderValue::try_from(text).expect("hex digits in quotes are visible ASCII")
}

/// The same in every process of one build, which is what caches need.
fn digest(text: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Whether an `If-None-Match` names this etag; a weak one counts, because a proxy that compresses weakens ours.
fn names(known: &[u8], etag: &[u8]) -> bool {
    known.split(|b| *b == b',').map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_script_has_one_place_for_the_configuration() {
        assert_eq!(BUILT.split(TOKEN).count(), 2);
        let script = Script::new();
        let whole = script.with("{}");
        assert_eq!(whole.len(), BUILT.len() - TOKEN.len() + 2);
    }

    #[test]
    fn a_configuration_cannot_break_out() {
        let text = javascript(&"</script>\u{2028}\u{2029}\"\\");
        assert_eq!(text, "\"\\u003c/script>\\u2028\\u2029\\\"\\\\\"");
    }

    #[test]
    fn an_etag_is_recognised_in_every_form() {
        let etag = etag(7, "{}");
        let text = etag.to_str().expect("ASCII");
        for (known, is) in [
            (text.to_owned(), true),
            (format!("W/{text}"), true),
            (format!("\"x\", {text}"), true),
            ("*".to_owned(), true),
            ("\"x\"".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(names(known.as_bytes(), etag.as_bytes()), is, "{known}");
        }
        assert_ne!(etag, super::etag(7, "{ }"));
        assert_ne!(etag, super::etag(8, "{}"));
    }
}
