//! Pure: a frozen dispatch becomes one that replays its delivery.

use schemas::{
    delivery::Outcome,
    dispatch::{Dispatch, REPLAY_VERSION, Replay, Withheld},
    meta::{self, Frozen},
};

/// Why a delivery is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The person declined or withdrew consent.
    NoConsent,
    /// By the rules of this build Meta would refuse it (again).
    StillRefused,
}

/// The dispatch as it is appended: the same ids and times. What was rejected for its content is rendered anew.
pub(super) fn prepared(dispatch: Dispatch, replay: Replay) -> Result<Dispatch, Kept> {
    let Frozen { payload, withheld, fact } = match replay.outcome {
        Outcome::Rejected => meta::render_again(&dispatch),
        Outcome::Delivered | Outcome::Expired | Outcome::Cancelled | Outcome::Unknown => {
            Frozen { payload: dispatch.payload.clone(), withheld: dispatch.withheld.clone(), fact: dispatch.fact.clone() }
        }
    };
    match withheld {
        Some(Withheld::NoConsent) => return Err(Kept::NoConsent),
        Some(Withheld::Invalid { .. }) => return Err(Kept::StillRefused),
        None if payload.is_none() => return Err(Kept::StillRefused),
        None => {}
    }
    Ok(Dispatch { version: REPLAY_VERSION, not_before: None, payload, withheld: None, fact, replay: Some(replay), ..dispatch })
}

#[cfg(test)]
mod tests {
    use schemas::{
        delivery::Outcome,
        dispatch::{Dispatch, REPLAY_VERSION, Replay, Withheld},
    };

    use super::{Kept, prepared};

    const DISPATCH: &str = include_str!("../../../schemas/samples/dispatch.json");
    const WITHHELD: &str = include_str!("../../../schemas/samples/dispatch-withheld.json");
    const DECLINED: &str = include_str!("../../../schemas/samples/dispatch-without-consent.json");

    #[test]
    fn a_replay_keeps_ids_and_time_and_renders_only_what_was_rejected() {
        for outcome in [Outcome::Rejected, Outcome::Unknown, Outcome::Expired, Outcome::Cancelled] {
            let told: Dispatch = serde_json::from_str(DISPATCH).expect("a dispatch");
            let replay = Replay { id: told.id, outcome, settled_at: None };
            // A rule of an earlier build that this one does not have.
            let odd = told.payload.as_ref().map(|payload| payload.get().replace("\"SKU-1\"", "\"SKU-1\", \"\""));
            let odd = odd.map(|text| serde_json::value::RawValue::from_string(text).expect("JSON"));
            let again = prepared(Dispatch { payload: odd.clone(), ..told.clone() }, replay).expect("it can be sent");
            assert_eq!((again.id, &again.event_id, &again.dedup_key), (told.id, &told.event_id, &told.dedup_key));
            assert_eq!((again.occurred_at, again.revision, again.version), (told.occurred_at, told.revision, REPLAY_VERSION));
            assert_eq!((again.not_before, again.replay), (None, Some(replay)));
            let is_as_it_was =
                again.payload.as_deref().map(serde_json::value::RawValue::get) == odd.as_deref().map(serde_json::value::RawValue::get);
            assert_eq!(is_as_it_was, outcome != Outcome::Rejected, "{outcome:?}");
        }
    }

    #[test]
    fn what_must_not_be_sent_is_kept() {
        let of = |text: &str| serde_json::from_str::<Dispatch>(text).expect("a dispatch");
        let replay = Replay { id: of(WITHHELD).id, outcome: Outcome::Rejected, settled_at: None };
        assert_eq!(prepared(of(WITHHELD), replay).err(), Some(Kept::StillRefused));
        let declined = of(DECLINED);
        assert_eq!(declined.withheld, Some(Withheld::NoConsent));
        assert_eq!(prepared(declined.clone(), replay).err(), Some(Kept::NoConsent));
        assert_eq!(prepared(declined, Replay { outcome: Outcome::Cancelled, ..replay }).err(), Some(Kept::NoConsent));
    }
}
