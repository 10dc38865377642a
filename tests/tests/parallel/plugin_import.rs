//! `kevmon plugin import`: every published example becomes a plugin that is accepted and runs; what is none is refused.

use std::{fs, os::unix::fs::PermissionsExt};

use kevmon_tests::{
    plugin_dir::{PluginDir, published_names},
    plugin_tool::{assert_told, fixture, plugin},
    scratch::Scratch,
};

#[test]
fn every_published_example_is_imported() {
    let _names = published_names();
    let scratch = Scratch::new();
    let output = scratch.path().to_str().unwrap();
    let module = fixture("random_coin_test.py");
    for (file, extra, name, texts) in [
        (
            "one_name/__init__.py",
            &[][..],
            "myapp",
            &["process_name = \"MyApp\""][..],
        ),
        (
            "complete/__init__.py",
            &[],
            "webserver",
            &["namespace = \"WebInfrastructure\""],
        ),
        (
            "agent.json",
            &["--module", &module],
            "random_coin_test",
            &["max = 10.0", "value = 8.5"],
        ),
        (
            "tutorial.panoptes-plugin",
            &[],
            "tutorial-plugin",
            &["rate:example:context_switch_count"],
        ),
    ] {
        let file = fixture(file);
        let imported = plugin(&[&["import", &file, "--output", output], extra].concat());
        imported.assert_code(0);
        let text = fs::read_to_string(scratch.path().join(name).join("plugin.toml")).unwrap();
        texts
            .iter()
            .for_each(|part| assert!(text.contains(part), "no {part} in:\n{text}"));
        let again = plugin(&[&["import", &file, "--output", output], extra].concat());
        again.assert_code(2);
        assert_told(&again, &["exists already"]);
        let printed = plugin(&[&["import", &file], extra].concat());
        assert_eq!(printed.stdout, text, "printed as written");
    }
    let names = plugin(&["import", &fixture("names/__init__.py")]);
    names.assert_code(0);
    assert_told(
        &names,
        &["process_names = [\"MyAppWeb\", \"MyAppWorker\", \"MyAppDB\"]"],
    );
    let coin = plugin(&["import", &fixture("agent.json")]);
    assert_told(&coin, &["agent.json:2: …", "--module FILE"]);
    // Those that ask for nothing but processes are checked and run.
    for name in ["myapp", "webserver"] {
        let folder = scratch.path().join(name);
        let folder = folder.to_str().unwrap();
        plugin(&["check", folder]).assert_code(0);
        let run = plugin(&[
            "run",
            name,
            "--plugins-dir",
            folder,
            "--interval",
            "100ms",
            "--count",
            "1",
        ]);
        run.assert_code(0);
        assert_told(&run, &["process_count 0"]);
    }
}

/// Imports a file and its module into a folder that the collectors' user may enter, for the runner of this repository.
fn imported_with(file: &str, module: &str, name: &str) -> Scratch {
    let scratch = Scratch::new();
    let output = scratch.path().to_str().unwrap();
    let imported = plugin(&["import", file, "--module", module, "--output", output]);
    imported.assert_code(0);
    let folder = scratch.path().join(name);
    for path in [scratch.path(), &folder] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let runners = PluginDir::shipped().join("runners").canonicalize().unwrap();
    let file = folder.join("plugin.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("command = [\"kevmon-"), "{text}");
    let text = text.replace("[\"kevmon-", &format!("[\"{}/kevmon-", runners.display()));
    fs::write(&file, text).unwrap();
    scratch
}

/// Scalyr's tutorial monitor, as it is, with the module's own bounds.
#[test]
fn an_imported_scalyr_monitor_runs() {
    let module = fixture("random_coin_test.py");
    let name = "random_coin_test";
    let folder = imported_with(&fixture("agent.json"), &module, name);
    let run = |settings: &[&str]| {
        let folder = folder.path().to_str().unwrap();
        let args = [
            "run",
            name,
            "--plugins-dir",
            folder,
            "--interval",
            "500ms",
            "--count",
            "2",
        ];
        plugin(&[&args[..], settings].concat())
    };
    let steady = run(&["--set", "gauss_stddev=0"]);
    steady.assert_code(0);
    assert_told(
        &steady,
        &[
            " [random_coin_test()] gauss 8.5 count=1\n",
            " [random_coin_test()] uniform 0.",
        ],
    );
    let wide = run(&["--set", "gauss_stddev=5.5"]);
    wide.assert_code(2);
    assert_told(&wide, &["5.5 is out of bounds; write 0 to 5"]);
    let far = run(&["--set", "gauss_mean=10.5"]);
    far.assert_code(2);
    assert_told(&far, &["10.5 is out of bounds; write 0 to 10"]);
}

