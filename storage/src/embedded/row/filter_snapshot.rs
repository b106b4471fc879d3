//! Table `filter_snapshots`: tens of megabytes each, so they stand in pieces. Key: partition, generation, next offset, number of the
//! piece from 1. Piece 0 is written last and holds length and checksum of the whole: without it there is no snapshot. The last two
//! of a partition are kept.
//!
//! A snapshot only makes a start fast. One that is incomplete, damaged or cannot be read is passed over with a warning.

use fjall::Slice;
use schemas::row::FilterSnapshot;

use crate::{
    checksum,
    embedded::{
        store::{Put, Store},
        tables::Table,
    },
    log::ReadError,
};

/// Bytes of a piece: small beside what one commit may hold, so that writing a snapshot delays nobody by more than one commit.
pub(in crate::embedded) const PIECE_BYTES: usize = 512 * 1_024;
/// Snapshots kept of a partition.
const KEPT: usize = 2;
/// Partition, generation, next offset.
const ID_BYTES: usize = 4 + 4 + 8;

/// A snapshot's last write: its piece 0.
#[derive(Debug)]
pub(in crate::embedded) struct Done {
    partition: u32,
    id: [u8; ID_BYTES],
    pieces: u32,
    value: Slice,
}

/// The write that makes a snapshot valid once its pieces are durable.
pub(in crate::embedded) fn done(snapshot: &FilterSnapshot) -> Done {
    let value = [(snapshot.bytes.len() as u64).to_be_bytes(), checksum::of(&snapshot.bytes).to_be_bytes()].concat();
    let pieces = snapshot.bytes.len().div_ceil(PIECE_BYTES) as u32;
    Done { partition: snapshot.partition, id: id(snapshot), pieces, value: Slice::from(value) }
}

/// The pieces, in order. They may be written one by one.
pub(in crate::embedded) fn pieces(snapshot: &FilterSnapshot) -> impl Iterator<Item = Put> {
    let id = id(snapshot);
    snapshot.bytes.chunks(PIECE_BYTES).zip(1_u32..).map(move |(piece, number)| Put {
        table: Table::FilterSnapshots,
        key: key(&id, number),
        value: Some(Slice::from(piece)),
    })
}

/// The writes that make a snapshot valid and drop those that are too many.
pub(in crate::embedded) fn finish(store: &Store, done: Done) -> Result<Vec<Put>, ReadError> {
    let mut puts = Vec::new();
    let mut older = ids(store, done.partition)?;
    older.retain(|id| *id != done.id);
    let keep = KEPT.saturating_sub(1).min(older.len());
    for id in &older[..older.len() - keep] {
        let mut rows = store.prefix(Table::FilterSnapshots, id);
        while let Some(key) = rows.next_key()? {
            puts.push(Put { table: Table::FilterSnapshots, key, value: None });
        }
    }
    let last = key(&done.id, done.pieces);
    let mut rows = store.prefix(Table::FilterSnapshots, &done.id);
    while let Some(key) = rows.next_key()? {
        if key > last {
            puts.push(Put { table: Table::FilterSnapshots, key, value: None }); // left of a longer one under the same name
        }
    }
    puts.push(Put { table: Table::FilterSnapshots, key: key(&done.id, 0), value: Some(done.value) });
    Ok(puts)
}

/// The snapshots of a partition that are whole, the newest first.
pub(in crate::embedded) fn of(store: &Store, partition: u32) -> Result<Vec<FilterSnapshot>, ReadError> {
    let ids = ids(store, partition)?;
    Ok(ids.iter().rev().filter_map(|id| whole(store, id)).collect())
}

