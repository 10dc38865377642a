//! Judges a gRPC answer (gRPC over HTTP2, "Responses"; OTLP's specification, "OTLP/gRPC Response").

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use prost::Message;
use tonic::{Code, metadata::MetadataMap};

use super::{
    answer::{self, Accepted, Answer, RpcStatus, UNAUTHORIZED},
    connection::Signal,
    error::{Failure, Fault},
    http::{self as over_http, longest},
    quote::Quote,
};

const DETAILS: &str = "grpc-status-details-bin";

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Delay {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// What became of a request of `signal`.
pub(super) fn judge(answer: &Answer, signal: Signal, quote: &Quote) -> Result<Accepted, Fault> {
    let status = [answer.trailers.as_ref(), Some(&answer.headers)]
        .into_iter()
        .flatten()
        .find(|headers| headers.contains_key("grpc-status"));
    let Some(status) = status else {
        return Err(without_status(answer, quote));
    };
    let (code, message, details) = read(status, quote);
    if code == Code::Ok {
        answer.check_whole()?;
        return response(answer, signal, quote);
    }
    Err(refusal(code, &message, retry_info(&details)))
}

/// A receiver that knows gRPC always sends a status.
fn without_status(answer: &Answer, quote: &Quote) -> Fault {
    if answer.status != StatusCode::OK {
        let mut fault = over_http::refusal(answer, quote);
        if fault.failure == Failure::Unsupported {
            fault.remedy = "check the port: HTTP is spoken there, and perhaps no gRPC".to_owned();
        }
        return fault;
    }
    if !answer.media_type().starts_with("application/grpc") {
        return Fault::garbled(
            format!(
                "the receiver answers with content type {:?}, which is not gRPC",
                quote.text(&answer.media_type())
            ),
            "check the port, or set the protocol to http/protobuf",
        );
    }
    match answer.check_whole() {
        Err(fault) => fault,
        Ok(()) => Fault::unanswered("the receiver's answer ends without a status"),
    }
}

/// Code, message and details. Not by tonic's own reader, which panics at details that are not base64.
fn read(status: &HeaderMap, quote: &Quote) -> (Code, String, Vec<u8>) {
    let details = MetadataMap::from_headers(status.clone())
        .get_bin(DETAILS)
        .and_then(|value| value.to_bytes().ok())
        .map(|bytes| bytes.to_vec())
        .unwrap_or_default();
    let only = |names: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for name in names {
            if let Some(value) = status.get(*name) {
                headers.insert(*name, value.clone());
            }
        }
        tonic::Status::from_header_map(&headers)
    };
    let code = only(&["grpc-status"]).map_or(Code::Unknown, |status| status.code());
    // A message that is no text makes tonic forget the code.
    let message = only(&["grpc-status", "grpc-message"])
        .filter(|status| status.code() == code)
        .map(|status| quote.text(status.message()))
        .unwrap_or_default();
    (code, message, details)
}

/// How long the receiver wants to be left alone, where it says that it will recover.
fn retry_info(details: &[u8]) -> Option<Option<Duration>> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status
        .details
        .iter()
        .find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay;
    Some(delay.and_then(|delay| {
        let seconds = u64::try_from(delay.seconds).ok()?;
        let nanos = u32::try_from(delay.nanos).ok()?.min(999_999_999);
        longest(Duration::new(seconds, nanos))
    }))
}

/// OTLP's specification, "Failures". CANCELLED and DEADLINE_EXCEEDED are mostly said by what stands between, and
/// nobody knows how far the request came.
fn refusal(code: Code, message: &str, retry_info: Option<Option<Duration>>) -> Fault {
    let (failure, remedy) = match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => (Failure::Busy, "it is sent again"),
        Code::ResourceExhausted if retry_info.is_some() => (Failure::Busy, "it is sent again"),
        Code::Unimplemented => (
            Failure::Unsupported,
            "let the receiver take this signal over gRPC, or send it none",
        ),
        Code::Unauthenticated | Code::PermissionDenied => (Failure::Unauthorized, UNAUTHORIZED),
        _ => (Failure::Refused, "it is not sent again; see the receiver's log"),
    };
    let separator = if message.is_empty() { "" } else { ": " };
    let mut fault = Fault::new(
        failure,
        format!("the receiver answers {}{separator}{message}", name(code)),
        remedy,
    );
    fault.may_have_arrived = matches!(code, Code::Cancelled | Code::DeadlineExceeded);
    if failure == Failure::Busy {
        fault.delay = retry_info.flatten();
    }
    fault
}

/// As the protocol names it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Exactly one message, not compressed: compression was not offered.
fn response(answer: &Answer, signal: Signal, quote: &Quote) -> Result<Accepted, Fault> {
    let message = answer
        .body
        .split_first_chunk::<5>()
        .and_then(|(prefix, message)| {
            let [flag, length @ ..] = *prefix;
            let fits =
                usize::try_from(u32::from_be_bytes(length)).is_ok_and(|length| length == message.len());
            (flag == 0 && fits).then(|| answer.body.slice_ref(message))
        });
    match message {
        Some(message) => answer::response(signal, message, quote),
        None => Err(Fault::garbled(
            "the receiver's answer holds no gRPC message",
            "check that an OTLP receiver listens there",
        )),
    }
}
