//! The published examples, and tables of small inputs. Damaged ones are a fuzz target's (`fuzz/import.rs`).

use super::*;

const NAMES: &str = include_str!("../../../tests/fixtures/import/names/__init__.py");
const ONE_NAME: &str = include_str!("../../../tests/fixtures/import/one_name/__init__.py");
const ATTRIBUTES: &str = include_str!("../../../tests/fixtures/import/attributes.py.txt");
const AGENT: &str = include_str!("../../../tests/fixtures/import/agent.json");
const COIN: &str = include_str!("../../../tests/fixtures/import/random_coin_test.py");
const PANOPTES: &str = include_str!("../../../tests/fixtures/import/tutorial.panoptes-plugin");

/// The published examples.
pub(crate) const EXAMPLES: [&str; 6] = [NAMES, ONE_NAME, ATTRIBUTES, AGENT, COIN, PANOPTES];

fn one(file: &str, text: &str, module: Option<&str>) -> (toml::Table, Imported) {
    let mut all = import(file, text.as_bytes(), module.map(str::as_bytes)).unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    let imported = all.remove(0);
    let table = imported
        .toml
        .parse()
        .unwrap_or_else(|error| panic!("{error}:\n{}", imported.toml));
    (table, imported)
}

/// `a.b.0.c` of a table, as it is written.
fn at(table: &toml::Table, path: &str) -> String {
    let mut value = toml::Value::Table(table.clone());
    for part in path.split('/') {
        let next = match part.parse::<usize>() {
            Ok(index) => value.get(index),
            Err(_) => value.get(part),
        };
        let Some(next) = next else { return "-".to_owned() };
        value = next.clone();
    }
    value.to_string()
}

fn noted(imported: &Imported, line: Option<usize>, part: &str) -> bool {
    imported
        .notes
        .iter()
        .any(|note| note.line == line && note.text.contains(part))
}

#[test]
fn the_instana_guides_examples() {
    let (table, imported) = one("__init__.py", NAMES, None);
    assert_eq!(imported.name, "myapp");
    assert_eq!(imported.notes, []);
    for (path, value) in [
        ("schema", "1"),
        ("plugin/name", "\"myapp\""),
        ("service/namespace", "\"MyApp\""),
        (
            "service/process_names",
            "[\"MyAppWeb\", \"MyAppWorker\", \"MyAppDB\"]",
        ),
        ("service/process_name", "-"),
    ] {
        assert_eq!(at(&table, path), value, "{path}");
    }
    let (table, imported) = one("__init__.py", &format!("{ONE_NAME}{ATTRIBUTES}"), None);
    assert_eq!(imported.notes, []);
    for (path, value) in [
        ("service/namespace", "\"MyCompany\""),
        ("service/process_name", "\"MyApp\""),
        ("service/attributes/service.version", "\"1.0.0\""),
        ("service/attributes/myapp.cluster", "\"east-coast\""),
    ] {
        assert_eq!(at(&table, path), value, "{path}");
    }
}

