//! Pure: the state of a pixel, and how it is said.

use schemas::{delivery::Delivery, id::PixelId, time::Time};
use serde::Serialize;

use crate::totals::WaitingMoney;

/// How Meta takes a pixel's events, as far as the ledger tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PixelState {
    /// Nothing is known to be wrong.
    Ok,
    /// Meta does not accept the access token.
    TokenRefused,
    /// Meta does not know the pixel, or the token has no permission for it, or it is not in the directory.
    NotConfigured,
    /// Meta asks to slow down.
    SlowedDown,
    /// Meta cannot be reached, or answers that it should be tried again.
    NotReached,
    /// The ledger cannot be read now.
    NotKnown,
}

impl PixelState {
    /// From the delivery that is tried first among those that wait.
    pub(super) fn of(first: Option<&Delivery>) -> Self {
        match first.and_then(|first| first.reason.as_ref()).map(|reason| &*reason.code) {
            Some("token") => Self::TokenRefused,
            Some("config") => Self::NotConfigured,
            Some("rate") => Self::SlowedDown,
            Some("retry" | "ambiguous" | "unfamiliar") => Self::NotReached,
            Some(_) | None => Self::Ok,
        }
    }
}

/// The state and what waits, as one sentence.
pub(super) fn sentence(pixel: &PixelId, state: PixelState, waiting: u64, money: &[WaitingMoney], first_loss: Option<Time>) -> String {
    let state = match state {
        PixelState::Ok if waiting == 0 => return format!("Pixel {pixel} is well, and nothing waits."),
        PixelState::Ok => "is well",
        PixelState::TokenRefused => "stands still because Meta does not accept its access token: add the pixel again with a new one",
        PixelState::NotConfigured => "stands still because Meta does not know it, or its token has no permission for it",
        PixelState::SlowedDown => "goes slowly because Meta asks for it",
        PixelState::NotReached => "stands still because Meta cannot be reached or answers that it should be tried again",
        PixelState::NotKnown => "cannot be looked at",
    };
    let events = if waiting == 1 { "1 event waits".to_owned() } else { format!("{waiting} events wait") };
    let events = std::iter::once(events).chain(money.iter().map(ToString::to_string)).collect::<Vec<_>>().join(", ");
    let loss = first_loss.map(|hour| format!("; Meta stops accepting the first of them in the hour that begins at {hour}"));
    format!("Pixel {pixel} {state}; {events}{}.", loss.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use schemas::{id::PixelId, time::Time};

    use super::{PixelState, sentence};

    #[test]
    fn a_state_reads_as_a_sentence() {
        let pixel = PixelId::parse("42").expect("an id");
        let said = |state, waiting, hour| sentence(&pixel, state, waiting, &[], hour);
        assert_eq!(said(PixelState::Ok, 0, None), "Pixel 42 is well, and nothing waits.");
        assert_eq!(
            said(PixelState::TokenRefused, 1, Some(Time::from_millis(1_764_000_000_000))),
            "Pixel 42 stands still because Meta does not accept its access token: add the pixel again with a new one; 1 event waits; Meta stops \
             accepting the first of them in the hour that begins at 2025-11-24T16:00:00.000000Z."
        );
    }
}
