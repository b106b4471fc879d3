//! Opens the folder: locks it, checks how it was made, finds where the log ends.
//!
//! One stored kind, `meta`: `format` and `partitions`, each `u32` big-endian, and `generation/` with a topic's name once a topic was
//! made anew. Written when the folder is made.

use std::{
    fs::{File, TryLockError},
    io::ErrorKind,
    path::Path,
    sync::Arc,
};

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
/// A store that is being made, and one that is being taken away. Only a rename makes the one whole and the other gone, so that a process
/// that is killed meanwhile leaves nothing half made under the store's own name: the engine opens no such folder again.
const MAKING: &str = "store.new";
const GOING: &str = "store.old";
/// The engine's lock in its folder.
const LOCK: &str = "lock";
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
    if !folder.exists() && purpose == Purpose::Work {
        make_store(config, &folder, now)?;
    }
    remove(&config.data.join(GOING)).map_err(|cause| engine(config, cause.to_string()))?;
    let db = database(config, &folder, now)?;
    let store = Store::new(db).map_err(|cause| engine(config, words(&cause)))?;
    refuse(config, purpose)?; // again: whoever had the lock before may have marked the folder
    let partitions = check(config, purpose, &store)?;
    Ok((store, partitions))
}

/// Takes the store of a folder away, with all that it holds.
pub(crate) fn wipe(data: &Path) -> std::io::Result<()> {
    let going = data.join(GOING);
    remove(&going)?;
    match std::fs::rename(data.join(FOLDER), &going) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    File::open(data)?.sync_all()?;
    remove(&going)
}

/// Makes an empty store beside its place and moves it there. What a killed process left half made holds nothing that anybody relies on.
fn make_store(config: &Config, folder: &Path, now: &LogTime) -> Result<(), OpenError> {
    let failed = |cause: std::io::Error| engine(config, cause.to_string());
    let making = config.data.join(MAKING);
    if let Ok(lock) = File::open(making.join(LOCK))
        && matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
    {
        return Err(OpenError::Locked(config.data.clone())); // somebody is making it
    }
    remove(&making).map_err(failed)?;
    drop(database(config, &making, now)?);
    match std::fs::rename(&making, folder) {
        Ok(()) => File::open(&config.data).and_then(|data| data.sync_all()).map_err(failed),
        Err(_) if folder.exists() => Ok(()), // another process was quicker; its lock says the rest
        Err(error) => Err(failed(error)),
    }
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn database(config: &Config, folder: &Path, now: &LogTime) -> Result<Database, OpenError> {
    let ages = now.clone();
    Database::builder(folder)
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
        })
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

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{Config, Storage};

    use super::{FOLDER, GOING, MAKING, wipe};

    fn config(data: &std::path::Path) -> Config {
        Config { data: data.to_owned(), partitions: 1, free_bytes_min: 0, queue_bytes_max: 1 << 20, pause_at: None, fail_sync_after: None }
    }

    #[tokio::test]
    async fn what_a_killed_process_left_half_made_or_half_removed_is_cleared_away() {
        let data = tempfile::tempdir().expect("a folder");
        for half in [MAKING, GOING] {
            // As far as the engine had come: a lock, a journal, no word that all is there.
            fs::create_dir_all(data.path().join(half).join("keyspaces")).expect("a folder");
            fs::write(data.path().join(half).join("lock"), b"").expect("a file");
            fs::write(data.path().join(half).join("0.jnl"), [0; 64]).expect("a file");
            for _ in 0..2 {
                Storage::open_embedded(&config(data.path())).expect("it opens").close().await;
            }
            assert!(!data.path().join(half).exists(), "{half}");
        }
        wipe(data.path()).expect("it is removed");
        wipe(data.path()).expect("there is nothing to remove");
        assert!(!data.path().join(FOLDER).exists());
    }
}
