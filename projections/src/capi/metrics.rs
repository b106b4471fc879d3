//! The sink's metrics, on one page.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// The sink's metrics.
#[derive(Clone)]
pub struct Metrics {
    /// Deliveries that got their outcome, by outcome.
    pub deliveries: IntCounterVec,
    /// Requests to Meta, by what their answer meant.
    pub attempts: IntCounterVec,
    /// Requests whose answer was lost: Meta may have taken them.
    pub ambiguous: IntCounter,
    /// Answers in which Meta counts other than we sent.
    pub miscounted: IntCounter,
    /// Events per request.
    pub batch: Histogram,
    /// Seconds of a request.
    pub post: Histogram,
    /// Seconds from the door's reception to Meta's yes.
    pub end_to_end: Histogram,
    /// Deliveries in the table `waiting`, by partition.
    pub waiting: IntGaugeVec,
    /// Deliveries by partition and state: `dispatched` is the sum of the others (`waiting` and the outcomes). Restored from the log.
    pub dispatches: IntGaugeVec,
    /// Dispatches that are not consumed yet, by partition.
    pub lag: IntGaugeVec,
    /// Pixels whose token, permission or entry in the directory is at fault, by partition.
    pub refused: IntGaugeVec,
    /// 1 while a partition stands still because it met a newer record, by partition.
    pub stopped: IntGaugeVec,
    /// Dispatches that could not be read and were put aside.
    pub dead: IntCounter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes them.
    pub fn new() -> Self {
        let name = |name: &str| format!("rapidmetrics_capi_{name}");
        let counter = |of: &str, help: &str| IntCounter::new(name(of), help).expect("names are fixed here");
        let counters = |of: &str, help: &str, label: &str| {
            IntCounterVec::new(Opts::new(name(of), help), &[label]).expect("names and labels are fixed here")
        };
        let gauges =
            |of: &str, help: &str| IntGaugeVec::new(Opts::new(name(of), help), &["partition"]).expect("names and labels are fixed here");
        let histogram = |of: &str, help: &str, from: f64, count| {
            let buckets = prometheus::exponential_buckets(from, 2.0, count).expect("they are positive");
            Histogram::with_opts(HistogramOpts::new(name(of), help).buckets(buckets)).expect("names and buckets are fixed here")
        };
        Self {
            deliveries: counters("deliveries_total", "Deliveries that got their outcome, by outcome.", "outcome"),
            attempts: counters("attempts_total", "Requests to Meta, by what their answer meant.", "class"),
            ambiguous: counter("ambiguous_attempts_total", "Requests whose answer was lost."),
            miscounted: counter("miscounted_answers_total", "Answers in which Meta counts other than we sent."),
            batch: histogram("batch_events", "Events per request.", 1.0, 11),
            post: histogram("post_seconds", "Seconds of a request to Meta.", 0.000_5, 16),
            end_to_end: histogram("end_to_end_seconds", "Seconds from the door's reception to Meta's yes.", 0.001, 24),
            waiting: gauges("waiting", "Deliveries that wait to be tried (again)."),
            dispatches: IntGaugeVec::new(
                Opts::new(name("dispatches"), "Deliveries by state, as committed with the log: dispatched is the sum of the others."),
                &["partition", "state"],
            )
            .expect("names and labels are fixed here"),
            lag: gauges("lag_records", "Dispatches that are not consumed yet."),
            refused: gauges("refused_pixels", "Pixels whose token, permission or directory entry is at fault."),
            stopped: gauges("partition_stopped", "1 while a partition stands still and a human must come."),
            dead: counter("dead_total", "Dispatches that could not be read and were put aside."),
        }
    }

    /// Hands them to the house's registry.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        for counter in [&self.ambiguous, &self.miscounted, &self.dead] {
            registry.register(Box::new(counter.clone()))?;
        }
        for counters in [&self.deliveries, &self.attempts] {
            registry.register(Box::new(counters.clone()))?;
        }
        for gauges in [&self.waiting, &self.dispatches, &self.lag, &self.refused, &self.stopped] {
            registry.register(Box::new(gauges.clone()))?;
        }
        for histogram in [&self.batch, &self.post, &self.end_to_end] {
            registry.register(Box::new(histogram.clone()))?;
        }
        Ok(())
    }
}
