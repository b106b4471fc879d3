//! A moment: microseconds since the Unix epoch, written as RFC 3339 in UTC with six decimals.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds since 1970-01-01T00:00:00Z. The clock is read by the house; rooms are handed a `Time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// One second in the unit of [`Time`].
pub const SECOND_US: i64 = 1_000_000;
/// One day in the unit of [`Time`].
pub const DAY_US: i64 = 86_400 * SECOND_US;
/// 9999-12-30T00:00:00Z: the last whole day that jiff can write in every zone of the world.
const MAX_US: i64 = 253_402_128_000 * SECOND_US;

impl Time {
    /// A moment from microseconds, held inside the years that RFC 3339 can say.
    pub fn from_micros(us: i64) -> Self {
        Self(us.clamp(0, MAX_US))
    }

    /// A moment from milliseconds, the unit of browsers.
    pub fn from_millis(ms: i64) -> Self {
        Self::from_micros(ms.saturating_mul(1_000))
    }

    /// Microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch.
    pub fn millis(self) -> i64 {
        self.0 / 1_000
    }

    /// Whole seconds since the epoch, the unit of Meta's `event_time`.
    pub fn seconds(self) -> i64 {
        self.0 / SECOND_US
    }

    /// This moment moved by a signed number of microseconds.
    #[must_use]
    pub fn plus_micros(self, us: i64) -> Self {
        Self::from_micros(self.0.saturating_add(us))
    }

    /// Microseconds from `earlier` to this moment; negative if it is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// The UTC day, as `2026-11-25`: one half of the purchases-by-day key.
    pub fn day(self) -> String {
        self.to_string()[..10].to_owned()
    }
}

/// Bytes of a moment's text.
const TEXT_BYTES: usize = 27;

impl Time {
    /// The text, written into `buffer`. By hand: every record carries several, and a formatter takes ten times as long.
    fn text(self, buffer: &mut [u8; TEXT_BYTES]) -> &str {
        let (days, us) = (self.0 / DAY_US, self.0 % DAY_US);
        let (year, month, day) = civil(days);
        let seconds = us / SECOND_US;
        *buffer = *b"0000-00-00T00:00:00.000000Z";
        let fields =
            [(0, 4, year), (5, 2, month), (8, 2, day), (11, 2, seconds / 3_600), (14, 2, seconds / 60 % 60), (17, 2, seconds % 60)];
        for (at, digits, number) in fields.into_iter().chain([(20, 6, us % SECOND_US)]) {
            let mut rest = number;
            for place in (at..at + digits).rev() {
                buffer[place] = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        std::str::from_utf8(buffer).expect("digits and marks are ASCII")
    }
}

/// Year, month and day of a number of days since 1970-01-01 (Howard Hinnant's algorithm: years that begin in March, eras of 400).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl std::str::FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from_micros(text.parse::<jiff::Timestamp>()?.as_microsecond()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }
}

impl schemars::JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time", "description": "RFC 3339, UTC, six decimals"})
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY_US, MAX_US, Time};

    #[test]
    fn a_moment_is_written_in_utc_with_six_decimals_and_read_back() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_764_095_559_123_456, "2025-11-25T18:32:39.123456Z"),
            (1_764_095_559_000_000, "2025-11-25T18:32:39.000000Z"),
        ] {
            assert_eq!(Time::from_micros(us).to_string(), text);
            assert_eq!(text.parse::<Time>().expect("it was just written"), Time::from_micros(us));
        }
    }

    #[test]
    fn every_day_is_written_as_the_calendar_has_it() {
        for day in 0..MAX_US / DAY_US {
            let us = day * DAY_US + day * 86_399_999_999 % DAY_US;
            let calendar = jiff::Timestamp::from_microsecond(us).expect("it is in range");
            assert_eq!(Time::from_micros(us).to_string(), format!("{calendar:.6}"));
        }
    }

    #[test]
    fn moments_outside_the_calendar_are_held_at_its_ends() {
        assert_eq!(Time::from_millis(i64::MAX).day(), "9999-12-30");
        assert_eq!(Time::from_micros(-5).micros(), 0);
    }
}
