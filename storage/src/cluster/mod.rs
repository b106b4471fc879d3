//! The cluster engine's halves.

#[allow(dead_code, unused_imports, reason = "the engine that calls it comes with the other half, Kafka")]
pub(crate) mod cql;
