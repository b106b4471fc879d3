//! A folder moves in: whose move it is, what must be empty, and how it is emptied again.

use schemas::{
    row::Row,
    time::Time,
    topic::{Group, Topic},
};
use uuid::Uuid;

use super::{
    Cluster, ClusterConfig, client,
    client::{group_name, topic_name},
    cql::Ledger,
    topics,
};
use crate::{OpenError, log::ReadError, moving::MoveError};

/// Topics that a move fills, in the order in which it does.
pub(crate) const FILLED: [Topic; 3] = [Topic::Directory, Topic::Purchases, Topic::Leads];
/// Topics that must be empty before. The others hold answers, probes and what could not be accepted: a desk that was started to look
/// around leaves some of that.
const EMPTY: [Topic; 8] =
    [Topic::Raw, Topic::Events, Topic::Purchases, Topic::Leads, Topic::Dispatch, Topic::Deliveries, Topic::Directory, Topic::Commands];

/// Refuses a cluster into which a folder is being moved.
pub(super) async fn refuse(config: &ClusterConfig, ledger: &Ledger) -> Result<(), OpenError> {
    match ledger.move_of(&config.kafka.prefix).await.map_err(topics::ledger_said)? {
        Some(made) if !made.has_ended => Err(OpenError::MovingIn),
        _ => Ok(()),
    }
}

impl Cluster {
    /// Whether the move may begin or go on here. Answers whether it has ended.
    pub(crate) async fn may_move(&self, id: Uuid, aborted: &[Uuid]) -> Result<bool, MoveError> {
        let made = self.ledger.move_of(&self.config.kafka.prefix).await.map_err(topics::ledger_said)?;
        match made {
            Some(made) if made.id == id && made.has_ended => return Ok(true),
            Some(made) if made.has_ended => return Err(refused("another folder was moved into this cluster already".to_owned())),
            // What an aborted move left is emptied before this one begins.
            Some(made) if made.id == id || aborted.contains(&made.id) => {}
            Some(_) => {
                return Err(refused("another move into this cluster is under way; end it, or abort it, with its own folder".to_owned()));
            }
            None => {}
        }
        for group in Group::ALL {
            let members = topics::members(&self.plain(), group_name(&self.config.kafka, group)).await?;
            if members > 0 {
                return Err(refused(format!("{members} processes of the cluster work as {} already; stop them first", group.name())));
            }
        }
        if made.is_none() {
            self.must_be_empty().await?;
        }
        Ok(false)
    }

    async fn must_be_empty(&self) -> Result<(), MoveError> {
        for topic in EMPTY {
            for partition in 0..self.partitions(topic) {
                if self.bounds(topic, partition).await?.1 > 0 {
                    return Err(refused(format!("the topic {} holds records", topic_name(&self.config.kafka, topic))));
                }
            }
        }
        match self.ledger.filled_table().await.map_err(topics::ledger_said)? {
            Some(table) => Err(refused(format!("the table {}.{table} holds rows", self.config.cql.keyspace))),
            None => Ok(()),
        }
    }

    /// Puts the move on record, which keeps everybody else out; what an aborted one left is emptied first. Records of raw stand in a later
    /// generation than everything that moves in.
    pub(crate) async fn begin_move(&self, id: Uuid, aborted: &[Uuid], generation: u32) -> Result<(), MoveError> {
        let prefix = &self.config.kafka.prefix;
        if let Some(made) = self.ledger.move_of(prefix).await.map_err(topics::ledger_said)?
            && made.id != id
            && aborted.contains(&made.id)
        {
            self.empty_after(made.id).await?;
        }
        self.ledger.claim_move(prefix, id).await.map_err(topics::ledger_said)?;
        self.may_move(id, &[]).await?;
        topics::raise(&self.config, &self.ledger, Topic::Raw, generation).await?;
        Ok(())
    }

    pub(crate) async fn end_move(&self, id: Uuid) -> Result<(), MoveError> {
        self.ledger.end_move(&self.config.kafka.prefix, id).await.map_err(topics::ledger_said)?;
        Ok(())
    }

    /// Empties what a move filled, unless it has ended or is another's.
    pub(crate) async fn abort_move(&self, id: Uuid) -> Result<(), MoveError> {
        match self.ledger.move_of(&self.config.kafka.prefix).await.map_err(topics::ledger_said)? {
            None => Ok(()), // it died before it began here
            Some(made) if made.id != id => Err(refused("the move on record there is another".to_owned())),
            Some(made) if made.has_ended => Err(refused("the move has ended, and the cluster goes on from it".to_owned())),
            Some(_) => self.empty_after(id).await,
        }
    }

    async fn empty_after(&self, id: Uuid) -> Result<(), MoveError> {
        for partition in 0..self.partitions(Topic::Raw) {
            if self.bounds(Topic::Raw, partition).await?.1 > 0 {
                return Err(refused(format!("the topic {} holds records already", topic_name(&self.config.kafka, Topic::Raw))));
            }
        }
        self.ledger.empty_tables().await.map_err(topics::ledger_said)?;
        for topic in FILLED {
            topics::remake(&self.config, &self.plain(), &self.ledger, topic).await?;
        }
        // Last: until here the next try empties once more.
        self.ledger.forget_move(&self.config.kafka.prefix, id).await.map_err(topics::ledger_said)?;
        Ok(())
    }

    /// Writes rows of a folder; waits while the ledger is away.
    pub(crate) async fn write_moved(&self, rows: &[Row], now: Time) -> Result<(), ReadError> {
        let raw = |key: &str| self.names.partition_of(Topic::Raw, key.as_bytes());
        let dispatch = |pixel: &str| self.names.partition_of(Topic::Dispatch, pixel.as_bytes());
        self.patiently("move", || Box::pin(self.ledger.write_moved(rows, &raw, &dispatch, now))).await
    }

    fn plain(&self) -> rdkafka::ClientConfig {
        client::settings(&self.config.kafka, &self.config.instance, "move")
    }
}

fn refused(why: String) -> MoveError {
    MoveError::Refused(why)
}
