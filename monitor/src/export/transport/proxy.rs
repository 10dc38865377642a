//! A way through an HTTP proxy: by CONNECT, or, for plain HTTP, by asking the proxy for the whole URL (RFC 9110, 9.3.6;
//! RFC 9112, 3.2.2). Not by CONNECT alone: many proxies allow that for port 443 only.

use http::HeaderValue;
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    connection::{Connection, Protocol, Proxy},
    dial::Deadline,
    error::Fault,
    quote::Quote,
    target::Target,
};

/// Longest answer of a proxy that is read, bytes.
const LONGEST: usize = 16 << 10;

/// What to do when a proxy does not know the client.
pub(super) const UNKNOWN_CLIENT: &str =
    "write user and password into HTTPS_PROXY or HTTP_PROXY (http://user:password@host:port)";

/// Whether requests go to the proxy itself, which forwards each.
pub(super) fn forwards(connection: &Connection, target: &Target) -> bool {
    connection.proxy.is_some() && !target.is_tls && connection.protocol == Protocol::HttpProtobuf
}

/// The value of `Proxy-Authorization`.
pub(super) fn authorization(proxy: &Proxy) -> Option<HeaderValue> {
    let text = proxy.authorization.as_ref()?.expose_secret();
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Has the proxy at the other end of `stream` connect to `target`.
pub(super) async fn tunnel(
    stream: &mut TcpStream,
    proxy: &Proxy,
    target: &Target,
    deadline: Deadline,
) -> Result<(), Fault> {
    let name = format!("the proxy {}, port {}", proxy.host, proxy.port);
    let answer = deadline
        .bound(ask(stream, proxy, target), |timeout| {
            Fault::unreachable(format!("{name} did not answer within {timeout:?}"), CHECK)
        })
        .await?;
    let answer = answer
        .map_err(|error| Fault::unreachable(format!("the connection to {name} was lost: {error}"), CHECK))?;
    let line = answer.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' '));
    match status.map(|(_, rest)| rest.get(..3).unwrap_or_default()) {
        Some(code) if code.starts_with('2') => Ok(()),
        Some("407") => Err(Fault::unreachable(
            format!("{name} does not know the client (407)"),
            UNKNOWN_CLIENT,
        )),
        Some(_) => Err(Fault::unreachable(
            format!(
                "{name} does not connect to {}: {}",
                host_and_port(target),
                Quote::default().text(&line)
            ),
            CHECK,
        )),
        None => Err(Fault::unreachable(format!("{name} does not speak HTTP"), CHECK)),
    }
}

const CHECK: &str = "check HTTPS_PROXY and HTTP_PROXY, or name the receiver in NO_PROXY";

/// The head of the proxy's answer. What follows it is the receiver's, so not a byte more is read.
async fn ask(stream: &mut TcpStream, proxy: &Proxy, target: &Target) -> std::io::Result<Vec<u8>> {
    let host = host_and_port(target);
    let mut request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request += &format!("Proxy-Authorization: {}\r\n", authorization.expose_secret());
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < LONGEST {
        answer.push(stream.read_u8().await?);
    }
    Ok(answer)
}

fn host_and_port(target: &Target) -> String {
    if target.host.contains(':') {
        format!("[{}]:{}", target.host, target.port)
    } else {
        format!("{}:{}", target.host, target.port)
    }
}
