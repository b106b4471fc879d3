//! Section `[clock]`: for tests, how fast time runs.

use serde::{Deserialize, Deserializer, de::Error};

/// As fast as Meta in a box goes: five days in seven minutes.
const SCALE_MAX: u32 = 1_000;

/// What the process takes for the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// How many times as fast as the machine's clock.
    #[serde(deserialize_with = "scale")]
    pub scale: u32,
    /// The moment at which both clocks read the same, in milliseconds since 1970.
    pub epoch_ms: u64,
}

impl Clock {
    /// Why it cannot be used, if it cannot: a fast clock without an epoch would begin in 1970, and differ from everybody's.
    pub fn fault(&self) -> Option<&'static str> {
        (self.scale > 1 && self.epoch_ms == 0)
            .then_some("must be named with a clock.scale above 1: the moment at which that clock and the machine's read the same")
    }
}

fn scale<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        scale @ 1..=SCALE_MAX => Ok(scale),
        _ => Err(D::Error::custom(format!("it goes from 1 to {SCALE_MAX}"))),
    }
}
