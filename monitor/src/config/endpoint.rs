//! Addresses of receivers as people write them: hosts, ports and URLs, with what may never be in one.

use std::net::{IpAddr, Ipv6Addr};

use super::finding::quoted;

/// Port of OTLP over gRPC.
pub const DEFAULT_PORT: u16 = 4317;

/// Port of OTLP over HTTP.
pub const DEFAULT_HTTP_PORT: u16 = 4318;

/// Host of an agent that nobody named.
pub const DEFAULT_HOST: &str = "localhost";

/// What stands for an address with user info: that is refused, and so kept nowhere.
const WITHHELD: &str = "@";

/// `text`, or no more than the sign that it holds user info: whoever holds an address holds this.
pub fn withhold_user_info(text: &str) -> &str {
    if text.contains('@') { WITHHELD } else { text }
}

/// A URL's parts: no user info, no query, a path of valid characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whether the scheme is https rather than http; `None` without a scheme.
    pub(crate) https: Option<bool>,
    /// A name or an address, IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// From the first slash; empty without one.
    pub(crate) path: String,
    /// The path of a Unix socket on this host; then there is no other part.
    pub(crate) unix: Option<String>,
}

impl Url {
    /// Takes a URL apart. One without a scheme is taken as well: whether it may be is for the caller to say.
    ///
    /// # Errors
    /// "What is wrong; what to do". What may be a credential is never repeated.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // Anywhere, not in the authority alone: a password with a slash in it ends the authority early.
        if text.contains('@') {
            return Err(
                "the URL holds user info (…@…), which kevmon neither sends nor repeats; write the host alone, and \
                 give credentials as a header"
                    .to_owned(),
            );
        }
        if let Some(socket) = text.strip_prefix("unix:") {
            return Self::of_socket(socket.strip_prefix("//").unwrap_or(socket));
        }
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Some(false), rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Some(true), rest),
            Some((scheme, _)) => {
                return Err(format!(
                    "the scheme {} is not supported; write http://host:port or https://host:port",
                    quoted(scheme)
                ));
            }
            None => (None, text),
        };
        if rest.contains(['?', '#']) {
            return Err(
                "the URL has a query or a fragment, which kevmon does not send; end it with the path, and give \
                 credentials as a header"
                    .to_owned(),
            );
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (name, number) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, "")) => (address, None),
            Some((address, after)) => (address, Some(after.strip_prefix(':').unwrap_or_default())),
            None => match authority.split_once(':') {
                Some((name, number)) => (name, Some(number)),
                None => (authority, None),
            },
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:%/".contains(c);
        if !path.chars().all(allowed) {
            return Err(
                "the URL's path holds a character that none may; write it percent-encoded".to_owned(),
            );
        }
        Ok(Self {
            https,
            host: host(name)?,
            port: number.map(port).transpose()?,
            path: path.to_owned(),
            unix: None,
        })
    }

    /// A Unix socket on this host.
    fn of_socket(path: &str) -> Result<Self, String> {
        /// What a socket's address has room for (unix(7)), without the zero at its end.
        const LONGEST: usize = 107;
        if !path.starts_with('/') || path.ends_with('/') {
            return Err("the path of the socket is not absolute; write unix:///path/to/socket".to_owned());
        }
        if path.len() > LONGEST || path.contains(['?', '#']) || path.chars().any(char::is_control) {
            return Err(format!(
                "the path of the socket is longer than {LONGEST} bytes, or holds '?', '#' or a control character; \
                 write another one"
            ));
        }
        Ok(Self {
            https: Some(false),
            unix: Some(path.to_owned()),
            ..Self::of_host(DEFAULT_HOST.to_owned(), None)
        })
    }

    /// As [`Self::parse`], for where a scheme is required.
    ///
    /// # Errors
    /// Also without a scheme.
    pub(crate) fn parse_whole(text: &str) -> Result<Self, String> {
        match Self::parse(text) {
            Ok(Self { https: None, .. }) => Err(NO_SCHEME.to_owned()),
            other => other,
        }
    }

    /// A host and perhaps a port; configuration decides the rest.
    pub(crate) fn of_host(host: String, port: Option<u16>) -> Self {
        Self {
            https: None,
            host,
            port,
            path: String::new(),
            unix: None,
        }
    }

    /// Whether what is sent there stays on this host.
    pub(crate) fn is_this_host(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

/// Why a URL without a scheme is refused.
pub(crate) const NO_SCHEME: &str =
    "the URL has no scheme; write https://host:port, or http://host:port for cleartext";

/// `scheme://host:port`, an IPv6 address in brackets.
pub(crate) fn origin(https: bool, host: &str, port: u16) -> String {
    let scheme = if https { "https" } else { "http" };
    format!("{scheme}://{}", authority(host, port))
}

/// `host:port`, an IPv6 address in brackets.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
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
    } else if text.contains('@') {
        Err(
            "the host holds user info (…@…), which kevmon neither sends nor repeats; write the host alone"
                .to_owned(),
        )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, https, host, port, path) in [
            ("http://collector:4319", Some(false), "collector", Some(4319), ""),
            ("HTTPS://collector", Some(true), "collector", None, ""),
            ("http://[::1]:4319/", Some(false), "::1", Some(4319), "/"),
            ("http://[fe80::1]", Some(false), "fe80::1", None, ""),
            (
                "https://10.0.0.1:1/a%20b/v1/",
                Some(true),
                "10.0.0.1",
                Some(1),
                "/a%20b/v1/",
            ),
            ("collector:1", None, "collector", Some(1), ""),
        ] {
            let want = Url {
                https,
                host: host.to_owned(),
                port,
                path: path.to_owned(),
                unix: None,
            };
            assert_eq!(Url::parse(text), Ok(want), "{text}");
        }
        for text in ["unix:///run/o tel.sock", "unix:/run/o tel.sock"] {
            let url = Url::parse_whole(text).unwrap();
            assert_eq!(url.unix.as_deref(), Some("/run/o tel.sock"), "{text}");
            assert!(url.is_this_host());
        }
        assert_eq!(origin(true, "::1", 4317), "https://[::1]:4317");
        assert_eq!(origin(false, "a", 1), "http://a:1");
    }

    #[test]
    fn refused_urls() {
        for (text, message) in [
            ("ftp://x", "the scheme \"ftp\" is not supported; write http://"),
            ("unix://run/x", "the path of the socket is not absolute"),
            ("unix:///", "the path of the socket is not absolute"),
            ("unix:///run/x?a=secret", "the path of the socket is longer than"),
            (
                &format!("unix:///{}", "x".repeat(107)),
                "the path of the socket is longer than",
            ),
            ("http://me:secret@collector", "the URL holds user info"),
            ("http://me:sec/secret@collector", "the URL holds user info"),
            ("me:secret@collector:4317", "the URL holds user info"),
            ("secret://me@collector", "the URL holds user info"),
            ("https://collector/?api-key=secret", "the URL has a query"),
            ("https://collector#secret", "the URL has a query"),
            ("http://", "the host is empty"),
            ("http://a b", "\"a b\" is not a host"),
            ("http://a/b c", "the URL's path holds a character"),
            ("http://::1:4317", "the host is empty"),
            ("http://[::1]4317", "\"\" is not a port"),
            ("http://collector:0", "\"0\" is not a port; write 1 to 65535"),
            ("http://collector:99999", "\"99999\" is not a port"),
            ("http://collector:", "\"\" is not a port"),
        ] {
            let error = Url::parse(text).expect_err(text);
            assert!(
                error.starts_with(message) && !error.contains("secret"),
                "{text}: {error}"
            );
        }
        assert_eq!(Url::parse_whole("collector:1"), Err(NO_SCHEME.to_owned()));
        assert_eq!(withhold_user_info("http://me:secret@x"), "@");
        assert!(Url::parse(withhold_user_info("http://me:secret@x")).is_err());
    }

    #[test]
    fn hosts() {
        assert_eq!(host("[::1]").as_deref(), Ok("::1"));
        assert_eq!(host("::1").as_deref(), Ok("::1"));
        assert_eq!(host("my_host.example").as_deref(), Ok("my_host.example"));
        for bad in ["", "http://x", "x:1", "fe80::1%eth0", "a/b", "a:secret@b"] {
            let error = host(bad).expect_err(bad);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_stays_on_this_host() {
        for (host, here) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("::2", false),
            ("localhost.example", false),
            ("agent", false),
        ] {
            assert_eq!(Url::of_host(host.to_owned(), None).is_this_host(), here, "{host}");
        }
    }
}
