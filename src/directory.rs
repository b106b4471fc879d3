//! The directory of this process: follows its topic from the first record on and folds it into a value that every room reads.

mod copy;

use std::{io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use schemas::{
    directory::{Directory, DirectoryRecord},
    envelope,
    topic::Topic,
};
use serde::Deserialize;
use storage::{ReadError, Reader, Storage, Stored};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use copy::Copy;

const RECORDS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// Reads the topic and keeps the value up to date.
pub struct Follower {
    reader: Reader,
    directory: Arc<ArcSwap<Directory>>,
    folded: watch::Sender<u64>,
    /// For a door with a spool.
    copy: Option<Copy>,
}

/// Why the directory cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log cannot be read.
    #[error("the directory cannot be read: {0}")]
    Read(#[from] ReadError),
    /// No broker can be asked, and there is no copy.
    #[error("no broker answers, and the copy of the directory in {0} cannot be read ({1}); start again when the brokers are back")]
    NoCopy(String, io::Error),
    /// Written by a newer release: going on would lose what it says.
    #[error(
        "the directory holds a record of version {found} at offset {offset}, and this release reads up to version {known}; start the newer release"
    )]
    Newer {
        /// The record's version.
        found: u16,
        /// Ours.
        known: u16,
        /// Where it stands.
        offset: u64,
    },
    /// A record that cannot be read. A directory with a hole could drop a pixel in silence.
    #[error("the directory's record at offset {offset} cannot be read ({cause}); restore the data folder from a backup")]
    Damaged {
        /// Where it stands.
        offset: u64,
        /// What the parser says.
        cause: serde_json::Error,
    },
}

impl Follower {
    /// Folds everything that is there. With a folder for a copy of it, that copy is kept up to date, and read while no broker answers.
    pub async fn open(storage: &Storage, copied: Option<&Path>) -> Result<Self, FollowError> {
        let copy = copied.and_then(|folder| Copy::begin(folder).map_err(cannot_copy).ok());
        let reader = storage.reader(Topic::Directory, 0, 0);
        let mut follower = Self { reader, directory: Arc::default(), folded: watch::Sender::new(0), copy };
        match copied.filter(|_| !storage.is_reached()) {
            Some(folder) => {
                let records = copy::read(folder).map_err(|error| FollowError::NoCopy(folder.display().to_string(), error))?;
                let next = records.last().map_or(0, |last| last.position.offset + 1);
                follower.reader = storage.reader(Topic::Directory, 0, next);
                follower.fold(&records)?;
            }
            None => loop {
                let records = follower.reader.available(RECORDS_AT_ONCE, BYTES_AT_ONCE).await?;
                if records.is_empty() {
                    break;
                }
                follower.fold(&records)?;
            },
        }
        follower.copy = follower.copy.filter(|copy| copy.replace().map_err(cannot_copy).is_ok());
        Ok(follower)
    }

    /// The value, which changes as records come.
    pub fn directory(&self) -> Arc<ArcSwap<Directory>> {
        self.directory.clone()
    }

    /// The offset below which every record is folded.
    pub fn folded(&self) -> watch::Receiver<u64> {
        self.folded.subscribe()
    }

    /// Follows the topic until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), FollowError> {
        loop {
            let records = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                records = self.reader.next(RECORDS_AT_ONCE, BYTES_AT_ONCE) => records?,
            };
            self.fold(&records)?;
        }
    }

    fn fold(&mut self, records: &[Stored]) -> Result<(), FollowError> {
        let mut directory = self.directory.load().as_ref().clone();
        for stored in records {
            let record = parse(stored)?;
            let entity = record.change.entity();
            if let Err(error) = directory.fold(record.change) {
                tracing::warn!(%entity, %error, "directory record passed over");
            }
        }
        self.copy = self.copy.take().and_then(|mut copy| copy.add(records).map_err(cannot_copy).ok().map(|()| copy));
        self.directory.store(Arc::new(directory));
        self.folded.send_replace(self.reader.position());
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn cannot_copy(error: io::Error) {
    tracing::warn!(%error, "the directory's copy cannot be written: without brokers the next boot may not know what is new");
}

fn parse(stored: &Stored) -> Result<DirectoryRecord, FollowError> {
    #[derive(Deserialize)]
    struct Head {
        version: u16,
    }
    let offset = stored.position.offset;
    let damaged = |cause| FollowError::Damaged { offset, cause };
    let Head { version } = serde_json::from_slice(&stored.value).map_err(damaged)?;
    if version > envelope::VERSION {
        return Err(FollowError::Newer { found: version, known: envelope::VERSION, offset });
    }
    serde_json::from_slice(&stored.value).map_err(damaged)
}
