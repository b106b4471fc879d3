//! Pure: what is counted of a replay, and how it is said.

use schemas::delivery::Outcome;
use serde::Serialize;

use super::{ask::Asked, prepare::Kept};

/// How many deliveries match, and what is done with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// That ended so in that time.
    pub(super) matched: u64,
    /// Of them: can be sent again.
    pub(super) sendable: u64,
    /// Of them: older than Meta accepts.
    pub(super) too_old: u64,
    /// Of them: without consent.
    pub(super) no_consent: u64,
    /// Of them: would be refused again.
    pub(super) still_refused: u64,
    /// Of them: their dispatches are no longer in the log.
    pub(super) not_in_log: u64,
    /// Handed to the sink so far.
    pub(super) replayed: u64,
}

impl Tally {
    /// Takes in one that is not sent again.
    pub(super) fn keeps(&mut self, kept: Kept) {
        *match kept {
            Kept::NoConsent => &mut self.no_consent,
            Kept::StillRefused => &mut self.still_refused,
        } += 1;
    }

    /// Those of which it is known what is done with them.
    pub(super) fn accounted(&self) -> u64 {
        self.sendable + self.too_old + self.no_consent + self.still_refused
    }
}

/// The counts as a sentence.
pub(super) fn sentence(asked: &Asked, tally: &Tally, done: bool) -> String {
    let Asked { pixel_id, outcome, since, until, dry_run, .. } = asked;
    let (matched, name) = (tally.matched, outcome.name());
    let mut parts = Vec::new();
    match (dry_run, done) {
        (true, _) => parts.push(format!("{} can be sent again", tally.sendable)),
        (false, false) => return format!("{} handed to the sink", tally.replayed),
        (false, true) => parts.push(format!("{} were handed to the sink", tally.replayed)),
    }
    for (count, why) in [
        (tally.too_old, "older than the seven days for which Meta accepts events and not sent"),
        (tally.no_consent, "not sent because consent is missing"),
        (tally.still_refused, "not sent because they would be refused again as they are"),
        (tally.not_in_log, "not sent because their dispatches are no longer in the log"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {} {why}", if count == 1 { "is" } else { "are" }));
        }
    }
    let deliveries = if matched == 1 { "delivery of" } else { "deliveries of" };
    let mut text = format!("{matched} {name} {deliveries} pixel {pixel_id} ended from {since} until {until}: {}.", parts.join(", "));
    if *outcome == Outcome::Unknown && tally.sendable > 0 {
        text.push_str(" Meta may have taken some of them before: copies under one id count once within 48 hours, and twice beyond.");
    }
    text
}

#[cfg(test)]
mod tests {
    use schemas::{delivery::Outcome, id::PixelId, time::Time};

    use super::{Asked, Kept, Tally, sentence};

    #[test]
    fn the_counts_read_as_a_sentence_that_names_what_is_too_old() {
        let (since, until) = (Time::from_millis(1_764_000_000_000), Time::from_millis(1_764_095_559_000));
        let pixel_id = PixelId::parse("42").expect("an id");
        let dry = Asked { pixel_id, outcome: Outcome::Rejected, since, until, dry_run: true, now: until };
        let mut tally = Tally { matched: 33, sendable: 30, too_old: 1, ..Tally::default() };
        tally.keeps(Kept::NoConsent);
        tally.keeps(Kept::StillRefused);
        assert_eq!(tally.accounted(), 33);
        assert_eq!(
            sentence(&dry, &tally, true),
            "33 rejected deliveries of pixel 42 ended from 2025-11-24T16:00:00.000000Z until 2025-11-25T18:32:39.000000Z: 30 can be sent again, \
             1 is older than the seven days for which Meta accepts events and not sent, 1 is not sent because consent is missing, 1 is not \
             sent because they would be refused again as they are."
        );
        let real = Asked { dry_run: false, outcome: Outcome::Unknown, ..dry };
        let tally = Tally { matched: 2, sendable: 2, replayed: 2, ..Tally::default() };
        assert_eq!(sentence(&real, &tally, false), "2 handed to the sink");
        let said = sentence(&real, &tally, true);
        assert!(said.contains(": 2 were handed to the sink. Meta may have taken some of them before"), "{said}");
    }
}
