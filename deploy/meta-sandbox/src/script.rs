//! What goes wrong when: a text of stretches, counted from when it was put, on the box's own clock.

mod parse;

use serde::Serialize;

use crate::fault::Fault;
use crate::latency::Law;
use crate::pixel::TokenState;

/// A script in force. The parsed lines and where they begin.
#[derive(Debug)]
pub struct Script {
    put_at_ms: u64,
    lines: Vec<Line>,
}

/// One stretch.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    number: usize,
    text: String,
    from_ms: u64,
    /// Without end where there is none.
    to_ms: Option<u64>,
    /// Every pixel where there is none.
    pixel: Option<String>,
    what: What,
}

/// What holds for the length of a stretch.
#[derive(Debug, Clone, PartialEq)]
enum What {
    /// Requests meet this.
    Fault(Fault),
    /// The pixel's token is in this state.
    Token(TokenState),
    /// Answers take as long as this law says.
    Latency(Law),
    /// So many calls a minute are allowed.
    Budget(u32),
}

/// A line as `GET /sandbox/script` shows it.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    line: usize,
    text: &'a str,
    state: &'static str,
}

impl Script {
    /// Reads a script that begins now. Of a script with a bad line nothing is taken, and every bad line is named.
    pub fn read(text: &str, now_ms: u64) -> Result<Self, String> {
        Ok(Script { put_at_ms: now_ms, lines: parse::lines(text)? })
    }

    /// When it was put.
    pub fn put_at_ms(&self) -> u64 {
        self.put_at_ms
    }

    /// Its lines, and whether each lies ahead, is on, or is over.
    pub fn shown(&self, now_ms: u64) -> Vec<Shown<'_>> {
        let at_ms = self.at(now_ms);
        let state = |line: &Line| {
            if line.is_on(at_ms) {
                "on"
            } else if at_ms < line.from_ms {
                "ahead"
            } else {
                "over"
            }
        };
        self.lines.iter().map(|line| Shown { line: line.number, text: &line.text, state: state(line) }).collect()
    }

    /// The faults that are on, in the order of their lines.
    pub fn faults(&mut self, now_ms: u64) -> impl Iterator<Item = &mut Fault> {
        let at_ms = self.at(now_ms);
        let on = self.lines.iter_mut().filter(move |line| line.is_on(at_ms));
        on.filter_map(|line| if let What::Fault(fault) = &mut line.what { Some(fault) } else { None })
    }

    /// The state of a pixel's token. A token that was put after a line began is another token: that line is not about it.
    pub fn token(&self, pixel: &str, token_since_ms: u64, now_ms: u64) -> Option<TokenState> {
        let met = |line: &Line| self.put_at_ms + line.from_ms >= token_since_ms;
        self.latest(pixel, now_ms, |line| if let What::Token(state) = line.what { met(line).then_some(state) } else { None })
    }

    /// How long the pixel's answers take.
    pub fn latency(&self, pixel: &str, now_ms: u64) -> Option<Law> {
        self.latest(pixel, now_ms, |line| if let What::Latency(law) = line.what { Some(law) } else { None })
    }

    /// How many calls a minute the pixel may make.
    pub fn budget(&self, pixel: &str, now_ms: u64) -> Option<u32> {
        self.latest(pixel, now_ms, |line| if let What::Budget(calls) = line.what { Some(calls) } else { None })
    }

    /// Of several lines that are on, the one that began last holds; of those that began at once, the last.
    fn latest<T>(&self, pixel: &str, now_ms: u64, pick: impl Fn(&Line) -> Option<T>) -> Option<T> {
        let at_ms = self.at(now_ms);
        let on = self.lines.iter().filter(|line| line.is_on(at_ms) && line.pixel.as_deref().is_none_or(|only| only == pixel));
        on.filter_map(|line| Some((line.from_ms, pick(line)?))).max_by_key(|(from_ms, _)| *from_ms).map(|(_, picked)| picked)
    }

    fn at(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.put_at_ms)
    }
}

impl Line {
    fn is_on(&self, at_ms: u64) -> bool {
        self.from_ms <= at_ms && self.to_ms.is_none_or(|to_ms| at_ms < to_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::Script;
    use crate::fault::Kind;
    use crate::latency::Law;
    use crate::pixel::TokenState;

    const PUT_AT_MS: u64 = 1_000_000;
    const MINUTE_MS: u64 = 60_000;

    fn script(text: &str) -> Script {
        Script::read(text, PUT_AT_MS).expect("a good script")
    }

    #[test]
    fn lines_hold_from_their_beginning_until_just_before_their_end() {
        let mut script = script("1m..2m pixel 42 http500\nfrom 2m all html500 times 1");
        let mut kinds = |at_ms| script.faults(PUT_AT_MS + at_ms).map(|fault| (fault.pixel.clone(), fault.kind)).collect::<Vec<_>>();
        let of_pixel = vec![(Some("42".to_owned()), Kind::Http500)];
        assert_eq!(kinds(MINUTE_MS - 1), []);
        assert_eq!(kinds(MINUTE_MS), of_pixel);
        assert_eq!(kinds(2 * MINUTE_MS - 1), of_pixel);
        assert_eq!(kinds(2 * MINUTE_MS), [(None, Kind::Html500)]);
        assert_eq!(kinds(u64::MAX / 2), [(None, Kind::Html500)], "without end");
        let states: Vec<_> = script.shown(PUT_AT_MS + 2 * MINUTE_MS).iter().map(|shown| (shown.line, shown.state)).collect();
        assert_eq!(states, [(1, "over"), (2, "on")]);
        assert_eq!(script.shown(PUT_AT_MS)[0].state, "ahead");
    }

    #[test]
    fn of_settings_that_overlap_the_one_that_began_last_holds() {
        let script = script(
            "from 0s all latency constant 10ms\n1m..2m pixel 42 latency constant 20ms\nfrom 0s pixel 43 budget 5\nfrom 0s all budget 6",
        );
        let latency = |pixel, at_ms| script.latency(pixel, PUT_AT_MS + at_ms);
        let constant = |ms| Some(Law::Constant { ms });
        assert_eq!([0, MINUTE_MS, 2 * MINUTE_MS].map(|at_ms| latency("42", at_ms)), [constant(10), constant(20), constant(10)]);
        assert_eq!(latency("43", MINUTE_MS), constant(10));
        assert_eq!(script.budget("43", PUT_AT_MS), Some(6), "of two that began at once the last");
    }

    #[test]
    fn a_token_that_was_put_later_is_not_the_one_that_was_revoked() {
        let script = script("1m..5d pixel 42 token revoked\nfrom 5d pixel 42 token valid");
        let token = |since_ms, at_ms| script.token("42", PUT_AT_MS + since_ms, PUT_AT_MS + at_ms);
        assert_eq!(token(0, 0), None);
        assert_eq!(token(0, MINUTE_MS), Some(TokenState::Revoked));
        assert_eq!(token(2 * MINUTE_MS, 3 * MINUTE_MS), None, "a new token");
        assert_eq!(token(0, 5 * 24 * 60 * MINUTE_MS), Some(TokenState::Valid));
        assert_eq!(script.token("43", 0, PUT_AT_MS + MINUTE_MS), None, "a neighbour");
    }
}
