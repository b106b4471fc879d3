//! How quickly Meta lets us send: the pause between two requests grows when Meta asks to slow down, and shrinks while it is content.
//!
//! Meta counts requests by app and user, which a token stands for, and by business use case, which a pixel stands for. So a pixel has a
//! pace of its own, and so has each token, whichever pixels use it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use schemas::time::{SECOND_US, Time};

/// The pause that a first word of Meta's makes. While it is content the pause shrinks, and below a quarter of this there is none.
const INTERVAL_MIN_US: i64 = SECOND_US / 10;
/// The longest: slower than that would leave a busy pixel behind for ever.
const INTERVAL_MAX_US: i64 = 30 * SECOND_US;
/// Percent of the limit used from which the pause grows, and below which it shrinks. Meta refuses at 100.
const USED_MUCH: u32 = 90;
const USED_LITTLE: u32 = 75;

/// The pace of a pixel or of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    interval_us: i64,
    next_at: Time,
}

impl Pace {
    /// When the next request may go.
    pub fn next_at(&self) -> Time {
        self.next_at
    }

    /// Whether there is a pause at all.
    pub fn is_slowed(&self) -> bool {
        self.interval_us > 0
    }

    /// A request goes out.
    pub fn took(&mut self, now: Time) {
        if self.is_slowed() {
            self.next_at = self.next_at.max(now).plus_micros(self.interval_us);
        }
    }

    /// Meta refused a request for its rate; nothing is to go before `until`.
    pub fn refused(&mut self, until: Time) {
        self.interval_us = (self.interval_us * 2).clamp(INTERVAL_MIN_US, INTERVAL_MAX_US);
        self.next_at = self.next_at.max(until);
    }

    /// Meta took a request, and says (perhaps) how much of the limit is used, in percent.
    pub fn content(&mut self, used: Option<u32>) {
        self.interval_us = match used {
            Some(USED_MUCH..) => (self.interval_us * 3 / 2).clamp(INTERVAL_MIN_US, INTERVAL_MAX_US),
            Some(USED_LITTLE..) => self.interval_us,
            _ => self.interval_us * 4 / 5,
        };
        if self.interval_us < INTERVAL_MIN_US / 4 {
            self.interval_us = 0;
        }
    }
}

/// A token's digest: what is kept of it here.
pub type TokenId = [u8; 32];

/// The paces of tokens, shared by all partitions of the process. Only those that are slowed are kept, so that it has the directory's
/// pixels as its bound.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<TokenId, Pace>>);

impl Tokens {
    /// When the next request with that token may go.
    pub fn next_at(&self, token: &TokenId) -> Time {
        self.lock().get(token).map_or(Time::default(), Pace::next_at)
    }

    /// A request with it goes out.
    pub fn took(&self, token: &TokenId, now: Time) {
        if let Some(pace) = self.lock().get_mut(token) {
            pace.took(now);
        }
    }

    /// As [`Pace::refused`].
    pub fn refused(&self, token: TokenId, until: Time) {
        self.lock().entry(token).or_default().refused(until);
    }

    /// As [`Pace::content`].
    pub fn content(&self, token: TokenId, used: Option<u32>) {
        let mut paces = self.lock();
        let mut pace = paces.get(&token).copied().unwrap_or_default();
        pace.content(used);
        if pace.is_slowed() {
            paces.insert(token, pace);
        } else {
            paces.remove(&token);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenId, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // each change is one word
    }
}

#[cfg(test)]
mod tests {
    use schemas::time::{SECOND_US, Time};

    use super::{Pace, Tokens};
    use crate::capi::fixture::now;

    #[test]
    fn a_pace_slows_down_when_meta_says_so_and_recovers_while_it_is_content() {
        let mut pace = Pace::default();
        pace.took(now());
        assert_eq!((pace.is_slowed(), pace.next_at()), (false, Time::default()));
        for _ in 0..4 {
            pace.refused(now());
        }
        assert_eq!(pace.interval_us, 8 * SECOND_US / 10, "0.1, 0.2, 0.4, 0.8 s");
        pace.took(now());
        pace.took(now());
        assert_eq!(pace.next_at(), now().plus_micros(16 * SECOND_US / 10));
        pace.content(Some(95));
        pace.content(Some(80));
        assert_eq!(pace.interval_us, 12 * SECOND_US / 10);
        let mut answers = 0;
        while pace.is_slowed() {
            pace.content(None);
            answers += 1;
        }
        assert_eq!(answers, 18, "from 1.2 s down to under 25 ms by a fifth each");
    }

    #[test]
    fn a_pace_has_bounds() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            pace.refused(now());
            pace.content(Some(1_000));
        }
        assert_eq!(pace.interval_us, 30 * SECOND_US);
    }

    #[test]
    fn a_tokens_pace_is_that_of_all_its_pixels_and_forgotten_when_all_is_well() {
        let (tokens, token, later) = (Tokens::default(), [1; 32], now().plus_micros(5));
        tokens.content(token, None);
        assert!(tokens.lock().is_empty());
        tokens.refused(token, later);
        assert_eq!((tokens.next_at(&token), tokens.next_at(&[2; 32])), (later, Time::default()));
        tokens.took(&token, later);
        assert_eq!(tokens.next_at(&token), later.plus_micros(SECOND_US / 10));
        for _ in 0..7 {
            tokens.content(token, Some(10));
        }
        assert!(tokens.lock().is_empty());
    }
}
