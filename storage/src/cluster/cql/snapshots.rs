//! Filter snapshots in pieces. Piece 0 is written last, with length and checksum of the whole; without it there is no snapshot.

use std::collections::BTreeMap;

use schemas::row::FilterSnapshot;

use super::{Ledger, LedgerError};

const TABLE: &str = "filter_snapshots";
/// Bytes of a piece: far below what a server takes in one mutation.
const PIECE_BYTES: usize = 512 * 1_024;
/// Snapshots kept of a partition.
const KEPT: usize = 2;

/// Generation and next offset.
type Id = (i32, i64);

impl Ledger {
    /// Writes a snapshot and drops those that are too many.
    pub(super) async fn put_snapshot(&self, snapshot: &FilterSnapshot) -> Result<(), LedgerError> {
        let (partition, id) = (snapshot.partition as i32, (snapshot.generation as i32, snapshot.next_offset as i64));
        let put = &self.statements()?.put_piece;
        let pieces = snapshot.bytes.chunks(PIECE_BYTES);
        let count = pieces.len() as i32;
        // One after another: they must not fill the way of others.
        for (piece, number) in pieces.zip(1_i32..) {
            self.run(put, (partition, id.0, id.1, number, piece)).await?;
        }
        let sum = [(snapshot.bytes.len() as u64).to_be_bytes(), crate::checksum::of(&snapshot.bytes).to_be_bytes()].concat();
        self.run(put, (partition, id.0, id.1, 0, &sum[..])).await?;

        let drop_from = &self.statements()?.drop_pieces;
        self.run(drop_from, (partition, id.0, id.1, count + 1)).await?; // left of a longer one under the same name
        let mut others: Vec<Id> = self.pieces(partition).await?.into_keys().filter(|other| *other != id).collect();
        let keep = (KEPT - 1).min(others.len());
        others.truncate(others.len() - keep);
        for (generation, next_offset) in others {
            self.run(drop_from, (partition, generation, next_offset, 0)).await?;
        }
        Ok(())
    }

    /// The snapshots of a partition that are whole, the newest first.
    pub(crate) async fn filter_snapshots(&self, partition: u32) -> Result<Vec<FilterSnapshot>, LedgerError> {
        let mut whole = Vec::new();
        for ((generation, next_offset), pieces) in self.pieces(partition as i32).await?.into_iter().rev().take(KEPT) {
            if !pieces.contains(&0) {
                continue; // not finished
            }
            let values = (partition as i32, generation, next_offset);
            let rows = self.all_rows::<(i32, Vec<u8>)>(&self.statements()?.get_pieces, values, TABLE).await?;
            if let Some(bytes) = joined(rows) {
                let (generation, next_offset) = (generation as u32, next_offset as u64);
                whole.push(FilterSnapshot { partition, generation, next_offset, bytes });
            } else {
                tracing::warn!(partition, generation, next_offset, "a filter snapshot is damaged and was passed over");
            }
        }
        Ok(whole)
    }

    /// The pieces of each snapshot, the oldest snapshot first; what they hold is not read.
    async fn pieces(&self, partition: i32) -> Result<BTreeMap<Id, Vec<i32>>, LedgerError> {
        let mut found: BTreeMap<Id, Vec<i32>> = BTreeMap::new();
        for (generation, next_offset, piece) in
            self.all_rows::<(i32, i64, i32)>(&self.statements()?.list_pieces, (partition,), TABLE).await?
        {
            found.entry((generation, next_offset)).or_default().push(piece);
        }
        Ok(found)
    }
}

/// The whole, if length and checksum say so.
fn joined(mut rows: Vec<(i32, Vec<u8>)>) -> Option<Vec<u8>> {
    rows.sort_by_key(|(piece, _)| *piece);
    let mut rows = rows.into_iter();
    let (_, head) = rows.next().filter(|(piece, _)| *piece == 0)?;
    let (length, sum) = head.split_at_checked(8)?;
    let bytes: Vec<u8> = rows.flat_map(|(_, bytes)| bytes).collect();
    let is_whole = length == (bytes.len() as u64).to_be_bytes() && sum == crate::checksum::of(&bytes).to_be_bytes();
    is_whole.then_some(bytes)
}
