//! The real world: the system's clock, which tests may let run faster, and its generator of random bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use rand::Rng;
use schemas::{time::Time, world::World};

use crate::config::Clock;

/// The real world.
#[derive(Clone, Copy, Debug)]
pub struct RealWorld {
    /// When this clock read what the machine's did, in microseconds since 1970.
    epoch_us: i64,
    /// How many times as fast it runs from there.
    scale: i64,
}

impl Default for RealWorld {
    /// The machine's own time.
    fn default() -> Self {
        Self { epoch_us: 0, scale: 1 }
    }
}

impl RealWorld {
    /// The world by the clock of the settings.
    pub fn of(clock: Clock) -> anyhow::Result<Self> {
        let Clock { scale, epoch_ms } = clock;
        if scale == 1 {
            return Ok(Self::default());
        }
        let epoch_us = i64::try_from(epoch_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        ensure!(epoch_us <= machine_us(), "clock.epoch_ms is ahead of the machine's time: name a moment of the past, such as now");
        Ok(Self { epoch_us, scale: i64::from(scale) })
    }

    /// What it reads when the machine reads this; never before its epoch.
    fn at(self, machine_us: i64) -> i64 {
        match self.scale {
            1 => machine_us,
            scale => self.epoch_us.saturating_add((machine_us - self.epoch_us).max(0).saturating_mul(scale)),
        }
    }
}

impl World for RealWorld {
    fn now(&self) -> Time {
        Time::from_micros(self.at(machine_us()))
    }

    fn sleep(&self, us: i64) -> Duration {
        Duration::from_micros(u64::try_from(us).unwrap_or(0).div_ceil(self.scale.unsigned_abs()))
    }

    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// A clock before 1970 is held at 1970: `Time` cannot say less.
fn machine_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_agrees_with_the_machine_at_its_epoch_and_needs_little_of_its_time() {
        let fast = RealWorld::of(Clock { scale: 1_000, epoch_ms: 5_000 }).expect("long ago");
        assert_eq!([4_000_000, 5_000_000, 5_432_000].map(|us| fast.at(us)), [5_000_000, 5_000_000, 437_000_000]);
        let sleeps = [-1, 0, 1, 60_000_000].map(|us| fast.sleep(us).as_micros());
        assert_eq!(sleeps, [0, 0, 1, 60_000], "a minute is 60 ms, and what is not over is never nothing");
    }

    #[test]
    fn without_a_scale_time_is_the_machines_whatever_the_epoch() {
        let plain = RealWorld::of(Clock { scale: 1, epoch_ms: u64::MAX }).expect("it is not used");
        assert_eq!((plain.at(4_000), plain.sleep(1_500)), (4_000, Duration::from_micros(1_500)));
        assert!(RealWorld::of(Clock { scale: 2, epoch_ms: u64::MAX }).is_err(), "the future");
    }
}