/// Panoptes' tutorial plugin with its transform, counting what the host counts, once somebody has named this host.
#[test]
fn an_imported_panoptes_plugin_runs() {
    let scratch = Scratch::new();
    let module = scratch.path().join("tutorial_polling_plugin.py");
    let tutorial = include_str!("../../fixtures/runners/tutorial_plugin.py");
    let switches = "[int(line.split()[1]) for line in open('/proc/stat') if line.startswith('ctxt')][0]";
    let counting = tutorial.replace(
        "'context_switch_count', 50,",
        &format!("'context_switch_count', {switches},"),
    );
    assert_ne!(counting, tutorial);
    fs::write(&module, counting).unwrap();
    let name = "tutorial-plugin";
    let folder = imported_with(
        &fixture("tutorial.panoptes-plugin"),
        module.to_str().unwrap(),
        name,
    );
    let run = || {
        let folder = folder.path().to_str().unwrap();
        plugin(&[
            "run",
            name,
            "--plugins-dir",
            folder,
            "--interval",
            "1s",
            "--count",
            "3",
        ])
    };
    // It is for the tutorial's device alone.
    let elsewhere = run();
    assert_ne!(elsewhere.code, Some(0));
    assert_told(&elsewhere, &["resource_filter"]);
    let file = folder.path().join(name).join("plugin.toml");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("tutorial_device", host.trim())).unwrap();
    let here = run();
    here.assert_code(0);
    assert_told(&here, &["[tutorial-plugin()] cpu_load 0.3 ", "cpu_no=5"]);
    let values = |metric: &str| -> Vec<f64> {
        let start = format!("[tutorial-plugin()] {metric} ");
        let lines = here.stdout.lines();
        let values = lines.filter_map(|line| line.split_once(&start)?.1.split(' ').next()?.parse().ok());
        values.collect()
    };
    let (counts, rates) = (
        values("context_switch_count"),
        values("context_switch_count_rate"),
    );
    assert_eq!((counts.len(), rates.len()), (3, 2), "{}", here.stdout);
    // The interval is a second, give or take what the program's start takes.
    for (pair, rate) in counts.windows(2).zip(rates) {
        let grown = pair[1] - pair[0];
        assert!(
            grown > 0.0 && rate > grown / 2.0 && rate < grown * 2.0,
            "{}",
            here.stdout
        );
    }
}

/// A module alone becomes a plugin that runs it.
#[test]
fn a_module_of_python_is_imported_and_copied() {
    let scratch = Scratch::new();
    let output = scratch.path().to_str().unwrap();
    for (module, name, parts) in [
        (
            "random_coin_monitor",
            "random_coin_monitor",
            &["stream = true", "kevmon-scalyr-runner", "max = 10.0"][..],
        ),
        (
            "tutorial_plugin",
            "tutorial_plugin",
            &["kevmon-panoptes-runner", "format = \"panoptes\""],
        ),
    ] {
        let file = fixture(&format!("../runners/{module}.py"));
        plugin(&["import", &file, "--output", output]).assert_code(0);
        let folder = scratch.path().join(name);
        let text = fs::read_to_string(folder.join("plugin.toml")).unwrap();
        parts
            .iter()
            .for_each(|part| assert!(text.contains(part), "no {part} in:\n{text}"));
        let copied = fs::read_to_string(folder.join(format!("{module}.py"))).unwrap();
        assert_eq!(copied, fs::read_to_string(&file).unwrap(), "unchanged");
    }
    let variables = fixture("variables/__init__.py");
    let imported = plugin(&["import", &variables]);
    imported.assert_code(0);
    assert_told(
        &imported,
        &[
            "process_name = \"MyApp\"",
            "interval = 60",
            "__init__.py:5: COLLECTION_INTERVAL is taken as it is where \"MYAPP_INTERVAL\" is not set",
        ],
    );
    assert!(
        !imported.stdout.contains("\naggregate"),
        "as plugin.toml of the same plugin has it"
    );
}

#[test]
fn what_is_no_configuration_is_refused_with_its_place() {
    let scratch = Scratch::new();
    let write = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // A value that no plugin file can have is left out and said, not written.
    let odd = b"[Core]\nName = Odd\nModule = /x/odd.py\n[main]\nexecute_frequency = 60\nresource_filter = nonsense(1)\n\
        namespace = metrics\n";
    let odd = plugin(&["import", &write("odd.panoptes-plugin", odd)]);
    odd.assert_code(0);
    assert_told(
        &odd,
        &[
            "monitoring.resource_filter is not carried over: ",
            "\n# not carried over: resource_filter = ",
        ],
    );
    for (file, text) in [
        (
            write("x.json", b"{ monitors: [\n{ module: \"a\", x } ] }"),
            "line 2",
        ),
        (write("x.py", b"PROCESS_NAME = 'a"), "line 1"),
        (write("x.txt", b"\xff\x00"), "UTF-8"),
        (write("y.txt", b"hello"), "neither"),
        (
            write("c.py", b"import x\nPROCESS_NAMES = [\"web\", f\"x{1}\"]\n"),
            "line 2: PROCESS_NAMES",
        ),
        (write("z.py", &vec![b'#'; (1 << 20) + 1]), "1048576"),
        ("/no/such/file".to_owned(), "/no/such/file"),
    ] {
        let output = plugin(&["import", &file]);
        output.assert_code(2);
        assert_told(&output, &[text, "; "]);
    }
}
