//! What identifies a browser, as far as it is usable: address, user agent, Meta's own cookies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{click, fact::Context};

/// The visitor's address, if the internet could have seen it.
pub(super) fn public_ip(context: &Context) -> Option<IpAddr> {
    let ip = context.client_ip.as_deref()?.trim().parse::<IpAddr>().ok()?.to_canonical();
    let is_public = match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    };
    is_public.then_some(ip)
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let is_shared = first == 100 && (64..128).contains(&second); // behind a carrier's translation
    let is_reserved = first == 0 || first >= 240;
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || is_shared || is_reserved)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unique_local() || ip.is_unicast_link_local())
}

/// The user agent, verbatim.
pub(super) fn user_agent(context: &Context) -> Option<&str> {
    context.user_agent.as_deref().filter(|text| !text.trim().is_empty())
}

/// Meta's browser id, verbatim.
pub(super) fn fbp(context: &Context) -> Option<&str> {
    context.fbp.as_deref().filter(|cookie| click::is_cookie(cookie))
}

/// Meta's click id, verbatim: its case matters.
pub(super) fn fbc(context: &Context) -> Option<&str> {
    context.fbc.as_deref().filter(|cookie| click::is_cookie(cookie))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_told() {
        for (text, told) in [
            ("203.0.113.7", Some("203.0.113.7")),
            (" 8.8.8.8 ", Some("8.8.8.8")),
            ("2001:DB8::1", Some("2001:db8::1")),
            ("::ffff:8.8.8.8", Some("8.8.8.8")),
            ("::ffff:10.0.0.1", None),
            ("10.1.2.3", None),
            ("172.16.0.1", None),
            ("192.168.1.1", None),
            ("127.0.0.1", None),
            ("169.254.1.1", None),
            ("100.64.0.1", None),
            ("0.0.0.0", None),
            ("255.255.255.255", None),
            ("224.0.0.1", None),
            ("::1", None),
            ("::", None),
            ("fe80::1", None),
            ("fd00::1", None),
            ("8.8.8.8:443", None),
            ("unknown", None),
            ("", None),
        ] {
            let context = Context { client_ip: Some(text.to_owned()), ..Context::default() };
            assert_eq!(public_ip(&context).map(|ip| ip.to_string()).as_deref(), told, "{text}");
        }
    }
}
