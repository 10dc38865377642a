//! The generic environment: OpenTelemetry's variables, a signal's own before the general one, and the Python
//! framework's.

use std::time::Duration;

use super::Settling;
use crate::config::{
    finding::quoted,
    given::{Origin, Rank},
    receiver::{Compression, DEFAULT_TIMEOUT, Protocol},
};

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Metrics,
    Logs,
    Traces,
}

impl Signal {
    pub(super) const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Traces];

    /// Its path below a base URL.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
            Self::Traces => "/v1/traces",
        }
    }

    /// The name of its own variable for `option`.
    pub(super) fn variable(self, option: &str) -> String {
        let signal = match self {
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
            Self::Traces => "TRACES",
        };
        format!("OTEL_EXPORTER_OTLP_{signal}_{option}")
    }
}

/// The name of the variable for all signals.
pub(super) fn general(option: &str) -> String {
    format!("OTEL_EXPORTER_OTLP_{option}")
}

/// Longest timeout accepted, in milliseconds: an hour.
const MOST_TIMEOUT_MS: u64 = 3_600_000;

impl<'a> Settling<'a> {
    /// The value of a variable that names itself as the origin.
    pub(super) fn variable(&self, name: &str) -> Option<(Origin, &'a str)> {
        let value = self.sources.environment.get(name)?;
        Some((Origin::variable(name), value))
    }

    /// The signal's own `option`, else the general one.
    pub(super) fn otel(&self, signal: Signal, option: &str) -> Option<(Origin, &'a str)> {
        self.variable(&signal.variable(option))
            .or_else(|| self.variable(&general(option)))
    }

    pub(super) fn generic_protocol(&mut self, signal: Signal) -> Protocol {
        self.parsed(signal, "PROTOCOL").unwrap_or_default()
    }

    pub(super) fn generic_compression(&mut self, signal: Signal) -> Compression {
        self.parsed(signal, "COMPRESSION").unwrap_or_default()
    }

    fn parsed<T: std::str::FromStr<Err = String>>(&mut self, signal: Signal, option: &str) -> Option<T> {
        let (origin, value) = self.otel(signal, option)?;
        value
            .parse()
            .map_err(|error: String| self.fault(origin.fault(&error)))
            .ok()
    }

    pub(super) fn generic_timeout(&mut self, signal: Signal) -> Duration {
        let Some((origin, value)) = self.otel(signal, "TIMEOUT") else {
            return DEFAULT_TIMEOUT;
        };
        match value.parse::<u64>() {
            Ok(milliseconds @ 1..=MOST_TIMEOUT_MS) => Duration::from_millis(milliseconds),
            _ => {
                let message = format!("{} is not a timeout", quoted(value));
                let remedy = format!("write milliseconds, 1 to {MOST_TIMEOUT_MS}");
                self.fault(origin.finding(message).remedy(remedy));
                DEFAULT_TIMEOUT
            }
        }
    }

    /// `USE_TLS`, where it is set.
    pub(super) fn use_tls(&mut self) -> Option<(Origin, bool)> {
        let (origin, value) = self.variable("USE_TLS")?;
        let wanted = self.flag(&origin, value)?;
        Some((origin, wanted))
    }

    /// Whether an URL without a scheme is cleartext; `None` where nothing says so.
    pub(super) fn insecure(&mut self, signal: Signal) -> Option<(Origin, bool)> {
        let (origin, value) = self.otel(signal, "INSECURE")?;
        let insecure = self.flag(&origin, value)?;
        Some((origin, insecure))
    }

    fn flag(&mut self, origin: &Origin, value: &str) -> Option<bool> {
        match value.to_ascii_lowercase().as_str() {
            "false" | "0" | "no" | "off" => Some(false),
            "true" | "1" | "yes" | "on" => Some(true),
            _ => {
                let fault = origin.finding(format!("{} is neither true nor false", quoted(value)));
                self.fault(fault.remedy("write true or false, or unset it"));
                None
            }
        }
    }

    /// The rank of what gave a credential. The framework's certificates were set for the framework's agent, where
    /// one is named.
    pub(super) fn rank(&self, origin: &Origin) -> Rank {
        let of_framework = matches!(origin, Origin::Variable(name) if name.ends_with("_PATH"));
        if of_framework && self.sources.environment.get("INSTANA_AGENT_HOST").is_some() {
            Rank::Instana
        } else {
            origin.rank()
        }
    }
}
