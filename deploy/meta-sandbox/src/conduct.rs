//! How the box behaves towards the next request: faults, script, latency and budgets decided together. No clock: time is handed in.

use crate::budget::{Budgets, Called, Usage};
use crate::fault::{Fault, Faults};
use crate::latency::Latencies;
use crate::pixel::TokenState;
use crate::script::Script;

/// Everything by which the box can be made to misbehave.
#[derive(Debug, Default)]
pub struct Conduct {
    /// `PUT /sandbox/faults`
    pub faults: Faults,
    /// `PUT /sandbox/latency`
    pub latencies: Latencies,
    /// `PUT /sandbox/budgets`
    pub budgets: Budgets,
    script: Option<Script>,
}

/// What one request meets.
#[derive(Debug, Default)]
pub struct Meeting {
    /// What goes wrong, if anything.
    pub fault: Option<Fault>,
    /// How long the answer is held.
    pub hold_ms: u64,
    /// Headers the answer gets.
    pub headers: Vec<(&'static str, String)>,
}

impl Conduct {
    /// Puts a script in force, or takes it away. What was used up or rolled before is forgotten, so that the same script meets the
    /// same requests in the same way.
    pub fn play(&mut self, script: Option<Script>) {
        self.script = script;
        self.faults.restart();
        self.latencies.restart();
    }

    /// The script in force.
    pub fn script(&self) -> Option<&Script> {
        self.script.as_ref()
    }

    /// What the script says of a pixel's token.
    pub fn token(&self, pixel: &str, token_since_ms: u64, now_ms: u64) -> Option<TokenState> {
        self.script.as_ref()?.token(pixel, token_since_ms, now_ms)
    }

    /// Decides what the next request meets. Only pixels the box knows have budgets and dice of their own: whoever makes up ids
    /// fills no memory.
    pub fn meet(&mut self, pixel: &str, known: bool, now_ms: u64) -> Meeting {
        let own = if known { pixel } else { "" };
        let budget = self.script.as_ref().and_then(|script| script.budget(own, now_ms));
        let called = if known { self.budgets.call(pixel, budget, now_ms) } else { None };
        let fault = match called {
            Some(Called::Over(usage)) => Some(Fault::over_budget(usage)),
            Some(Called::Within(_)) | None => {
                let scripted = self.script.iter_mut().flat_map(|script| script.faults(now_ms));
                self.faults.draw(pixel, scripted)
            }
        };
        let law = self.script.as_ref().and_then(|script| script.latency(pixel, now_ms));
        let latency_ms = self.latencies.draw_ms(own, law);
        let hold_ms = fault.as_ref().and_then(Fault::hold_ms).unwrap_or(latency_ms);
        Meeting { hold_ms, headers: headers(pixel, fault.as_ref(), called), fault }
    }
}

/// The fault's own headers, and the budget's where the fault says nothing of usage.
fn headers(pixel: &str, fault: Option<&Fault>, called: Option<Called>) -> Vec<(&'static str, String)> {
    let mut headers = fault.map(|fault| fault.headers(pixel)).unwrap_or_default();
    if let (Some(Called::Within(usage)), None) = (called, fault.and_then(|fault| fault.usage)) {
        headers.extend(Usage::headers(usage, pixel));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::Conduct;
    use crate::budget::Budget;
    use crate::fault::{Fault, Kind};
    use crate::script::Script;

    fn conduct(script: &str) -> Conduct {
        let mut conduct = Conduct::default();
        conduct.play(Some(Script::read(script, 0).expect("a good script")));
        conduct
    }

    #[test]
    fn a_call_over_its_budget_spends_no_fault() {
        let mut conduct = conduct("from 0s pixel 42 budget 1\nfrom 0s all slow ms 5 times 2");
        let mut met = |now_ms| {
            let meeting = conduct.meet("42", true, now_ms);
            (meeting.fault.map(|fault| (fault.kind, fault.code)), meeting.hold_ms, meeting.headers.len())
        };
        assert_eq!(met(0), (Some((Kind::Slow, None)), 5, 2), "within: the fault, and the budget's headers");
        assert_eq!(met(1), (Some((Kind::Throttle, Some(80_004))), 0, 2));
        assert_eq!(met(60_000), (Some((Kind::Slow, None)), 5, 2));
        assert_eq!(met(120_000), (None, 0, 2));
    }

    #[test]
    fn a_fault_that_does_not_hold_is_held_by_the_law_and_one_that_does_is_not() {
        let mut conduct = conduct("from 0s all latency constant 70ms\n0s..1s all http503\n1s..2s all slow ms 9\n2s..3s all reset_before");
        assert_eq!([0, 1_000, 2_000, 3_000].map(|now_ms| conduct.meet("42", true, now_ms).hold_ms), [70, 9, 0, 70]);
    }

    #[test]
    fn faults_of_the_list_go_before_those_of_the_script() {
        let mut conduct = conduct("from 0s all code1");
        conduct.faults.replace(vec![Fault { times: Some(1), ..Fault::of(Kind::Html500) }]);
        let mut kind = || conduct.meet("42", true, 0).fault.map(|fault| fault.kind);
        assert_eq!([kind(), kind()], [Some(Kind::Html500), Some(Kind::Code1)]);
    }

    #[test]
    fn a_pixel_that_nobody_put_has_no_budget() {
        let mut conduct = conduct("from 0s all budget 0");
        conduct.budgets.replace(vec![Budget { pixel: None, calls_per_minute: 0 }]);
        assert!(conduct.meet("99", false, 0).fault.is_none());
        assert!(conduct.meet("42", true, 0).fault.is_some());
    }
}
