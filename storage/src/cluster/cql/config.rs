//! What is needed to speak with a CQL server.

use std::{fmt, path::PathBuf};

/// The ledger's settings.
#[derive(Clone)]
pub struct CqlConfig {
    /// Nodes to begin with, `host:port`.
    pub nodes: Vec<String>,
    /// The keyspace: a letter, then letters, digits and underscores, in lower case.
    pub keyspace: String,
    /// The datacenter that is asked; empty: that of the first node that answers.
    pub datacenter: String,
    /// Copies of each row; used when the keyspace is made.
    pub replication_factor: u32,
    /// Empty: no authentication.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// Whether the connections are encrypted and the server's certificate is checked.
    pub tls: bool,
    /// The authorities that may have signed it; `None`: those the system trusts.
    pub tls_ca_file: Option<PathBuf>,
    /// How long one statement may take.
    pub request_timeout_ms: u64,
    /// Statements of this process on their way at once.
    pub in_flight_max: usize,
}

impl fmt::Debug for CqlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlConfig").field("nodes", &self.nodes).field("keyspace", &self.keyspace).finish_non_exhaustive()
    }
}

impl CqlConfig {
    /// Says what is wrong with the keyspace's name: it stands in statements as it is.
    pub(super) fn checked_keyspace(&self) -> Result<&str, String> {
        let name = self.keyspace.as_str();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.len() <= 48 && name.bytes().all(fits) && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase()) {
            return Ok(name);
        }
        Err(format!(
            "storage.cql.keyspace cannot be {name:?}: a lower-case letter, then up to 47 lower-case letters, digits and underscores"
        ))
    }
}
