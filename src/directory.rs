//! The directory of this process: follows its topic from the first record on and folds it into a value that every room reads.

use std::sync::Arc;

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

const RECORDS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// Reads the topic and keeps the value up to date.
pub struct Follower {
    reader: Reader,
    directory: Arc<ArcSwap<Directory>>,
    folded: watch::Sender<u64>,
}

/// Why the directory cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log cannot be read.
    #[error("the directory cannot be read: {0}")]
    Read(#[from] ReadError),
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
    /// Folds everything that is there.
    pub async fn open(storage: &Storage) -> Result<Self, FollowError> {
        let reader = storage.reader(Topic::Directory, 0, 0);
        let mut follower = Self { reader, directory: Arc::default(), folded: watch::Sender::new(0) };
        loop {
            let records = follower.reader.available(RECORDS_AT_ONCE, BYTES_AT_ONCE).await?;
            if records.is_empty() {
                return Ok(follower);
            }
            follower.fold(&records)?;
        }
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

    fn fold(&self, records: &[Stored]) -> Result<(), FollowError> {
        let mut directory = self.directory.load().as_ref().clone();
        for stored in records {
            let record = parse(stored)?;
            let entity = record.change.entity();
            if let Err(error) = directory.fold(record.change) {
                tracing::warn!(%entity, %error, "directory record passed over");
            }
        }
        self.directory.store(Arc::new(directory));
        self.folded.send_replace(self.reader.position());
        Ok(())
    }
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
