//! Where collections go, settled: each receiver with one connection for each signal.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use secrecy::SecretString;

use super::finding::quoted;

/// The name of the receiver that plugins use which name none.
pub const DEFAULT_RECEIVER: &str = "default";

/// How long one request may take when nothing says otherwise (OpenTelemetry's default).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// OTLP's two transports (OpenTelemetry Protocol Exporter, `OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// gRPC.
    #[default]
    Grpc,
    /// Protobuf over HTTP.
    HttpProtobuf,
}

impl FromStr for Protocol {
    type Err = String;

    /// The error says "what is wrong; what to do".
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::HttpProtobuf),
            _ => Err(format!(
                "{} is not a protocol that kevmon speaks; write grpc or http/protobuf",
                quoted(text)
            )),
        }
    }
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
}

impl FromStr for Compression {
    type Err = String;

    /// The error says "what is wrong; what to do".
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            _ => Err(format!(
                "{} is not a compression that kevmon knows; write none or gzip",
                quoted(text)
            )),
        }
    }
}

/// Where a header's value comes from. Values are secrets: they are read when a connection is made, and never shown.
#[derive(Debug, Clone)]
pub enum HeaderSource {
    /// Given as it is.
    Text(SecretString),
    /// The whole content of a file, without the line break at its end; read again when the file changes.
    File(PathBuf),
}

/// What a TLS connection is checked against and presents. Each file is PEM, and read again when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificates that vouch for the receiver; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its chain, and …
    pub certificate: Option<PathBuf>,
    /// … its key. Configuration has seen to it that there are both or none.
    pub key: Option<PathBuf>,
}

/// How one signal reaches one receiver.
#[derive(Debug, Clone)]
pub struct Connection {
    /// gRPC: `scheme://host:port`; HTTP: the signal's whole URL. No user info, no query.
    pub url: String,
    /// The transport.
    pub protocol: Protocol,
    /// The compression.
    pub compression: Compression,
    /// Further headers; names are lower-case and valid.
    pub headers: Vec<(String, HeaderSource)>,
    /// Exactly where the URL's scheme is https.
    pub tls: Option<Tls>,
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
    /// User and password, as `Proxy-Authorization` has them (`Basic …`).
    pub authorization: Option<SecretString>,
}

/// Largest request that a receiver is sent when nothing says otherwise, bytes: gRPC receivers take 4 MiB by default.
pub const DEFAULT_MAX_REQUEST: u64 = 4 << 20;

/// Which signals a receiver is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    /// Collections, and kevmon's own metrics.
    pub metrics: bool,
    /// Lifecycle events, and values that are texts.
    pub logs: bool,
    /// kevmon's own spans.
    pub traces: bool,
}

impl Signals {
    /// Those that `words` name: `metrics`, `logs`, `traces`.
    pub(crate) fn of(words: &[String]) -> Self {
        let named = |word: &str| words.iter().any(|one| one == word);
        Self {
            metrics: named("metrics"),
            logs: named("logs"),
            traces: named("traces"),
        }
    }
}

/// Where VictoriaMetrics and vmagent take OTLP (docs.victoriametrics.com, "OpenTelemetry"). They take metrics alone, and warn
/// of each request for another signal.
const METRICS_ALONE: &str = "/opentelemetry";

impl Signals {
    /// What a receiver with these addresses is sent when nothing says otherwise: all three, but neither logs nor traces where
    /// their address is VictoriaMetrics'.
    pub(crate) fn usual(logs: &Connection, traces: &Connection) -> Self {
        let takes = |connection: &Connection, path: &str| {
            let url = connection.url.split_once("://").map_or("", |(_, rest)| rest);
            let place = url.find('/').map_or("", |at| &url[at..]);
            place.strip_prefix(METRICS_ALONE) != Some(path)
        };
        Self {
            metrics: true,
            logs: takes(logs, "/v1/logs"),
            traces: takes(traces, "/v1/traces"),
        }
    }
}

/// A receiver.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// [`DEFAULT_RECEIVER`], a name of the settings file, or what a plugin wrote (an URL).
    pub name: String,
    /// Whether a flag, a variable or a file named it; if so, failing to reach it with `--run-once` is an error of its own.
    pub asked_for: bool,
    /// What named it: a flag, a variable, a key and its file, `plugin.toml` (`default_agent_*`) or `default`.
    pub from: String,
    /// For metrics.
    pub metrics: Connection,
    /// For lifecycle events.
    pub logs: Connection,
    /// For kevmon's own spans.
    pub traces: Connection,
    /// What of these it is sent.
    pub signals: Signals,
    /// Largest request that it is sent, bytes, uncompressed.
    pub max_request: u64,
}

/// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temporality {
    /// Every sum since its start.
    #[default]
    Cumulative,
    /// Counters and histograms since the last collection; up-down counters since their start.
    Delta,
    /// Histograms since the last collection, everything else since its start: kevmon's counters are read, not added to
    /// (asynchronous, in the SDK's words).
    LowMemory,
}

impl FromStr for Temporality {
    type Err = String;

    /// In any case; the error says "what is wrong; what to do".
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "cumulative" => Ok(Self::Cumulative),
            "delta" => Ok(Self::Delta),
            "lowmemory" => Ok(Self::LowMemory),
            _ => Err(format!(
                "{} is not a temporality preference; write cumulative, delta or lowmemory",
                quoted(text)
            )),
        }
    }
}

/// How much is kept for a receiver that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Of all requests together, compressed, bytes.
    pub bytes: u64,
    /// Of the oldest request.
    pub age: Duration,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            age: Duration::from_hours(24),
        }
    }
}

/// kevmon's own telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Telemetry {
    /// Whether there is any.
    pub enabled: bool,
    /// Time between two exports of its metrics.
    pub interval: Duration,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
        }
    }
}

/// Where OTLP/JSON lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonTarget {
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

/// Outputs beside the receivers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outputs {
    /// OTLP/JSON lines.
    pub otlp_json: Option<JsonTarget>,
    /// The endpoint that Prometheus reads.
    pub prometheus: Option<PrometheusPage>,
}

/// The page for Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusPage {
    /// Where it is served.
    pub address: SocketAddr,
    /// Whether it shows when each sum began (`_created`, OpenMetrics alone).
    pub created: bool,
    /// The file of the token that readers have to send; `None`: they need none.
    pub token: Option<PathBuf>,
    /// The files of its TLS; `None`: it is served in clear text.
    pub tls: Option<PageTls>,
    /// Host names that it goes by, in lower case, besides this host's loopback names and addresses.
    pub hosts: Vec<String>,
}

/// PEM files of the page's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageTls {
    /// The certificate that the page shows, and its chain.
    pub certificate: PathBuf,
    /// That certificate's key.
    pub key: PathBuf,
    /// Certificates that vouch for readers; `None`: readers need no certificate.
    pub client_ca: Option<PathBuf>,
}
