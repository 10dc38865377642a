//! For each key of each schema of plugin files: a value of the wrong type, values beyond its bounds, a misspelling, and
//! what it does not go together with. Cases are made from the table of keys, so that none is without.

use std::path::Path;

use super::super::{
    finding::Finding,
    plugin_file::parse,
    schema::{ANY, Key, Kind, Role, Schema},
};

/// A file of this schema in which `line` stands in the key's table, and the number of that line.
fn file_with(schema: Schema, key: &Key, line: &str) -> (String, usize) {
    let mut text = match schema {
        Schema::Native => "schema = 1\n".to_owned(),
        _ => String::new(),
    };
    if key.table.is_empty() {
        text = String::new();
    } else {
        text.push_str(match key.table {
            "instance" => "[[instance]]\nid = 'a'\n",
            "settings.NAME" => "[settings.mean]\n",
            "collector" => "[[collector]]\n",
            "collector.metric" => "[[collector]]\nname = 'c'\n[[collector.metric]]\n",
            _ => "",
        });
        if !matches!(
            key.table,
            "instance" | "settings.NAME" | "collector" | "collector.metric"
        ) {
            text.push_str(&format!("[{}]\n", key.table));
        }
        // A key that stands twice is no TOML.
        if key.name == "id" {
            text = text.replace("id = 'a'\n", "");
        }
    }
    let at = text.lines().count() + 1;
    text.push_str(line);
    text.push('\n');
    let announced = match schema {
        Schema::Repository => "metadata",
        _ => "service",
    };
    if key.table != announced {
        text.push_str(&format!("[{announced}]\nprocess_name = 'a'\n"));
    } else if key.name != "process_name" && key.name != "process_names" {
        text.push_str("process_name = 'a'\n");
    }
    (text, at)
}

fn faults(text: &str) -> Vec<Finding> {
    parse(Path::new("x/plugin.toml"), text).faults
}

/// The fault at this line and key; its remedy says something.
#[track_caller]
fn expect(text: &str, line: usize, key: &str) -> Finding {
    let all = faults(text);
    let found = all.iter().find(|fault| {
        fault.line() == Some(line) && fault.key.as_deref().is_some_and(|of| of.starts_with(key))
    });
    let Some(found) = found else {
        panic!("no fault of {key} at line {line} of\n{text}\nbut {all:#?}");
    };
    assert!(
        !found.message.is_empty() && found.remedy.as_ref().is_some_and(|remedy| remedy.len() > 3),
        "{found}"
    );
    found.clone()
}

/// As a person sees it.
fn shown(key: &Key) -> String {
    key.path()
        .replace("settings.NAME", "settings.mean")
        .replace(".NAME", ".x")
}

fn name(key: &Key) -> &str {
    if key.name == ANY { "x" } else { key.name }
}

fn checked() -> impl Iterator<Item = (Schema, &'static Key)> {
    [Schema::Native, Schema::Guide, Schema::Repository]
        .into_iter()
        .flat_map(|schema| schema.keys().map(move |key| (schema, key)))
}

#[test]
fn a_value_of_another_type() {
    let mut cases = 0;
    for (schema, key) in checked().filter(|(_, key)| key.kind != Kind::Anything) {
        // A date is nothing that any key wants, nor is a list of lists.
        for wrong in ["1979-05-27", "[[1979-05-27]]"] {
            let (text, line) = file_with(schema, key, &format!("{} = {wrong}", name(key)));
            expect(&text, line, &shown(key));
            cases += 1;
        }
    }
    assert!(cases > 150, "{cases} cases");
}

