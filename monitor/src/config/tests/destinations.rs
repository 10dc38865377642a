//! Where plugins export to, by what their files say.

use super::{super::*, Folder, variables};
use crate::config::{destinations, settings_file};

fn settings(text: &str) -> SettingsFile {
    let file = settings_file::parse(Path::new("kevmon.toml"), text, false);
    assert!(file.faults.is_empty(), "{:?}", file.faults);
    file
}

fn native(endpoints: &str) -> String {
    format!("schema = 1\nservice.process_name = 'a'\n[export]\nendpoints = {endpoints}")
}

#[test]
fn names_and_urls() {
    let folder = Folder::new();
    folder.write("1/plugin.toml", &native("'backup'"));
    folder.write(
        "2/plugin.toml",
        &native("['default', 'backup', 'https://x:1', 'backup']"),
    );
    folder.write("3/plugin.toml", &native("['https://x:1', 'http://[::1]']"));
    let file = settings("schema = 1\n[endpoints.backup]\nendpoint = 'https://backup'");
    let loaded = load(
        &folder.sources(),
        &Environment::default(),
        &Overrides::default(),
        Some(&file),
    );
    assert_eq!(loaded.faults, []);
    let names: Vec<&[String]> = loaded
        .plugins
        .iter()
        .map(|plugin| plugin.receivers.as_slice())
        .collect();
    assert_eq!(
        names,
        [
            &["backup".to_owned()][..],
            &["default", "backup", "https://x:1"].map(str::to_owned)[..],
            &["https://x:1", "http://[::1]"].map(str::to_owned)[..],
        ]
    );
    let own: Vec<&str> = loaded
        .receivers
        .own
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(own, ["https://x:1", "http://[::1]"], "each once");
    let settled = settle(&SettingSources {
        environment: &Environment::default(),
        overrides: &Overrides::default(),
        file: Some(&file),
        plugins: &loaded.receivers,
        check: &|_| Ok(()),
    });
    let urls: Vec<(String, String)> = settled
        .expect("valid")
        .receivers
        .into_iter()
        .map(|receiver| (receiver.name, receiver.metrics.url))
        .collect();
    let want = [
        ("default", "http://localhost:4317"),
        ("backup", "https://backup:4317"),
        ("https://x:1", "https://x:1"),
        ("http://[::1]", "http://[::1]:4317"),
    ];
    assert_eq!(urls, want.map(|(name, url)| (name.to_owned(), url.to_owned())));
}

#[test]
fn unknown_names() {
    let folder = Folder::new();
    folder.write("x/plugin.toml", &native("[\n'backupp',\n'elsewhere:4317']"));
    let file = settings("schema = 1\n[endpoints.backup]\nendpoint = 'https://backup'");
    let faults = |file: Option<&SettingsFile>| {
        let loaded = load(
            &folder.sources(),
            &Environment::default(),
            &Overrides::default(),
            file,
        );
        assert!(loaded.plugins.is_empty());
        folder.lines(&loaded.faults)
    };
    assert_eq!(
        faults(Some(&file)),
        [
            "x/plugin.toml:5: export.endpoints: there is no endpoint \"backupp\"; did you mean \"backup\"? known: backup, default",
            "x/plugin.toml:6: export.endpoints: there is no endpoint \"elsewhere:4317\"; write a URL with its scheme, or one of the names of kevmon.toml: backup, default",
        ]
    );
    assert!(faults(None)[0].ends_with("one of the names of kevmon.toml: default"));
    // What cannot be read has no names to hold a plugin to; that is a fault by itself.
    let broken = settings_file::parse(Path::new("kevmon.toml"), "=", false);
    assert_eq!(destinations::unknown_count(&broken, &native("'any'")), 0);
    // A table with a fault of its own has a name all the same.
    let faulty = settings_file::parse(
        Path::new("kevmon.toml"),
        "schema = 1\n[endpoints.any]\nendpoint = 5",
        false,
    );
    assert_eq!(faulty.faults.len(), 1);
    assert_eq!(destinations::unknown_count(&faulty, &native("'any'")), 0);
}

#[test]
fn legacy_files_agree_on_the_default_receiver_or_have_their_own() {
    let file = |name: &str, rest: &str| format!("[metadata]\nprocess_name='{name}'\n[otel_config]\n{rest}");
    type Case = (
        &'static str,
        &'static [(&'static str, &'static str)],
        Option<(&'static str, u16)>,
        [&'static [&'static str]; 2],
    );
    let cases: [Case; 8] = [
        (
            "default_agent_host = 'agent'",
            &[],
            Some(("agent", 4317)),
            [&[], &[]],
        ),
        (
            "default_agent_host = 'agent'\ndefault_agent_port = 4317",
            &[],
            Some(("agent", 4317)),
            [&[], &[]],
        ),
        ("", &[], Some(("agent", 4317)), [&[], &[]]),
        (
            "default_agent_host = 'agent'\ndefault_agent_port = 4318",
            &[],
            None,
            [&["agent:4317"], &["agent:4318"]],
        ),
        (
            "default_agent_port = 4317",
            &[],
            None,
            [&["agent:4317"], &["localhost:4317"]],
        ),
        // A port from above makes them agree, a host from above outranks them.
        (
            "default_agent_host = 'agent'\ndefault_agent_port = 4318",
            &[("INSTANA_AGENT_PORT", "9")],
            Some(("agent", 9)),
            [&[], &[]],
        ),
        (
            "default_agent_host = 'other'",
            &[("INSTANA_AGENT_HOST", "x")],
            None,
            [&[], &[]],
        ),
        (
            "default_agent_host = 'other'",
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:1")],
            None,
            [&[], &[]],
        ),
    ];
    for (second, environment, agreed, names) in cases {
        let folder = Folder::new();
        folder.write("a/plugin.toml", &file("a", "default_agent_host = 'agent'"));
        folder.write("b/plugin.toml", &file("b", second));
        let environment = variables(environment);
        let loaded = load(&folder.sources(), &environment, &Overrides::default(), None);
        assert!(
            loaded.faults.is_empty() && loaded.warnings.is_empty(),
            "{loaded:?}"
        );
        let found = loaded.receivers.agreed.as_ref();
        assert_eq!(
            found.map(|agent| (agent.host.as_str(), agent.port)),
            agreed,
            "{second}"
        );
        let found: Vec<&[String]> = loaded
            .plugins
            .iter()
            .map(|plugin| plugin.receivers.as_slice())
            .collect();
        assert_eq!(found, names, "{second}");
        let settled = settle(&SettingSources {
            environment: &environment,
            overrides: &Overrides::default(),
            file: None,
            plugins: &loaded.receivers,
            check: &|_| Ok(()),
        });
        let settled = settled.expect("valid");
        for name in names.concat() {
            let receiver = settled.receivers.iter().find(|receiver| receiver.name == name);
            let receiver = receiver.expect(name);
            assert_eq!(receiver.metrics.url, format!("http://{name}"));
            assert_eq!(
                (receiver.from.as_str(), receiver.asked_for),
                ("plugin.toml", false)
            );
        }
    }
}
