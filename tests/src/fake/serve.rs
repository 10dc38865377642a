//! The fake's server: a thread, its connections, and what becomes of each request.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::TcpListener,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Notify, oneshot},
    task::JoinSet,
};

use super::{
    Behaviour, Moment, Shared, State, answer,
    request::{self, Arrival, Signal, Transport},
};

/// What a connection hears that expects HTTP.
const NOISE: &[u8] = b"220 kvt ESMTP, not what you think\r\n\x00\xff\xfe\x15\x03";

/// How long such a connection stays.
const NOISE_STAYS: Duration = Duration::from_millis(200);

/// One connection, as its requests see it.
struct Connection {
    number: usize,
    /// Told by a request after which the connection is to be reset.
    reset: Notify,
}

/// Serves until it is told to stop; then everything is dropped as it is.
pub(super) fn run(listener: TcpListener, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    listener.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        tokio::select! {
            result = accept(listener, shared) => result.expect("the fake serves"),
            _ = stopped => {}
        }
    });
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    // Dropped with this future: the connections go with the server.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let number = {
            let mut state = shared.lock();
            state.connections += 1;
            state.connections
        };
        connections.spawn(converse(stream, Arc::clone(&shared), number));
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>, number: usize) {
    if shared.lock().takes_noise() {
        make_noise(&stream).await;
        reset_when_closed(stream.as_raw_fd());
        return;
    }
    let socket = stream.as_raw_fd();
    match shared.tls.clone() {
        None => talk(stream, socket, shared, number).await,
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => talk(stream, socket, shared, number).await,
            Err(_) => shared.lock().refused += 1,
        },
    }
}

async fn talk<S>(stream: S, socket: RawFd, shared: Arc<Shared>, number: usize)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = Arc::new(Connection {
        number,
        reset: Notify::new(),
    });
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| answer_to(request, Arc::clone(&shared), Arc::clone(&connection)))
    };
    let builder = Builder::new(TokioExecutor::new());
    // Pinned here: what select! owned would be closed before the reset is set up.
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // A client that goes away in the middle is its own business.
        _ = serving.as_mut() => {}
        () = connection.reset.notified() => reset_when_closed(socket),
    }
}

async fn answer_to(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    connection: Arc<Connection>,
) -> Result<Response<answer::Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let Some((signal, transport)) = request::addressed(parts.uri.path()) else {
        shared.lock().faults.push(format!("path {}", parts.uri.path()));
        return Ok(answer::to(Behaviour::Unknown, Transport::Http));
    };
    let Ok(body) = body.collect().await else {
        return Ok(hang_up(&connection).await);
    };
    let body = body.to_bytes();
    let decoded = request::decode(signal, transport, &parts.headers, &body);
    let behaviour = match decoded {
        Ok((message, gzip)) => admit(&shared, signal, |behaviour| Arrival {
            at: Moment::now(),
            signal,
            transport,
            behaviour,
            gzip,
            bytes: body.len(),
            headers: request::texts(&parts.headers),
            connection: connection.number,
            message,
        }),
        Err(fault) => {
            shared.lock().faults.push(fault);
            Behaviour::Invalid
        }
    };
    Ok(match behaviour {
        Behaviour::Reset | Behaviour::LoseAcknowledgement | Behaviour::Noise => hang_up(&connection).await,
        Behaviour::Hang => pending().await,
        behaviour => answer::to(behaviour, transport),
    })
}

/// Decides what becomes of a request and keeps it. Noise is for a connection from its beginning: this one ends, and
/// the request counts for nothing.
fn admit(shared: &Shared, signal: Signal, arrival: impl FnOnce(Behaviour) -> Arrival) -> Behaviour {
    let mut state = shared.lock();
    let behaviour = state.due(signal);
    if behaviour != Behaviour::Noise {
        if signal == Signal::Metrics {
            state.queue.pop_front();
        }
        state.arrivals.push(arrival(behaviour));
    }
    behaviour
}

/// Ends the connection, and with it whoever waits here.
async fn hang_up(connection: &Connection) -> Response<answer::Body> {
    connection.reset.notify_one();
    pending().await
}

async fn make_noise(stream: &TcpStream) {
    let mut said = 0;
    while said < NOISE.len() {
        if stream.writable().await.is_err() {
            return;
        }
        match stream.try_write(&NOISE[said..]) {
            Ok(length) => said += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    tokio::time::sleep(NOISE_STAYS).await;
}

/// The socket's end will be a reset (tcp(7): a linger time of zero).
fn reset_when_closed(socket: RawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let size = libc::socklen_t::try_from(size_of_val(&linger)).expect("a few bytes");
    // SAFETY: `linger` is valid for its size. A descriptor that is none any more makes the call fail; the caller
    // still holds the stream.
    unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
}

impl State {
    /// What is to become of a request of this signal.
    fn due(&self, signal: Signal) -> Behaviour {
        if self.without.contains(&signal) {
            return Behaviour::Unknown;
        }
        let queued = self.queue.front().filter(|_| signal == Signal::Metrics);
        queued.copied().unwrap_or(self.then)
    }

    /// Whether a new connection is to hear noise.
    fn takes_noise(&mut self) -> bool {
        if self.queue.front() == Some(&Behaviour::Noise) {
            self.queue.pop_front();
            return true;
        }
        self.queue.is_empty() && self.then == Behaviour::Noise
    }
}
