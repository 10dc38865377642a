//! Each kind of fault, as the one line that a person reads.

use super::{super::*, Folder, load_plain, variables};

/// What one file's faults look like; the file is `x/plugin.toml`.
#[test]
fn one_file() {
    for (file, faults) in [
        (
            "a = [",
            &[
                "x/plugin.toml:1: not valid TOML: unclosed array, expected `]`; nothing else in this file was checked",
            ][..],
        ),
        (
            "[service]\nprocess_name = 'a'\nprocess_name = 'b'",
            &["x/plugin.toml:3: not valid TOML: duplicate key; nothing else in this file was checked"],
        ),
        (
            "[service]\nprocess_name = 'a'\n\n[monitoring]\nintervall = 1",
            &["x/plugin.toml:5: monitoring.intervall: unknown key; did you mean \"interval\"?"],
        ),
        (
            "[plugin]\nnamespace = 'x'\n[service]\nprocess_name = 'a'",
            &["x/plugin.toml:2: plugin.namespace: unknown key; \"namespace\" belongs in [service]"],
        ),
        (
            "[servise]\nprocess_name = 'a'",
            &[
                "x/plugin.toml: service.process_name: is missing; name the process to watch, or give a regular expression such as \"^nginx$\"",
                "x/plugin.toml:1: servise: unknown table; did you mean [service]?",
            ],
        ),
        (
            "plugin = 5\n[[service]]\nprocess_name = 'a'",
            &[
                "x/plugin.toml: service.process_name: is missing; name the process to watch, or give a regular expression such as \"^nginx$\"",
                "x/plugin.toml:1: plugin: must be one table, [plugin]; write [plugin] on a line of its own",
                "x/plugin.toml:2: service: must be one table, [service]; write [service] on a line of its own",
            ],
        ),
        (
            "[service]\nprocess_name = '(web'",
            &[
                "x/plugin.toml:2: service.process_name: \"(web\" is not a valid regular expression: unclosed group; write a name, or a regular expression such as \"^nginx$\"",
            ],
        ),
        (
            "[service]\nprocess_name = ' '\nnamespace = ''\n[plugin]\nname = ''",
            &[
                "x/plugin.toml:2: service.process_name: the pattern is empty and would match every process; write a name, or a regular expression such as \"^nginx$\"",
                "x/plugin.toml:3: service.namespace: is empty; write a name, or leave the key out",
                "x/plugin.toml:5: plugin.name: the name is empty; write one, or leave the key out to use the folder's name",
            ],
        ),
        (
            "[service]\nprocess_name = ['a']\n[plugin]\nname = 'a b'\n[monitoring]\ninterval = -1\nenabled = 'yes'",
            &[
                "x/plugin.toml:2: service.process_name: must be a string, found a list; write a name, or a regular expression such as \"^nginx$\"",
                "x/plugin.toml:4: plugin.name: the name \"a b\" holds ' '; use letters A-Z a-z, digits, '.', '_' and '-' only",
                "x/plugin.toml:6: monitoring.interval: \"-1\" is negative; write 10ms to 24h",
                "x/plugin.toml:7: monitoring.enabled: must be true or false, found a string; write it without quotes",
            ],
        ),
        (
            "schema = 1\nservice.process_name = []\n[monitoring]\nnaming = 'instanna'\naggregate = 5\nprefix = 1\nrestart_window = '2d'\ninterval = 1e9",
            &[
                "x/plugin.toml:2: service.process_name: the list is empty; name at least one process",
                "x/plugin.toml:4: monitoring.naming: \"instanna\" is not known; did you mean \"instana\"?",
                "x/plugin.toml:5: monitoring.aggregate: must be a string, found an integer; put it in quotes",
                "x/plugin.toml:6: monitoring.prefix: must be true or false, found an integer; write it without quotes",
                "x/plugin.toml:7: monitoring.restart_window: \"d\" is not a known unit; write ms, s, m or h",
                "x/plugin.toml:8: monitoring.interval: \"1e9\" is too long; write 10ms to 24h",
            ],
        ),
        (
            "schema = 1\nservice.process_name = 'a'\nservice.match = 'cmd'\nservice.mach = 1\n[monitoring]\nfailed_start = '-1s'\n[events]\nenabled = 'yes'\ninterval = 1",
            &[
                "x/plugin.toml:3: service.match: \"cmd\" is not known; write one of name, exe, cmdline",
                "x/plugin.toml:4: service.mach: unknown key; did you mean \"match\"?",
                "x/plugin.toml:6: monitoring.failed_start: \"-1s\" is negative; write 0s to 24h",
                "x/plugin.toml:8: events.enabled: must be true or false, found a string; write it without quotes",
                "x/plugin.toml:9: events.interval: unknown key; \"interval\" belongs in [monitoring]",
            ],
        ),
        (
            "schema = 1\nservice.process_name = 'a'\n[monitoring]\nfailed_start = '25h'\n[events]\nenabeld = true",
            &[
                "x/plugin.toml:4: monitoring.failed_start: \"25h\" is too long; write 0s to 24h",
                "x/plugin.toml:6: events.enabeld: unknown key; did you mean \"enabled\"?",
            ],
        ),
        (
            "[service]\nprocess_name = 'a'\nmatch = 'exe'\n[events]\nenabled = true",
            &[
                "x/plugin.toml:3: service.match: unknown key; \"match\" belongs to kevmon's own schema (put schema = 1 at the top of the file to use it)",
                "x/plugin.toml:4: events: unknown table; [events] belongs to kevmon's own schema (put schema = 1 at the top of the file to use it)",
            ],
        ),
        (
            "schema = 1\n[service]\nprocess_name = [\n'a',\n'(',\n3]\n[service.attributes]\nservice.version = '1'\n\"host.id\" = 'x'\nn = 1",
            &[
                "x/plugin.toml:5: service.process_name: \"(\" is not a valid regular expression: unclosed group; write a name, or a regular expression such as \"^nginx$\"",
                "x/plugin.toml:6: service.process_name: must be a string, found an integer; write a name, or a regular expression such as \"^nginx$\"",
                "x/plugin.toml:8: service.attributes: the attribute \"service\" is a table; quote a dotted name: \"service.version\" = \"1.0\"",
                "x/plugin.toml:9: service.attributes: kevmon sets the attribute \"host.id\" itself; choose another name or remove it",
                "x/plugin.toml:10: service.attributes: the attribute \"n\" must be a string, found an integer; put it in quotes",
            ],
        ),
        (
            "schema = 1\nservice.process_name = 'a'\n[processes]\nenabled = 1\nmax = 0\nby = 'cp'\n[export]\nendpoints = ''\nendpoint = 'x'",
            &[
                "x/plugin.toml:4: processes.enabled: must be true or false, found an integer; write it without quotes",
                "x/plugin.toml:5: processes.max: \"0\" is out of bounds; write 1 to 1000, without quotes",
                "x/plugin.toml:6: processes.by: \"cp\" is not known; did you mean \"cpu\"?",
                "x/plugin.toml:8: export.endpoints: is empty; write a name, or leave the key out",
                "x/plugin.toml:9: export.endpoint: unknown key; did you mean \"endpoints\"?",
            ],
        ),
        (
            "schema = 1\nservice.process_name = 'a'\n[processes]\nmax = '5'\nmost = 5\n[export]\nendpoints = []\n[exprt]",
            &[
                "x/plugin.toml:4: processes.max: must be an integer, found a string; write 1 to 1000, without quotes",
                "x/plugin.toml:5: processes.most: unknown key; known here: enabled, max, by, arguments, executable_path",
                "x/plugin.toml:7: export.endpoints: the list is empty; name at least one endpoint, or leave the key out for the default one",
                "x/plugin.toml:8: exprt: unknown table; did you mean [export]?",
            ],
        ),
        (
            "schema = 1\nservice.process_name = 'a'\n[processes]\nmax = 1001\n[export]\nendpoints = [\n'http://me:secret@x',\n'me:secret@x',\n'ftp://x', 5,\n'https://x/?key=secret']",
            &[
                "x/plugin.toml:4: processes.max: \"1001\" is out of bounds; write 1 to 1000, without quotes",
                "x/plugin.toml:7: export.endpoints: the URL holds user info (…@…), which kevmon neither sends nor repeats; write the host alone, and give credentials as a header",
                "x/plugin.toml:8: export.endpoints: the URL holds user info (…@…), which kevmon neither sends nor repeats; write the host alone, and give credentials as a header",
                "x/plugin.toml:9: export.endpoints: the scheme \"ftp\" is not supported; write http://host:port or https://host:port",
                "x/plugin.toml:9: export.endpoints: must be a string, found an integer; put it in quotes",
                "x/plugin.toml:10: export.endpoints: the URL has a query or a fragment, which kevmon does not send; end it with the path, and give credentials as a header",
            ],
        ),
        (
            "[service]\nprocess_name = 'a'\n[export]\nendpoints = 'x'\n[processes]\nmax = 1",
            &[
                "x/plugin.toml:3: export: unknown table; [export] belongs to kevmon's own schema (put schema = 1 at the top of the file to use it)",
                "x/plugin.toml:5: processes: unknown table; [processes] belongs to kevmon's own schema (put schema = 1 at the top of the file to use it)",
            ],
        ),
        (
            "schema = 2\nnonsense = 1",
            &["x/plugin.toml:1: schema: schema 2 is not known to this version of kevmon; write schema = 1"],
        ),
        (
            "schema = '1'",
            &["x/plugin.toml:1: schema: must be an integer, found a string; write schema = 1"],
        ),
        (
            "[plugin]\n[metadata]",
            &[
                "x/plugin.toml:2: metadata: [metadata] and [plugin] (line 1) are of two different schemas; keep [metadata] with the repository's keys, or [plugin] with the guide's",
            ],
        ),
        (
            "schema = 1\n[metadata]",
            &[
                "x/plugin.toml:2: metadata: [metadata] is not part of kevmon's own schema, which schema = 1 announces; remove schema, or replace [metadata] with [plugin] and [service]",
            ],
        ),
        (
            "[metadata]\nprocess_name = 'a'\n[monitoring]\ninterval = 1\nprocess_patterns = 'b'\n[otel_config]\nservice_name_template = '{host}'\ndefault_agent_host = 'http://x'\ndefault_agent_port = 0",
            &[
                "x/plugin.toml:4: monitoring.interval: unknown key; did you mean \"default_interval\"? \"interval\" belongs to kevmon's own schema (put schema = 1 at the top of the file to use it)",
                "x/plugin.toml:5: monitoring.process_patterns: must be a list of strings, found a string; write [\"first\", \"second\"]",
                "x/plugin.toml:7: otel_config.service_name_template: unknown placeholder \"{host}\"; known: {service_namespace}, {process_name}, {plugin_name}",
                "x/plugin.toml:8: otel_config.default_agent_host: \"http://x\" is a URL; write the host alone, and the port apart from it",
                "x/plugin.toml:9: otel_config.default_agent_port: \"0\" is not a port; write 1 to 65535",
            ],
        ),
        (
            "[service]\nprocess_name = 'a'\n\"a\\nb\" = 1",
            &["x/plugin.toml:3: service.a\\nb: unknown key; known here: namespace, process_name"],
        ),
    ] {
        let folder = Folder::new();
        folder.write("x/plugin.toml", file);
        let loaded = load_plain(&folder.sources());
        assert_eq!(folder.lines(&loaded.faults), faults, "{file}");
        assert!(loaded.plugins.is_empty());
    }
}

