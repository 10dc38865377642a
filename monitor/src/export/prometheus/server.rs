//! The listening side: lets connections in, gives each its deadlines, and ends it without losing its answer.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use secrecy::SecretSlice;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{self, sleep, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, info};

use super::{
    LatestReadings,
    access::{Hosts, check_token},
    admission::{Admission, Peer, Place},
    material::{Access, Material},
    response::{refusal, response},
};
use crate::{episode::Episode, limits};

/// How long the parts of a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// From the connection to the end of its request's head, the TLS handshake included.
    pub(super) head: Duration,
    /// From there to the end of the answer: the reader reads too slowly.
    pub(super) answer: Duration,
    /// From there to the end of the connection: for the reader to take the answer.
    pub(super) linger: Duration,
}

const DEADLINES: Deadlines = Deadlines {
    head: Duration::from_secs(5),
    answer: Duration::from_secs(30),
    linger: Duration::from_secs(1),
};

/// What is read and thrown away in that time at most, bytes.
const LEFTOVERS: u64 = 64 << 10;

/// What is read of a request at once, bytes: the least that hyper allows.
const BUFFER: usize = 8 << 10;

/// Headers of a request.
const HEADERS: usize = 64;

/// After a connection could not be accepted (no file descriptor left, mostly).
const PAUSE: Duration = Duration::from_secs(1);

/// The endpoint could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// The address cannot be had.
    #[error(
        "the Prometheus endpoint cannot listen on {address}: {source}; {}",
        listen_remedy(.source)
    )]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// In the system's words.
        source: io::Error,
    },
    /// A file of its access cannot be used.
    #[error("the Prometheus endpoint: {0}")]
    Access(String),
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
pub struct PrometheusServer {
    listener: StdListener,
    page: Page,
}

impl std::fmt::Debug for PrometheusServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrometheusServer").finish_non_exhaustive()
    }
}

/// What every connection needs. Cloning it shares it.
#[derive(Clone)]
struct Page {
    latest: LatestReadings,
    hosts: Arc<Hosts>,
    access: Arc<Access>,
    deadlines: Deadlines,
    /// `None`: the files could not be used when they were last read.
    material: Arc<Mutex<Option<Material>>>,
}

