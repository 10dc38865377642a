//! Who may read the page, by what a request says: the host that it asks for, and the token that it sends.
//!
//! A web page that somebody on this host looks at may have its own name resolve to 127.0.0.1 (DNS rebinding), and then
//! reads what listens there as if it were its own. Its requests name the page's host, not this one; so a connection to a
//! loopback address is answered only where the request asks for a loopback name.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header, uri::Authority};
use secrecy::{ExposeSecret, SecretSlice};
use subtle::ConstantTimeEq;

/// A request that gets no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It names no host, or several, or something that is none.
    NoHost,
    /// It asks for another host.
    OtherHost,
    /// The token is missing or wrong.
    Token,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoHost => "The request has to name one host.\n",
            Self::OtherHost => {
                "The page does not go by that host name: ask for localhost or the address, or add the name to hosts in \
                 [prometheus].\n"
            }
            Self::Token => "A bearer token is needed: Authorization: Bearer TOKEN.\n",
        }
    }
}

/// Hosts that may be asked for at one address.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    /// Names besides the loopback ones, in lower case.
    names: Vec<String>,
    /// Where the page listens, which may be all addresses.
    listen: IpAddr,
}

impl Hosts {
    pub(super) fn new(names: Vec<String>, listen: SocketAddr) -> Self {
        Self {
            names,
            listen: listen.ip().to_canonical(),
        }
    }

    /// Whether a request that came to the address `local` asks for this host. Everywhere but at loopback addresses any name
    /// will do, unless names were configured.
    pub(super) fn check<B>(&self, request: &Request<B>, local: IpAddr) -> Result<(), Refusal> {
        let local = local.to_canonical();
        if !local.is_loopback() && self.names.is_empty() {
            return Ok(());
        }
        let named = only(request.headers(), &header::HOST)?;
        let host = named.map(authority).transpose()?;
        let asked = request.uri().authority().into_iter().chain(host.as_ref());
        let mut is_named = false;
        for authority in asked {
            is_named = true;
            if authority.as_str().contains('@') {
                return Err(Refusal::NoHost);
            }
            if !self.is_own(authority.host(), local) {
                return Err(Refusal::OtherHost);
            }
        }
        // No browser speaks HTTP/1.0, which may name none (RFC 9112, 3.2).
        let may_be_silent = request.version() == Version::HTTP_10;
        (is_named || may_be_silent).then_some(()).ok_or(Refusal::NoHost)
    }

    fn is_own(&self, host: &str, local: IpAddr) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = address.to_canonical();
            let named = || self.names.iter().any(|name| name.parse() == Ok(address));
            return address.is_loopback() || address == local || address == self.listen || named();
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        name == "localhost" || self.names.contains(&name)
    }
}

/// The value of a header that may be there once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(Refusal::NoHost),
    }
}

fn authority(value: &HeaderValue) -> Result<Authority, Refusal> {
    Authority::try_from(value.as_bytes()).map_err(|_| Refusal::NoHost)
}

/// Whether a request has the token (RFC 6750, 2.1). How long the comparison takes says the token's length and nothing else.
pub(super) fn check_token(headers: &HeaderMap, token: &SecretSlice<u8>) -> Result<(), Refusal> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(sent), None) = (sent.next(), sent.next()) else {
        return Err(Refusal::Token);
    };
    let (scheme, sent) = sent.as_bytes().split_at_checked(7).ok_or(Refusal::Token)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
    let is_right = bool::from(sent.trim_ascii().ct_eq(token.expose_secret()));
    (is_bearer && is_right).then_some(()).ok_or(Refusal::Token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &Hosts, local: &str, uri: &str, host: &[&str]) -> Result<(), Refusal> {
        let mut request = Request::builder().uri(uri);
        for host in host {
            request = request.header("host", *host);
        }
        hosts.check(&request.body(()).unwrap(), local.parse().unwrap())
    }

    #[test]
    fn at_loopback_addresses_a_request_asks_for_a_loopback_name() {
        let hosts = Hosts::new(
            vec!["mon.example".into(), "10.1.2.3".into()],
            "0.0.0.0:1".parse().unwrap(),
        );
        for host in [
            "localhost",
            "LOCALHOST:9464",
            "localhost.:1",
            "127.0.0.1",
            "127.0.0.1:9464",
            "127.9.8.7:1",
            "[::1]:9464",
            "[::ffff:127.0.0.1]",
            "0.0.0.0:9464",
            "mon.example:80",
            "Mon.Example.",
            "10.1.2.3:5",
        ] {
            assert_eq!(check(&hosts, "127.0.0.1", "/metrics", &[host]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example.",
            "xlocalhost",
            "2130706433",
            "0x7f.1",
            "127.1",
            "10.1.2.4",
            "[::2]:1",
            "[fe80::1]",
        ] {
            let refused = check(&hosts, "127.0.0.1", "/metrics", &[host]);
            assert_eq!(refused, Err(Refusal::OtherHost), "{host}");
            let absolute = format!("http://{host}/metrics");
            let refused = check(&hosts, "127.0.0.1", &absolute, &["localhost"]);
            assert_eq!(refused, Err(Refusal::OtherHost), "{absolute}");
        }
        for host in [
            &[][..],
            &["localhost", "localhost"],
            &["localhost", "evil.example"],
            &["a b"],
            &["evil@localhost"],
            &[""],
        ] {
            let refused = check(&hosts, "127.0.0.1", "/metrics", host);
            assert_eq!(refused, Err(Refusal::NoHost), "{host:?}");
        }
        let mut old = Request::new(());
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(hosts.check(&old, "127.0.0.1".parse().unwrap()), Ok(()));
    }

    #[test]
    fn elsewhere_any_name_will_do_until_some_are_configured() {
        let any = Hosts::new(Vec::new(), "[::]:1".parse().unwrap());
        assert_eq!(check(&any, "10.0.0.1", "/metrics", &["evil.example"]), Ok(()));
        assert_eq!(
            check(&any, "::ffff:127.0.0.1", "/metrics", &["evil.example"]),
            Err(Refusal::OtherHost),
            "a wildcard address is reached at loopback too"
        );
        let some = Hosts::new(vec!["mon.example".into()], "[::]:1".parse().unwrap());
        for (host, expected) in [
            ("mon.example", Ok(())),
            ("10.0.0.1:1", Ok(())),
            ("evil.example", Err(Refusal::OtherHost)),
        ] {
            assert_eq!(check(&some, "10.0.0.1", "/metrics", &[host]), expected, "{host}");
        }
    }

    #[test]
    fn a_token_is_right_or_it_is_not() {
        let token = SecretSlice::from(b"s3cret".to_vec());
        let check = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("authorization", value.parse().unwrap());
            }
            check_token(&headers, &token)
        };
        for right in ["Bearer s3cret", "bearer s3cret", "BEARER   s3cret"] {
            assert_eq!(check(&[right]), Ok(()), "{right}");
        }
        for wrong in [
            &[][..],
            &["Bearer s3cre"],
            &["Bearer s3cret1"],
            &["Bearer S3cret"],
            &["Bearer"],
            &["Bearer "],
            &["Basic s3cret"],
            &["s3cret"],
            &["Bearers3cret"],
            &["Bearer s3cret", "Bearer s3cret"],
        ] {
            assert_eq!(check(wrong), Err(Refusal::Token), "{wrong:?}");
        }
    }
}
