//! Engines to be tested, and things to put into them.

use bytes::Bytes;
use schemas::{envelope::Position, row::Leg, time::Time, topic::Topic};
use storage::{Append, Config, Storage, Stored};

/// An engine whose memory can be lost.
pub trait Engine {
    /// A fresh store.
    fn new() -> Self;
    /// Opens it.
    fn open(&self) -> Storage;
    /// Closes it and opens it again.
    async fn reopen(&self, storage: Storage) -> Storage {
        storage.close().await;
        drop(storage);
        self.open()
    }
}

/// One process, one folder.
pub struct Embedded {
    folder: tempfile::TempDir,
}

impl Engine for Embedded {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn open(&self) -> Storage {
        Storage::open_embedded(&self.config()).expect("the store opens")
    }
}

impl Embedded {
    /// Its settings.
    pub fn config(&self) -> Config {
        Config {
            data: self.folder.path().join("data"),
            partitions: 4,
            free_bytes_min: 0,
            queue_bytes_max: 16 * 1_024 * 1_024,
            pause_at: None,
            fail_sync_after: None,
        }
    }
}

/// A record.
pub fn record(topic: Topic, key: &str, value: &str) -> Append {
    Append {
        topic,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        time: Time::from_millis(1),
    }
}

/// A leg whose record stands there.
pub fn leg(partition: u32, offset: u64) -> Leg {
    Leg {
        position: Position { generation: 0, partition, offset },
        raw_id: uuid::Uuid::from_u128(u128::from(offset) + 1),
        received_at: Time::from_millis(1_000),
        amount_minor: None,
        currency: None,
        email: None,
        body: None,
        pixels: vec![],
        context: None,
    }
}

/// The values of records as text.
pub fn values(records: &[Stored]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(&record.value).expect("text")).collect()
}
