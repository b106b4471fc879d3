//! The floor under the judge: the rows and records that it left behind, put into the same engine one by one, synced as often.

use std::{path::Path, time::Duration};

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use schemas::topic::Topic;
use storage::Storage;

use crate::cpu;

type Pair = (Vec<u8>, Vec<u8>);

const MIB: u64 = 1_024 * 1_024;

/// The records that tracked events leave behind, as they stand in the log: one under each key.
pub async fn records(storage: &Storage) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for topic in [Topic::Events, Topic::Dispatch] {
        for partition in 0..storage.partitions(topic) {
            let mut reader = storage.reader(topic, partition, 0);
            loop {
                let batch = reader.available(10_000, 16 * 1_024 * 1_024).await?;
                if batch.is_empty() {
                    break;
                }
                for stored in batch {
                    let mut key = vec![topic.code()];
                    key.extend(partition.to_be_bytes());
                    key.extend(stored.position.offset.to_be_bytes());
                    pairs.push((key, [&stored.key[..], &stored.value[..]].concat()));
                }
            }
        }
    }
    Ok(pairs)
}

/// CPU time of putting those records and the rows of a closed store into a new one, in so many synced batches. The engine is set as
/// storage sets it; the rows come in no order, as they came to the judge.
pub fn cost(store: &Path, records: Vec<Pair>, batches: u64, to: &Path) -> anyhow::Result<Duration> {
    let mut seen = rows(store, "seen")?;
    let mut visitors = rows(store, "visitors")?;
    let mut random = StdRng::seed_from_u64(1);
    seen.shuffle(&mut random);
    visitors.shuffle(&mut random);

    let db = open(to)?;
    let log = KvSeparationOptions::default().compression(CompressionType::Lz4);
    let log = KeyspaceCreateOptions::default().max_memtable_size(32 * MIB).with_kv_separation(Some(log));
    let tables = [
        (db.keyspace("log", || log)?, records),
        (db.keyspace("seen", || KeyspaceCreateOptions::default().max_memtable_size(32 * MIB))?, seen),
        (db.keyspace("visitors", || KeyspaceCreateOptions::default().max_memtable_size(8 * MIB))?, visitors),
    ];
    std::thread::sleep(Duration::from_millis(500));
    let before = cpu::used("self")?;
    put(&db, &tables, batches.max(1) as usize)?;
    Ok(cpu::used("self")?.saturating_sub(before))
}

fn put(db: &Database, tables: &[(Keyspace, Vec<Pair>)], batches: usize) -> fjall::Result<()> {
    for turn in 0..batches {
        let mut batch = OwnedWriteBatch::with_capacity(db.clone(), 8_192).durability(Some(PersistMode::SyncData));
        for (keyspace, pairs) in tables {
            for (key, value) in &pairs[pairs.len() * turn / batches..pairs.len() * (turn + 1) / batches] {
                batch.insert(keyspace, &key[..], &value[..]);
            }
        }
        batch.commit()?;
    }
    Ok(())
}

fn rows(store: &Path, table: &str) -> anyhow::Result<Vec<Pair>> {
    let db = open(store)?;
    let keyspace = db.keyspace(table, KeyspaceCreateOptions::default)?;
    let pairs = keyspace.iter().map(|row| row.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec())));
    Ok(pairs.collect::<fjall::Result<_>>()?)
}

fn open(folder: &Path) -> fjall::Result<Database> {
    Database::builder(folder)
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .max_journaling_size(128 * MIB)
        .cache_size(32 * MIB)
        .worker_threads(1)
        .open()
}
