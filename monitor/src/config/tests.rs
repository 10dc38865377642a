//! Whole files and folders of them through `load`: the shipped plugins, the published examples, every
//! kind of fault with its line, key and remedy, precedence, and files that no one would write.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::*;
use crate::plugin::definition::{Aggregate, Matching, Naming, PerProcess, Rank};

mod destinations;
mod faults;
mod keys;
mod mutations;
mod native;
mod selection;
mod service_names;

/// A folder of its own for one test, removed with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "kevmon-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.write_bytes(name, text.as_bytes());
    }

    pub(crate) fn write_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, bytes).expect("a written file");
    }

    fn sources(&self) -> PluginSources {
        PluginSources {
            directories: vec![self.0.clone()],
            ..PluginSources::default()
        }
    }

    /// The findings, one line each, without this folder's own path.
    fn lines(&self, findings: &[Finding]) -> Vec<String> {
        let root = format!("{}/", self.0.display());
        findings
            .iter()
            .map(|finding| finding.to_string().replace(&root, ""))
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn variables(pairs: &[(&str, &str)]) -> Environment {
    Environment::from_pairs(pairs.iter().copied())
}

fn load_plain(sources: &PluginSources) -> Loaded {
    load(sources, &Environment::default(), &Overrides::default(), None)
}

pub(super) const GUIDE: &str = r#"[plugin]
name = "myapp"
description = "MyApp process monitoring for Instana"
version = "1.0.0"

[service]
namespace = "MyCompany"
process_name = "MyApp"

[monitoring]
interval = 60
enabled = true

[dependencies]
python_version = ">=3.6"
packages = ["opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp"]

[systemd]
service_name = "instana-myapp-monitor"
description = "MyApp monitoring service for Instana"

[otel_config]
service_name_template = "{service_namespace}.{process_name}"
metrics_prefix = "mycompany.myapp"
"#;

pub(super) const NATIVE: &str = r#"schema = 1
[plugin]
name = "native"
[service]
namespace = "Team"
process_name = ["^web$", "worker"]
match = "exe"
attributes = { "service.version" = "1.0", "deployment.environment" = "test" }
[monitoring]
interval = "500ms"
naming = "both"
aggregate = "roots"
prefix = true
restart_window = "30s"
failed_start = "250ms"
[events]
enabled = true
[export]
endpoints = ["default", "https://collector:4317"]
[processes]
enabled = true
max = 7
by = "memory"
[otel_config]
service_name_template = "{plugin_name} of {service_namespace}"
"#;

/// What kevmon's own schema has besides.
const EVERYTHING_ELSE: &str = r#"schema = 1
[plugin]
description = "Each key once"
version = "2"
[service]
name = "{plugin_name}"
process_names = ["^one$", "^two$"]
exclude = "shell"
user = ["root", 33]
cgroup = "^/system.slice/"
unit = ["^a\\.service$", "b"]
container = "^0123"
children = true
[service.attributes]
"service.owner" = "{user} of {unit}"
[monitoring]
enabled = true
disabled = false
mode = "detailed"
sample_interval = "50ms"
memory_detail = false
forget_after = "1h"
resource_filter = 'resource_id LIKE "web*"'
[processes]
enabled = true
arguments = ["--port", "--config"]
executable_path = true
[metrics]
include = ["process.*", "cpu_*"]
exclude = ["*.faults"]
[settings.mean]
type = "float"
description = "Where the values lie"
default = 0.5
min = 0.0
max = 1.0
[settings.port]
type = "int"
value = 8080
required = true
[[collector]]
name = "one"
kind = "command"
command = ["./one", "--mean", "{settings.mean}"]
interval = "5s"
timeout = "2s"
format = "panoptes"
user = "nobody"
environment = { LANG = "C" }
max_output = "64KiB"
max_memory = "32MiB"
allow_network = false
allow_unconfined = false
[[collector.metric]]
name = "mean"
from = "the_mean"
[[collector]]
name = "two"
kind = "http"
url = "http://localhost:{settings.port}/status"
hosts = ["localhost"]
[[collector.metric]]
name = "queue.depth"
unit = "{message}"
description = "Waiting"
type = "gauge"
value = "int"
pointer = "/queue/depth"
attributes = { queue = "main" }
[[collector]]
name = "three"
kind = "file"
path = "/proc/{pid}/status"
[[collector.metric]]
name = "switches"
type = "counter"
key = "voluntary_ctxt_switches"
[[collector.metric]]
name = "threads"
regex = '^Threads:\s+(\d+)$'
[[collector]]
name = "four"
kind = "builtin"
builtin = "host_pressure"
[[collector]]
name = "five"
kind = "command"
command = ["kevmon-scalyr-runner", "module.py"]
stream = true
silence = "2m"
[transforms]
one = "rate:rates:the_mean"
"#;

const INSTANCES: &str = r#"schema = 1
[service]
process_name = "web"
[settings.size]
type = "int"
default = 1
[[instance]]
id = "a"
name = "web a"
process_name = "web-a"
enabled = true
interval = "2s"
mode = "detailed"
sample_interval = "1s"
attributes = { "shop" = "a" }
exclude = ["old"]
user = "root"
cgroup = "a"
unit = "a"
container = "a"
settings = { size = 4 }
[[instance]]
id = "b"
"#;

const REPOSITORY: &str = r#"[metadata]
service_namespace = "Strategy₿"
process_name = "M8MulPrc"
plugin_name = "m8mulprc"
description = "Process monitoring"
author = "Somebody"
[monitoring]
default_interval = 60
process_patterns = ["M8MulPrc"]
metric_types = ["cpu"]
supports_discovery = true
log_process_details = false
[installation]
systemd_service_name = "x"
service_description = "x"
default_base_dir = "/opt"
requires_root = true
creates_logs_directory = true
[dependencies]
python_min_version = "3.6"
additional_packages = []
[otel_config]
default_agent_host = "localhost"
default_agent_port = 4317
service_name_template = "{service_namespace}.{process_name}"
"#;

/// Plugin files that hold each key of each schema.
pub(crate) fn plugin_files() -> impl Iterator<Item = &'static str> {
    [GUIDE, NATIVE, EVERYTHING_ELSE, INSTANCES, REPOSITORY].into_iter()
}

