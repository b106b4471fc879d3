//! What Meta would count: copies of events folded by pixel, name and id. Pure: time arrives with the copy.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;

/// Copies this close to the first one are one conversion.
const WINDOW_MS: u64 = 48 * 3_600 * 1_000;

/// When this many keys are young they become the old ones, and the old ones before them are forgotten: the box
/// remembers at least the last two million conversions in at most about 600 MB (some 150 bytes a key, two halves).
const GENERATION_MAX: usize = 2_000_000;

/// The two ways one event can reach Meta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The pixel in the page.
    Browser,
    /// The Conversions API.
    Server,
}

/// What one more copy came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// A conversion: the first copy, or one too late to be folded.
    New,
    /// The other channel's copy, or the browser's again, in time.
    Folded,
    /// A server copy too many: Meta is not known to fold those.
    Twice,
}

/// The copies of one event.
#[derive(Debug, Clone, Copy, Default)]
struct Copies {
    opened_ms: u64,
    count: u32,
    browser: u32,
    server: u32,
}

impl Copies {
    fn add(&mut self, channel: Channel, at_ms: u64) -> Counted {
        let in_time = self.count > 0 && at_ms.saturating_sub(self.opened_ms) <= WINDOW_MS;
        let counted = match channel {
            Channel::Server if self.server > 0 => Counted::Twice,
            Channel::Server | Channel::Browser if in_time => Counted::Folded,
            Channel::Server | Channel::Browser => Counted::New,
        };
        if !in_time {
            self.opened_ms = at_ms;
        }
        self.saw(channel);
        self.count += u32::from(counted != Counted::Folded);
        counted
    }

    /// A copy that has no id: nothing to fold it by.
    fn add_without_id(&mut self, channel: Channel) -> Counted {
        self.saw(channel);
        self.count += 1;
        Counted::New
    }

    fn saw(&mut self, channel: Channel) {
        match channel {
            Channel::Browser => self.browser += 1,
            Channel::Server => self.server += 1,
        }
    }
}

/// One pixel's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// POSTs to the events endpoint, whatever became of them.
    pub requests: u64,
    /// Copies accepted on both channels: `conversions` and `deduplicated` together.
    pub events: u64,
    /// What Meta would count.
    pub conversions: u64,
    /// Copies that were folded into another.
    pub deduplicated: u64,
    /// Server copies beyond the first of their id; part of `conversions`.
    pub double_conversions: u64,
    /// Requests that broke a rule.
    pub rejected: u64,
}

/// What is known of one event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Conversion {
    /// The conversions Meta would count.
    pub count: u32,
    /// The channels seen, sorted.
    pub legs: Vec<&'static str>,
    /// Copies from the pixel in the page.
    pub browser_copies: u32,
    /// Copies from the Conversions API.
    pub server_copies: u32,
}

/// One line of the list of conversions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The pixel.
    pub pixel: String,
    /// The event's name.
    pub event_name: String,
    /// The event's id; null stands for all copies that had none.
    pub event_id: Option<String>,
    /// What is known of it.
    #[serde(flatten)]
    pub conversion: Conversion,
}

/// All copies of all pixels.
#[derive(Debug, Default)]
pub struct Ledger {
    totals: BTreeMap<String, Totals>,
    young: IndexMap<Box<str>, Copies>,
    old: IndexMap<Box<str>, Copies>,
    key: String,
}

impl Ledger {
    /// Makes a pixel appear in the report before its first request.
    pub fn open(&mut self, pixel: &str) {
        self.of(pixel);
    }

    /// Counts a POST; its events are counted by `add`.
    pub fn request(&mut self, pixel: &str, rejected: bool) {
        let totals = self.of(pixel);
        totals.requests += 1;
        totals.rejected += u64::from(rejected);
    }

