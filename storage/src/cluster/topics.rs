//! The topics at the brokers: made by `migrate`, checked at each boot.

use std::{collections::HashMap, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode,
};
use schemas::topic::Topic;

use super::{
    client::{Plain, topic_name},
    config::ClusterConfig,
    cql::{Ledger, LedgerError, TopicMade},
    names::Names,
};
use crate::OpenError;

/// How long the brokers may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(200);
const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// The most that brokers know: no bound.
const TIME_AHEAD_MAX_MS: &str = "9223372036854775807";

/// How many partitions a topic has by the settings.
pub(super) fn partitions(config: &ClusterConfig, topic: Topic) -> u32 {
    if topic.is_single() { 1 } else { config.partitions }
}

/// How long the brokers keep a topic, and whether only the newest record of a key.
fn keeping(topic: Topic) -> Vec<(&'static str, String)> {
    match topic {
        // What is concluded stays, the newest revision of each.
        Topic::Purchases | Topic::Leads => vec![
            ("cleanup.policy", "compact".to_owned()),
            // A data team that was away for a week still sees every revision.
            ("min.compaction.lag.ms", (7 * DAY_MS).to_string()),
            ("delete.retention.ms", (30 * DAY_MS).to_string()),
        ],
        // Never dropped before their consumer has read them: deleting what is old and read is the consuming role's (`retention`). Nothing
        // of ours reads commands yet.
        // The directory's changes build on one another (a link needs its pixel), so compaction could fold them in a wrong order; it is
        // small.
        Topic::Raw | Topic::Dispatch | Topic::Commands | Topic::Directory => for_ever(),
        Topic::Verdicts => vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", (3_600 * 1_000).to_string()),
            ("segment.ms", (600 * 1_000).to_string()),
        ],
        Topic::Events | Topic::Deliveries | Topic::Audit | Topic::Dead => {
            let days = u64::from(topic.keep_days().unwrap_or(30));
            vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", (days * DAY_MS).to_string())]
        }
    }
}

fn for_ever() -> Vec<(&'static str, String)> {
    vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", "-1".to_owned()), ("retention.bytes", "-1".to_owned())]
}

/// Makes the topics that are not there, and records as what each was made. Answers the names of those made now.
pub(super) async fn make(config: &ClusterConfig, settings: &ClientConfig, ledger: &Ledger) -> Result<Vec<String>, OpenError> {
    let admin: AdminClient<Plain> = settings.create().map_err(unreachable)?;
    let there = ask(settings, PATIENCE).await?;
    let known = ledger.topics().await.map_err(ledger_said)?;
    let mut made = Vec::new();
    for topic in Topic::ALL {
        let (name, partitions) = (topic_name(&config.kafka, topic), partitions(config, topic));
        match there.get(&name) {
            Some(found) if *found != partitions => return Err(OpenError::TopicPartitions { name, found: *found, asked: partitions }),
            Some(_) => {}
            None => {
                if create(config, &admin, topic).await? {
                    made.push(name.clone());
                } // else another migrate was faster
            }
        }
        if !known.contains_key(&name) {
            let first = TopicMade { generation: 0, partitions };
            ledger.set_topic(&name, first).await.map_err(ledger_said)?;
        }
    }
    until_there(settings, &made).await?;
    Ok(made)
}

/// Waits until the brokers name topics that were just made: they tell each other by and by, and a boot would miss them.
async fn until_there(settings: &ClientConfig, made: &[String]) -> Result<(), OpenError> {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !made.is_empty() {
        let there = ask(settings, PATIENCE).await?;
        match made.iter().find(|name| there.get(*name).is_none_or(|partitions| *partitions == 0)) {
            None => break,
            Some(name) if tokio::time::Instant::now() > until => {
                return Err(OpenError::Away(format!("the topic {name} was made and the brokers do not name it; run the command again")));
            }
            Some(_) => tokio::time::sleep(AGAIN).await,
        }
    }
    Ok(())
}

/// Makes a topic; `false` if it is there.
async fn create(config: &ClusterConfig, admin: &AdminClient<Plain>, topic: Topic) -> Result<bool, OpenError> {
    let (name, partitions) = (topic_name(&config.kafka, topic), partitions(config, topic));
    let (copies, keeping) = (config.kafka.min_insync_replicas.to_string(), keeping(topic));
    let mut new = NewTopic::new(&name, partitions as i32, TopicReplication::Fixed(config.kafka.replication as i32))
        .set("min.insync.replicas", &copies)
        .set("unclean.leader.election.enable", "false")
        // A record whose time is ahead of the broker's clock is taken all the same. Since Kafka 3.6 one that is an hour ahead is refused by
        // default: a process whose clock is wrong would make the same transaction again for ever.
        .set("message.timestamp.after.max.ms", TIME_AHEAD_MAX_MS);
    for (key, value) in &keeping {
        new = new.set(key, value);
    }
    let done = admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(PATIENCE))).await.map_err(unreachable)?;
    for result in done {
        match result {
            Ok(_) => {}
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return Ok(false),
            Err((name, error)) => return Err(OpenError::Cluster(format!("the topic {name} cannot be made: {error}"))),
        }
    }
    Ok(true)
}

