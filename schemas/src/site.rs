//! What the owner of a site decides about the browser script of a funnel: who may send, and how it behaves where a page says nothing.
//!
//! The script's own contract is in its README; an attribute of its tag overrides what stands here, except for what is about privacy or
//! about other people's hosts.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

/// Most origins of one funnel: a site and its languages, not the web.
pub const ORIGINS_MAX: usize = 100;
/// Longest origin or domain, in bytes: a host name has at most 253.
const HOST_BYTES_MAX: usize = 253;

/// The settings of one funnel's script. Each has its default; a record that says less means it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Site {
    /// Pages that may send to this funnel; none named: all may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<AllowedOrigin>,
    /// When a page tells of its own view.
    #[serde(skip_serializing_if = "is_default")]
    pub pageview: PageView,
    /// Whether route changes inside a page are page views too.
    #[serde(skip_serializing_if = "is_default")]
    pub spa: Switch,
    /// What holds until the visitor decides.
    #[serde(skip_serializing_if = "is_default")]
    pub consent: FirstConsent,
    /// Whether the page tells the Meta pixel as well.
    #[serde(skip_serializing_if = "is_default")]
    pub pixel: Switch,
    /// Where ids and unsent events are kept in the browser.
    #[serde(skip_serializing_if = "is_default")]
    pub storage: Keeping,
    /// The site's own domain: cookies are written for it, and a door on a host below it may renew them. Empty: the widest that the browser
    /// accepts, and no renewal.
    #[serde(skip_serializing_if = "Domain::is_empty")]
    pub cookie_domain: Domain,
    /// Whether the pixel is given what `identify` says.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub advanced_matching: bool,
    /// Whether Do Not Track counts as Global Privacy Control does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dnt: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// When a page tells of its own view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PageView {
    /// As soon as the script is there.
    #[default]
    Auto,
    /// When somebody first sees the page.
    Visible,
    /// Never by itself.
    Off,
}

/// What holds until the visitor decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirstConsent {
    /// Events are sent.
    #[default]
    Granted,
    /// Events stay in the page's memory.
    Pending,
}

/// Where ids and unsent events are kept in the browser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keeping {
    /// In cookies and in the page's local storage.
    #[default]
    Cookie,
    /// In local storage only.
    Local,
    /// In memory: each page load is a visitor of its own.
    Memory,
    /// Nowhere.
    None,
}

impl Site {
    /// The names of its settings.
    pub const FIELDS: [&str; 9] =
        ["allowed_origins", "pageview", "spa", "consent", "pixel", "storage", "cookie_domain", "advanced_matching", "dnt"];

    /// These settings with others in the place of those that `named` names; null gives a setting its default back. The error says which
    /// does not fit, and why.
    pub fn with(&self, named: Map<String, Value>) -> Result<Self, String> {
        let mut all = match serde_json::to_value(self) {
            Ok(Value::Object(all)) => all,
            Ok(_) | Err(_) => Map::new(), // a struct of lists, words and flags is an object
        };
        for (name, value) in named {
            if !Self::FIELDS.contains(&&*name) {
                return Err(format!("there is no setting {name:?}; there are: {}", Self::FIELDS.join(", ")));
            }
            let mut alone = Map::from_iter([(name.clone(), value.clone())]);
            alone.retain(|_, value| !value.is_null());
            serde_json::from_value::<Self>(Value::Object(alone)).map_err(|error| format!("{name}: {error}"))?;
            match value {
                Value::Null => drop(all.remove(&name)),
                value => drop(all.insert(name, value)),
            }
        }
        let site: Self = serde_json::from_value(Value::Object(all)).map_err(|error| error.to_string())?;
        match site.allowed_origins.len() {
            0..=ORIGINS_MAX => Ok(site),
            _ => Err(format!("allowed_origins: at most {ORIGINS_MAX}")),
        }
    }

    /// Whether every setting has its default.
    pub fn is_usual(&self) -> bool {
        is_default(self)
    }

    /// Whether a page of that origin may send. A request that names none is no page's, and no rule about pages holds for it.
    pub fn allows(&self, origin: Option<&str>) -> bool {
        match origin {
            Some(origin) if !self.allowed_origins.is_empty() => self.allowed_origins.iter().any(|allowed| allowed.allows(origin)),
            _ => true,
        }
    }

    /// Whether a host belongs to the site: then its cookies are the site's own.
    pub fn owns(&self, host: &str) -> bool {
        self.cookie_domain.covers(host)
    }
}

/// An origin as browsers send it, `https://shop.example` or `http://localhost:3000`; all hosts below one, `https://*.shop.example`; or
/// `null`, which sandboxed frames send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct AllowedOrigin(String);

/// A text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is \"https://shop.example\", \"https://*.shop.example\" for all hosts below one, or \"null\"; without a path")]
pub struct OriginError;

impl AllowedOrigin {
    /// The origin, if the text is one. It is kept in lower case, as browsers send it.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let text = text.trim().to_ascii_lowercase();
        if text == "null" {
            return Ok(Self(text));
        }
        let (_, rest) = scheme_of(&text).ok_or(OriginError)?;
        let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with(['0', '+']));
        let is_named = match host.strip_prefix("*.") {
            Some(above) => is_host(above) && above.contains('.'),
            None => is_host(host),
        };
        if is_named && is_port { Ok(Self(text)) } else { Err(OriginError) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a browser's `Origin` is this one.
    pub fn allows(&self, origin: &str) -> bool {
        if self.0.eq_ignore_ascii_case(origin) {
            return true;
        }
        let Some((scheme, above)) = scheme_of(&self.0).and_then(|(scheme, rest)| Some((scheme, rest.strip_prefix('*')?))) else {
            return false;
        };
        let origin = origin.to_ascii_lowercase();
        scheme_of(&origin).is_some_and(|(theirs, host)| theirs == scheme && host.len() > above.len() && host.ends_with(above))
    }
}

