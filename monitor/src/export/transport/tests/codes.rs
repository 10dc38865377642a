//! The meaning of every status, as a table, without a network.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use prost::Message;
use tonic::Code;

use crate::export::transport::{
    Failure, Retry, SendError,
    answer::{Accepted, Answer, End},
    answer::{Any, RpcStatus},
    grpc::{self, Delay, RetryInfo},
    http as over_http,
    quote::Quote,
};

const AGAIN: Retry = Retry::After(None);

fn after(seconds: u64) -> Retry {
    Retry::After(Some(Duration::from_secs(seconds)))
}

/// Retry, may have arrived, unsupported.
type Meaning = (Retry, bool, bool);

fn meaning(error: &SendError) -> Meaning {
    (error.retry(), error.may_have_arrived(), error.is_unsupported())
}

fn answer(status: u16) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        trailers: None,
        end: End::Whole,
    }
}

fn grpc(code: Code, retry_info: Option<Option<Delay>>) -> SendError {
    let details = retry_info.map_or_else(Bytes::new, |retry_delay| {
        let any = Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: RetryInfo { retry_delay }.encode_to_vec(),
        };
        let status = RpcStatus {
            message: String::new(),
            details: vec![Any::default(), any],
        };
        status.encode_to_vec().into()
    });
    let mut trailers = HeaderMap::new();
    tonic::Status::with_details(code, "why", details)
        .add_header(&mut trailers)
        .unwrap();
    let answer = Answer {
        trailers: Some(trailers),
        ..answer(200)
    };
    let fault = grpc::judge(&answer, &Quote::default()).expect_err("a refusal");
    SendError::new("http://h", fault)
}

#[test]
fn every_grpc_code() {
    for (code, expected) in [
        (Code::Cancelled, (AGAIN, true, false)),
        (Code::Unknown, (Retry::Never, false, false)),
        (Code::InvalidArgument, (Retry::Never, false, false)),
        (Code::DeadlineExceeded, (AGAIN, true, false)),
        (Code::NotFound, (Retry::Never, false, false)),
        (Code::AlreadyExists, (Retry::Never, false, false)),
        (Code::PermissionDenied, (Retry::Never, false, false)),
        (Code::ResourceExhausted, (Retry::Never, false, false)),
        (Code::FailedPrecondition, (Retry::Never, false, false)),
        (Code::Aborted, (AGAIN, false, false)),
        (Code::OutOfRange, (AGAIN, false, false)),
        (Code::Unimplemented, (Retry::Never, false, true)),
        (Code::Internal, (Retry::Never, false, false)),
        (Code::Unavailable, (AGAIN, false, false)),
        (Code::DataLoss, (AGAIN, false, false)),
        (Code::Unauthenticated, (Retry::Never, false, false)),
    ] {
        let error = grpc(code, None);
        assert_eq!(meaning(&error), expected, "{code:?}");
        let is_unauthorized = matches!(code, Code::PermissionDenied | Code::Unauthenticated);
        assert_eq!(error.is_unauthorized(), is_unauthorized, "{code:?}");
        assert!(error.to_string().contains(": why; "), "{error}");
    }
}

#[test]
fn retry_info_is_honoured_where_a_retry_is_allowed() {
    let delay = |seconds, nanos| Some(Some(Delay { seconds, nanos }));
    for (code, retry_info, expected) in [
        (Code::Unavailable, delay(7, 0), after(7)),
        (
            Code::Unavailable,
            delay(0, 500_000_000),
            Retry::After(Some(Duration::from_millis(500))),
        ),
        (Code::Unavailable, delay(0, 0), AGAIN),
        (Code::Unavailable, delay(-1, 0), AGAIN),
        (Code::Unavailable, delay(i64::MAX, i32::MAX), after(86_400)),
        (Code::Unavailable, Some(None), AGAIN),
        (Code::ResourceExhausted, delay(3, 0), after(3)),
        (Code::ResourceExhausted, delay(0, 0), AGAIN),
        (Code::ResourceExhausted, Some(None), AGAIN),
        (Code::InvalidArgument, delay(3, 0), Retry::Never),
    ] {
        assert_eq!(
            grpc(code, retry_info.clone()).retry(),
            expected,
            "{code:?}, {retry_info:?}"
        );
    }
}

