//! The browser's batch.
