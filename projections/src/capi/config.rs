//! The sink's settings: section `[capi]` of the settings file.

use serde::Deserialize;

/// The sink's settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where Meta's Graph API answers: scheme, host, port.
    pub base_url: String,
    /// The Graph API version in the path.
    pub api_version: String,
    /// The whole address of Meta's browser script; the door hands it to pages, the sink does not use it.
    pub pixel_script_url: String,
    /// How long one request may take.
    pub request_timeout_ms: u64,
    /// How long the first dispatch of a batch waits for company.
    pub linger_ms: u64,
    /// Requests to one pixel at once while whole batches wait for it; else one.
    pub in_flight_max: usize,
    /// Most events in one request.
    pub batch_events_max: usize,
    /// Bytes of events in one request; a single larger event still goes, alone.
    pub batch_bytes_max: usize,
    /// Bytes of dispatches in memory, over all pixels.
    pub pending_bytes_max: usize,
    /// How long a dispatch may stand in its pixel's queue before the pixel counts as slow: reading waits no longer for it.
    pub read_hold_ms: u64,
    /// The longest pause after the first failure of a pixel; doubled by each further one.
    pub retry_base_ms: u64,
    /// The longest pause between two tries.
    pub retry_max_ms: u64,
    /// The pause between two probes of a pixel whose token or permission is refused.
    pub probe_ms: u64,
    /// How long after its first ambiguous attempt a dispatch may be sent again.
    pub ambiguous_resend_hours: u32,
    /// How long requests in flight may take to finish when told to stop.
    pub drain_timeout_ms: u64,
}

/// Microseconds of a setting in milliseconds.
pub(super) fn micros(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX)
}
