//! Cells: the JSON of a type of `schemas`, to be written and read back.

use schemas::{row::Cell, time::Time};
use scylla::value::MaybeUnset;
use serde::{Serialize, de::DeserializeOwned};

use super::error::LedgerError;

/// The JSON of a cell.
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our rows have text keys and plain values")
}

/// What a cell of that table says.
pub(super) fn read<T: DeserializeOwned>(table: &str, text: &str) -> Result<T, LedgerError> {
    serde_json::from_str(text).map_err(|cause| LedgerError::row(table, cause))
}

/// What a cell says, if it is there.
pub(super) fn read_some<T: DeserializeOwned>(table: &str, text: Option<&str>) -> Result<Option<T>, LedgerError> {
    text.map(|text| read(table, text)).transpose()
}

/// The cell if it was told at that moment; otherwise what stands there stays.
pub(super) fn told_at<T: Serialize>(at: Time, cell: Option<&Cell<T>>) -> MaybeUnset<String> {
    cell.filter(|cell| cell.at == at).map_or(MaybeUnset::Unset, |cell| MaybeUnset::Set(text(cell)))
}

/// The moments at which some cells were told, each once: cells of one moment are written together, under it.
pub(super) fn moments<const N: usize>(cells: [Option<Time>; N]) -> impl Iterator<Item = Time> {
    (0..N).filter_map(move |at| cells[at].filter(|_| !cells[..at].contains(&cells[at])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_one_moment_are_written_together() {
        let at = |ms| Some(Time::from_millis(ms));
        let all = |cells| moments::<3>(cells).map(Time::millis).collect::<Vec<_>>();
        assert_eq!(all([at(5), at(5), at(5)]), [5]);
        assert_eq!(all([at(5), None, at(7)]), [5, 7]);
        assert_eq!(all([None, at(7), at(7)]), [7]);
        assert_eq!(all([None, None, None]), [0; 0]);
    }

    #[test]
    fn damage_is_told_with_its_table() {
        let damaged = read::<u32>("seen", "{").expect_err("it is no number");
        assert!(matches!(damaged, LedgerError::Damaged(why) if why.contains("seen")));
    }
}
