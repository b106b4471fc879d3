//! A told delivery is opened again, because an operator replays it. From then on it is one that waits, like any other.
//!
//! It goes by way of `waiting` and never straight into a request: what opens it is durable before anything is sent, so an attempt that a
//! crash leaves open is told on the reopened delivery and never lost behind the old outcome. In a cluster the row may be there without its
//! step; then whoever meets it first, record or row, opens it once more, and counts it.

use schemas::{
    dispatch::{Dispatch, Replay},
    id::PixelId,
};
use storage::Known;

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

/// Decides it. A replay is about one outcome of a delivery, told apart by when it was written.
fn does(replay: Replay, known: Option<&Known>) -> Does {
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
        None if is_done && !is_told => Does::Reopen, // a step that is not true left the row behind
        Some(_) | None => Does::Nothing,
    }
}

/// Whether this is a delivery that was opened again by a step that is not true.
pub(super) fn is_left_behind(known: &Known) -> bool {
    known.delivery.outcome.is_none() && known.delivery.replayed.is_some() && !known.is_told
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
        match (does(replay, known.as_ref()), known) {
            (Does::Nothing, _) | (_, None) => self.books.done(offset),
            (Does::TellFirst, Some(known)) => {
                self.tell_first(&pixel, &key, known).await?;
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
    async fn tell_first(&mut self, pixel: &PixelId, key: &str, known: Known) -> Result<(), Error> {
        let hour = schedule::deadline_hour(known.delivery.occurred_at);
        let row = self.deliveries.waiting(pixel, hour, key).await?;
        let now = self.now();
        self.lanes.entry(pixel.clone()).or_default().busy.insert(key.to_owned());
        self.books.tell(known.delivery, row.is_some(), now);
        match row {
            Some(row) => self.books.drop_row(&row, true),
            None => self.books.release(pixel.clone(), key.to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use schemas::{
        delivery::{Delivery, Outcome},
        dispatch::Replay,
    };
    use storage::Known;
    use uuid::Uuid;

    use super::{Does, does, is_left_behind};
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
        for (what, delivery, is_told, expected) in [
            ("as the command saw it", rejected.clone(), true, Does::Reopen),
            ("not told yet", rejected.clone(), false, Does::TellFirst),
            ("another outcome", told(Outcome::Delivered), true, Does::Nothing),
            ("rejected once more since", later, true, Does::Nothing),
            ("reopened by it", by(replay), true, Does::Nothing),
            ("reopened by it in a step that is not true", by(replay), false, Does::Reopen),
            ("reopened by another", by(other), true, Does::Nothing),
            ("reopened by another in a step that is not true", by(other), false, Does::Nothing),
            ("ended again at the same moment", Delivery { replayed: Some(replay), ..rejected.clone() }, true, Does::Nothing),
        ] {
            let known = Known { delivery, is_told };
            assert_eq!(does(replay, Some(&known)), expected, "{what}");
            assert_eq!(is_left_behind(&known), known.delivery.outcome.is_none() && !is_told, "{what}");
        }
        assert_eq!(does(replay, None), Does::Nothing);
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
