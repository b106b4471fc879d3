//! Table `waiting`. Key: pixel, deadline hour, dedup key. Whole hours are dropped two days after their deadline.
//! Behind the head of the value stand partition and due time, then JSON.
//!
//! Table `waiting_due` tells what is due without reading the rows: `a`, partition, due time, then the row's key; and, for one pixel,
//! `p`, partition, pixel, due time, then the row's key. The commit thread, which reads the old row anyway, keeps all three together.

use std::ops::Bound;

use fjall::Slice;
use schemas::{
    id::PixelId,
    row::Waiting,
    time::{SECOND_US, Time},
};

use super::{body, damaged, head, joined, sortable};
use crate::{
    embedded::{
        store::{Put, Store},
        tables::Table,
    },
    ledger::Page,
    log::ReadError,
};

const NAME: &str = "waiting";

/// Marks looked at in one call. Among more than that which are due at one time, the earliest deadline is found among those that have
/// been due for longest: a bound on the time of a call, and who has waited longest has the earliest deadline anyway.
const EXAMINED_MAX: usize = 20_000;

/// The row's key.
pub(in crate::embedded) fn key(pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Slice {
    let mut key = joined(&[pixel.as_str().as_bytes(), &sortable(deadline_hour)]);
    key.extend_from_slice(dedup_key.as_bytes());
    Slice::from(key)
}

/// The row's value.
pub(in crate::embedded) fn encode(waiting: &Waiting) -> Slice {
    let mut value = head(kept_from(waiting), 1_024);
    value.extend_from_slice(&waiting.partition.to_be_bytes());
    value.extend_from_slice(&sortable(waiting.due_at.micros()));
    serde_json::to_writer(&mut value, waiting).expect("plain values, and a vector takes every byte");
    Slice::from(value)
}

/// The row from its value.
pub(in crate::embedded) fn decode(value: &[u8]) -> Result<Waiting, ReadError> {
    let json = body(NAME, value)?.get(12..).ok_or_else(|| damaged(NAME))?;
    serde_json::from_slice(json).map_err(|_| damaged(NAME))
}

/// The marks of a row, from its key and value: both to be written, or both to be taken away.
pub(in crate::embedded) fn marks(key: &[u8], value: &[u8], is_there: bool) -> Result<[Put; 2], ReadError> {
    let (partition, due) = body(NAME, value)?.get(..12).ok_or_else(|| damaged(NAME))?.split_at(4);
    let pixel = key.split(|byte| *byte == 0).next().unwrap_or_default();
    let mark = |key: Vec<u8>| Put {
        table: Table::WaitingDue,
        key: Slice::from(key),
        value: is_there.then(|| Slice::from(&value[..super::HEAD_BYTES])),
    };
    Ok([mark([b"a", partition, due, key].concat()), mark([b"p", partition, pixel, &[0], due, key].concat())])
}

/// Rows of a partition that are due, of one pixel or of all, earliest deadline first.
pub(in crate::embedded) fn due(
    store: &Store,
    partition: u32,
    pixel: Option<&PixelId>,
    now: Time,
    limit: usize,
) -> Result<Vec<Waiting>, ReadError> {
    let begin = begin(partition, pixel);
    let mut end = begin.clone();
    end.extend_from_slice(&sortable(now.micros().saturating_add(1)));
    let mut marks = store.range(Table::WaitingDue, begin.clone()..end);
    let mut keys = Vec::new();
    while keys.len() < EXAMINED_MAX
        && let Some(mark) = marks.next_key()?
    {
        let (due, key) = mark.get(begin.len()..).and_then(|rest| rest.split_at_checked(8)).ok_or_else(|| damaged(NAME))?;
        let hour = key.iter().position(|byte| *byte == 0).and_then(|end| key.get(end + 1..end + 9)).ok_or_else(|| damaged(NAME))?;
        keys.push((Slice::from(hour), Slice::from(due), Slice::from(key)));
    }
    keys.sort_unstable();
    keys.truncate(limit);
    keys.iter().filter_map(|(_, _, key)| store.get(Table::Waiting, key).transpose()).map(|value| decode(&value?)).collect()
}

/// Rows of a pixel in the order of their keys.
pub(in crate::embedded) fn page(store: &Store, pixel: &PixelId, after: Option<Vec<u8>>, limit: usize) -> Result<Page<Waiting>, ReadError> {
    let all = [pixel.as_str().as_bytes(), &[0]].concat();
    let begin = after.map_or_else(|| Bound::Included(all.clone()), Bound::Excluded);
    let mut found = store.range(Table::Waiting, (begin, Bound::Unbounded));
    let (mut rows, mut last) = (Vec::new(), None);
    while rows.len() < limit {
        let Some((key, value)) = found.next().transpose()?.filter(|(key, _)| key.starts_with(&all)) else {
            return Ok(Page { rows, next: None });
        };
        rows.push(decode(&value)?);
        last = Some(key.to_vec());
    }
    Ok(Page { rows, next: last })
}

fn begin(partition: u32, pixel: Option<&PixelId>) -> Vec<u8> {
    match pixel {
        None => [b"a", &partition.to_be_bytes()[..]].concat(),
        Some(pixel) => [b"p", &partition.to_be_bytes()[..], pixel.as_str().as_bytes(), &[0]].concat(),
    }
}

/// Counted from the deadline, so that it cannot leave before.
fn kept_from(waiting: &Waiting) -> i64 {
    waiting.deadline_hour.saturating_mul(3_600 * SECOND_US)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::row::kept_from;

    #[test]
    fn a_row_is_marked_twice_with_when_it_is_due() {
        let pixel = PixelId::parse("77").expect("an id");
        let key = key(&pixel, 500_000, "fn_1|hook|e");
        let mut value = head(1, 64);
        value.extend_from_slice(&3_u32.to_be_bytes());
        value.extend_from_slice(&sortable(9));
        let [all, one] = marks(&key, &value, true).expect("it is a row");
        assert!(all.key.starts_with(&begin(3, None)) && all.key.ends_with(&key));
        assert!(one.key.starts_with(&begin(3, Some(&pixel))) && one.key.ends_with(&key));
        assert_eq!(all.value.as_deref().and_then(kept_from), Some(1), "marks age as their row does");
        let [all_gone, one_gone] = marks(&key, &value, false).expect("it is a row");
        assert_eq!((all_gone.key, one_gone.key), (all.key, one.key));
        assert!(all_gone.value.is_none() && one_gone.value.is_none());
        assert!(marks(&key, &value[..20], true).is_err());
    }
}
