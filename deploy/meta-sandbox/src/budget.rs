//! How many calls a pixel may make in a minute, and Meta's headers that tell how much of it is used up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

/// Calls are counted in minutes of the box's clock; the first one of the next minute begins at nothing again.
const WINDOW_MS: u64 = 60_000;

/// One wish of `PUT /sandbox/budgets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The pixel it is for; null is each pixel for itself.
    #[serde(default)]
    pub pixel: Option<String>,
    /// More calls than this within a minute are throttled.
    pub calls_per_minute: u32,
}

/// How much of a limit is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Throttling starts at 100.
    pub percent: u32,
    /// Minutes until access comes back; 0 while it is there.
    pub regain_minutes: u32,
}

impl Usage {
    /// `X-App-Usage` and `X-Business-Use-Case-Usage`, in Meta's shapes.
    pub fn headers(self, pixel: &str) -> [(&'static str, String); 2] {
        let Usage { percent, regain_minutes } = self;
        let app = json!({"call_count": percent, "total_cputime": percent, "total_time": percent});
        let business = json!({pixel: [{
            "type": "ads_management", "call_count": percent, "total_cputime": percent, "total_time": percent,
            "estimated_time_to_regain_access": regain_minutes, "ads_api_access_tier": "standard_access",
        }]});
        [("x-app-usage", app.to_string()), ("x-business-use-case-usage", business.to_string())]
    }
}

/// The budgets in force, and what each pixel has used of the current minute.
#[derive(Debug, Default)]
pub struct Budgets {
    list: Vec<Budget>,
    used: BTreeMap<String, Used>,
}

#[derive(Debug, Default)]
struct Used {
    window: u64,
    calls: u32,
}

impl Budgets {
    /// Puts a new list in place of the old; nothing is used up then.
    pub fn replace(&mut self, list: Vec<Budget>) {
        *self = Budgets { list, used: BTreeMap::new() };
    }

    /// The list.
    pub fn list(&self) -> &[Budget] {
        &self.list
    }

    /// Counts one more call and says how much is used up, if this pixel has a budget: `scripted`, or else the first that is for
    /// it. Whoever finds 100 percent used is over it, and its call does not count.
    pub fn call(&mut self, pixel: &str, scripted: Option<u32>, now_ms: u64) -> Option<Called> {
        let listed = self.list.iter().find(|one| one.pixel.as_deref().is_none_or(|only| only == pixel));
        let limit = scripted.or(listed.map(|one| one.calls_per_minute))?;
        let used = self.used.entry(pixel.to_owned()).or_default();
        if used.window != now_ms / WINDOW_MS {
            *used = Used { window: now_ms / WINDOW_MS, calls: 0 };
        }
        if used.calls >= limit {
            return Some(Called::Over(Usage { percent: 100, regain_minutes: 1 }));
        }
        used.calls += 1;
        let percent = u64::from(used.calls) * 100 / u64::from(limit);
        Some(Called::Within(Usage { percent: percent as u32, regain_minutes: 0 }))
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// It was one of those allowed.
    Within(Usage),
    /// It was one too many.
    Over(Usage),
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Budget, Budgets, Called, Usage};

    fn budgets() -> Budgets {
        let mut budgets = Budgets::default();
        budgets.replace(vec![
            Budget { pixel: Some("1".to_owned()), calls_per_minute: 4 },
            Budget { pixel: Some("2".to_owned()), calls_per_minute: 0 },
        ]);
        budgets
    }

    const fn within(percent: u32) -> Called {
        Called::Within(Usage { percent, regain_minutes: 0 })
    }

    const OVER: Called = Called::Over(Usage { percent: 100, regain_minutes: 1 });

    #[test]
    fn usage_rises_to_a_hundred_and_is_gone_with_the_minute() {
        let mut budgets = budgets();
        let first: Vec<_> = (0..6).filter_map(|call| budgets.call("1", None, 60_000 + call)).collect();
        assert_eq!(first, [within(25), within(50), within(75), within(100), OVER, OVER]);
        assert_eq!(budgets.call("1", None, 119_999), Some(OVER));
        assert_eq!(budgets.call("1", None, 120_000), Some(within(25)));
    }

    #[test]
    fn each_pixel_has_its_own_and_the_script_goes_before() {
        let mut budgets = budgets();
        assert_eq!(budgets.call("2", None, 0), Some(OVER), "nothing at all is allowed");
        assert_eq!(budgets.call("3", None, 0), None, "no budget, no headers");
        assert_eq!(budgets.call("3", Some(2), 0), Some(within(50)));
        assert_eq!(budgets.call("1", Some(1), 0), Some(within(100)));
        assert_eq!(budgets.call("1", Some(1), 0), Some(OVER));
    }

    #[test]
    fn headers_have_metas_shape() {
        let headers = Usage { percent: 80, regain_minutes: 3 }.headers("42").map(|(name, value)| {
            let value: Value = serde_json::from_str(&value).expect("JSON");
            (name, value)
        });
        let app = json!({"call_count": 80, "total_cputime": 80, "total_time": 80});
        let business = json!({"42": [{"type": "ads_management", "call_count": 80, "total_cputime": 80, "total_time": 80,
            "estimated_time_to_regain_access": 3, "ads_api_access_tier": "standard_access"}]});
        assert_eq!(headers, [("x-app-usage", app), ("x-business-use-case-usage", business)]);
    }
}
