//! Membership of a group: the brokers say which partitions of its topic are ours. A thread of its own polls, so that it never starves,
//! however slow the ledger is; nothing is fetched here, every partition is paused as soon as it is assigned.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata, Rebalance},
    error::KafkaError,
};
use schemas::topic::Group;
use tokio::sync::watch;

use super::{
    client::{Observer, observed},
    names::Names,
};
use crate::{
    claims::{Claims, Register},
    log::ReadError,
    step::Consumed,
};

/// How long the thread sleeps when nothing happens.
const POLL: Duration = Duration::from_millis(100);

/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(1);

/// One group's membership of this process.
pub(super) struct Membership {
    consumer: BaseConsumer<Context>,
    register: Arc<Register>,
    stop: AtomicBool,
    ended: watch::Sender<bool>,
}

struct Context {
    observer: Observer,
    register: Arc<Register>,
    group: Group,
    /// How long holders may take to finish what is at hand. Well below the session, so that the others need not wait for it to end.
    patience: Duration,
}

observed!(Context, observer);

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.observer.metrics.rebalances.with_label_values(&[self.group.name()]).inc();
        match rebalance {
            Rebalance::Assign(_) => {}
            Rebalance::Revoke(list) if consumer.assignment_lost() => {
                tracing::warn!(group = self.group.name(), partitions = ?numbers(list), "partitions were lost to others");
                self.register.lose(&numbers(list));
            }
            Rebalance::Revoke(list) => {
                tracing::info!(group = self.group.name(), partitions = ?numbers(list), "partitions are asked back");
                self.register.ask_back(&numbers(list), self.patience);
            }
            Rebalance::Error(error) => tracing::warn!(group = self.group.name(), %error, "a rebalance failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            if let Err(error) = consumer.pause(list) {
                tracing::warn!(group = self.group.name(), %error, "partitions are not paused; what is fetched here is dropped");
            }
            tracing::info!(group = self.group.name(), partitions = ?numbers(list), "partitions are ours");
            self.register.grant(numbers(list));
        }
    }
}

fn numbers(list: &TopicPartitionList) -> Vec<u32> {
    list.elements().iter().map(|element| element.partition() as u32).collect()
}

impl Membership {
    /// Joins the group.
    pub(super) fn join(
        settings: &ClientConfig,
        observer: Observer,
        names: &Names,
        group: Group,
        session: Duration,
    ) -> Result<(Arc<Self>, Claims), KafkaError> {
        let (register, leases) = Register::new();
        let context = Context { observer, register: register.clone(), group, patience: session / 2 };
        let consumer: BaseConsumer<Context> = settings.create_with_context(context)?;
        consumer.subscribe(&[names.of(group.topic()).0])?;
        let member =
            Arc::new(Self { consumer, register: register.clone(), stop: AtomicBool::new(false), ended: watch::Sender::new(false) });
        let polls = member.clone();
        std::thread::Builder::new()
            .name(format!("member-{}", group.name()))
            .spawn(move || polls.run())
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        let claims = Claims::of(leases, Box::new(Leaving(member.clone())));
        Ok((member, claims))
    }

    fn run(&self) {
        while !self.stop.load(Relaxed) {
            match self.consumer.poll(POLL) {
                None | Some(Ok(_)) => {}
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    self.register.fail(ReadError::Failed(format!("the group's membership ended: {error}")));
                    break;
                }
                Some(Err(error)) => tracing::debug!(%error, "membership"),
            }
        }
        self.consumer.unsubscribe(); // the others need not wait for the session to end
        let until = std::time::Instant::now() + LEAVE;
        while std::time::Instant::now() < until && self.consumer.assignment().is_ok_and(|list| list.count() > 0) {
            self.consumer.poll(POLL);
        }
        self.ended.send_replace(true);
    }

    /// Whether a step of this partition may still be made true.
    pub(super) fn holds(&self, consumed: &Consumed) -> bool {
        self.register.holds(consumed.partition, consumed.lease)
    }

    /// The partitions that are ours.
    pub(super) fn partitions(&self) -> Vec<u32> {
        self.register.partitions()
    }

    /// Whether this process is on its way out of the group.
    pub(super) fn is_leaving(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// What fences us: member and generation, as of now.
    pub(super) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    /// Leaves the group; resolves when that is done.
    pub(super) async fn leave(&self) {
        self.stop.store(true, Relaxed);
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// Leaves the group when the claims are dropped.
struct Leaving(Arc<Membership>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.stop.store(true, Relaxed);
    }
}

/// The settings of a group's member, over those of every client.
pub(super) fn settings(mut settings: ClientConfig, group: &str, session_timeout_ms: u32) -> ClientConfig {
    settings
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        // Only what moves is asked back; everybody else works on through a rebalance.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", (session_timeout_ms / 6).clamp(300, 3_000).to_string())
        .set("max.poll.interval.ms", session_timeout_ms.max(300_000).to_string());
    settings
}