/// Each key is in some file that is accepted: what has the name of one anywhere in its path.
#[test]
fn files_that_hold_each_key() {
    use super::{
        plugin_file,
        schema::{ANY, KEYS},
    };
    for text in plugin_files() {
        let parsed = plugin_file::parse(Path::new("x/plugin.toml"), text);
        assert_eq!(parsed.faults, [], "{text}");
    }
    for key in KEYS.iter().filter(|key| key.name != ANY) {
        let written = |text: &str| {
            let mut table = "";
            text.lines().any(|line| {
                if let Some(header) = line.strip_prefix('[') {
                    table = header.trim_start_matches('[').trim_end_matches(']');
                }
                let family = if table.starts_with("settings.") {
                    "settings.NAME"
                } else {
                    table
                };
                family == key.table && line.starts_with(&format!("{} = ", key.name))
                    || format!("[{}]", key.path()) == line
            })
        };
        assert!(plugin_files().any(written), "{} is in no file", key.path());
    }
}

#[test]
fn the_shipped_plugins() {
    let directories = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"))];
    let loaded = load_plain(&PluginSources {
        directories,
        ..PluginSources::default()
    });
    assert!(loaded.faults.is_empty(), "{:?}", loaded.faults);
    let shown: Vec<_> = loaded
        .plugins
        .iter()
        .map(|plugin| {
            let patterns: Vec<&str> = plugin.patterns.iter().map(regex::Regex::as_str).collect();
            (plugin.name.as_str(), plugin.service.display(), patterns)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("kevmon", "Kevmon".to_owned(), vec!["^kevmon$"]),
            ("m8mulprc", "Strategy M8mulprc".to_owned(), vec!["M8MulPrc"]),
            ("m8prcsvr", "Strategy M8prcsvr".to_owned(), vec!["M8PrcSvr"]),
            ("m8refsvr", "Strategy M8refsvr".to_owned(), vec!["M8RefSvr"]),
            ("mstrsvr", "Strategy Mstrsvr".to_owned(), vec!["MstrSvr"]),
        ]
    );
    assert!(
        loaded
            .plugins
            .iter()
            .all(|plugin| plugin.interval == Duration::from_secs(60))
    );
    assert!(
        loaded.plugins[1..]
            .iter()
            .all(|plugin| plugin.service.namespace == "Strategy₿")
    );
    let agreed = loaded.receivers.agreed.as_ref().expect("they agree");
    assert_eq!((agreed.host.as_str(), agreed.port), ("localhost", 4317));
    assert!(loaded.receivers.own.is_empty());
    assert_eq!(
        loaded.warnings.len(),
        4,
        "one for each file of the repository's schema"
    );
    assert!(
        loaded.warnings.iter().all(|warning| warning.harmless),
        "kevmon does as the files say"
    );
    assert!(loaded.warnings[0].message.ends_with(
        "without effect in kevmon: monitoring.metric_types, monitoring.supports_discovery, \
         monitoring.log_process_details, installation.default_base_dir, installation.requires_root, \
         installation.creates_logs_directory, dependencies.python_min_version, \
         dependencies.additional_packages"
    ));
}

