//! What a room is handed of the world: the time and random bytes. The house hands in the real one, a simulation its own.

use std::time::Duration;

use uuid::{Builder, Uuid};

use crate::time::Time;

/// The time and randomness that a room may use; it never reads a clock or a generator itself.
pub trait World: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Time;
    /// Fills `bytes` from a generator fit for keys.
    fn fill(&self, bytes: &mut [u8]);

    /// How long to sleep until `now` has moved on by so many microseconds; nothing if they are over. Whoever sleeps until a moment of this
    /// clock asks here: a test's clock may run faster than the machine's.
    fn sleep(&self, us: i64) -> Duration {
        Duration::from_micros(u64::try_from(us).unwrap_or(0))
    }

    /// A new UUIDv7: sorts by time.
    fn new_id(&self) -> Uuid {
        let mut random = [0; 10];
        self.fill(&mut random);
        Builder::from_unix_timestamp_millis(self.now().millis() as u64, &random).into_uuid()
    }
}
