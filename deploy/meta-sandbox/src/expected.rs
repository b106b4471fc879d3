//! What should be counted in the end, so that the box can say what was lost.

use std::borrow::Cow;
use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::ledger::{read_key, write_key};

/// Half of what the ledger surely remembers, some 100 MB.
const ENTRIES_MAX: usize = 1_000_000;
/// So many lost events are named; the rest are counted.
const NAMED_MAX: usize = 100;

/// One event that should be counted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation<'a> {
    /// The pixel.
    #[serde(borrow)]
    pub pixel: Cow<'a, str>,
    /// The event's name.
    #[serde(borrow)]
    pub event_name: Cow<'a, str>,
    /// The event's id.
    #[serde(borrow)]
    pub event_id: Cow<'a, str>,
}

/// What a pixel's report says beside its totals.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// How many events should be counted.
    pub expected: u64,
    /// How many of them never were.
    pub lost: u64,
    /// The first of those, over all pixels a hundred.
    pub lost_first: Vec<Lost>,
}

/// An event that was never counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The event's name.
    pub event_name: String,
    /// The event's id.
    pub event_id: String,
}

/// Every expectation, in the order they came, and whether it was met.
#[derive(Debug, Default)]
pub struct Expected {
    entries: IndexMap<Box<str>, bool>,
    key: String,
}

impl Expected {
    /// Reads a JSON array of expectations, or one a line.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut expected = Expected::default();
        if text.trim_start().starts_with('[') {
            let list: Vec<Expectation> = serde_json::from_str(text).map_err(|error| format!("cannot read the list: {error}"))?;
            list.iter().try_for_each(|one| expected.add(one))?;
        } else {
            for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let one: Expectation =
                    serde_json::from_str(line).map_err(|error| format!("line {}: cannot read it: {error}", index + 1))?;
                expected.add(&one)?;
            }
        }
        Ok(expected)
    }

    fn add(&mut self, one: &Expectation) -> Result<(), String> {
        if self.entries.len() >= ENTRIES_MAX {
            return Err(format!("at most {ENTRIES_MAX} events can be expected at once"));
        }
        write_key(&mut self.key, &one.pixel, &one.event_name, Some(&one.event_id));
        self.entries.insert(self.key.as_str().into(), false);
        Ok(())
    }

    /// Notes what was counted before it was expected.
    pub fn look_back(&mut self, counted: impl Fn(&str, &str, &str) -> bool) {
        for (key, met) in &mut self.entries {
            *met = read_key(key).is_some_and(|(pixel, name, id)| counted(pixel, name, id.unwrap_or_default()));
        }
    }

    /// How many events are expected, those that were met among them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes that an event was counted.
    pub fn meet(&mut self, pixel: &str, name: &str, id: Option<&str>) {
        if !self.entries.is_empty() && id.is_some() {
            write_key(&mut self.key, pixel, name, id);
            if let Some(met) = self.entries.get_mut(self.key.as_str()) {
                *met = true;
            }
        }
    }

    /// By pixel, what was expected and what of it was lost.
    pub fn losses(&self) -> BTreeMap<String, Losses> {
        let mut losses: BTreeMap<String, Losses> = BTreeMap::new();
        let mut named = 0;
        for (key, met) in &self.entries {
            let Some((pixel, name, id)) = read_key(key) else { continue };
            if !losses.contains_key(pixel) {
                losses.insert(pixel.to_owned(), Losses::default());
            }
            let Some(of_pixel) = losses.get_mut(pixel) else { continue };
            of_pixel.expected += 1;
            of_pixel.lost += u64::from(!met);
            if !met && named < NAMED_MAX {
                named += 1;
                of_pixel.lost_first.push(Lost { event_name: name.to_owned(), event_id: id.unwrap_or_default().to_owned() });
            }
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::Expected;

    fn read(text: &str) -> Expected {
        let mut expected = Expected::read(text).expect("a good list");
        expected.look_back(|_, _, id| id == "before");
        expected
    }

    #[test]
    fn what_was_never_counted_is_lost_however_the_list_was_written() {
        let lines = "{\"pixel\":\"1\",\"event_name\":\"Lead\",\"event_id\":\"before\"}\n\n{\"pixel\":\"1\",\"event_name\":\"Lead\",\"event_id\":\"a/\\\"b\"}\n\
            {\"pixel\":\"1\",\"event_name\":\"Lead\",\"event_id\":\"c\"}\n{\"pixel\":\"2\",\"event_name\":\"Lead\",\"event_id\":\"c\"}\n";
        let list = format!(" [{}]", lines.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(","));
        for text in [lines, &list] {
            let mut expected = read(text);
            let lost = |expected: &Expected| {
                let of = |losses: &super::Losses| (losses.expected, losses.lost, losses.lost_first.len());
                expected.losses().iter().map(|(pixel, losses)| (pixel.clone(), of(losses))).collect::<Vec<_>>()
            };
            assert_eq!(lost(&expected), [("1".to_owned(), (3, 2, 2)), ("2".to_owned(), (1, 1, 1))]);
            expected.meet("1", "Lead", Some("a/\"b"));
            expected.meet("1", "Lead", None);
            expected.meet("2", "Purchase", Some("c"));
            assert_eq!(lost(&expected), [("1".to_owned(), (3, 1, 1)), ("2".to_owned(), (1, 1, 1))]);
            assert_eq!(expected.losses()["1"].lost_first[0].event_id, "c");
        }
    }

    #[test]
    fn a_hundred_thousand_are_no_trouble_and_a_hundred_are_named() {
        let line = |n| format!("{{\"pixel\":\"1\",\"event_name\":\"Lead\",\"event_id\":\"{n}\"}}\n");
        let expected = read(&(0..100_000).map(line).collect::<String>());
        let losses = &expected.losses()["1"];
        assert_eq!((expected.len(), losses.lost, losses.lost_first.len()), (100_000, 100_000, 100));
        assert_eq!(losses.lost_first[99].event_id, "99");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for (text, expected) in [
            ("{\"pixel\":\"1\",\"event_name\":\"Lead\",\"event_id\":\"a\"}\n{\"pixel\":\"1\"}", "line 2: cannot read it: missing field"),
            ("{\"pixel\":1}", "line 1: cannot read it: invalid type"),
            ("[{}]", "cannot read the list: missing field"),
        ] {
            let error = Expected::read(text).expect_err("refused");
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(read("").len(), 0);
    }
}
