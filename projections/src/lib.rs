//! The messengers: each reads the log at its own pace and tells somebody outside what was concluded.
//!
//! | projection | reads | tells |
//! |---|---|---|
//! | [`capi`] | dispatches | Meta, by its Conversions API |
//!
//! What they never do: read raw, or write another room's table.

pub mod capi;
