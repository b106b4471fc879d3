//! The tables of the folder: a closed list, each with its name and how `fjall` keeps it.

use fjall::{
    CompressionType, KeyspaceCreateOptions, KvSeparationOptions,
    config::{BlockSizePolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry},
};

use schemas::topic::Topic;

const MIB: u64 = 1_024 * 1_024;

/// Everything the folder holds. The rows' own files say key, writer and retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Table {
    /// Blocks of topics that are kept for a month: see `block`.
    LogMonth,
    /// Blocks of `dispatch`, which is kept for days.
    LogDispatch,
    /// Blocks of topics that are kept for long, or for ever.
    LogKept,
    /// The first block of each hour of each partition: see `retention`.
    LogHours,
    /// What groups have committed: see `offsets`.
    Offsets,
    /// How the folder was made: see `open`.
    Meta,
    /// See `row::seen`.
    Seen,
    /// See `row::purchase`.
    Purchases,
    /// See `row::lead`.
    Leads,
    /// See `row::visitor`.
    Visitors,
    /// See `row::person`.
    People,
    /// See `row::person_key`.
    PersonKeys,
    /// See `row::filter_snapshot`.
    FilterSnapshots,
    /// See `row::intent`.
    Intents,
    /// The intents that are not settled, and each partition's highest number: see `row::intent`.
    OpenIntents,
    /// See `row::delivery`.
    Deliveries,
    /// See `row::waiting`.
    Waiting,
    /// When waiting rows are due: see `row::waiting`.
    WaitingDue,
}

impl Table {
    /// All tables, in the order of the enum.
    pub(super) const ALL: [Self; 18] = [
        Self::LogMonth,
        Self::LogDispatch,
        Self::LogKept,
        Self::LogHours,
        Self::Offsets,
        Self::Meta,
        Self::Seen,
        Self::Purchases,
        Self::Leads,
        Self::Visitors,
        Self::People,
        Self::PersonKeys,
        Self::FilterSnapshots,
        Self::Intents,
        Self::OpenIntents,
        Self::Deliveries,
        Self::Waiting,
        Self::WaitingDue,
    ];

    /// The name of its keyspace. Never changed: the folder knows it by this.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LogMonth => "log_month",
            Self::LogDispatch => "log_dispatch",
            Self::LogKept => "log_kept",
            Self::LogHours => "log_hours",
            Self::Offsets => "offsets",
            Self::Meta => "meta",
            Self::Seen => "seen",
            Self::Purchases => "purchases",
            Self::Leads => "leads",
            Self::Visitors => "visitors",
            Self::People => "people",
            Self::PersonKeys => "person_keys",
            Self::FilterSnapshots => "filter_snapshots",
            Self::Intents => "intents",
            Self::OpenIntents => "open_intents",
            Self::Deliveries => "deliveries",
            Self::Waiting => "waiting",
            Self::WaitingDue => "waiting_due",
        }
    }

    /// Where a topic's blocks stand: with those that leave at the same age, so that value files die as a whole and nothing need be
    /// copied out of them to win back the rest.
    pub(super) fn log(topic: Topic) -> Self {
        match topic {
            Topic::Raw | Topic::Events | Topic::Deliveries | Topic::Verdicts | Topic::Commands => Self::LogMonth,
            Topic::Dispatch => Self::LogDispatch,
            Topic::Purchases | Topic::Leads | Topic::Directory | Topic::Audit | Topic::Dead => Self::LogKept,
        }
    }

    /// Memory and layout.
    ///
    /// A memtable is what a table may hold in memory before it is written out as one sorted file. Larger ones are flushed and merged
    /// less often (CPU), smaller ones keep the process small: 32 MiB where nearly all bytes go, 8 MiB elsewhere,
    /// 4 * 32 + 14 * 8 = 240 MiB if all were full at once. Sixty days of tracked events stayed under 180 MB, the whole process.
    pub(super) fn options(self) -> KeyspaceCreateOptions {
        let options = KeyspaceCreateOptions::default();
        match self {
            // Blocks are large and never rewritten: their bytes go to value files when the memtable is flushed, and merging moves
            // only keys and pointers. Without that every byte of the log would be copied about ten times.
            // They are compressed on that way, not in the journal: a third of the disk for about a microsecond an event (measured 8.2
            // and 9.3 for three records and a row).
            Self::LogMonth | Self::LogDispatch | Self::LogKept | Self::FilterSnapshots => options
                .max_memtable_size(if matches!(self, Self::LogMonth | Self::LogDispatch) { 32 * MIB } else { 8 * MIB })
                .with_kv_separation(Some(KvSeparationOptions::default().compression(CompressionType::Lz4))),
            Self::Seen => options.max_memtable_size(32 * MIB),
            Self::Deliveries => options.max_memtable_size(32 * MIB).data_block_size_policy(BlockSizePolicy::all(8 * 1_024)),
            Self::Meta | Self::Offsets | Self::LogHours | Self::OpenIntents => options
                .max_memtable_size(8 * MIB)
                .filter_policy(FilterPolicy::all(FilterPolicyEntry::None)) // a handful of rows: filters would only cost
                .data_block_compression_policy(CompressionPolicy::disabled()),
            Self::Purchases
            | Self::Leads
            | Self::Visitors
            | Self::People
            | Self::PersonKeys
            | Self::Intents
            | Self::Waiting
            | Self::WaitingDue => options.max_memtable_size(8 * MIB).data_block_size_policy(BlockSizePolicy::all(8 * 1_024)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_stands_in_the_list_at_its_own_place_under_a_name_of_its_own() {
        let mut names: Vec<_> = Table::ALL.iter().map(|table| table.name()).collect();
        assert!(Table::ALL.iter().enumerate().all(|(at, table)| *table as usize == at));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Table::ALL.len());
    }
}
