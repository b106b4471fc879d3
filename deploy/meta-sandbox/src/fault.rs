//! Trouble on demand: a list of faults, and which of them the next request meets. Pure but for its own counters.

use serde::{Deserialize, Serialize};

use crate::budget::Usage;
use crate::dice::Dice;
use crate::latency::HOLD_MAX_MS;
use crate::refusal::{ErrorBody, Refusal};

/// The kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing is processed, no answer comes; after `ms` (default: a minute) the connection is dropped.
    Timeout,
    /// The connection is reset before anything is processed.
    ResetBefore,
    /// The events are processed and counted, then the connection is reset without an answer.
    ResetAfter,
    /// 500 with code 2 and `is_transient` true.
    Http500,
    /// 503 with code 2 and `is_transient` true.
    Http503,
    /// 504 with an empty body, as a gateway sends it that waited in vain.
    Http504,
    /// 500 with HTML, as a proxy in between would send it.
    Html500,
    /// 400 with code 4, or with `code`.
    Throttle,
    /// 400 with code 1.
    Code1,
    /// 401 with code 190, subcode 463.
    TokenExpired,
    /// 401 with code 190, subcode 460.
    TokenRevoked,
    /// 403 with code 200.
    PermissionLost,
    /// 400 with code 100, subcode 33.
    PixelUnknown,
    /// 400 with code 100, or whatever `status`, `code`, `subcode` and `transient` say.
    Error,
    /// Processed at once, answered after `ms` (default 600).
    Slow,
}

/// One fault as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The pixel it is for; null is every pixel.
    #[serde(default)]
    pub pixel: Option<String>,
    /// What goes wrong.
    #[serde(rename = "fault")]
    pub kind: Kind,
    /// How long, where time matters.
    #[serde(default)]
    pub ms: Option<u64>,
    /// How many requests it still lets pass before the first that it hits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How many requests it still hits; null is without end.
    #[serde(default)]
    pub times: Option<u64>,
    /// The chance to be hit, 0 to 1; null is always.
    #[serde(default)]
    pub share: Option<f64>,
    /// Another `code` in the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Another `error_subcode` in the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subcode: Option<i64>,
    /// Another HTTP status for the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Another `is_transient` in the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transient: Option<bool>,
    /// `code` as text in the error, which senders must be ready for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_as_text: Option<bool>,
    /// Percent of the limit used up; adds Meta's usage headers to the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<u32>,
    /// Minutes until access comes back, in the usage header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regain_minutes: Option<u32>,
    /// Adds `Retry-After`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