fn usage_faults(loaded: &Loaded) -> usize {
    loaded.faults.iter().filter(|fault| fault.is_usage()).count()
}

#[test]
fn every_faulty_file_at_once_beside_a_good_one() {
    let folder = Folder::new();
    folder.write("bad/plugin.toml", "[service]");
    folder.write("broken/plugin.toml", "\n=");
    folder.write("good/plugin.toml", "[service]\nprocess_name = 'a'");
    folder.write("latin/plugin.toml", "");
    folder.write_bytes("latin/plugin.toml", b"\xff");
    folder.write("no name/plugin.toml", "[service]\nprocess_name = 'a'");
    let loaded = load_plain(&folder.sources());
    let lines = folder.lines(&loaded.faults);
    for (line, beginning) in lines.iter().zip([
        "bad/plugin.toml: service.process_name: is missing; name the process",
        "broken/plugin.toml:2: not valid TOML: ",
        "latin/plugin.toml:1: is not UTF-8",
        "no name/plugin.toml: plugin.name: is missing, and the folder's name, \"no name\", is no plugin name; write plugin.name",
    ]) {
        assert!(line.starts_with(beginning), "{line}\n{beginning}");
    }
    assert_eq!(
        (lines.len(), loaded.faulty_files().len(), usage_faults(&loaded)),
        (4, 4, 0)
    );
    assert_eq!(loaded.plugins.len(), 1);
}

