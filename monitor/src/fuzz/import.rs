//! Files of other plugin systems: what is imported is a plugin file that configuration takes, or an error of one line.

use std::path::Path;

use crate::{
    app, config,
    import::{Imported, import},
    shown,
};

/// Longest error and note, bytes.
const LONGEST: usize = 1000;

/// What a Scalyr monitor's module is configured by; `input` may be either of the two.
const AGENT: &[u8] = br#"{ monitors: [ { module: "coin", id: "x", mean: 5, name: "n" } ] }"#;

/// Imports `input` in every way.
pub(super) fn files(input: &[u8]) {
    let results = [
        import("__init__.py", input, None),
        import("agent.json", input, None),
        import("agent.json", AGENT, Some(input)),
        import("x.panoptes-plugin", input, None),
        import("x", input, None),
    ];
    for result in results {
        match result {
            Ok(plugins) => plugins.into_iter().for_each(imported),
            Err(error) => one_line(&error.to_string()),
        }
    }
}

fn imported(plugin: Imported) {
    let parsed = plugin.toml.parse::<toml::Table>();
    assert!(parsed.is_ok(), "{parsed:?}:\n{}", plugin.toml);
    assert!(
        !plugin.name.is_empty() && plugin.name.len() <= 64,
        "{}",
        plugin.name
    );
    assert!(!plugin.name.contains('/'), "{}", plugin.name);
    plugin.notes.iter().for_each(|note| one_line(&note.to_string()));
    match app::accepted(plugin) {
        Ok(plugin) => {
            let path = Path::new("plugins/x/plugin.toml");
            let faults = config::parse_plugin_file(path, &plugin.toml).faults;
            assert!(faults.is_empty(), "{faults:?}:\n{}", plugin.toml);
            config::fuzz::plugin(plugin.toml.as_bytes());
        }
        Err(faults) => assert!(!faults.is_empty()),
    }
}

fn one_line(text: &str) {
    assert!(text.len() < LONGEST, "{} bytes: {text}", text.len());
    assert!(!text.chars().any(shown::is_unsafe), "{text:?}");
}
