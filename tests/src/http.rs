//! A client for one request to a receiver on this machine, over TLS where it demands that: for questions to
//! receivers that are not ours, and to prove the harness without kevmon.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::certificates::{Authority, Identity};

const LIMIT: Duration = Duration::from_secs(10);

/// How to reach a receiver's port.
#[derive(Debug, Clone)]
pub struct Client {
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Everything before the body, for messages.
    pub head: String,
    pub body: Vec<u8>,
}

impl Client {
    /// In cleartext.
    pub fn plain(port: u16) -> Self {
        Self { port, tls: None }
    }

    /// Trusts the authority, and shows `identity` to who asks.
    pub fn tls(port: u16, authority: &Authority, identity: Option<&Identity>) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(authority.file()).expect("the tests' own PEM");
        roots.add(certificate).expect("a valid certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_root_certificates(roots);
        let config = match identity {
            Some(identity) => {
                let certificate = CertificateDer::from_pem_file(&identity.certificate).expect("PEM");
                let key = PrivateKeyDer::from_pem_file(&identity.key).expect("PEM");
                builder
                    .with_client_auth_cert(vec![certificate], key)
                    .expect("a matching key")
            }
            None => builder.with_no_client_auth(),
        };
        Self {
            port,
            tls: Some(Arc::new(config)),
        }
    }

    /// Asks for a path, its query included.
    pub fn get(&self, path: &str) -> io::Result<Response> {
        self.send("GET", path, &[], &[])
    }

    /// Sends a body.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
        self.send("POST", path, headers, body)
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        // HTTP/1.0: the answer is neither chunked nor followed by anything.
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let bytes = [request.as_bytes(), body].concat();
        match &self.tls {
            None => exchange(stream, &bytes),
            Some(config) => {
                let name = ServerName::try_from("localhost").expect("a name");
                let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                exchange(StreamOwned::new(session, stream), &bytes)
            }
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> io::Result<Response> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // Closed without TLS's own farewell.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        Err(error) => return Err(error),
    }
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let Some(end) = end else {
        return Err(io::Error::other(format!("no HTTP answer: {answer:?}")));
    };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Response {
        status: status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?,
        body: answer.split_off(end + 4),
        head,
    })
}
