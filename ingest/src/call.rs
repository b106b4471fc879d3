//! One request as the routes see it: its head, its id, and who sent it.

use std::{borrow::Cow, net::IpAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts};
use uuid::Uuid;

use crate::{
    REQUEST_ID,
    forwarded::{self, Network},
};

/// Longest request id taken over from a trusted proxy, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Longest user agent kept, in bytes.
const USER_AGENT_BYTES_MAX: usize = 1_024;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// One request without its body.
pub(crate) struct Call {
    head: Parts,
    id: Uuid,
    peer: IpAddr,
    by_proxy: bool,
}

impl Call {
    pub(crate) fn new(head: Parts, peer: IpAddr, proxies: &[Network], id: Uuid) -> Self {
        Self { head, id, peer, by_proxy: forwarded::is_trusted(peer, proxies) }
    }

    /// Made at the door. The first raw record of the request has the same, so that one id finds both.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.head.uri
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The caller's own address.
    pub(crate) fn client_ip(&self, proxies: &[Network]) -> IpAddr {
        if self.by_proxy { forwarded::client(self.peer, self.headers(), proxies) } else { self.peer }
    }

    pub(crate) fn user_agent(&self) -> Option<Cow<'_, str>> {
        let bytes = self.headers().get(header::USER_AGENT)?.as_bytes();
        let bytes = &bytes[..bytes.len().min(USER_AGENT_BYTES_MAX)];
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes))
    }

    /// The page's origin, as a browser says it.
    pub(crate) fn origin(&self) -> Option<&str> {
        self.headers().get(header::ORIGIN)?.to_str().ok()
    }

    /// The id in the answer's `x-request-id`: a trusted proxy's, or ours.
    pub(crate) fn request_id(&self) -> HeaderValue {
        let given = self.by_proxy.then(|| self.headers().get(REQUEST_ID)).flatten();
        let ours = || {
            let text = self.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned();
            HeaderValue::try_from(text).expect("hex digits and hyphens are visible ASCII")
        };
        given.filter(|id| is_request_id(id)).cloned().unwrap_or_else(ours)
    }

    /// How this request reached us, as `https://m.example.com`. Empty if it names no plausible host.
    pub(crate) fn base(&self) -> String {
        let proxied = |name| self.by_proxy.then(|| self.last_word(name)).flatten();
        let scheme = proxied(FORWARDED_PROTO).filter(|scheme| matches!(*scheme, "http" | "https")).unwrap_or("http");
        let host = proxied(FORWARDED_HOST).filter(|host| is_host(host)).or_else(|| self.host().filter(|host| is_host(host)));
        host.map_or_else(String::new, |host| format!("{scheme}://{host}"))
    }

    fn host(&self) -> Option<&str> {
        let header = self.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        self.uri().authority().map(axum::http::uri::Authority::as_str).or(header)
    }

    /// The last of the values a header lists: the one that the nearest proxy wrote.
    fn last_word(&self, name: HeaderName) -> Option<&str> {
        let last = self.headers().get_all(name).iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next().map(str::trim)
    }
}

fn is_request_id(id: &HeaderValue) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn call(peer: &str, headers: &[(&str, &str)]) -> Call {
        let mut request = Request::builder().uri("/v1/session.js");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let proxies = [Network::try_from("10.0.0.0/8".to_owned()).expect("a network")];
        Call::new(head, peer.parse().expect("an address"), &proxies, Uuid::from_u128(7))
    }

    #[test]
    fn the_base_is_what_the_request_or_a_trusted_proxy_says() {
        for (peer, headers, base) in [
            ("203.0.113.9", &[("host", "m.example.com")][..], "http://m.example.com"),
            ("203.0.113.9", &[("host", "m.example.com"), ("x-forwarded-proto", "https")], "http://m.example.com"),
            ("10.0.0.1", &[("host", "m.example.com"), ("x-forwarded-proto", "https")], "https://m.example.com"),
            ("10.0.0.1", &[("host", "pod:8080"), ("x-forwarded-host", "m.example.com")], "http://m.example.com"),
            ("10.0.0.1", &[("host", "a.co"), ("x-forwarded-proto", "https, http")], "http://a.co"),
            ("10.0.0.1", &[("host", "a.co"), ("x-forwarded-proto", "gopher")], "http://a.co"),
            ("203.0.113.9", &[("host", "[::1]:8080")], "http://[::1]:8080"),
            ("203.0.113.9", &[("host", "a.co/\"x")], ""),
            ("203.0.113.9", &[], ""),
        ] {
            assert_eq!(call(peer, headers).base(), base, "{headers:?}");
        }
    }

    #[test]
    fn a_request_id_comes_from_us_or_from_a_trusted_proxy() {
        let ours = "00000000-0000-0000-0000-000000000007";
        for (peer, given, id) in
            [("203.0.113.9", "abc", ours), ("10.0.0.1", "abc", "abc"), ("10.0.0.1", "a b", ours), ("10.0.0.1", "", ours)]
        {
            assert_eq!(call(peer, &[("x-request-id", given)]).request_id(), id);
        }
    }

    #[test]
    fn a_user_agent_is_bounded() {
        assert_eq!(call("::1", &[("user-agent", &"x".repeat(5_000))]).user_agent().map(|agent| agent.len()), Some(USER_AGENT_BYTES_MAX));
        assert_eq!(call("::1", &[("user-agent", "")]).user_agent(), None);
    }
}
