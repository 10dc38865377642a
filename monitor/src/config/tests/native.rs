//! What the keys of kevmon's own schema become.

use super::*;
use crate::plugin::collector::{FilePath, Format, MetricKind, Place, Source, ValueType};

fn loaded(text: &str) -> Loaded {
    loaded_with(text, &[])
}

fn loaded_with(text: &str, settings: &[(&str, &str)]) -> Loaded {
    let folder = Folder::new();
    folder.write("shop/plugin.toml", text);
    let overrides = Overrides {
        settings: settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Overrides::default()
    };
    let sources = PluginSources {
        host: "web1".to_owned(),
        ..folder.sources()
    };
    load(&sources, &Environment::default(), &overrides, None)
}

#[track_caller]
fn plugins(text: &str) -> Vec<Plugin> {
    let loaded = loaded(text);
    assert_eq!(loaded.faults, [], "{text}");
    loaded.plugins
}

#[test]
fn each_of_several_names_is_a_service_of_its_own() {
    let plugins = plugins(
        "schema = 1\n[service]\nnamespace = 'Shop'\nprocess_names = ['MyAppWeb', '^MyApp Worker$', 'MyAppDB']\n",
    );
    let told: Vec<_> = plugins
        .iter()
        .map(|plugin| {
            (
                plugin.name.as_str(),
                plugin.service.id.as_str(),
                plugin.patterns[0].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("shop-myappweb", "shop_myappweb", "MyAppWeb"),
            ("shop-myapp-worker", "shop_myapp_worker", "^MyApp Worker$"),
            ("shop-myappdb", "shop_myappdb", "MyAppDB")
        ]
    );
}

#[test]
fn instances_differ_in_what_they_say() {
    let plugins = plugins(
        "schema = 1\n[service]\nprocess_name = 'redis'\nuser = 'redis'\nattributes = { tier = 'x', zone = 'z' }\n\
         [monitoring]\ninterval = 30\n\
         [settings.port]\ntype = 'int'\ndefault = 6379\nmin = 1\nmax = 65535\n\
         [[instance]]\nid = 'cache'\ninterval = '5s'\nattributes = { tier = 'cache' }\nsettings = { port = 6380 }\n\
         [[instance]]\nid = 'queue'\nprocess_name = '^redis-queue$'\nuser = [0, 'root']\n\
         [[instance]]\nid = 'off'\nenabled = false\n",
    );
    let told: Vec<_> = plugins
        .iter()
        .map(|plugin| {
            (
                plugin.label(),
                plugin.interval.as_secs(),
                plugin.patterns[0].as_str(),
                plugin.attributes["tier"].as_str(),
                plugin.settings["port"].as_str(),
                plugin
                    .selectors
                    .users
                    .iter()
                    .map(|user| user.written.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "shop(cache)".to_owned(),
                5,
                "redis",
                "cache",
                "6380",
                "redis".to_owned()
            ),
            (
                "shop(queue)".to_owned(),
                30,
                "^redis-queue$",
                "x",
                "6379",
                "0 root".to_owned()
            ),
        ]
    );
    assert_eq!(plugins[0].attributes["zone"], "z");
}

#[test]
fn settings_are_checked_before_anything_starts() {
    let file = "schema = 1\n[service]\nprocess_name = 'a'\n[settings.mean]\ntype = 'float'\nrequired = true\nmin = 0\n\
                max = 10\n";
    for (given, expected) in [
        (
            &[][..],
            Err(
                "shop/plugin.toml:4: settings.mean: is required and has no value; give it in an [[instance]]: settings = \
                 { mean = … }, or with --set mean=…",
            ),
        ),
        (&[("mean", "8.5")], Ok("8.5")),
        (
            &[("mean", "11")],
            Err("command line: --set: \"mean\": 11 is out of bounds; write 0 to 10"),
        ),
        (
            &[("mean", "much")],
            Err("command line: --set: \"mean\": much is not a number; write one"),
        ),
        (
            &[("mean", "1"), ("maen", "1")],
            Err("command line: --set: there is no setting \"maen\"; did you mean mean?"),
        ),
    ] {
        let loaded = loaded_with(file, given);
        match expected {
            Ok(value) => assert_eq!(loaded.plugins[0].settings["mean"], value),
            Err(fault) => {
                let told: Vec<String> = loaded.faults.iter().map(ToString::to_string).collect();
                assert!(
                    told.iter().any(|told| told.ends_with(fault)),
                    "{told:#?}\n{fault}"
                );
                assert!(loaded.plugins.is_empty());
            }
        }
    }
}

#[test]
fn a_mode_is_an_interval_and_an_interval_outranks_it() {
    for (monitoring, seconds) in [
        ("mode = 'detailed'", 15),
        ("mode = 'minimal'", 300),
        ("mode = 'standard'", 60),
        ("mode = 'minimal'\ninterval = 7", 7),
    ] {
        let text = format!("schema = 1\n[service]\nprocess_name = 'a'\n[monitoring]\n{monitoring}\n");
        assert_eq!(plugins(&text)[0].interval.as_secs(), seconds, "{monitoring}");
    }
}

#[test]
fn a_plugin_for_other_hosts_does_not_run() {
    let file = |filter: &str| {
        format!("schema = 1\n[service]\nprocess_name = 'a'\n[monitoring]\nresource_filter = '''{filter}'''\n")
    };
    assert_eq!(plugins(&file("resource_id LIKE 'web%'")).len(), 1);
    let other = loaded(&file("resource_id = 'db1'"));
    assert!(other.plugins.is_empty());
    assert!(other.disabled[0].reason.is_some());
}

#[test]
fn attributes_from_facts_are_kept_apart() {
    let plugin = &plugins(
        "schema = 1\n[service]\nprocess_name = 'a'\nattributes = { fixed = '1', unit = '{unit}', who = 'user {user}' }\n",
    )[0];
    assert_eq!(plugin.attributes.len(), 1);
    assert_eq!(plugin.templates["who"], "user {user}");
}

#[test]
fn collectors_as_they_are_written() {
    let plugins = plugins(
        "schema = 1\n[settings.port]\ntype = 'int'\ndefault = 8080\n\
         [[collector]]\nname = 'coin'\nkind = 'command'\ncommand = ['./coin.sh', '--port={settings.port}', '{x}']\n\
         timeout = '2s'\nmax_output = '2KiB'\nenvironment = { A = '{settings.port}' }\n\
         [[collector]]\nname = 'threads'\nkind = 'file'\npath = '/proc/{pid}/status'\n\
         [[collector.metric]]\nname = 'threads'\nunit = '{thread}'\nkey = 'Threads'\nvalue = 'int'\n\
         [[collector.metric]]\nname = 'switches'\nregex = 'voluntary_ctxt_switches:\\s+(\\d+)'\ntype = 'counter'\n\
         [[collector]]\nname = 'web'\nkind = 'http'\nurl = 'http://127.0.0.1:{settings.port}/status'\n\
         [[collector.metric]]\nname = 'depth'\npointer = '/queue/depth'\nattributes = { q = 'a' }\n\
         [transforms]\nexample = 'rate:example:context_switch_count, other'\n",
    );
    let plugin = &plugins[0];
    assert!(plugin.patterns.is_empty(), "a collector needs no process");
    let [coin, threads, web] = &plugin.collectors[..] else {
        panic!("{:?}", plugin.collectors);
    };
    let Source::Command {
        argv,
        format,
        output,
        environment,
        ..
    } = &coin.source
    else {
        panic!("{coin:?}");
    };
    assert!(
        argv[0].starts_with('/') && argv[0].ends_with("/shop/coin.sh"),
        "{argv:?}"
    );
    assert_eq!(argv[1..], ["--port=8080", "{x}"]);
    assert_eq!(
        (*format, *output, coin.timeout.as_secs()),
        (Format::Scalyr, 2048, 2)
    );
    assert_eq!(environment["A"], "8080");
    assert!(
        matches!(&threads.source, Source::File { path: FilePath::OfProcess(file), .. } if file == "status")
    );
    assert_eq!(threads.metrics[0].value, Some(ValueType::Int));
    assert_eq!(threads.metrics[0].place, Place::Key("Threads".to_owned()));
    assert_eq!(threads.metrics[1].kind, Some(MetricKind::Counter));
    assert!(matches!(&threads.metrics[1].place, Place::Regex(_)));
    assert!(matches!(&web.source, Source::Http { url, .. } if url == "http://127.0.0.1:8080/status"));
    assert_eq!(web.metrics[0].place, Place::Pointer("/queue/depth".to_owned()));
    assert_eq!(plugin.transforms[0].counters, ["context_switch_count", "other"]);
}

#[test]
fn paths_that_no_collector_may_read() {
    for (path, reason) in [
        (
            "/proc/{pid}/environ",
            "is not among the files of a process that may be read",
        ),
        ("/proc/{pid}/mem", "is not among the files"),
        ("/proc/{pid}/root/etc/shadow", "is not among the files"),
        ("/proc/{pid}/fd/0", "is not among the files"),
        ("/proc/{pid}/cmdline", "is not among the files"),
        ("/proc/1/status", "names one process by its number"),
        ("/proc/self/environ", "names one process"),
        ("/srv/../etc/shadow", "holds . or .."),
        ("/srv/{pid}", "{pid} stands in another place"),
        ("relative", "is not absolute"),
    ] {
        let text = format!(
            "schema = 1\n[[collector]]\nname = 'c'\nkind = 'file'\npath = '{path}'\n[[collector.metric]]\nname = 'a'\nkey \
             = 'b'\n"
        );
        let faults = loaded(&text).faults;
        assert!(
            faults[0].message.contains(reason) && faults[0].line() == Some(5),
            "{path}: {faults:?}"
        );
    }
}

#[test]
fn files_beside_each_other_in_plugins_d() {
    let folder = Folder::new();
    folder.write(
        "plugins.d/web.toml",
        "schema = 1\n[service]\nprocess_name = 'a'\n",
    );
    folder.write(
        "plugins.d/plugin.toml",
        "schema = 1\n[plugin]\nname = 'named'\n[service]\nprocess_name = 'b'\n",
    );
    folder.write("plugins.d/README.md", "no plugin");
    folder.write("other/web.toml", "no plugin");
    let loaded = load_plain(&folder.sources());
    assert_eq!(loaded.faults, []);
    let names: Vec<&str> = loaded.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["named", "web"]);
}