impl Fault {
    /// What is wrong with the wish, if anything.
    pub fn problem(&self) -> Option<&'static str> {
        let share_fits = self.share.is_none_or(|share| (0.0..=1.0).contains(&share));
        let status_fits = self.status.is_none_or(|status| (400..600).contains(&status));
        match (share_fits, status_fits) {
            (false, _) => Some("share goes from 0 to 1"),
            (_, false) => Some("status goes from 400 to 599"),
            (true, true) => None,
        }
    }

    /// A call over its budget.
    pub fn over_budget(usage: Usage) -> Self {
        let Usage { percent, regain_minutes } = usage;
        Fault { code: Some(80_004), usage: Some(percent), regain_minutes: Some(regain_minutes), ..Fault::of(Kind::Throttle) }
    }

    /// The plain fault of this kind, for every pixel and without end.
    pub fn of(kind: Kind) -> Self {
        Fault {
            pixel: None,
            kind,
            ms: None,
            after: None,
            times: None,
            share: None,
            code: None,
            subcode: None,
            status: None,
            transient: None,
            code_as_text: None,
            usage: None,
            regain_minutes: None,
            retry_after_s: None,
        }
    }

    /// How long the request is held; nothing where the fault leaves that to the law of latency.
    pub fn hold_ms(&self) -> Option<u64> {
        let usual = match self.kind {
            Kind::Timeout => Some(HOLD_MAX_MS),
            Kind::Slow => Some(600),
            Kind::ResetBefore => Some(0),
            Kind::ResetAfter
            | Kind::Http500
            | Kind::Http503
            | Kind::Http504
            | Kind::Html500
            | Kind::Throttle
            | Kind::Code1
            | Kind::TokenExpired
            | Kind::TokenRevoked
            | Kind::PermissionLost
            | Kind::PixelUnknown
            | Kind::Error => None,
        };
        self.ms.or(usual).map(|ms| ms.min(HOLD_MAX_MS))
    }

    /// The error it answers with, if it answers in JSON at all.
    pub fn error(&self, pixel: &str) -> Option<ErrorBody> {
        let usual = match self.kind {
            Kind::Http500 | Kind::Http503 => ErrorBody {
                status: if self.kind == Kind::Http500 { 500 } else { 503 },
                is_transient: Some(true),
                ..ErrorBody::plain(2, "An unexpected error has occurred. Please retry your request later.")
            },
            Kind::Throttle => ErrorBody::plain(4, "Request limit reached"),
            Kind::Code1 => ErrorBody::plain(1, "An unknown error occurred"),
            Kind::TokenExpired => Refusal::TokenExpired.body(),
            Kind::TokenRevoked => Refusal::TokenRevoked.body(),
            Kind::PermissionLost => Refusal::PermissionMissing.body(),
            Kind::PixelUnknown => Refusal::PixelUnknown(pixel.to_owned()).body(),
            Kind::Error => ErrorBody::plain(100, "Invalid parameter"),
            Kind::Timeout | Kind::ResetBefore | Kind::ResetAfter | Kind::Http504 | Kind::Html500 | Kind::Slow => return None,
        };
        Some(ErrorBody {
            status: self.status.unwrap_or(usual.status),
            code: self.code.unwrap_or(usual.code),
            code_as_text: self.code_as_text.unwrap_or(false),
            error_subcode: self.subcode.or(usual.error_subcode),
            is_transient: self.transient.or(usual.is_transient),
            ..usual
        })
    }

    /// Headers it adds to whatever is answered.
    pub fn headers(&self, pixel: &str) -> Vec<(&'static str, String)> {
        let usage = self.usage.map(|percent| Usage { percent, regain_minutes: self.regain_minutes.unwrap_or(0) });
        let usage = usage.into_iter().flat_map(|usage| usage.headers(pixel));
        usage.chain(self.retry_after_s.map(|seconds| ("retry-after", seconds.to_string()))).collect()
    }

    /// Whether the next request to this pixel meets it; if so, one of its `times` is spent.
    fn hits(&mut self, pixel: &str, dice: &mut Dice) -> bool {
        if self.pixel.as_deref().is_some_and(|only| only != pixel) || self.times == Some(0) {
            return false;
        }
        if let Some(after @ 1..) = &mut self.after {
            *after -= 1;
            return false;
        }
        let hit = self.share.is_none_or(|share| dice.roll() < share);
        if hit {
            self.times = self.times.map(|times| times - 1);
        }
        hit
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct Faults {
    list: Vec<Fault>,
    dice: Dice,
}

impl Faults {
    /// Puts a new list in place of the old; the dice start anew, so the same requests meet the same faults.
    pub fn replace(&mut self, list: Vec<Fault>) {
        *self = Faults { list, dice: Dice::default() };
    }

    /// The list, with what is left of each.
    pub fn list(&self) -> &[Fault] {
        &self.list
    }

    /// Starts the dice anew.
    pub fn restart(&mut self) {
        self.dice = Dice::default();
    }

    /// The fault the next request to this pixel meets: the first that is for it, not spent, and lucky; those of the list go before
    /// those of the script.
    pub fn draw<'f>(&'f mut self, pixel: &str, scripted: impl Iterator<Item = &'f mut Fault>) -> Option<Fault> {
        let dice = &mut self.dice;
        self.list.iter_mut().chain(scripted).find_map(|fault| fault.hits(pixel, dice).then(|| fault.clone()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Fault, Faults, Kind};

    fn faults(list: serde_json::Value) -> Faults {
        let mut faults = Faults::default();
        faults.replace(serde_json::from_value(list).expect("a list of faults"));
        faults
    }

    #[test]
    fn the_first_that_applies_hits_until_it_is_spent() {
        let mut faults = faults(json!([
            {"pixel": "2", "fault": "html500"},
            {"pixel": null, "fault": "slow", "times": 2, "share": 1.0},
            {"fault": "code1", "times": 1},
        ]));
        let mut next = |pixel| faults.draw(pixel, std::iter::empty()).map(|fault| fault.kind);
        assert_eq!(next("2"), Some(Kind::Html500));
        assert_eq!(next("1"), Some(Kind::Slow));
        assert_eq!(next("1"), Some(Kind::Slow));
        assert_eq!(next("1"), Some(Kind::Code1));
        assert_eq!(next("1"), None);
        assert_eq!(next("2"), Some(Kind::Html500));
    }

    #[test]
    fn a_fault_in_mid_run_lets_the_first_pass() {
        let mut faults = faults(json!([{"pixel": "1", "fault": "token_expired", "after": 2, "times": 1}]));
        let mut met = |pixel| faults.draw(pixel, std::iter::empty()).is_some();
        assert_eq!(["1", "2", "1", "2", "1", "1"].map(&mut met), [false, false, false, false, true, false]);
    }

    #[test]
    fn a_share_hits_about_so_many_and_the_same_each_time() {
        let run = || {
            let mut faults = faults(json!([{"fault": "code1", "share": 0.3}]));
            (0..1_000).map(|_| faults.draw("1", std::iter::empty()).is_some()).collect::<Vec<_>>()
        };
        let hits = run().iter().filter(|hit| **hit).count();
        assert!((250..350).contains(&hits), "{hits} of 1,000");
        assert_eq!(run(), run());
    }

    #[test]
    fn errors_carry_metas_codes_or_the_ones_asked_for() {
        for (wish, status, code, subcode, transient) in [
            (json!({"fault": "http500"}), 500, 2, None, true),
            (json!({"fault": "throttle"}), 400, 4, None, false),
            (json!({"fault": "throttle", "code": 80004, "subcode": 2_446_079}), 400, 80004, Some(2_446_079), false),
            (json!({"fault": "throttle", "status": 429}), 429, 4, None, false),
            (json!({"fault": "code1"}), 400, 1, None, false),
            (json!({"fault": "http503"}), 503, 2, None, true),
            (json!({"fault": "token_expired"}), 401, 190, Some(463), false),
            (json!({"fault": "token_revoked", "status": 400}), 400, 190, Some(460), false),
            (json!({"fault": "permission_lost"}), 403, 200, None, false),
            (json!({"fault": "pixel_unknown"}), 400, 100, Some(33), false),
            (json!({"fault": "error"}), 400, 100, None, false),
            (json!({"fault": "error", "code": -3, "subcode": 99, "transient": true}), 400, -3, Some(99), true),
        ] {
            let fault: Fault = serde_json::from_value(wish.clone()).expect("a fault");
            let error = fault.error("42").expect("an error");
            assert_eq!(
                (error.status, error.code, error.error_subcode, error.is_transient),
                (status, code, subcode, Some(transient)),
                "{wish}"
            );
        }
    }

    #[test]
    fn usage_headers_are_metas() {
        let fault: Fault =
            serde_json::from_value(json!({"fault": "throttle", "usage": 100, "regain_minutes": 3, "retry_after_s": 7})).expect("a fault");
        let headers = fault.headers("42");
        assert_eq!(headers[0], ("x-app-usage", r#"{"call_count":100,"total_cputime":100,"total_time":100}"#.to_owned()));
        assert!(headers[1].1.contains(r#""estimated_time_to_regain_access":3"#), "{}", headers[1].1);
        assert_eq!(headers[2], ("retry-after", "7".to_owned()));
    }
}
