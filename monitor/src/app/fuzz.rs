//! The long run of damaged files through the plugin parser, what makes plugins of a parsed file, and the importers:
//! `cargo xtask fuzz`. An input that makes one of them panic, breaks what they promise, or keeps one busy for a second, is
//! saved and named.

use std::{
    fs, panic,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::plugin_tool::accepted;
use crate::{
    config::{self, tests::plugin_files},
    import::tests::damaged::{EXAMPLES, Random, exercise},
    plugin::{
        definition::{GroupId, Plugin},
        matcher::Matcher,
    },
    process::Identity,
};

/// Longer than this is a hang.
const HANG: Duration = Duration::from_secs(1);

/// Everything that one input is given to.
fn run(bytes: &[u8]) {
    for imported in exercise(bytes) {
        match accepted(imported) {
            Ok(plugin) => {
                plugins_of(&plugin.toml);
            }
            Err(faults) => {
                assert!(!faults.is_empty());
                faults.iter().for_each(told);
            }
        }
    }
    let text = String::from_utf8_lossy(bytes);
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

/// A finding is one line.
fn told(finding: &config::Finding) {
    let shown = finding.to_string();
    assert!(!shown.contains('\n') && !finding.message.is_empty(), "{shown:?}");
}

/// The plugins of a file; none where it has faults, each of which is a line that says something.
fn plugins_of(text: &str) -> Vec<Plugin> {
    let parsed = config::parse_plugin_file(Path::new("plugins/x/plugin.toml"), text);
    parsed.faults.iter().chain(&parsed.file.warnings).for_each(told);
    if !parsed.faults.is_empty() {
        return Vec::new();
    }
    let names = parsed.file.names();
    let patterns = parsed.file.patterns.clone();
    match parsed
        .file
        .into_plugins(&patterns, |own| own.unwrap_or(Duration::from_secs(60)), &[], &[])
    {
        Ok(plugins) => {
            assert!(
                plugins.iter().all(|plugin| names.contains(&plugin.name)),
                "{names:?}"
            );
            plugins
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            faults.iter().for_each(told);
            Vec::new()
        }
    }
}

/// The examples, files that hold each key, every plugin file below the folder that `cargo xtask fuzz` names, and what the
/// examples become.
fn corpus() -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = EXAMPLES.iter().map(|text| text.as_bytes().to_vec()).collect();
    corpus.extend(plugin_files().map(|text| text.as_bytes().to_vec()));
    let folder =
        std::env::var_os("KEVMON_FUZZ_PLUGINS").map_or_else(|| PathBuf::from("../plugins"), PathBuf::from);
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        corpus.extend(fs::read(entry.path().join("plugin.toml")).ok());
    }
    for example in EXAMPLES {
        for name in ["__init__.py", "agent.json", "x.panoptes-plugin"] {
            let imported = crate::import::import(name, example.as_bytes(), None);
            corpus.extend(
                imported
                    .into_iter()
                    .flatten()
                    .map(|plugin| plugin.toml.into_bytes()),
            );
        }
    }
    corpus
}

fn save(bytes: &[u8], what: &str) -> PathBuf {
    let folder = std::env::var_os("KEVMON_FUZZ_FINDINGS").map_or_else(std::env::temp_dir, PathBuf::from);
    fs::create_dir_all(&folder).unwrap();
    let number = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder.join(format!("{what}-{number:016x}"));
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
#[ignore = "runs for as long as it is told to; cargo xtask fuzz starts it"]
fn for_as_long_as_it_is_told_to() {
    let seconds = std::env::var("KEVMON_FUZZ_SECONDS").map_or(1, |text| text.parse::<u64>().unwrap());
    let seed = std::env::var("KEVMON_FUZZ_SEED").map_or(1, |text| text.parse::<u64>().unwrap());
    let corpus = corpus();
    let examples: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (began, length) = (Instant::now(), Duration::from_secs(seconds));
    let (mut inputs, mut findings, mut slowest, mut told) = (0_u64, 0_u64, Duration::ZERO, Instant::now());
    while began.elapsed() < length {
        let bytes = match inputs % 16 {
            0 => random.bytes(200),
            _ => random.damaged(&examples),
        };
        let at = Instant::now();
        let result = panic::catch_unwind(|| run(&bytes));
        let took = at.elapsed();
        inputs += 1;
        slowest = slowest.max(took);
        let finding = match result {
            Err(_) => Some("panic"),
            Ok(()) => (took > HANG).then_some("hang"),
        };
        if let Some(what) = finding {
            findings += 1;
            println!("{what}: {}", save(&bytes, what).display());
        }
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!("{inputs} inputs, {findings} findings so far");
        }
    }
    let rate = inputs as f64 / began.elapsed().as_secs_f64();
    println!(
        "{inputs} inputs in {:.0} s ({rate:.0} a second), {findings} findings, slowest {} ms",
        began.elapsed().as_secs_f64(),
        slowest.as_millis()
    );
    assert_eq!(findings, 0, "findings");
}

/// What is imported, and what `kevmon plugin new` writes, is what configuration takes.
#[test]
fn what_is_imported_is_accepted() {
    let coin = EXAMPLES[4].as_bytes();
    for (name, text, module) in [
        ("__init__.py", EXAMPLES[0], None),
        ("__init__.py", EXAMPLES[1], None),
        ("agent.json", EXAMPLES[3], None),
        ("agent.json", EXAMPLES[3], Some(coin)),
        ("agent.json", INSTANCES, None),
        ("x.panoptes-plugin", EXAMPLES[5], None),
    ] {
        for plugin in crate::import::import(name, text.as_bytes(), module).unwrap() {
            let parsed = config::parse_plugin_file(Path::new("plugins/x/plugin.toml"), &plugin.toml);
            assert_eq!(parsed.faults, [], "{}", plugin.toml);
        }
    }
}

const INSTANCES: &str = "{ monitors: [
    { module: \"a.linux_process_metrics\", id: \"one\", commandline: \"java\", sample_interval: 5 },
    { module: \"a.linux_process_metrics\", id: \"two\", commandline: \"nginx\", include_child_processes: true },
    { module: \"coin\", id: \"x\", mean: 5, name: \"n\" },
    { module: \"coin\", id: \"y\", mean: 5.5, disabled: true },
] }";
