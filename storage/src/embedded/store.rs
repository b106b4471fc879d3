//! The open database: reads and one way to write, with the engine's errors in our words.

use fjall::{Database, Iter, Keyspace, OwnedWriteBatch, PersistMode, Slice};

use super::tables::Table;
use crate::log::ReadError;

/// `fjall`'s database and the keyspace of each table.
pub(super) struct Store {
    db: Database,
    keyspaces: Vec<Keyspace>,
}

/// One write: a value, or `None` to take the row away.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) table: Table,
    pub(super) key: Slice,
    pub(super) value: Option<Slice>,
}

impl Store {
    /// Opens every table of an open database.
    pub(super) fn new(db: Database) -> fjall::Result<Self> {
        let keyspaces = Table::ALL.iter().map(|table| db.keyspace(table.name(), || table.options())).collect::<fjall::Result<_>>()?;
        Ok(Self { db, keyspaces })
    }

    fn keyspace(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table as usize]
    }

    /// The value of a key.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, ReadError> {
        self.keyspace(table).get(key).map_err(unreadable)
    }

    /// Rows whose key begins with `prefix`, in order.
    pub(super) fn prefix(&self, table: Table, prefix: &[u8]) -> Rows {
        Rows(self.keyspace(table).prefix(prefix))
    }

    /// Rows in a range of keys, in order.
    pub(super) fn range(&self, table: Table, range: impl std::ops::RangeBounds<Vec<u8>>) -> Rows {
        Rows(self.keyspace(table).range(range))
    }

    /// An empty batch with room for so many writes.
    pub(super) fn batch(&self, writes: usize) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.db.clone(), writes)
    }

    /// Adds one write to a batch. Of two writes to one key the later stands: within a batch both have one sequence number, and both
    /// memory table and journal replay let the later replace the earlier.
    pub(super) fn add(&self, batch: &mut OwnedWriteBatch, put: Put) {
        match put.value {
            Some(value) => batch.insert(self.keyspace(put.table), put.key, value),
            None => batch.remove(self.keyspace(put.table), put.key),
        }
    }

    /// Makes a batch durable and visible. `fdatasync` on the journal is enough: the journal file is made with its full size and its
    /// folder entry synced before the first batch goes in, and `fdatasync` carries the size where a file grows.
    pub(super) fn commit(batch: OwnedWriteBatch) -> fjall::Result<()> {
        batch.durability(Some(PersistMode::SyncData)).commit()
    }

    /// For tests of a failing sync: the batch reaches the kernel and is not synced.
    pub(super) fn commit_unsynced(batch: OwnedWriteBatch) -> fjall::Result<()> {
        batch.durability(Some(PersistMode::Buffer)).commit()
    }

    /// Whether `fjall` still takes writes: one of its background threads may have failed while nobody wrote.
    pub(super) fn health(&self) -> fjall::Result<()> {
        self.db.persist(PersistMode::Buffer)
    }

    /// Bytes on disk: journals, tables and value files.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }

    /// Bytes in memory tables.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.db.write_buffer_size()
    }
}

/// Rows in order, from either end.
pub(super) struct Rows(Iter);

impl Rows {
    /// The next row's key, without reading its value.
    pub(super) fn next_key(&mut self) -> Result<Option<Slice>, ReadError> {
        self.0.next().map(|row| row.key().map_err(unreadable)).transpose()
    }
}

impl Iterator for Rows {
    type Item = Result<(Slice, Slice), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|row| row.into_inner().map_err(unreadable))
    }
}

impl DoubleEndedIterator for Rows {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|row| row.into_inner().map_err(unreadable))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn unreadable(error: fjall::Error) -> ReadError {
    ReadError::Failed(words(&error))
}

/// `fjall`'s error with its cause, in one line.
pub(super) fn words(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(cause) | fjall::Error::Storage(fjall::LsmError::Io(cause)) => cause.to_string(),
        other => format!("{other:?}"),
    }
}
