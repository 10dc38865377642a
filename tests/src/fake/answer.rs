//! What the fake answers, for each behaviour and transport, as the OTLP specification has it.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use prost::Message;
use tonic::{Code, Status};

use super::{Behaviour, Transport};

/// A body of either transport.
pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Bytes that are no protobuf message: field number 0 does not exist.
const GARBAGE: &[u8] = &[0x07, 0xff, 0x00, 0xff, 0x13, 0x37];

/// `google.rpc.Status`, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The answer to a request that is answered at all.
pub(super) fn to(behaviour: Behaviour, transport: Transport) -> Response<Body> {
    match behaviour {
        Behaviour::Partial(rejected) => acknowledge(transport, &partial(rejected)),
        Behaviour::Garbage => acknowledge(transport, GARBAGE),
        Behaviour::Later(seconds) => refuse(transport, Code::Unavailable, 429, Some(seconds)),
        Behaviour::Unavailable => refuse(transport, Code::Unavailable, 503, None),
        Behaviour::Invalid => refuse(transport, Code::InvalidArgument, 400, None),
        Behaviour::Unauthenticated => refuse(transport, Code::Unauthenticated, 401, None),
        Behaviour::Unknown => refuse(transport, Code::Unimplemented, 404, None),
        // The others end the connection, or the waiting does.
        Behaviour::Accept
        | Behaviour::LoseAcknowledgement
        | Behaviour::Hang
        | Behaviour::Reset
        | Behaviour::Noise => acknowledge(transport, &[]),
    }
}

/// The responses of the three signals have the same fields.
fn partial(rejected: i64) -> Vec<u8> {
    let partial_success = Some(ExportMetricsPartialSuccess {
        rejected_data_points: rejected,
        error_message: "too old for the fake".to_owned(),
    });
    ExportMetricsServiceResponse { partial_success }.encode_to_vec()
}

fn acknowledge(transport: Transport, message: &[u8]) -> Response<Body> {
    match transport {
        Transport::Http => {
            let mut response = Response::new(full(Bytes::copy_from_slice(message)));
            set_type(&mut response, "application/x-protobuf");
            response
        }
        Transport::Grpc => {
            let mut frame = BytesMut::new();
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).expect("a short message"));
            frame.put_slice(message);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
            let mut response = Response::new(body.boxed_unsync());
            set_type(&mut response, "application/grpc");
            response
        }
    }
}

fn refuse(transport: Transport, code: Code, http: u16, delay: Option<u64>) -> Response<Body> {
    let message = "the fake says so";
    let info = delay.map(|seconds| Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo {
            retry_delay: Some(Delay {
                seconds: i64::try_from(seconds).expect("a short delay"),
                nanos: 0,
            }),
        }
        .encode_to_vec(),
    });
    let status = RpcStatus {
        code: code.into(),
        message: message.to_owned(),
        details: info.into_iter().collect(),
    };
    let bytes = Bytes::from(status.encode_to_vec());
    match transport {
        Transport::Grpc => {
            let status = if delay.is_some() {
                Status::with_details(code, message, bytes)
            } else {
                Status::new(code, message)
            };
            let (parts, ()) = status.into_http::<()>().into_parts();
            Response::from_parts(parts, full(Bytes::new()))
        }
        Transport::Http => {
            let mut response = Response::new(full(bytes));
            *response.status_mut() = StatusCode::from_u16(http).expect("a status");
            set_type(&mut response, "application/x-protobuf");
            if let Some(seconds) = delay {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

fn set_type(response: &mut Response<Body>, content_type: &'static str) {
    let value = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, value);
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}