fn whole(store: &Store, id: &[u8; ID_BYTES]) -> Option<FilterSnapshot> {
    let mut bytes = Vec::new();
    let mut expected = None;
    for row in store.prefix(Table::FilterSnapshots, id) {
        let (key, value) = row.inspect_err(|cause| tracing::warn!(%cause, "filter snapshot passed over")).ok()?;
        if key.ends_with(&[0; 4]) {
            expected = value.split_at_checked(8).map(|(length, sum)| (length.to_vec(), sum.to_vec()));
        } else {
            bytes.extend_from_slice(&value);
        }
    }
    let Some((length, sum)) = expected else {
        tracing::debug!("filter snapshot passed over: not finished");
        return None;
    };
    if length != (bytes.len() as u64).to_be_bytes() || sum != checksum::of(&bytes).to_be_bytes() {
        tracing::warn!(cause = "checksum", "filter snapshot passed over");
        return None;
    }
    let number = |at: std::ops::Range<usize>| id[at].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Some(FilterSnapshot { partition: number(0..4) as u32, generation: number(4..8) as u32, next_offset: number(8..16), bytes })
}

/// Which snapshots there are, finished or not, the oldest first. Steps from one to the next without reading what they hold.
fn ids(store: &Store, partition: u32) -> Result<Vec<[u8; ID_BYTES]>, ReadError> {
    let end = (u64::from(partition) + 1).to_be_bytes()[3..].to_vec(); // one byte more than the key has, for the last partition
    let end = if end[0] == 0 { end[1..].to_vec() } else { vec![0xff; ID_BYTES + 5] };
    let mut begin = partition.to_be_bytes().to_vec();
    let mut ids = Vec::new();
    while let Some(key) = store.range(Table::FilterSnapshots, begin..end.clone()).next_key()? {
        let Some(id) = key.first_chunk::<ID_BYTES>() else { break };
        ids.push(*id);
        begin = [&id[..], &[0xff; 5]].concat();
    }
    Ok(ids)
}

fn id(snapshot: &FilterSnapshot) -> [u8; ID_BYTES] {
    let mut id = [0; ID_BYTES];
    id[..4].copy_from_slice(&snapshot.partition.to_be_bytes());
    id[4..8].copy_from_slice(&snapshot.generation.to_be_bytes());
    id[8..].copy_from_slice(&snapshot.next_offset.to_be_bytes());
    id
}

fn key(id: &[u8; ID_BYTES], piece: u32) -> Slice {
    Slice::from([&id[..], &piece.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Config,
        embedded::{Purpose, expiry::LogTime, open},
    };

    fn snapshot(next_offset: u64, bytes: usize) -> FilterSnapshot {
        FilterSnapshot { partition: u32::MAX, generation: 0, next_offset, bytes: vec![next_offset as u8; bytes] }
    }

    fn write(store: &Store, puts: impl IntoIterator<Item = Put>) {
        let mut batch = store.batch(0);
        for put in puts {
            store.add(&mut batch, put);
        }
        Store::commit(batch).expect("it becomes true");
    }

    #[test]
    fn snapshots_that_are_unfinished_or_damaged_are_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            data: folder.path().to_owned(),
            partitions: 1,
            free_bytes_min: 0,
            queue_bytes_max: 1,
            pause_at: None,
            fail_sync_after: None,
        };
        let store = open::open(&config, Purpose::Work, &LogTime::default()).expect("it opens").0;
        let whole = snapshot(7, 3 * PIECE_BYTES + 5);
        write(&store, pieces(&whole));
        assert_eq!(of(&store, u32::MAX), Ok(vec![]), "without its piece 0 it is not there");
        write(&store, finish(&store, done(&whole)).expect("it reads"));
        assert_eq!(of(&store, u32::MAX), Ok(vec![whole.clone()]));
        assert_eq!(of(&store, 0), Ok(vec![]));

        let newer = snapshot(8, 10);
        write(&store, pieces(&newer).chain(finish(&store, done(&newer)).expect("it reads")));
        for piece in [1, 2, 4] {
            let harm = Put { table: Table::FilterSnapshots, key: key(&id(&whole), piece), value: Some(Slice::from(b"harm")) };
            write(&store, [harm]);
            assert_eq!(of(&store, u32::MAX), Ok(vec![newer.clone()]), "piece {piece}");
            write(&store, pieces(&whole));
        }
        assert_eq!(of(&store, u32::MAX), Ok(vec![newer, whole]));
    }
}
