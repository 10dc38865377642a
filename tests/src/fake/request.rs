//! What a request is: its signal and transport by its path, its message by the official protobufs.

use std::{collections::BTreeMap, io::Read};

use flate2::read::GzDecoder;
use hyper::HeaderMap;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message as _;

use super::{Behaviour, Moment};

/// OTLP's signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    Metrics,
    Logs,
    Traces,
}

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    Grpc,
    Http,
}

/// A request, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
    Traces(ExportTraceServiceRequest),
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub at: Moment,
    pub signal: Signal,
    pub transport: Transport,
    /// What became of it.
    pub behaviour: Behaviour,
    pub gzip: bool,
    /// Bytes as they came, before decompression.
    pub bytes: usize,
    /// By lower-case name; the last one of each.
    pub headers: BTreeMap<String, String>,
    /// Which connection brought it, counted from 1.
    pub connection: usize,
    pub message: Message,
}

/// The signal and the transport that a path stands for (OTLP 1.x: gRPC's services, HTTP's default paths).
pub(super) fn addressed(path: &str) -> Option<(Signal, Transport)> {
    const PATHS: [(&str, &str, Signal); 3] = [
        (
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            "/v1/metrics",
            Signal::Metrics,
        ),
        (
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            "/v1/logs",
            Signal::Logs,
        ),
        (
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "/v1/traces",
            Signal::Traces,
        ),
    ];
    PATHS.into_iter().find_map(|(grpc, http, signal)| {
        if path == grpc {
            Some((signal, Transport::Grpc))
        } else {
            (path == http).then_some((signal, Transport::Http))
        }
    })
}

/// The message and whether it was compressed.
pub(super) fn decode(
    signal: Signal,
    transport: Transport,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Message, bool), String> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    };
    let (payload, gzip) = match transport {
        Transport::Http => {
            expect(text("content-type"), "application/x-protobuf", "content-type")?;
            (body, text("content-encoding") == "gzip")
        }
        Transport::Grpc => {
            if !text("content-type").starts_with("application/grpc") {
                return Err(format!("content-type {:?}", text("content-type")));
            }
            let (flag, payload) = frame(body)?;
            if flag {
                expect(text("grpc-encoding"), "gzip", "grpc-encoding")?;
            }
            (payload, flag)
        }
    };
    let plain = if gzip { inflate(payload)? } else { payload.to_vec() };
    let message = match signal {
        Signal::Metrics => ExportMetricsServiceRequest::decode(&plain[..]).map(Message::Metrics),
        Signal::Logs => ExportLogsServiceRequest::decode(&plain[..]).map(Message::Logs),
        Signal::Traces => ExportTraceServiceRequest::decode(&plain[..]).map(Message::Traces),
    };
    message
        .map(|message| (message, gzip))
        .map_err(|error| format!("{signal:?} over {transport:?}: {error}"))
}

fn expect(value: &str, expected: &str, what: &str) -> Result<(), String> {
    if value == expected {
        return Ok(());
    }
    Err(format!("{what} is {value:?}, not {expected:?}"))
}

/// gRPC's one message: a flag, a length and as many bytes.
fn frame(body: &[u8]) -> Result<(bool, &[u8]), String> {
    let [flag @ (0 | 1), a, b, c, d, payload @ ..] = body else {
        return Err(format!("no gRPC frame in {} bytes", body.len()));
    };
    if usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])) != Ok(payload.len()) {
        return Err(format!("a gRPC frame of another length than {}", payload.len()));
    }
    Ok((*flag == 1, payload))
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let result = GzDecoder::new(bytes).read_to_end(&mut plain);
    result.map(|_| plain).map_err(|error| format!("gzip: {error}"))
}

/// Headers as text.
pub(super) fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), text)
        })
        .collect()
}
