//! Judges an answer over plain HTTP (OTLP's specification, "OTLP/HTTP Response").

use std::time::{Duration, SystemTime};

use http::{StatusCode, header};
use prost::Message;

use super::{
    answer::{Accepted, Answer, End, RpcStatus, UNAUTHORIZED},
    content::{self, Content},
    error::{Failure, Fault},
    partial,
    proxy::UNKNOWN_CLIENT,
    quote::Quote,
};

/// What the specification has protobuf messages called.
const PROTOBUF: &str = "application/x-protobuf";

/// Longest time that a receiver may ask to be left alone for.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 3600);

/// Statuses by which some receivers mean that they take no such signal.
const DOUBTFUL: [u16; 4] = [400, 405, 415, 501];

/// What became of a request. A status of success says that it was taken; the body can only add what was rejected, and
/// real receivers send many things there (JSON, text, nothing). A web page is no receiver's.
pub(super) fn judge(answer: &Answer, quote: &Quote) -> Result<Accepted, Fault> {
    if !answer.status.is_success() {
        return Err(refusal(answer, quote));
    }
    let content = content::decoded(answer.text("content-encoding"), &answer.body);
    if is_web_page(answer, content.as_ref()) {
        return Err(Fault::new(
            Failure::WrongAddress,
            format!("a web page answers ({}), no OTLP receiver", called(answer.status)),
            "check the address",
        ));
    }
    if let End::Broken(reason) = &answer.end {
        return Err(Fault::unreadable(
            format!("the receiver's answer broke off: {reason}"),
            true,
        ));
    }
    // An empty body is a response that says nothing, whatever it is called.
    if answer.body.is_empty() {
        return Ok(Accepted::default());
    }
    let Some(content) = content else {
        return Ok(Accepted::unread());
    };
    let is_whole = content.whole && answer.end == End::Whole;
    Ok(match answer.media_type().as_str() {
        PROTOBUF | "application/protobuf" if is_whole => {
            partial::protobuf(&content.bytes, quote).unwrap_or_else(Accepted::unread)
        }
        PROTOBUF | "application/protobuf" => {
            partial::protobuf_beginning(&content.bytes, quote).unwrap_or_else(Accepted::unread)
        }
        json if json == "application/json" || json.ends_with("+json") => {
            partial::json(&content.bytes, quote).unwrap_or_else(Accepted::unread)
        }
        // Text says nothing that could be read.
        _ => partial::json(&content.bytes, quote)
            .or_else(|| partial::protobuf(&content.bytes, quote))
            .unwrap_or_default(),
    })
}

/// By its type, or by its first bytes where it has another one.
fn is_web_page(answer: &Answer, content: Option<&Content>) -> bool {
    if answer.status == StatusCode::NO_CONTENT {
        return false;
    }
    let by_type = matches!(
        answer.media_type().as_str(),
        "text/html" | "application/xhtml+xml"
    );
    let bytes = content.map_or(&[][..], |content| content.bytes.as_ref());
    let start = bytes.trim_ascii_start();
    by_type
        || ["<!doctype html", "<html"].iter().any(|tag| {
            let first = start.get(..tag.len());
            first.is_some_and(|first| first.eq_ignore_ascii_case(tag.as_bytes()))
        })
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
        // nginx (ngx_http_special_response.c, 495 and 496) ends the handshake well and refuses the request. Nothing of it
        // has reached a receiver, so it is kept.
        400 if wants_certificate(answer) => (
            Failure::Unreachable,
            "it wants a client certificate that it trusts: set certificate_file and key_file",
        ),
        407 => (Failure::Unreachable, UNKNOWN_CLIENT),
        413 => (
            Failure::TooLarge,
            "let it take larger requests, or set max_request_bytes",
        ),
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
    fault.doubt =
        (failure == Failure::Refused && DOUBTFUL.contains(&status.as_u16())).then_some(status.as_u16());
    if failure == Failure::Busy {
        fault.delay = retry_after(answer, SystemTime::now());
    }
    fault
}

fn wants_certificate(answer: &Answer) -> bool {
    const WORDS: [&str; 2] = [
        "No required SSL certificate was sent",
        "The SSL certificate error",
    ];
    let Some(content) = content::decoded(answer.text("content-encoding"), &answer.body) else {
        return false;
    };
    let text = String::from_utf8_lossy(&content.bytes);
    WORDS.iter().any(|words| text.contains(words))
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
        Failure::WrongAddress,
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
    let Some(content) = content::decoded(answer.text("content-encoding"), &answer.body) else {
        return String::new();
    };
    if is_web_page(answer, Some(&content)) {
        return String::new();
    }
    match answer.media_type().as_str() {
        PROTOBUF | "application/protobuf" => RpcStatus::decode(content.bytes)
            .map(|status| quote.text(&status.message))
            .unwrap_or_default(),
        _ => quote.bytes(&content.bytes),
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
