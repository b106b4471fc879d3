//! How long answers take: a law for one pixel or for all, with dice of its own for each pixel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dice::Dice;

/// No answer is held longer than this.
pub const HOLD_MAX_MS: u64 = 60_000;
/// How many deviations above its median a normal distribution has its 95th percentile.
const DEVIATIONS_P95: f64 = 1.644_853_626_951_472_7;

/// A distribution of delays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "law", rename_all = "lowercase", deny_unknown_fields)]
pub enum Law {
    /// Always the same.
    Constant {
        /// This long.
        ms: u64,
    },
    /// Anything between two bounds, all alike.
    Uniform {
        /// The shortest.
        from_ms: u64,
        /// The longest.
        to_ms: u64,
    },
    /// Mostly near the median, with a long tail: what services are like.
    Lognormal {
        /// Half take no longer.
        median_ms: u64,
        /// One in twenty takes longer.
        p95_ms: u64,
    },
}

impl Law {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let longest = match *self {
            Law::Uniform { from_ms, to_ms } if from_ms > to_ms => return Some(format!("from {from_ms} ms to {to_ms} ms is no range")),
            Law::Lognormal { median_ms: 0, .. } => return Some("a lognormal median is above 0 ms".to_owned()),
            Law::Lognormal { median_ms, p95_ms } if median_ms > p95_ms => {
                return Some(format!("the p95 of {p95_ms} ms lies below the median of {median_ms} ms"));
            }
            Law::Constant { ms } => ms,
            Law::Uniform { to_ms, .. } => to_ms,
            Law::Lognormal { p95_ms, .. } => p95_ms,
        };
        (longest > HOLD_MAX_MS).then(|| format!("answers are held {HOLD_MAX_MS} ms at most, not {longest} ms"))
    }

    fn draw_ms(&self, dice: &mut Dice) -> u64 {
        let ms = match *self {
            Law::Constant { ms } => ms,
            Law::Uniform { from_ms, to_ms } => from_ms + (dice.roll() * (to_ms - from_ms + 1) as f64) as u64,
            Law::Lognormal { median_ms, p95_ms } => {
                let deviation = (p95_ms as f64 / median_ms as f64).ln() / DEVIATIONS_P95;
                (median_ms as f64 * (deviation * dice.roll_normal()).exp()).round() as u64
            }
        };
        ms.min(HOLD_MAX_MS)
    }
}

/// One wish of `PUT /sandbox/latency`. (The law's fields stand beside the pixel, which serde cannot check for strays by itself.)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The pixel it is for; null is every pixel.
    #[serde(default)]
    pub pixel: Option<String>,
    /// Of which its dice are made: another one, other delays.
    #[serde(default)]
    pub seed: u64,
    /// How the delays are spread.
    #[serde(flatten)]
    pub law: Law,
}

/// The laws in force, and the dice of each pixel.
#[derive(Debug, Default)]
pub struct Latencies {
    list: Vec<Latency>,
    dice: BTreeMap<String, Dice>,
}

impl Latencies {
    /// Puts a new list in place of the old; the dice start anew, so the same requests meet the same delays.
    pub fn replace(&mut self, list: Vec<Latency>) {
        *self = Latencies { list, dice: BTreeMap::new() };
    }

    /// Starts the dice anew.
    pub fn restart(&mut self) {
        self.dice.clear();
    }

    /// The list.
    pub fn list(&self) -> &[Latency] {
        &self.list
    }

