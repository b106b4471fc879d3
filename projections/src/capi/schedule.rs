//! Pure: whether a dispatch may be sent now, when it is tried again, and when it has come too late.

use schemas::{
    delivery::{Delivery, Outcome, Reason},
    dispatch::{Dispatch, Withheld},
    meta,
    time::{SECOND_US, Time},
};

use super::{
    classify::Class,
    config::{Config, micros},
};

/// Meta's code for a temporary block for policy reasons: pause long.
const BLOCKED: i64 = 368;
/// A `Retry-After` beyond this is not believed.
const RETRY_AFTER_MAX_US: i64 = 3_600 * SECOND_US;
/// Tries that a dispatch makes in full company.
const TRIES_IN_COMPANY: u32 = 5;

/// What is to be done with a dispatch at a moment.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be sent.
    Send,
    /// Not before this moment.
    Later(Time),
    /// It ends without being sent (again).
    End(Outcome, Reason),
}

/// Where a dispatch stands, given what is recorded of it. `resend_us`: how long after its first ambiguous attempt it may go again.
pub fn standing(dispatch: &Dispatch, delivery: Option<&Delivery>, now: Time, resend_us: i64) -> Standing {
    let end = |outcome, code: &str, message: &str| Standing::End(outcome, Reason { code: code.to_owned(), message: message.to_owned() });
    match (&dispatch.withheld, &dispatch.payload) {
        // The other leg may know what this one lacks.
        (Some(Withheld::Invalid { .. }), _) if dispatch.not_before.is_some_and(|at| at > now) => {}
        (Some(Withheld::NoConsent), _) => return end(Outcome::Cancelled, "no_consent", "the person declined or withdrew consent"),
        (Some(Withheld::Invalid { code, message }), _) => return end(Outcome::Rejected, code, message),
        (None, None) => return end(Outcome::Rejected, "empty", "the dispatch carries no event"),
        (None, Some(_)) => {}
    }
    let first_ambiguous_at = delivery.and_then(|delivery| delivery.first_ambiguous_at);
    let is_stale = first_ambiguous_at.is_some_and(|at| now.since(at) > resend_us);
    match (meta::too_old(dispatch.occurred_at, now), first_ambiguous_at) {
        (true, Some(_)) => end(Outcome::Unknown, "answer_lost", "sent, but Meta's answer was lost, and it is now older than Meta accepts"),
        (_, Some(_)) if is_stale => {
            end(Outcome::Unknown, "answer_lost", "sent, but Meta's answer was lost, and another copy might now count twice")
        }
        (true, None) => end(Outcome::Expired, "too_old", "Meta accepts events for seven days; this one could not be delivered in time"),
        (false, _) => match dispatch.not_before {
            Some(at) if at > now => Standing::Later(at),
            _ => Standing::Send,
        },
    }
}

/// The pause before a try, with full jitter: 1 ms up to base·2^(failures−1), at most `max_ms`. In microseconds.
pub fn backoff(failures: u32, random: u64, base_ms: u64, max_ms: u64) -> i64 {
    let doubled = base_ms.saturating_mul(1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX));
    micros(1 + random % doubled.clamp(1, max_ms.max(1)))
}

/// How long a pixel pauses after an answer that was no yes. In microseconds.
pub fn pause(class: Class, code: Option<i64>, retry_after_us: Option<i64>, failures: u32, random: u64, config: &Config) -> i64 {
    let again = backoff(failures, random, config.retry_base_ms, config.retry_max_ms);
    let probe = micros(config.probe_ms);
    match class {
        Class::Token | Class::Config => probe,
        Class::Rate if code == Some(BLOCKED) => probe.max(again),
        Class::Rate | Class::Retry => again.max(retry_after_us.unwrap_or(0).min(RETRY_AFTER_MAX_US)),
        Class::Unfamiliar | Class::Payload | Class::Delivered => again,
    }
}

/// Whether a limit's code counts the app or the user behind a token, rather than the business objects behind a pixel.
pub fn is_about_token(code: i64) -> bool {
    matches!(code, 4 | 17 | 32 | 341 | BLOCKED | 613)
}

/// When a dispatch is due after a pause: never later than the moment it would expire, so that its end is told in time.
pub fn due(dispatch: &Dispatch, at: Time) -> Time {
    at.min(dispatch.occurred_at.plus_micros(meta::AGE_MAX_US + 1))
}

/// How many events may go with one that has been tried so often: after some tries in full company ever fewer, so that an event
/// which Meta answers with "try again" for ever cannot hold others, and a dead pixel is probed with little.
pub fn company(tries: u32, batch_events_max: usize) -> usize {
    batch_events_max.checked_shr(tries.saturating_sub(TRIES_IN_COMPANY)).unwrap_or(0).max(1)
}

