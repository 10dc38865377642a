//! Sends one request at a time to one receiver.

use std::{fmt, time::Instant};

use bytes::Bytes;

use super::{
    answer::{Accepted, End},
    connection::{Connection, Protocol, Signal},
    dial::{Deadline, Peer, Resolver},
    entropy,
    error::{Fault, SendError},
    grpc, http,
    link::{Broken, Link},
    material::Material,
    request::Outgoing,
    target::{self, Target},
};

/// One signal's way to one receiver. Connects when first needed, and anew when the connection breaks or a file of its
/// settings changes.
pub struct Transport {
    connection: Connection,
    signal: Signal,
    endpoint: String,
    target: Result<Target, Fault>,
    material: Option<Material>,
    resolver: Resolver,
    link: Option<Link>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("endpoint", &self.endpoint)
            .field("signal", &self.signal)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// Of `signal` over `connection`. Reads no file and connects to nothing; what is wrong is said by
    /// [`Transport::send`].
    pub fn new(connection: Connection, signal: Signal) -> Self {
        Self {
            endpoint: target::shown(&connection.url),
            target: Target::new(&connection, signal),
            connection,
            signal,
            material: None,
            resolver: Resolver::default(),
            link: None,
        }
    }

    /// Where to, for messages: without user info and query.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns once a connection can be made: TLS waits for the kernel's random number generator, early in a boot.
    pub async fn ready(&self) {
        if self.target.as_ref().is_ok_and(|target| target.is_tls) {
            entropy::seeded().await;
        }
    }

    /// Sends a request of this transport's signal, as protobuf, once, and waits for the answer; all within the
    /// connection's timeout. Needs a tokio runtime with I/O and time. Dropped before it is done, it ends the
    /// connection; the request may have arrived.
    ///
    /// # Errors
    /// The request was not taken, or nobody knows; [`SendError`] says which, and whether to send it again.
    pub async fn send(&mut self, body: Bytes) -> Result<Accepted, SendError> {
        self.attempt(body)
            .await
            .map_err(|fault| SendError::new(&self.endpoint, fault))
    }

    async fn attempt(&mut self, body: Bytes) -> Result<Accepted, Fault> {
        let deadline = Deadline::new(self.connection.timeout);
        let target = self.target.as_ref().map_err(Fault::clone)?;
        let now = Instant::now();
        if self
            .material
            .as_mut()
            .is_none_or(|material| !material.is_current(now))
        {
            self.link = None;
            // Not kept when the new files cannot be used: the old ones are not what is wanted.
            self.material = None;
        }
        let material = match &mut self.material {
            Some(material) => material,
            none => none.insert(Material::read(&self.connection, target.is_tls, now)?),
        };
        let peer = Peer {
            target,
            connection: &self.connection,
            lacks_certificate: &material.lacks_certificate,
        };
        let remaining = deadline.remaining();
        let outgoing = Outgoing::new(target, &self.connection, &material.headers, body, remaining).await?;

        // While a request is under way the connection is nowhere else, so it ends when this future is dropped.
        let mut kept = self.link.take();
        let (link, answer) = loop {
            let is_kept = kept.is_some();
            let mut link = match kept.take() {
                Some(link) => link,
                None => Link::open(peer, &mut self.resolver, material.tls.clone(), deadline).await?,
            };
            match link.exchange(&outgoing, peer, deadline).await {
                Ok(answer) => break (link, answer),
                // The receiver had closed it in the meantime, as it may.
                Err(Broken::Unsent(_)) if is_kept => {}
                Err(Broken::Unsent(fault) | Broken::Lost(fault)) => return Err(fault),
            }
        };
        if matches!(answer.end, End::Whole | End::Cut) {
            self.link = Some(link);
        }
        match self.connection.protocol {
            Protocol::Grpc => grpc::judge(&answer, &material.quote),
            Protocol::HttpProtobuf => http::judge(&answer, &material.quote),
        }
    }
}
