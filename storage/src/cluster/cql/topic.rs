//! Table `topics`: what each topic of the log was made as.

use std::collections::HashMap;

use super::{Ledger, error::LedgerError, statement::Statement};

/// What a topic was made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicMade {
    /// 0, and one more each time it was made anew.
    pub(crate) generation: u32,
    /// How many partitions it has.
    pub(crate) partitions: u32,
}

impl Ledger {
    /// What each topic was made as, by its name.
    pub(crate) async fn topics(&self) -> Result<HashMap<String, TopicMade>, LedgerError> {
        let rows: Vec<(String, i32, i32)> = self.client().all(Statement::ReadTopics, ()).await?;
        let made = |generation: i32, partitions: i32| TopicMade { generation: generation as u32, partitions: partitions as u32 };
        Ok(rows.into_iter().map(|(name, generation, partitions)| (name, made(generation, partitions))).collect())
    }

    /// Notes what a topic was made as.
    pub(crate) async fn set_topic(&self, name: &str, made: TopicMade) -> Result<(), LedgerError> {
        let values = (name, made.generation as i32, made.partitions as i32);
        self.client().run(Statement::WriteTopic, values).await.map(drop)
    }
}
