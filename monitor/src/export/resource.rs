//! The resource that a plugin's metrics belong to.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
};
use uuid::Uuid;

pub use super::host::HostIdentity;
use super::host::Reporter;
use crate::{
    metrics::{Attribute, Attributes},
    plugin::Plugin,
};

/// The version of OpenTelemetry's semantic conventions that names of theirs come from: `service.*`, `host.*`,
/// `process.*`.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Namespace of kevmon's UUIDv5 names.
const NAMESPACE: Uuid = Uuid::from_u128(0x6b65_766d_6f6e_4f54_8c50_7365_7276_6963);

/// What kind of run exports: a single run beside a service must not write into the service's series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The daemon, whose series go on over its restarts.
    Service,
    /// `--run-once`.
    Once,
}

/// The plugin's resource, with `more` attributes than its file fixes.
pub fn of_plugin(
    plugin: &Plugin,
    more: &BTreeMap<String, String>,
    host: &HostIdentity,
    run: Run,
) -> Resource {
    let service = &plugin.service;
    let mut attributes = vec![
        text("service.name", plugin.service_name()),
        text("service.namespace", service.namespace.clone()),
        text("service.instance.id", service_instance_id(plugin, host, run)),
        text("kevmon.service.id", service.id.clone()),
        text("kevmon.service.original_name", service.original.clone()),
        text("kevmon.plugin", plugin.name.clone()),
    ];
    let instance = plugin.instance.clone();
    attributes.extend(instance.map(|instance| text("kevmon.plugin.instance", instance)));
    attributes.extend(
        plugin
            .patterns
            .iter()
            .find_map(|pattern| plain_name(pattern.as_str()))
            .map(|name| text("process.executable.name", name.to_owned())),
    );
    let mut own = plugin.attributes.clone();
    own.extend(more.clone());
    finish(attributes, host, &own)
}

