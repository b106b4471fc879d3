//! What the door counts: every name, unit and meaning on this page. Handles are found once, not per request.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector};

use crate::Route;

const ROUTES: [(Route, &str); 4] =
    [(Route::Script, "script"), (Route::Session, "session"), (Route::Webhook, "webhook"), (Route::Other, "other")];
/// Every status the door answers; the last place is for one that is missing here.
const STATUSES: [u16; 15] = [200, 202, 204, 304, 400, 401, 403, 404, 405, 408, 413, 415, 429, 503, 0];

/// From a quarter of a millisecond, the fastest sync, to ten seconds, past every timeout.
const SECONDS: [f64; 14] = [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.5, 1.0, 2.5, 10.0];

/// The door's metrics.
#[derive(Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    events: IntCounterVec,
    connections: IntGauge,
    verdict_seconds: Histogram,
    verdict_timeouts: IntCounter,
    /// Purchases of pages without an order: no webhook can join them.
    pub(crate) unpaired: IntCounter,
    /// Events of programs.
    pub(crate) bots: IntCounter,
    by_route: [ByRoute; 4],
    by_kind: [ByKind; 4],
}

#[derive(Clone)]
struct ByRoute {
    requests: [IntCounter; STATUSES.len()],
    seconds: Histogram,
}

#[derive(Clone)]
struct ByKind {
    stored: IntCounter,
    invalid: IntCounter,
    unavailable: IntCounter,
}

/// The kinds of events; `Unread` is an event of a batch that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Identify,
    Track,
    Webhook,
    Unread,
}

const KINDS: [(Kind, &str); 4] =
    [(Kind::Identify, "identify"), (Kind::Track, "track"), (Kind::Webhook, "webhook"), (Kind::Unread, "unread")];

impl Metrics {
    /// Fresh metrics, not registered anywhere.
    pub fn new() -> Self {
        let requests = counters("rapidmetrics_ingest_requests_total", "Requests answered.", &["route", "status"]);
        let seconds =
            HistogramVec::new(histogram("rapidmetrics_ingest_request_seconds", "Seconds from a request's head to its answer."), &["route"])
                .expect("a name and labels that are fixed here");
        let events = counters(
            "rapidmetrics_ingest_events_total",
            "Events by kind (identify, track, webhook, unread) and result (stored, invalid, unavailable).",
            &["kind", "result"],
        );
        let connections = IntGauge::new("rapidmetrics_ingest_connections", "Connections open now.").expect("a fixed name");
        let verdict_seconds = Histogram::with_opts(histogram(
            "rapidmetrics_ingest_verdict_wait_seconds",
            "Seconds a webhook waited for its verdict after it was durable.",
        ))
        .expect("a fixed name");
        let verdict_timeouts = IntCounter::new("rapidmetrics_ingest_verdict_timeouts_total", "Webhooks answered 202, without a verdict.")
            .expect("a fixed name");
        let unpaired = IntCounter::new(
            "rapidmetrics_ingest_unpaired_purchases_total",
            "Purchases that pages told without an order_id: a webhook's telling of the same sale is another purchase.",
        )
        .expect("a fixed name");
        let bots = IntCounter::new(
            "rapidmetrics_ingest_bot_events_total",
            "Events of pages that a program sent, by what its browser says of itself. They are stored and told like all others.",
        )
        .expect("a fixed name");
        let by_route = ROUTES.map(|(_, route)| ByRoute {
            requests: STATUSES.map(|status| requests.with_label_values(&[route, &status.to_string()])),
            seconds: seconds.with_label_values(&[route]),
        });
        let by_kind = KINDS.map(|(_, kind)| ByKind {
            stored: events.with_label_values(&[kind, "stored"]),
            invalid: events.with_label_values(&[kind, "invalid"]),
            unavailable: events.with_label_values(&[kind, "unavailable"]),
        });
        Self { requests, seconds, events, connections, verdict_seconds, verdict_timeouts, unpaired, bots, by_route, by_kind }
    }

    /// Shows them in a registry.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let all: [Box<dyn Collector>; 8] = [
            Box::new(self.requests.clone()),
            Box::new(self.seconds.clone()),
            Box::new(self.events.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.verdict_seconds.clone()),
            Box::new(self.verdict_timeouts.clone()),
            Box::new(self.unpaired.clone()),
            Box::new(self.bots.clone()),
        ];
        all.into_iter().try_for_each(|metric| registry.register(metric))
    }

    pub(crate) fn answered(&self, route: Route, status: StatusCode, took: Duration) {
        let route = &self.by_route[route as usize];
        let place = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        route.requests[place].inc();
        route.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn stored(&self, kind: Kind) {
        self.by_kind[kind as usize].stored.inc();
    }

    pub(crate) fn invalid(&self, kind: Kind) {
        self.by_kind[kind as usize].invalid.inc();
    }

    pub(crate) fn unavailable(&self, kind: Kind) {
        self.by_kind[kind as usize].unavailable.inc();
    }

    pub(crate) fn verdict_came(&self, waited: Duration) {
        self.verdict_seconds.observe(waited.as_secs_f64());
    }

    pub(crate) fn verdict_missed(&self) {
        self.verdict_timeouts.inc();
    }

    pub(crate) fn connections(&self) -> &IntGauge {
        &self.connections
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("a name and labels that are fixed here")
}

fn histogram(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(SECONDS.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_counted_in_its_place() {
        let metrics = Metrics::new();
        for (place, (route, _)) in ROUTES.iter().enumerate() {
            assert_eq!(place, *route as usize);
        }
        for (place, (kind, _)) in KINDS.iter().enumerate() {
            assert_eq!(place, *kind as usize);
        }
        metrics.answered(Route::Webhook, StatusCode::ACCEPTED, Duration::from_millis(3));
        metrics.answered(Route::Webhook, StatusCode::IM_A_TEAPOT, Duration::from_millis(3));
        assert_eq!(metrics.requests.with_label_values(&["webhook", "202"]).get(), 1);
        assert_eq!(metrics.requests.with_label_values(&["webhook", "0"]).get(), 1);
        assert!(metrics.register(&Registry::new()).is_ok());
    }
}
