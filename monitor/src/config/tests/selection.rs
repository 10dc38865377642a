//! Which plugins run, and which source each of their values comes from.

use super::{super::*, Folder, load_plain, variables};

#[test]
fn precedence_of_the_interval() {
    const FLAG: Option<Duration> = Some(Duration::from_secs(1));
    let own = ("MY_APP_INTERVAL", "2");
    let generic = ("COLLECTION_INTERVAL", "4s");
    let native = "schema = 1\n[service]\nprocess_name = 'a'\n[monitoring]\ninterval = 3";
    let native_silent = "schema = 1\n[service]\nprocess_name = 'a'";
    let guide = "[service]\nprocess_name = 'a'\n[monitoring]\ninterval = 5";
    let repository = "[metadata]\nprocess_name = 'a'\n[monitoring]\ndefault_interval = 5";
    for (file, flag, environment, seconds) in [
        (native, FLAG, &[own, generic][..], 1),
        (native, None, &[own, generic][..], 2),
        (native, None, &[generic][..], 3),
        (native_silent, None, &[generic][..], 4),
        (guide, None, &[own, generic][..], 2),
        (guide, None, &[generic][..], 4),
        (guide, None, &[][..], 5),
        (repository, None, &[generic][..], 4),
        (repository, None, &[][..], 5),
        (native_silent, None, &[][..], 60),
        // Overridden, and so not looked at.
        (
            native,
            FLAG,
            &[("MY_APP_INTERVAL", "soon"), ("COLLECTION_INTERVAL", "-1")][..],
            1,
        ),
    ] {
        let folder = Folder::new();
        folder.write("my-app/plugin.toml", file);
        let overrides = Overrides {
            interval: flag,
            ..Overrides::default()
        };
        let loaded = load(&folder.sources(), &variables(environment), &overrides, None);
        assert!(loaded.faults.is_empty(), "{:?}", loaded.faults);
        assert_eq!(
            loaded.plugins[0].interval.as_secs(),
            seconds,
            "{file} {flag:?} {environment:?}"
        );
    }
}

#[test]
fn a_filter_replaces_the_patterns() {
    let folder = Folder::new();
    folder.write(
        "my-app/plugin.toml",
        "[metadata]\nprocess_name='a'\n[monitoring]\nprocess_patterns=['b']",
    );
    let filter = variables(&[("MY_APP_PROCESS_FILTER", "^other$")]);
    let loaded = load(&folder.sources(), &filter, &Overrides::default(), None);
    let patterns: Vec<&str> = loaded.plugins[0]
        .patterns
        .iter()
        .map(regex::Regex::as_str)
        .collect();
    assert_eq!(patterns, ["^other$"]);
    assert_eq!(
        loaded.plugins[0].service.original, "default.a",
        "the service stays the same"
    );
}

