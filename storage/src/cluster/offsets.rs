//! Questions to the brokers: where partitions begin and end, and what groups have committed. Each blocks its thread, so it has one of
//! its own; each is asked again until it is answered or the store closes.

use std::{sync::Arc, time::Duration};

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

/// Asks the brokers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Asker {
    names: Arc<Names>,
    processor: Arc<BaseConsumer<Consumer>>,
    capi: Arc<BaseConsumer<Consumer>>,
    closed: watch::Receiver<bool>,
}

type Consumer = rdkafka::consumer::DefaultConsumerContext;

impl Asker {
    /// One client per group, because a client asks for the group it is configured for. None of them joins.
    pub(super) fn open(
        names: Arc<Names>,
        settings: impl Fn(Group) -> ClientConfig,
        closed: watch::Receiver<bool>,
    ) -> Result<Self, KafkaError> {
        let open = |group| Ok::<_, KafkaError>(Arc::new(settings(group).create()?));
        Ok(Self { names, processor: open(Group::Processor)?, capi: open(Group::Capi)?, closed })
    }

    fn of(&self, group: Group) -> Arc<BaseConsumer<Consumer>> {
        match group {
            Group::Processor => self.processor.clone(),
            Group::Capi => self.capi.clone(),
        }
    }

    /// The first record kept, and the offset after the last.
    pub(super) async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), ReadError> {
        let (partitions, name) = (self.names.partitions(topic), self.names.of(topic).0.to_owned());
        if partition >= partitions {
            return Err(ReadError::Failed(format!("{} has {partitions} partitions", topic.name())));
        }
        let consumer = self.of(Group::Processor);
        let (low, high) = self.until_answered(move || consumer.fetch_watermarks(&name, partition as i32, PATIENCE)).await?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    /// The first record that is not older than that; the end if all are.
    pub(super) async fn first_since(&self, topic: Topic, partition: u32, time: Time) -> Result<u64, ReadError> {
        let name = self.names.of(topic).0.to_owned();
        let consumer = self.of(Group::Processor);
        let asked = move || {
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition_offset(&name, partition as i32, Offset::Offset(time.millis()))?;
            let answered = consumer.offsets_for_times(list, PATIENCE)?;
            let element = answered.find_partition(&name, partition as i32).ok_or(KafkaError::Canceled)?;
            element.error()?;
            Ok(element.offset())
        };
        match self.until_answered(asked).await? {
            Offset::Offset(first) => Ok(first.max(0) as u64),
            _ => Ok(self.bounds(topic, partition).await?.1),
        }
    }

    /// What a group has committed.
    pub(super) async fn committed(&self, group: Group, partition: u32) -> Result<Committed, ReadError> {
        let name = self.names.of(group.topic()).0.to_owned();
        let consumer = self.of(group);
        self.until_answered(move || committed(&consumer, &name, partition)).await
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
        question: impl Fn() -> Result<T, KafkaError> + Clone + Send + 'static,
    ) -> Result<T, ReadError> {
        let mut closed = self.closed.clone();
        loop {
            let asked = question.clone();
            let answer = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return Err(ReadError::Closed),
                answer = tokio::task::spawn_blocking(asked) => answer.map_err(|_| ReadError::Closed)?,
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
