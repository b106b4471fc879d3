//! Writes that depend on what is there. Only the commit thread makes them, one after another, so that nothing comes between the look
//! and the write; and it looks first at what this very batch has already written.

use std::collections::BTreeMap;

use fjall::Slice;
use schemas::row::{PersonKey, PersonRow, Visitor, Waiting};

use super::{
    row::{filter_snapshot, intent, person, person_key, visitor, waiting},
    store::{Put, Store},
    tables::Table,
};
use crate::log::ReadError;

/// One such write.
#[derive(Debug)]
pub(super) enum Merge {
    /// Cells join the visitor's row.
    Visitor(Box<Visitor>),
    /// Cells join the person's row.
    Person(PersonRow),
    /// A key joins the person's others.
    PersonKey(PersonKey),
    /// Takes the place of the row of the same key, with its marks.
    Waiting(Box<Waiting>),
    /// Takes the row away, with its marks.
    WaitingDone {
        /// The row's key.
        key: Slice,
    },
    /// Raises the partition's highest attempt.
    Attempt {
        /// The dispatch partition.
        partition: u32,
        /// The attempt.
        attempt: u64,
    },
    /// Makes a filter snapshot valid and drops the oldest.
    Snapshot(filter_snapshot::Done),
}

/// What one batch has written so far, in front of what is on disk.
pub(super) struct Overlay<'a> {
    store: &'a Store,
    written: BTreeMap<(Table, Slice), Option<Slice>>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, written: BTreeMap::new() }
    }

    /// Makes one write.
    pub(super) fn apply(&mut self, merge: Merge) -> Result<(), ReadError> {
        match merge {
            Merge::Visitor(new) => {
                let key = visitor::key(&new.funnel_id, &new.visitor_id);
                let row = match self.get(Table::Visitors, &key)? {
                    Some(old) => visitor::decode(&old)?.merged(*new),
                    None => *new,
                };
                self.put(Table::Visitors, key, Some(visitor::encode(&row)));
            }
            Merge::Person(new) => {
                let key = person::key(&new.funnel_id, &new.email);
                let row = match self.get(Table::People, &key)? {
                    Some(old) => person::decode(&old)?.merged(new),
                    None => new,
                };
                self.put(Table::People, key, Some(person::encode(&row)));
            }
            Merge::PersonKey(new) => {
                let key = person_key::key(&new.funnel_id, &new.email);
                let known = match self.get(Table::PersonKeys, &key)? {
                    Some(known) => person_key::decode(&known)?,
                    None => Vec::new(),
                };
                self.put(Table::PersonKeys, key, Some(person_key::encode(&person_key::with(known, new))));
            }
            Merge::Waiting(new) => {
                let key = waiting::key(&new.dispatch.pixel_id, new.deadline_hour, &new.dispatch.dedup_key);
                self.wait(key, Some(waiting::encode(&new)))?;
            }
            Merge::WaitingDone { key } => self.wait(key, None)?,
            Merge::Attempt { partition, attempt } => {
                let key = intent::highest_key(partition);
                let highest = self.get(Table::OpenIntents, &key)?.map(|value| intent::highest(&value)).transpose()?;
                if highest.is_none_or(|highest| highest < attempt) {
                    self.put(Table::OpenIntents, key, Some(Slice::from(attempt.to_be_bytes())));
                }
            }
            Merge::Snapshot(done) => {
                for put in filter_snapshot::finish(self.store, done)? {
                    self.put(put.table, put.key, put.value);
                }
            }
        }
        Ok(())
    }

    /// Everything written.
    pub(super) fn into_puts(self) -> impl Iterator<Item = Put> {
        self.written.into_iter().map(|((table, key), value)| Put { table, key, value })
    }

    fn wait(&mut self, key: Slice, value: Option<Slice>) -> Result<(), ReadError> {
        if let Some(old) = self.get(Table::Waiting, &key)? {
            for mark in waiting::marks(&key, &old, false)? {
                self.put(mark.table, mark.key, mark.value);
            }
        }
        if let Some(value) = &value {
            for mark in waiting::marks(&key, value, true)? {
                self.put(mark.table, mark.key, mark.value);
            }
        }
        self.put(Table::Waiting, key, value);
        Ok(())
    }

    fn get(&self, table: Table, key: &Slice) -> Result<Option<Slice>, ReadError> {
        match self.written.get(&(table, key.clone())) {
            Some(written) => Ok(written.clone()),
            None => self.store.get(table, key),
        }
    }

    fn put(&mut self, table: Table, key: Slice, value: Option<Slice>) {
        self.written.insert((table, key), value);
    }
}
