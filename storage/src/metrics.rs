//! This room's metrics on one page: name, unit, meaning.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, GenericCounter},
    exponential_buckets,
};

/// Counters and gauges of the engine. Cheap to clone; register once.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// `rapidmetrics_storage_sync_seconds`: one batch, from its first write to its last synced byte.
    pub sync_seconds: Histogram,
    /// `rapidmetrics_storage_batch_jobs`: appends and steps that shared one sync.
    pub batch_jobs: Histogram,
    /// `rapidmetrics_storage_batch_bytes`: bytes of records and rows in one batch.
    pub batch_bytes: Histogram,
    /// `rapidmetrics_storage_commit_seconds{step}`: from entering the queue to the answer, appends included.
    pub commit_seconds: HistogramVec,
    /// `rapidmetrics_storage_appended_records_total{topic}`: durable records.
    pub appended_records: IntCounterVec,
    /// `rapidmetrics_storage_appended_bytes_total{topic}`: their keys and values.
    pub appended_bytes: IntCounterVec,
    /// `rapidmetrics_storage_dropped_blocks_total{topic}`: log blocks dropped because of their age.
    pub dropped_blocks: IntCounterVec,
    /// `rapidmetrics_storage_refused_full_total`: appends refused because the volume was nearly full.
    pub refused_full: IntCounter,
    /// `rapidmetrics_storage_queue_bytes`: what waits for the commit thread or is at work there.
    pub queue_bytes: IntGauge,
    /// `rapidmetrics_storage_free_bytes`: on the volume of the data folder.
    pub free_bytes: IntGauge,
    /// `rapidmetrics_storage_disk_bytes`: what the store takes.
    pub disk_bytes: IntGauge,
    /// `rapidmetrics_storage_memory_table_bytes`: rows and blocks not yet written out as tables.
    pub memory_table_bytes: IntGauge,
    /// `rapidmetrics_storage_log_start_offset{topic,partition}`: the first record kept.
    pub log_start: IntGaugeVec,
    /// `rapidmetrics_storage_log_end_offset{topic,partition}`: the one after the last.
    pub log_end: IntGaugeVec,
    /// `rapidmetrics_storage_committed_offset{group,partition}`: the next one to be read; the lag is the end minus this.
    pub committed: IntGaugeVec,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            sync_seconds: histogram("sync_seconds", "One batch, written and synced.", 0.0001, 2.0, 16),
            batch_jobs: histogram("batch_jobs", "Appends and steps that shared one sync.", 1.0, 2.0, 12),
            batch_bytes: histogram("batch_bytes", "Bytes of records and rows in one batch.", 256.0, 4.0, 10),
            commit_seconds: known(HistogramVec::new(
                HistogramOpts::new(name("commit_seconds"), "From entering the queue to the answer.").buckets(buckets(0.0001, 2.0, 16)),
                &["step"],
            )),
            appended_records: counters("appended_records_total", "Durable records.", &["topic"]),
            appended_bytes: counters("appended_bytes_total", "Keys and values of durable records.", &["topic"]),
            dropped_blocks: counters("dropped_blocks_total", "Log blocks dropped because of their age.", &["topic"]),
            refused_full: known(GenericCounter::new(name("refused_full_total"), "Appends refused because the volume was nearly full.")),
            queue_bytes: gauge("queue_bytes", "What waits for the commit thread or is at work there."),
            free_bytes: gauge("free_bytes", "Free on the volume of the data folder."),
            disk_bytes: gauge("disk_bytes", "What the store takes on disk."),
            memory_table_bytes: gauge("memory_table_bytes", "Rows and blocks not yet written out as tables."),
            log_start: gauges("log_start_offset", "The first record kept.", &["topic", "partition"]),
            log_end: gauges("log_end_offset", "The offset after the last record.", &["topic", "partition"]),
            committed: gauges("committed_offset", "The next offset the group reads.", &["group", "partition"]),
        }
    }

    /// One record became durable.
    pub(crate) fn appended(&self, topic: &str, bytes: usize) {
        self.appended_records.with_label_values(&[topic]).inc();
        self.appended_bytes.with_label_values(&[topic]).inc_by(bytes as u64);
    }

    /// Registers all of them.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 15] = [
            Box::new(self.sync_seconds.clone()),
            Box::new(self.batch_jobs.clone()),
            Box::new(self.batch_bytes.clone()),
            Box::new(self.commit_seconds.clone()),
            Box::new(self.appended_records.clone()),
            Box::new(self.appended_bytes.clone()),
            Box::new(self.dropped_blocks.clone()),
            Box::new(self.refused_full.clone()),
            Box::new(self.queue_bytes.clone()),
            Box::new(self.free_bytes.clone()),
            Box::new(self.disk_bytes.clone()),
            Box::new(self.memory_table_bytes.clone()),
            Box::new(self.log_start.clone()),
            Box::new(self.log_end.clone()),
            Box::new(self.committed.clone()),
        ];
        all.into_iter().try_for_each(|metric| registry.register(metric))
    }
}

fn name(short: &str) -> String {
    format!("rapidmetrics_storage_{short}")
}

fn buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    known(exponential_buckets(start, factor, count))
}

fn histogram(short: &str, help: &str, start: f64, factor: f64, count: usize) -> Histogram {
    known(Histogram::with_opts(HistogramOpts::new(name(short), help).buckets(buckets(start, factor, count))))
}

fn counters(short: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    known(IntCounterVec::new(Opts::new(name(short), help), labels))
}

fn gauge(short: &str, help: &str) -> IntGauge {
    known(IntGauge::new(name(short), help))
}

fn gauges(short: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    known(IntGaugeVec::new(Opts::new(name(short), help), labels))
}

/// The names, labels and buckets on this page are constants; a wrong one is seen by the first test that opens a store.
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
    }
}
