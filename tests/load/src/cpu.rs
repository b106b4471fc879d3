//! CPU time of a process: user plus system time of all its threads, also of those that ended.

use std::time::Duration;

use anyhow::Context;

/// The kernel tells times to user space in hundredths of a second, whatever its own tick is.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used so far; `self` is this one.
pub fn used(process: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).with_context(|| format!("process {process} is gone"))?;
    // The name in brackets may hold anything; the fields after it are numbers. User and system time are the 12th and 13th of them.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// Microseconds per piece of work.
pub fn us_per(time: Duration, pieces: u64) -> f64 {
    time.as_secs_f64() * 1e6 / pieces.max(1) as f64
}
