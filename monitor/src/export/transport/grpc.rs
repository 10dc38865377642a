//! Judges a gRPC answer (gRPC over HTTP2, "Responses"; OTLP's specification, "OTLP/gRPC Response").

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use prost::Message;
use tonic::{Code, metadata::MetadataMap};

use super::{
    answer::{Accepted, Answer, End, RpcStatus, UNAUTHORIZED},
    content,
    error::{Failure, Fault},
    http::{self as over_http, longest},
    partial,
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

/// What became of a request.
pub(super) fn judge(answer: &Answer, quote: &Quote) -> Result<Accepted, Fault> {
    let status = [answer.trailers.as_ref(), Some(&answer.headers)]
        .into_iter()
        .flatten()
        .find(|headers| headers.contains_key("grpc-status"));
    let Some(status) = status else {
        return Err(without_status(answer, quote));
    };
    let (code, message, details) = read(status, quote);
    if code == Code::Ok {
        return response(answer, quote);
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
    match &answer.end {
        // Without its end, an answer over gRPC says nothing yet.
        End::Broken(reason) => Fault::unanswered(format!("the receiver's answer broke off: {reason}")),
        End::TooLong => Fault::unreadable("the receiver's answer does not end within 16 MiB", false),
        End::Whole | End::Cut => Fault::unreadable("the receiver's answer ends without a status", false),
    }
}

/// Code, message and details. Not by tonic's own reader, which panics at details that are not base64, and logs a warning
/// for each message that is no text.
fn read(status: &HeaderMap, quote: &Quote) -> (Code, String, Vec<u8>) {
    let details = MetadataMap::from_headers(status.clone())
        .get_bin(DETAILS)
        .and_then(|value| value.to_bytes().ok())
        .map(|bytes| bytes.to_vec())
        .unwrap_or_default();
    let code = status.get("grpc-status");
    let code = code.map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()));
    let message = status.get("grpc-message");
    let message = message.map_or_else(Vec::new, |message| percent_decoded(message.as_bytes()));
    (code, quote.bytes(&message), details)
}

/// A percent-encoded message; what is no encoding stands for itself (gRPC over HTTP2, "Responses": a message that
/// cannot be decoded is shown rather than thrown away).
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let code = match behind {
            [high, low, ..] if byte == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        match code {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &behind[2..];
            }
            None => {
                decoded.push(byte);
                rest = behind;
            }
        }
    }
    decoded
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
        Code::ResourceExhausted | Code::OutOfRange if retry_info.is_none() && is_about_size(message) => (
            Failure::TooLarge,
            "let it take larger requests, or set max_request_bytes",
        ),
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

/// Whether a server's message says that the request is larger than it takes: there is no status of its own for that
/// (grpc-go, the C core and Java answer RESOURCE_EXHAUSTED, tonic OUT_OF_RANGE).
fn is_about_size(message: &str) -> bool {
    const WORDS: [&str; 4] = [
        "larger than max",
        "exceeds maximum size",
        "exceeds the maximum",
        "too large",
    ];
    let message = message.to_ascii_lowercase();
    WORDS.iter().any(|words| message.contains(words))
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

/// Exactly one message. It may be compressed although nobody asked for it: grpc-go answers in the coding of the request
/// (grpc/grpc-go#2749).
fn response(answer: &Answer, quote: &Quote) -> Result<Accepted, Fault> {
    let unreadable = |reason: String| Err(Fault::unreadable(reason, true));
    let no_message = || unreadable("the receiver's answer holds no gRPC message".to_owned());
    let Some((prefix, message)) = answer.body.split_first_chunk::<5>() else {
        return no_message();
    };
    let [flag, length @ ..] = *prefix;
    let is_cut = match usize::try_from(u32::from_be_bytes(length)) {
        Ok(length) if length == message.len() => false,
        Ok(length) if length > message.len() && answer.end == End::Cut => true,
        _ => return no_message(),
    };
    let coding = match (flag, answer.text("grpc-encoding")) {
        (0, _) => "identity",
        (1, "" | "identity") => "none that it names",
        (1, coding) => coding,
        _ => return no_message(),
    };
    let Some(content) = content::decoded(coding, &answer.body.slice_ref(message)) else {
        return unreadable(format!(
            "the receiver's answer cannot be decompressed ({})",
            quote.text(coding)
        ));
    };
    if is_cut || !content.whole {
        return Ok(partial::protobuf_beginning(&content.bytes, quote).unwrap_or_else(Accepted::unread));
    }
    match partial::protobuf(&content.bytes, quote) {
        Some(accepted) => Ok(accepted),
        None => unreadable("the receiver's answer is no OTLP response".to_owned()),
    }
}
