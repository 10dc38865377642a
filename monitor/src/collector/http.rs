//! Asks a local HTTP server: no redirects, hosts that were named, bounds of size and time.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};

/// The answer's body.
///
/// # Errors
/// A kind, and "what is wrong; what to do".
pub(super) async fn get(url: &str, hosts: &[String], limit: u64) -> Result<Vec<u8>, (&'static str, String)> {
    let refused = |reason: &str| ("refused", reason.to_owned());
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| refused("the URL is not http://; correct it"))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let (host, port) = split(authority)
        .ok_or_else(|| refused("the URL has no host and port that make sense; correct it"))?;
    let named = hosts.iter().any(|allowed| allowed == host);
    let found = lookup_host((host, port))
        .await
        .map_err(|error| ("unreachable", format!("{host}: {error}; check the host's name")))?;
    let addresses: Vec<SocketAddr> = found
        // Whatever a name server says of localhost, only this host is asked without being named.
        .filter(|address| named || address.ip().is_loopback())
        .collect();
    if addresses.is_empty() {
        return Err(refused(
            "the host is not this one; name it in hosts if it is meant",
        ));
    }
    let stream = TcpStream::connect(&addresses[..]).await;
    let stream = stream.map_err(|error| {
        (
            "unreachable",
            format!("{authority}: {error}; check that the server runs"),
        )
    })?;
    let broken = |error: hyper::Error| {
        (
            "unreachable",
            format!("{authority}: {error}; check that it speaks HTTP/1.1"),
        )
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", authority)
        .header("user-agent", concat!("kevmon/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| ("refused", format!("{url}: {error}; correct the URL")))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    if !status.is_success() {
        let remedy = if status.is_redirection() {
            "redirects are not followed; write the URL that it leads to"
        } else {
            "look at the server's log"
        };
        return Err(("http_status", format!("{url} answers {status}; {remedy}")));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let body = Limited::new(answer.into_body(), limit).collect().await;
    driver.abort();
    match body {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err((
            "output_limit",
            format!("the answer is longer than {limit} bytes; raise max_output"),
        )),
        Err(error) => Err((
            "unreachable",
            format!("{authority}: {error}; look at the server's log"),
        )),
    }
}

/// Host and port of `host`, `host:port` or `[address]:port`.
fn split(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if port.is_empty() => 80,
        None => return None,
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (authority, expected) in [
            ("localhost", Some(("localhost", 80))),
            ("127.0.0.1:8080", Some(("127.0.0.1", 8080))),
            ("[::1]:9", Some(("::1", 9))),
            ("[::1]", Some(("::1", 80))),
            ("", None),
            ("a:b", None),
            ("[::1", None),
        ] {
            assert_eq!(split(authority), expected, "{authority}");
        }
    }
}
