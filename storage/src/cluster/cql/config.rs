//! What is needed to reach the CQL server.

use std::{fmt, path::PathBuf};

/// What is needed to reach the CQL server and to be a good guest there.
#[derive(Clone)]
pub struct CqlConfig {
    /// Nodes to ask first, each `host:port`; the others are found through them.
    pub nodes: Vec<String>,
    /// The keyspace: a lower-case letter, then up to 47 of lower-case letters, digits and `_`.
    pub keyspace: String,
    /// The datacenter to stay in; empty: that of the first node that answers.
    pub datacenter: String,
    /// Copies of each row, when `migrate` makes the keyspace; otherwise the keyspace says.
    pub replication_factor: u32,
    /// User name; empty: none is asked for.
    pub username: String,
    /// Its password.
    pub password: String,
    /// Whether connections are encrypted. Certificates are always checked, and the driver checks them against the node's address: they
    /// must name it.
    pub tls: bool,
    /// The authorities to trust, as PEM; `None`: those of the system.
    pub tls_ca_file: Option<PathBuf>,
    /// Milliseconds after which a statement is given up.
    pub request_timeout_ms: u64,
    /// Statements that this process has under way at one time; beyond it they wait.
    pub in_flight_max: usize,
}

impl fmt::Debug for CqlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlConfig")
            .field("nodes", &self.nodes)
            .field("keyspace", &self.keyspace)
            .field("datacenter", &self.datacenter)
            .field("replication_factor", &self.replication_factor)
            .field("username", &self.username)
            .field("password", &"…")
            .field("tls", &self.tls)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("request_timeout_ms", &self.request_timeout_ms)
            .field("in_flight_max", &self.in_flight_max)
            .finish()
    }
}

/// Longest name of a keyspace that every server takes.
const KEYSPACE_BYTES_MAX: usize = 48;

impl CqlConfig {
    /// Refuses with a sentence what can not work. The keyspace's name becomes part of statements, so it is a plain word.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.nodes.is_empty() || self.nodes.iter().any(String::is_empty) {
            return Err("name at least one CQL node as host:port".to_owned());
        }
        let name = self.keyspace.as_bytes();
        let is_word = name.first().is_some_and(u8::is_ascii_lowercase)
            && name.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_');
        if !is_word || name.len() > KEYSPACE_BYTES_MAX {
            return Err(format!(
                "the keyspace {:?} is no name: a lower-case letter, then up to 47 of lower-case letters, digits and _",
                self.keyspace
            ));
        }
        if self.replication_factor == 0 || self.request_timeout_ms == 0 || self.in_flight_max == 0 {
            return Err("replication factor, request timeout and statements in flight must be at least 1".to_owned());
        }
        if !self.tls && self.tls_ca_file.is_some() {
            return Err("a file of authorities is named but TLS is off; switch it on, or leave the file out".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> CqlConfig {
        CqlConfig {
            nodes: vec!["127.0.0.1:9042".into()],
            keyspace: "rapidmetrics".into(),
            datacenter: String::new(),
            replication_factor: 3,
            username: "u".into(),
            password: "secret".into(),
            tls: false,
            tls_ca_file: None,
            request_timeout_ms: 5_000,
            in_flight_max: 256,
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        assert!(!format!("{:?}", config()).contains("secret"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_sentence() {
        assert_eq!(config().check(), Ok(()));
        for name in ["", "Rapid", "1a", "_a", "a-b", "a; DROP KEYSPACE b", &"a".repeat(49)] {
            assert!(CqlConfig { keyspace: name.into(), ..config() }.check().is_err(), "{name}");
        }
        assert!(CqlConfig { nodes: vec![], ..config() }.check().is_err());
        assert!(CqlConfig { in_flight_max: 0, ..config() }.check().is_err());
        assert!(CqlConfig { tls_ca_file: Some("ca.pem".into()), ..config() }.check().is_err());
    }
}
