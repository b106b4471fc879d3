//! The door's settings: the section `[ingest]`. Values and reasons stand in the defaults file.

use std::{num::NonZeroU64, time::Duration};

use serde::Deserialize;

use crate::forwarded::Network;

/// The settings of the door.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the public listener is opened; the house opens it.
    pub listen: String,
    /// How the world reaches us; empty: as the request says.
    pub public_url: PublicUrl,
    /// Connections held at a time; further ones wait to be accepted.
    pub connections_max: std::num::NonZeroU32,
    /// A new connection must bring its first request's head within this time.
    pub header_timeout_ms: NonZeroU64,
    /// A connection that has been served must bring its next request's head within this time.
    pub idle_timeout_ms: NonZeroU64,
    /// A request's body must be here within this time.
    pub body_timeout_ms: NonZeroU64,
    /// An append that takes longer is answered 503.
    pub append_timeout_ms: NonZeroU64,
    /// A webhook without verdict after this time is answered 202.
    pub verdict_timeout_ms: u64,
    /// Requests still open this long after the stop are cut.
    pub drain_timeout_ms: u64,
    /// Proxies whose word about the caller is believed.
    pub trusted_proxies: Vec<Network>,
    /// Requests per second to one funnel; 0 is no limit.
    pub rate_per_funnel_per_s: u32,
    /// Requests per second from one address; 0 is no limit.
    pub rate_per_ip_per_s: u32,
    /// The whole URL of Meta's pixel script, which the script hands on; set by the house from `capi.pixel_script_url`.
    #[serde(skip)]
    pub pixel_script_url: String,
}

impl Config {
    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms.get())
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.get())
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms.get())
    }

    pub(crate) fn append_timeout(&self) -> Duration {
        Duration::from_millis(self.append_timeout_ms.get())
    }

    pub(crate) fn verdict_timeout(&self) -> Duration {
        Duration::from_millis(self.verdict_timeout_ms)
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

/// The base of our public addresses, without a slash at its end; or none, and the request says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(Option<String>);

impl PublicUrl {
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// Why a text is no public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be empty, or an address such as https://m.example.com without query")]
pub struct NotAPublicUrl;

impl TryFrom<String> for PublicUrl {
    type Error = NotAPublicUrl;

    fn try_from(text: String) -> Result<Self, NotAPublicUrl> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(NotAPublicUrl)?;
        let plain = rest.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'\\' | b'<' | b'@'));
        if !plain || rest.trim_end_matches('/').is_empty() {
            return Err(NotAPublicUrl);
        }
        Ok(Self(Some(text.trim_end_matches('/').to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_one_or_is_refused() {
        for (text, url) in [
            ("", Ok(None)),
            ("https://m.example.com/", Ok(Some("https://m.example.com"))),
            ("http://127.0.0.1:8080/rm", Ok(Some("http://127.0.0.1:8080/rm"))),
            ("m.example.com", Err(NotAPublicUrl)),
            ("https://", Err(NotAPublicUrl)),
            ("https://m.example.com?x", Err(NotAPublicUrl)),
            ("https://m example", Err(NotAPublicUrl)),
        ] {
            assert_eq!(PublicUrl::try_from(text.to_owned()).as_ref().map(PublicUrl::get), url.as_ref().copied(), "{text}");
        }
    }
}