/// The hour of the deadline: one part of the key of `waiting`.
pub fn deadline_hour(occurred_at: Time) -> i64 {
    occurred_at.plus_micros(7 * schemas::time::DAY_US).seconds() / 3_600
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{
        delivery::{Attempt, Outcome},
        dispatch::{Dispatch, Withheld},
        meta::AGE_MAX_US,
        time::{DAY_US, SECOND_US, Time},
    };

    use super::{Class, Standing, backoff, company, deadline_hour, due, pause, standing};
    use crate::capi::{
        fixture::{config, dispatch, now},
        item::opened,
    };

    const HOUR_US: i64 = 3_600 * SECOND_US;

    #[test]
    fn a_dispatch_stands_where_its_age_and_its_past_put_it() {
        let invalid = Withheld::Invalid { code: "currency".into(), message: "m".into() };
        let withheld = |why: Withheld| Dispatch { payload: None, withheld: Some(why), ..dispatch("a", 9 * DAY_US) };
        let later = Dispatch { not_before: Some(now().plus_micros(1)), ..dispatch("a", 0) };
        let (none, first, stale) = (None, Some(47 * HOUR_US), Some(47 * HOUR_US + 1));
        for (what, dispatch, ambiguous_us, expected) in [
            ("fresh", dispatch("a", 0), none, None),
            ("just young enough", dispatch("a", AGE_MAX_US), none, None),
            ("just too old", dispatch("a", AGE_MAX_US + 1), none, Some((Outcome::Expired, "too_old"))),
            ("ambiguous and young", dispatch("a", 48 * HOUR_US), first, None),
            ("ambiguous for too long", dispatch("a", 48 * HOUR_US), stale, Some((Outcome::Unknown, "answer_lost"))),
            ("ambiguous and too old", dispatch("a", AGE_MAX_US + 1), first, Some((Outcome::Unknown, "answer_lost"))),
            ("declined", withheld(Withheld::NoConsent), none, Some((Outcome::Cancelled, "no_consent"))),
            ("invalid", withheld(invalid), none, Some((Outcome::Rejected, "currency"))),
            ("nothing in it", Dispatch { payload: None, ..dispatch("a", 0) }, none, Some((Outcome::Rejected, "empty"))),
        ] {
            let mut delivery = opened(&dispatch);
            if let Some(ago) = ambiguous_us {
                let at = now().plus_micros(-ago);
                let attempt = Attempt { number: 1, at, status: None, code: None, subcode: None, trace_id: None, ambiguous: true };
                delivery.note(attempt);
            }
            let stands = match standing(&dispatch, Some(&delivery), now(), 47 * HOUR_US) {
                Standing::End(outcome, reason) => Some((outcome, reason.code)),
                Standing::Send => None,
                Standing::Later(at) => panic!("{what}: {at}"),
            };
            assert_eq!(stands, expected.map(|(outcome, code)| (outcome, code.to_owned())), "{what}");
        }
        assert_eq!(standing(&later, None, now(), 0), Standing::Later(now().plus_micros(1)));
        let lacks =
            Dispatch { not_before: later.not_before, ..withheld(Withheld::Invalid { code: "currency".into(), message: "m".into() }) };
        let lacks = Dispatch { occurred_at: now(), ..lacks };
        assert_eq!(standing(&lacks, None, now(), 0), Standing::Later(now().plus_micros(1)), "its server leg may know better");
        assert!(matches!(standing(&lacks, None, now().plus_micros(1), 0), Standing::End(Outcome::Rejected, _)));
        assert_eq!(standing(&later, None, now().plus_micros(1), 0), Standing::Send);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_nothing_and_never_more_than_the_longest(failures in 0_u32..200, random: u64, base in 0_u64..5_000, max in 0_u64..600_000) {
            let pause_us = backoff(failures, random, base, max);
            prop_assert!(pause_us >= 1_000);
            prop_assert!(pause_us <= i64::try_from(max.max(1)).expect("small") * 1_000);
            if let Some(doubled) = 1_u64.checked_shl(failures.saturating_sub(1)) {
                prop_assert!(pause_us <= i64::try_from(base.saturating_mul(doubled).max(1)).unwrap_or(i64::MAX).saturating_mul(1_000));
            }
        }

        #[test]
        fn what_is_tried_again_comes_up_in_time_to_be_told_as_expired(age_us in 0..8 * DAY_US, pause_us in 0..9 * DAY_US) {
            let dispatch = dispatch("a", age_us);
            let due = due(&dispatch, now().plus_micros(pause_us));
            prop_assert!(due <= now().plus_micros(pause_us));
            prop_assert!(due <= dispatch.occurred_at.plus_micros(AGE_MAX_US + 1));
        }
    }

    #[test]
    fn a_pixel_pauses_by_what_meta_said() {
        let config = config();
        for (class, code, retry_after_us, from_us, to_us) in [
            (Class::Token, Some(190), None, 60 * SECOND_US, 60 * SECOND_US),
            (Class::Config, None, None, 60 * SECOND_US, 60 * SECOND_US),
            (Class::Rate, Some(368), None, 60 * SECOND_US, 60 * SECOND_US),
            (Class::Rate, Some(4), None, 1_000, 4 * SECOND_US),
            (Class::Rate, Some(4), Some(90 * SECOND_US), 90 * SECOND_US, 90 * SECOND_US),
            (Class::Rate, Some(4), Some(DAY_US), HOUR_US, HOUR_US),
            (Class::Retry, None, None, 1_000, 4 * SECOND_US),
        ] {
            for random in [0, 77, 3_999, u64::MAX] {
                let pause_us = pause(class, code, retry_after_us, 3, random, &config);
                assert!((from_us..=to_us).contains(&pause_us), "{class:?} {code:?}: {pause_us}");
            }
        }
    }

    #[test]
    fn what_fails_again_and_again_goes_in_ever_smaller_company() {
        let sizes: Vec<usize> = [0, 5, 6, 7, 14, 15, 100, u32::MAX].iter().map(|tries| company(*tries, 1_000)).collect();
        assert_eq!(sizes, [1_000, 1_000, 500, 250, 1, 1, 1, 1]);
    }

    #[test]
    fn the_deadline_stands_in_whole_hours() {
        assert_eq!(deadline_hour(Time::default()), 7 * 24);
        assert_eq!(deadline_hour(Time::from_micros(HOUR_US - 1)), 7 * 24);
        assert_eq!(deadline_hour(Time::from_micros(HOUR_US)), 7 * 24 + 1);
    }
}