#[test]
fn python_literals() {
    for (written, name) in [
        ("'MyApp'", Some("MyApp")),
        (r#"r"^My\d$""#, Some(r"^My\d$")),
        (r#"u'My' "App" # a comment"#, Some("MyApp")),
        ("(\n  'My'\n  'App'\n)", Some("MyApp")),
        ("\"\"\"MyApp\"\"\"", Some("MyApp")),
        ("'''a'b''c'''", Some("a'b''c")),
        ("'a\\\nb'", Some("ab")),
        (r"'\x4d\u0079\101'", Some("MyA")),
        (r"'a\qb'", Some(r"a\qb")),
        ("\\\n'MyApp'", Some("MyApp")),
        ("f'My{x}'", None),
        ("os.environ['X']", None),
        ("'a' + 'b'", None),
        ("'a' 'b' if x else 'c'", None),
        ("-'a'", None),
    ] {
        let text = format!("PROCESS_NAME: str = {written}\n");
        let spots = python::tokens(&text).unwrap();
        let end = spots
            .iter()
            .position(|spot| spot.token == python::Token::End)
            .unwrap();
        let value = python::literal(&spots[4..end]).ok();
        assert_eq!(value, name.map(|name| Value::Text(name.to_owned())), "{written}");
    }
    let spots = python::tokens("os.environ.get('X', 'a')").unwrap();
    assert!(python::literal(&spots[..spots.len() - 1]).is_err(), "no literal");
    for (written, value) in [
        ("1_000", Value::Int(1000)),
        ("-0x1F", Value::Int(-31)),
        ("0o17", Value::Int(15)),
        ("1.5e-3", Value::Float(0.0015)),
        (".5", Value::Float(0.5)),
        ("True, None,", Value::List(vec![Value::Bool(true), Value::Null])),
        ("()", Value::List(vec![])),
        ("(1,)", Value::List(vec![Value::Int(1)])),
        ("[1, (2)]", Value::List(vec![Value::Int(1), Value::Int(2)])),
    ] {
        let spots = python::tokens(written).unwrap();
        assert_eq!(python::literal(&spots[..spots.len() - 1]), Ok(value), "{written}");
    }
}

#[test]
fn what_python_does_beside_assigning_is_noted_with_its_line() {
    let text = "import os\nPROCESS_NAME = 'a'\nPLUGIN_NAME = os.environ['X']\nif True:\n    PROCESS_NAME = 'b'\n\
                COLLECTION_INTERVAL = 0\nLIMIT = 5\nPROCESS_NAME = 'My App(?!x)'\n";
    let (table, imported) = one("__init__.py", text, None);
    for (line, part) in [
        (Some(1), "import"),
        (Some(2), "line 8"),
        (Some(3), "PLUGIN_NAME"),
        (Some(4), "if"),
        (Some(6), "interval"),
        (Some(7), "LIMIT"),
        (Some(8), "look-around"),
    ] {
        assert!(
            noted(&imported, line, part),
            "{line:?} {part}: {:?}",
            imported.notes
        );
    }
    assert!(!noted(&imported, Some(5), ""), "a block is noted once");
    assert_eq!(at(&table, "service/process_name"), r"'My App\(\?!x\)'");
}

/// A constant that asks the environment has its default, where it has one.
#[test]
fn defaults_of_variables() {
    let text = |text: &str| Ok(Value::Text(text.to_owned()));
    let texts = |all: &[&str]| {
        Ok(Value::List(
            all.iter().map(|one| Value::Text((*one).to_owned())).collect(),
        ))
    };
    for (written, value, variables) in [
        ("os.environ.get('X', 'app')", text("app"), 1),
        ("os.environ.get(\"X\",\n  default = r'^a$',)", text("^a$"), 1),
        ("environ.get('X', 'a' 'b')", text("ab"), 1),
        ("os.getenv('X', 'app')", text("app"), 1),
        ("getenv(key='X', default='app')", text("app"), 1),
        ("os.environ.get('X') or 'app'", text("app"), 1),
        ("os.environ.get('X') or os.getenv('Y') or 'app'", text("app"), 2),
        ("os.environ.get('X', os.environ.get('Y', 'app'))", text("app"), 2),
        ("(os.getenv('X', ' App ').strip().lower())", text("app"), 1),
        ("os.getenv('X', 'a,b').split(',')", texts(&["a", "b"]), 1),
        ("os.getenv('X', 'a b').split()", texts(&["a", "b"]), 1),
        ("['a', os.getenv('X', 'b')]", texts(&["a", "b"]), 1),
        ("int(os.environ.get('X', '60'))", Ok(Value::Int(60)), 1),
        ("int(os.environ.get('X', 60))", Ok(Value::Int(60)), 1),
        ("float(os.environ.get('X') or 2)", Ok(Value::Float(2.0)), 1),
        ("str(os.environ.get('X', 'a'))", text("a"), 1),
        ("'a' or os.getenv('X')", text("a"), 1),
        ("os.environ.get('X')", Ok(Value::Null), 1),
        ("os.getenv('X', None)", Ok(Value::Null), 1),
        ("os.environ['X']", Err(()), 0),
        ("int(os.environ.get('X'))", Err(()), 0),
        ("os.environ.get('X', f'{a}b')", Err(()), 0),
        ("os.environ.get('X', DEFAULT)", Err(()), 0),
        ("os.environ.get('X', 'a') + 'b'", Err(()), 0),
        ("'a' if os.getenv('X') else 'b'", Err(()), 0),
        ("os.environ.get('X', 'a'", Err(()), 0),
        ("config.get('X', 'a')", Err(()), 0),
        ("os.getenv('X', 'a').encode()", Err(()), 0),
    ] {
        let Ok(spots) = python::tokens(written) else {
            assert_eq!(value, Err(()), "{written}");
            continue;
        };
        let found = python::usual(&spots[..spots.len() - 1]);
        let asked = found.as_ref().map_or(0, |(_, variables)| variables.len());
        assert_eq!(
            (found.map(|(value, _)| value).map_err(|_| ()), asked),
            (value, variables),
            "{written}"
        );
    }
}

/// The guide's example of settings by environment.
#[test]
fn the_guides_variables() {
    let text = "import os\n\nPROCESS_NAME = 'MyApp'\nPLUGIN_NAME = os.getenv('MYAPP_NAME') or 'myapp'\n\
                COLLECTION_INTERVAL = int(os.environ.get('MYAPP_INTERVAL', '30'))\n\
                PROCESS_FILTER = os.environ.get('MYAPP_PROCESS_FILTER', PROCESS_NAME)\n\
                SERVICE_NAMESPACE = f'{COMPANY}'\nVERSION = os.environ.get('MYAPP_VERSION')\n\
                CUSTOM_ATTRIBUTES = {'env': os.environ.get('ENV', 'test')}\n";
    let (table, imported) = one("__init__.py", text, None);
    for (path, value) in [
        ("plugin/name", "\"myapp\""),
        ("plugin/version", "-"),
        ("monitoring/interval", "30"),
        ("monitoring/aggregate", "-"),
        ("service/process_name", "\"MyApp\""),
        ("service/attributes/env", "\"test\""),
    ] {
        assert_eq!(at(&table, path), value, "{path}");
    }
    for (line, part) in [
        (4, "\"MYAPP_NAME\" is not set"),
        (5, "unless it is <PLUGIN>_INTERVAL"),
        (6, "PROCESS_FILTER is not carried over"),
        (7, "an f-string is put together while Python runs"),
        (8, "without a default"),
        (9, "\"ENV\" is not set"),
    ] {
        assert!(
            noted(&imported, Some(line), part),
            "{line} {part}: {:?}",
            imported.notes
        );
    }
}

/// A module alone, without the file that configures it.
#[test]
fn modules_of_python() {
    const MONITOR: &str = include_str!("../../../tests/fixtures/runners/random_coin_monitor.py");
    const POLLING: &str = include_str!("../../../tests/fixtures/runners/tutorial_plugin.py");
    let (table, imported) = one("random_coin_monitor.py", MONITOR, None);
    assert_eq!(imported.module.as_deref(), Some("random_coin_monitor.py"));
    for (path, value) in [
        ("plugin/name", "\"random_coin_monitor\""),
        ("settings/gauss_mean/max", "10.0"),
        ("settings/gauss_stddev/default", "0.25"),
        ("monitoring/interval", "30"),
        ("collector/0/stream", "true"),
        (
            "collector/0/command",
            "[\"kevmon-scalyr-runner\", \"random_coin_monitor.py\"]",
        ),
    ] {
        assert_eq!(at(&table, path), value, "{path}");
    }
    let (table, imported) = one("tutorial_plugin.py", POLLING, None);
    assert_eq!(imported.module.as_deref(), Some("tutorial_plugin.py"));
    assert_eq!(
        at(&table, "collector/0/command"),
        "[\"kevmon-panoptes-runner\", \"tutorial_plugin.py\"]"
    );
    assert_eq!(at(&table, "collector/0/stream"), "-", "once an interval");
}

#[test]
fn scalyrs_example_with_its_bounds() {
    let (table, imported) = one("agent.json", AGENT, Some(COIN));
    assert_eq!(imported.name, "random_coin_test");
    for (path, value) in [
        ("settings/gauss_mean/type", "\"float\""),
        ("settings/gauss_mean/default", "0.5"),
        ("settings/gauss_mean/min", "0.0"),
        ("settings/gauss_mean/max", "10.0"),
        ("settings/gauss_mean/value", "8.5"),
        ("settings/gauss_stddev/max", "5.0"),
        ("settings/gauss_stddev/value", "5.0"),
        ("monitoring/interval", "30"),
        ("collector/0/format", "\"scalyr\""),
        ("collector/0/stream", "true"),
        (
            "collector/0/command",
            "[\"kevmon-scalyr-runner\", \"random_coin_test.py\"]",
        ),
        ("instance", "-"),
    ] {
        assert_eq!(at(&table, path), value, "{path}");
    }
    assert!(noted(&imported, Some(2), "…"), "{:?}", imported.notes);
    let (table, imported) = one("agent.json", AGENT, None);
    assert_eq!(at(&table, "settings/gauss_mean/max"), "-");
    assert!(noted(&imported, None, "--module"), "{:?}", imported.notes);

    let beyond = AGENT.replace("8.5", "80.5");
    let (table, imported) = one("agent.json", &beyond, Some(COIN));
    assert_eq!(at(&table, "settings/gauss_mean/value"), "-");
    assert!(noted(&imported, Some(5), "bounds"), "{:?}", imported.notes);
}

#[test]
fn several_entries_of_one_module_are_instances() {
    let text = r#"// the agent
    { api_key: "secret", monitors: [
        { module: "scalyr_agent.builtin_monitors.linux_process_metrics", id: "tomcat", commandline: "java.*tomcat" }
        { "module": "scalyr_agent.builtin_monitors.linux_process_metrics", id: "web", commandline: `nginx\.conf`, sample_interval: 5, pid: "$$", },
        { module: "coin", id: "a b", x: 5, list: [1] },
        { module: "coin", x: 5.5 /* more */ },
    ] }"#;
    let all = import("agent.json", text.as_bytes(), None).unwrap();
    let [processes, coin] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert!(!all.iter().any(|plugin| format!("{plugin:?}").contains("secret")));
    let table: toml::Table = processes.toml.parse().unwrap();
    for (path, value) in [
        ("plugin/name", "\"linux_process_metrics\""),
        ("service/match", "\"cmdline\""),
        ("instance/0/id", "\"tomcat\""),
        ("instance/0/process_name", "\"java.*tomcat\""),
        ("instance/1/process_name", r"'nginx\.conf'"),
        ("instance/1/interval", "5"),
    ] {
        assert_eq!(at(&table, path), value, "{path}");
    }
    assert!(noted(processes, Some(4), "pid"), "{:?}", processes.notes);
    let table: toml::Table = coin.toml.parse().unwrap();
    for (path, value) in [
        ("settings/x/type", "\"float\""),
        ("instance/0/id", "\"a-b\""),
        ("instance/0/settings/x", "5.0"),
        ("instance/1/id", "\"2\""),
    ] {
        assert_eq!(at(&table, path), value, "{path}");
    }
    assert!(noted(coin, Some(5), "list"), "{:?}", coin.notes);
}

#[test]
fn panoptes_tutorial() {
    let (table, imported) = one("tutorial.panoptes-plugin", PANOPTES, None);
    for (path, value) in [
        ("plugin/name", "\"tutorial-plugin\""),
        ("plugin/description", "\"This is a tutorial plugin\""),
        ("plugin/version", "\"0.1\""),
        ("monitoring/interval", "60"),
        (
            "monitoring/resource_filter",
            "'resource_id = \"tutorial_device\"'",
        ),
        ("service/namespace", "\"metrics\""),
        ("transforms/example", "\"rate:example:context_switch_count\""),
        ("collector/0/format", "\"panoptes\""),
        (
            "collector/0/command",
            "[\"kevmon-panoptes-runner\", \"tutorial_polling_plugin.py\"]",
        ),
    ] {
        assert_eq!(at(&table, path), value, "{path}");
    }
    assert!(
        noted(&imported, Some(3), "tutorial_polling_plugin.py has to stand"),
        "{:?}",
        imported.notes
    );
}

#[test]
fn what_cannot_be_imported_says_why_and_what_to_do() {
    let deep = "[".repeat(DEPTH + 1);
    let long = vec![b' '; MOST_BYTES + 1];
    let cases: [(&str, &[u8], &str); 12] = [
        ("plugin.toml", b"", "plugin check"),
        ("x", b"hello", "neither"),
        ("x.py", b"PROCESS_NAME = 'a", "line 1: a text"),
        ("x.py", b"\nPROCESS_NAME = ('a'", "line 2: a bracket"),
        ("x.py", b"x = 1", "neither PROCESS_NAME"),
        ("x.py", b"\n\xff", "line 2: the bytes"),
        ("x.py", deep.as_bytes(), "brackets"),
        ("x.json", deep.as_bytes(), "brackets"),
        (
            "x.json",
            b"{ monitors: [\n{ module: coin } ] }",
            "line 2: \"coin\"",
        ),
        ("x.json", b"{ monitors: [] }", "no monitor"),
        ("x.panoptes-plugin", b"[main]\na = 1", "[Core]"),
        ("x.json", &long, "bytes"),
    ];
    for (name, bytes, part) in cases {
        let error = import(name, bytes, None).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("; "), "{name}: {error}");
    }
}
