//! One connection to a receiver: made, used for one request at a time, and ended with everything that serves it.
//!
//! A connection on which anything went wrong is given up: the next one tells a receiver that came back from one that
//! is still away, which an old one cannot.

use std::{
    error::Error,
    future::Future,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{net::TcpStream, task::JoinSet};

use super::{
    answer::{Answer, End},
    connection::Protocol,
    dial::{Deadline, Peer, Resolver, connect, connect_unix, secured},
    error::{Failure, Fault},
    proxy,
    request::{Outgoing, Payload},
    socket::{Ending, Socket, Witness},
};

/// How much of an answer is kept, bytes: one says as much in a few.
const KEPT: usize = 1 << 20;
/// How much of an answer is read, bytes: over gRPC, what counts stands at its end.
const READ: usize = 16 << 20;
/// How much of it is buffered on the way, bytes.
const BUFFER: usize = 64 << 10;

/// What is said of a receiver that exceeds its allowance, …
const FLOOD: &str = "the receiver floods the connection with frames or bytes that belong to no answer; the connection was closed";
/// … and what to do about it.
const FLOOD_REMEDY: &str = "it is sent again later; check that an OTLP receiver listens there";

/// A request did not come through.
#[derive(Debug)]
pub(super) enum Broken {
    /// Not a byte of it was sent, or the receiver says that it has not processed it; another connection may do.
    Unsent(Fault),
    /// Anything else.
    Lost(Fault),
}

enum Requests {
    Http1(http1::SendRequest<Payload>),
    Http2(http2::SendRequest<Payload>),
}

/// An open connection.
pub(super) struct Link {
    requests: Requests,
    witness: Witness,
    tasks: Tasks,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

impl Link {
    /// Connects once, by TLS where `config` is given.
    pub(super) async fn open(
        peer: Peer<'_>,
        resolver: &mut Resolver,
        config: Option<Arc<ClientConfig>>,
        deadline: Deadline,
    ) -> Result<Self, Fault> {
        let witness = Witness::default();
        let mut is_http2 = peer.connection.protocol == Protocol::Grpc;
        peer.lacks_certificate.store(false, Ordering::Relaxed);
        let socket = if let Some(path) = &peer.target.unix {
            Socket::new(connect_unix(path, deadline).await?, witness.clone())
        } else {
            let stream = stream(peer, resolver, deadline).await?;
            match config {
                Some(config) => {
                    let stream = secured(stream, peer, config, deadline).await?;
                    is_http2 |= stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    Socket::new(stream, witness.clone())
                }
                None if peer.target.is_tls => return Err(Fault::settings("TLS is not set up", "")),
                None => Socket::new(stream, witness.clone()),
            }
        };
        Self::over(socket, witness, is_http2, deadline).await
    }

    /// Over a stream that leads to the receiver, which `witness` watches.
    pub(super) async fn over(
        socket: Socket,
        witness: Witness,
        is_http2: bool,
        deadline: Deadline,
    ) -> Result<Self, Fault> {
        if is_http2 {
            witness.sight().allowance.expect_frames();
        }
        let tasks = Tasks::default();
        let requests = requests(socket, is_http2, &tasks, deadline).await?;
        Ok(Self {
            requests,
            witness,
            tasks,
        })
    }

    /// Sends a request and reads its answer.
    pub(super) async fn exchange(
        &mut self,
        outgoing: &Outgoing,
        peer: Peer<'_>,
        deadline: Deadline,
    ) -> Result<Answer, Broken> {
        if self.has_flooded() {
            // While it was idle: no reason to connect again at once.
            return Err(Broken::Lost(Fault::unreachable(FLOOD, FLOOD_REMEDY)));
        }
        self.witness.sight().allowance.begin();
        let response = deadline
            .bound(self.send(outgoing), |timeout| {
                Fault::unanswered(format!("no answer within {timeout:?}"))
            })
            .await
            .map_err(Broken::Lost)?;
        let (head, body) = match response {
            Ok(response) => response.into_parts(),
            Err(failed) if !self.has_flooded() && is_unprocessed(failed.error.as_ref()) => {
                return Err(Broken::Unsent(Fault::new(
                    Failure::Busy,
                    format!(
                        "the receiver did not process the request: {}",
                        innermost(failed.error.as_ref())
                    ),
                    "it is sent again",
                )));
            }
            Err(failed) => {
                let fault = self.why(failed.error.as_ref(), peer);
                return Err(if failed.is_unsent && !self.has_flooded() {
                    Broken::Unsent(Fault {
                        failure: Failure::Unreachable,
                        may_have_arrived: false,
                        ..fault
                    })
                } else {
                    Broken::Lost(fault)
                });
            }
        };
        self.witness.sight().allowance.answered();
        let (body, trailers, end) = self.read(body, peer, deadline).await;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            trailers,
            end,
        })
    }

    async fn send(&mut self, outgoing: &Outgoing) -> Result<http::Response<Incoming>, Failed> {
        match &mut self.requests {
            Requests::Http1(requests) => {
                requests.ready().await.map_err(Failed::before)?;
                requests
                    .try_send_request(outgoing.http1())
                    .await
                    .map_err(Failed::from)
            }
            Requests::Http2(requests) => {
                requests.ready().await.map_err(Failed::before)?;
                requests
                    .try_send_request(outgoing.http2())
                    .await
                    .map_err(Failed::from)
            }
        }
    }

    /// As much of `body` as is kept, and how it ended.
    async fn read(
        &self,
        mut body: Incoming,
        peer: Peer<'_>,
        deadline: Deadline,
    ) -> (Bytes, Option<http::HeaderMap>, End) {
        let mut kept = BytesMut::new();
        let mut trailers = None;
        let mut read = 0;
        let late = |timeout| Fault::unanswered(format!("it did not end within {timeout:?}"));
        let end = loop {
            match deadline.bound(body.frame(), late).await {
                Err(fault) => break End::Broken(fault.reason),
                Ok(None) if read > KEPT => break End::Cut,
                Ok(None) => break End::Whole,
                Ok(Some(Err(error))) => break End::Broken(self.why(&error, peer).reason),
                Ok(Some(Ok(_))) if self.is_piece_too_many() => break End::Broken(FLOOD.to_owned()),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        let room = KEPT.saturating_sub(kept.len());
                        kept.extend_from_slice(data.get(..room).unwrap_or(&data));
                        read += data.len();
                        if read > READ {
                            break End::TooLong;
                        }
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        };
        (kept.freeze(), trailers, end)
    }

    /// Counts a piece of an answer's body.
    fn is_piece_too_many(&self) -> bool {
        let mut sight = self.witness.sight();
        let is_flood = sight.allowance.piece(Instant::now()).is_err();
        if is_flood {
            sight.note(Ending::Flood);
        }
        is_flood
    }

    fn has_flooded(&self) -> bool {
        self.witness.sight().ending == Some(Ending::Flood)
    }

    /// Why a request failed: by what the stream saw, which the HTTP library may have lost, else in its words.
    fn why(&self, error: &(dyn Error + 'static), peer: Peer<'_>) -> Fault {
        let sight = self.witness.sight();
        if let Some(Ending::Tls(error)) = &sight.ending {
            return peer.explain(error);
        }
        if sight.ending == Some(Ending::Flood) {
            return Fault {
                remedy: FLOOD_REMEDY.to_owned(),
                ..Fault::unanswered(FLOOD)
            };
        }
        let is_http2 = matches!(self.requests, Requests::Http2(_));
        if let Some(fault) = other_protocol(&sight.first, is_http2) {
            return fault;
        }
        if error.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return Fault::garbled(
                "the receiver answers with something that is not HTTP",
                "check the port",
            );
        }
        if sight.first.is_empty()
            && let Some(fault) = peer.lacks_certificate()
        {
            return fault;
        }
        let mut fault = Fault::unanswered(match &sight.ending {
            Some(Ending::Io(reason)) => format!("the connection was lost: {reason}"),
            Some(Ending::Closed) => "the receiver closed the connection before it had answered".to_owned(),
            _ => format!("the connection was lost: {}", innermost(error)),
        });
        if sight.first.is_empty() && is_http2 {
            fault.remedy = "check the port: it may not be gRPC's".to_owned();
        }
        fault
    }
}

/// A connection to the receiver, through the proxy where there is one.
async fn stream(peer: Peer<'_>, resolver: &mut Resolver, deadline: Deadline) -> Result<TcpStream, Fault> {
    let (target, proxy) = (peer.target, &peer.connection.proxy);
    let (host, port) = match proxy {
        Some(proxy) => (proxy.host.as_str(), proxy.port),
        None => (target.host.as_str(), target.port),
    };
    let connected = async {
        let addresses = resolver.addresses(host, port, deadline).await?;
        connect(host, port, &addresses, deadline).await
    };
    let mut stream = match (connected.await, proxy) {
        (Err(fault), Some(_)) => {
            return Err(Fault {
                reason: format!("the proxy cannot be reached: {}", fault.reason),
                ..fault
            });
        }
        (result, _) => result?,
    };
    if let Some(proxy) = proxy
        && !proxy::forwards(peer.connection, target)
    {
        proxy::tunnel(&mut stream, proxy, target, deadline).await?;
    }
    Ok(stream)
}

/// A request that hyper gave up.
struct Failed {
    is_unsent: bool,
    error: Box<hyper::Error>,
}

impl Failed {
    fn before(error: hyper::Error) -> Self {
        Self {
            is_unsent: true,
            error: Box::new(error),
        }
    }
}

impl<T> From<TrySendError<T>> for Failed {
    fn from(error: TrySendError<T>) -> Self {
        Self {
            is_unsent: error.message().is_some(),
            error: Box::new(error.into_error()),
        }
    }
}

/// Buffers and windows are those of one small answer at a time.
async fn requests(
    socket: Socket,
    is_http2: bool,
    tasks: &Tasks,
    deadline: Deadline,
) -> Result<Requests, Fault> {
    let lost = |error: hyper::Error| {
        Fault::unreachable(format!("the connection was lost: {}", innermost(&error)), "")
    };
    let late = |timeout| Fault::unreachable(format!("no connection within {timeout:?}"), "");
    let window = u32::try_from(BUFFER).unwrap_or(u32::MAX);
    if is_http2 {
        let handshake = http2::Builder::new(tasks.clone())
            .initial_stream_window_size(window)
            .initial_connection_window_size(window)
            .max_send_buf_size(BUFFER)
            .handshake(TokioIo::new(socket));
        let (requests, driver) = deadline.bound(handshake, late).await?.map_err(lost)?;
        tasks.spawn(async move {
            // How it ends is seen by the request that ends with it.
            let _ = driver.await;
        });
        return Ok(Requests::Http2(requests));
    }
    let handshake = http1::Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(socket));
    let (requests, driver) = deadline.bound(handshake, late).await?.map_err(lost)?;
    tasks.spawn(async move {
        let _ = driver.await;
    });
    Ok(Requests::Http1(requests))
}

