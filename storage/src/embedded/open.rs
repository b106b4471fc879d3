//! Opens the folder: locks it, checks how it was made, finds where the log ends.
//!
//! One stored kind, `meta`: `format` and `partitions`, each `u32` big-endian, and `generation/` with a topic's name once a topic was
//! made anew. Written when the folder is made.

use std::{fs::File, path::Path, sync::Arc};

use fjall::{CompressionType, Database};
use schemas::topic::Topic;

use super::{
    Purpose,
    expiry::{self, LogTime},
    store::{Store, words},
    tables::Table,
};
use crate::{Config, Mark, OpenError, log::ReadError};

/// Where the engine's files stand within the data folder.
pub(crate) const FOLDER: &str = "store";
/// The version of the folder this build makes.
const FORMAT: u32 = 1;
/// Blocks of tables kept in memory, all tables together.
const CACHE_BYTES: u64 = 32 * 1_024 * 1_024;
/// Sealed journals may take this much before the tables that hold the oldest one back are flushed: it bounds what a start has to read
/// again (about a second) and the memory that takes.
const JOURNAL_BYTES_MAX: u64 = 128 * 1_024 * 1_024;
/// One background thread. It flushes and merges in turn, and three memory tables may wait for it before writers do. With two, the
/// first of them spins whenever the second merges and another merge is due (its worker pool hands such a message back to itself).
const WORKERS: usize = 1;

/// Opens or makes the folder's database. Answers it, and the number of partitions it was made with.
pub(super) fn open(config: &Config, purpose: Purpose, now: &LogTime) -> Result<(Store, u32), OpenError> {
    let folder = config.data.join(FOLDER);
    // Before the lock, so that a process that is started again and again never holds up whoever moves the folder.
    refuse(config, purpose)?;
    make(&config.data).map_err(|cause| engine(config, cause.to_string()))?;
    let ages = now.clone();
    let db = Database::builder(&folder)
        .journal_compression(CompressionType::None) // on the way of every append, and read again only after a kill
        .manual_journal_persist(true) // each batch says itself how durable it is
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .cache_size(CACHE_BYTES)
        .worker_threads(WORKERS)
        .with_compaction_filter_factories(Arc::new(move |keyspace| expiry::factory(keyspace, &ages)))
        .open()
        .map_err(|cause| match cause {
            fjall::Error::Locked => OpenError::Locked(config.data.clone()),
            cause => engine(config, words(&cause)),
        })?;
    let store = Store::new(db).map_err(|cause| engine(config, words(&cause)))?;
    refuse(config, purpose)?; // again: whoever had the lock before may have marked the folder
    let partitions = check(config, purpose, &store)?;
    Ok((store, partitions))
}

fn refuse(config: &Config, purpose: Purpose) -> Result<(), OpenError> {
    match purpose {
        Purpose::Work => Mark::refuse(&config.data),
        Purpose::Move => Ok(()),
    }
}

/// The folder itself, its entry in its parent synced: a journal that is synced in a folder that is not there is worth nothing.
fn make(data: &Path) -> std::io::Result<()> {
    if data.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(data)?;
    File::open(data)?.sync_all()?;
    match data.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Compares how the folder was made with what is asked for; writes it down if the folder is new.
fn check(config: &Config, purpose: Purpose, store: &Store) -> Result<u32, OpenError> {
    let read = |name: &str| number(store, name).map_err(|cause| engine(config, cause.to_string()));
    match read("format")? {
        Some(FORMAT) => match read("partitions")? {
            Some(made) if made == config.partitions || purpose == Purpose::Move => Ok(made),
            made => Err(OpenError::Partitions { folder: config.data.clone(), made: made.unwrap_or_default(), asked: config.partitions }),
        },
        Some(other) => Err(engine(config, format!("it has format {other} and this build knows {FORMAT}; start the build that made it"))),
        None if purpose == Purpose::Move => Err(engine(config, "it holds no store that could be moved".to_owned())),
        None => {
            let mut batch = store.batch(2);
            for (name, number) in [("format", FORMAT), ("partitions", config.partitions)] {
                let value = Some(number.to_be_bytes().into());
                store.add(&mut batch, super::store::Put { table: Table::Meta, key: name.into(), value });
            }
            Store::commit(batch).map_err(|cause| engine(config, words(&cause)))?;
            Ok(config.partitions)
        }
    }
}

/// The generation of each topic.
pub(super) fn generations(store: &Store) -> Result<Vec<u32>, ReadError> {
    Topic::ALL.iter().map(|topic| Ok(number(store, &format!("generation/{}", topic.name()))?.unwrap_or(0))).collect()
}

/// An [`OpenError`] in the engine's words.
pub(super) fn engine(config: &Config, cause: String) -> OpenError {
    OpenError::Engine { folder: config.data.clone(), cause }
}

fn number(store: &Store, name: &str) -> Result<Option<u32>, ReadError> {
    let Some(value) = store.get(Table::Meta, name.as_bytes())? else { return Ok(None) };
    let bytes = value[..].try_into().map_err(|_| ReadError::Failed(format!("{name} in the folder's own description is damaged")))?;
    Ok(Some(u32::from_be_bytes(bytes)))
}