/// The variables of a plugin hold for all of its services, and each service, a plugin of its own, has its own.
#[test]
fn variables_of_several_services() {
    let folder = Folder::new();
    let file = "schema = 1\n[service]\nprocess_names = ['Web', 'Worker']\n[monitoring]\ninterval = 30";
    folder.write("shop/plugin.toml", file);
    let shown = |pairs: &[(&str, &str)], flag: Option<u64>| {
        let overrides = Overrides {
            interval: flag.map(std::time::Duration::from_secs),
            ..Overrides::default()
        };
        let loaded = load(&folder.sources(), &variables(pairs), &overrides, None);
        assert!(loaded.faults.is_empty(), "{pairs:?}: {:?}", loaded.faults);
        let plugins = loaded.plugins.iter().map(|plugin| {
            let patterns: Vec<&str> = plugin.patterns.iter().map(regex::Regex::as_str).collect();
            let (name, service) = (&plugin.name, &plugin.service.original);
            format!(
                "{name} {service} {} {}s",
                patterns.join(","),
                plugin.interval.as_secs()
            )
        });
        plugins.collect::<Vec<_>>()
    };
    type Case<'a> = (&'a [(&'a str, &'a str)], [&'a str; 2]);
    let cases: [Case<'_>; 7] = [
        (
            &[],
            [
                "shop-web default.Web Web 30s",
                "shop-worker default.Worker Worker 30s",
            ],
        ),
        (
            &[("SHOP_INTERVAL", "5")],
            [
                "shop-web default.Web Web 5s",
                "shop-worker default.Worker Worker 5s",
            ],
        ),
        (
            &[("SHOP_INTERVAL", "5"), ("SHOP_WEB_INTERVAL", "7")],
            [
                "shop-web default.Web Web 7s",
                "shop-worker default.Worker Worker 5s",
            ],
        ),
        (
            &[("SHOP_WEB_PROCESS_FILTER", "^web2$")],
            [
                "shop-web default.Web ^web2$ 30s",
                "shop-worker default.Worker Worker 30s",
            ],
        ),
        // Other services in place of the file's; one that has a name of the file's is that one.
        (
            &[("SHOP_PROCESS_FILTER", "^web$, Db{1,2}")],
            [
                "shop-web default.Web ^web$ 30s",
                "shop-db-1-2 default.Db{1,2} Db{1,2} 30s",
            ],
        ),
        (
            &[
                ("SHOP_PROCESS_FILTER", "web,db"),
                ("SHOP_DB_PROCESS_FILTER", "^db2$"),
                ("SHOP_DB_INTERVAL", "2"),
            ],
            ["shop-web default.Web web 30s", "shop-db default.db ^db2$ 2s"],
        ),
        (
            &[("SHOP_WORKER_INTERVAL", "1m"), ("COLLECTION_INTERVAL", "9")],
            [
                "shop-web default.Web Web 30s",
                "shop-worker default.Worker Worker 60s",
            ],
        ),
    ];
    for (pairs, expected) in cases {
        assert_eq!(shown(pairs, None), expected, "{pairs:?}");
    }
    let flag = shown(&[("SHOP_WEB_INTERVAL", "7"), ("SHOP_INTERVAL", "5")], Some(3));
    assert_eq!(
        flag,
        [
            "shop-web default.Web Web 3s",
            "shop-worker default.Worker Worker 3s"
        ]
    );
    for (pair, part) in [
        (
            ("SHOP_PROCESS_FILTER", "["),
            "SHOP_PROCESS_FILTER: \"[\" is not a valid regular expression",
        ),
        (
            ("SHOP_PROCESS_FILTER", "web,^web$"),
            "SHOP_PROCESS_FILTER: \"^web$\" makes the same service",
        ),
        (
            ("SHOP_PROCESS_FILTER", "web,.*"),
            "SHOP_PROCESS_FILTER: \".*\" has no letter",
        ),
        (
            ("SHOP_WEB_PROCESS_FILTER", "("),
            "SHOP_WEB_PROCESS_FILTER: \"(\" is not a valid",
        ),
        (
            ("SHOP_WORKER_INTERVAL", "soon"),
            "SHOP_WORKER_INTERVAL: \"soon\" is not a length of time",
        ),
    ] {
        let loaded = load(
            &folder.sources(),
            &variables(&[pair]),
            &Overrides::default(),
            None,
        );
        let told: Vec<String> = loaded.faults.iter().map(ToString::to_string).collect();
        assert!(
            told.iter().any(|fault| fault.contains(part)),
            "{pair:?}: {told:?}"
        );
    }
    folder.write(
        "shop_web/plugin.toml",
        "schema = 1\n[service]\nprocess_name = 'a'",
    );
    let loaded = load_plain(&folder.sources());
    let told = loaded.faults.iter().map(ToString::to_string).collect::<String>();
    assert!(
        told.contains("share the environment variables SHOP_WEB_*"),
        "{told}"
    );
}

#[test]
fn ad_hoc_plugins() {
    let folder = Folder::new();
    folder.write("nginx/plugin.toml", "schema = 1\nservice.process_name = 'x'");
    folder.write("broken/plugin.toml", "=");
    let process_names = vec!["^nginx$".to_owned(), "Nginx".to_owned(), ".*".to_owned()];
    let alone = PluginSources {
        process_names,
        ..PluginSources::default()
    };
    let seconds = variables(&[("COLLECTION_INTERVAL", "7")]);
    let loaded = load(&alone, &seconds, &Overrides::default(), None);
    let shown: Vec<_> = loaded
        .plugins
        .iter()
        .map(|p| (p.name.as_str(), p.service.id.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("nginx", "kevmon_nginx"),
            ("nginx-2", "kevmon_nginx_2"),
            ("unknown", "kevmon_unknown")
        ]
    );
    assert!(
        loaded
            .plugins
            .iter()
            .all(|p| p.interval.as_secs() == 7 && p.origin.is_none())
    );
    assert!(
        loaded.faults.is_empty() && loaded.warnings.is_empty(),
        "{loaded:?}"
    );

    let beside = PluginSources {
        directories: vec![folder.path().to_owned()],
        ..alone
    };
    let loaded = load_plain(&beside);
    assert_eq!(loaded.faults, [], "no file is read");
    assert_eq!(loaded.warnings[0].key.as_deref(), Some("--plugins-dir"));

    let loaded = load_plain(&PluginSources {
        plugins: vec!["nginx".to_owned()],
        ..beside
    });
    let names: Vec<&str> = loaded.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["nginx", "nginx-2", "nginx-3", "unknown"]);
}

#[test]
fn disabled_plugins_and_the_selection() {
    let folder = Folder::new();
    folder.write("on/plugin.toml", "[service]\nprocess_name = 'a'");
    folder.write(
        "off/plugin.toml",
        "[service]\nprocess_name = 'b'\n[monitoring]\nenabled = false",
    );
    let sources = folder.sources();
    let loaded = load_plain(&sources);
    assert_eq!(
        loaded.disabled,
        [Disabled {
            name: "off".to_owned(),
            path: folder.path().join("off/plugin.toml"),
            reason: None,
        }]
    );
    assert_eq!((loaded.plugins.len(), loaded.faults.len()), (1, 0));

    let plugins = ["on", "off", "onn", "else"].map(str::to_owned).to_vec();
    let loaded = load_plain(&PluginSources { plugins, ..sources });
    assert_eq!(
        folder.lines(&loaded.faults),
        [
            "command line: --plugin: there is no plugin \"else\"; known: off, on",
            "command line: --plugin: \"off\" is switched off in off/plugin.toml; set monitoring.enabled = true there",
            "command line: --plugin: there is no plugin \"onn\"; did you mean on? known: off, on",
        ]
    );
    assert_eq!(loaded.plugins.len(), 1);
}

#[test]
fn warnings_are_of_what_runs() {
    let folder = Folder::new();
    folder.write(
        "a/plugin.toml",
        "[service]\nprocess_name = 'a'\n[dependencies]\npackages = ['a']",
    );
    folder.write(
        "b/plugin.toml",
        "[service]\nprocess_name = 'b'\n[dependencies]\npackages = ['b']",
    );
    assert_eq!(load_plain(&folder.sources()).warnings.len(), 2);
    let only = PluginSources {
        plugins: vec!["b".to_owned()],
        ..folder.sources()
    };
    assert_eq!(
        folder.lines(&load_plain(&only).warnings),
        ["b/plugin.toml:4: accepted, without effect in kevmon: dependencies.packages"]
    );
}
