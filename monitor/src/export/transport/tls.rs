//! TLS: from PEM files to a client's configuration, and from rustls's errors to words that name them.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore, SignatureScheme,
    client::{ResolvesClientCert, Resumption, WebPkiServerVerifier},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};

use super::{connection::TlsFiles, error::Fault, files::content, quote::Quote};
use crate::export::calendar::iso8601_millis;

/// The system's certificates, read once for all connections that want them at a time: they are some 150.
static SYSTEM_ROOTS: Mutex<Weak<RootCertStore>> = Mutex::new(Weak::new());

/// A client that trusts and presents what `files` hold, and offers `protocols`.
///
/// Where there is no client certificate, `lacks_certificate` becomes true when the receiver asks for one.
pub(super) fn client_config(
    files: &TlsFiles,
    protocols: &[&[u8]],
    lacks_certificate: Arc<AtomicBool>,
) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(ring::default_provider());
    let roots = match &files.ca {
        Some(path) => Arc::new(roots(path, "ca_file")?),
        None => system_roots()?,
    };
    let general =
        |error: &dyn std::fmt::Display| Fault::settings(format!("TLS cannot be set up: {error}"), "");
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(|error| general(&error))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| general(&error))?
        .with_webpki_verifier(verifier);
    let mut config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "client certificate")?;
            builder
                .with_client_auth_cert(chain, private_key(key, "client key")?)
                .map_err(|error| unfit(&error, certificate, key))?
        }
        (None, None) => builder.with_client_cert_resolver(Arc::new(NoCertificate(lacks_certificate))),
        _ => {
            return Err(Fault::settings(
                "a client certificate needs its key, and the other way round",
                "set both certificate_file and key_file, or neither",
            ));
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    // A resumed session would go on with the certificates that were rotated out; connections live long anyway.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// No client certificate, and whether the receiver has asked for one.
#[derive(Debug)]
struct NoCertificate(Arc<AtomicBool>);

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Whether a receiver that wants a client certificate may say so by this alert.
pub(super) fn may_want_one(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::HandshakeFailure
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecodeError
            | Alert::UnexpectedMessage
    )
}

fn system_roots() -> Result<Arc<RootCertStore>, Fault> {
    let mut shared = SYSTEM_ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(roots) = shared.upgrade() {
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}"));
        return Err(Fault::settings(
            format!("this system has no CA certificates{}", why.unwrap_or_default()),
            "install ca-certificates, or set ca_file",
        ));
    }
    let roots = Arc::new(roots);
    *shared = Arc::downgrade(&roots);
    Ok(roots)
}

/// The certificates in the file that `setting` names.
pub(super) fn roots(path: &Path, setting: &str) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "CA file")? {
        roots.add(certificate).map_err(|error| {
            Fault::settings(
                format!(
                    "the CA file {} holds an unusable certificate: {error}",
                    path.display()
                ),
                format!("set {setting} to PEM certificates of authorities"),
            )
        })?;
    }
    Ok(roots)
}

/// The certificates in a file, `what` they are.
pub(super) fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = content(path, what).map_err(Fault::of_file)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Fault::settings(
            format!("the {what} {} holds no certificate", path.display()),
            "it must be PEM, with BEGIN CERTIFICATE",
        )),
        // The parser's words may quote the file.
        Err(_) => Err(Fault::settings(
            format!("the {what} {} is damaged", path.display()),
            "write it anew, as PEM",
        )),
    }
}

/// The key in a file, `what` it is.
pub(super) fn private_key(path: &Path, what: &str) -> Result<PrivateKeyDer<'static>, Fault> {
    let bytes = content(path, what).map_err(Fault::of_file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let is_encrypted = bytes
            .windows(b"ENCRYPTED".len())
            .any(|window| window == b"ENCRYPTED");
        if is_encrypted {
            Fault::settings(
                format!("the {what} {} is encrypted", path.display()),
                "decrypt it: kevmon has no passphrase",
            )
        } else {
            Fault::settings(
                format!("the {what} {} holds no private key", path.display()),
                "it must be PEM, with BEGIN PRIVATE KEY",
            )
        }
    })
}

fn unfit(error: &Error, certificate: &Path, key: &Path) -> Fault {
    let (certificate, key) = (certificate.display(), key.display());
    match error {
        Error::InconsistentKeys(_) => Fault::settings(
            format!("the client key {key} is not that of the certificate {certificate}"),
            "set certificate_file and key_file to a pair",
        ),
        Error::InvalidCertificate(_) => Fault::settings(
            format!("the client certificate {certificate} is unusable: {error}"),
            "write it anew, as PEM",
        ),
        _ => Fault::settings(
            format!("the client key {key} is unusable: {error}"),
            "use an RSA, ECDSA or Ed25519 key",
        ),
    }
}

