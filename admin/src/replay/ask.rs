//! What is asked to be replayed, checked field by field.

use schemas::{delivery::Outcome, id::PixelId, time::Time};
use serde::Serialize;

use crate::{Desk, refuse::Refused, wish::Wish};

/// What is to be replayed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Asked {
    pub(super) pixel_id: PixelId,
    /// Deliveries that ended so.
    pub(super) outcome: Outcome,
    /// They were told then or later.
    pub(super) since: Time,
    /// They were told before that; never later than when it was asked, so that what is replayed is not met again.
    pub(super) until: Time,
    pub(super) dry_run: bool,
    /// When it was asked.
    #[serde(skip)]
    pub(super) now: Time,
}

pub(super) fn checked(mut wish: Wish, desk: &Desk) -> Result<Asked, Refused> {
    let pixel_id = wish.text("pixel_id")?;
    let pixel_id = PixelId::parse(&pixel_id).map_err(|error| Refused::invalid("pixel_id", error))?;
    let outcome = outcome(&wish.text("outcome")?)?;
    let now = desk.parts.world.now();
    let since = moment("since", &wish.text("since")?)?;
    let until = wish.text_if_any("until")?.map(|text| moment("until", &text)).transpose()?;
    let dry_run = wish.flag_if_any("dry_run")?.unwrap_or(false);
    wish.done()?;
    if until.is_some_and(|until| until <= since) {
        return Err(Refused::invalid("until", "must lie after since"));
    }
    if since > now {
        return Err(Refused::invalid("since", "lies in the future"));
    }
    if desk.parts.directory.load().pixel(pixel_id.as_str()).is_none() {
        return Err(Refused::no_pixel("pixel_id", pixel_id.as_str()));
    }
    Ok(Asked { pixel_id, outcome, since, until: until.unwrap_or(now).min(now), dry_run, now })
}

fn outcome(text: &str) -> Result<Outcome, Refused> {
    match Outcome::ALL.into_iter().find(|outcome| outcome.name() == text) {
        Some(Outcome::Delivered) => Err(Refused::invalid(
            "outcome",
            "what was delivered is never sent again: Meta has it. Choose rejected, unknown, expired or cancelled",
        )),
        Some(outcome @ (Outcome::Rejected | Outcome::Expired | Outcome::Cancelled | Outcome::Unknown)) => Ok(outcome),
        None => Err(Refused::invalid("outcome", "must be rejected, unknown, expired or cancelled")),
    }
}

/// A moment, or the midnight (UTC) with which a day begins.
fn moment(field: &'static str, text: &str) -> Result<Time, Refused> {
    let moment = text.parse::<Time>().or_else(|_| format!("{text}T00:00:00Z").parse());
    moment.map_err(|_| Refused::invalid(field, "must be a time like 2026-11-25T18:00:00Z, or a day like 2026-11-25"))
}
