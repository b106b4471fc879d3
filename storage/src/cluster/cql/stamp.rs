//! Write timestamps and lifetimes: functions of what was read, never of a clock at the moment of writing, so that writing a row again
//! changes nothing and an older word loses.

use schemas::{
    envelope::Position,
    row::Intent,
    time::{DAY_US, SECOND_US, Time},
};
use uuid::Uuid;

const DAY_S: i64 = 86_400;

/// A row without an end: the server takes 0 for that.
pub(super) const FOR_EVER_S: i32 = 0;
/// Event and hook keys count for 30 days; two more, because the judge counts them itself, between two receptions.
const EVENT_KEY_S: i64 = 32 * DAY_S;
/// Visitors and people, from their last change.
pub(super) const PERSONAL_S: i32 = (400 * DAY_S) as i32;
/// Attempts.
pub(super) const INTENT_S: i32 = (30 * DAY_S) as i32;
/// Deliveries, from their outcome.
const DELIVERY_S: i64 = 90 * DAY_S;
/// Waiting work, from the end of the hour of its deadline.
const WAITING_US: i64 = 3 * DAY_US;
/// What is written late stays long enough to be seen by whoever wrote it.
const WAITING_S_MIN: i64 = 3_600;

/// How an owner's epoch and its attempts make one rising number: 2^40 attempts an epoch.
const EPOCH_BITS: u32 = 40;
/// Revisions told apart by a fact's timestamp. There are two legs, so there are two.
const REVISION_MAX: i64 = 7;

/// Seconds for which a leg of a dedup key is kept.
pub(super) fn seen_s(dedup_key: &str) -> i32 {
    match dedup_key.split('|').nth(1) {
        Some("purchase" | "lead") => FOR_EVER_S,
        _ => EVENT_KEY_S as i32,
    }
}

/// The timestamp of a fact: the newest revision replaces, whichever is written last.
pub(super) fn fact(position: Position, revision: u32) -> i64 {
    position.stamp().saturating_mul(REVISION_MAX + 1).saturating_add(i64::from(revision).min(REVISION_MAX))
}

/// The timestamp of a person's key: the moment inside its id, which sorts by time.
pub(super) fn person_key(id: Uuid) -> i64 {
    match id.get_version_num() {
        7 => (id.as_u128() >> 80) as i64 * 1_000,
        _ => 1,
    }
}

/// The timestamp of an intent written by the owner of that epoch: settled goes over open.
pub(super) fn intent(epoch: i64, intent: &Intent) -> i64 {
    (epoch << EPOCH_BITS) + ((intent.attempt as i64) << 1) + i64::from(intent.settled)
}

/// The epoch inside a delivery's tag.
pub(super) fn epoch_of(tag: i64) -> i64 {
    tag >> EPOCH_BITS
}

/// Seconds for which a delivery is kept.
pub(super) fn delivery_s(has_outcome: bool) -> i32 {
    if has_outcome { DELIVERY_S as i32 } else { FOR_EVER_S }
}

/// Seconds for which waiting work is kept.
pub(super) fn waiting_s(deadline_hour: i64, now: Time) -> i32 {
    let end = Time::from_micros(deadline_hour.saturating_add(1).saturating_mul(3_600 * SECOND_US)).plus_micros(WAITING_US);
    i32::try_from((end.since(now) / SECOND_US).max(WAITING_S_MIN)).unwrap_or(i32::MAX).min(TTL_S_MAX)
}

/// Twenty years: the longest life that every server takes.
const TTL_S_MAX: i32 = 20 * 365 * 86_400;

#[cfg(test)]
mod tests {
    use schemas::id::PixelId;

    use super::*;

    fn at(generation: u32, offset: u64) -> Position {
        Position { generation, partition: 0, offset }
    }

    #[test]
    fn orders_stay_for_ever_and_events_32_days() {
        for (key, days) in [("f|purchase|A", 0), ("f|lead|A|b", 0), ("f|event|v|purchase|e", 32), ("f|hook|e", 32)] {
            assert_eq!(seen_s(key), days * 86_400, "{key}");
        }
    }

    #[test]
    fn a_facts_stamp_rises_with_position_then_revision() {
        let rising = [fact(at(0, 0), 1), fact(at(0, 0), 2), fact(at(0, 1), 1), fact(at(0, 1), 900), fact(at(0, 2), 0), fact(at(1, 0), 0)];
        assert!(rising.is_sorted_by(|a, b| a < b), "{rising:?}");
    }

    #[test]
    fn a_persons_key_is_stamped_by_its_own_time() {
        let id: Uuid = "01890a5d-ac96-7cc1-8111-a1b2c3d4e5f6".parse().expect("an id");
        assert_eq!(person_key(id), 0x0189_0a5d_ac96 * 1_000);
        assert_eq!(person_key(Uuid::from_u128(5)), 1);
    }

    #[test]
    fn settled_goes_over_open_and_a_newer_owner_over_both() {
        let told = |epoch, attempt, settled| {
            let row = Intent {
                partition: 0,
                attempt,
                at: Time::default(),
                pixel_id: PixelId::parse("1").expect("an id"),
                settled,
                items: vec![],
            };
            intent(epoch, &row)
        };
        assert!(told(1, 5, false) < told(1, 5, true) && told(1, 5, true) < told(2, 5, false));
        assert_eq!(epoch_of((7 << 40) + 123), 7);
    }

    #[test]
    fn waiting_work_stays_three_days_after_its_hour_and_an_hour_at_least() {
        let now = Time::from_micros(100 * 3_600 * SECOND_US);
        assert_eq!(waiting_s(100, now), 3_600 + 3 * 86_400);
        assert_eq!(waiting_s(0, now), 3_600);
        assert_eq!(waiting_s(i64::MAX, now), TTL_S_MAX);
    }
}