/// A site's own domain, such as `shop.example`, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Domain(String);

/// A text is no domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a domain is \"shop.example\": at least two names, no scheme, no port, no path")]
pub struct DomainError;

impl Domain {
    /// The domain, if the text is one or empty. A dot before it changes nothing.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.strip_prefix('.').unwrap_or(&text);
        let is_address = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let is_domain = text.is_empty() || (is_host(text) && text.contains('.') && !is_address);
        if is_domain { Ok(Self(text.to_owned())) } else { Err(DomainError) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a host, with or without a port, is this domain or below it.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let below = || host.strip_suffix(&*self.0).is_some_and(|below| below.ends_with('.'));
        !self.is_empty() && (host == self.0 || below())
    }
}

fn scheme_of(origin: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = origin.split_once("://")?;
    matches!(scheme, "http" | "https").then_some((scheme, rest))
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.len() <= HOST_BYTES_MAX && host.split('.').all(is_label)
}

macro_rules! read_from_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
            }
        }
    };
}
read_from_text!(AllowedOrigin);
read_from_text!(Domain);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for good in [
            "https://shop.example",
            "http://localhost:3000",
            "https://*.shop.example",
            "null",
            "HTTPS://Shop.Example",
            "http://127.0.0.1:8080",
        ] {
            assert!(AllowedOrigin::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "*",
            "shop.example",
            "https://shop.example/",
            "https://*.com",
            "https://*",
            "ftp://shop.example",
            "https://a b",
            "https://x:0",
            "https://x:99999",
            "https://x:+1",
            "https://-x.example",
            "https://shop..example",
            "https://*.*.example",
            "https://user@shop.example",
        ] {
            assert_eq!(AllowedOrigin::parse(bad), Err(OriginError), "{bad}");
        }
    }

    #[test]
    fn an_origin_allows_itself_and_a_star_the_hosts_below() {
        let allows = |allowed: &str, origin| AllowedOrigin::parse(allowed).expect("an origin").allows(origin);
        assert!(allows("https://shop.example", "https://shop.example"));
        for other in ["http://shop.example", "https://shop.example:8443", "https://evilshop.example", "https://www.shop.example", "null"] {
            assert!(!allows("https://shop.example", other), "{other}");
        }
        assert!(
            allows("https://*.shop.example", "https://www.shop.example") && allows("https://*.shop.example", "https://A.b.shop.example")
        );
        for other in [
            "https://shop.example",
            "https://.shop.example",
            "http://www.shop.example",
            "https://evilshop.example",
            "https://www.shop.example:1",
        ] {
            assert!(!allows("https://*.shop.example", other), "{other}");
        }
        assert!(allows("null", "null") && !allows("null", "https://shop.example"));
    }

    #[test]
    fn a_site_that_names_origins_takes_pages_of_those_only() {
        let site = Site { allowed_origins: vec![AllowedOrigin::parse("https://shop.example").expect("an origin")], ..Site::default() };
        assert!(site.allows(Some("https://shop.example")) && site.allows(None) && !site.allows(Some("https://other.example")));
        assert!(Site::default().allows(Some("https://other.example")));
    }

    #[test]
    fn a_domain_covers_itself_and_what_is_below() {
        let domain = Domain::parse(".Shop.Example").expect("a domain");
        assert_eq!(domain.as_str(), "shop.example");
        assert!(domain.covers("shop.example") && domain.covers("m.shop.example:8443") && domain.covers("M.SHOP.example"));
        assert!(!domain.covers("evilshop.example") && !domain.covers("shop.example.evil.example") && !domain.covers(""));
        assert!(!Domain::default().covers("shop.example"));
        for bad in ["localhost", "127.0.0.1", "https://shop.example", "shop.example:80", "shop.example/x", "*.shop.example"] {
            assert_eq!(Domain::parse(bad), Err(DomainError), "{bad}");
        }
    }

    #[test]
    fn what_is_usual_is_not_written_and_what_is_absent_is_usual() {
        assert_eq!(serde_json::to_string(&Site::default()).expect("JSON"), "{}");
        let text = r#"{"allowed_origins":["https://shop.example"],"pageview":"visible","spa":"off","consent":"pending","pixel":"off","storage":"none","cookie_domain":"shop.example","advanced_matching":true,"dnt":true}"#;
        let site: Site = serde_json::from_str(text).expect("a site");
        assert_eq!(serde_json::to_string(&site).expect("JSON"), text);
        let all: Map<String, Value> = serde_json::from_str(text).expect("an object");
        assert_eq!(all.keys().map(String::as_str).collect::<BTreeSet<_>>(), Site::FIELDS.into());
        assert_eq!(Site::default().with(all.clone()), Ok(site.clone()));
        assert_eq!(site.with(all.into_iter().map(|(name, _)| (name, Value::Null)).collect()), Ok(Site::default()));
    }

    #[test]
    fn a_setting_that_does_not_fit_is_named() {
        let said =
            |name: &str, value: Value| Site::default().with(Map::from_iter([(name.to_owned(), value)])).expect_err("it does not fit");
        assert!(said("consents", "pending".into()).contains("no setting \"consents\""));
        assert!(said("consent", "maybe".into()).starts_with("consent: unknown variant `maybe`"));
        assert!(said("cookie_domain", "localhost".into()).starts_with("cookie_domain: a domain is"));
        assert!(said("allowed_origins", vec!["shop.example"].into()).starts_with("allowed_origins: an origin is"));
        assert!(said("allowed_origins", vec!["https://a.example"; ORIGINS_MAX + 1].into()).contains("at most 100"));
    }
}
