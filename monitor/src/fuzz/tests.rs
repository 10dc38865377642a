//! Each input of the corpus, among them those that once were findings, and damage to them.

use std::{
    fs, panic,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{TARGETS, Target, damage::Random};
use crate::{
    config,
    import::{self, tests::EXAMPLES},
};

/// One input takes milliseconds; this is a hang, also on a machine that is busy.
const HANG: Duration = Duration::from_secs(10);

/// Damaged inputs that each target is given, unless KEVMON_FUZZ_ROUNDS says otherwise.
const ROUNDS: usize = 200;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus")
}

/// The inputs of a target, with their files' names.
fn inputs(target: Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder().join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<(PathBuf, Vec<u8>)> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} has no input", folder.display());
    inputs
}

/// Whether the target withstands the input, in time.
fn withstands(target: Target, input: &[u8]) -> bool {
    let began = Instant::now();
    panic::catch_unwind(|| (target.run)(input)).is_ok() && began.elapsed() < HANG
}

#[test]
fn every_input_of_the_corpus_is_withstood() {
    for target in TARGETS {
        for (path, input) in inputs(target) {
            assert!(
                withstands(target, &input),
                "{} fails with {}",
                target.name,
                path.display()
            );
        }
    }
    // Nothing lies there that no target reads.
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            TARGETS.iter().any(|target| name == *target.name),
            "{} is no target",
            name.display()
        );
    }
}

/// The seed is fixed, so that a failure comes back; the input is saved.
#[test]
fn damage_to_the_corpus_is_withstood() {
    let rounds = std::env::var("KEVMON_FUZZ_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    for target in TARGETS {
        let inputs = inputs(target);
        let examples: Vec<&[u8]> = inputs.iter().map(|(_, input)| input.as_slice()).collect();
        let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
        for _ in 0..rounds {
            let input = random.damaged(&examples);
            if !withstands(target, &input) {
                let path = std::env::temp_dir().join(format!("kevmon-fuzz-{}", target.name));
                fs::write(&path, &input).unwrap();
                panic!("{} fails with {}", target.name, path.display());
            }
        }
    }
}

/// Damage that leaves nothing to import would test only how files are refused.
#[test]
fn damage_leaves_plugins_to_import() {
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let examples = EXAMPLES.map(str::as_bytes);
    let mut imported = 0;
    for _ in 0..ROUNDS {
        let input = random.damaged(&examples);
        for name in ["__init__.py", "agent.json", "x.panoptes-plugin"] {
            imported += import::import(name, &input, None).map_or(0, |plugins| plugins.len());
        }
    }
    assert!(imported > ROUNDS / 10, "{imported} plugins of {ROUNDS} files");
}

/// What is imported of the published examples is what configuration takes, as it stands.
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
        for plugin in import::import(name, text.as_bytes(), module).unwrap() {
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
