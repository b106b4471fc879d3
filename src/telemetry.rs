//! The log of this process: fragments with fields on standard error. `error` means a human must come, `warn` that we recovered from a
//! surprise, `info` that the state changed, `debug` may be per request.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Starts logging as the settings say.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).with_context(|| format!("log.level cannot be {:?}", log.level))?;
    write(filter);
    Ok(())
}

/// Starts logging for a command, whose output belongs to its user: surprises only.
pub fn start_quietly() {
    write(EnvFilter::new("warn"));
}

fn write(filter: EnvFilter) {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_env_filter(filter).init();
}
