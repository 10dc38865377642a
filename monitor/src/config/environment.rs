//! The environment variables that kevmon reads, taken once: the rest of configuration is a pure
//! function of them, and no other variable (a secret, say) is ever held.

use std::{collections::BTreeMap, ffi::OsString};

/// Ends of the per-plugin variables (`MY_APP_INTERVAL`).
const SUFFIXES: [&str; 2] = ["_INTERVAL", "_PROCESS_FILTER"];

/// Variables with a fixed name, and the beginnings of families of them.
const NAMES: [&str; 8] = [
    "LOG_LEVEL",
    "USE_TLS",
    "CA_CERT_PATH",
    "CLIENT_CERT_PATH",
    "CLIENT_KEY_PATH",
    "STATE_DIRECTORY",
    "XDG_STATE_HOME",
    "HOME",
];
const PREFIXES: [&str; 2] = ["INSTANA_AGENT_", "OTEL_EXPORTER_OTLP_"];

/// A snapshot of the variables that configuration reads. One that is set to nothing counts as not
/// set (as OpenTelemetry's specification wants it).
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// This process's variables.
    pub fn of_this_process() -> Self {
        Self::from_pairs(std::env::vars_os())
    }

    /// The variables of `pairs` that kevmon reads. Bytes that are not UTF-8 become `�`, which no
    /// setting accepts.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>) -> Self {
        let mut variables = BTreeMap::new();
        for (name, value) in pairs {
            let (Ok(name), value) = (name.into().into_string(), value.into()) else {
                continue;
            };
            let value = value.to_string_lossy();
            let value = match value.trim() {
                "" => continue,
                // Headers carry credentials; that there are some is all that is needed here.
                _ if name.ends_with("_HEADERS") => "set",
                value => value,
            };
            if is_read(&name) {
                variables.insert(name, value.to_owned());
            }
        }
        Self(variables)
    }

    /// The value of `name`, without surrounding blanks; `None` where it is not set or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The first of `names` that is set, with its value.
    pub(crate) fn first<'a>(&self, names: &[&'a str]) -> Option<(&'a str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }
}

fn is_read(name: &str) -> bool {
    NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
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
    use super::*;

    #[test]
    fn only_what_is_read_is_held() {
        let environment = Environment::from_pairs([
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("MY_APP_INTERVAL", " 5 "),
            ("LOG_LEVEL", ""),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret"),
        ]);
        assert_eq!(environment.get("MY_APP_INTERVAL"), Some("5"));
        assert_eq!(environment.get("LOG_LEVEL"), None);
        assert!(!format!("{environment:?}").contains("secret"), "{environment:?}");
        assert!(
            environment.get("OTEL_EXPORTER_OTLP_HEADERS").is_some(),
            "presence is still known"
        );
    }

    #[test]
    fn prefixes() {
        for (plugin, prefix) in [("my-app", "MY_APP_"), ("m8.x", "M8_X_"), ("a", "A_")] {
            assert_eq!(prefix_of(plugin), prefix);
        }
    }
}
