//! A move: what an embedded folder holds is copied into an empty cluster, once, however often it is interrupted.
//!
//! 1. [`Move::check`]: the cluster is empty, or holds what this very move copied.
//! 2. [`Move::begin`]: the move is on record in the cluster, and keeps every role out.
//! 3. [`Move::copy`]: the directory; then the tables; then what data teams read. Rows are upserts under the stamps they always had, so that
//!    a row written again changes nothing. Records go in an order that the folder fixes for each partition of the cluster, so that the end
//!    of a partition says how many of them it has.
//! 4. [`Move::end`]: the cluster may be used. The folder's own mark ([`crate::Mark`]) is the caller's, and goes before it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use schemas::{row::Row, time::Time, topic::Topic};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    AppendError, OpenError, ReadError, Storage,
    cluster::{Cluster, FILLED},
    embedded::{Embedded, Moved},
    engine::Engine,
    log::{Append, Stored},
    pause::Pauses,
};

/// Rows of one page: enough to keep the servers busy, and a few megabytes at most.
const PAGE_ROWS: usize = 2_000;
const RECORDS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1 << 20;
/// How often a long table tells how far it is, and notes it.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Where the tables' progress is noted, in the folder. Only a short cut: lost or old, rows are written once more.
const NOTE: &str = "move.progress";

/// Why a move does not go on.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// As things are it must not.
    #[error("the folder cannot be moved there: {0}")]
    Refused(String),
    /// A server, or the folder, does not answer as it should.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something could not be read or written.
    #[error("the move stopped: {0}; run the same command again")]
    Stopped(String),
}

impl From<ReadError> for MoveError {
    fn from(error: ReadError) -> Self {
        Self::Stopped(error.to_string())
    }
}

impl From<AppendError> for MoveError {
    fn from(error: AppendError) -> Self {
        Self::Stopped(error.to_string())
    }
}

/// How far a table or topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its name.
    pub name: &'static str,
    /// Rows or records copied by this run.
    pub copied: u64,
    /// Records that an earlier run had copied.
    pub there: u64,
    /// Whether that is all.
    pub is_done: bool,
}

/// One move, under its id.
pub struct Move {
    id: Uuid,
    aborted: Vec<Uuid>,
    to: Arc<Cluster>,
    pauses: Pauses,
}

/// How far the tables are.
#[derive(Default, Serialize, Deserialize)]
struct Note {
    id: Uuid,
    /// Tables that are copied.
    tables: usize,
    /// Of the next one, everything up to this key.
    after: Option<Vec<u8>>,
}

impl Move {
    /// A move into that cluster; `aborted` are earlier ones of the same folder. `pause_at`: tests only, `move.NAME`.
    pub fn new(id: Uuid, aborted: Vec<Uuid>, to: &Storage, pause_at: Option<&str>) -> Result<Self, MoveError> {
        let Engine::Cluster(to) = &to.engine else { return Err(MoveError::Refused("that is no cluster".to_owned())) };
        Ok(Self { id, aborted, to: to.clone(), pauses: Pauses::new(pause_at) })
    }

    /// Whether the move may begin or go on. Answers whether it has ended. Changes nothing.
    pub async fn check(&self) -> Result<bool, MoveError> {
        self.to.may_move(self.id, &self.aborted).await
    }

    /// The move is on record in the cluster from now on.
    pub async fn begin(&self, from: &Storage) -> Result<(), MoveError> {
        self.pause("marked");
        self.to.begin_move(self.id, &self.aborted, from.generation(Topic::Raw) + 1).await?;
        self.pause("begun");
        Ok(())
    }

