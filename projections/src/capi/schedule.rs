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
