//! Encrypted connections. Certificates are always checked; there is no switch.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The client's side of TLS, trusting the authorities of that file, or the system's.
pub(super) fn client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let unusable = |cause: &dyn std::fmt::Display| format!("the file of authorities {} cannot be used: {cause}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(|cause| unusable(&cause))? {
            roots.add(certificate.map_err(|cause| unusable(&cause))?).map_err(|cause| unusable(&cause))?;
        }
        if roots.is_empty() {
            return Err(unusable(&"there is no certificate in it"));
        }
    } else {
        // Some systems carry authorities that cannot be read; the others serve.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("the system trusts no authority; name a file of authorities".to_owned());
        }
    }
    // The provider is named, so that it does not matter which others are compiled in.
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
        .map_err(|cause| format!("TLS cannot be set up: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("authorities.pem");
        for said in [client(Some(&path)), std::fs::write(&path, "no certificate").map_or(client(Some(&path)), |()| client(Some(&path)))] {
            assert!(said.err().is_some_and(|sentence| sentence.contains("authorities.pem")));
        }
    }
}
