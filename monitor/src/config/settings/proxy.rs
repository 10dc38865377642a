//! The HTTP proxy on the way to a receiver: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, as Go's programs read them
//! (golang.org/x/net/http/httpproxy). What is on this host is never sent to a proxy.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

use super::Settling;
use crate::config::{
    endpoint::{self, Url},
    given::Origin,
    receiver::Proxy,
};

/// Port of a proxy that names none.
const DEFAULT_PORT: u16 = 80;

impl Settling<'_> {
    /// The proxy on the way to `url`, at `port`; the scheme says which variable counts.
    pub(super) fn proxy(&mut self, https: bool, url: &Url, port: u16) -> Option<Proxy> {
        let names = if https {
            ["HTTPS_PROXY", "https_proxy"]
        } else {
            ["HTTP_PROXY", "http_proxy"]
        };
        let environment = self.sources.environment;
        let (name, value) = names
            .into_iter()
            .find_map(|name| Some((name, environment.secret(name)?)))?;
        let exceptions = ["NO_PROXY", "no_proxy"]
            .into_iter()
            .find_map(|name| environment.get(name));
        if url.is_this_host() || is_excepted(exceptions.unwrap_or_default(), &url.host, port) {
            return None;
        }
        match parse(value.expose_secret()) {
            Ok(proxy) => Some(proxy),
            Err(error) => {
                self.fault(Origin::variable(name).fault(&error));
                None
            }
        }
    }
}

/// `http://user:password@host:port`, of which the scheme, the user and the port may be left out. The error says "what is
/// wrong; what to do", and repeats nothing.
fn parse(text: &str) -> Result<Proxy, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(
            "the proxy's scheme is not http, and no other is supported; write http://host:port".to_owned(),
        );
    }
    let (user, address) = match rest.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, rest),
    };
    let url = Url::parse(address.trim_end_matches('/'))
        .ok()
        .filter(|url| url.https.is_none() && url.path.is_empty() && url.unix.is_none())
        .ok_or("the proxy's address is not a host and a port; write http://host:port")?;
    Ok(Proxy {
        host: url.host,
        port: url.port.unwrap_or(DEFAULT_PORT),
        authorization: user
            .map(|user| SecretString::from(format!("Basic {}", STANDARD.encode(percent_decoded(user))))),
    })
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

/// Whether `exceptions` (`NO_PROXY`) name `host` at `port`: `*`, addresses, networks (`10.0.0.0/8`), domains with all that
/// is below them (`example.com`), or only that (`.example.com`); each with or without a port.
fn is_excepted(exceptions: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    exceptions.split([',', ' ']).any(|entry| {
        let entry = entry.trim().to_ascii_lowercase();
        if entry.is_empty() {
            return false;
        }
        if entry == "*" {
            return true;
        }
        if let Some((network, length)) = entry.split_once('/') {
            let network = network.parse::<IpAddr>().ok();
            let (Some(address), Some(network), Ok(length)) = (address, network, length.parse()) else {
                return false;
            };
            return is_inside(address, network, length);
        }
        if let Ok(excepted) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
            return address == Some(excepted.to_canonical());
        }
        let (name, only) = match entry.rsplit_once(':') {
            Some((name, number)) => (name, endpoint::port(number).ok()),
            None => (entry.as_str(), None),
        };
        if only.is_some_and(|only| only != port) {
            return false;
        }
        if let Ok(excepted) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return address == Some(excepted.to_canonical());
        }
        match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
            Some(domain) => is_below(host, domain),
            None => host == name || is_below(host, name),
        }
    })
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn is_inside(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let Some(shift) = u32::checked_sub(width, length) else {
        return false;
    };
    address.checked_shr(shift) == network.checked_shr(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies() {
        for (text, host, port, authorization) in [
            ("http://proxy:3128", "proxy", 3128, None),
            ("proxy:3128", "proxy", 3128, None),
            ("HTTP://proxy/", "proxy", 80, None),
            ("http://[::1]:8080", "::1", 8080, None),
            ("http://me:p%40ss@proxy:1", "proxy", 1, Some("Basic bWU6cEBzcw==")),
            ("me:pa@ss@proxy:1", "proxy", 1, Some("Basic bWU6cGFAc3M=")),
        ] {
            let proxy = parse(text).unwrap();
            let found = proxy.authorization.as_ref().map(|value| value.expose_secret());
            assert_eq!(
                (proxy.host.as_str(), proxy.port, found),
                (host, port, authorization),
                "{text}"
            );
        }
        for text in [
            "socks5://secret:secret@proxy:1",
            "https://secret@proxy",
            "http://secret:1:2",
            "http://",
            "a/secret",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn exceptions() {
        for (exceptions, host, expected) in [
            ("", "a", false),
            ("*", "a", true),
            ("b, example.com", "example.com", true),
            ("example.com", "a.Example.com", true),
            ("example.com", "anexample.com", false),
            (".example.com", "example.com", false),
            (".example.com", "a.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("example.com:4317", "example.com", true),
            ("example.com:4318", "example.com", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "ten", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("fe80::/10", "fe81::1", true),
            ("fe80::/129", "fe80::1", false),
            ("[::2]:4317", "::2", true),
            ("::2", "::2", true),
            ("b a", "a", true),
        ] {
            assert_eq!(
                is_excepted(exceptions, host, 4317),
                expected,
                "{exceptions:?}, {host}"
            );
        }
    }
}