/// Makes a topic anew, empty, under the next generation.
pub(super) async fn remake(config: &ClusterConfig, settings: &ClientConfig, ledger: &Ledger, topic: Topic) -> Result<(), OpenError> {
    let admin: AdminClient<Plain> = settings.create().map_err(unreachable)?;
    let name = topic_name(&config.kafka, topic);
    let before = ledger.topics().await.map_err(ledger_said)?.get(&name).map_or(0, |made| made.generation);
    // On record first: whoever dies in between has a generation to spare and nothing under an old one.
    let made = TopicMade { generation: before + 1, partitions: partitions(config, topic) };
    ledger.set_topic(&name, made).await.map_err(ledger_said)?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for result in admin.delete_topics(&[&name], &options).await.map_err(unreachable)? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {} // it went with an earlier try
            Err((name, error)) => return Err(OpenError::Cluster(format!("the topic {name} cannot be deleted: {error}"))),
        }
    }
    // The brokers delete by and by: until then the name is taken.
    let until = tokio::time::Instant::now() + PATIENCE * 2;
    while !create(config, &admin, topic).await? {
        if tokio::time::Instant::now() > until {
            return Err(OpenError::Away(format!("the brokers have not deleted the topic {name} yet; run the command again")));
        }
        tokio::time::sleep(AGAIN).await;
    }
    until_there(settings, &[name]).await
}

/// Raises a topic's generation to at least that one.
pub(super) async fn raise(config: &ClusterConfig, ledger: &Ledger, topic: Topic, generation: u32) -> Result<(), OpenError> {
    let name = topic_name(&config.kafka, topic);
    let before = ledger.topics().await.map_err(ledger_said)?.get(&name).copied();
    match before {
        Some(before) if before.generation < generation => {
            ledger.set_topic(&name, TopicMade { generation, ..before }).await.map_err(ledger_said)
        }
        Some(_) => Ok(()),
        None => Err(OpenError::UnknownTopic { name }),
    }
}

/// How many processes work in a group now.
pub(super) async fn members(settings: &ClientConfig, group: String) -> Result<usize, OpenError> {
    let settings = settings.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = settings.create()?;
        let groups = consumer.fetch_group_list(Some(&group), PATIENCE)?;
        Ok(groups.groups().iter().map(|group| group.members().len()).sum())
    });
    asked.await.map_err(|_| OpenError::Cluster("the question for groups broke down".to_owned()))?.map_err(unreachable)
}

/// Checks that every topic is there as it was made.
pub(super) async fn check(
    config: &ClusterConfig,
    settings: &ClientConfig,
    ledger: &Ledger,
    patience: Duration,
) -> Result<Names, OpenError> {
    let there = ask(settings, patience).await?;
    let known = ledger.topics().await.map_err(ledger_said)?;
    let mut names = Vec::with_capacity(Topic::ALL.len());
    for topic in Topic::ALL {
        let (name, asked) = (topic_name(&config.kafka, topic), partitions(config, topic));
        let Some(found) = there.get(&name).copied() else { return Err(OpenError::NoTopic { name }) };
        let Some(made) = known.get(&name) else { return Err(OpenError::UnknownTopic { name }) };
        if found != made.partitions {
            return Err(OpenError::TopicRemade { name, found, made: made.partitions });
        }
        if found != asked {
            return Err(OpenError::TopicPartitions { name, found, asked });
        }
        names.push((name, found, made.generation));
    }
    Ok(Names::new(names))
}

/// Every topic at the brokers with its number of partitions.
async fn ask(settings: &ClientConfig, patience: Duration) -> Result<HashMap<String, u32>, OpenError> {
    let settings = settings.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = settings.create()?;
        consumer.fetch_metadata(None, patience)
    });
    let metadata = asked.await.map_err(|_| OpenError::Cluster("the question for topics broke down".to_owned()))?.map_err(unreachable)?;
    let there = metadata.topics().iter().filter(|topic| topic.error().is_none());
    Ok(there.map(|topic| (topic.name().to_owned(), topic.partitions().len() as u32)).collect())
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
pub(super) fn ledger_said(error: LedgerError) -> OpenError {
    match error {
        LedgerError::Transient(_) => OpenError::Away(error.to_string()),
        LedgerError::Damaged(..) => OpenError::Cluster(error.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn unreachable(error: rdkafka::error::KafkaError) -> OpenError {
    OpenError::Away(format!("no Kafka broker answers ({error}); check storage.kafka.brokers and storage.kafka.properties"))
}