#[test]
fn the_guides_example_as_published() {
    let folder = Folder::new();
    folder.write("myapp/plugin.toml", GUIDE);
    let loaded = load_plain(&folder.sources());
    assert!(loaded.faults.is_empty(), "{:?}", loaded.faults);
    assert_eq!(
        folder.lines(&loaded.warnings),
        [
            "myapp/plugin.toml:15: accepted, without effect in kevmon: dependencies.python_version, \
          dependencies.packages, otel_config.metrics_prefix"
        ]
    );
    let [plugin] = loaded.plugins.as_slice() else {
        panic!("one plugin: {:?}", loaded.plugins)
    };
    assert_eq!(
        (plugin.name.as_str(), plugin.service.id.as_str()),
        ("myapp", "mycompany_myapp")
    );
    assert_eq!(plugin.service.original, "MyCompany.MyApp");
    assert_eq!(plugin.origin, Some(folder.path().join("myapp/plugin.toml")));
    assert!(plugin.patterns[0].is_match("MYAPPSERVER"));
    assert_eq!(
        (plugin.naming, plugin.aggregate, plugin.prefix),
        (Naming::Instana, Aggregate::All, false)
    );
}

#[test]
fn every_native_key() {
    let folder = Folder::new();
    folder.write("x/plugin.toml", NATIVE);
    folder.write(
        "smallest/plugin.toml",
        "schema = 1\nservice.process_name = '^nginx$'\n",
    );
    let loaded = load_plain(&folder.sources());
    assert!(
        loaded.faults.is_empty() && loaded.warnings.is_empty(),
        "{loaded:?}"
    );
    let [smallest, plugin] = loaded.plugins.as_slice() else {
        panic!("two plugins: {:?}", loaded.plugins)
    };
    assert_eq!(
        (plugin.naming, plugin.aggregate, plugin.prefix),
        (Naming::Both, Aggregate::Roots, true)
    );
    assert_eq!(plugin.interval, Duration::from_millis(500));
    assert_eq!(plugin.restart_window, Duration::from_secs(30));
    assert_eq!(plugin.failed_start, Duration::from_millis(250));
    assert_eq!((plugin.matching, plugin.events), (Matching::Exe, true));
    assert_eq!(plugin.receivers, ["default", "https://collector:4317"]);
    let per_process = PerProcess {
        most: 7,
        rank: Rank::Memory,
        paths: false,
    };
    assert_eq!(plugin.per_process, Some(per_process));
    assert_eq!((smallest.per_process, smallest.receivers.len()), (None, 0));
    assert_eq!(plugin.service.original, "native of Team");
    assert_eq!(plugin.attributes["deployment.environment"], "test");
    assert_eq!(plugin.patterns.len(), 2);
    assert_eq!(
        (smallest.name.as_str(), smallest.service.id.as_str()),
        ("smallest", "default_nginx")
    );
    assert_eq!(smallest.service.namespace, "default");
}