/// What `error` means for a connection to `host` with `files`.
pub(super) fn explain(error: &Error, files: &TlsFiles, host: &str) -> Fault {
    match error {
        Error::InvalidCertificate(error) => untrusted(error, files, host),
        Error::AlertReceived(alert) => refused(*alert, files, host),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Fault::unreachable(
            "the receiver does not speak TLS there",
            "check the port, or write http:// if cleartext is meant",
        ),
        Error::PeerIncompatible(_) => Fault::unreachable(
            format!("no TLS in common with the receiver: {error}"),
            "let it offer TLS 1.2 or 1.3",
        ),
        _ => Fault::unreachable(format!("TLS failed: {error}"), "see the receiver's log"),
    }
}

fn untrusted(error: &CertificateError, files: &TlsFiles, host: &str) -> Fault {
    let day = |time: &UnixTime| {
        let text = iso8601_millis(time.as_secs().saturating_mul(1_000_000_000));
        text.get(..10).unwrap_or_default().to_owned()
    };
    let quote = Quote::default();
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let against = match &files.ca {
                Some(path) => path.display().to_string(),
                None => "the system's certificates".to_owned(),
            };
            Fault::unreachable(
                format!("the receiver's certificate is not trusted: checked against {against}"),
                "set ca_file to the certificate of the authority that signed it",
            )
        }
        CertificateError::Expired => Fault::unreachable(
            "the receiver's certificate has expired",
            "renew it at the receiver, or set this host's clock",
        ),
        CertificateError::ExpiredContext { not_after, .. } => Fault::unreachable(
            format!("the receiver's certificate has expired, on {}", day(not_after)),
            "renew it at the receiver, or set this host's clock",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Fault::unreachable(
            "the receiver's certificate is not valid yet",
            "set the clocks, or replace it at the receiver",
        ),
        CertificateError::NotValidForName => Fault::unreachable(
            format!("the receiver's certificate is for another host than {host}"),
            "use a name that is in it, or replace it at the receiver",
        ),
        CertificateError::NotValidForNameContext { presented, .. } => Fault::unreachable(
            format!(
                "the receiver's certificate is for {}, not for {host}",
                quote.text(&presented.join(", "))
            ),
            "use a name that is in it, or replace it at the receiver",
        ),
        _ => Fault::unreachable(
            format!(
                "the receiver's certificate is not valid: {}",
                quote.text(&error.to_string())
            ),
            "replace it at the receiver",
        ),
    }
}

/// TLS 1.3 has an alert for a missing certificate; before, it is a general one.
fn refused(alert: AlertDescription, files: &TlsFiles, host: &str) -> Fault {
    use AlertDescription as Alert;
    let general = || {
        Fault::unreachable(
            format!("the receiver refused the TLS connection: {alert:?}"),
            "see the receiver's log",
        )
    };
    let Some(path) = &files.certificate else {
        return match alert {
            Alert::CertificateRequired | Alert::NoCertificate | Alert::BadCertificate => Fault::unreachable(
                "the receiver wants a client certificate",
                "set certificate_file and key_file",
            ),
            Alert::HandshakeFailure => Fault::unreachable(
                "the receiver refused the TLS connection: HandshakeFailure",
                "if it wants a client certificate, set certificate_file and key_file",
            ),
            _ => named(alert, host).unwrap_or_else(general),
        };
    };
    let why = match alert {
        Alert::CertificateExpired => "it has expired",
        Alert::CertificateRevoked => "it was revoked",
        Alert::UnknownCA => "its authority is unknown to the receiver",
        Alert::UnsupportedCertificate => "it is of an unsupported kind",
        Alert::AccessDenied => "it is not allowed access",
        Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateRequired
        | Alert::DecryptError
        | Alert::HandshakeFailure => "see the receiver's log",
        _ => return named(alert, host).unwrap_or_else(general),
    };
    Fault::unreachable(
        format!(
            "the receiver refused the client certificate {}: {why}",
            path.display()
        ),
        "set certificate_file and key_file to a pair that it accepts",
    )
}

fn named(alert: AlertDescription, host: &str) -> Option<Fault> {
    match alert {
        AlertDescription::NoApplicationProtocol => Some(Fault::unreachable(
            "the receiver speaks neither gRPC nor HTTP there",
            "check the port and the protocol",
        )),
        AlertDescription::ProtocolVersion => Some(Fault::unreachable(
            "no TLS version in common with the receiver",
            "let it offer TLS 1.2 or 1.3",
        )),
        AlertDescription::UnrecognisedName => Some(Fault::unreachable(
            format!("the receiver does not go by the name {host}"),
            "use a name that it knows",
        )),
        _ => None,
    }
}