/// What the receiver's first bytes say when they are not those of the protocol that was spoken to it.
fn other_protocol(first: &[u8], is_http2: bool) -> Option<Fault> {
    const TLS_ALERT: [u8; 2] = [21, 3];
    const SETTINGS: u8 = 4;
    let is_settings = first.first() == Some(&0) && first.get(3) == Some(&SETTINGS);
    if first.starts_with(&TLS_ALERT) {
        return Some(Fault::garbled("the receiver speaks TLS there", "write https://"));
    }
    match (is_http2, is_settings) {
        (true, false) if first.starts_with(b"HTTP/") => Some(Fault::garbled(
            "the receiver answers in HTTP/1, which is not gRPC",
            "check the port, or set the protocol to http/protobuf",
        )),
        (true, false) if first.len() > usize::from(SETTINGS) => Some(Fault::garbled(
            "the receiver answers with something that is not HTTP/2",
            "check the port",
        )),
        (false, true) => Some(Fault::garbled(
            "the receiver answers in HTTP/2, as gRPC does",
            "check the port, or set the protocol to grpc",
        )),
        _ => None,
    }
}

/// Whether an HTTP/2 peer guarantees that it has not processed a request (RFC 9113, section 8.7): it refused the stream, or its
/// GOAWAY names an earlier stream as the last one. h2 fails exactly the streams above that one with the GOAWAY.
fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (error.is_go_away() || is_refused);
        }
        cause = error.source();
    }
    false
}

/// The library's own words wrap the cause.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The tasks that serve one connection. They are ended with it: left alone, one that writes to a peer that does not
/// read would stay as long as the system keeps the connection, a quarter of an hour. Some of them hold this set, so
/// dropping it is not enough.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn end(&self) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}
