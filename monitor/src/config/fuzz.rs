//! Whatever a file of the configuration holds, reading ends with what it defines, or with faults that say where they are.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    Environment, Finding, LogFilter, Overrides, PluginReceivers, SettingSources, duration,
    endpoint::{self, Url},
    header::{self, HeaderFlag},
    pattern, plugin_file,
    resource_filter::{HostResource, ResourceFilter},
    settings_file, settle, size,
    template::{Names, Template},
};
use crate::{
    plugin::{
        definition::{GroupId, Plugin},
        matcher::Matcher,
    },
    process::Identity,
    shown,
};

/// Longest finding, bytes: several texts of a file are quoted in one, each cut, and a key may be as long as its line.
const LONGEST: usize = 8192;

/// Reads `input` as a plugin file, makes its plugins, and matches a process with them.
pub(crate) fn plugin(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let plugins = plugins_of(&text);
    let by_group: Vec<(GroupId, &Plugin)> = plugins
        .iter()
        .enumerate()
        .map(|(id, plugin)| (GroupId(id), plugin))
        .collect();
    if let Ok(matcher) = Matcher::new(&by_group) {
        let identity = Identity {
            exe: "nginx".to_owned(),
            argv: vec![text.chars().take(100).collect()],
            ..Identity::default()
        };
        let groups = matcher.matched(&identity, None).groups;
        assert!(groups.iter().all(|group| group.0 < plugins.len()), "{groups:?}");
    }
}

/// The plugins of a file; none where it has faults.
fn plugins_of(text: &str) -> Vec<Plugin> {
    let parsed = plugin_file::parse(Path::new("plugins/x/plugin.toml"), text);
    found(&parsed.faults, text);
    found(&parsed.file.warnings, text);
    if !parsed.faults.is_empty() {
        assert!(parsed.faults.iter().all(is_placed), "{:?}", parsed.faults);
        return Vec::new();
    }
    let names = parsed.file.names();
    let patterns = parsed.file.patterns.clone();
    let minute = Duration::from_secs(60);
    match parsed
        .file
        .into_plugins(&patterns, |own, _| own.unwrap_or(minute), &[], &[])
    {
        Ok(plugins) => {
            let all_named = plugins.iter().all(|plugin| names.contains(&plugin.name));
            assert!(all_named, "{names:?}");
            plugins
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            found(&faults, text);
            Vec::new()
        }
    }
}

/// Each finding is one line that can be shown, and the line that it names is one of `text`.
/// What is missing stands on no line.
fn is_placed(fault: &Finding) -> bool {
    fault.line().is_some() || fault.message == "is missing"
}

fn found(findings: &[Finding], text: &str) {
    // A file that ends too early may be at fault behind its last line.
    let lines = text.lines().count().max(1) + 1;
    for finding in findings {
        let shown = finding.to_string();
        assert!(!finding.message.is_empty(), "{shown:?}");
        assert!(!shown.chars().any(shown::is_unsafe), "{shown:?}");
        assert!(
            shown.len() <= LONGEST + 8 * text.len(),
            "{} bytes: {shown:?}",
            shown.len()
        );
        let line = finding.line();
        assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{shown}");
    }
}

/// Reads `input` as a settings file, and settles the settings by it.
pub(crate) fn settings(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let file = settings_file::parse(Path::new("kevmon.toml"), &text, true);
    found(&file.faults, &text);
    found(&file.warnings, &text);
    assert!(file.faults.iter().all(is_placed), "{:?}", file.faults);
    let sources = SettingSources {
        environment: &Environment::from_pairs(Vec::<(String, String)>::new()),
        overrides: &Overrides::default(),
        file: Some(&file),
        plugins: &PluginReceivers::default(),
        check: &|_: &Path| Ok(()),
    };
    match settle(&sources) {
        Ok(settings) => {
            assert!(file.faults.is_empty(), "{:?}", file.faults);
            found(&settings.warnings, &text);
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            found(&faults, &text);
        }
    }
}

/// Reads `input` as one text of the command line or of a file; the first byte says which.
pub(crate) fn words(input: &[u8]) {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(input);
    match kind % 9 {
        0 => url(&text),
        1 => {
            let _either = endpoint::host(&text);
            let _either = endpoint::port(&text);
        }
        2 => {
            let _either = header::parse_list(&secrecy::SecretString::from(&*text));
            let _either: Result<HeaderFlag, _> = text.parse();
        }
        3 => {
            if let Ok(bytes) = size::parse(&text, &size::SPOOL_BOUNDS) {
                assert_eq!(size::parse(&size::short(bytes), &size::SPOOL_BOUNDS), Ok(bytes));
            }
        }
        4 => {
            if let Ok(length) = duration::parse_interval(&text) {
                assert!(duration::INTERVAL_BOUNDS.contains(&length), "{length:?}");
            }
        }
        5 => {
            if let Ok(regex) = pattern::compile(&text) {
                let _is_found = regex.is_match("nginx: worker process");
            }
        }
        6 => {
            if let Ok(filter) = ResourceFilter::parse(&text) {
                let attributes = BTreeMap::from([("os".to_owned(), "linux".to_owned())]);
                let host = HostResource {
                    host: "mine",
                    attributes: &attributes,
                };
                assert_eq!(filter.fits(host), filter.fits(host));
            }
        }
        7 => {
            if let Ok(template) = Template::parse(&text) {
                let names = Names {
                    namespace: "{",
                    process: "}",
                    plugin: "{x}",
                };
                assert!(template.expand(names).len() <= text.len());
            }
        }
        _ => {
            if let Ok(filter) = text.parse::<LogFilter>() {
                assert_eq!(filter.to_string().parse().ok(), Some(filter));
            }
        }
    }
}

/// A URL that is taken is the same when it is written again.
fn url(text: &str) {
    let Ok(url) = Url::parse(text) else { return };
    let written = match (&url.unix, url.https, url.port) {
        (Some(socket), ..) => format!("unix://{socket}"),
        (None, Some(https), Some(port)) => endpoint::origin(https, &url.host, port) + &url.path,
        (None, None, Some(port)) => endpoint::authority(&url.host, port) + &url.path,
        (None, _, None) => return,
    };
    assert_eq!(Url::parse(&written), Ok(url), "{text:?}");
}
