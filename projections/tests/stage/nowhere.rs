//! Hosts to which no connection comes about: nobody listens, the name is nobody's, or TLS cannot be agreed on.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// A host over TLS whose certificate nobody vouches for.
pub struct SelfSigned {
    address: SocketAddr,
    greeted: Arc<AtomicUsize>,
}

impl SelfSigned {
    /// Listens until the test ends.
    pub fn listen() -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/self-signed.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/self-signed.key.pem")).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("they belong together");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (address, config, greeted) = (listener.local_addr().expect("it is bound"), Arc::new(config), Arc::new(AtomicUsize::new(0)));
        let seen = greeted.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(mut socket) = socket else { return };
                let mut connection = ServerConnection::new(config.clone()).expect("a good config");
                let shaken = connection.complete_io(&mut socket); // until the client says no
                assert!(shaken.is_err() || connection.is_handshaking(), "somebody took the certificate");
                seen.fetch_add(1, Relaxed);
            }
        });
        Self { address, greeted }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// How often somebody came and left again.
    pub fn greeted(&self) -> usize {
        self.greeted.load(Relaxed)
    }
}

/// A host that takes connections and never says a word.
pub fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port") // the kernel takes them, and nobody asks it for them
}