impl PrometheusServer {
    /// Listens on `address`; nothing is answered before [`Self::serve`] runs.
    ///
    /// # Errors
    /// The address cannot be had, or a file of `access` cannot be used.
    pub fn bind(
        address: SocketAddr,
        latest: LatestReadings,
        access: Access,
    ) -> Result<Self, PrometheusError> {
        let material = Material::read(&access, Instant::now()).map_err(PrometheusError::Access)?;
        let listener = StdListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| PrometheusError::Listen { address, source })?;
        let page = Page {
            latest,
            hosts: Arc::new(Hosts::new(access.hosts.clone(), address)),
            access: Arc::new(access),
            deadlines: DEADLINES,
            material: Arc::new(Mutex::new(Some(material))),
        };
        Ok(Self { listener, page })
    }

    /// Where the page is: with the port that the system chose, where 0 was given.
    ///
    /// # Errors
    /// The system does not say.
    pub fn url(&self) -> io::Result<String> {
        let scheme = if self.page.access.tls.is_some() {
            "https"
        } else {
            "http"
        };
        Ok(format!("{scheme}://{}/metrics", self.listener.local_addr()?))
    }

    /// Where it listens: the port that the system chose, where 0 was given.
    #[cfg(test)]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Other deadlines.
    #[cfg(test)]
    pub(super) fn set_deadlines(&mut self, deadlines: Deadlines) {
        self.page.deadlines = deadlines;
    }

    /// Answers until it is dropped; on a Tokio runtime with time and I/O.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub async fn serve(self) -> io::Result<Infallible> {
        let url = self.url()?;
        let listener = TcpListener::from_std(self.listener)?;
        info!("Prometheus metrics at {url}");
        let admission = Admission::default();
        let mut trouble = Episode::default();
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(failures) = trouble.works(Instant::now()) {
                        info!(
                            "the Prometheus endpoint {url} takes connections again; {failures} tries failed"
                        );
                    }
                    let place = admission.admit(Peer::of(peer.ip()));
                    let id = place.id();
                    let task = tokio::spawn(converse(stream, self.page.clone(), place));
                    admission.ends_with(id, task.abort_handle());
                }
                Err(error) => {
                    if trouble.fails(Instant::now()) {
                        let remedy = limits::remedy(&error).map(|remedy| format!("; {remedy}"));
                        error!(
                            "the Prometheus endpoint {url} takes no connections for now: {error}{}",
                            remedy.unwrap_or_default()
                        );
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Token and TLS of one connection.
type Guards = (Option<Arc<SecretSlice<u8>>>, Option<TlsAcceptor>);

impl Page {
    /// As the files have them now. `None` where they cannot be used, which is logged once until they can: nobody is let in
    /// by files that are not there.
    fn guards(&self) -> Option<Guards> {
        let mut material = self.material.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_current = material.as_mut().is_some_and(|material| material.is_current(now));
        if !is_current {
            let failed_before = material.is_none();
            *material = match Material::read(&self.access, now) {
                Ok(read) => {
                    info!("Prometheus: the files of the page's token or certificate were read again");
                    Some(read)
                }
                Err(reason) => {
                    if !failed_before {
                        error!("Prometheus: {reason}; nobody can read the page until then");
                    }
                    None
                }
            };
        }
        let material = material.as_ref()?;
        Some((material.token.clone(), material.tls.clone()))
    }
}

/// One connection, from its TLS handshake on.
async fn converse(stream: TcpStream, page: Page, place: Place) {
    let deadline = time::Instant::now() + page.deadlines.head;
    let Ok(local) = stream.local_addr() else {
        return; // it has ended already
    };
    let Some((token, tls)) = page.guards() else {
        return;
    };
    let conversation = Conversation {
        page,
        place,
        token,
        local: local.ip(),
        deadline,
    };
    let Some(tls) = tls else {
        return conversation.answer(stream).await;
    };
    match timeout_at(deadline, tls.accept(stream)).await {
        Ok(Ok(stream)) => conversation.answer(stream).await,
        Ok(Err(error)) => debug!("Prometheus endpoint: no TLS connection: {error}"),
        Err(_) => debug!("Prometheus endpoint: the TLS handshake took too long"),
    }
}

struct Conversation {
    page: Page,
    place: Place,
    token: Option<Arc<SecretSlice<u8>>>,
    /// The address that was connected to.
    local: IpAddr,
    /// For the request's head.
    deadline: time::Instant,
}

impl Conversation {
    /// Answers one request. Further ones, which a client may have sent behind it, are not read.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) {
        let asked = Notify::new();
        let service = service_fn(|request: Request<Incoming>| {
            self.place.has_asked();
            asked.notify_one();
            std::future::ready(Ok::<_, Infallible>(self.response(&request)))
        });
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_headers(HEADERS)
            .max_buf_size(BUFFER)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        let served = {
            let mut serving = std::pin::pin!(std::future::poll_fn(
                |context| connection.poll_without_shutdown(context)
            ));
            let in_time = async {
                tokio::select! {
                    biased;
                    served = &mut serving => return Some(served),
                    () = asked.notified() => {}
                    () = time::sleep_until(self.deadline) => return None,
                }
                timeout(self.page.deadlines.answer, serving).await.ok()
            };
            in_time.await
        };
        match served {
            Some(Ok(())) => {}
            // Among them a request that cannot be read; hyper has answered that.
            Some(Err(error)) => debug!("Prometheus endpoint: {error}"),
            None => return debug!("Prometheus endpoint: a reader took too long"),
        }
        let stream = connection.into_parts().io.into_inner();
        part(stream, self.page.deadlines.linger).await;
    }

    fn response(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let allowed = self.page.hosts.check(request, self.local).and_then(|()| {
            let headers = request.headers();
            self.token
                .as_ref()
                .map_or(Ok(()), |token| check_token(headers, token))
        });
        match allowed {
            Ok(()) => response(request, &self.page.latest),
            Err(refused) => refusal(refused),
        }
    }
}

/// Ends a connection so that its reader gets the answer: closed while something is unread, it would be reset, and the reader
/// would lose what it has not read yet (tcp(7); RFC 9112, 9.6).
async fn part<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, linger: Duration) {
    let ending = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LEFTOVERS), &mut tokio::io::sink()).await
    };
    // Whatever comes of it, the connection ends here.
    let _: Result<io::Result<u64>, time::error::Elapsed> = timeout(linger, ending).await;
}
