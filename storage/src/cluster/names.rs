//! The topics as the brokers know them: name, partitions, generation.

use schemas::topic::Topic;

use crate::partitioner;

/// What is known of every topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names(Vec<(String, u32, u32)>);

impl Names {
    /// From each topic's name, partitions and generation, in the order of [`Topic::ALL`].
    pub(super) fn new(topics: Vec<(String, u32, u32)>) -> Self {
        debug_assert_eq!(topics.len(), Topic::ALL.len());
        Self(topics)
    }

    fn at(&self, topic: Topic) -> &(String, u32, u32) {
        &self.0[topic as usize]
    }

    /// Name and generation.
    pub(super) fn of(&self, topic: Topic) -> (&str, u32) {
        let (name, _, generation) = self.at(topic);
        (name, *generation)
    }

    pub(super) fn partitions(&self, topic: Topic) -> u32 {
        self.at(topic).1
    }

    pub(super) fn partition_of(&self, topic: Topic, key: &[u8]) -> u32 {
        partitioner::partition(key, self.partitions(topic))
    }
}
