//! Addresses: which source names a receiver's, and what of it.

use super::{
    Settling,
    connection::Own,
    generic::{Signal, general},
};
use crate::config::{
    Agent, Overrides,
    endpoint::{self, DEFAULT_HOST, Url},
    environment::Environment,
    given::{Origin, Rank},
    settings_file::SettingsFile,
};

/// How an address was written, which tells what its parts mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// kevmon's own way: a base URL, OTLP's ports.
    Base,
    /// OpenTelemetry's general variable: a base URL, HTTP's ports.
    OtelBase,
    /// OpenTelemetry's variable of a signal: the URL as it is, HTTP's ports.
    OtelSignal,
    /// Host and port: whether it is https is for others to say.
    HostAndPort,
}

/// An address and what named it.
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) form: Form,
    pub(super) origin: Origin,
    /// What named the port, where that is not what named the host.
    pub(super) port_origin: Option<Origin>,
}

impl Target {
    pub(super) fn new(url: Url, form: Form, origin: Origin) -> Self {
        Self {
            url,
            form,
            origin,
            port_origin: None,
        }
    }

    /// What `Receiver::from` shows.
    pub(super) fn from(&self) -> &Origin {
        match &self.port_origin {
            Some(port) if self.origin.rank() <= Rank::Legacy => port,
            _ => &self.origin,
        }
    }
}

/// The first of flags, file and variables that names a host, so that legacy plugin files have no say.
pub(crate) fn is_addressed(
    environment: &Environment,
    overrides: &Overrides,
    file: Option<&SettingsFile>,
) -> bool {
    let named = |name: &str| environment.get(name).is_some();
    overrides.endpoint.is_some()
        || overrides.agent_host.is_some()
        || file.is_some_and(|file| file.export.endpoint.is_some())
        || named(&Signal::Metrics.variable("ENDPOINT"))
        || named(&general("ENDPOINT"))
        || named("INSTANA_AGENT_HOST")
}

/// The port that replaces those of legacy plugin files; a wrong one is for [`super::settle`] to name.
pub(crate) fn named_port(environment: &Environment, overrides: &Overrides) -> Option<u16> {
    let variable = || endpoint::port(environment.get("INSTANA_AGENT_PORT")?).ok();
    overrides.agent_port.or_else(variable)
}

impl Settling<'_> {
    /// The default receiver's address. What names the host decides on all of it; a port alone, where a flag gives it
    /// or nothing outranks the variable, goes to that host.
    pub(super) fn default_target(&mut self, signal: Signal, own: &Own<'_>) -> Option<Target> {
        let overrides = self.sources.overrides;
        let mut target = self.default_address(signal, own.agent)?;
        if overrides.endpoint.is_none()
            && let Some(port) = overrides.agent_port
        {
            target.url.port = Some(port);
            target.port_origin = Some(Origin::Flag("--agent-port"));
        }
        Some(target)
    }

    fn default_address(&mut self, signal: Signal, agent: Option<&Agent>) -> Option<Target> {
        let overrides = self.sources.overrides;
        if let Some(text) = &overrides.endpoint {
            return self.parsed_url(Origin::Flag("--endpoint"), text, Form::Base);
        }
        if let Some(text) = &overrides.agent_host {
            return self.host(Origin::Flag("--agent-host"), text);
        }
        if let Some(endpoint) = self.sources.file.and_then(|file| file.export.endpoint.clone()) {
            return Some(Target::new(endpoint.value, Form::Base, endpoint.origin));
        }
        if let Some((origin, text)) = self.variable(&signal.variable("ENDPOINT")) {
            return self.parsed_url(origin, text, Form::OtelSignal);
        }
        if let Some((origin, text)) = self.variable(&general("ENDPOINT")) {
            return self.parsed_url(origin, text, Form::OtelBase);
        }
        let port = self.instana_port()?;
        let mut target = match (self.variable("INSTANA_AGENT_HOST"), agent) {
            (Some((origin, text)), _) => self.host(origin, text)?,
            (None, Some(agent)) => {
                let url = Url::of_host(agent.host.clone(), Some(agent.port));
                Target::new(url, Form::HostAndPort, Origin::Legacy(agent.path.clone()))
            }
            (None, None) => {
                let url = Url::of_host(DEFAULT_HOST.to_owned(), None);
                Target::new(url, Form::HostAndPort, Origin::Default)
            }
        };
        if let Some((origin, port)) = port {
            target.url.port = Some(port);
            target.port_origin = Some(origin);
        }
        Some(target)
    }

    fn parsed_url(&mut self, origin: Origin, text: &str, form: Form) -> Option<Target> {
        let parsed = match form {
            Form::Base => Url::parse_whole(text),
            _ => Url::parse(text),
        };
        match parsed {
            Ok(url) => Some(Target::new(url, form, origin)),
            Err(error) => {
                self.fault(origin.fault(&error));
                None
            }
        }
    }

    fn host(&mut self, origin: Origin, text: &str) -> Option<Target> {
        match endpoint::host(text) {
            Ok(host) => Some(Target::new(Url::of_host(host, None), Form::HostAndPort, origin)),
            Err(error) => {
                self.fault(origin.fault(&error));
                None
            }
        }
    }

    /// `Some(None)` where it is not set or overridden, `None` where it is wrong.
    fn instana_port(&mut self) -> Option<Option<(Origin, u16)>> {
        let variable = self.variable("INSTANA_AGENT_PORT");
        let Some((origin, text)) = variable.filter(|_| self.sources.overrides.agent_port.is_none()) else {
            return Some(None);
        };
        match endpoint::port(text) {
            Ok(port) => Some(Some((origin, port))),
            Err(error) => {
                self.fault(origin.fault(&error));
                None
            }
        }
    }
}
