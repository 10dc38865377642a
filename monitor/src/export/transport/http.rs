//! Judges an answer over plain HTTP (OTLP's specification, "OTLP/HTTP Response").

use std::time::{Duration, SystemTime};

use http::{StatusCode, header};
use prost::Message;

use super::{
    answer::{self, Accepted, Answer, RpcStatus, UNAUTHORIZED},
    connection::Signal,
    error::{Failure, Fault},
    quote::Quote,
};

/// What the specification has protobuf messages called.
const PROTOBUF: &str = "application/x-protobuf";

/// Longest time that a receiver may ask to be left alone for.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 3600);

/// What became of a request of `signal`.
pub(super) fn judge(answer: &Answer, signal: Signal, quote: &Quote) -> Result<Accepted, Fault> {
    if !answer.status.is_success() {
        return Err(refusal(answer, quote));
    }
    answer.check_whole()?;
    // An empty body is a response that says nothing, whatever it is called.
    if answer.body.is_empty() {
        return Ok(Accepted::default());
    }
    let is_plain = answer
        .headers
        .get(header::CONTENT_ENCODING)
        .is_none_or(|encoding| encoding == "identity");
    if !matches!(
        answer.media_type().as_str(),
        "" | PROTOBUF | "application/protobuf"
    ) || !is_plain
    {
        return Err(Fault::garbled(
            format!(
                "the receiver answers with content type {:?} instead of {PROTOBUF}",
                quote.text(&answer.media_type())
            ),
            "check the address: it may be that of a web page",
        ));
    }
    answer::response(signal, answer.body.clone(), quote)
}

/// What any status but success means. 502 and 504 come from what stands between, and nobody knows how far the
/// request came.
pub(super) fn refusal(answer: &Answer, quote: &Quote) -> Fault {
    let status = answer.status;
    if status.is_redirection() {
        return redirect(answer, quote);
    }
    let (failure, remedy) = match status.as_u16() {
        429 | 502 | 503 | 504 => (Failure::Busy, "it is sent again"),
        404 => (
            Failure::Unsupported,
            "check the path of the address, let the receiver take this signal, or send it none",
        ),
        401 | 403 => (Failure::Unauthorized, UNAUTHORIZED),
        _ => (Failure::Refused, "it is not sent again; see the receiver's log"),
    };
    let message = message(answer, quote);
    let separator = if message.is_empty() { "" } else { ": " };
    let mut fault = Fault::new(
        failure,
        format!("the receiver answers {}{separator}{message}", called(status)),
        remedy,
    );
    fault.may_have_arrived = matches!(status.as_u16(), 502 | 504);
    if failure == Failure::Busy {
        fault.delay = retry_after(answer, SystemTime::now());
    }
    fault
}

fn called(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

fn redirect(answer: &Answer, quote: &Quote) -> Fault {
    let location = answer.headers.get(header::LOCATION).map(|location| {
        let location = String::from_utf8_lossy(location.as_bytes());
        format!(" to {}", quote.text(&super::target::shown(&location)))
    });
    Fault::new(
        Failure::Refused,
        format!(
            "the receiver redirects{} ({}), and redirects are not followed",
            location.unwrap_or_default(),
            answer.status.as_u16()
        ),
        "set the address that is meant",
    )
}

/// A `google.rpc.Status`, or text; not a web page.
fn message(answer: &Answer, quote: &Quote) -> String {
    match answer.media_type().as_str() {
        "text/html" => String::new(),
        PROTOBUF | "application/protobuf" => RpcStatus::decode(answer.body.as_ref())
            .map(|status| quote.text(&status.message))
            .unwrap_or_default(),
        _ => quote.bytes(&answer.body),
    }
}

/// `Retry-After` in seconds or as a date.
fn retry_after(answer: &Answer, now: SystemTime) -> Option<Duration> {
    let value = answer.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).ok()?,
    };
    longest(delay)
}

/// No time at all says no more than "again"; the longest is a day.
pub(super) fn longest(delay: Duration) -> Option<Duration> {
    (!delay.is_zero()).then(|| delay.min(LONGEST_DELAY))
}
