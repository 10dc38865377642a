//! What services are called, by every way that a name leaves kevmon, and what a changed name does.

use std::collections::BTreeMap;

use kevmon_tests::{
    http::Client,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    plugin_tool::plugin,
    port,
    push::{LIMIT, points_of},
    receiver::{Number, Receiver},
    wait,
    workload::Program,
};
use serde_json::Value as Json;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// A plugin file of the namespace `shop`.
fn file(pattern: &str, name: Option<&str>, naming: &str, more: &str) -> String {
    let name = name.map_or_else(String::new, |name| format!("name = '{name}'\n"));
    format!(
        "schema = 1\n[service]\nnamespace = 'shop'\nprocess_name = '{pattern}'\n{name}[monitoring]\ninterval = '300ms'\n\
         naming = '{naming}'\n[events]\nenabled = true\n{more}"
    )
}

/// Names of services by the plugins' labels.
type Names = BTreeMap<String, String>;

fn label(plugin: &str, instance: Option<&str>) -> String {
    match instance {
        Some(instance) => format!("{plugin}({instance})"),
        None => plugin.to_owned(),
    }
}

/// What stands in the resources of metrics, once there are so many.
fn of_metrics(receiver: &Receiver, count: usize) -> Names {
    receiver.wait_for("every plugin", LIMIT, |points| {
        let named = points.iter().filter_map(|point| {
            let of = |key: &str| point.resource.get(key).map(String::as_str);
            let label = label(of("kevmon.plugin")?, of("kevmon.plugin.instance"));
            Some((label, of("service.name")?.to_owned()))
        });
        Some(named.collect::<Names>()).filter(|named| named.len() == count)
    })
}

/// And of log records.
fn of_logs(receiver: &Receiver, count: usize) -> Names {
    wait::until("an event of every plugin", LIMIT, || {
        let logs = receiver.logs();
        let named = logs.iter().map(|log| {
            let of = |key: &str| log.resource.get(key).and_then(Json::as_str);
            let label = label(of("kevmon.plugin").unwrap(), of("kevmon.plugin.instance"));
            (label, of("service.name").unwrap().to_owned())
        });
        Some(named.collect::<Names>()).filter(|named| named.len() == count)
    })
}

/// Of `plugins` in JSON.
fn of_json(plugins: &Json, name: impl Fn(&Json) -> &Json) -> Names {
    let plugins = plugins.as_array().unwrap().iter();
    plugins
        .map(|plugin| {
            let label = label(plugin["plugin"].as_str().unwrap(), plugin["instance"].as_str());
            (label, name(plugin).as_str().unwrap().to_owned())
        })
        .collect()
}

/// Writes the plugins and returns their services' names as they are to be.
fn write_all(folder: &PluginDir, program: &Program) -> Names {
    let process = program.name();
    let shown: Vec<String> = format!("shop_{process}")
        .split(['_', '-'])
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect();
    let verbatim = "Check-out ₿ v2.";
    let filled = "{process_name} of {service_namespace}";
    let mut names = Names::new();
    for (name, given, naming, sent) in [
        ("unset-instana", None, "instana", shown.join(" ")),
        ("unset-both", None, "both", shown.join(" ")),
        ("unset-otel", None, "otel", format!("shop.{process}")),
        ("set-instana", Some(verbatim), "instana", verbatim.to_owned()),
        ("set-both", Some("checkout-b"), "both", "checkout-b".to_owned()),
        ("set-otel", Some("checkout-o"), "otel", "checkout-o".to_owned()),
        ("filled", Some(filled), "otel", format!("{process} of shop")),
    ] {
        // The name is of the process also where the id is not.
        let template = given.map_or("", |_| "[otel_config]\nservice_name_template = '{plugin_name}'\n");
        folder.write(name, &file(&program.pattern(), given, naming, template));
        names.insert(name.to_owned(), sent);
    }
    let instances = "[[instance]]\nid = 'a'\n[[instance]]\nid = 'b'\nname = 'other'\n";
    folder.write("many", &file(&program.pattern(), Some("many"), "otel", instances));
    names.insert("many(a)".to_owned(), "many".to_owned());
    names.insert("many(b)".to_owned(), "other".to_owned());
    names
}

