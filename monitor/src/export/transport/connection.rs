//! What a transport has to know of a receiver, and the signals that it carries.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use secrecy::SecretString;

/// What a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// An `ExportMetricsServiceRequest`.
    Metrics,
    /// An `ExportLogsServiceRequest`.
    Logs,
    /// An `ExportTraceServiceRequest`.
    Traces,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Traces];

    /// Its name in configuration, in the spool and in attributes: `metrics`, `logs`, `traces`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    /// The signal of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.name() == name)
    }

    /// What its requests hold.
    pub fn items(self) -> &'static str {
        match self {
            Self::Metrics => "data points",
            Self::Logs => "log records",
            Self::Traces => "spans",
        }
    }
}

/// OTLP's two transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP.
    HttpProtobuf,
}

/// Where a header's value comes from.
#[derive(Debug, Clone)]
pub enum HeaderValue {
    /// Given as it is.
    Text(SecretString),
    /// The content of a file, without the line break at its end; read again when the file changes.
    File(PathBuf),
}

/// PEM files of a TLS connection, each read again when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// Certificates that vouch for the receiver; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and chain.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// How one signal reaches one receiver.
#[derive(Debug, Clone)]
pub struct Connection {
    /// gRPC: `scheme://host:port`; HTTP: the signal's whole URL; both: `unix:///path` for a socket of this host.
    pub url: String,
    /// The transport.
    pub protocol: Protocol,
    /// Whether requests are compressed, by gzip.
    pub gzip: bool,
    /// Further headers, by lower-case name.
    pub headers: Vec<(String, HeaderValue)>,
    /// Exactly where the URL's scheme is https.
    pub tls: Option<TlsFiles>,
    /// How long one request may take, connecting included.
    pub timeout: Duration,
    /// The HTTP proxy on the way there.
    pub proxy: Option<Proxy>,
}

/// An HTTP proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<SecretString>,
}

/// One request, as protobuf, on its way to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRequest {
    /// What it holds.
    pub signal: Signal,
    /// Data points, log records or spans in it.
    pub items: u64,
    /// When it was made, Unix ns.
    pub time: u64,
    /// The message, uncompressed, below 4 MiB (what a gRPC receiver accepts by default).
    pub body: Bytes,
}
