//! The cluster engine's metrics on one page: name, unit, meaning. What every engine counts stands in `crate::metrics`.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, core::Collector, exponential_buckets,
};
use rdkafka::Statistics;

/// Counters and gauges of the clients. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    /// `rapidmetrics_kafka_transactions_total{group,outcome}`: outcome is `committed`, `aborted` or `unknown`.
    pub(super) transactions: IntCounterVec,
    /// `rapidmetrics_kafka_transaction_seconds`: one committed transaction, from its beginning.
    pub(super) transaction_seconds: Histogram,
    /// `rapidmetrics_kafka_rebalances_total{group}`: times partitions were given to or taken from this process.
    pub(super) rebalances: IntCounterVec,
    /// `rapidmetrics_kafka_producer_queue_messages{client}`: records that wait for the brokers.
    queue: IntGaugeVec,
    /// `rapidmetrics_kafka_producer_queue_ratio_permille{client}`: how full that queue is.
    queue_fill: IntGaugeVec,
    /// `rapidmetrics_kafka_broker_round_trip_p99_us{client}`: the slowest broker's, over the last seconds.
    round_trip: IntGaugeVec,
    /// `rapidmetrics_kafka_lag_records{group,partition}`: records after the committed offset.
    pub(super) lag: IntGaugeVec,
    /// `rapidmetrics_kafka_retention_failures_total{topic}`: times old records could not be deleted.
    pub(super) retention_failures: IntCounterVec,
    /// `rapidmetrics_storage_step_seconds{step}`: a step from its first row to its last word.
    pub(super) step_seconds: HistogramVec,
    /// `rapidmetrics_storage_ledger_retries_total{question}`: times the ledger was asked again.
    pub(super) retries: IntCounterVec,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let seconds = |short: &str, help: &str| HistogramOpts::new(name(short), help).buckets(known(exponential_buckets(0.001, 2.0, 16)));
        Self {
            transactions: counters("kafka_transactions_total", "Transactions by outcome.", &["group", "outcome"]),
            transaction_seconds: known(Histogram::with_opts(seconds("kafka_transaction_seconds", "One committed transaction."))),
            rebalances: counters("kafka_rebalances_total", "Times partitions were given or taken.", &["group"]),
            queue: gauges("kafka_producer_queue_messages", "Records that wait for the brokers.", &["client"]),
            queue_fill: gauges("kafka_producer_queue_permille", "How full the producer's queue is, in thousandths.", &["client"]),
            round_trip: gauges("kafka_broker_round_trip_p99_us", "The slowest broker's round trip, in microseconds.", &["client"]),
            lag: gauges("kafka_lag_records", "Records after the committed offset.", &["group", "partition"]),
            retention_failures: counters("kafka_retention_failures_total", "Times old records could not be deleted.", &["topic"]),
            step_seconds: known(HistogramVec::new(seconds("storage_step_seconds", "A step, rows and transaction."), &["step"])),
            retries: counters("storage_ledger_retries_total", "Times the ledger was asked again.", &["question"]),
        }
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 10] = [
            Box::new(self.transactions.clone()),
            Box::new(self.transaction_seconds.clone()),
            Box::new(self.rebalances.clone()),
            Box::new(self.queue.clone()),
            Box::new(self.queue_fill.clone()),
            Box::new(self.round_trip.clone()),
            Box::new(self.lag.clone()),
            Box::new(self.retention_failures.clone()),
            Box::new(self.step_seconds.clone()),
            Box::new(self.retries.clone()),
        ];
        all.into_iter().try_for_each(|metric| registry.register(metric))
    }

    /// What the library counts of one client, every few seconds.
    pub(super) fn client(&self, purpose: &str, statistics: &Statistics) {
        let labels = [purpose];
        self.queue.with_label_values(&labels).set(statistics.msg_cnt as i64);
        if let Some(fill) = (statistics.msg_cnt * 1_000).checked_div(statistics.msg_max) {
            self.queue_fill.with_label_values(&labels).set(fill as i64);
        }
        let slowest = statistics.brokers.values().filter_map(|broker| broker.rtt.as_ref()).map(|rtt| rtt.p99).max();
        self.round_trip.with_label_values(&labels).set(slowest.unwrap_or(0));
    }
}

fn name(short: &str) -> String {
    format!("rapidmetrics_{short}")
}

fn counters(short: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    known(IntCounterVec::new(Opts::new(name(short), help), labels))
}

fn gauges(short: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    known(IntGaugeVec::new(Opts::new(name(short), help), labels))
}

/// The names, labels and buckets on this page are constants; a wrong one is seen by the first test that opens a store.
fn known<T>(metric: Result<T, prometheus::Error>) -> T {
    metric.expect("names and buckets on this page are valid")
}