/// kevmon's own resource.
pub fn of_kevmon(host: &HostIdentity, run: Run) -> Resource {
    let attributes = vec![
        text("service.name", "kevmon".to_owned()),
        text("service.namespace", "kevmon".to_owned()),
        text("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        text("service.instance.id", own_instance_id(host, run)),
    ];
    finish(attributes, host, &BTreeMap::new())
}

/// What every resource says comes last, the plugin's own attributes above it. Configuration has refused what kevmon sets
/// itself.
fn finish(mut attributes: Vec<KeyValue>, host: &HostIdentity, custom: &BTreeMap<String, String>) -> Resource {
    let mut rest = host.attributes();
    rest.extend(custom.clone());
    attributes.extend(rest.into_iter().map(|(key, value)| text(&key, value)));
    Resource {
        attributes,
        ..Resource::default()
    }
}

/// The `service.instance.id` of kevmon itself: one for each daemon and state.
pub fn own_instance_id(host: &HostIdentity, run: Run) -> String {
    instance_id(host, "kevmon", "kevmon", "", run)
}

/// The `service.instance.id` of a plugin's service: the one that the store keeps, else one of its own making.
pub fn service_instance_id(plugin: &Plugin, host: &HostIdentity, run: Run) -> String {
    match (&plugin.instance_id, run) {
        (Some(id), Run::Service) => id.clone(),
        _ => {
            let service = &plugin.service;
            instance_id(host, &service.namespace, &service.original, &plugin.label(), run)
        }
    }
}

/// Depends on nothing that could be lost: the same host, service, plugin and kind of run have the same id for ever.
fn instance_id(host: &HostIdentity, namespace: &str, name: &str, plugin: &str, run: Run) -> String {
    let origin = host.origin();
    let run = match run {
        Run::Service => "",
        Run::Once => "run-once",
    };
    // Separated by NUL, which no part can hold, so that no two lists of parts read alike.
    let mut parts = format!("{origin}\0{namespace}\0{name}\0{plugin}\0{run}");
    match host.reporter {
        Reporter::Unstored(run) => parts.push_str(&format!("\0unstored {run}")),
        // A service that is a plugin's is watched by one daemon of the state.
        Reporter::OfState(state) if plugin.is_empty() => parts.push_str(&format!("\0state {state}")),
        Reporter::OfSet(set) if plugin.is_empty() => parts.push_str(&format!("\0set {set}")),
        Reporter::OfState(_) | Reporter::OfSet(_) | Reporter::Main => {}
    }
    Uuid::new_v5(&NAMESPACE, parts.as_bytes()).to_string()
}

/// The executable's name, where the pattern is nothing but one.
fn plain_name(pattern: &str) -> Option<&str> {
    let name = pattern.strip_prefix('^').unwrap_or(pattern);
    let name = name.strip_suffix('$').unwrap_or(name);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// An attribute with a text value.
pub fn text(key: &str, value: String) -> KeyValue {
    attribute(key, Value::StringValue(value))
}

/// Attributes in the form of OTLP, each with its type.
pub fn attributes(attributes: Attributes) -> Vec<KeyValue> {
    attributes
        .into_iter()
        .map(|(key, value)| {
            let value = match value {
                Attribute::Text(text) => Value::StringValue(text),
                Attribute::Integer(number) => Value::IntValue(number),
                Attribute::Float(number) => Value::DoubleValue(number),
                Attribute::Boolean(flag) => Value::BoolValue(flag),
            };
            attribute(key, value)
        })
        .collect()
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_ids_are_stable_and_distinct() {
        let host = HostIdentity::new(Some("h".into()), "n".into());
        let id = instance_id(&host, "ns", "name", "plugin", Run::Service);
        assert_eq!(id, instance_id(&host, "ns", "name", "plugin", Run::Service));
        assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 5);
        assert_ne!(
            id,
            instance_id(&host, "nsn", "ame", "plugin", Run::Service),
            "parts do not run together"
        );
        assert_ne!(
            id,
            instance_id(
                &HostIdentity::new(Some("i".into()), "n".into()),
                "ns",
                "name",
                "plugin",
                Run::Service
            )
        );
    }

    #[test]
    fn each_key_once_and_the_more_particular_value() {
        let given = [
            ("host.name", "node"),
            ("deployment.environment.name", "test"),
            ("cloud.region", "eu"),
            ("host.arch", "riscv64"),
        ];
        let given = given.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let host = HostIdentity::read(&BTreeMap::from(given));
        let pattern = regex::Regex::new("^web$").unwrap();
        let plugin = Plugin {
            attributes: BTreeMap::from([("cloud.region".to_owned(), "us".to_owned())]),
            ..Plugin::new(
                "web",
                crate::plugin::service::ServiceName::new("shop", "shop.^web$"),
                vec![pattern],
            )
        };
        let more = BTreeMap::from([("deployment.environment.name".to_owned(), "unit".to_owned())]);
        let told = |resource: Resource| -> Vec<(String, String)> {
            let pairs = resource.attributes.into_iter();
            pairs
                .filter_map(|pair| match pair.value?.value? {
                    Value::StringValue(text) => Some((pair.key, text)),
                    _ => None,
                })
                .collect()
        };
        let of_plugin = told(of_plugin(&plugin, &more, &host, Run::Service));
        let own = told(of_kevmon(&host, Run::Service));
        for (of, key, expected) in [
            (&of_plugin, "host.name", "node"),
            (&of_plugin, "cloud.region", "us"),
            (&of_plugin, "deployment.environment.name", "unit"),
            (&of_plugin, "os.type", "linux"),
            (&of_plugin, "host.arch", "riscv64"),
            (&own, "host.name", "node"),
            (&own, "cloud.region", "eu"),
            (&own, "deployment.environment.name", "test"),
            (&own, "os.type", "linux"),
        ] {
            let values: Vec<&str> = of
                .iter()
                .filter(|(name, _)| name == key)
                .map(|(_, value)| value.as_str())
                .collect();
            assert_eq!(values, [expected], "{key} of {of:?}");
        }
    }

    /// Two daemons with states of their own on one host would else send two sequences of times of one resource.
    #[test]
    fn each_daemon_has_an_id_of_its_own_and_plugins_the_same() {
        let of = |reporter| {
            let mut host = HostIdentity::new(Some("h".into()), "n".into());
            host.reporter = reporter;
            let plugin = instance_id(&host, "ns", "name", "plugin", Run::Service);
            (own_instance_id(&host, Run::Service), plugin)
        };
        let stored = [
            Reporter::Main,
            Reporter::OfState(1),
            Reporter::OfState(2),
            Reporter::OfSet(1),
            Reporter::OfSet(2),
        ];
        let ids = stored.map(of);
        for (index, (own, plugin)) in ids.iter().enumerate() {
            assert!(
                ids.iter().skip(index + 1).all(|(other, _)| other != own),
                "{index}"
            );
            assert_eq!(*plugin, ids[0].1, "{index}");
            assert_eq!(ids[index], of(stored[index]));
        }
    }

    #[test]
    fn a_name_changes_no_instance_id() {
        let host = HostIdentity::new(Some("h".into()), "n".into());
        let pattern = regex::Regex::new("^web$").unwrap();
        let unset = Plugin::new(
            "web",
            crate::plugin::service::ServiceName::new("shop", "shop.^web$"),
            vec![pattern],
        );
        let mut set = unset.clone();
        set.service.given = Some("checkout".to_owned());
        let id = |plugin| service_instance_id(plugin, &host, Run::Service);
        assert_eq!(id(&set), id(&unset));
        assert_ne!(set.service_name(), unset.service_name());
    }

    #[test]
    fn a_single_run_has_series_of_its_own() {
        let host = HostIdentity::new(Some("h".into()), "n".into());
        let id = |run| instance_id(&host, "ns", "name", "plugin", run);
        assert_ne!(id(Run::Service), id(Run::Once));
    }

    #[test]
    fn attributes_keep_their_types() {
        let sent = attributes(vec![
            ("a", "x".into()),
            ("b", 7_u32.into()),
            ("c", true.into()),
            ("d", Attribute::Float(0.5)),
        ]);
        let values: Vec<_> = sent
            .into_iter()
            .filter_map(|attribute| attribute.value?.value)
            .collect();
        assert_eq!(
            values,
            [
                Value::StringValue("x".to_owned()),
                Value::IntValue(7),
                Value::BoolValue(true),
                Value::DoubleValue(0.5),
            ]
        );
    }

    #[test]
    fn only_a_plain_name_names_an_executable() {
        for (pattern, expected) in [
            ("^nginx$", Some("nginx")),
            ("M8RefSvr", Some("M8RefSvr")),
            ("MyApp.*", None),
            ("a|b", None),
            ("^$", None),
        ] {
            assert_eq!(plain_name(pattern), expected, "{pattern}");
        }
    }
}