    /// Copies everything. Answers how many dispatches wait in each partition of the cluster.
    pub async fn copy(
        &self,
        from: &Storage,
        folder: &Path,
        now: Time,
        tell: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<u64>, MoveError> {
        let Engine::Embedded(engine) = &from.engine else { return Err(MoveError::Refused("that is no folder".to_owned())) };
        let [directory, facts @ ..] = FILLED;
        self.copy_topic(from, directory, tell).await?;
        let waiting = self.copy_tables(engine, folder, now, tell).await?;
        for topic in facts {
            self.copy_topic(from, topic, tell).await?;
        }
        self.pause("copied");
        Ok(waiting)
    }

    /// The cluster may be used. To be called when the folder says that it was moved.
    pub async fn end(&self) -> Result<(), MoveError> {
        self.pause("moved");
        self.to.end_move(self.id).await
    }

    /// Gives the move up: what it copied is taken away.
    pub async fn abort(&self) -> Result<(), MoveError> {
        self.to.abort_move(self.id).await
    }

    async fn copy_tables(
        &self,
        from: &Embedded,
        folder: &Path,
        now: Time,
        tell: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<u64>, MoveError> {
        let notes = Notes { path: folder.join(NOTE) };
        let mut note = notes.read(self.id);
        let mut waiting = vec![0; self.to.partitions(Topic::Dispatch) as usize];
        for (number, table) in Moved::ALL.into_iter().enumerate() {
            // What waits is counted, so it is read whole: a week of it at most.
            let is_counted = table == Moved::Waiting;
            if number < note.tables && !is_counted {
                continue;
            }
            let mut after = note.after.take().filter(|_| number == note.tables && !is_counted);
            let mut progress = Progress { name: table.name(), copied: 0, there: 0, is_done: false };
            let mut told = Instant::now();
            loop {
                let page = from.moved_rows(table, after, PAGE_ROWS)?;
                self.to.write_moved(&page.rows, now).await?;
                for row in &page.rows {
                    if let Row::Waiting(row) = row {
                        waiting[self.to.partition_of(Topic::Dispatch, row.dispatch.pixel_id.as_str().as_bytes()) as usize] += 1;
                    }
                }
                progress.copied += page.rows.len() as u64;
                self.pause("page");
                after = page.next;
                if after.is_none() {
                    break;
                }
                if told.elapsed() > TELL_EVERY {
                    told = Instant::now();
                    tell(progress);
                    notes.write(&Note { id: self.id, tables: number, after: after.clone() });
                }
            }
            tell(Progress { is_done: true, ..progress });
            if !is_counted {
                notes.write(&Note { id: self.id, tables: number + 1, after: None });
            }
        }
        Ok(waiting)
    }

    /// Copies a topic. For each partition of the cluster the folder fixes which record is its how-manieth, so that its end says how many
    /// it has; the last of them is compared, lest somebody else's be taken for ours.
    async fn copy_topic(&self, from: &Storage, topic: Topic, tell: &mut (dyn FnMut(Progress) + Send)) -> Result<(), MoveError> {
        let mut there = Vec::new();
        for partition in 0..self.to.partitions(topic) {
            there.push(self.to.bounds(topic, partition).await?.1);
        }
        let mut next = vec![0_u64; there.len()];
        let mut progress = Progress { name: topic.name(), copied: 0, there: there.iter().sum(), is_done: false };
        let mut told = Instant::now();
        for partition in 0..from.partitions(topic) {
            let mut reader = from.reader(topic, partition, 0);
            loop {
                let records = reader.available(RECORDS_AT_ONCE, BYTES_AT_ONCE).await?;
                if records.is_empty() {
                    break;
                }
                let (mut batch, mut places) = (Vec::new(), Vec::new());
                for stored in records {
                    let to = self.to.partition_of(topic, &stored.key);
                    let at = next[to as usize];
                    next[to as usize] += 1;
                    if at + 1 == there[to as usize] {
                        self.compare(topic, to, at, &stored).await?;
                    }
                    if at >= there[to as usize] {
                        places.push((to, at));
                        batch.push(Append { topic, key: stored.key, value: stored.value, time: stored.time });
                    }
                }
                progress.copied += batch.len() as u64;
                let landed = self.to.append(batch).await?;
                let landed: Vec<(u32, u64)> = landed.iter().map(|position| (position.partition, position.offset)).collect();
                if landed != places {
                    return Err(foreign(topic));
                }
                self.pause(topic.name());
                if told.elapsed() > TELL_EVERY {
                    told = Instant::now();
                    tell(progress);
                }
            }
        }
        if next.iter().zip(&there).any(|(next, there)| next < there) {
            return Err(foreign(topic));
        }
        tell(Progress { is_done: true, ..progress });
        Ok(())
    }

    async fn compare(&self, topic: Topic, partition: u32, offset: u64, ours: &Stored) -> Result<(), MoveError> {
        let mut lane = self.to.lane(topic, partition, offset);
        let theirs = lane.available(1, usize::MAX).await?;
        let is_ours = |theirs: &Stored| theirs.position.offset == offset && theirs.key == ours.key && theirs.value == ours.value;
        if theirs.first().is_some_and(is_ours) { Ok(()) } else { Err(foreign(topic)) }
    }

    fn pause(&self, when: &str) {
        self.pauses.at("move", when);
    }
}

fn foreign(topic: Topic) -> MoveError {
    MoveError::Refused(format!(
        "the topic {} of the cluster does not hold what this move copied, in its order; give the move up with --abort and begin anew",
        topic.name()
    ))
}

/// The file of notes.
struct Notes {
    path: PathBuf,
}

impl Notes {
    /// What is noted of that move: from the beginning, if nothing is.
    fn read(&self, id: Uuid) -> Note {
        let noted = fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
        noted.filter(|note| note.id == id).unwrap_or(Note { id, ..Note::default() })
    }

    fn write(&self, note: &Note) {
        let beside = self.path.with_extension("new");
        let bytes = serde_json::to_vec(note).unwrap_or_default();
        if let Err(error) = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, &self.path)) {
            tracing::debug!(%error, "how far the move is could not be noted");
        }
    }
}
