//! Headers and the files that secrets stand in: which of them a receiver gets, and whether they are there.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::{
    Settling,
    address::Target,
    connection::{Generic, Own},
    generic::{Signal, general},
};
use crate::config::{
    given::{Given, Origin, Rank},
    header::{self, BAD_VALUE, HeaderFlag, HeaderValue, SecretPlace},
    receiver::HeaderSource,
};

/// Headers of one source.
#[derive(Clone)]
pub(super) struct HeaderLayer {
    pub(super) origin: Origin,
    pub(super) headers: Vec<(String, HeaderValue)>,
}

impl Settling<'_> {
    /// The headers for `target`: by name, those of higher sources before those of lower ones, and none that a source
    /// gave for another receiver.
    pub(super) fn headers(
        &mut self,
        signal: Signal,
        own: &Own<'_>,
        target: &Target,
    ) -> Vec<(String, HeaderSource)> {
        let mut headers: Vec<(String, HeaderSource)> = Vec::new();
        for layer in self.layers(signal, own, target) {
            for (name, value) in layer.headers {
                if let Some(source) = self.header(&name, value, &layer.origin) {
                    headers.retain(|(known, _)| *known != name);
                    headers.push((name, source));
                }
            }
        }
        headers
    }

    /// From the lowest source to the highest.
    fn layers(&mut self, signal: Signal, own: &Own<'_>, target: &Target) -> Vec<HeaderLayer> {
        let mut layers = Vec::new();
        if own.generic == Generic::All {
            let names = [signal.variable("HEADERS"), general("HEADERS")];
            let environment = self.sources.environment;
            let set = names
                .into_iter()
                .find_map(|name| Some((environment.secret(&name)?, Origin::Variable(name))));
            if let Some((list, origin)) = set
                && self.may_have(&origin, target)
            {
                layers.extend(self.variable_headers(list, origin));
            }
        }
        for layer in &own.headers {
            if !layer.headers.is_empty() && self.may_have(&layer.origin, target) {
                layers.push(layer.clone());
            }
        }
        layers
    }

    /// Whether what a source of this rank gave was given for another address than `target`: it names one itself (for another
    /// signal, perhaps), and something above it names this one, or nobody does.
    pub(super) fn is_for_another(&self, rank: Rank, target: &Target) -> bool {
        let names_one = match rank {
            Rank::Default => false,
            Rank::Legacy => true,
            Rank::Flag => {
                self.sources.overrides.endpoint.is_some() || self.sources.overrides.agent_host.is_some()
            }
            Rank::Instana | Rank::Environment => Signal::ALL
                .iter()
                .map(|signal| signal.variable("ENDPOINT"))
                .chain([general("ENDPOINT"), "INSTANA_AGENT_HOST".to_owned()])
                .any(|name| self.sources.environment.get(&name).is_some()),
            Rank::File => self
                .sources
                .file
                .is_some_and(|file| file.export.endpoint.is_some()),
        };
        let is_unnamed = target.origin.rank() <= Rank::Legacy;
        (rank < target.origin.rank() || is_unnamed) && names_one
    }

    fn may_have(&mut self, origin: &Origin, target: &Target) -> bool {
        let may = !self.is_for_another(origin.rank(), target);
        if !may {
            let message = format!(
                "these headers are not sent to the receiver that {} names: they were given for another one",
                target.origin.shown()
            );
            let remedy = "give them where the receiver is named (on the command line: --header)";
            self.warn(origin.finding(message).remedy(remedy));
        }
        may
    }

    fn variable_headers(&mut self, list: &SecretString, origin: Origin) -> Option<HeaderLayer> {
        match header::parse_list(list) {
            Ok(headers) => {
                let headers = headers.into_iter();
                Some(HeaderLayer {
                    origin,
                    headers: headers
                        .map(|(name, value)| (name, HeaderValue::Text(value)))
                        .collect(),
                })
            }
            Err(error) => {
                self.fault(origin.fault(&error));
                None
            }
        }
    }

    /// The headers of `--header`; of two with one name the later holds.
    pub(super) fn flag_headers(&mut self) -> HeaderLayer {
        let origin = Origin::Flag("--header");
        let mut headers: Vec<(String, HeaderValue)> = Vec::new();
        for flag in &self.sources.overrides.headers {
            match flag {
                HeaderFlag::Named(name, place) => {
                    headers.retain(|(known, _)| known != name);
                    headers.push((name.clone(), HeaderValue::Place(place.clone())));
                }
                HeaderFlag::Refused(error) => self.fault(origin.fault(error)),
            }
        }
        HeaderLayer { origin, headers }
    }

    fn header(&mut self, name: &str, value: HeaderValue, origin: &Origin) -> Option<HeaderSource> {
        match value {
            HeaderValue::Text(text) => Some(HeaderSource::Text(text)),
            HeaderValue::Place(SecretPlace::Variable(variable)) => {
                let secret = self.sources.environment.secret(&variable);
                let fault = match secret {
                    Some(secret) if header::is_value(secret.expose_secret()) => {
                        return Some(HeaderSource::Text(secret.clone()));
                    }
                    Some(_) => origin.fault(&format!("{name}: {BAD_VALUE}")),
                    // A name may be a secret that a shell put there.
                    None => origin
                        .finding(format!(
                            "{name}: the variable that its value is taken from is not set"
                        ))
                        .remedy("set it in kevmon's own environment"),
                };
                self.fault(fault);
                None
            }
            HeaderValue::Place(place) => {
                let given = Given::new(place, origin.clone());
                self.secret_file(&given, Some(name)).map(HeaderSource::File)
            }
        }
    }

    /// The path of a file that is named as such or as a credential, where it can be used; `what` stands in it.
    pub(super) fn secret_file(&mut self, given: &Given<SecretPlace>, what: Option<&str>) -> Option<PathBuf> {
        let of = what.map(|what| format!("{what}: ")).unwrap_or_default();
        let path = match &given.value {
            SecretPlace::File(path) => path.clone(),
            SecretPlace::Credential(name) => {
                let Some(folder) = self.sources.environment.get("CREDENTIALS_DIRECTORY") else {
                    let message = format!(
                        "{of}the credential {name} is asked for, and CREDENTIALS_DIRECTORY is not set"
                    );
                    let remedy = format!("start kevmon from a systemd unit with LoadCredential={name}:/path");
                    self.fault(given.origin.finding(message).remedy(remedy));
                    return None;
                };
                PathBuf::from(folder).join(name)
            }
            SecretPlace::Variable(_) => return None,
        };
        match (self.sources.check)(&path) {
            Ok(()) => Some(path),
            Err(reason) => {
                let unreadable = "name a file that exists and that the user kevmon runs as can read";
                let (reason, remedy) = reason.split_once("; ").unwrap_or((&reason, unreadable));
                let message = format!("{of}{}: {reason}", path.display());
                self.fault(given.origin.finding(message).remedy(remedy));
                None
            }
        }
    }
}