    /// Counts one copy.
    pub fn add(&mut self, channel: Channel, pixel: &str, name: &str, id: Option<&str>, at_ms: u64) {
        write_key(&mut self.key, pixel, name, id);
        let copies = if let Some(copies) = self.young.get_mut(self.key.as_str()).or(self.old.get_mut(self.key.as_str())) {
            copies
        } else {
            if self.young.len() >= GENERATION_MAX {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.entry(self.key.as_str().into()).or_default()
        };
        let counted = if id.is_some() { copies.add(channel, at_ms) } else { copies.add_without_id(channel) };
        let totals = self.of(pixel);
        totals.events += 1;
        totals.conversions += u64::from(counted != Counted::Folded);
        totals.deduplicated += u64::from(counted == Counted::Folded);
        totals.double_conversions += u64::from(counted == Counted::Twice);
    }

    /// What is known of one event; zeros if nothing is.
    pub fn conversion(&self, pixel: &str, name: &str, id: &str) -> Conversion {
        let mut key = String::new();
        write_key(&mut key, pixel, name, Some(id));
        self.young.get(key.as_str()).or(self.old.get(key.as_str())).map(Conversion::from).unwrap_or_default()
    }

    /// Everything remembered, oldest first, of one pixel and one name where those are given.
    pub fn conversions(&self, pixel: Option<&str>, name: Option<&str>) -> Vec<Listed> {
        let wanted = |asked: Option<&str>, found: &str| asked.is_none_or(|asked| asked == found);
        let both = self.old.iter().chain(&self.young);
        both.filter_map(|(key, copies)| Some((read_key(key)?, copies)))
            .filter(|((of_pixel, of_name, _), _)| wanted(pixel, of_pixel) && wanted(name, of_name))
            .map(|((pixel, name, id), copies)| Listed {
                pixel: pixel.to_owned(),
                event_name: name.to_owned(),
                event_id: id.map(str::to_owned),
                conversion: copies.into(),
            })
            .collect()
    }

    /// The sums of every pixel.
    pub fn report(&self) -> &BTreeMap<String, Totals> {
        &self.totals
    }

    fn of(&mut self, pixel: &str) -> &mut Totals {
        if !self.totals.contains_key(pixel) {
            self.totals.insert(pixel.to_owned(), Totals::default());
        }
        self.totals.get_mut(pixel).expect("it was put there just above")
    }
}

impl From<&Copies> for Conversion {
    fn from(copies: &Copies) -> Self {
        let legs = [("browser", copies.browser), ("server", copies.server)];
        Conversion {
            count: copies.count,
            legs: legs.into_iter().filter(|(_, seen)| *seen > 0).map(|(leg, _)| leg).collect(),
            browser_copies: copies.browser,
            server_copies: copies.server,
        }
    }
}

/// One text per key is the most compact map. The name's length keeps `a` + `bc` and `ab` + `c` apart, the sign
/// behind the name an empty id and none.
pub fn write_key(key: &mut String, pixel: &str, name: &str, id: Option<&str>) {
    use std::fmt::Write;
    key.clear();
    let sign = if id.is_some() { '=' } else { '-' };
    write!(key, "{pixel}/{}/{name}{sign}{}", name.len(), id.unwrap_or_default()).expect("a String takes every write");
}

/// The parts of a key.
pub fn read_key(key: &str) -> Option<(&str, &str, Option<&str>)> {
    let (pixel, rest) = key.split_once('/')?;
    let (length, rest) = rest.split_once('/')?;
    let (name, signed) = rest.split_at_checked(length.parse().ok()?)?;
    Some((pixel, name, signed.strip_prefix('=')))
}

#[cfg(test)]
mod tests {
    use super::{Channel, Ledger, WINDOW_MS};

    /// Feeds copies (`b` or `s`, hours) of one event and says: count, browser and server copies, folded, doubled.
    fn counted(copies: &[(char, u64)]) -> (u32, u32, u32, u64, u64) {
        let mut ledger = Ledger::default();
        for &(channel, hours) in copies {
            let channel = if channel == 'b' { Channel::Browser } else { Channel::Server };
            ledger.add(channel, "1", "Purchase", Some("f:o"), 1_000 + hours * 3_600_000);
        }
        let found = ledger.conversion("1", "Purchase", "f:o");
        let totals = ledger.report()["1"];
        assert_eq!(totals.events, totals.conversions + totals.deduplicated);
        assert_eq!(u64::from(found.count), totals.conversions);
        (found.count, found.browser_copies, found.server_copies, totals.deduplicated, totals.double_conversions)
    }

    #[test]
    fn copies_fold_as_meta_folds_them() {
        for (copies, expected) in [
            (&[('s', 0)][..], (1, 0, 1, 0, 0)),
            (&[('b', 0), ('s', 0)], (1, 1, 1, 1, 0)),
            (&[('s', 0), ('b', 48)], (1, 1, 1, 1, 0)),
            (&[('b', 0), ('b', 1), ('s', 2), ('b', 3)], (1, 3, 1, 3, 0)),
            (&[('s', 0), ('s', 1)], (2, 0, 2, 0, 1)),
            (&[('s', 0), ('b', 0), ('s', 1), ('s', 2)], (3, 1, 3, 1, 2)),
            (&[('b', 0), ('s', 49)], (2, 1, 1, 0, 0)),
            (&[('s', 0), ('b', 49)], (2, 1, 1, 0, 0)),
            (&[('s', 0), ('s', 49)], (2, 0, 2, 0, 1)),
            (&[('b', 0), ('s', 49), ('b', 50)], (2, 2, 1, 1, 0)),
        ] {
            assert_eq!(counted(copies), expected, "{copies:?}");
        }
        assert_eq!(WINDOW_MS / 3_600_000, 48);
    }

    #[test]
    fn names_ids_and_pixels_are_kept_apart() {
        let mut ledger = Ledger::default();
        for (pixel, name, id) in [
            ("1", "a", Some("b/c")),
            ("1", "ab", Some("/c")),
            ("2", "a", Some("b/c")),
            ("1", "a", None),
            ("1", "a", None),
            ("1", "a", Some("")),
        ] {
            ledger.add(Channel::Browser, pixel, name, id, 0);
        }
        assert_eq!(ledger.conversion("1", "a", "b/c").count, 1);
        assert_eq!(ledger.conversion("1", "a", "nothing").count, 0);
        let listed = ledger.conversions(Some("1"), Some("a"));
        let ids: Vec<_> = listed.iter().map(|one| (one.event_id.as_deref(), one.conversion.count)).collect();
        assert_eq!(ids, [(Some("b/c"), 1), (None, 2), (Some(""), 1)]);
        assert_eq!(ledger.conversions(None, None).len(), 5);
    }
}
