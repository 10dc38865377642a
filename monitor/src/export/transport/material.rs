//! What the files of a connection hold, read again when they change: certificates, keys, header values.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::ClientConfig;
use secrecy::ExposeSecret;

use super::{
    connection::{Connection, HeaderValue as Source, Protocol, TlsFiles},
    error::Fault,
    files::{Files, content},
    quote::Quote,
    tls,
};

/// Headers that are not the configuration's to set: each is part of how a message is sent.
const RESERVED: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Headers and TLS of a connection as its files had them.
pub(super) struct Material {
    pub(super) headers: HeaderMap,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) quote: Quote,
    /// The receiver has asked for a client certificate, and there is none.
    pub(super) lacks_certificate: Arc<AtomicBool>,
    files: Files,
}

impl Material {
    /// Reads what `connection` names.
    pub(super) fn read(connection: &Connection, is_tls: bool, now: Instant) -> Result<Self, Fault> {
        // Before the files are read: a change in between is then seen next time.
        let files = Files::seen(files(connection), now);
        let headers = headers(&connection.headers)?;
        let lacks_certificate = Arc::default();
        let tls = if is_tls {
            let system = TlsFiles::default();
            let given = connection.tls.as_ref().unwrap_or(&system);
            Some(Arc::new(tls::client_config(
                given,
                protocols(connection.protocol),
                Arc::clone(&lacks_certificate),
            )?))
        } else {
            None
        };
        Ok(Self {
            quote: Quote::without(&headers),
            headers,
            tls,
            lacks_certificate,
            files,
        })
    }

    /// Whether the files are still the same; looks at most once a second.
    pub(super) fn is_current(&mut self, now: Instant) -> bool {
        self.files.are_current(now)
    }
}

/// What is offered to the receiver while TLS is set up (ALPN).
fn protocols(protocol: Protocol) -> &'static [&'static [u8]] {
    match protocol {
        Protocol::Grpc => &[b"h2"],
        Protocol::HttpProtobuf => &[b"h2", b"http/1.1"],
    }
}

fn files(connection: &Connection) -> impl Iterator<Item = &Path> {
    let headers = connection.headers.iter().filter_map(|(_, value)| match value {
        Source::File(path) => Some(path.as_path()),
        Source::Text(_) => None,
    });
    let tls = connection.tls.iter().flat_map(|files| {
        [&files.ca, &files.certificate, &files.key]
            .into_iter()
            .filter_map(Option::as_deref)
    });
    headers.chain(tls)
}

/// Values are marked sensitive, and no message holds any.
fn headers(configured: &[(String, Source)]) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    for (name, source) in configured {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            Fault::settings(
                format!("{name:?} is no name of a header"),
                "write letters, digits and hyphens",
            )
        })?;
        if RESERVED.contains(&key.as_str()) || key.as_str().starts_with("grpc-") {
            return Err(Fault::settings(
                format!("the header {key} is set by kevmon itself"),
                "remove it from the headers",
            ));
        }
        let (value, origin) = match source {
            Source::Text(text) => (text.expose_secret().as_bytes().to_vec(), String::new()),
            Source::File(path) => {
                let content = content(path, &format!("file of the header {key},")).map_err(Fault::of_file)?;
                (without_line_break(content), format!(" in {}", path.display()))
            }
        };
        let mut value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).map_err(|_| {
            Fault::settings(
                format!(
                    "the value of the header {key}{origin} holds a line break or another control character"
                ),
                "remove it",
            )
        })?;
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

fn without_line_break(mut content: Vec<u8>) -> Vec<u8> {
    if content.last() == Some(&b'\n') {
        content.pop();
        if content.last() == Some(&b'\r') {
            content.pop();
        }
    }
    content
}
