//! What a receiver answered, and the responses that both transports share.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
    trace::v1::ExportTraceServiceResponse,
};
use prost::Message;

use super::{connection::Signal, error::Fault, quote::Quote};

/// The receiver took the request, or as much of it as it will ever take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// How many of the request's items it rejected for good.
    pub rejected: u64,
    /// What it said to that, or by the way; mostly empty.
    pub remark: String,
}

/// What to do when the receiver does not know the client.
pub(super) const UNAUTHORIZED: &str =
    "set the header that it wants (headers), or its client certificate (certificate_file, key_file)";

/// `google.rpc.Status`; HTTP receivers use it too.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RpcStatus {
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// How the body of an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// As it should.
    Whole,
    /// It went on and on; the rest was not read.
    TooLong,
    /// The connection did not last until its end, in words.
    Broken(String),
}

/// An answer, with as much of its body as is kept.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) end: End,
}

impl Answer {
    /// The media type in lower case, without parameters; empty when there is none.
    pub(super) fn media_type(&self) -> String {
        let value = self.headers.get(http::header::CONTENT_TYPE);
        let value = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }

    /// Fails unless the body is there to its end.
    pub(super) fn check_whole(&self) -> Result<(), Fault> {
        match &self.end {
            End::Whole => Ok(()),
            End::TooLong => Err(Fault::garbled(
                "the receiver's answer does not end within 64 KiB",
                "check that an OTLP receiver listens there",
            )),
            End::Broken(reason) => Err(Fault::unanswered(format!(
                "the receiver's answer broke off: {reason}"
            ))),
        }
    }
}

/// Reads `body` as the response to a request of `signal`.
pub(super) fn response(signal: Signal, body: Bytes, quote: &Quote) -> Result<Accepted, Fault> {
    let partial = match signal {
        Signal::Metrics => ExportMetricsServiceResponse::decode(body).map(|response| {
            response
                .partial_success
                .map(|partial| (partial.rejected_data_points, partial.error_message))
        }),
        Signal::Logs => ExportLogsServiceResponse::decode(body).map(|response| {
            response
                .partial_success
                .map(|partial| (partial.rejected_log_records, partial.error_message))
        }),
        Signal::Traces => ExportTraceServiceResponse::decode(body).map(|response| {
            response
                .partial_success
                .map(|partial| (partial.rejected_spans, partial.error_message))
        }),
    };
    let (rejected, message) = partial
        .map_err(|error| {
            Fault::garbled(
                format!("the receiver's answer is no OTLP response: {error}"),
                "check that an OTLP receiver listens there",
            )
        })?
        .unwrap_or_default();
    Ok(Accepted {
        rejected: u64::try_from(rejected).unwrap_or_default(),
        remark: quote.text(&message),
    })
}
