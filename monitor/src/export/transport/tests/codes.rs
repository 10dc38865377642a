//! The meaning of every status, as a table, without a network.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use prost::Message;
use tonic::Code;

use crate::export::transport::{
    Failure, Retry, SendError,
    answer::{Answer, End},
    answer::{Any, RpcStatus},
    connection::Signal,
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
    let fault = grpc::judge(&answer, Signal::Logs, &Quote::default()).expect_err("a refusal");
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
    let fault = over_http::judge(answer, Signal::Logs, &Quote::default()).expect_err("a refusal");
    SendError::new("http://h", fault)
}

#[test]
fn every_http_status() {
    for status in 300..600 {
        let expected = match status {
            404 => (Retry::Never, false, true),
            429 | 503 => (AGAIN, false, false),
            502 | 504 => (AGAIN, true, false),
            _ => (Retry::Never, false, false),
        };
        let error = http(&answer(status));
        assert_eq!(meaning(&error), expected, "{status}");
        assert_eq!(error.is_unauthorized(), matches!(status, 401 | 403), "{status}");
    }
    for status in [200, 202, 204] {
        let taken = over_http::judge(&answer(status), Signal::Logs, &Quote::default());
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
        (302, Failure::Refused),
        (503, Failure::Busy),
        (200, Failure::Garbled),
    ] {
        let fault = grpc::judge(&answer(status), Signal::Logs, &Quote::default()).expect_err("no status");
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
        let error = http(&cut(200));
        assert_eq!(meaning(&error), (AGAIN, true, false), "{end:?}");
        // The status says enough.
        assert_eq!(meaning(&http(&cut(400))), (Retry::Never, false, false), "{end:?}");
        let mut answer = cut(200);
        answer
            .headers
            .insert("content-type", HeaderValue::from_static("application/grpc"));
        let fault = grpc::judge(&answer, Signal::Logs, &Quote::default()).expect_err("no status");
        let error = SendError::new("http://h", fault);
        assert_eq!(meaning(&error), (AGAIN, true, false), "{end:?}");
    }
}
