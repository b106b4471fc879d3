//! The real world: the system's clock and its generator of random bytes.

use rand::Rng;
use schemas::{time::Time, world::World};

/// The real world.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealWorld;

impl World for RealWorld {
    fn now(&self) -> Time {
        // A clock before 1970 is held at 1970: `Time` cannot say less.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(since.as_micros() as i64)
    }

    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}
