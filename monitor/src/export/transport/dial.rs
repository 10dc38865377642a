//! From a name to a byte stream: resolves, connects and sets up TLS, once, within a deadline.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::limits;

use super::{
    connection::{Connection, TlsFiles},
    entropy,
    error::Fault,
    socket::Ending,
    target::Target,
    tls,
};

/// When an attempt ends, and how long it was to take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        let far = Duration::from_secs(365 * 24 * 3600);
        Self {
            at: now.checked_add(timeout).unwrap_or(now + far),
            timeout,
        }
    }

    pub(super) fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// `future`'s output if it comes in time, else `late`, which is told the time.
    pub(super) async fn bound<T>(
        self,
        future: impl Future<Output = T>,
        late: impl FnOnce(Duration) -> Fault,
    ) -> Result<T, Fault> {
        timeout_at(self.at, future).await.map_err(|_| late(self.timeout))
    }
}

/// Whom a connection leads to.
#[derive(Clone, Copy)]
pub(super) struct Peer<'a> {
    pub(super) target: &'a Target,
    pub(super) connection: &'a Connection,
    /// The receiver has asked for a client certificate, and there is none.
    pub(super) lacks_certificate: &'a AtomicBool,
}

impl Peer<'_> {
    /// A failure of TLS with this peer, in words.
    pub(super) fn explain(&self, error: &rustls::Error) -> Fault {
        let system = TlsFiles::default();
        let files = self.connection.tls.as_ref().unwrap_or(&system);
        let is_about_certificates =
            matches!(error, rustls::Error::AlertReceived(alert) if tls::may_want_one(*alert));
        self.lacks_certificate()
            .filter(|_| is_about_certificates)
            .unwrap_or_else(|| tls::explain(error, files, &self.target.host))
    }

    /// Why a connection ended without a word, where the receiver had asked for a client certificate and got none. Its
    /// alert may be lost when it closes the connection with what it did not read.
    pub(super) fn lacks_certificate(&self) -> Option<Fault> {
        self.lacks_certificate.load(Ordering::Relaxed).then(|| {
            Fault::unreachable(
                "the receiver wants a client certificate",
                "set certificate_file and key_file",
            )
        })
    }
}

/// Looks a receiver's host up, one look-up at a time: a name server that does not answer holds one thread for each
/// receiver, however often it is tried.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// Goes on over attempts.
    running: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl Resolver {
    /// The addresses of `host`. An address, and this very host by its name (RFC 6761, 6.3), are known without asking.
    pub(super) async fn addresses(
        &mut self,
        host: &str,
        port: u16,
        deadline: Deadline,
    ) -> Result<Vec<SocketAddr>, Fault> {
        let name = host;
        let host = host.to_owned();
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if host.eq_ignore_ascii_case("localhost") {
            let loopback = [
                IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::from(Ipv6Addr::LOCALHOST),
            ];
            return Ok(loopback.map(|address| SocketAddr::new(address, port)).to_vec());
        }
        let unknown = |reason: &str| {
            Fault::unreachable(
                format!("no address found for the host {name}: {reason}"),
                "check the name and this system's DNS",
            )
        };
        let running = self.running.get_or_insert_with(|| {
            tokio::spawn(async move { Ok(lookup_host((host.as_str(), port)).await?.collect()) })
        });
        let found = deadline
            .bound(running, |timeout| {
                unknown(&format!("no answer within {timeout:?}"))
            })
            .await?;
        self.running = None;
        found
            .unwrap_or_else(|ended| Err(io::Error::other(ended)))
            .map_err(|error| {
                let reason = error.to_string();
                unknown(
                    reason
                        .strip_prefix("failed to lookup address information: ")
                        .unwrap_or(&reason),
                )
            })
    }
}

/// Each of the addresses gets an equal part of the time that is left.
pub(super) async fn connect(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    deadline: Deadline,
) -> Result<TcpStream, Fault> {
    let mut reason = "it has none".to_owned();
    let mut remedy = None;
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let share = deadline.remaining() / u32::try_from(left).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // One request is one burst: waiting for more to send gains nothing. It works without, too.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => {
                reason = error.to_string();
                remedy = refusal(&error);
            }
            Err(_) => {
                reason = format!("no answer within {:?}", deadline.timeout);
                remedy = None;
            }
        }
    }
    Err(Fault::unreachable(
        format!("no connection to {host}, port {port}: {reason}"),
        remedy.unwrap_or("check host and port, and that the receiver runs"),
    ))
}

/// What to do where this host refuses the connection, not the receiver.
fn refusal(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Some(
            "this host does not let kevmon connect: see its firewall, its security module and the unit's IPAddressDeny=",
        ),
        Some(libc::EAFNOSUPPORT) => {
            Some("this host does not let kevmon use such addresses: see the unit's RestrictAddressFamilies=")
        }
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => {
            Some("this host has no way there: see its addresses and routes, or its firewall")
        }
        _ => limits::remedy(error),
    }
}

/// The socket at `path`.
pub(super) async fn connect_unix(path: &Path, deadline: Deadline) -> Result<UnixStream, Fault> {
    let wrong = |reason: String| {
        Fault::unreachable(
            format!("no connection to the socket {}: {reason}", path.display()),
            "check that the receiver runs, and that kevmon may write to the socket",
        )
    };
    deadline
        .bound(UnixStream::connect(path), |timeout| {
            wrong(format!("no answer within {timeout:?}"))
        })
        .await?
        .map_err(|error| wrong(error.to_string()))
}

/// TLS over `stream`, with whom `peer` says.
pub(super) async fn secured(
    stream: TcpStream,
    peer: Peer<'_>,
    config: Arc<ClientConfig>,
    deadline: Deadline,
) -> Result<TlsStream<TcpStream>, Fault> {
    let name = ServerName::try_from(peer.target.host.clone()).map_err(|_| {
        Fault::settings(
            format!("{:?} is no name that a certificate can hold", peer.target.host),
            "write a DNS name or an IP address",
        )
    })?;
    deadline
        .bound(entropy::seeded(), |timeout| {
            Fault::unreachable(
                format!("the kernel's random number generator was not seeded within {timeout:?}"),
                "TLS needs it: wait, or give the host a source of entropy (virtio-rng, a CPU with RDRAND)",
            )
        })
        .await?;
    deadline
        .bound(TlsConnector::from(config).connect(name, stream), |timeout| {
            Fault::unreachable(
                format!("the TLS handshake did not end within {timeout:?}"),
                "check that TLS is spoken on this port",
            )
        })
        .await?
        .map_err(|error| match (Ending::of(&error), peer.lacks_certificate()) {
            (Ending::Tls(error), _) => peer.explain(&error),
            (_, Some(fault)) => fault,
            (Ending::Closed | Ending::Flood, None) => Fault::unreachable(
                "the receiver closed the connection during the TLS handshake",
                "check that TLS is spoken on this port",
            ),
            (Ending::Io(reason), None) => Fault::unreachable(
                format!("the connection was lost during the TLS handshake: {reason}"),
                "check that TLS is spoken on this port",
            ),
        })
}
