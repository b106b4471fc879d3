//! The browser script. Nothing in any of it is secret.
//!
//! | path | answer |
//! |---|---|
//! | `/v1/session.js?fid=` | the script with the funnel's public configuration inside |
//! | `/v1/sdk/{version}/session.js` | the same script without one: the same bytes for everybody and for ever, so that a page can pin their hash |
//! | `/v1/session/{fid}.json` | the configuration, for that one |
//! | `/v1/session.debug.js` | what speaks to developers, fetched only by a page that is being looked at |

mod encoded;

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    sync::Arc,
};

use axum::{
    body::Bytes,
    extract::Query,
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS,
        },
    },
};
use http_body_util::Full;
use schemas::{
    id::{FunnelId, PixelId},
    money::Currency,
    site::{Domain, Keeping, Site},
};
use serde::{Deserialize, Serialize};

use crate::{Door, Reply, call::Call, refuse::Refused};
use encoded::{Effort, Encoded, Kept};

const BUILT: &str = include_str!("../session-js/dist/session.js");
const ASKING: &str = include_str!("../session-js/dist/sdk.js");
const DEBUG: &str = include_str!("../session-js/dist/session.debug.js");
/// The place of the configuration in the built files, and what stands there in the one that asks for it.
const TOKEN: &str = "__RM_CONFIG__";
const NO_CONFIGURATION: &str = "0";
/// The version in the immutable path: a test holds it against the script's own.
const VERSION: &str = "1.0.0";
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A changed setting reaches every page within minutes, and no page waits for it.
const FOR_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300, stale-while-revalidate=86400");
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum File<'a> {
    /// The script of the funnel that the query names.
    Script,
    /// The script for all, of a version.
    Version(&'a str),
    /// The configuration of a funnel.
    Configuration(&'a str),
    /// What speaks to developers.
    Debug,
}

impl<'a> File<'a> {
    /// The file at a path, if it is one of these.
    pub(crate) fn at(path: &'a str) -> Option<Self> {
        match path {
            "/v1/session.js" => Some(Self::Script),
            "/v1/session.debug.js" => Some(Self::Debug),
            _ => {
                let version = || path.strip_prefix("/v1/sdk/")?.strip_suffix("/session.js").map(Self::Version);
                let configuration = || path.strip_prefix("/v1/session/")?.strip_suffix(".json").map(Self::Configuration);
                version().or_else(configuration)
            }
        }
    }
}

/// The built files.
pub(crate) struct Script {
    before: &'static str,
    after: &'static str,
    hash: u64,
    for_all: Fixed,
    debug: Fixed,
    kept: Kept,
}

/// A file that is the same for everybody.
struct Fixed {
    text: Arc<Encoded>,
    etag: HeaderValue,
}

impl Fixed {
    fn new(text: &str) -> Self {
        Self { text: Arc::new(Encoded::once(text)), etag: etag(digest(&text), 0) }
    }

    fn found(&self, keep: HeaderValue) -> Found {
        Found { text: self.text.clone(), kind: JAVASCRIPT, keep, etag: self.etag.clone() }
    }
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
    /// Whether requests carry cookies: the door's host is the site's own, so that it may renew them.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<&'static str>,
    /// The global under which pages call the script.
    namespace: &'static str,
    /// Said always: the script itself has no defaults.
    storage: Keeping,
    /// Under the name that the tag's `data-cookie-domain` has in a page.
    #[serde(rename = "cookieDomain", skip_serializing_if = "Domain::is_empty")]
    cookie_domain: Domain,
    /// What the pixel calls each trait that `identify` knows, if it is to be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    advanced_matching: Option<Matching>,
    #[serde(flatten)]
    site: Site,
}

/// A trait's name on the page, and at Meta's pixel.
#[derive(Serialize)]
struct Matching {
    email: &'static str,
    phone: &'static str,
    first_name: &'static str,
    last_name: &'static str,
    customer_id: &'static str,
    city: &'static str,
    state: &'static str,
    zip: &'static str,
    country: &'static str,
    date_of_birth: &'static str,
    gender: &'static str,
}

const MATCHING: Matching = Matching {
    email: "em",
    phone: "ph",
    first_name: "fn",
    last_name: "ln",
    customer_id: "external_id",
    city: "ct",
    state: "st",
    zip: "zp",
    country: "country",
    date_of_birth: "db",
    gender: "ge",
};

/// What is answered, and how long it may be kept.
struct Found {
    text: Arc<Encoded>,
    kind: HeaderValue,
    keep: HeaderValue,
    etag: HeaderValue,
}

impl Script {
    pub(crate) fn new() -> Self {
        let (before, after) = BUILT.split_once(TOKEN).unwrap_or((BUILT, "")); // a test proves that the place is there
        Self {
            before,
            after,
            hash: digest(&BUILT),
            for_all: Fixed::new(&ASKING.replacen(TOKEN, NO_CONFIGURATION, 1)),
            debug: Fixed::new(DEBUG),
            kept: Kept::new(),
        }
    }

    fn with(&self, configuration: &str) -> Bytes {
        [self.before, configuration, self.after].concat().into()
    }
}

pub(crate) fn answer(door: &Door, call: &Call) -> Result<Reply, Refused> {
    let file = File::at(call.path()).ok_or(Refused::NotFound)?;
    if !matches!(*call.method(), Method::GET | Method::HEAD) {
        return Err(Refused::Method { allow: "GET, HEAD" });
    }
    let Found { text, kind, keep, etag } = find(door, call, file)?;
    let unchanged = call.headers().get_all(IF_NONE_MATCH).iter().any(|known| names(known.as_bytes(), etag.as_bytes()));
    let mut reply = if unchanged {
        let mut reply = Reply::new(Full::default());
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply
    } else {
        let (body, encoding) = text.best(call.headers());
        let mut reply = Reply::new(Full::new(body));
        reply.headers_mut().insert(CONTENT_TYPE, kind);
        reply.headers_mut().extend(encoding.map(|encoding| (CONTENT_ENCODING, HeaderValue::from_static(encoding))));
        reply
    };
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, keep);
    headers.insert(ETAG, etag);
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(reply)
}