#[test]
fn a_value_out_of_bounds() {
    let mut cases = 0;
    for (schema, key) in checked() {
        let beyond: Vec<String> = match key.kind {
            Kind::Length(bounds) => {
                let over = bounds.end().as_secs_f64() * 2.0;
                vec![
                    "-1".to_owned(),
                    format!("{over}"),
                    "'1x'".to_owned(),
                    "nan".to_owned(),
                ]
            }
            Kind::Count(bounds) => vec![format!("{}", bounds.end() + 1), "-1".to_owned()],
            Kind::Bytes(bounds) => vec![format!("{}", bounds.end() + 1), format!("{}", bounds.start() - 1)],
            Kind::Port => vec!["0".to_owned(), "65536".to_owned()],
            Kind::Choice(_) => vec!["'none-of-them'".to_owned()],
            Kind::Choices(_) => vec!["['none-of-them']".to_owned(), "[]".to_owned(), "[1]".to_owned()],
            Kind::Name => vec![
                format!("'{}'", "a".repeat(65)),
                "'a b'".to_owned(),
                "''".to_owned(),
            ],
            Kind::MetricName => vec!["'1a'".to_owned(), "'a-b'".to_owned(), "''".to_owned()],
            Kind::Text => vec!["' '".to_owned(), format!("'{}'", "a".repeat(257))],
            Kind::Pattern | Kind::PatternOrPatterns => vec!["''".to_owned(), "'('".to_owned()],
            Kind::Patterns => vec!["['']".to_owned(), "['(']".to_owned()],
            Kind::ValueRegex => vec!["'no group'".to_owned(), "'('".to_owned()],
            Kind::Users => vec![
                "-1".to_owned(),
                "''".to_owned(),
                "[]".to_owned(),
                "4294967296".to_owned(),
            ],
            Kind::Globs => vec!["['a b']".to_owned(), "['']".to_owned()],
            Kind::Attributes => vec!["{ 'host.id' = 'a' }".to_owned(), "{ a = '{usr}' }".to_owned()],
            Kind::Texts => vec!["{ a = 1 }".to_owned()],
            Kind::Scalars => vec!["{ a = [] }".to_owned()],
            Kind::Scalar => vec!["nan".to_owned(), "99999999999999999999".to_owned()],
            Kind::ResourceFilter => vec!["'resource_idd = \"a\"'".to_owned(), "''".to_owned()],
            Kind::Transform => vec![
                "'rat:a:b'".to_owned(),
                "'rate:a'".to_owned(),
                "'rate:a:1b'".to_owned(),
            ],
            Kind::ServiceName => vec![
                "'{plugin}'".to_owned(),
                "''".to_owned(),
                "\"a\\tb\"".to_owned(),
                format!("'{}'", "a".repeat(257)),
            ],
            Kind::Template => vec!["'{plugin}'".to_owned(), "''".to_owned()],
            Kind::Host => vec!["'a:1'".to_owned(), "''".to_owned()],
            Kind::Endpoints => vec!["[]".to_owned(), "'ftp://x'".to_owned()],
            Kind::Version => vec!["2".to_owned()],
            // Any string, any list of them, true or false: nothing is beyond.
            Kind::FreeText | Kind::List | Kind::Flag | Kind::Anything => Vec::new(),
            // Of the settings file.
            Kind::Url
            | Kind::Headers
            | Kind::File
            | Kind::Target
            | Kind::Listen
            | Kind::ResourceAttributes => Vec::new(),
        };
        for wrong in beyond {
            let (text, line) = file_with(schema, key, &format!("{} = {wrong}", name(key)));
            expect(&text, line, &shown(key));
            cases += 1;
        }
    }
    assert!(cases > 150, "{cases} cases");
}

#[test]
fn a_misspelling_names_its_neighbour() {
    let mut cases = 0;
    for (schema, key) in checked().filter(|(_, key)| key.name != ANY && !key.table.is_empty()) {
        let misspelt = format!("{}x", key.name);
        let (text, line) = file_with(schema, key, &format!("{misspelt} = 1"));
        let path = shown(key);
        let written = format!(
            "{}.{misspelt}",
            path.rsplit_once('.').map_or("", |(table, _)| table)
        );
        let fault = expect(&text, line, &written);
        assert_eq!(fault.message, "unknown key", "{fault}");
        let remedy = fault.remedy.unwrap_or_default();
        assert!(
            remedy.contains(key.name),
            "{written}: {remedy:?} does not name {}",
            key.name
        );
        cases += 1;
    }
    assert!(cases > 80, "{cases} cases");
}

