//! Where metrics go: host, port and the URL made of them.

use std::net::Ipv6Addr;

use super::finding::quoted;

/// Port of OTLP over gRPC.
pub const DEFAULT_PORT: u16 = 4317;

/// Host of an agent that nobody named.
pub const DEFAULT_HOST: &str = "localhost";

/// The receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http://host:port`, an IPv6 address in brackets.
    pub url: String,
    /// Whether a flag or a variable named it; if so, failing to reach it is an error of its own.
    pub asked_for: bool,
    /// What named it: a flag, a variable, `plugin.toml` or `default`.
    pub from: &'static str,
}

/// `http://host:port`, with `host` as [`host`] and [`parse_url`] return it.
pub(crate) fn url(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}

/// Checks a host name or address without port; an IPv6 address loses its brackets.
///
/// # Errors
/// "What is wrong; what to do".
pub(crate) fn host(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Ok(bare.to_owned());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() {
        Err("the host is empty; write a host name or an address".to_owned())
    } else if text.contains("://") {
        Err(format!(
            "{} is a URL; write the host alone, and the port apart from it",
            quoted(text)
        ))
    } else if text.len() > 253 || !text.chars().all(allowed) {
        let text = quoted(text);
        Err(format!(
            "{text} is not a host; write a host name or an address, and the port apart from it"
        ))
    } else {
        Ok(text.to_owned())
    }
}

/// A TCP port, 1 to 65535.
///
/// # Errors
/// "What is wrong; what to do".
pub(crate) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 && !text.starts_with('+') => Ok(port),
        _ => Err(format!("{} is not a port; write 1 to 65535", quoted(text))),
    }
}

/// Host and port of an `http://host:port` URL (4317 without port), and whether it had a path, which
/// means nothing to gRPC. A URL without a scheme is taken only when `insecure` asks for cleartext.
///
/// # Errors
/// "What is wrong; what to do". Credentials in the URL are never repeated.
pub(crate) fn parse_url(text: &str, insecure: bool) -> Result<(String, u16, bool), String> {
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            let remedy = "write http:// to a receiver on a trusted network, such as a local agent";
            return Err(format!(
                "TLS (https://) is not supported in this version; {remedy}"
            ));
        }
        Some((scheme, _)) => {
            return Err(format!(
                "the scheme {} is not supported; write http://host:port",
                quoted(scheme)
            ));
        }
        None if insecure => text,
        None => return Err("the URL has no scheme; write http://host:port".to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(
            "the URL holds credentials, which kevmon does not send; write http://host:port".to_owned(),
        );
    }
    let (name, number) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, after)) => (address, Some(after.strip_prefix(':').unwrap_or_default())),
        None => match authority.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (authority, None),
        },
    };
    Ok((
        host(name)?,
        number.map_or(Ok(DEFAULT_PORT), port)?,
        path.len() > 1,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, want) in [
            ("http://collector:4319", "http://collector:4319"),
            ("HTTP://collector", "http://collector:4317"),
            ("http://[::1]:4319/", "http://[::1]:4319"),
            ("http://[fe80::1]", "http://[fe80::1]:4317"),
            ("http://10.0.0.1:1/v1/metrics", "http://10.0.0.1:1"),
        ] {
            let (host, port, path) = parse_url(text, false).expect(text);
            assert_eq!(url(&host, port), want);
            assert_eq!(path, text.ends_with("metrics"), "{text}");
        }
        assert_eq!(
            parse_url("collector:1", true),
            Ok(("collector".to_owned(), 1, false))
        );
    }

    #[test]
    fn refused_urls() {
        for (text, message) in [
            (
                "https://collector:4317",
                "TLS (https://) is not supported in this version; write http://",
            ),
            ("collector:4317", "the URL has no scheme; write http://host:port"),
            ("unix:///run/x", "the scheme \"unix\" is not supported"),
            ("http://me:secret@collector", "the URL holds credentials"),
            ("http://", "the host is empty"),
            ("http://a b", "\"a b\" is not a host"),
            ("http://::1:4317", "the host is empty"),
            ("http://[::1]4317", "\"\" is not a port"),
            ("http://collector:0", "\"0\" is not a port; write 1 to 65535"),
            ("http://collector:99999", "\"99999\" is not a port"),
            ("http://collector:", "\"\" is not a port"),
        ] {
            let error = parse_url(text, false).expect_err(text);
            assert!(
                error.starts_with(message) && !error.contains("secret"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(host("[::1]").as_deref(), Ok("::1"));
        assert_eq!(host("::1").as_deref(), Ok("::1"));
        assert_eq!(host("my_host.example").as_deref(), Ok("my_host.example"));
        for bad in ["", "http://x", "x:1", "fe80::1%eth0", "a/b", "a@b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
