//! The judge's metrics, on one page.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};

/// The judge's metrics.
#[derive(Clone)]
pub struct Metrics {
    /// Verdicts, by verdict.
    pub verdicts: IntCounterVec,
    /// Dedup decisions, by what the filter said (`absent`, `present`, `cold`) and what the ledger said (`known`, `unknown`, `unasked`).
    pub dedup: IntCounterVec,
    /// Keys held by the filter, by partition and set.
    pub filter_keys: IntGaugeVec,
    /// Keys that fit until the newest generation is full, by partition and set.
    pub filter_capacity: IntGaugeVec,
    /// Bytes of the filter's bitmaps, by partition and set.
    pub filter_bytes: IntGaugeVec,
    /// 1 while the filter may say "absent", by partition.
    pub filter_warm: IntGaugeVec,
    /// 1 while a partition stands still because it met a newer record or a log that went back, by partition.
    pub stopped: IntGaugeVec,
    /// Records put aside, by reason.
    pub dead: IntCounterVec,
    /// Dispatches emitted, by revision.
    pub dispatches: IntCounterVec,
    /// Records per step.
    pub batch: Histogram,
    /// Seconds from the door's reception to the durable step.
    pub latency: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes them.
    pub fn new() -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(format!("rapidmetrics_processor_{name}"), help), labels).expect("names and labels are fixed here")
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(format!("rapidmetrics_processor_{name}"), help), labels).expect("names and labels are fixed here")
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let opts = HistogramOpts::new(format!("rapidmetrics_processor_{name}"), help).buckets(buckets);
            Histogram::with_opts(opts).expect("names and buckets are fixed here")
        };
        let doubling = |from: f64, count| prometheus::exponential_buckets(from, 2.0, count).expect("they are positive");
        Self {
            verdicts: counter("verdicts_total", "Verdicts, by verdict.", &["verdict"]),
            dedup: counter("dedup_total", "Dedup decisions, by what the filter and the ledger said.", &["filter", "ledger"]),
            filter_keys: gauge("filter_keys", "Keys held by the filter.", &["partition", "set"]),
            filter_capacity: gauge("filter_capacity_keys", "Keys that fit until the newest generation is full.", &["partition", "set"]),
            filter_bytes: gauge("filter_bytes", "Bytes of the filter's bitmaps.", &["partition", "set"]),
            filter_warm: gauge("filter_warm", "1 while the filter may say absent.", &["partition"]),
            stopped: gauge("partition_stopped", "1 while a partition stands still and a human must come.", &["partition"]),
            dead: counter("dead_total", "Records put aside, by reason.", &["reason"]),
            dispatches: counter("dispatches_total", "Dispatches emitted, by revision.", &["revision"]),
            batch: histogram("batch_records", "Records judged in one step.", doubling(1.0, 13)),
            latency: histogram("latency_seconds", "Seconds from reception to the durable step.", doubling(0.000_5, 18)),
        }
    }

    /// Hands them to the house's registry.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        for counter in [&self.verdicts, &self.dedup, &self.dead, &self.dispatches] {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [&self.filter_keys, &self.filter_capacity, &self.filter_bytes, &self.filter_warm, &self.stopped] {
            registry.register(Box::new(gauge.clone()))?;
        }
        for histogram in [&self.batch, &self.latency] {
            registry.register(Box::new(histogram.clone()))?;
        }
        Ok(())
    }
}
