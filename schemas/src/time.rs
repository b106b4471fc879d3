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

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A `Time` is always inside jiff's range, because every constructor clamps.
        let at = jiff::Timestamp::from_microsecond(self.0).unwrap_or_default();
        write!(f, "{at:.6}")
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
        to.collect_str(self)
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
    use super::Time;

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
    fn moments_outside_the_calendar_are_held_at_its_ends() {
        assert_eq!(Time::from_millis(i64::MAX).day(), "9999-12-30");
        assert_eq!(Time::from_micros(-5).micros(), 0);
    }
}
