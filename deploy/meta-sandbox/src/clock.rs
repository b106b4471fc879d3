//! The one place that asks the machine for the time: the box's own clock, which may run faster.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::ensure;

/// A day in a minute and a half, which is as fast as tests have needed; beyond it a request's own duration becomes hours.
const SCALE_MAX: u32 = 1_000;

/// What the box takes for the time. At its epoch it reads what the machine reads, and from there it runs `scale` times as fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    epoch_ms: u64,
    scale: u32,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { epoch_ms: machine_ms(), scale: 1 }
    }
}

impl Clock {
    /// A clock that runs 1 to 1,000 times as fast as the machine's, from now on.
    pub fn scaled(scale: u32) -> anyhow::Result<Self> {
        ensure!((1..=SCALE_MAX).contains(&scale), "a clock runs 1 to {SCALE_MAX} times as fast as the machine's, not {scale} times");
        Ok(Clock { scale, ..Clock::default() })
    }

    /// The same speed from another epoch, in milliseconds since 1970: so that two programs, or one after a restart, agree on the time.
    pub fn from_epoch(self, epoch_ms: u64) -> anyhow::Result<Self> {
        ensure!(epoch_ms <= machine_ms(), "a clock's epoch is not ahead of the machine's time: {epoch_ms} is, in milliseconds since 1970");
        Ok(Clock { epoch_ms, ..self })
    }

    /// Milliseconds since 1970, on this clock.
    pub fn now_ms(&self) -> u64 {
        self.at(machine_ms())
    }

    /// What it reads when the machine reads this. A machine whose time is set back takes a clock no further back than its epoch.
    fn at(&self, machine_ms: u64) -> u64 {
        match self.scale {
            1 => machine_ms,
            scale => self.epoch_ms + machine_ms.saturating_sub(self.epoch_ms) * u64::from(scale),
        }
    }
}

fn machine_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_fast_clock_agrees_with_the_machine_at_its_epoch_and_runs_ahead_of_it_from_there() {
        let fast = Clock::scaled(1_000).expect("a good scale").from_epoch(5_000).expect("long ago");
        assert_eq!([5_000, 5_001, 5_432].map(|machine_ms| fast.at(machine_ms)), [5_000, 6_000, 437_000]);
        assert_eq!(fast.at(4_000), 5_000, "never before its epoch");
        let plain = Clock::default().from_epoch(5_000).expect("long ago");
        assert_eq!([4_000, 5_000, 5_432].map(|machine_ms| plain.at(machine_ms)), [4_000, 5_000, 5_432], "the machine's own time");
    }

    #[test]
    fn clocks_that_stand_race_or_begin_in_the_future_are_refused() {
        for scale in [0, 1_001] {
            let error = Clock::scaled(scale).expect_err("refused").to_string();
            assert_eq!(error, format!("a clock runs 1 to 1000 times as fast as the machine's, not {scale} times"));
        }
        assert!(Clock::default().from_epoch(u64::MAX).is_err());
    }
}