fn find(door: &Door, call: &Call, file: File<'_>) -> Result<Found, Refused> {
    let script = &door.script;
    let of_funnel = |fid: &str| {
        let (configuration, is_unknown) = configuration(door, fid, &door.base(call));
        (digest(&configuration), configuration, is_unknown)
    };
    // Where the settings name our host, a known funnel has one configuration; elsewhere the request names the host.
    let effort = |is_unknown: bool| if is_unknown || door.config.public_url.get().is_none() { Effort::EachTime } else { Effort::Once };
    Ok(match file {
        File::Script => {
            let fid = Query::<Asked>::try_from_uri(call.uri()).map(|Query(asked)| asked.fid).unwrap_or_default();
            let (hash, configuration, is_unknown) = of_funnel(&fid);
            let text = script.kept.get(hash, effort(is_unknown), || {
                if is_unknown { script.with(&said_in_the_console(&fid, &configuration)) } else { script.with(&configuration) }
            });
            Found { text, kind: JAVASCRIPT, keep: FOR_MINUTES, etag: etag(script.hash, hash) }
        }
        File::Configuration(fid) => {
            let (hash, configuration, is_unknown) = of_funnel(fid);
            let text = script.kept.get(digest(&(hash, "json")), effort(is_unknown), || configuration.into());
            Found { text, kind: JSON, keep: FOR_MINUTES, etag: etag(0, hash) }
        }
        File::Version(VERSION) => script.for_all.found(FOR_EVER),
        File::Version(_) => return Err(Refused::NotFound),
        File::Debug => script.debug.found(FOR_MINUTES),
    })
}

/// The owner of the page learns of a wrong id, once a page load.
fn said_in_the_console(fid: &str, configuration: &str) -> String {
    format!("(console.warn(\"RapidMetrics: unknown funnel\",{}),{configuration})", javascript(&fid))
}

/// The configuration as JavaScript, and whether its funnel is unknown. Then there is one too: the page's calls must be answered, not left
/// waiting.
fn configuration(door: &Door, fid: &str, base: &str) -> (String, bool) {
    let directory = door.directory.load();
    let funnel = FunnelId::parse(fid).ok().and_then(|id| directory.funnel(id.as_str()));
    let site = funnel.map(|entry| entry.funnel.site.clone()).unwrap_or_default();
    let host = base.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let configuration = Configuration {
        fid,
        api: &format!("{base}/v1/session"),
        pixels: funnel.map_or(&[], |funnel| &funnel.pixels),
        currency: funnel.map(|funnel| funnel.funnel.currency).or_else(|| Currency::parse("USD").ok()),
        pixel_script_url: &door.config.pixel_script_url,
        unknown: funnel.is_none(),
        credentials: site.owns(host).then_some("include"),
        namespace: "RapidMetrics",
        storage: site.storage,
        cookie_domain: site.cookie_domain.clone(),
        advanced_matching: site.advanced_matching.then_some(MATCHING),
        // Whose pages may send is not the page's business; the rest is said above.
        site: Site {
            allowed_origins: Vec::new(),
            storage: Keeping::default(),
            cookie_domain: Domain::default(),
            advanced_matching: false,
            ..site
        },
    };
    (javascript(&configuration), funnel.is_none())
}

/// JSON that is safe wherever a script may be pasted: it cannot end a `<script>` element or a line.
fn javascript(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("a struct of text and numbers, written to memory");
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn etag(script: u64, configuration: u64) -> HeaderValue {
    let text = format!("\"{script:016x}{configuration:016x}\"");
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
    fn the_immutable_path_has_the_scripts_own_version() {
        let package: serde_json::Value = serde_json::from_str(include_str!("../session-js/package.json")).expect("JSON");
        assert_eq!(package["version"], VERSION);
        for built in [BUILT, ASKING] {
            assert!(built.contains(&format!("'{VERSION}'")), "the script says its version");
        }
        assert_eq!(ASKING.split(TOKEN).count(), 2);
    }

    #[test]
    fn a_path_leads_to_its_file() {
        for (path, file) in [
            ("/v1/session.js", Some(File::Script)),
            ("/v1/session.debug.js", Some(File::Debug)),
            ("/v1/sdk/1.0.0/session.js", Some(File::Version("1.0.0"))),
            ("/v1/session/fn_1.json", Some(File::Configuration("fn_1"))),
            ("/v1/session/.json", Some(File::Configuration(""))),
            ("/v1/session", None),
            ("/v1/session/fn_1", None),
            ("/v1/sdk/1.0.0/other.js", None),
        ] {
            assert_eq!(File::at(path), file, "{path}");
        }
    }

    #[test]
    fn a_configuration_cannot_break_out() {
        let text = javascript(&"</script>\u{2028}\u{2029}\"\\");
        assert_eq!(text, "\"\\u003c/script>\\u2028\\u2029\\\"\\\\\"");
    }

    #[test]
    fn an_etag_is_recognised_in_every_form() {
        let etag = etag(7, 1);
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
        assert_ne!(etag, super::etag(7, 2));
        assert_ne!(etag, super::etag(8, 1));
    }
}