#[test]
fn names_that_collide() {
    let file = |name: &str| format!("[service]\nprocess_name = '{name}'\n[plugin]\nname = '{name}'");
    let folder = Folder::new();
    folder.write("1/plugin.toml", &file("my-app"));
    folder.write("2/plugin.toml", &file("my-app"));
    folder.write("3/plugin.toml", &file("my_app"));
    folder.write("4/plugin.toml", &file("collection"));
    folder.write(
        "5/plugin.toml",
        "[metadata]\nprocess_name = 'MY.APP'\nplugin_name = 'my-app'",
    );
    let loaded = load_plain(&folder.sources());
    assert_eq!(
        folder.lines(&loaded.faults),
        [
            "3/plugin.toml:4: plugin.name: \"my_app\" and \"my-app\" of 1/plugin.toml share the environment variables MY_APP_*; give one of them another name",
            "4/plugin.toml:4: plugin.name: \"collection\" and all other plugins share the environment variable COLLECTION_INTERVAL; give one of them another name",
        ]
    );
    assert_eq!(
        folder.lines(&loaded.warnings),
        [
            "2/plugin.toml:4: plugin.name: left out: \"my-app\" is already the name of 1/plugin.toml, which comes first; give one of them another name",
            "5/plugin.toml:3: metadata.plugin_name: left out: \"my-app\" is already the name of 1/plugin.toml, which comes first; give one of them another name",
        ]
    );
    assert_eq!(loaded.plugins.len(), 1);
}

