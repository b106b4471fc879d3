//! Table `filter_snapshots`: tens of megabytes each, in pieces; the head comes last. The last two of a partition are kept.
//!
//! A snapshot only makes a start fast. One that is not finished or damaged is passed over with a warning.

use schemas::row::FilterSnapshot;

use super::{Ledger, at_once::Writes, checksum::checksum, error::LedgerError, statement::Statement};

const TABLE: &str = "filter_snapshots";

/// Bytes of a piece: a fraction of what a server takes in one write.
const PIECE_BYTES: usize = 512 * 1_024;
/// Pieces in one partition of the table: 16 MiB of each snapshot.
const PIECES_PER_BUCKET: u32 = 32;
/// The bucket of heads.
const HEADS: i32 = 0;
/// Pieces under way at one time: other statements go between them.
const PIECES_AT_ONCE: usize = 4;
/// Snapshots kept of a partition.
const KEPT: usize = 2;

/// A snapshot's head: what is said of it without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    generation: u32,
    next_offset: u64,
    /// Bytes of the whole; while it is not finished, of the longest that may stand there.
    length: u64,
    /// There once every piece is durable.
    checksum: Option<u64>,
}

impl Head {
    fn id(&self) -> (u32, u64) {
        (self.generation, self.next_offset)
    }

    fn pieces(&self) -> u32 {
        self.length.div_ceil(PIECE_BYTES as u64) as u32
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.length.to_be_bytes().to_vec();
        bytes.extend(self.checksum.iter().flat_map(|sum| sum.to_be_bytes()));
        bytes
    }

    fn read(generation: u32, next_offset: u64, bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let checksum = if rest.is_empty() { None } else { Some(u64::from_be_bytes(rest.try_into().ok()?)) };
        Some(Self { generation, next_offset, length: u64::from_be_bytes(*length), checksum })
    }
}

/// The bucket of a piece.
fn bucket(piece: u32) -> i32 {
    piece.div_ceil(PIECES_PER_BUCKET) as i32
}

impl Ledger {
    /// Writes a snapshot, then drops those that are too many.
    pub(super) async fn write_snapshot(&self, snapshot: &FilterSnapshot) -> Result<(), LedgerError> {
        let FilterSnapshot { partition, generation, next_offset, bytes } = snapshot;
        let mut others = self.heads(*partition).await?;
        let head = Head { generation: *generation, next_offset: *next_offset, length: bytes.len() as u64, checksum: Some(checksum(bytes)) };
        let before = others.iter().find(|other| other.id() == head.id()).map_or(0, |other| other.length);
        let begun = Head { checksum: None, length: head.length.max(before), ..head };
        self.write_head(*partition, begun).await?;
        let mut writes = Writes::at_most(PIECES_AT_ONCE);
        for (bytes, piece) in bytes.chunks(PIECE_BYTES).zip(1_u32..) {
            writes.push(self.write_piece(*partition, head, piece, bytes)).await?;
        }
        writes.finish().await?;
        if begun.pieces() > head.pieces() {
            self.drop_pieces(*partition, begun, head.pieces() + 1).await?; // left of a longer one under the same name
        }
        self.write_head(*partition, head).await?;

        others.retain(|other| other.id() != head.id());
        let too_many = others.len().saturating_sub(KEPT - 1);
        for other in &others[..too_many] {
            self.drop_pieces(*partition, *other, 1).await?;
            self.drop_bucket(*partition, HEADS, *other, 0).await?; // the head last: until then it can be found and dropped again
        }
        Ok(())
    }

    /// The snapshots kept of a partition that are whole, the newest first.
    pub(crate) async fn filter_snapshots(&self, partition: u32) -> Result<Vec<FilterSnapshot>, LedgerError> {
        let mut snapshots = Vec::new();
        for head in self.heads(partition).await?.into_iter().rev() {
            snapshots.extend(self.whole(partition, head).await?);
        }
        Ok(snapshots)
    }

    /// One snapshot, if it is what its head says.
    async fn whole(&self, partition: u32, head: Head) -> Result<Option<FilterSnapshot>, LedgerError> {
        let Some(expected) = head.checksum else {
            tracing::debug!(partition, next_offset = head.next_offset, "filter snapshot passed over: not finished");
            return Ok(None);
        };
        let mut bytes = Vec::new();
        for bucket in 1..=bucket(head.pieces()) {
            let of = (partition as i32, bucket, head.generation as i32, head.next_offset as i64, head.pieces() as i32);
            for (_, piece) in self.client().all::<(i32, Vec<u8>)>(Statement::ReadSnapshotPieces, of).await? {
                bytes.extend_from_slice(&piece);
            }
        }
        if bytes.len() as u64 != head.length || checksum(&bytes) != expected {
            tracing::warn!(partition, next_offset = head.next_offset, cause = "checksum", "filter snapshot passed over");
            return Ok(None);
        }
        Ok(Some(FilterSnapshot { partition, generation: head.generation, next_offset: head.next_offset, bytes }))
    }

    /// Which snapshots there are, finished or not, the oldest first.
    async fn heads(&self, partition: u32) -> Result<Vec<Head>, LedgerError> {
        let rows: Vec<(i32, i64, Vec<u8>)> = self.client().all(Statement::ReadSnapshotHeads, (partition as i32, HEADS)).await?;
        let mut heads: Vec<_> = rows
            .iter()
            .map(|(generation, next_offset, bytes)| {
                let (generation, next_offset) = (*generation as u32, *next_offset as u64);
                Head::read(generation, next_offset, bytes).unwrap_or_else(|| {
                    tracing::warn!(partition, next_offset, cause = "head", "filter snapshot passed over");
                    Head { generation, next_offset, length: 0, checksum: None }
                })
            })
            .collect();
        heads.sort_unstable();
        Ok(heads)
    }

    async fn write_head(&self, partition: u32, head: Head) -> Result<(), LedgerError> {
        self.write_piece(partition, head, 0, &head.bytes()).await
    }

    async fn write_piece(&self, partition: u32, head: Head, piece: u32, bytes: &[u8]) -> Result<(), LedgerError> {
        let values = (partition as i32, bucket(piece), head.generation as i32, head.next_offset as i64, piece as i32, bytes);
        self.client().run(Statement::WriteSnapshotPiece, values).await.map(drop)
    }

    /// Drops the pieces of a snapshot from one on.
    async fn drop_pieces(&self, partition: u32, head: Head, from: u32) -> Result<(), LedgerError> {
        for bucket in bucket(from)..=bucket(head.pieces()) {
            self.drop_bucket(partition, bucket, head, from).await?;
        }
        Ok(())
    }

    async fn drop_bucket(&self, partition: u32, bucket: i32, head: Head, from: u32) -> Result<(), LedgerError> {
        let values = (partition as i32, bucket, head.generation as i32, head.next_offset as i64, from as i32);
        self.client().run(Statement::DropSnapshotPieces, values).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_finished_or_not() {
        for checksum in [None, Some(7)] {
            let head = Head { generation: 1, next_offset: 2, length: 3 * PIECE_BYTES as u64 + 1, checksum };
            assert_eq!(Head::read(1, 2, &head.bytes()), Some(head));
            assert_eq!(head.pieces(), 4);
        }
        assert!([&b""[..], b"short", b"nine byte", b"seventeen bytes!!"].iter().all(|bytes| Head::read(1, 2, bytes).is_none()));
    }

    #[test]
    fn pieces_stand_in_buckets_behind_the_heads() {
        assert_eq!([0, 1, 32, 33, 64, 65].map(bucket), [0, 1, 1, 2, 2, 3]);
    }
}
