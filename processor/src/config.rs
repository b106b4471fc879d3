//! The judge's settings: section `[processor]` of the settings file.

use serde::Deserialize;

/// The judge's settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Most records judged in one step.
    pub batch_records_max: usize,
    /// Most bytes of records judged in one step.
    pub batch_bytes_max: usize,
    /// Keys that a filter's first generation holds, per raw partition and set; each next one is larger than all before it.
    pub filter_first_keys: u64,
    /// Memory of one partition's filter; past it the filter is cold.
    pub filter_bytes_max: u64,
    /// Records judged between two snapshots of a partition's filter.
    pub snapshot_records: u64,
    /// Whether filters stay cold: for tests and for measuring what they save.
    pub filter_always_cold: bool,
    /// How long steps at hand may take to become true when the judge is told to stop.
    pub drain_timeout_ms: u64,
    /// Keys of people kept opened in memory, per partition.
    pub person_keys_cached: usize,
    /// Visitors kept in memory, per partition.
    pub visitors_cached: usize,
}
