//! TLS: whether a connection has it, and with which files. What asks for it is never answered with cleartext.

use super::{
    Settling,
    address::{Form, Target},
    connection::{Generic, Own},
    generic::{Signal, general},
};
use crate::config::{
    endpoint::NO_SCHEME,
    given::{Given, Origin},
    header::SecretPlace,
    receiver::{Protocol, Tls},
};

/// A client's certificate and its key, from one source.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) certificate: Option<Given<SecretPlace>>,
    pub(super) key: Option<Given<SecretPlace>>,
    /// What the two are called, for whoever gave one alone.
    pub(super) names: [String; 2],
}

/// What is known of a connection's TLS before its files are looked at.
pub(super) struct Wanted {
    ca: Option<Given<SecretPlace>>,
    client: Option<(Given<SecretPlace>, Given<SecretPlace>)>,
    /// The highest source that gave a file, of those that concern this receiver.
    asked: Option<Origin>,
}

impl Settling<'_> {
    /// The files for a connection to `target`. A client's certificate that a lower source gave for another
    /// receiver stays with that.
    pub(super) fn wanted_tls(&mut self, signal: Signal, own: &Own<'_>, target: &Target) -> Wanted {
        let ca = own.ca.clone().or_else(|| match own.generic {
            Generic::None => None,
            Generic::NoCredentials | Generic::All => self
                .given_file(self.otel(signal, "CERTIFICATE"))
                .or_else(|| self.given_file(self.variable("CA_CERT_PATH"))),
        });
        let client = self.client(signal, own);
        let files = ca.iter().chain(client.iter().map(|(certificate, _)| certificate));
        let asked = files.map(|file| &file.origin).max_by_key(|origin| origin.rank());
        let asked = asked.filter(|_| own.generic != Generic::NoCredentials).cloned();
        let client = client.filter(|(certificate, _)| {
            let kept = !self.is_for_another(self.rank(&certificate.origin), target);
            if !kept {
                let message = format!(
                    "is not presented to the receiver that {} names: it was given for another one",
                    target.origin.shown()
                );
                let remedy = "give certificate and key where the receiver is named";
                self.warn(certificate.origin.finding(message).remedy(remedy));
            }
            kept
        });
        Wanted { ca, client, asked }
    }

    /// Certificate and key, of the highest source that gives one of them.
    fn client(&mut self, signal: Signal, own: &Own<'_>) -> Option<(Given<SecretPlace>, Given<SecretPlace>)> {
        let mut pairs = own.clients.clone();
        if own.generic == Generic::All {
            pairs.push(Pair {
                certificate: self.given_file(self.otel(signal, "CLIENT_CERTIFICATE")),
                key: self.given_file(self.otel(signal, "CLIENT_KEY")),
                names: ["CLIENT_CERTIFICATE", "CLIENT_KEY"].map(general),
            });
            pairs.push(Pair {
                certificate: self.given_file(self.variable("CLIENT_CERT_PATH")),
                key: self.given_file(self.variable("CLIENT_KEY_PATH")),
                names: ["CLIENT_CERT_PATH", "CLIENT_KEY_PATH"].map(str::to_owned),
            });
        }
        let mut pairs = pairs.into_iter();
        let pair = pairs.find(|pair| pair.certificate.is_some() || pair.key.is_some())?;
        let [certificate_name, key_name] = pair.names;
        let (given, missing) = match (pair.certificate, pair.key) {
            (Some(certificate), Some(key)) => return Some((certificate, key)),
            (Some(certificate), None) => (certificate.origin, key_name),
            (None, key) => (key?.origin, certificate_name),
        };
        let fault = given.finding(format!("is given without {missing}"));
        self.fault(fault.remedy("give a client's certificate and its key, or neither"));
        None
    }

    fn given_file(&self, variable: Option<(Origin, &str)>) -> Option<Given<SecretPlace>> {
        variable.map(|(origin, path)| Given::new(SecretPlace::File(path.into()), origin))
    }

    /// Whether the connection is https; `None` where that is at fault.
    pub(super) fn is_https(
        &mut self,
        signal: Signal,
        protocol: Protocol,
        own: &Own<'_>,
        target: &Target,
        wanted: &Wanted,
    ) -> Option<bool> {
        if target.url.https == Some(true) {
            return Some(true);
        }
        let use_tls = match own.generic {
            Generic::All => self.use_tls(),
            Generic::None | Generic::NoCredentials => None,
        };
        let by_variable = use_tls
            .iter()
            .find(|(_, wanted)| *wanted)
            .map(|(origin, _)| origin);
        let asked = wanted.asked.as_ref().or(by_variable);
        match (target.url.https, target.form) {
            (Some(_), _) => {
                // An http:// from above what asks for TLS is a decision, as long as nothing leaves the host.
                let asked =
                    asked.filter(|asked| asked.rank() >= target.origin.rank() || !target.url.is_this_host());
                self.cleartext(asked, &target.origin)
            }
            (None, Form::HostAndPort) => match use_tls {
                Some((origin, false)) => self.cleartext(wanted.asked.as_ref(), &origin),
                _ => Some(asked.is_some()),
            },
            (None, _) => match self.insecure(signal) {
                _ if protocol == Protocol::HttpProtobuf => self.no_scheme(&target.origin),
                Some((origin, true)) => self.cleartext(asked, &origin),
                Some((_, false)) => Some(true),
                None if asked.is_some() => Some(true),
                None => self.no_scheme(&target.origin),
            },
        }
    }

    /// Cleartext, as `because` has it, unless something has asked for TLS.
    fn cleartext(&mut self, asked: Option<&Origin>, because: &Origin) -> Option<bool> {
        let Some(asked) = asked else {
            return Some(false);
        };
        let message = format!("asks for TLS, and {} would make it cleartext", because.shown());
        let remedy = "write https:// for the receiver, or take back what asks for TLS";
        self.fault(asked.finding(message).remedy(remedy));
        None
    }

    fn no_scheme(&mut self, origin: &Origin) -> Option<bool> {
        self.fault(origin.fault(NO_SCHEME));
        None
    }

    /// The files of a connection that has TLS; `None` where one cannot be used.
    pub(super) fn tls(&mut self, wanted: Wanted) -> Option<Tls> {
        let before = self.faults.len();
        let mut path = |file: &Given<SecretPlace>| self.secret_file(file, None);
        let ca = wanted.ca.as_ref().and_then(&mut path);
        let (certificate, key) = match &wanted.client {
            Some((certificate, key)) => (path(certificate), path(key)),
            None => (None, None),
        };
        let complete = self.faults.len() == before
            && ca.is_some() == wanted.ca.is_some()
            && certificate.is_some() == wanted.client.is_some();
        complete.then_some(Tls { ca, certificate, key })
    }
}
