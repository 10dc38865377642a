//! One request as it goes out, for either transport.

use std::{io::Write, time::Duration};

use bytes::{Buf, Bytes, buf::Chain};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http_body_util::Full;

use super::{
    connection::{Connection, Protocol},
    content::CODINGS,
    error::Fault,
    proxy,
    target::Target,
};

/// gRPC's message prefix, or nothing, and the message.
pub(super) type Payload = Full<Chain<Bytes, Bytes>>;

/// As OTLP's specification wants it: the exporter's name after the protocol's.
const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-kevmon/", env!("CARGO_PKG_VERSION"));

/// Bytes compressed at a time; other tasks of the thread get their turn in between.
const PIECE: usize = 64 << 10;

/// A request that can be built again: a connection may turn out to be closed before anything was sent on it.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    uri: Uri,
    authority: HeaderValue,
    headers: HeaderMap,
    prefix: Bytes,
    message: Bytes,
    /// A proxy forwards it: the first line has the whole URL.
    is_forwarded: bool,
}

impl Outgoing {
    /// `body`, with the configured `headers`, to be answered in `remaining`.
    pub(super) async fn new(
        target: &Target,
        connection: &Connection,
        headers: &HeaderMap,
        body: Bytes,
        remaining: Duration,
    ) -> Result<Self, Fault> {
        let message = if connection.gzip {
            compressed(&body)
                .await
                .map_err(|error| Fault::settings(format!("cannot compress: {error}"), ""))?
        } else {
            body
        };
        let mut headers = headers.clone();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let prefix = match connection.protocol {
            Protocol::Grpc => grpc(&mut headers, connection.gzip, &message, remaining)?,
            Protocol::HttpProtobuf => {
                headers.insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/x-protobuf"),
                );
                if connection.gzip {
                    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                Bytes::new()
            }
        };
        let is_forwarded = proxy::forwards(connection, target);
        if is_forwarded && let Some(value) = connection.proxy.as_ref().and_then(proxy::authorization) {
            headers.insert(header::PROXY_AUTHORIZATION, value);
        }
        let authority = HeaderValue::from_str(&target.authority)
            .map_err(|error| Fault::settings(format!("the address is unusable: {error}"), ""))?;
        Ok(Self {
            uri: target.uri.clone(),
            authority,
            headers,
            prefix,
            message,
            is_forwarded,
        })
    }

    /// For HTTP/2.
    pub(super) fn http2(&self) -> Request<Payload> {
        let mut request = Request::new(Full::new(self.prefix.clone().chain(self.message.clone())));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// For HTTP/1.1, which names the host in a header and the path alone in the first line.
    pub(super) fn http1(&self) -> Request<Payload> {
        let mut request = self.http2();
        *request.version_mut() = http::Version::HTTP_11;
        if !self.is_forwarded {
            *request.uri_mut() = match self.uri.path_and_query() {
                Some(path) => Uri::from(path.clone()),
                None => Uri::from_static("/"),
            };
        }
        request.headers_mut().insert(header::HOST, self.authority.clone());
        // hyper names no length of nothing, and some servers want one of every POST (RFC 9110, 8.6).
        if self.message.is_empty() {
            request
                .headers_mut()
                .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        request
    }
}

/// gRPC's own headers, and the prefix of the message (gRPC over HTTP2, "Length-Prefixed-Message").
fn grpc(headers: &mut HeaderMap, gzip: bool, message: &Bytes, remaining: Duration) -> Result<Bytes, Fault> {
    let length = u32::try_from(message.len())
        .map_err(|_| Fault::new(super::Failure::Refused, "the request is larger than 4 GiB", ""))?;
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    headers.insert("grpc-accept-encoding", HeaderValue::from_static(CODINGS));
    if let Ok(value) = HeaderValue::from_str(&grpc_timeout(remaining)) {
        headers.insert("grpc-timeout", value);
    }
    let mut prefix = vec![u8::from(gzip)];
    prefix.extend(length.to_be_bytes());
    Ok(prefix.into())
}

/// At most eight digits and a unit.
fn grpc_timeout(remaining: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let millis = remaining.as_millis().max(1);
    if millis <= MOST {
        format!("{millis}m")
    } else {
        format!("{}S", u128::from(remaining.as_secs()).min(MOST))
    }
}

async fn compressed(body: &Bytes) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    for piece in body.chunks(PIECE) {
        encoder.write_all(piece)?;
        tokio::task::yield_now().await;
    }
    Ok(encoder.finish()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_eight_digits_at_most() {
        for (remaining, expected) in [
            (Duration::ZERO, "1m"),
            (Duration::from_millis(1_500), "1500m"),
            (Duration::from_millis(99_999_999), "99999999m"),
            (Duration::from_millis(100_000_000), "100000S"),
            (Duration::MAX, "99999999S"),
        ] {
            assert_eq!(grpc_timeout(remaining), expected);
        }
    }
}
