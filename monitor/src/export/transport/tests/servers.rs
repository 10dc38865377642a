//! Receivers that do as the test says: HTTP of either version, with TLS or without, and bare TCP.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

pub(super) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What a receiver got.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) version: Version,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
struct State {
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<dyn Fn(&Received) -> Reply + Send + Sync>,
}

/// An HTTP server that keeps what it got and answers as told.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    state: State,
    connections: Arc<AtomicUsize>,
    tls: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    /// Increased, it ends all connections.
    generation: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Speaks HTTP/2 where TLS has agreed on it, or `is_http2` says so.
    pub(super) async fn start(
        is_http2: bool,
        tls: Option<ServerConfig>,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let state = State {
            received: Arc::default(),
            answer: Arc::new(answer),
        };
        let tls = Arc::new(Mutex::new(tls.map(Arc::new)));
        let connections = Arc::new(AtomicUsize::new(0));
        let (generation, generations) = watch::channel(0);
        let (shared, counted, secured) = (state.clone(), Arc::clone(&connections), Arc::clone(&tls));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                counted.fetch_add(1, Ordering::Relaxed);
                let config = secured.lock().unwrap().clone();
                let mut generations = generations.clone();
                let connection = accepted(stream, config, is_http2, shared.clone());
                tokio::spawn(async move {
                    generations.mark_unchanged();
                    tokio::select! {
                        () = connection => {}
                        _ = generations.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            state,
            connections,
            tls,
            generation,
            task,
        }
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Ends all connections and goes on with `tls`.
    pub(super) async fn restart(&self, tls: Option<ServerConfig>) {
        *self.tls.lock().unwrap() = tls.map(Arc::new);
        self.generation.send_modify(|generation| *generation += 1);
        // The ends must have been seen by the client's side of the loopback.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn accepted(stream: TcpStream, config: Option<Arc<ServerConfig>>, is_http2: bool, state: State) {
    let Some(config) = config else {
        return serve(stream, is_http2, state).await;
    };
    if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
        let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        serve(stream, agreed, state).await;
    }
}

/// Answers over a Unix socket at `path`.
pub(super) fn on_socket(
    path: &std::path::Path,
    is_http2: bool,
    answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
) -> Arc<Mutex<Vec<Received>>> {
    let listener = tokio::net::UnixListener::bind(path).expect("a free path");
    let received: Arc<Mutex<Vec<Received>>> = Arc::default();
    let state = State {
        received: Arc::clone(&received),
        answer: Arc::new(answer),
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            tokio::spawn(serve(stream, is_http2, state.clone()));
        }
    });
    received
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, is_http2: bool, state: State) {
    let io = TokioIo::new(stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move {
            let (head, body) = request.into_parts();
            let received = Received {
                version: head.version,
                path: head.uri.path().to_owned(),
                headers: head.headers,
                body: body
                    .collect()
                    .await
                    .map(|body| body.to_bytes())
                    .unwrap_or_default(),
            };
            let reply = (state.answer)(&received);
            state.received.lock().unwrap().push(received);
            Ok::<_, Infallible>(reply)
        }
    });
    // A client that goes away is no failure of the test.
    let _ = if is_http2 {
        http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await
    } else {
        http1::Builder::new().serve_connection(io, service).await
    };
}

/// A reply with status, headers and body.
pub(super) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()).boxed_unsync());
    *reply.status_mut() = status.try_into().unwrap();
    *reply.headers_mut() = header_map(headers);
    reply
}

/// gRPC's reply: a body and trailers.
pub(super) fn grpc_reply(body: impl Into<Bytes>, trailers: &[(&str, &str)]) -> Reply {
    let trailers = header_map(trailers);
    let body = Full::new(body.into()).with_trailers(async move { Some(Ok(trailers)) });
    let mut reply = Response::new(body.boxed_unsync());
    reply
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    reply
}

fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    headers
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                value.parse::<HeaderValue>().unwrap(),
            )
        })
        .collect()
}

/// A body that never ends.
pub(super) struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 8192])))))
    }
}

/// A TCP server that plays `scene` with each connection.
pub(super) async fn tcp<F: Future<Output = ()> + Send + 'static>(
    scene: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            tokio::spawn(scene(stream));
        }
    });
    address
}
