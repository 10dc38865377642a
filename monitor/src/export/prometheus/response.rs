//! What is answered to a request: the page in the format that is asked for, or why there is none.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body;

use super::{LatestReadings, access::Refusal, page::Format};

/// Whether kevmon moves, and whether it has collected: as Prometheus has them, for probes.
const HEALTHY: &str = "/-/healthy";
const READY: &str = "/-/ready";

/// The answer to a request that may have one.
pub(super) fn response<B: Body>(request: &Request<B>, latest: &LatestReadings) -> Response<Full<Bytes>> {
    let refuse =
        |status: StatusCode, why: &'static str| plain(status, "text/plain; charset=utf-8", why.into());
    let path = request.uri().path();
    if !["/metrics", HEALTHY, READY].contains(&path) {
        return refuse(
            StatusCode::NOT_FOUND,
            "There are /metrics, /-/healthy and /-/ready.\n",
        );
    }
    if request.method() != Method::GET {
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "There is GET only.\n");
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    if !request.body().is_end_stream() {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "A body is not read.\n");
    }
    match path {
        HEALTHY => return probed(latest.healthy()),
        READY => return probed(latest.ready()),
        _ => {}
    }
    let accepted = request.headers().get_all(header::ACCEPT).iter();
    let format = chosen(accepted.filter_map(|value| value.to_str().ok()));
    plain(
        StatusCode::OK,
        format.content_type(),
        latest.page(format, Instant::now()),
    )
}

/// The answer to a probe.
fn probed(state: Result<&'static str, String>) -> Response<Full<Bytes>> {
    let (status, text) = match state {
        Ok(text) => (StatusCode::OK, Bytes::from_static(text.as_bytes())),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why.into()),
    };
    plain(status, "text/plain; charset=utf-8", text)
}

/// The answer to a request that gets no page.
pub(super) fn refusal(refusal: Refusal) -> Response<Full<Bytes>> {
    let mut response = plain(
        refusal.status(),
        "text/plain; charset=utf-8",
        refusal.reason().into(),
    );
    if refusal == Refusal::Token {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

fn plain(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The format that `Accept` prefers, of the two; the older one where it says nothing.
pub(super) fn chosen<'a>(accept: impl Iterator<Item = &'a str>) -> Format {
    let mut best = (Format::Text, 0.0);
    for range in accept.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut version, mut quality) = (None, 1.0);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name {
                "version" => version = Some(value),
                "q" => quality = value.parse::<f32>().unwrap_or(0.0),
                _ => {}
            }
        }
        let format = match kind {
            "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                Format::OpenMetrics
            }
            "text/plain" | "text/*" | "*/*" => Format::Text,
            _ => continue,
        };
        if quality > best.1 {
            best = (format, quality);
        }
    }
    best.0
}
