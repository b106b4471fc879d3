//! Free space on the volume, looked at about once a second and after every so many written bytes.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::metrics::Metrics;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes after which it is looked at again even within the second.
const LOOK_AFTER_BYTES: usize = 16 * 1_024 * 1_024;

/// Whether raw may still grow.
pub(super) struct Space {
    folder: PathBuf,
    free_bytes_min: u64,
    is_low: AtomicBool,
}

/// When it was last looked at. The commit thread holds it.
pub(super) struct Watch {
    looked_at: Option<Instant>,
    written_bytes: usize,
}

impl Space {
    pub(super) fn new(folder: PathBuf, free_bytes_min: u64) -> Self {
        Self { folder, free_bytes_min, is_low: AtomicBool::new(false) }
    }

    /// Under the floor.
    pub(super) fn is_low(&self) -> bool {
        self.is_low.load(Relaxed)
    }

    /// Looks now.
    pub(super) fn look(&self, metrics: &Metrics) {
        match rustix::fs::statvfs(&self.folder) {
            Ok(volume) => {
                let free_bytes = volume.f_bavail.saturating_mul(volume.f_frsize);
                let is_low = free_bytes < self.free_bytes_min;
                metrics.free_bytes.set(free_bytes as i64);
                if self.is_low.swap(is_low, Relaxed) != is_low {
                    if is_low {
                        tracing::error!(free_bytes, floor = self.free_bytes_min, "volume nearly full, new events are refused");
                    } else {
                        tracing::info!(free_bytes, "volume has room again");
                    }
                }
            }
            Err(cause) => tracing::warn!(%cause, "free space unknown"),
        }
    }
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { looked_at: None, written_bytes: 0 }
    }

    /// Looks again if it is time; says whether a second has passed.
    pub(super) fn wrote(&mut self, bytes: usize, space: &Space, metrics: &Metrics) -> bool {
        self.written_bytes += bytes;
        let is_second_over = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if is_second_over || self.written_bytes >= LOOK_AFTER_BYTES {
            space.look(metrics);
            self.looked_at = Some(Instant::now());
            self.written_bytes = 0;
        }
        is_second_over
    }
}
