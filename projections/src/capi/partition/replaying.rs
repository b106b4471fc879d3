//! A told delivery is opened again, because an operator replays it. From then on it is one that waits, like any other.
//!
//! It goes by way of `waiting` and never straight into a request: what opens it is durable before anything is sent, so an attempt that a
//! crash leaves open is told on the reopened delivery and never lost behind the old outcome. In a cluster the row may be there without its
//! step; then whoever meets it first, record or row, opens it once more, and counts it.

use schemas::{
    delivery::Delivery,
    dispatch::{Dispatch, Replay},
};
use storage::{Deliveries, Known, KnownWaiting};

use super::Partition;
use crate::capi::{
    Error,
    item::{Item, reopened},
    schedule,
};

/// What a replay does to what is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Nothing: it was done before, or it is not about what stands there now.
    Nothing,
    /// Nobody was told of the outcome yet: first that.
    TellFirst,
    /// The delivery waits again.
    Reopen,
}

/// Decides it. A replay is about one outcome of a delivery, told apart by when it was written. `is_counted`: the delivery waits, in a row
/// that the totals count.
fn does(replay: Replay, known: Option<&Known>, is_counted: bool) -> Does {
    let Some(Known { delivery, is_told }) = known else { return Does::Nothing };
    let is_done = delivery.replayed.is_some_and(|last| last.id == replay.id);
    match delivery.outcome {
        Some(outcome) if !is_done && (outcome, delivery.settled_at) == (replay.outcome, replay.settled_at) => {
            if *is_told {
                Does::Reopen
            } else {
                Does::TellFirst
            }
        }
        None if is_done && !is_told && !is_counted => Does::Reopen, // a step that is not true left the row behind
        Some(_) | None => Does::Nothing,
    }
}

impl Partition {
    /// A record that replays a delivery.
    pub(super) async fn place_replay(&mut self, offset: u64, dispatch: Dispatch, replay: Replay) -> Result<(), Error> {
        if self.is_writing() {
            self.put_off(offset, dispatch); // the outcome, or another replay, may stand in a step that is not true yet
            return Ok(());
        }
        self.resolve_replay(offset, dispatch, replay).await
    }

    /// The ledger knows everything about the delivery.
    pub(super) async fn resolve_replay(&mut self, offset: u64, dispatch: Dispatch, replay: Replay) -> Result<(), Error> {
        let (pixel, key) = (dispatch.pixel_id.clone(), dispatch.dedup_key.clone());
        if self.lanes.entry(pixel.clone()).or_default().is_known(&key) {
            self.books.done(offset); // what is in memory has no outcome
            return Ok(());
        }
        let known = self.deliveries.delivery(&pixel, &key).await?;
        let row = match &known {
            Some(known) if known.delivery.outcome.is_none() => row_of(&self.deliveries, &known.delivery).await?,
            _ => None,
        };
        match (does(replay, known.as_ref(), row.is_some_and(|row| row.is_counted)), known) {
            (Does::Nothing, _) | (_, None) => self.books.done(offset),
            (Does::TellFirst, Some(known)) => {
                self.tell_left(known).await?;
                self.put_off(offset, dispatch);
            }
            (Does::Reopen, Some(Known { delivery, .. })) => {
                let now = self.now();
                self.lanes.entry(pixel).or_default().busy.insert(key);
                let mut item = Item::fresh(offset, dispatch, now, &self.room.pending);
                item.delivery = Some(Box::new(reopened(delivery, &item.dispatch, replay)));
                self.books.reopen(item, now);
            }
        }
        Ok(())
    }

    /// An outcome that a former owner wrote and did not live to tell, as a look into `waiting` would find it.
    pub(super) async fn tell_left(&mut self, known: Known) -> Result<(), Error> {
        let row = row_of(&self.deliveries, &known.delivery).await?;
        let now = self.now();
        self.lanes.entry(known.delivery.pixel_id.clone()).or_default().busy.insert(known.delivery.dedup_key.clone());
        self.books.tell(known.delivery, row.as_ref(), now);
        Ok(())
    }
}

/// The row in `waiting` of a delivery, if it has one.
pub(super) async fn row_of(deliveries: &Deliveries, delivery: &Delivery) -> Result<Option<KnownWaiting>, Error> {
    Ok(deliveries.waiting(&delivery.pixel_id, schedule::deadline_hour(delivery.occurred_at), &delivery.dedup_key).await?)
}

#[cfg(test)]
mod tests {
    use schemas::{
        delivery::{Delivery, Outcome},
        dispatch::Replay,
    };
    use storage::Known;
    use uuid::Uuid;

    use super::{Does, does};
    use crate::capi::{
        fixture::{dispatch, now},
        item::{opened, reopened},
    };

    #[test]
    fn a_replay_takes_back_the_outcome_it_names_and_only_once() {
        let replay = Replay { id: Uuid::from_u128(7), outcome: Outcome::Rejected, settled_at: Some(now()) };
        let other = Replay { id: Uuid::from_u128(8), ..replay };
        let told = |outcome| Delivery { outcome: Some(outcome), settled_at: Some(now()), ..opened(&dispatch("a", 0)) };
        let rejected = told(Outcome::Rejected);
        let by = |replay| reopened(rejected.clone(), &dispatch("a", 0), replay);
        let later = Delivery { settled_at: Some(now().plus_micros(1)), replayed: Some(other), ..rejected.clone() };
        for (what, delivery, is_told, is_counted, expected) in [
            ("as the command saw it", rejected.clone(), true, false, Does::Reopen),
            ("not told yet", rejected.clone(), false, false, Does::TellFirst),
            ("another outcome", told(Outcome::Delivered), true, false, Does::Nothing),
            ("rejected once more since", later, true, false, Does::Nothing),
            ("reopened by it", by(replay), true, true, Does::Nothing),
            ("reopened by it in a step that is not true", by(replay), false, false, Does::Reopen),
            ("reopened by another", by(other), true, false, Does::Nothing),
            ("reopened by another in a step that is not true", by(other), false, false, Does::Nothing),
            ("reopened by it, and tried since in a step that is not true", by(replay), false, true, Does::Nothing),
            ("ended again at the same moment", Delivery { replayed: Some(replay), ..rejected.clone() }, true, false, Does::Nothing),
        ] {
            let known = Known { delivery, is_told };
            assert_eq!(does(replay, Some(&known), is_counted), expected, "{what}");
        }
        assert_eq!(does(replay, None, false), Does::Nothing);
    }

    #[test]
    fn a_delivery_that_is_opened_again_keeps_its_attempts_and_forgets_its_outcome() {
        let replay = Replay { id: Uuid::from_u128(7), outcome: Outcome::Unknown, settled_at: None };
        let told = Delivery {
            outcome: Some(Outcome::Unknown),
            settled_at: Some(now()),
            attempts: 5,
            ambiguous_attempts: 2,
            first_ambiguous_at: Some(now()),
            noted_revision: Some(2),
            ..opened(&dispatch("a", 0))
        };
        let again = reopened(told, &schemas::dispatch::Dispatch { revision: 2, ..dispatch("a", 0) }, replay);
        assert_eq!((again.outcome, again.settled_at, again.first_ambiguous_at, again.reason), (None, None, None, None));
        assert_eq!((again.attempts, again.ambiguous_attempts, again.revision, again.noted_revision), (5, 2, 2, None));
        assert_eq!(again.replayed, Some(replay));
    }
}