#[test]
fn services_that_look_the_same_are_kept_with_a_warning() {
    let folder = Folder::new();
    folder.write("a/plugin.toml", "[service]\nprocess_name = '^web$'");
    folder.write("b/plugin.toml", "[service]\nprocess_name = 'WEB'");
    let loaded = load_plain(&folder.sources());
    assert_eq!(loaded.plugins.len(), 2);
    assert_eq!(
        folder.lines(&loaded.warnings),
        [
            "b/plugin.toml: the services of a (\"default.^web$\") and b (\"default.WEB\") are both shown as \
          \"Default Web\"; they are kept apart by their instance ids; give one of them another \
          service_name_template or process name"
        ]
    );
}

#[test]
fn patterns_that_fit_a_cut_name_alone() {
    let cut = "matches names of exactly 15 bytes alone, the length to which the kernel cuts names in comm";
    let remedy = "write the full name, which matches too; if 15 bytes are the full name, all is well";
    let whole = "matches names of exactly 15 bytes alone, and match = \"exe\" looks at whole names: a name that the \
                 kernel cut to that length matches nothing; write the executable's full name; if 15 bytes are the full \
                 name, all is well";
    let folder = Folder::new();
    let file = |name: &str, matching: &str| {
        format!(
            "schema = 1\n[service]\nprocess_name = [\n'web',\n'^systemd-resolve$',\n'^systemd-resolved$']\n\
             match = '{matching}'\nnamespace = '{name}'\n[plugin]\nname = '{name}'"
        )
    };
    for matching in ["name", "exe", "cmdline"] {
        folder.write(&format!("{matching}/plugin.toml"), &file(matching, matching));
    }
    folder.write(
        "old/plugin.toml",
        "[metadata]\nprocess_name = 'x'\n[monitoring]\nprocess_patterns = ['^kworker-backend$']",
    );
    let environment = variables(&[
        ("NAME_PROCESS_FILTER", "^gnome-keyring-d$"),
        ("EXE_PROCESS_FILTER", "^gnome-keyring-d$"),
    ]);
    let sources = PluginSources {
        plugins: ["name", "exe", "cmdline", "old"].map(str::to_owned).to_vec(),
        process_names: vec!["^a-15-bytes-name$".to_owned(), "^a-name$".to_owned()],
        ..folder.sources()
    };
    let loaded = load(&sources, &environment, &Overrides::default(), None);
    assert!(loaded.faults.is_empty(), "{:?}", loaded.faults);
    assert_eq!(
        folder.lines(&loaded.warnings),
        [
            format!("exe/plugin.toml:5: service.process_name: \"^systemd-resolve$\" {whole}"),
            format!("name/plugin.toml:5: service.process_name: \"^systemd-resolve$\" {cut}; {remedy}"),
            format!("old/plugin.toml:4: monitoring.process_patterns: \"^kworker-backend$\" {cut}; {remedy}"),
            format!("environment: EXE_PROCESS_FILTER: \"^gnome-keyring-d$\" {whole}"),
            format!("environment: NAME_PROCESS_FILTER: \"^gnome-keyring-d$\" {cut}; {remedy}"),
            format!("command line: --process-name: \"^a-15-bytes-name$\" {cut}; {remedy}"),
        ]
    );
    assert!(
        !loaded.warnings.iter().any(|warning| warning.harmless),
        "whoever takes one look must know"
    );
}

