//! Certificates of the tests' own authorities, made anew in each run and written as PEM.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// One that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A server on this machine: 127.0.0.1, ::1 and localhost.
    Server,
    Client,
}

/// Until when it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// For as long as the tests run.
    Now,
    /// It ended in 2020.
    Expired,
}

impl Authority {
    /// A new one; its own certificate goes to `NAME.pem` in `folder`.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        let file = folder.join(format!("{name}.pem"));
        write(&file, &issuer.pem());
        Self { issuer, file }
    }

    /// Its own certificate.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Signs a new key: `NAME.pem` and `NAME.key` in `folder`, over what is there.
    pub fn sign(&self, folder: &Path, name: &str, purpose: Purpose, validity: Validity) -> Identity {
        let names: &[&str] = match purpose {
            Purpose::Server => &["127.0.0.1", "::1", "localhost"],
            Purpose::Client => &[],
        };
        let mut params = params(names, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if validity == Validity::Expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let identity = Identity {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        write(&identity.certificate, &certificate.pem());
        write(&identity.key, &key.serialize_pem());
        identity
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("valid names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}

/// Renamed into place: whoever reads the file meanwhile has the old one or the new one.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap_or_else(|error| panic!("{}: {error}", new.display()));
    fs::rename(&new, file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
