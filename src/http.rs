//! The HTTP clients of the house: one for the outside world, one for this machine.

use std::{net::IpAddr, time::Duration};

use anyhow::Context;
use reqwest::{Client, ClientBuilder, Url, redirect::Policy};

/// Longest wait for a connection: a host that is there answers within a round trip or two.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// The sink's way to Meta. It goes to the configured base URL only: a redirect would carry the access token elsewhere.
///
/// Finding the host, reaching it and agreeing on TLS may take half of a request's time: so that a request which ran out of time is known
/// to have had a connection, and one that never had any is known to have sent nothing.
pub fn to_meta(config: &projections::capi::Config) -> anyhow::Result<Client> {
    let client = if is_here(&config.base_url) { plain() } else { Client::builder() };
    let agent = concat!("rapidmetrics/", env!("CARGO_PKG_VERSION"));
    let connect_wait = CONNECT_WAIT.min(Duration::from_millis(config.request_timeout_ms) / 2);
    let client = client.user_agent(agent).redirect(Policy::none()).connect_timeout(connect_wait);
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
    use std::time::Duration;

    use super::{is_here, to_meta};
    use crate::config::Settings;

    #[tokio::test]
    async fn a_request_that_never_had_a_connection_says_so_however_little_time_it_had() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"); // TLS is never agreed on
        let mut config = Settings::read(None, [], vec![]).expect("the defaults").capi;
        config.base_url = format!("https://{}", silent.local_addr().expect("it is bound"));
        config.request_timeout_ms = 400;
        let request = to_meta(&config).expect("a client").post(&config.base_url).timeout(Duration::from_millis(400)).body("events");
        let error = request.send().await.expect_err("nobody answers");
        assert!(error.is_connect(), "{error:?}");
    }

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