#[test]
fn usage() {
    let folder = Folder::new();
    folder.write("my-app/plugin.toml", "[service]\nprocess_name = 'a'");
    let environment = variables(&[
        ("COLLECTION_INTERVAL", "0"),
        ("MY_APP_INTERVAL", "soon"),
        ("MY_APP_PROCESS_FILTER", "["),
    ]);
    let sources = PluginSources {
        plugins: vec!["my-app".to_owned()],
        process_names: vec!["(".to_owned(), String::new()],
        ..folder.sources()
    };
    let loaded = load(&sources, &environment, &Overrides::default(), None);
    assert_eq!(
        folder.lines(&loaded.faults),
        [
            "environment: COLLECTION_INTERVAL: \"0\" is too short; write 10ms to 24h",
            "environment: MY_APP_PROCESS_FILTER: \"[\" is not a valid regular expression: unclosed character class; write a name, or a regular expression such as ^nginx$",
            "environment: MY_APP_INTERVAL: \"soon\" is not a length of time; write seconds (60, 0.5) or a number with a unit (500ms, 2s, 1m, 1h)",
            "command line: --process-name: \"(\" is not a valid regular expression: unclosed group; write a name, or a regular expression such as '^nginx$'",
            "command line: --process-name: the pattern is empty and would match every process; write a name, or a regular expression such as '^nginx$'",
        ]
    );
    assert_eq!(usage_faults(&loaded), 5);
    assert!(loaded.plugins.is_empty());
}

#[test]
fn nothing_to_run_is_no_fault() {
    let folder = Folder::new();
    let idle = |loaded: Loaded| {
        assert_eq!(loaded.faults, []);
        folder.lines(&Vec::from_iter(loaded.idle))
    };
    let sources = PluginSources {
        search_path: vec![folder.path().join("none")],
        ..PluginSources::default()
    };
    assert_eq!(
        idle(load_plain(&sources)),
        [
            "command line: no NAME/plugin.toml was found in none; name a folder with --plugins-dir, or a process with --process-name"
        ]
    );
    folder.write(
        "off/plugin.toml",
        "[service]\nprocess_name = 'b'\n[monitoring]\nenabled = false",
    );
    assert_eq!(
        idle(load_plain(&folder.sources())),
        [
            "command line: every plugin is switched off: off (off/plugin.toml); set monitoring.enabled = true in one of them"
        ]
    );
}
