//! The fake's TLS: what it shows and whom it lets in. Unlike nginx it refuses a client during the handshake.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Authority, Identity};

pub(super) fn acceptor(server: &Identity, clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring knows them");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let certificate = CertificateDer::from_pem_file(authority.file()).expect("the tests' own PEM");
            roots.add(certificate).expect("a valid certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("an authority"))
        }
    };
    let certificate = CertificateDer::from_pem_file(&server.certificate).expect("the tests' own PEM");
    let key = PrivateKeyDer::from_pem_file(&server.key).expect("the tests' own PEM");
    let mut config = builder
        .with_single_cert(vec![certificate], key)
        .expect("a matching key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
