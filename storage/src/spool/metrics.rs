//! The spool's metrics on one page: name, unit, meaning.

use prometheus::{IntCounter, IntGauge, Registry};

/// Counters and gauges of the spool.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    /// `rapidmetrics_spool_events`: events that wait in the spool.
    pub(super) events: IntGauge,
    /// `rapidmetrics_spool_spooled_total`: events that were taken because the log was away.
    pub(super) spooled: IntCounter,
    /// `rapidmetrics_spool_drained_total`: events that were handed on to the log.
    pub(super) drained: IntCounter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let counter = |name: &str, help: &str| IntCounter::new(name, help).expect("the names on this page are valid");
        Self {
            events: IntGauge::new("rapidmetrics_spool_events", "Events that wait in the spool.").expect("the names on this page are valid"),
            spooled: counter("rapidmetrics_spool_spooled_total", "Events that were taken because the log was away."),
            drained: counter("rapidmetrics_spool_drained_total", "Events that were handed on to the log."),
        }
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.events.clone()))?;
        registry.register(Box::new(self.spooled.clone()))?;
        registry.register(Box::new(self.drained.clone()))
    }
}
