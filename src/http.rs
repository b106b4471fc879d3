//! The HTTP clients of the house: one for the outside world, one for this machine.

use std::{net::IpAddr, time::Duration};

use anyhow::Context;
use reqwest::{Client, ClientBuilder, Url, redirect::Policy};

/// Longest wait for a connection: a host that is there answers within a round trip or two.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// The sink's way to Meta. It goes to the configured base URL only: a redirect would carry the access token elsewhere.
pub fn to_meta(base_url: &str) -> anyhow::Result<Client> {
    let client = if is_here(base_url) { plain() } else { Client::builder() };
    let agent = concat!("rapidmetrics/", env!("CARGO_PKG_VERSION"));
    let client = client.user_agent(agent).redirect(Policy::none()).connect_timeout(CONNECT_WAIT);
    client.build().context("no HTTPS client can be made; are the system's CA certificates installed?")
}

/// The commands' way to the desk, and the demo's to its own parts.
pub fn to_ourselves() -> anyhow::Result<Client> {
    plain().connect_timeout(CONNECT_WAIT).build().context("no HTTP client can be made")
}

/// For plain HTTP inside: it needs no CA certificates, and the proxies that the environment names are for the outside world.
fn plain() -> ClientBuilder {
    Client::builder().no_proxy().tls_certs_only([])
}

/// Plain HTTP to this very machine, as to Meta in a box.
fn is_here(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    url.scheme() == "http" && (host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::is_here;

    #[test]
    fn only_this_machine_is_called_past_the_proxy() {
        for (url, here) in [
            ("http://127.0.0.1:8090", true),
            ("http://[::1]:8090", true),
            ("http://localhost:8090", true),
            ("https://localhost:8090", false),
            ("https://graph.facebook.com", false),
            ("http://127.0.0.1.example.com", false),
            ("not a url", false),
        ] {
            assert_eq!(is_here(url), here, "{url}");
        }
    }
}