    /// How long the next answer of this pixel takes: by `scripted`, or else by the first law that is for it.
    pub fn draw_ms(&mut self, pixel: &str, scripted: Option<Law>) -> u64 {
        let listed = self.list.iter().find(|one| one.pixel.as_deref().is_none_or(|only| only == pixel));
        let Some(law) = scripted.or(listed.map(|one| one.law)) else { return 0 };
        let seed = listed.map_or(0, |one| one.seed);
        law.draw_ms(self.dice.entry(pixel.to_owned()).or_insert_with(|| Dice::of(seed, pixel)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{HOLD_MAX_MS, Latencies, Latency, Law};

    fn latencies(list: Value) -> Latencies {
        let mut latencies = Latencies::default();
        latencies.replace(serde_json::from_value(list).expect("a list of laws"));
        latencies
    }

    fn drawn(list: Value, pixel: &str, count: usize) -> Vec<u64> {
        let mut latencies = latencies(list);
        (0..count).map(|_| latencies.draw_ms(pixel, None)).collect()
    }

    #[test]
    fn delays_are_spread_as_the_law_says() {
        assert_eq!(drawn(json!([{"law": "constant", "ms": 120}]), "1", 3), [120, 120, 120]);

        let mut even = drawn(json!([{"law": "uniform", "from_ms": 50, "to_ms": 149}]), "1", 10_000);
        even.sort_unstable();
        assert_eq!((even[0], even[9_999]), (50, 149), "both bounds are met");
        assert!((95..=105).contains(&even[5_000]), "the middle is {}", even[5_000]);

        let mut tailed = drawn(json!([{"law": "lognormal", "median_ms": 120, "p95_ms": 900}]), "1", 10_000);
        tailed.sort_unstable();
        assert!((114..=126).contains(&tailed[5_000]), "the median is {}", tailed[5_000]);
        assert!((810..=990).contains(&tailed[9_500]), "the p95 is {}", tailed[9_500]);
        assert!(tailed[9_999] > 2_000 && tailed[9_999] <= HOLD_MAX_MS, "the tail reaches {}", tailed[9_999]);
    }

    #[test]
    fn the_same_requests_meet_the_same_delays_whatever_the_neighbours_do() {
        let law = |seed: u64| json!([{"law": "uniform", "from_ms": 0, "to_ms": 10_000, "seed": seed}]);
        assert_eq!(drawn(law(0), "1", 50), drawn(law(0), "1", 50));
        assert_ne!(drawn(law(0), "1", 50), drawn(law(1), "1", 50), "another seed");
        assert_ne!(drawn(law(0), "1", 50), drawn(law(0), "2", 50), "another pixel");
        let mut between = latencies(law(0));
        let mixed: Vec<u64> = (0..50)
            .map(|_| {
                between.draw_ms("2", None);
                between.draw_ms("1", None)
            })
            .collect();
        assert_eq!(mixed, drawn(law(0), "1", 50));
    }

    #[test]
    fn the_first_law_that_is_for_the_pixel_holds_and_the_script_goes_before_all() {
        let mut latencies = latencies(json!([{"pixel": "1", "law": "constant", "ms": 7}, {"law": "constant", "ms": 8}]));
        assert_eq!((latencies.draw_ms("1", None), latencies.draw_ms("2", None)), (7, 8));
        assert_eq!(latencies.draw_ms("1", Some(Law::Constant { ms: 9 })), 9);
        assert_eq!(Latencies::default().draw_ms("1", None), 0, "no law, no delay");
    }

    #[test]
    fn laws_that_cannot_be_are_refused_with_a_reason() {
        for (law, expected) in [
            (json!({"law": "constant", "ms": 60_001}), "answers are held 60000 ms at most, not 60001 ms"),
            (json!({"law": "uniform", "from_ms": 2, "to_ms": 1}), "from 2 ms to 1 ms is no range"),
            (json!({"law": "lognormal", "median_ms": 0, "p95_ms": 1}), "a lognormal median is above 0 ms"),
            (json!({"law": "lognormal", "median_ms": 9, "p95_ms": 8}), "the p95 of 8 ms lies below the median of 9 ms"),
        ] {
            let wish: Latency = serde_json::from_value(law).expect("a law");
            assert_eq!(wish.law.problem().as_deref(), Some(expected));
        }
        let stray = json!({"law": "constant", "ms": 1, "median_ms": 2});
        for unreadable in [stray, json!({"law": "constant"}), json!({"law": "gamma", "ms": 1}), json!({"ms": 1})] {
            assert!(serde_json::from_value::<Latency>(unreadable.clone()).is_err(), "{unreadable}");
        }
    }
}
