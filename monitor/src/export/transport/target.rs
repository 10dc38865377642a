//! The address of a receiver, taken apart.

use std::path::PathBuf;

use http::Uri;

use super::{
    connection::{Connection, Protocol, Signal},
    error::Fault,
};

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The whole URL of each request.
    pub(super) uri: Uri,
    /// Host and port, as the URL has them.
    pub(super) authority: String,
    /// Name or address, an IPv6 address without brackets.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
    /// Whether only TLS will do.
    pub(super) is_tls: bool,
    /// The socket of this host in place of host and port.
    pub(super) unix: Option<PathBuf>,
}

impl Target {
    /// Of `signal` over `connection`.
    pub(super) fn new(connection: &Connection, signal: Signal) -> Result<Self, Fault> {
        let unusable = |what: &str| {
            Fault::settings(
                format!("the address is unusable: {what}"),
                "write scheme://host:port, the scheme http or https",
            )
        };
        if let Some(socket) = connection.url.strip_prefix("unix://") {
            return Self::of_socket(socket, connection.protocol, signal)
                .ok_or_else(|| unusable("it is no URL"));
        }
        let uri: Uri = connection.url.parse().map_err(|_| unusable("it is no URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(unusable("its scheme is neither http nor https")),
        };
        if !is_tls && connection.tls.is_some() {
            return Err(Fault::settings(
                "TLS is wanted, and the address begins with http://",
                "write https://",
            ));
        }
        let host = uri.host().ok_or_else(|| unusable("it names no host"))?;
        let port = uri.port_u16();
        let authority = authority(&uri).ok_or_else(|| unusable("its port is no port"))?;
        let base = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = match connection.protocol {
            Protocol::Grpc => format!("{}{}", uri.path().trim_end_matches('/'), grpc_path(signal)),
            Protocol::HttpProtobuf => base.to_owned(),
        };
        Ok(Self {
            uri: Uri::builder()
                .scheme(if is_tls { "https" } else { "http" })
                .authority(authority.as_str())
                .path_and_query(path)
                .build()
                .map_err(|_| unusable("it is no URL"))?,
            host: host.trim_matches(['[', ']']).to_owned(),
            authority,
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
            unix: None,
        })
    }

    /// The socket at `path`. HTTP wants a host all the same; this one is what gRPC's clients write.
    fn of_socket(path: &str, protocol: Protocol, signal: Signal) -> Option<Self> {
        const HOST: &str = "localhost";
        let service = match protocol {
            Protocol::Grpc => grpc_path(signal).to_owned(),
            Protocol::HttpProtobuf => format!("/v1/{}", signal.name()),
        };
        Some(Self {
            uri: format!("http://{HOST}{service}").parse().ok()?,
            authority: HOST.to_owned(),
            host: HOST.to_owned(),
            port: 80,
            is_tls: false,
            unix: Some(path.into()),
        })
    }
}

/// Host and port without user info; `None` where they are none.
fn authority(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    let authority = match uri.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    uri.authority()?
        .as_str()
        .ends_with(&authority)
        .then_some(authority)
}

fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    }
}

/// `url` without user info and query, which may be secrets. Works on what is no URL too.
pub(super) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match url.find("://") {
        Some(end) => url.split_at(end + "://".len()),
        None => ("", url),
    };
    let end = match url.parse::<Uri>().ok().as_ref().and_then(authority) {
        Some(_) => rest.find('/').unwrap_or(rest.len()),
        // Where a password ends is anybody's guess.
        None => rest.len(),
    };
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}{path}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn target(url: &str, protocol: Protocol) -> Result<Target, Fault> {
        let connection = Connection {
            url: url.to_owned(),
            protocol,
            gzip: false,
            headers: Vec::new(),
            tls: None,
            timeout: Duration::from_secs(1),
            proxy: None,
        };
        Target::new(&connection, Signal::Logs)
    }

    #[test]
    fn addresses_are_taken_apart() {
        let service = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        for (url, protocol, uri, host, port) in [
            (
                "http://h:4317",
                Protocol::Grpc,
                format!("http://h:4317{service}"),
                "h",
                4317,
            ),
            (
                "https://u:p@h",
                Protocol::Grpc,
                format!("https://h{service}"),
                "h",
                443,
            ),
            (
                "http://h:1/base/",
                Protocol::Grpc,
                format!("http://h:1/base{service}"),
                "h",
                1,
            ),
            (
                "http://[::1]/v1/logs",
                Protocol::HttpProtobuf,
                "http://[::1]/v1/logs".to_owned(),
                "::1",
                80,
            ),
            (
                "http://h/v1?k=v",
                Protocol::HttpProtobuf,
                "http://h/v1?k=v".to_owned(),
                "h",
                80,
            ),
            (
                "http://h",
                Protocol::HttpProtobuf,
                "http://h/".to_owned(),
                "h",
                80,
            ),
        ] {
            let target = target(url, protocol).unwrap();
            assert_eq!(target.uri.to_string(), uri);
            assert_eq!((target.host.as_str(), target.port), (host, port), "{url}");
        }
        for url in [
            "",
            "h:4317",
            "ftp://h",
            "http://",
            "http://a b",
            "/v1",
            "http://h:port",
            "http://h:99999",
        ] {
            assert!(target(url, Protocol::Grpc).is_err(), "{url}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        for (url, expected) in [
            ("http://h:4317", "http://h:4317"),
            ("https://user:pass@h:1/v1/logs?key=pass", "https://h:1/v1/logs"),
            ("http://user:pa/ss@h/x", "http://h/x"),
            ("http://h/a@b", "http://h/a@b"),
            ("http://user:p@ss@h#pass", "http://h"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
