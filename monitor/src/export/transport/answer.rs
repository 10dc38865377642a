//! What a receiver answered, and the responses that both transports share.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// The receiver took the request, or as much of it as it will ever take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// How many of the request's items it rejected for good.
    pub rejected: u64,
    /// What it said to that, or by the way; mostly empty.
    pub remark: String,
    /// Its answer says that it took the request, and the rest of it cannot be read: `rejected` is unknown, not 0.
    pub unread: bool,
}

impl Accepted {
    /// Taken by an answer of which the rest cannot be read.
    pub(super) fn unread() -> Self {
        Self {
            unread: true,
            ..Self::default()
        }
    }
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
    /// As it should, but only the beginning was kept.
    Cut,
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
        self.text("content-type")
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }

    /// The value of the header `name`, or nothing.
    pub(super) fn text(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
