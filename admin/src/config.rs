//! This room's settings; each is explained in `deploy/defaults.toml`.

use serde::Deserialize;

/// Section `[admin]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the admin listener is opened; the house opens it.
    pub listen: String,
    /// Connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// How long a connection may take to send the head of its next request.
    pub header_timeout_ms: u64,
    /// How long a request may take to send its body.
    pub body_timeout_ms: u64,
}
