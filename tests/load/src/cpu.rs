//! CPU time of a process: user plus system time of all its threads, also of those that ended.

use std::time::Duration;

use anyhow::Context;

/// The kernel tells times to user space in hundredths of a second, whatever its own tick is.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used so far; `self` is this one.
pub fn used(process: &str) -> anyhow::Result<Duration> {
    // User and system time are the 12th and 13th field.
    let ticks: u32 = stat(process)?.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// What the kernel says a process is doing: `R` runs, `S` sleeps, `T` is stopped.
pub fn state(process: u32) -> anyhow::Result<char> {
    stat(&process.to_string())?.trim_start().chars().next().context("the kernel does not say what it does")
}

/// The fields after the name in brackets, which may hold anything.
fn stat(process: &str) -> anyhow::Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).with_context(|| format!("process {process} is gone"))?;
    Ok(stat.rsplit(')').next().unwrap_or_default().to_owned())
}

/// Microseconds per piece of work.
pub fn us_per(time: Duration, pieces: u64) -> f64 {
    time.as_secs_f64() * 1e6 / pieces.max(1) as f64
}