/// Keys that go together with whatever else stands in the file.
const PEACEFUL: [Role; 25] = [
    Role::Version,
    Role::Name,
    Role::Description,
    Role::Namespace,
    // Services of one name are in service_names.rs.
    Role::ServiceName,
    Role::Patterns,
    Role::Matching,
    Role::Attributes,
    Role::Interval,
    Role::Naming,
    Role::Aggregate,
    Role::Prefix,
    Role::RestartWindow,
    Role::FailedStart,
    Role::Events,
    Role::Endpoints,
    Role::PerProcess,
    Role::MostProcesses,
    Role::Rank,
    Role::Template,
    Role::AgentHost,
    Role::AgentPort,
    Role::Remark,
    Role::NoEffect,
    Role::Compression,
];
/// The same of kevmon's own keys.
const PEACEFUL_OWN: &[&str] = &[
    "service.exclude",
    "service.user",
    "service.cgroup",
    "service.unit",
    "service.container",
    "service.children",
    "monitoring.mode",
    "instance.mode",
    "monitoring.forget_after",
    "monitoring.resource_filter",
    "processes.arguments",
    "instance.name",
    "processes.executable_path",
    "instance.process_name",
    "instance.enabled",
    "instance.interval",
    "instance.attributes",
    "instance.exclude",
    "instance.user",
    "instance.cgroup",
    "instance.unit",
    "instance.container",
    "settings.NAME.description",
    "settings.NAME.type",
    "collector.metric.unit",
    "collector.metric.description",
    "collector.metric.type",
    "collector.metric.value",
    "collector.metric.attributes",
    "transforms.NAME",
];

const OWN: &str = "schema = 1\n[service]\nprocess_name = 'a'\n";

