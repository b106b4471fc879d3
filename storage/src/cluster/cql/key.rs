//! Keys of rows, and the buckets that keep a partition of a table small.

use schemas::order::OrderId;

use crate::partitioner;

/// Buckets of a funnel's day: its facts are spread over as many partitions of the table.
const DAY_BUCKETS: u32 = 16;
/// Attempts in one bucket: a partition of the table with a thousand rows, and one look-up for whoever reads the last few.
pub(super) const ATTEMPTS_PER_BUCKET: u64 = 1_024;

/// The funnel of a dedup key's text.
pub(super) fn funnel_of(dedup_key: &str) -> &str {
    dedup_key.split_once('|').map_or(dedup_key, |(funnel, _)| funnel)
}

/// The key of purchases and leads inside their funnel: an order may be called like another sale's event.
pub(super) fn fact_key(order: Option<&OrderId>, event_id: &str) -> String {
    match order {
        Some(order) => order_key(order.as_str()),
        None => event_key(event_id),
    }
}

/// The key of a fact that names its order.
pub(super) fn order_key(order: &str) -> String {
    format!("o|{order}")
}

/// The key of a fact without an order.
pub(super) fn event_key(event_id: &str) -> String {
    format!("e|{event_id}")
}

/// The bucket of a fact within its day; fixed for ever, because rows are found by it.
pub(super) fn day_bucket(fact_key: &str) -> i32 {
    partitioner::partition(fact_key.as_bytes(), DAY_BUCKETS) as i32
}

/// The bucket of an attempt.
pub(super) fn attempt_bucket(attempt: u64) -> i64 {
    (attempt / ATTEMPTS_PER_BUCKET) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_and_an_event_of_one_name_are_two_facts() {
        let order = OrderId::parse("A").expect("it fits").expect("it is not blank");
        assert_eq!((fact_key(Some(&order), "x"), fact_key(None, "A")), ("o|A".to_owned(), "e|A".to_owned()));
        assert_eq!((funnel_of("fn_1|purchase|A|7"), funnel_of("odd")), ("fn_1", "odd"));
    }

    #[test]
    fn buckets_never_change() {
        let buckets: Vec<_> = ["o|A", "o|B", "e|A", "o|ORD-123"].iter().map(|key| day_bucket(key)).collect();
        assert_eq!(buckets, [2, 6, 4, 5], "rows already stand under these");
        assert_eq!([0, 1_023, 1_024, 5_000].map(attempt_bucket), [0, 0, 1, 4]);
    }
}
