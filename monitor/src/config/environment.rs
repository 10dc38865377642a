//! The environment variables that kevmon reads, taken once: the rest of configuration is a pure
//! function of them, and no other variable (a secret, say) is ever held.

use std::{collections::BTreeMap, ffi::OsString};

use secrecy::SecretString;

use super::{endpoint::withhold_user_info, resource_attributes};

/// Ends of the per-plugin variables (`MY_APP_INTERVAL`).
const SUFFIXES: [&str; 2] = ["_INTERVAL", "_PROCESS_FILTER"];

/// Variables with a fixed name.
const NAMES: [&str; 20] = [
    resource_attributes::VARIABLE,
    resource_attributes::SERVICE_NAME,
    "NO_PROXY",
    "no_proxy",
    "KEVMON_PLUGIN_PATH",
    "INSTANA_AGENT_HOST",
    "INSTANA_AGENT_PORT",
    "LOG_LEVEL",
    "USE_TLS",
    "CA_CERT_PATH",
    "CLIENT_CERT_PATH",
    "CLIENT_KEY_PATH",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "CREDENTIALS_DIRECTORY",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "HOME",
];

/// What the OTLP exporter's variables begin with; then a signal's name or none, then an option's.
const OTLP: &str = "OTEL_EXPORTER_OTLP_";
const SIGNALS: [&str; 3] = ["METRICS_", "LOGS_", "TRACES_"];
const OPTIONS: [&str; 8] = [
    "ENDPOINT",
    "PROTOCOL",
    "COMPRESSION",
    "TIMEOUT",
    "CERTIFICATE",
    "CLIENT_CERTIFICATE",
    "CLIENT_KEY",
    "INSECURE",
];
/// Addresses of proxies, which may hold a password.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
/// The option whose values are secrets.
const HEADERS: &str = "HEADERS";

/// A snapshot of the variables that configuration reads. One that is set to nothing counts as not
/// set (as OpenTelemetry's specification wants it). Its `Debug` shows no secret.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    plain: BTreeMap<String, String>,
    secret: BTreeMap<String, SecretString>,
}

impl Environment {
    /// This process's variables.
    pub fn of_this_process() -> Self {
        Self::from_pairs(std::env::vars_os())
    }

    /// The variables of `pairs` that kevmon reads. Bytes that are not UTF-8 become `�`, which no
    /// setting accepts.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in pairs {
            let Ok(name) = name.into().into_string() else {
                continue;
            };
            if is_secret(&name) {
                environment.hold_secret(name, Some(value.into()));
            } else if is_read(&name) {
                let value = value.into();
                let value = value.to_string_lossy();
                let value = match name.as_str() {
                    // It holds no address, and values of it may well have an @.
                    resource_attributes::VARIABLE => value.trim(),
                    _ => withhold_user_info(value.trim()),
                };
                if !value.is_empty() {
                    environment.plain.insert(name, value.to_owned());
                }
            }
        }
        environment
    }

    /// Takes the variables `names` as well, as secrets: those that flags and files take header values from.
    #[must_use]
    pub fn with_secrets<'n>(
        mut self,
        names: impl IntoIterator<Item = &'n str>,
        look_up: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        for name in names {
            self.hold_secret(name.to_owned(), look_up(name));
        }
        self
    }

    fn hold_secret(&mut self, name: String, value: Option<OsString>) {
        let value = value.unwrap_or_default();
        let value = value.to_string_lossy();
        let value = value.trim();
        if !value.is_empty() {
            self.secret.insert(name, SecretString::from(value));
        }
    }

    /// The value of `name`, without surrounding blanks; `None` where it is not set or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.plain.get(name).map(String::as_str)
    }

    /// The value of `name`, which is a secret.
    pub(crate) fn secret(&self, name: &str) -> Option<&SecretString> {
        self.secret.get(name)
    }
}

fn is_secret(name: &str) -> bool {
    otlp_option(name) == Some(HEADERS) || PROXIES.contains(&name)
}

fn is_read(name: &str) -> bool {
    NAMES.contains(&name)
        || otlp_option(name).is_some_and(|option| OPTIONS.contains(&option))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// `ENDPOINT` of `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.
fn otlp_option(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(OTLP)?;
    let of_signal = SIGNALS.iter().find_map(|signal| rest.strip_prefix(*signal));
    Some(of_signal.unwrap_or(rest))
}

/// What a plugin's own variables begin with: `my-app` → `MY_APP_`.
pub(crate) fn prefix_of(plugin: &str) -> String {
    let mut prefix: String = plugin
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    prefix.push('_');
    prefix
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn only_what_is_read_is_held() {
        let pairs = [
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("OTEL_EXPORTER_OTLP_PASSWORD", "s3cret"),
            ("MY_APP_INTERVAL", " 5 "),
            ("LOG_LEVEL", ""),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", " a=s3cret "),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@x"),
            ("INSTANA_AGENT_HOST", "me:s3cret@x"),
            ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/key.pem"),
            ("TOKEN", "s3cret"),
            ("OTEL_RESOURCE_ATTRIBUTES", "owner=me@example.com"),
        ];
        let environment = Environment::from_pairs(pairs);
        assert_eq!(environment.get("MY_APP_INTERVAL"), Some("5"));
        assert_eq!(environment.get("LOG_LEVEL"), None);
        assert_eq!(
            environment.get("OTEL_RESOURCE_ATTRIBUTES"),
            Some("owner=me@example.com")
        );
        assert_eq!(
            environment.get("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"),
            Some("/key.pem")
        );
        assert_eq!(
            environment.get("OTEL_EXPORTER_OTLP_HEADERS"),
            None,
            "no plain text"
        );
        let shown = |environment: &Environment, name: &str| {
            environment
                .secret(name)
                .map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(
            shown(&environment, "OTEL_EXPORTER_OTLP_LOGS_HEADERS").as_deref(),
            Some("a=s3cret")
        );
        assert_eq!(shown(&environment, "TOKEN"), None, "nobody named it");
        let environment = environment.with_secrets(["TOKEN", "UNSET"], |name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        });
        assert_eq!(shown(&environment, "TOKEN").as_deref(), Some("s3cret"));
        assert_eq!(shown(&environment, "UNSET"), None);
        assert!(!format!("{environment:?}").contains("s3cret"), "{environment:?}");
    }

    #[test]
    fn every_variable_of_the_export_is_documented() {
        let docs = include_str!("../../../docs/configuration.md");
        let elsewhere = [
            "LOG_LEVEL",
            "STATE_DIRECTORY",
            "XDG_STATE_HOME",
            "HOME",
            "KEVMON_PLUGIN_PATH",
        ];
        let named = NAMES.iter().filter(|name| !elsewhere.contains(name));
        let options = OPTIONS.iter().chain([&HEADERS]);
        let general = options.map(|option| format!("{OTLP}{option}"));
        for name in named.map(|name| (*name).to_owned()).chain(general) {
            assert!(
                docs.contains(&format!("`{name}`")),
                "docs/configuration.md misses {name}"
            );
        }
    }

    #[test]
    fn prefixes() {
        for (plugin, prefix) in [("my-app", "MY_APP_"), ("m8.x", "M8_X_"), ("a", "A_")] {
            assert_eq!(prefix_of(plugin), prefix);
        }
    }
}
