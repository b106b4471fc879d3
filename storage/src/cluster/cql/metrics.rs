//! The CQL client's metrics on one page: name, unit, meaning.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::{Collector, GenericGauge},
};

use super::statement::Statement;

/// Seconds: edges on the limits people ask for, from a good read to a lost one.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What the client sees of the CQL server. Cheap to clone; register once.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// `rapidmetrics_cql_seconds{statement}`: from sending a statement to its answer, errors included, waiting for a turn not.
    pub(crate) seconds: HistogramVec,
    /// `rapidmetrics_cql_errors_total{statement}`: statements without an answer; each is one `Transient` error, or looked into.
    pub(crate) errors: IntCounterVec,
    /// `rapidmetrics_cql_in_flight`: statements under way.
    pub(crate) in_flight: IntGauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let labels = ["statement"];
        Self {
            seconds: known(HistogramVec::new(
                HistogramOpts::new("rapidmetrics_cql_seconds", "From sending a statement to its answer.").buckets(SECONDS.to_vec()),
                &labels,
            )),
            errors: known(IntCounterVec::new(Opts::new("rapidmetrics_cql_errors_total", "Statements without an answer."), &labels)),
            in_flight: known(GenericGauge::new("rapidmetrics_cql_in_flight", "Statements under way.")),
        }
    }

    /// The two series of one statement, looked up once.
    pub(super) fn of(&self, statement: Statement) -> (Histogram, IntCounter) {
        let label = [statement.label()];
        (self.seconds.with_label_values(&label), self.errors.with_label_values(&label))
    }

    /// Registers all of them.
    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 3] =
            [Box::new(self.seconds.clone()), Box::new(self.errors.clone()), Box::new(self.in_flight.clone())];
        all.into_iter().try_for_each(|metric| registry.register(metric))
    }
}

/// The names, labels and buckets on this page are constants; a wrong one is seen by the first test.
fn known<T>(metric: Result<T, prometheus::Error>) -> T {
    metric.expect("names and buckets on this page are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_once() {
        let registry = Registry::new();
        let metrics = Metrics::new();
        assert!(metrics.register(&registry).is_ok());
        assert!(metrics.register(&registry).is_err(), "a second time they are already there");
        for statement in Statement::ALL {
            metrics.of(statement).0.observe(0.1);
        }
    }
}
