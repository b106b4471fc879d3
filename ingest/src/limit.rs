//! How often one funnel, and one address, may come. Off unless the settings say a number.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, nanos::Nanos, state::keyed::DashMapStateStore};
use schemas::id::FunnelId;
use tokio::time::Instant;

use crate::{Config, refuse::Refused};

/// Idle entries are forgotten this often, so that memory follows the callers of the last moments and not of all time.
pub(crate) const FORGET_EVERY: Duration = Duration::from_secs(10);

/// The limits in force.
pub(crate) struct Limits {
    funnels: Option<Limit<FunnelId>>,
    addresses: Option<Limit<IpAddr>>,
}

type Limit<K> = RateLimiter<K, DashMapStateStore<K>, Monotonic, NoOpMiddleware<Nanos>>;

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self { funnels: limit(config.rate_per_funnel_per_s), addresses: limit(config.rate_per_ip_per_s) }
    }

    /// Whether any limit is on.
    pub(crate) fn any(&self) -> bool {
        self.funnels.is_some() || self.addresses.is_some()
    }

    /// Counts a request; the address is asked for only if it is needed.
    pub(crate) fn admit(&self, funnel: &FunnelId, address: impl FnOnce() -> IpAddr) -> Result<(), Refused> {
        if let Some(limit) = &self.addresses {
            check(limit, &network_of(address()))?;
        }
        self.funnels.as_ref().map_or(Ok(()), |limit| check(limit, funnel))
    }

    /// Forgets who has not come for a while.
    pub(crate) fn forget(&self) {
        if let Some(limit) = &self.funnels {
            limit.retain_recent();
        }
        if let Some(limit) = &self.addresses {
            limit.retain_recent();
            limit.shrink_to_fit();
        }
    }
}

fn limit<K: Hash + Eq + Clone>(per_s: u32) -> Option<Limit<K>> {
    let per_s = NonZeroU32::new(per_s)?;
    Some(RateLimiter::new(Quota::per_second(per_s), DashMapStateStore::default(), Monotonic(Instant::now())))
}

fn check<K: Hash + Eq + Clone>(limit: &Limit<K>, key: &K) -> Result<(), Refused> {
    let Err(until) = limit.check_key(key) else { return Ok(()) };
    let wait = until.wait_time_from(limit.clock().now());
    Err(Refused::TooMany { retry_after_s: wait.as_millis().div_ceil(1_000).max(1) as u64 })
}

/// An IPv6 caller owns a /64 at least, and could come from a new address each time.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// Tokio's clock: it never steps back, and a simulation can hold it.
#[derive(Clone)]
struct Monotonic(Instant);

impl Clock for Monotonic {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_limit_counts_each_caller_by_itself() {
        let limits = Limits { funnels: None, addresses: limit(2) };
        let funnel = FunnelId::parse("fn_1").expect("an id");
        let come = |address: &str| limits.admit(&funnel, || address.parse().expect("an address")).is_ok();
        assert_eq!([come("192.0.2.1"), come("192.0.2.1"), come("192.0.2.1"), come("192.0.2.2")], [true, true, false, true]);
        assert_eq!([come("2001:db8::1"), come("2001:db8::2"), come("2001:db8::3"), come("2001:db8:0:1::1")], [true, true, false, true]);
    }

    #[tokio::test]
    async fn without_a_number_there_is_no_limit() {
        let limits = Limits { funnels: limit(0), addresses: limit(0) };
        let funnel = FunnelId::parse("fn_1").expect("an id");
        assert!(!limits.any());
        assert!((0..1_000).all(|_| limits.admit(&funnel, || IpAddr::V4([192, 0, 2, 1].into())).is_ok()));
    }
}
