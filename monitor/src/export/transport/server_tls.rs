//! TLS of a server: from PEM files to its configuration.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use super::tls::{certificates, private_key, roots};

/// PEM files of a server's TLS.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// The server's certificate and chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificates that vouch for clients; `None`: clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

impl ServerTls {
    pub(in crate::export) fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key]
            .into_iter()
            .chain(&self.client_ca)
            .map(PathBuf::as_path)
    }
}

/// A server for HTTP/1.1 that presents and trusts what `files` hold.
///
/// # Errors
/// A file cannot be used: which, why, and what to do.
pub(in crate::export) fn server_config(files: &ServerTls) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let general = |error: &dyn std::fmt::Display| format!("TLS cannot be set up: {error}");
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| general(&error))?;
    let builder = match &files.client_ca {
        Some(path) => {
            let roots: RootCertStore = roots(path, "client_ca_file").map_err(|fault| fault.text())?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| general(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = certificates(&files.certificate, "certificate").map_err(|fault| fault.text())?;
    let key = private_key(&files.key, "key").map_err(|fault| fault.text())?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        format!(
            "the certificate {} and the key {} cannot be used together: {error}; set certificate_file and key_file to a \
             pair",
            files.certificate.display(),
            files.key.display()
        )
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would go on with a certificate that is no longer trusted; a scrape is one connection.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