#[test]
fn one_name_by_every_way() {
    let program = Program::new(WORKLOAD, "named");
    let folder = PluginDir::new();
    let expected = write_all(&folder, &program);
    let count = expected.len();
    let receiver = Receiver::start();
    let (port, page_port) = (receiver.port(), port::free());
    let page = format!("127.0.0.1:{page_port}");
    let mut daemon = Daemon::start(&[
        "--plugins-dir",
        folder.path(),
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
        "--prometheus",
        &page,
    ]);
    assert_eq!(program.start(&["idle"]).finish().status, 0);
    assert_eq!(of_metrics(&receiver, count), expected, "metrics");
    assert_eq!(of_logs(&receiver, count), expected, "logs");
    let tick = daemon.wait_until("a collection of all", LIMIT, |tick| {
        tick.0["plugins"].as_array().unwrap().len() == count
    });
    let told = of_json(&tick.0["plugins"], |plugin| &plugin["service"]["name"]);
    assert_eq!(told, expected, "JSON");
    let page = Client::plain(page_port).get("/metrics").expect("a page");
    let page = String::from_utf8_lossy(&page.body).into_owned();
    for name in expected.values() {
        let job = format!("job=\"shop/{name}\"");
        let of_job: Vec<&str> = page.lines().filter(|line| line.contains(&job)).collect();
        let info = of_job.iter().any(|line| line.starts_with("target_info"));
        assert!(info && of_job.len() > 5, "{job}: {of_job:#?}");
    }
    daemon.terminate();

    let checked = plugin(&["check", "--json", folder.path()]);
    checked.assert_code(0);
    let report: Json = serde_json::from_str(&checked.stdout).unwrap();
    let told = of_json(&report["plugins"], |plugin| &plugin["service_name"]);
    assert_eq!(told, expected, "plugin check");
    let listed = plugin(&["list", "--plugins-dir", folder.path()]);
    for name in expected.values() {
        assert!(listed.stdout.contains(name), "{name} in {}", listed.stdout);
    }
}

#[test]
fn a_changed_name_holds_without_a_restart_and_loses_no_series() {
    let program = Program::new(WORKLOAD, "renamed");
    let folder = PluginDir::new();
    let write = |name: Option<&str>| {
        let template = "[otel_config]\nservice_name_template = 'kvt.renamed'\n";
        folder.write("renamed", &file(&program.pattern(), name, "instana", template));
    };
    write(None);
    let receiver = Receiver::start();
    let port = receiver.port();
    let args = [
        "--plugins-dir",
        folder.path(),
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
    ];
    let daemon = Daemon::start(&args);
    let mut lives = 0;
    for (name, sent) in [
        (None, "Kvt Renamed"),
        (Some("checkout"), "checkout"),
        (Some("till"), "till"),
        (None, "Kvt Renamed"),
    ] {
        write(name);
        assert_eq!(program.start(&["idle"]).finish().status, 0);
        lives += 1;
        receiver.wait_for(&format!("{lives} starts of {sent}"), LIMIT, |points| {
            let last = points
                .iter()
                .rev()
                .find(|point| point.metric == "starts" && point.resource.contains_key("kevmon.plugin"))?;
            (last.resource["service.name"] == sent && last.value == Number::Int(lives)).then_some(())
        });
    }
    daemon.terminate();
    let points = points_of(&receiver, "kvt_renamed", 4);
    for metric in ["starts", "exits", "cpu_user_time_total"] {
        let of: Vec<_> = points.iter().filter(|point| point.metric == metric).collect();
        let same =
            |of_first: &dyn Fn(usize) -> String| (0..of.len()).all(|index| of_first(index) == of_first(0));
        assert!(
            same(&|index| of[index].resource["service.instance.id"].clone()),
            "{of:?}"
        );
        assert!(same(&|index| of[index].start_time.to_string()), "{of:?}");
    }
}
