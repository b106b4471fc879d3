//! The ledger's metrics on one page: name, unit, meaning.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, core::Collector, exponential_buckets};

/// Counters and gauges of statements. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// `rapidmetrics_cql_seconds{statement}`: one statement, from its turn to its answer; `batch`: several that went together.
    pub(super) seconds: HistogramVec,
    /// `rapidmetrics_cql_errors_total{statement}`: statements without an answer, after the driver's own retries.
    pub(super) errors: IntCounterVec,
    /// `rapidmetrics_cql_in_flight`: statements on their way.
    pub(super) in_flight: IntGauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let buckets = known(exponential_buckets(0.000_25, 2.0, 16));
        let seconds = HistogramOpts::new("rapidmetrics_cql_seconds", "One statement, from its turn to its answer.").buckets(buckets);
        Self {
            seconds: known(HistogramVec::new(seconds, &["statement"])),
            errors: known(IntCounterVec::new(Opts::new("rapidmetrics_cql_errors_total", "Statements without an answer."), &["statement"])),
            in_flight: known(IntGauge::new("rapidmetrics_cql_in_flight", "Statements on their way.")),
        }
    }

    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 3] =
            [Box::new(self.seconds.clone()), Box::new(self.errors.clone()), Box::new(self.in_flight.clone())];
        all.into_iter().try_for_each(|metric| registry.register(metric))
    }
}

/// The names and buckets on this page are constants; a wrong one is seen by the first test that opens a ledger.
fn known<T>(metric: Result<T, prometheus::Error>) -> T {
    metric.expect("names and buckets on this page are valid")
}
