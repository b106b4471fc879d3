//! Pure: what Meta's usage headers say, in percent of the limit. `X-App-Usage` counts the app that a token belongs to,
//! `X-Business-Use-Case-Usage` the business objects behind a pixel, with the minutes until access comes back.

use reqwest::header::HeaderMap;
use schemas::time::SECOND_US;
use serde_json::Value;

const APP: &str = "x-app-usage";
const BUSINESS: &str = "x-business-use-case-usage";
/// The counts in both of them: the highest decides.
const COUNTS: [&str; 3] = ["call_count", "total_cputime", "total_time"];

/// How much of Meta's limits is used; nothing where it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the app's limit, in percent.
    pub token: Option<u32>,
    /// Of the business use case's limit, in percent.
    pub pixel: Option<u32>,
    /// How long until Meta lets us in again, if it does not now. In microseconds.
    pub regain_us: Option<i64>,
}

impl Usage {
    /// Reads both headers; one that cannot be read says nothing.
    pub fn of(headers: &HeaderMap) -> Self {
        let json = |name: &str| serde_json::from_slice::<Value>(headers.get(name)?.as_bytes()).ok();
        let app = json(APP).unwrap_or_default();
        let business = json(BUSINESS).unwrap_or_default();
        let objects = || business.as_object().into_iter().flatten().filter_map(|(_, of)| of.as_array()).flatten();
        let minutes = |of: &Value| of["estimated_time_to_regain_access"].as_u64().filter(|minutes| *minutes > 0);
        Self {
            token: used(&app),
            pixel: objects().filter_map(used).max(),
            regain_us: objects()
                .filter_map(minutes)
                .max()
                .map(|minutes| i64::try_from(minutes).unwrap_or(i64::MAX).saturating_mul(60 * SECOND_US)),
        }
    }
}

fn used(of: &Value) -> Option<u32> {
    COUNTS.iter().filter_map(|count| of[*count].as_f64()).map(|percent| percent as u32).max()
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::Usage;

    fn usage(app: &str, business: &str) -> Usage {
        let mut headers = HeaderMap::new();
        headers.insert("x-app-usage", HeaderValue::from_str(app).expect("text"));
        headers.insert("x-business-use-case-usage", HeaderValue::from_str(business).expect("text"));
        Usage::of(&headers)
    }

    #[test]
    fn the_highest_count_decides_and_what_cannot_be_read_says_nothing() {
        let business = r#"{"1":[{"type":"ads_management","call_count":12,"total_cputime":91,"total_time":5,"estimated_time_to_regain_access":3}],
                           "2":[{"call_count":20,"estimated_time_to_regain_access":0}]}"#;
        let said = usage(r#"{"call_count":28,"total_time":25.5,"total_cputime":31}"#, &business.replace('\n', ""));
        assert_eq!(said, Usage { token: Some(31), pixel: Some(91), regain_us: Some(180_000_000) });
        for (app, business) in [("", ""), ("nonsense", "[]"), ("{}", r#"{"1":7}"#), (r#"{"call_count":"many"}"#, r#"{"1":[7]}"#)] {
            assert_eq!(usage(app, business), Usage::default(), "{app} {business}");
        }
        assert_eq!(Usage::of(&HeaderMap::new()), Usage::default());
    }
}
