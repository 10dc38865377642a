//! The daemon's own settings, each from the highest source that names it: command line, settings file, environment,
//! the legacy plugin files' `default_agent_*`, built-in default. A value that a higher source overrides is not looked
//! at.

mod address;
mod connection;
mod credentials;
mod generic;
mod page;
mod proxy;
mod resource;
mod tls;

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    Overrides, PluginReceivers,
    accounting::ExactEnds,
    environment::Environment,
    finding::{Fault, Finding, Warning, quoted, split},
    given::Given,
    log_filter::LogFilter,
    receiver::{Outputs, Receiver, SpoolLimits, Telemetry, Temporality},
    recorder::Recorder,
    settings_file::{DEFAULT_KEEP_WATCHING, SettingsFile},
};
use crate::files;

pub(crate) use self::address::{is_addressed, named_port};

/// Validated settings. Their `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where collections go. The first is the default one ([`super::receiver::DEFAULT_RECEIVER`]); then those of the
    /// settings file, by name, then those that plugin files name, each once.
    pub receivers: Vec<Receiver>,
    /// How much is logged.
    pub log_level: LogFilter,
    /// What sums are counted from.
    pub temporality: Temporality,
    /// Distributions are sent as exponential histograms.
    pub exponential_histograms: bool,
    /// What is kept while a receiver is away.
    pub spool: SpoolLimits,
    /// How long the kernel side watches without kevmon; zero: it does not.
    pub keep_watching: Duration,
    /// When dying threads tell their processes' totals.
    pub exact_ends: ExactEnds,
    /// What the flight recorder writes.
    pub recorder: Recorder,
    /// kevmon's own telemetry.
    pub telemetry: Telemetry,
    /// Outputs beside the receivers.
    pub outputs: Outputs,
    /// Attributes of all resources, `host.name` and `host.id` among them where they are given.
    pub resource: BTreeMap<String, String>,
    /// The account that collectors run as, where one is named.
    pub collector_user: Option<String>,
    /// What was asked for and is not done or done differently, and what is dangerous.
    pub warnings: Vec<Warning>,
}

/// All that settings come from.
#[derive(Clone, Copy)]
pub struct SettingSources<'a> {
    /// The variables, among them those that flags and files take secrets from.
    pub environment: &'a Environment,
    /// The flags.
    pub overrides: &'a Overrides,
    /// The settings file, where there is one.
    pub file: Option<&'a SettingsFile>,
    /// [`super::Loaded::receivers`].
    pub plugins: &'a PluginReceivers,
    /// Whether a named file can be used, and why not ([`check_file`]).
    pub check: &'a dyn Fn(&Path) -> Result<(), String>,
}

impl std::fmt::Debug for SettingSources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettingSources").finish_non_exhaustive()
    }
}

/// Whether the file at `path` can be opened, and nobody else can change what it holds.
///
/// # Errors
/// The reason alone; where something can be done about it, "what is wrong; what to do".
pub fn check_file(path: &Path) -> Result<(), String> {
    match files::open_to_read(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(match files::refusal(&error) {
            Some(refusal) if refusal.path == path => format!("{}; {}", refusal.message, refusal.remedy),
            Some(refusal) => refusal.to_string(),
            None => super::discover::plain(&error),
        }),
    }
}

/// Settles the settings.
///
/// # Errors
/// Every fault found, of flags, variables and the settings file; there are no settings to go on with then, so that a
/// request for TLS never ends in cleartext.
pub fn settle(sources: &SettingSources<'_>) -> Result<Settings, Vec<Fault>> {
    let mut settling = Settling {
        sources: *sources,
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    if let Some(file) = sources.file {
        settling.faults.extend_from_slice(&file.faults);
        settling.warnings.extend_from_slice(&file.warnings);
    }
    let receivers = settling.receivers();
    let log_level = settling.log_level();
    let temporality = settling.temporality();
    let exponential_histograms = settling.histogram_aggregation();
    let outputs = settling.outputs();
    let resource = settling.resource();
    let Settling { faults, warnings, .. } = settling;
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Settings {
        receivers,
        log_level,
        temporality,
        exponential_histograms,
        spool: sources.file.map_or_else(SpoolLimits::default, |file| file.spool),
        keep_watching: sources
            .overrides
            .keep_watching
            .or_else(|| sources.file?.keep_watching)
            .unwrap_or(DEFAULT_KEEP_WATCHING),
        exact_ends: sources.file.and_then(|file| file.exact_ends).unwrap_or_default(),
        recorder: sources.file.map_or_else(Recorder::default, |file| file.recorder),
        telemetry: sources
            .file
            .map_or_else(Telemetry::default, |file| file.telemetry),
        outputs,
        resource,
        collector_user: sources.file.and_then(|file| file.collector_user.clone()),
        warnings,
    })
}

struct Settling<'a> {
    sources: SettingSources<'a>,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
}

impl Settling<'_> {
    /// What several signals and receivers have in common is said once.
    fn fault(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn warn(&mut self, warning: Warning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn log_level(&mut self) -> LogFilter {
        let asked = self.sources.overrides.log_level.clone();
        let named = self.sources.environment.get("LOG_LEVEL");
        match named.filter(|_| asked.is_none()).map(str::parse) {
            Some(Ok(level)) => level,
            Some(Err(error)) => {
                let error: super::log_level::UnknownLogLevel = error;
                self.fault(split(Finding::in_variable("LOG_LEVEL", ""), &error.to_string()));
                LogFilter::default()
            }
            None => asked.unwrap_or_default(),
        }
    }

    fn temporality(&mut self) -> Temporality {
        const NAME: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        if let Some(temporality) = self.sources.file.and_then(|file| file.temporality) {
            return temporality;
        }
        match self.sources.environment.get(NAME).map(str::parse) {
            Some(Ok(temporality)) => temporality,
            Some(Err(error)) => {
                let error: String = error;
                self.fault(split(Finding::in_variable(NAME, ""), &error));
                Temporality::default()
            }
            None => Temporality::default(),
        }
    }

    /// Whether distributions are sent as exponential histograms.
    fn histogram_aggregation(&mut self) -> bool {
        const NAME: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
        let Some(value) = self.sources.environment.get(NAME) else {
            return true;
        };
        match value.to_ascii_lowercase().as_str() {
            "explicit_bucket_histogram" => false,
            "base2_exponential_bucket_histogram" => true,
            _ => {
                let message = format!("{} is no aggregation of histograms", quoted(value));
                let remedy =
                    "write explicit_bucket_histogram or base2_exponential_bucket_histogram, or unset it";
                self.fault(Finding::in_variable(NAME, message).remedy(remedy));
                true
            }
        }
    }

    fn outputs(&mut self) -> Outputs {
        let (overrides, file) = (self.sources.overrides, self.sources.file);
        let asked = overrides.otlp_json.clone();
        let prometheus = overrides
            .prometheus
            .map(|address| Given::by_flag(address, "--prometheus"))
            .or_else(|| file.and_then(|file| file.prometheus.clone()));
        Outputs {
            otlp_json: asked.or_else(|| file.and_then(|file| file.otlp_json.clone())),
            prometheus: prometheus.map(|listen| self.page(&listen)),
        }
    }
}

#[cfg(test)]
mod tests;
