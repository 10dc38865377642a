//! The HTTP side: `GET /metrics`, for few readers at a time, each with little patience.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Body, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, error, info};

use super::{LatestReadings, page::Format};
use crate::{episode::Episode, limits};

/// Further ones wait until one of these has ended.
const CONNECTIONS: usize = 8;

/// For the request to come.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// For the whole connection, which serves one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// What is read of a request at once, bytes: the least that hyper allows.
const BUFFER: usize = 8 << 10;

/// Headers of a request.
const HEADERS: usize = 64;

/// After a connection could not be accepted (no file descriptor left, mostly).
const PAUSE: Duration = Duration::from_secs(1);

/// The endpoint could not be set up.
#[derive(Debug, thiserror::Error)]
#[error(
    "the Prometheus endpoint cannot listen on {address}: {source}; {}",
    listen_remedy(.source)
)]
pub struct PrometheusError {
    /// As configured.
    pub address: SocketAddr,
    /// In the system's words.
    pub source: io::Error,
}

fn listen_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EACCES) => {
            "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE: give another one"
        }
        Some(libc::EADDRNOTAVAIL) => "this host has no such address: give one that it has",
        _ => limits::remedy(error).unwrap_or("free that port or give another address"),
    }
}

/// The endpoint, listening.
#[derive(Debug)]
pub struct PrometheusServer {
    listener: StdListener,
    latest: LatestReadings,
}

impl PrometheusServer {
    /// Listens on `address`; nothing is answered before [`Self::serve`] runs.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(address: SocketAddr, latest: LatestReadings) -> Result<Self, PrometheusError> {
        let listener = StdListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| PrometheusError { address, source })?;
        Ok(Self { listener, latest })
    }

    /// Where it listens: the port that the system chose, where 0 was given.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped; on a Tokio runtime with time and I/O.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub async fn serve(self) -> io::Result<Infallible> {
        let address = self.address()?;
        let listener = TcpListener::from_std(self.listener)?;
        info!("Prometheus metrics at http://{address}/metrics");
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut trouble = Episode::default();
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                // Nobody closes it.
                return Err(io::ErrorKind::Other.into());
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(failures) = trouble.works(Instant::now()) {
                        info!(
                            "the Prometheus endpoint {address} takes connections again; {failures} tries failed"
                        );
                    }
                    let latest = self.latest.clone();
                    tokio::spawn(async move {
                        answer(stream, latest).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    if trouble.fails(Instant::now()) {
                        let remedy = limits::remedy(&error).map(|remedy| format!("; {remedy}"));
                        error!(
                            "the Prometheus endpoint {address} takes no connections for now: {error}{}",
                            remedy.unwrap_or_default()
                        );
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn answer(stream: TcpStream, latest: LatestReadings) {
    let service = service_fn(|request| {
        let response = response(&request, &latest);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("Prometheus endpoint: {error}"),
        Err(_) => debug!("Prometheus endpoint: a reader took too long"),
    }
}

fn response<B: Body>(request: &Request<B>, latest: &LatestReadings) -> Response<Full<Bytes>> {
    let refuse =
        |status: StatusCode, why: &'static str| plain(status, "text/plain; charset=utf-8", why.into());
    if request.uri().path() != "/metrics" {
        return refuse(StatusCode::NOT_FOUND, "There is /metrics only.\n");
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
    let accepted = request.headers().get_all(header::ACCEPT).iter();
    let format = chosen(accepted.filter_map(|value| value.to_str().ok()));
    plain(
        StatusCode::OK,
        format.content_type(),
        latest.page(format, Instant::now()),
    )
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
