//! Trouble on demand: a list of faults, and which of them the next request meets. Pure but for its own counters.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::refusal::ErrorBody;

/// No request is held longer than this.
const HOLD_MAX_MS: u64 = 60_000;

/// The kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing is processed, no answer comes; after `ms` (default: a minute) the connection is dropped.
    Timeout,
    /// The events are processed and counted, then the connection is reset without an answer.
    ResetAfter,
    /// 500 with code 2 and `is_transient` true.
    Http500,
    /// 500 with HTML, as a proxy in between would send it.
    Html500,
    /// 400 with code 4, or with `code`.
    Throttle,
    /// 400 with code 1.
    Code1,
    /// 401 with code 190, subcode 463.
    TokenExpired,
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

    /// How long the request is held.
    pub fn hold_ms(&self) -> u64 {
        let usual = match self.kind {
            Kind::Timeout => HOLD_MAX_MS,
            Kind::Slow => 600,
            Kind::ResetAfter | Kind::Http500 | Kind::Html500 | Kind::Throttle | Kind::Code1 | Kind::TokenExpired => 0,
        };
        self.ms.unwrap_or(usual).min(HOLD_MAX_MS)
    }

    /// The error it answers with, if it answers in JSON at all.
    pub fn error(&self) -> Option<ErrorBody> {
        let (status, code, subcode, transient, message) = match self.kind {
            Kind::Http500 => (500, 2, None, true, "An unexpected error has occurred. Please retry your request later."),
            Kind::Throttle => (400, self.code.unwrap_or(4), None, false, "Request limit reached"),
            Kind::Code1 => (400, 1, None, false, "An unknown error occurred"),
            Kind::TokenExpired => (401, 190, Some(463), false, "Error validating access token: Session has expired"),
            Kind::Timeout | Kind::ResetAfter | Kind::Html500 | Kind::Slow => return None,
        };
        Some(ErrorBody {
            status: self.status.unwrap_or(status),
            message: message.to_owned(),
            kind: "OAuthException",
            code: self.code.unwrap_or(code),
            error_subcode: self.subcode.or(subcode),
            is_transient: Some(transient),
            ..ErrorBody::default()
        })
    }

    /// Headers it adds to whatever is answered.
    pub fn headers(&self, pixel: &str) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(used) = self.usage {
            let counts = json!({"call_count": used, "total_cputime": used, "total_time": used});
            let mut of_pixel = counts.clone();
            of_pixel["type"] = Value::from("ads_management");
            of_pixel["estimated_time_to_regain_access"] = Value::from(self.regain_minutes.unwrap_or(0));
            headers.push(("x-app-usage", counts.to_string()));
            headers.push(("x-business-use-case-usage", json!({ pixel: [of_pixel] }).to_string()));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct Faults {
    list: Vec<Fault>,
    dice: u64,
}

impl Faults {
    /// Puts a new list in place of the old; the dice start anew, so the same requests meet the same faults.
    pub fn replace(&mut self, list: Vec<Fault>) {
        *self = Faults { list, dice: 0 };
    }

    /// The list, with what is left of each.
    pub fn list(&self) -> &[Fault] {
        &self.list
    }

    /// The fault the next request to this pixel meets: the first that is for it, not spent, and lucky.
    pub fn draw(&mut self, pixel: &str) -> Option<Fault> {
        let dice = &mut self.dice;
        let hit = self.list.iter_mut().find(|fault| {
            fault.pixel.as_deref().is_none_or(|only| only == pixel)
                && fault.times != Some(0)
                && fault.share.is_none_or(|share| roll(dice) < share)
        })?;
        hit.times = hit.times.map(|times| times - 1);
        Some(hit.clone())
    }
}

/// The next number from 0 to below 1 (splitmix64: short, even, the same on every machine).
fn roll(dice: &mut u64) -> f64 {
    *dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *dice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
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
        let mut next = |pixel| faults.draw(pixel).map(|fault| fault.kind);
        assert_eq!(next("2"), Some(Kind::Html500));
        assert_eq!(next("1"), Some(Kind::Slow));
        assert_eq!(next("1"), Some(Kind::Slow));
        assert_eq!(next("1"), Some(Kind::Code1));
        assert_eq!(next("1"), None);
        assert_eq!(next("2"), Some(Kind::Html500));
    }

    #[test]
    fn a_share_hits_about_so_many_and_the_same_each_time() {
        let run = || {
            let mut faults = faults(json!([{"fault": "code1", "share": 0.3}]));
            (0..1_000).map(|_| faults.draw("1").is_some()).collect::<Vec<_>>()
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
            (json!({"fault": "token_expired"}), 401, 190, Some(463), false),
        ] {
            let fault: Fault = serde_json::from_value(wish.clone()).expect("a fault");
            let error = fault.error().expect("an error");
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
        assert!(headers[1].1.starts_with(r#"{"42":[{"#) && headers[1].1.contains(r#""estimated_time_to_regain_access":3"#));
        assert_eq!(headers[2], ("retry-after", "7".to_owned()));
    }
}
