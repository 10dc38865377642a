//! The daemon's own settings, each from the highest source that names it: command line, environment,
//! the published plugin files' `default_agent_*`, built-in default. A value that a higher source
//! overrides is not looked at.

use std::time::Duration;

use super::{
    Overrides,
    endpoint::{self, DEFAULT_HOST, DEFAULT_PORT, Endpoint},
    environment::Environment,
    finding::{Fault, Finding, Warning, quoted},
    log_level::LogLevel,
};

/// How long an export may take when nothing says otherwise (OpenTelemetry's default).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest export timeout accepted, in milliseconds: an hour.
const MOST_TIMEOUT_MS: u64 = 3_600_000;

/// Validated settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where metrics go.
    pub endpoint: Endpoint,
    /// How much is logged.
    pub log_level: LogLevel,
    /// How long one export may take.
    pub timeout: Duration,
    /// What was asked for and is not done, or done differently.
    pub warnings: Vec<Warning>,
}

/// Settles the settings. `legacy` is [`super::Loaded::legacy_endpoint`].
///
/// # Errors
/// Every fault found, of flags and variables; there are no settings to go on with then, so that a
/// request for TLS never ends in cleartext.
pub fn settle(
    environment: &Environment,
    overrides: &Overrides,
    legacy: Option<&(String, u16)>,
) -> Result<Settings, Vec<Fault>> {
    let mut settling = Settling {
        environment,
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    settling.refuse_tls();
    settling.refuse_other_protocols();
    settling.warn_of_what_is_not_done();
    let endpoint = settling.endpoint(overrides, legacy);
    let log_level = settling.log_level(overrides);
    let timeout = settling.timeout();
    let Settling { faults, warnings, .. } = settling;
    match endpoint {
        Some(endpoint) if faults.is_empty() => Ok(Settings {
            endpoint,
            log_level,
            timeout,
            warnings,
        }),
        _ => Err(faults),
    }
}

struct Settling<'a> {
    environment: &'a Environment,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
}