fn http(answer: &Answer) -> SendError {
    let fault = over_http::judge(answer, &Quote::default()).expect_err("a refusal");
    SendError::new("http://h", fault)
}

#[test]
fn every_http_status() {
    for status in 300..600 {
        let expected = match status {
            407 => (AGAIN, false, false),
            300..400 => (AGAIN, false, false),
            404 => (Retry::Never, false, true),
            429 | 503 => (AGAIN, false, false),
            502 | 504 => (AGAIN, true, false),
            _ => (Retry::Never, false, false),
        };
        let error = http(&answer(status));
        assert_eq!(meaning(&error), expected, "{status}");
        assert_eq!(error.is_unauthorized(), matches!(status, 401 | 403), "{status}");
        assert_eq!(error.is_too_large(), status == 413, "{status}");
        let doubt = matches!(status, 400 | 405 | 415 | 501).then_some(status);
        assert_eq!(error.doubt(), doubt, "{status}");
    }
    for status in [200, 202, 204] {
        let taken = over_http::judge(&answer(status), &Quote::default());
        assert_eq!(taken, Ok(Default::default()), "{status}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let in_a_minute = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    for (status, value, least, most) in [
        (429, "7", 7, 7),
        (502, "7", 7, 7),
        (503, " 7 ", 7, 7),
        (503, in_a_minute.as_str(), 58, 60),
        (503, "999999999999", 86_400, 86_400),
    ] {
        let mut answer = answer(status);
        answer.headers.insert("retry-after", value.parse().unwrap());
        let Retry::After(Some(delay)) = http(&answer).retry() else {
            panic!("{status}, {value:?}: no delay");
        };
        let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
        assert!((least..=most).contains(&delay), "{status}, {value:?}: {delay:?}");
    }
    for (status, value, expected) in [
        (503, "0", AGAIN),
        (503, "-1", AGAIN),
        (503, "soon", AGAIN),
        (503, "Sun, 06 Nov 1994 08:49:37 GMT", AGAIN),
        (400, "7", Retry::Never),
    ] {
        let mut answer = answer(status);
        answer.headers.insert("retry-after", value.parse().unwrap());
        assert_eq!(http(&answer).retry(), expected, "{status}, {value:?}");
    }
}

#[test]
fn grpc_without_a_status_is_judged_by_http() {
    for (status, failure) in [
        (404, Failure::Unsupported),
        (401, Failure::Unauthorized),
        (403, Failure::Unauthorized),
        (400, Failure::Refused),
        (302, Failure::WrongAddress),
        (503, Failure::Busy),
        (200, Failure::Garbled),
    ] {
        let fault = grpc::judge(&answer(status), &Quote::default()).expect_err("no status");
        assert_eq!(fault.failure, failure, "{status}");
    }
}

#[test]
fn an_answer_that_breaks_off_says_nothing_of_the_request() {
    for end in [End::TooLong, End::Broken("reset".to_owned())] {
        let cut = |status| Answer {
            end: end.clone(),
            ..answer(status)
        };
        // Over HTTP, a status of success stands before it.
        let taken = over_http::judge(&cut(200), &Quote::default()).map_err(|fault| fault.confirmed);
        let expected = match &end {
            End::TooLong => Ok(Accepted::default()),
            _ => Err(true),
        };
        assert_eq!(taken, expected, "{end:?}");
        // The status says enough.
        assert_eq!(meaning(&http(&cut(400))), (Retry::Never, false, false), "{end:?}");
        let mut answer = cut(200);
        answer
            .headers
            .insert("content-type", HeaderValue::from_static("application/grpc"));
        let fault = grpc::judge(&answer, &Quote::default()).expect_err("no status");
        let error = SendError::new("http://h", fault);
        assert_eq!(meaning(&error), (AGAIN, true, false), "{end:?}");
    }
}

#[test]
fn what_servers_say_of_a_request_that_is_too_large() {
    for (code, message, expected) in [
        (
            Code::ResourceExhausted,
            "grpc: received message larger than max (9 vs. 4)",
            true,
        ),
        (
            Code::ResourceExhausted,
            "Received message larger than max (9 vs. 4)",
            true,
        ),
        (
            Code::ResourceExhausted,
            "gRPC message exceeds maximum size 4: 9",
            true,
        ),
        (
            Code::ResourceExhausted,
            "Received message exceeds the maximum configured message size.",
            true,
        ),
        (
            Code::OutOfRange,
            "Error, decoded message length too large: found 9 bytes",
            true,
        ),
        (Code::ResourceExhausted, "quota", false),
        (Code::InvalidArgument, "received message larger than max", false),
    ] {
        let mut trailers = HeaderMap::new();
        tonic::Status::new(code, message)
            .add_header(&mut trailers)
            .unwrap();
        let answer = Answer {
            trailers: Some(trailers),
            ..answer(200)
        };
        let fault = grpc::judge(&answer, &Quote::default()).expect_err("a refusal");
        assert_eq!(
            fault.failure == Failure::TooLarge,
            expected,
            "{code:?}, {message}"
        );
    }
}

/// What becomes of a request whose answer has this status, content type, content coding and body.
#[test]
fn answers_of_success_over_http() {
    const TAKEN: Result<(u64, bool), Failure> = Ok((0, false));
    const UNREAD: Result<(u64, bool), Failure> = Ok((0, true));
    let wrong = Err(Failure::WrongAddress);
    let gzip = |plain: &[u8]| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    // A partial success with 3 rejected items.
    let partial = [10, 2, 8, 3];
    let html = b" <!DOCTYPE html><html>";
    let protobuf = "application/x-protobuf";
    for (status, media_type, coding, body, expected) in [
        (200, protobuf, "", &b""[..], TAKEN),
        (200, protobuf, "", &partial, Ok((3, false))),
        (
            200,
            "application/protobuf; charset=utf-8",
            "identity",
            &partial,
            Ok((3, false)),
        ),
        (200, protobuf, "gzip", &gzip(&partial), Ok((3, false))),
        (200, protobuf, "gzip", b"xx", UNREAD),
        (200, protobuf, "br", &partial, UNREAD),
        (200, protobuf, "", b"\x07\x07", UNREAD),
        (200, "", "", &partial, Ok((3, false))),
        (200, "application/json", "", b"{}", TAKEN),
        (
            200,
            "application/json; charset=utf-8",
            "",
            br#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#,
            Ok((3, false)),
        ),
        (200, "application/json", "gzip", &gzip(b"{}"), TAKEN),
        (200, "application/json", "", b"{", UNREAD),
        (200, "text/plain", "", b"OK", TAKEN),
        (202, "text/plain", "", b"accepted", TAKEN),
        (200, "", "", b"OK", TAKEN),
        (200, "application/octet-stream", "", b"OK", TAKEN),
        (204, "", "", b"", TAKEN),
        (204, "text/html", "", b"", TAKEN),
        (200, "text/html; charset=utf-8", "", html, wrong),
        (200, "text/html", "", b"", wrong),
        (200, "text/html", "br", b"xx", wrong),
        (202, "application/xhtml+xml", "", html, wrong),
        (200, "", "", html, wrong),
        (200, protobuf, "gzip", &gzip(html), wrong),
    ] {
        let mut answer = answer(status);
        answer.body = Bytes::copy_from_slice(body);
        if !media_type.is_empty() {
            answer.headers.insert("content-type", media_type.parse().unwrap());
        }
        if !coding.is_empty() {
            answer.headers.insert("content-encoding", coding.parse().unwrap());
        }
        let judged = over_http::judge(&answer, &Quote::default());
        let found = judged
            .map(|accepted| (accepted.rejected, accepted.unread))
            .map_err(|fault| fault.failure);
        assert_eq!(found, expected, "{status} {media_type:?} {coding:?} {body:?}");
    }
}
