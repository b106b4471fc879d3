//! What all clients of the brokers share: settings, and what they say of their health.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use rdkafka::{
    ClientConfig, ClientContext, Statistics,
    client::DefaultClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};
use schemas::topic::Topic;

use super::{config::KafkaConfig, metrics::Metrics};

/// The settings of a client for some purpose, such as `append` or `processor`.
pub(super) fn settings(config: &KafkaConfig, instance: &str, purpose: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", format!("rapidmetrics-{purpose}-{instance}"))
        // A broker that was restarted is found again within a second; the default backs off to ten.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("allow.auto.create.topics", "false")
        .set("statistics.interval.ms", "5000")
        .set_log_level(RDKafkaLogLevel::Warning);
    for (name, value) in &config.properties {
        settings.set(name, value);
    }
    settings
}

/// A topic's name at the brokers.
pub(super) fn topic_name(config: &KafkaConfig, topic: Topic) -> String {
    format!("{}{}.v1", config.prefix, topic.name())
}

/// A group's name at the brokers.
pub(super) fn group_name(config: &KafkaConfig, group: schemas::topic::Group) -> String {
    format!("{}{}", config.prefix, group.name())
}

/// Whether the log works, as far as its clients know.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed: AtomicBool,
}

impl Health {
    /// An append worked.
    pub(super) fn well(&self) {
        self.failed.store(false, Relaxed);
    }

    /// An append failed, or a broker was lost.
    pub(super) fn ill(&self) {
        self.failed.store(true, Relaxed);
    }

    pub(super) fn is_well(&self) -> bool {
        !self.failed.load(Relaxed)
    }
}

/// Hears what the library says of a client.
#[derive(Clone)]
pub(super) struct Observer {
    pub(super) purpose: &'static str,
    pub(super) health: Arc<Health>,
    pub(super) metrics: Metrics,
}

impl ClientContext for Observer {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        // What the library calls an error it mostly recovers from by itself: a human need not come.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(purpose = self.purpose, fac, message, "kafka client");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::debug!(purpose = self.purpose, fac, message, "kafka client");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::trace!(purpose = self.purpose, fac, message, "kafka client");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.health.ill();
                tracing::warn!(purpose = self.purpose, "no broker answers; trying on");
            }
            // One of many, or an idle connection closed, or all that there are: whoever asks after our health finds out by an append.
            Some(RDKafkaErrorCode::BrokerTransportFailure) => self.health.ill(),
            _ => tracing::debug!(purpose = self.purpose, %error, reason, "kafka client"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.metrics.client(self.purpose, &statistics);
    }
}

impl rdkafka::consumer::ConsumerContext for Observer {}

/// A client with a context of its own hands on what the library says of it.
macro_rules! observed {
    ($context:ty, $observer:tt) => {
        impl rdkafka::ClientContext for $context {
            fn log(&self, level: rdkafka::config::RDKafkaLogLevel, fac: &str, message: &str) {
                self.$observer.log(level, fac, message);
            }

            fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
                self.$observer.error(error, reason);
            }

            fn stats(&self, statistics: rdkafka::Statistics) {
                self.$observer.stats(statistics);
            }
        }
    };
}
pub(super) use observed;

/// A client that only asks and administers.
pub(super) type Plain = DefaultClientContext;