/// Two keys that do not go together: the key, what follows [`OWN`], and the fault.
#[rustfmt::skip]
const CONFLICTS: &[(&str, &str, &str)] = &[
    ("service.process_name", "process_names = ['b']", "4: service.process_names: stands beside service.process_name; keep one of the two: a list here makes a service of each name"),
    ("service.process_names", "process_names = ['b']", "4: service.process_names: stands beside service.process_name; keep one of the two: a list here makes a service of each name"),
    ("monitoring.enabled", "[monitoring]\nenabled = true\ndisabled = true", "6: monitoring.disabled: contradicts monitoring.enabled = true; keep one of the two"),
    ("monitoring.disabled", "[monitoring]\nenabled = true\ndisabled = true", "6: monitoring.disabled: contradicts monitoring.enabled = true; keep one of the two"),
    ("monitoring.sample_interval", "[monitoring]\nsample_interval = '1s'", "5: monitoring.sample_interval: belongs to the detailed mode, which is off; write mode = \"detailed\" in the same table, or remove it"),
    ("monitoring.memory_detail", "[monitoring]\nmode = 'minimal'\nmemory_detail = true", "6: monitoring.memory_detail: belongs to the detailed mode, which is off; write mode = \"detailed\" in the same table, or remove it"),
    ("instance.sample_interval", "[[instance]]\nid = 'a'\nsample_interval = '1s'", "6: instance.sample_interval: belongs to the detailed mode, which is off; write mode = \"detailed\" in the same table, or remove it"),
    ("metrics.include", "[metrics]\ninclude = ['a']\nexclude = ['a']", "6: metrics: \"a\" is both included and excluded; take it out of one of the lists"),
    ("metrics.exclude", "[metrics]\nexclude = ['a']\ninclude = ['a']", "6: metrics: \"a\" is both included and excluded; take it out of one of the lists"),
    ("instance.id", "[[instance]]\nid = 'a'\n[[instance]]\nid = 'a'", "6: instance.id: \"a\" is the id of another instance already; give one of them another id"),
    ("instance.settings", "[settings.mean]\n[[instance]]\nid = 'a'\nsettings = { maen = 1 }", "7: instance.settings: there is no setting \"maen\"; did you mean mean?"),
    ("settings.NAME.default", "[settings.a]\ntype = 'int'\ndefault = 'x'", "6: settings.a.default: x is not an integer; write one"),
    ("settings.NAME.default", "[settings.a]\ntype = 'float'\nmax = 5\ndefault = 6", "7: settings.a.default: 6 is out of bounds; write 5 or less"),
    ("settings.NAME.value", "[settings.a]\ntype = 'float'\nmin = 0\nvalue = -1", "7: settings.a.value: -1 is out of bounds; write 0 or more"),
    ("settings.NAME.required", "[settings.a]\nrequired = true\ndefault = 'x'", "6: settings.a.default: stands beside required = true; keep one of the two"),
    ("settings.NAME.min", "[settings.a]\ntype = 'float'\nmin = 2\nmax = 1", "6: settings.a.min: 2 is more than max, 1; exchange them"),
    ("settings.NAME.max", "[settings.a]\nmax = 1", "5: settings.a.max: is for type = \"int\" and \"float\" alone; remove it, or write the type"),
    ("collector.name", "[[collector]]\nname = 'c'\nkind = 'builtin'\nbuiltin = 'host_pressure'\n[[collector]]\nname = 'c'\nkind = 'builtin'\nbuiltin = 'host_pressure'", "8: collector.name: \"c\" is the name of another collector already; give one of them another name"),
    ("collector.kind", "[[collector]]\nname = 'c'\nkind = 'http'", "4: collector.url: is missing; a collector of kind \"http\" needs it"),
    ("collector.path", "[[collector]]\nname = 'c'\nkind = 'http'\nurl = 'http://localhost/'\npath = '/x'\n[[collector.metric]]\nname = 'a'\npointer = '/a'", "8: collector.path: has no meaning for kind = \"http\"; remove it; kind = \"http\" takes: url, format, hosts, max_output"),
    ("collector.command", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['ls']", "7: collector.command: the program \"ls\" is neither absolute nor beside the plugin file; write a path that begins with / or ./ ; a shell is not started unless you name one"),
    ("collector.url", "[[collector]]\nname = 'c'\nkind = 'http'\nformat = 'prometheus'\nurl = 'http://db:80/'", "8: collector.url: the host \"db\" is neither this one nor named; write hosts = [\"db\"] if it is meant"),
    ("collector.hosts", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['/x']\nhosts = ['db']", "8: collector.hosts: has no meaning for kind = \"command\"; remove it; kind = \"command\" takes: command, format, stream, silence, user, environment, max_output, max_memory, allow_network, allow_unconfined"),
    ("collector.builtin", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['/x']\nbuiltin = 'host_pressure'", "8: collector.builtin: has no meaning for kind = \"command\"; remove it; kind = \"command\" takes: command, format, stream, silence, user, environment, max_output, max_memory, allow_network, allow_unconfined"),
    ("collector.format", "[[collector]]\nname = 'c'\nkind = 'http'\nurl = 'http://[::1]:80/'\nformat = 'scalyr'", "8: collector.format: \"scalyr\" is not for kind = \"http\"; write one of json, prometheus"),
    ("collector.format", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['/x']\nstream = true\nformat = 'prometheus'", "9: collector.format: is not read line by line, as stream = true asks for; write scalyr or panoptes, or remove stream"),
    ("collector.stream", "[[collector]]\nname = 'c'\nkind = 'builtin'\nbuiltin = 'host_pressure'\nstream = true", "8: collector.stream: has no meaning for kind = \"builtin\"; remove it; kind = \"builtin\" takes: builtin"),
    ("collector.stream", "[[collector]]\nname = 'c'\nkind = 'http'\nurl = 'http://localhost/'\nstream = false\n[[collector.metric]]\nname = 'a'\npointer = '/a'", "8: collector.stream: has no meaning for kind = \"http\"; remove it; kind = \"http\" takes: url, format, hosts, max_output"),
    ("collector.silence", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['/x']\nsilence = '5m'", "8: collector.silence: has no meaning without stream = true; write stream = true, or remove it; a run that takes too long is ended by timeout"),
    ("collector.silence", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['/x']\nstream = false\nsilence = '5m'", "9: collector.silence: has no meaning without stream = true; write stream = true, or remove it; a run that takes too long is ended by timeout"),
    ("collector.interval", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['/x']\nstream = true\ninterval = 5", "9: collector.interval: stands beside stream = true; remove it: the program runs all the time, and finds the plugin's interval in KEVMON_INTERVAL"),
    ("collector.timeout", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['/x']\ntimeout = 5\nstream = true", "8: collector.timeout: stands beside stream = true; remove it: the program runs all the time; silence says how long no value may come"),
    ("collector.user", "[[collector]]\nname = 'c'\nkind = 'builtin'\nbuiltin = 'host_pressure'\nuser = 'a'", "8: collector.user: has no meaning for kind = \"builtin\"; remove it; kind = \"builtin\" takes: builtin"),
    ("collector.environment", "[[collector]]\nname = 'c'\nkind = 'builtin'\nbuiltin = 'host_pressure'\nenvironment = {}", "8: collector.environment: has no meaning for kind = \"builtin\"; remove it; kind = \"builtin\" takes: builtin"),
    ("collector.max_output", "[[collector]]\nname = 'c'\nkind = 'builtin'\nbuiltin = 'host_pressure'\nmax_output = '2KiB'", "8: collector.max_output: has no meaning for kind = \"builtin\"; remove it; kind = \"builtin\" takes: builtin"),
    ("collector.max_memory", "[[collector]]\nname = 'c'\nkind = 'builtin'\nbuiltin = 'host_pressure'\nmax_memory = '64MiB'", "8: collector.max_memory: has no meaning for kind = \"builtin\"; remove it; kind = \"builtin\" takes: builtin"),
    ("collector.allow_network", "[[collector]]\nname = 'c'\nkind = 'builtin'\nbuiltin = 'host_pressure'\nallow_network = true", "8: collector.allow_network: has no meaning for kind = \"builtin\"; remove it; kind = \"builtin\" takes: builtin"),
    ("collector.allow_unconfined", "[[collector]]\nname = 'c'\nkind = 'builtin'\nbuiltin = 'host_pressure'\nallow_unconfined = true", "8: collector.allow_unconfined: has no meaning for kind = \"builtin\"; remove it; kind = \"builtin\" takes: builtin"),
    ("collector.metric.name", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['/x']\n[[collector.metric]]\nname = 'a'\n[[collector.metric]]\nname = 'a'", "10: collector.metric.name: \"a\" is the name of another metric already; give one of them another name"),
    ("collector.metric.from", "[[collector]]\nname = 'c'\nkind = 'file'\npath = '/x'\n[[collector.metric]]\nname = 'a'\nkey = 'b'\nfrom = 'c'", "11: collector.metric.from: has no meaning for the collector's format; write key = \"Threads\" or regex = '…([0-9]+)'"),
    ("collector.metric.key", "[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['/x']\n[[collector.metric]]\nname = 'a'\nkey = 'b'", "10: collector.metric.key: has no meaning for the collector's format; the format names its values itself"),
    ("collector.metric.regex", "[[collector]]\nname = 'c'\nkind = 'file'\npath = '/x'\n[[collector.metric]]\nname = 'a'\nkey = 'b'\nregex = '(c)'", "11: collector.metric.regex: stands beside key; keep one of the two"),
    ("collector.metric.pointer", "[[collector]]\nname = 'c'\nkind = 'http'\nurl = 'http://localhost'\n[[collector.metric]]\nname = 'a'\npointer = 'b'", "8: collector.metric.pointer: \"b\" is no JSON pointer; begin it with /"),
];

#[test]
fn keys_that_do_not_go_together() {
    for (key, text, expected) in CONFLICTS {
        let all = faults(&format!("{OWN}{text}\n"));
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert!(
            all.contains(&format!("x/plugin.toml:{expected}")),
            "{key}: {text}\n{expected}\n{all:#?}"
        );
    }
}

#[test]
fn every_key_has_its_conflict_or_has_none() {
    let native = Schema::Native.keys().filter(|key| key.role != Role::Version);
    for key in native {
        let path = key.path();
        let peaceful = PEACEFUL.contains(&key.role) || PEACEFUL_OWN.contains(&path.as_str());
        let tested = CONFLICTS.iter().any(|(of, ..)| *of == path);
        assert!(
            peaceful != tested,
            "{path}: add a case to CONFLICTS, or say that it has none"
        );
    }
}
