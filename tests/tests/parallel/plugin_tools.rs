//! `kevmon plugin …` with the real binary, on good and on bad input; imports are in plugin_import.rs.

use std::{
    ffi::CString,
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::PathBuf,
    process::Command,
};

use kevmon_tests::{
    executable,
    plugin_dir::{PluginDir, published_names},
    plugin_tool::{assert_told, fixture, plugin},
    scratch::Scratch,
    workload::Program,
};
use serde_json::Value as Json;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn a_new_plugin_is_sound_tested_and_never_overwritten() {
    let scratch = Scratch::new();
    let directory = scratch.path().to_str().unwrap();
    let program = Program::new(WORKLOAD, "new");
    let _running = program.start(&["idle"]);
    let new = || {
        plugin(&[
            "new",
            "web",
            "--process-name",
            program.name(),
            "--directory",
            directory,
        ])
    };
    new().assert_code(0);
    let folder = format!("{directory}/web");
    let checked = plugin(&["check", &folder]);
    checked.assert_code(0);
    assert_told(
        &checked,
        &[
            "matches 1 process now",
            "2 names as expect.toml expects",
            program.name(),
        ],
    );

    let before = fs::read(format!("{folder}/plugin.toml")).unwrap();
    let again = new();
    again.assert_code(2);
    assert_told(&again, &["exists already"]);
    assert_eq!(fs::read(format!("{folder}/plugin.toml")).unwrap(), before);

    // The test fails when the pattern no longer does what it is for.
    let text = String::from_utf8(before).unwrap();
    fs::write(
        format!("{folder}/plugin.toml"),
        text.replace(program.name(), "kvt-other"),
    )
    .unwrap();
    let broken = plugin(&["check", &folder]);
    broken.assert_code(2);
    assert_told(&broken, &["expect.toml", "no plugin of this folder matches"]);

    for (name, process) in [("../x", "x"), ("", "x"), ("x", ""), ("x", "("), ("..", "x")] {
        let refused = plugin(&["new", name, "--process-name", process, "--directory", directory]);
        refused.assert_code(2);
        assert_told(&refused, &["; "]);
    }
    assert_eq!(
        fs::read_dir(scratch.path()).unwrap().count(),
        1,
        "nothing else was written"
    );
}

#[test]
fn check_tells_faults_members_and_near_misses() {
    let folder = PluginDir::new();
    let program = Program::new(WORKLOAD, "nearly-so");
    let _running = program.start(&["idle"]);
    let written = |pattern: &str| format!("schema = 1\n[service]\nprocess_name = \"{pattern}\"\n");
    folder.write("member", &written(program.name()));
    let cut = &program.name()[..program.name().len() - 1];
    folder.write("anchored", &written(&format!("^{cut}$")));
    folder.write("letter", &written(&format!("{}y", program.name())));
    let output = plugin(&["check", "--json", folder.path()]);
    output.assert_code(0);
    let report: Json = serde_json::from_str(&output.stdout).unwrap();
    let of = |name: &str, key: &str| {
        let plugins = report["plugins"].as_array().unwrap();
        let plugin = plugins.iter().find(|plugin| plugin["plugin"] == name).unwrap();
        plugin[key].as_array().unwrap().clone()
    };
    assert_eq!(of("member", "matches")[0]["matched"], program.name());
    assert!(of("member", "matches")[0]["user"].is_string());
    for (name, reason) in [("anchored", "without the anchors"), ("letter", "in one letter")] {
        assert_eq!(of(name, "matches"), Vec::<Json>::new(), "{name}");
        let misses = of(name, "near_misses");
        let told = misses
            .iter()
            .any(|miss| miss["reason"].as_str().unwrap().contains(reason));
        assert!(told, "{name}: {misses:?}");
    }

    // What descends from a member is one, where the plugin says so.
    let mark = format!("kvt-family-{}", std::process::id());
    folder.write("family", &(written(&format!("^{mark}$")) + "children = true\n"));
    let mut parent = Command::new("bash");
    let parent = parent.arg0(&mark).args(["-c", "sleep 60; :"]).process_group(0);
    let mut parent = parent.spawn().unwrap();
    let family = || {
        let output = plugin(&["check", "--json", folder.path()]);
        let report: Json = serde_json::from_str(&output.stdout).unwrap();
        let plugins = report["plugins"].as_array().unwrap();
        let plugin = plugins
            .iter()
            .find(|plugin| plugin["plugin"] == "family")
            .unwrap();
        plugin["matches"].as_array().unwrap().clone()
    };
    let members = (0..20)
        .map(|_| family())
        .find(|members| members.len() == 2)
        .unwrap();
    assert_eq!(members[0]["matched"], mark);
    assert_eq!(members[1]["matched"], format!("child of {}", parent.id()));
    let group = i32::try_from(parent.id()).unwrap();
    // SAFETY: kill(2) takes plain integers; the group is our child's own.
    assert_eq!(unsafe { libc::kill(-group, libc::SIGKILL) }, 0);
    parent.wait().unwrap();

    let faulty = folder.write("faulty", "schema = 1\n[service]\nproces_name = \"x\"\n");
    for path in [folder.path(), faulty.to_str().unwrap()] {
        let output = plugin(&["check", path]);
        output.assert_code(2);
        assert_told(&output, &[&format!("{}:3", faulty.display()), "process_name"]);
    }
    // One good file alone is not blamed for its neighbour.
    let good = folder.write("member", &written(program.name()));
    plugin(&["check", good.to_str().unwrap()]).assert_code(0);
    let missing = plugin(&["check", "/no/such/folder"]);
    missing.assert_code(2);
    assert_told(&missing, &["/no/such/folder: ", "name a plugin file"]);
    let reserved = plugin(&[
        "new",
        "collection",
        "--process-name",
        "a",
        "--directory",
        folder.path(),
    ]);
    reserved.assert_code(2);
    assert_told(&reserved, &["take another name"]);
}

