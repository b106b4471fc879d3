//! Questions to the brokers: where partitions begin and end, and what groups have committed. Each blocks its thread, so it has one of
//! its own; each is asked again until it is answered or the store closes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode},
};
use schemas::{
    time::Time,
    topic::{Group, Topic},
};
use tokio::sync::watch;

use super::names::Names;
use crate::log::{Committed, ReadError};

/// How long one question may take before it is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// After so long without an answer another client asks. Longer than brokers take to be elected.
const RENEW_AFTER: Duration = Duration::from_secs(20);

/// Asks the brokers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Asker {
    names: Arc<Names>,
    clients: Arc<[Client; 2]>,
    closed: watch::Receiver<bool>,
}

/// The client of one group, made anew when it does not come right by itself: with a broker away it was seen to say for minutes that it
/// knows no such partition, while others knew it.
struct Client {
    group: Group,
    settings: ClientConfig,
    inner: ArcSwap<BaseConsumer<Consumer>>,
}

impl Client {
    fn open(group: Group, settings: ClientConfig) -> Result<Self, KafkaError> {
        let inner = ArcSwap::from_pointee(settings.create()?);
        Ok(Self { group, settings, inner })
    }

    /// Another one in the place of that, unless somebody was faster.
    fn renew(&self, old: &Arc<BaseConsumer<Consumer>>) {
        match self.settings.create() {
            Ok(new) => drop(self.inner.compare_and_swap(old, Arc::new(new))),
            Err(error) => tracing::warn!(group = self.group.name(), %error, "a client that asks the brokers cannot be made anew"),
        }
    }
}

type Consumer = rdkafka::consumer::DefaultConsumerContext;

impl Asker {
    /// One client per group, because a client asks for the group it is configured for. None of them joins.
    pub(super) fn open(
        names: Arc<Names>,
        settings: impl Fn(Group) -> ClientConfig,
        closed: watch::Receiver<bool>,
    ) -> Result<Self, KafkaError> {
        let open = |group| Client::open(group, settings(group));
        Ok(Self { names, clients: Arc::new([open(Group::Processor)?, open(Group::Capi)?]), closed })
    }

    fn client(&self, group: Group) -> &Client {
        match group {
            Group::Processor => &self.clients[0],
            Group::Capi => &self.clients[1],
        }
    }

    fn of(&self, group: Group) -> Arc<BaseConsumer<Consumer>> {
        self.client(group).inner.load_full()
    }

    /// The first record kept, and the offset after the last.
    pub(super) async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), ReadError> {
        let (partitions, name) = (self.names.partitions(topic), self.names.of(topic).0.to_owned());
        if partition >= partitions {
            return Err(ReadError::Failed(format!("{} has {partitions} partitions", topic.name())));
        }
        let asked = move |consumer: &BaseConsumer<Consumer>| consumer.fetch_watermarks(&name, partition as i32, PATIENCE);
        let (low, high) = self.until_answered(Group::Processor, asked).await?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    /// The first record that is not older than that; the end if all are.
    pub(super) async fn first_since(&self, topic: Topic, partition: u32, time: Time) -> Result<u64, ReadError> {
        let name = self.names.of(topic).0.to_owned();
        let asked = move |consumer: &BaseConsumer<Consumer>| {
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition_offset(&name, partition as i32, Offset::Offset(time.millis()))?;
            let answered = consumer.offsets_for_times(list, PATIENCE)?;
            let element = answered.find_partition(&name, partition as i32).ok_or(KafkaError::Canceled)?;
            element.error()?;
            Ok(element.offset())
        };
        match self.until_answered(Group::Processor, asked).await? {
            Offset::Offset(first) => Ok(first.max(0) as u64),
            _ => Ok(self.bounds(topic, partition).await?.1),
        }
    }

    /// What a group has committed.
    pub(super) async fn committed(&self, group: Group, partition: u32) -> Result<Committed, ReadError> {
        let name = self.names.of(group.topic()).0.to_owned();
        self.until_answered(group, move |consumer| committed(consumer, &name, partition)).await
    }

    /// How a group's offsets are committed by whoever is no member: for tests, and for tools while the group is empty.
    pub(super) fn nobody(&self, group: Group) -> Option<ConsumerGroupMetadata> {
        self.of(group).group_metadata()
    }

    /// The same question on this very thread, once.
    pub(super) fn committed_now(&self, group: Group, partition: u32) -> Result<Committed, KafkaError> {
        committed(&self.of(group), self.names.of(group.topic()).0, partition)
    }

    async fn until_answered<T: Send + 'static>(
        &self,
        group: Group,
        question: impl Fn(&BaseConsumer<Consumer>) -> Result<T, KafkaError> + Clone + Send + 'static,
    ) -> Result<T, ReadError> {
        let mut closed = self.closed.clone();
        let mut renew_at = Instant::now() + RENEW_AFTER;
        loop {
            let (asked, consumer) = (question.clone(), self.of(group));
            if Instant::now() > renew_at {
                tracing::warn!(group = group.name(), "the brokers have not answered for long; asking with another client");
                let asker = self.clone();
                let renewed = tokio::task::spawn_blocking(move || asker.client(group).renew(&consumer)); // dropping the old one blocks
                renewed.await.map_err(|_| ReadError::Closed)?;
                renew_at = Instant::now() + RENEW_AFTER;
                continue;
            }
            let answer = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return Err(ReadError::Closed),
                answer = tokio::task::spawn_blocking(move || asked(&consumer)) => answer.map_err(|_| ReadError::Closed)?,
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if is_for_good(&error) => return Err(ReadError::Failed(error.to_string())),
                Err(error) => tracing::debug!(%error, "the brokers did not answer; asking again"),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

fn committed(consumer: &BaseConsumer<Consumer>, topic: &str, partition: u32) -> Result<Committed, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, partition as i32);
    let list = consumer.committed_offsets(list, PATIENCE)?;
    let Some(element) = list.find_partition(topic, partition as i32) else { return Ok(Committed::default()) };
    element.error()?;
    Ok(match element.offset() {
        Offset::Offset(next) => {
            Committed { next_offset: next.max(0) as u64, metadata: Some(element.metadata().to_owned()).filter(|note| !note.is_empty()) }
        }
        _ => Committed::default(),
    })
}

/// Errors that asking again does not mend.
fn is_for_good(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::SaslAuthenticationFailed
        )
    )
}
