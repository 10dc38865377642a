//! What the end-to-end tests send to that is not ours, and under which variable each is named to them.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::prometheus::Prometheus;
use crate::workspace::Workspace;
use crate::{collector, grpcio, nginx, prometheus, rotel, victoria_metrics};

/// Programs that are there and run.
#[derive(Debug)]
pub(crate) struct Receivers {
    rotel: PathBuf,
    victoria_metrics: PathBuf,
    nginx: PathBuf,
    grpcio: PathBuf,
    prometheus: Prometheus,
    /// Those that no package brings, where they are there.
    optional: Vec<(Optional, PathBuf)>,
}

/// A receiver that no package brings ready-made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Optional {
    Collector,
    PrometheusOtlp,
}

impl Optional {
    const ALL: [Self; 2] = [Self::Collector, Self::PrometheusOtlp];

    /// The program, where it is there: named by the tests' variable, built, or on PATH.
    fn find(self, workspace: &Workspace) -> Option<PathBuf> {
        let named = env::var_os(self.variable()).map(PathBuf::from);
        named.or_else(|| match self {
            Self::Collector => collector::find(workspace),
            Self::PrometheusOtlp => prometheus::find_with_otlp(),
        })
    }

    /// The tests' variable.
    fn variable(self) -> &'static str {
        match self {
            Self::Collector => "KEVMON_COLLECTOR",
            Self::PrometheusOtlp => "KEVMON_PROMETHEUS_OTLP",
        }
    }

    /// How the names of the tests that need it begin.
    fn tests(self) -> &'static str {
        match self {
            Self::Collector => "otel_collector::",
            Self::PrometheusOtlp => "prometheus_otlp::",
        }
    }

    /// Why these tests were left out, and what brings the receiver.
    fn remedy(self) -> &'static str {
        match self {
            Self::Collector => {
                "the OpenTelemetry Collector is not built: `cargo xtask setup --collector` builds it"
            }
            Self::PrometheusOtlp => {
                "no Prometheus that receives OTLP is on PATH: put a release of github.com/prometheus/prometheus (3.0 or later) \
                 there (Debian builds it without the OTLP receiver)"
            }
        }
    }
}

/// Installs those that are not there, but for the optional ones.
pub(crate) fn setup(workspace: &Workspace) -> Result<Receivers> {
    let optional = Optional::ALL
        .into_iter()
        .filter_map(|receiver| Some((receiver, receiver.find(workspace)?)))
        .collect();
    Ok(Receivers {
        rotel: rotel::setup(workspace)?,
        victoria_metrics: victoria_metrics::setup(workspace)?,
        nginx: nginx::setup(workspace)?,
        grpcio: grpcio::setup(workspace)?,
        prometheus: prometheus::setup(workspace)?,
        optional,
    })
}

impl Receivers {
    /// The tests' variables.
    pub(crate) fn environment(&self) -> Vec<(&'static str, &Path)> {
        let mut variables = vec![
            ("KEVMON_ROTEL", self.rotel.as_path()),
            ("KEVMON_VICTORIA_METRICS", &self.victoria_metrics),
            ("KEVMON_NGINX", &self.nginx),
            ("KEVMON_GRPCIO", &self.grpcio),
            ("KEVMON_PROMETHEUS", &self.prometheus.server),
            ("KEVMON_PROMTOOL", &self.prometheus.promtool),
        ];
        let optional = self.optional.iter();
        variables.extend(optional.map(|(receiver, program)| (receiver.variable(), program.as_path())));
        variables
    }

    /// How the names of the tests begin whose receiver is not there.
    pub(crate) fn skipped_tests(&self) -> impl Iterator<Item = &'static str> {
        self.absent().map(Optional::tests)
    }

    /// Names what was left out, a line each.
    pub(crate) fn skipped(&self) -> String {
        self.absent()
            .map(|receiver| format!("\nskipped: {} ({})\n", receiver.tests(), receiver.remedy()))
            .collect()
    }

    fn absent(&self) -> impl Iterator<Item = Optional> {
        let is_there = |receiver: &Optional| self.optional.iter().any(|(there, _)| there == receiver);
        Optional::ALL
            .into_iter()
            .filter(move |receiver| !is_there(receiver))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_built_is_skipped_by_name() {
        let path = PathBuf::from("/x");
        let mut receivers = Receivers {
            rotel: path.clone(),
            victoria_metrics: path.clone(),
            nginx: path.clone(),
            grpcio: path.clone(),
            prometheus: Prometheus {
                server: path.clone(),
                promtool: path.clone(),
            },
            optional: Vec::new(),
        };
        let skipped = |receivers: &Receivers| receivers.skipped_tests().collect::<Vec<_>>();
        let both = ["otel_collector::", "prometheus_otlp::"];
        assert_eq!(skipped(&receivers), both);
        assert!(receivers.skipped().contains("cargo xtask setup --collector"));
        receivers.optional.push((Optional::Collector, path));
        assert_eq!(skipped(&receivers), &both[1..]);
        assert!(
            !receivers.skipped().contains("--collector"),
            "{}",
            receivers.skipped()
        );
        let variables = receivers.environment();
        assert!(variables.iter().any(|(name, _)| *name == "KEVMON_COLLECTOR"));
    }
}