#[test]
fn shipped_and_published_plugin_files_pass() {
    let _names = published_names();
    let shipped = PluginDir::shipped();
    let output = plugin(&["check", shipped.to_str().unwrap()]);
    output.assert_code(0);
    assert_told(
        &output,
        &["m8refsvr", "m8prcsvr", "m8mulprc", "mstrsvr", "kevmon"],
    );
    let guide = fixture("guide/plugin.toml");
    plugin(&["check", &guide]).assert_code(0);
    // Each with a process of the name that it asks for.
    let published = PathBuf::from(&guide)
        .parent()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let shipped = shipped.to_str().unwrap();
    for (folder, name, process) in [
        (&*published, "myapp", "MyApp"),
        (shipped, "m8refsvr", "M8RefSvr"),
        (shipped, "m8prcsvr", "M8PrcSvr"),
        (shipped, "m8mulprc", "M8MulPrc"),
        (shipped, "mstrsvr", "MstrSvr"),
    ] {
        let program = Program::new(WORKLOAD, process);
        let _running = program.start(&["work"]);
        let run = plugin(&[
            "run",
            name,
            "--plugins-dir",
            folder,
            "--interval",
            "500ms",
            "--count",
            "1",
        ]);
        run.assert_code(0);
        for value in ["process_count 1\n", "thread_count 1\n"] {
            assert_told(&run, &[&format!("[{name}()] {value}")]);
        }
    }
}

#[test]
fn list_tells_every_state() {
    let folder = PluginDir::new();
    folder.write(
        "on",
        "schema = 1\n[service]\nprocess_name = \"x\"\n[monitoring]\ninterval = 7\n",
    );
    folder.write(
        "off",
        "schema = 1\n[service]\nprocess_name = \"x\"\n[monitoring]\nenabled = false\n",
    );
    let args = ["list", "--json", "--plugins-dir", folder.path()];
    let output = plugin(&args);
    output.assert_code(0);
    let states: Vec<Json> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(states.len(), 2, "{states:?}");
    assert_eq!(
        (&states[0]["plugin"], &states[0]["interval_ms"]),
        (&"on".into(), &7000.into())
    );
    assert_eq!(states[1]["state"], "disabled");
    folder.write("bad", "[plugin\n");
    let output = plugin(&["list", "--plugins-dir", folder.path()]);
    output.assert_code(2);
    assert_told(&output, &["faulty", "bad/plugin.toml"]);
}

