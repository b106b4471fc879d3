//! The session: nodes, datacenter, consistency, time limits, TLS.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use rustls_platform_verifier::ConfigVerifierExt;
use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    policies::retry::DefaultRetryPolicy,
    statement::Consistency,
};

use super::CqlConfig;
use crate::OpenError;

/// How often a first connection is tried before the boot is refused.
const CONNECT: Duration = Duration::from_secs(5);

/// Connects, to no keyspace yet.
pub(super) async fn connect(config: &CqlConfig) -> Result<Session, OpenError> {
    let keyspace = config.checked_keyspace().map_err(OpenError::Cluster)?;
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .request_timeout(Some(Duration::from_millis(config.request_timeout_ms)))
        .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(CONNECT)
        .keyspaces_to_fetch([keyspace])
        .tls_context(tls(config).map_err(OpenError::Cluster)?);
    if !config.datacenter.is_empty() {
        builder = builder.prefer_datacenter(config.datacenter.clone());
    }
    if !config.username.is_empty() {
        builder = builder.user(&config.username, &config.password);
    }
    let nodes = config.nodes.join(", ");
    let away = |error| OpenError::Away(format!("no CQL server answers at {nodes} ({error}); check storage.cql.nodes"));
    builder.build().await.map_err(away)
}

fn tls(config: &CqlConfig) -> Result<Option<Arc<ClientConfig>>, String> {
    if !config.tls {
        return Ok(None);
    }
    let Some(file) = &config.tls_ca_file else {
        let trusted = ClientConfig::with_platform_verifier();
        return trusted
            .map(|trusted| Some(Arc::new(trusted)))
            .map_err(|error| format!("the system's certificates cannot be used: {error}"));
    };
    let wrong = |error: &dyn std::fmt::Display| format!("storage.cql.tls_ca_file {}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    Ok(Some(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())))
}