impl Settling<'_> {
    fn refuse_tls(&mut self) {
        let Some(value) = self.environment.get("USE_TLS") else {
            return;
        };
        let fault = match value.to_ascii_lowercase().as_str() {
            "false" | "0" | "no" | "off" => return,
            "true" | "1" | "yes" | "on" => {
                Finding::in_variable("USE_TLS", "TLS is not supported in this version").remedy(
                    "unset it to send cleartext to a receiver on a trusted network, such as a local agent",
                )
            }
            _ => Finding::in_variable("USE_TLS", format!("{} is neither true nor false", quoted(value)))
                .remedy("unset it or write false"),
        };
        self.faults.push(fault);
    }

    fn refuse_other_protocols(&mut self) {
        let names = [
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ];
        if let Some((name, value)) = self.environment.first(&names)
            && value != "grpc"
        {
            let message = format!("the protocol {} is not supported in this version", quoted(value));
            self.faults
                .push(Finding::in_variable(name, message).remedy("unset it or write grpc"));
        }
    }

    fn warn_of_what_is_not_done(&mut self) {
        let environment = self.environment;
        let set = |names: &[&'static str]| {
            names
                .iter()
                .find_map(|name| Some((*name, environment.get(name)?.to_ascii_lowercase())))
        };
        let mut warn = |name: &str, message: &str| {
            self.warnings.push(Finding::in_variable(name, message));
        };
        match set(&["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"]) {
            Some((_, value)) if value == "cumulative" => {}
            Some((name, value)) if value == "delta" || value == "lowmemory" => {
                warn(
                    name,
                    &format!("{value} has no effect: kevmon sends cumulative in this version"),
                );
            }
            Some((name, value)) => {
                let remedy = "write cumulative, delta or lowmemory";
                let message = format!("{} is not a temporality preference", quoted(&value));
                self.faults
                    .push(Finding::in_variable(name, message).remedy(remedy));
            }
            None => {}
        }
        if let Some((name, value)) = set(&[
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        ]) && value != "none"
        {
            warn(name, "has no effect: kevmon sends uncompressed in this version");
        }
        if let Some((name, _)) = set(&["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]) {
            warn(
                name,
                "has no effect: kevmon sends no headers of its own in this version",
            );
        }
        for name in [
            "CA_CERT_PATH",
            "CLIENT_CERT_PATH",
            "CLIENT_KEY_PATH",
            "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        ] {
            if set(&[name]).is_some() {
                warn(name, "has no effect: there is no TLS in this version");
            }
        }
    }

    /// A host named on the command line starts afresh; otherwise an OTEL URL, which names both host
    /// and port, before INSTANA_* and the files, which name them one by one.
    fn endpoint(&mut self, overrides: &Overrides, legacy: Option<&(String, u16)>) -> Option<Endpoint> {
        let names = [
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ];
        let otel = self
            .environment
            .first(&names)
            .filter(|_| overrides.agent_host.is_none());
        let (host, port) = match otel {
            Some((name, value)) => {
                let (host, port) = self.otel(name, value)?;
                (Some((host, name)), Some((port, name)))
            }
            None => (
                self.instana(
                    "INSTANA_AGENT_HOST",
                    overrides.agent_host.is_some(),
                    endpoint::host,
                )?,
                self.instana(
                    "INSTANA_AGENT_PORT",
                    overrides.agent_port.is_some(),
                    endpoint::port,
                )?,
            ),
        };
        let host = match &overrides.agent_host {
            Some(text) => match endpoint::host(text) {
                Ok(host) => Some((host, "--agent-host")),
                Err(error) => {
                    self.faults
                        .push(split(Finding::in_flag(Some("--agent-host"), ""), &error));
                    return None;
                }
            },
            None => host,
        };
        let port = overrides.agent_port.map(|port| (port, "--agent-port")).or(port);
        let asked_for = host.is_some() || port.is_some();
        let from = match (&host, &port, legacy) {
            (Some((_, from)), ..) | (None, Some((_, from)), _) => *from,
            (None, None, Some(_)) => "plugin.toml",
            (None, None, None) => "default",
        };
        let host = host
            .map(|(host, _)| host)
            .or_else(|| legacy.map(|(host, _)| host.clone()))
            .unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let port = port
            .map(|(port, _)| port)
            .or_else(|| legacy.map(|(_, port)| *port))
            .unwrap_or(DEFAULT_PORT);
        Some(Endpoint {
            url: endpoint::url(&host, port),
            asked_for,
            from,
        })
    }

    fn otel(&mut self, name: &'static str, value: &str) -> Option<(String, u16)> {
        let names = [
            "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
            "OTEL_EXPORTER_OTLP_INSECURE",
        ];
        let insecure = self
            .environment
            .first(&names)
            .is_some_and(|(_, v)| v.eq_ignore_ascii_case("true"));
        match endpoint::parse_url(value, insecure) {
            Ok((host, port, path)) => {
                if path {
                    let message = "the URL's path has no effect: gRPC has one of its own";
                    self.warnings.push(Finding::in_variable(name, message));
                }
                Some((host, port))
            }
            Err(error) => {
                self.faults.push(split(Finding::in_variable(name, ""), &error));
                None
            }
        }
    }

    /// `Some(None)` where `name` is not set or overridden, `None` where it is wrong.
    fn instana<T>(
        &mut self,
        name: &'static str,
        overridden: bool,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<Option<(T, &'static str)>> {
        match self.environment.get(name).filter(|_| !overridden).map(parse) {
            None => Some(None),
            Some(Ok(value)) => Some(Some((value, name))),
            Some(Err(error)) => {
                self.faults.push(split(Finding::in_variable(name, ""), &error));
                None
            }
        }
    }

    fn log_level(&mut self, overrides: &Overrides) -> LogLevel {
        let named = self
            .environment
            .get("LOG_LEVEL")
            .filter(|_| overrides.log_level.is_none());
        match named.map(str::parse) {
            Some(Ok(level)) => level,
            Some(Err(error)) => {
                let error: super::log_level::UnknownLogLevel = error;
                self.faults
                    .push(split(Finding::in_variable("LOG_LEVEL", ""), &error.to_string()));
                LogLevel::default()
            }
            None => overrides.log_level.unwrap_or_default(),
        }
    }

    fn timeout(&mut self) -> Duration {
        let names = ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
        let Some((name, value)) = self.environment.first(&names) else {
            return DEFAULT_TIMEOUT;
        };
        match value.parse::<u64>() {
            Ok(milliseconds @ 1..=MOST_TIMEOUT_MS) => Duration::from_millis(milliseconds),
            _ => {
                let message = format!("{} is not a timeout", quoted(value));
                let remedy = format!("write milliseconds, 1 to {MOST_TIMEOUT_MS}");
                self.faults
                    .push(Finding::in_variable(name, message).remedy(remedy));
                DEFAULT_TIMEOUT
            }
        }
    }
}

/// Puts `error`, "what is wrong; what to do", into `finding`.
pub(crate) fn split(mut finding: Finding, error: &str) -> Finding {
    match error.split_once("; ") {
        Some((message, remedy)) => {
            finding.message = message.to_owned();
            finding.remedy(remedy)
        }
        None => {
            finding.message = error.to_owned();
            finding
        }
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