#[test]
fn run_prints_every_value_of_one_plugin() {
    let folder = PluginDir::new();
    let program = Program::new(WORKLOAD, "run");
    let _running = program.start(&["idle"]);
    let text = format!(
        "schema = 1\n[service]\nprocess_name = \"{}\"\n[processes]\nenabled = true\n",
        program.name()
    );
    folder.write("web", &text);
    folder.write("other", "[plugin\n");
    let args = [
        "run",
        "web",
        "--plugins-dir",
        folder.path(),
        "--interval",
        "200ms",
        "--count",
        "2",
    ];
    let output = plugin(&args);
    output.assert_code(0);
    let counts = output
        .stdout
        .lines()
        .filter(|line| line.contains(" [web()] process_count 1"));
    assert_eq!(counts.count(), 2, "{}", output.stdout);
    for line in output.stdout.lines() {
        let (time, rest) = line.split_at(24);
        assert!(time.ends_with('Z') && &time[10..11] == " ", "{line}");
        assert!(
            rest.starts_with(" [web()] ") && rest.split(' ').count() >= 4,
            "{line}"
        );
    }
    let own = |line: &&str| line.contains("per_process.") && line.contains(" process.pid=");
    assert!(output.stdout.lines().any(|line| own(&line)), "{}", output.stdout);

    for (args, text) in [
        (
            &["run", "wep", "--plugins-dir", folder.path()][..],
            "did you mean web",
        ),
        (&["run", "web", "--set", "novalue"], "KEY=VALUE"),
        (&["run", "web", "--count", "0"], "count"),
        (&["run", "web", "--interval", "1ms"], "interval"),
        (&["run", "web", "-c", "{ a: [1] }"], "no single value"),
        (&["run", "web", "-c", "{ a: "], "value"),
    ] {
        let output = plugin(args);
        output.assert_code(2);
        assert_told(&output, &[text]);
    }
}

/// What is no file is refused at once, wherever the tools read one.
#[test]
fn nothing_waits_for_what_is_no_file() {
    let folder = PluginDir::new();
    let file = folder.write("plain", "schema = 1\n[service]\nprocess_name = 'kvt-nobody'\n");
    let fifo = file.with_file_name("expect.toml");
    let path = CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o644) }, 0);
    let fifo = fifo.to_str().unwrap();
    for args in [
        &["check", folder.path()][..],
        &["import", fifo],
        &["import", &fixture("agent.json"), "--module", fifo],
    ] {
        let output = plugin(args);
        output.assert_code(2);
        assert_told(&output, &[fifo, "is not a regular file"]);
    }
    fs::remove_file(fifo).unwrap();
    symlink("/no/such/expectations", fifo).unwrap();
    let dangling = plugin(&["check", folder.path()]);
    dangling.assert_code(2);
    assert_told(&dangling, &["cannot be read"]);
}

#[test]
fn what_comes_to_nothing_is_said() {
    let folder = PluginDir::new();
    let text = "schema = 1\n[[instance]]\nid = 'a'\n[[instance]]\nid = 'b'\n[service]\nprocess_name = 'kvt-nobody'\n\
                [metrics]\ninclude = ['cpu_usag']\n[transforms]\nelsewhere = 'rate:r:count'\n\
                [[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['./absent.sh']\nuser = 'kvt-no-such-user'\n\
                [[collector.metric]]\nname = 'cpu_usage'\n";
    folder.write("doubtful", text);
    let checked = plugin(&["check", folder.path()]);
    checked.assert_code(0);
    assert_told(
        &checked,
        &[
            "metrics.include: \"cpu_usag\" fits no metric",
            "transforms: there is no collector \"elsewhere\"",
            "absent.sh cannot be found",
            "knows no user \"kvt-no-such-user\"",
            "cpu_usage is one of kevmon's own metrics",
        ],
    );
    assert!(
        !checked.stdout.contains("both shown"),
        "instances share a name: {}",
        checked.stdout
    );
}

#[test]
fn a_program_that_anybody_can_write_is_not_run() {
    let folder = PluginDir::new();
    let text = "schema = 1\n[[collector]]\nname = 'c'\nkind = 'command'\ncommand = ['./c.sh']\n";
    let program = folder.write("told", text).with_file_name("c.sh");
    executable::write(
        &program,
        "#!/bin/sh\necho complaint >&2\necho 'value 1'\necho '9x 1'\necho 'y'\n",
    );
    for part in program.ancestors().take(3) {
        fs::set_permissions(part, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = || {
        plugin(&[
            "run",
            "told",
            "--plugins-dir",
            folder.path(),
            "--interval",
            "500ms",
            "--count",
            "1",
        ])
    };
    let well = run();
    well.assert_code(0);
    assert_told(
        &well,
        &["[told()] value 1", "stderr: complaint", "line 2: ", "line 3: "],
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).unwrap();
    for output in [run(), plugin(&["check", folder.path()])] {
        output.assert_code(2);
        assert_told(&output, &["every user can write it", "chmod o-w"]);
        assert!(!output.stdout.contains("value 1"), "{}", output.stdout);
    }
    // Nothing but failures.
    executable::write(&program, "#!/bin/sh\necho '9x 1'\n");
    run().assert_code(4);
}
