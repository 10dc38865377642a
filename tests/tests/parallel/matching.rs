//! Which of a process's names a plugin looks at: `match = "name"`, `"exe"` and `"cmdline"`.

use std::{os::unix::process::CommandExt, process::Command, time::Duration};

use kevmon_tests::{
    checks,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    scratch,
    tick::Tick,
    truth::{self, Truth},
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(10);

/// A plugin called `name` whose `pattern` is looked for in what `by` says.
fn write(folder: &PluginDir, name: &str, by: &str, pattern: &str) {
    let text = format!(
        "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nnamespace = \"Kvt\"\n\
         process_name = '{pattern}'\nmatch = \"{by}\"\n[monitoring]\ninterval = \"200ms\"\n"
    );
    folder.write(name, &text);
}

/// The members of each plugin, by pid.
fn members(tick: &Tick, plugin: &str) -> Vec<u32> {
    let group = tick.expect_group(plugin);
    group.members().iter().map(|member| member.pid).collect()
}

#[test]
fn each_way_to_match_looks_at_its_own_names() {
    let unique = scratch::unique();
    let program = Program::new(WORKLOAD, "a-program-of-more-than-fifteen-bytes");
    let arg0 = format!("kvt-argv0-of-more-than-fifteen-bytes-{unique}");
    let argument = format!("--of-no-meaning-{unique}");
    let folder = PluginDir::new();
    for by in ["name", "exe", "cmdline"] {
        write(&folder, &format!("{by}-program"), by, &program.pattern());
        write(&folder, &format!("{by}-arg0"), by, &format!("^{arg0}$"));
        write(&folder, &format!("{by}-argument"), by, &argument);
    }
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let mut command = Command::new(program.path());
    command.arg0(&arg0).args(["idle", &argument]);
    let running = Running::start(command);
    let tick = daemon.wait_until("a member", LIMIT, |tick| {
        tick.group("exe-program")
            .is_some_and(|group| group.int("process_count") == 1)
    });
    let tick = daemon.tick_after(tick.time(), Duration::from_millis(1), LIMIT);
    for (plugin, matches) in [
        ("name-program", true),
        ("name-arg0", true),
        ("name-argument", false),
        ("exe-program", true),
        ("exe-arg0", false),
        ("exe-argument", false),
        // The whole line, arguments and all: anchored at both ends, neither name is all of it.
        ("cmdline-program", false),
        ("cmdline-arg0", false),
        ("cmdline-argument", true),
    ] {
        let expected = if matches { vec![running.pid()] } else { Vec::new() };
        assert_eq!(members(&tick, plugin), expected, "{plugin}: {}", tick.0);
    }
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let tick = daemon.tick_after(ended.truth.last_reap, Duration::from_millis(500), LIMIT);
    for plugin in ["name-program", "name-arg0", "exe-program", "cmdline-argument"] {
        let group = tick.expect_group(plugin);
        assert_eq!(group.int("starts"), 1, "{}", group.0);
        checks::assert_equals_truth(group, &ended.truth);
    }
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
}

#[test]
fn the_same_from_a_snapshot() {
    let unique = scratch::unique();
    let program = Program::new(WORKLOAD, "found-under-a-name-of-more-than-fifteen-bytes");
    let argument = format!("--found-{unique}");
    let running = program.start(&["idle", &argument]);
    let folder = PluginDir::new();
    write(&folder, "by-exe", "exe", &program.pattern());
    write(&folder, "by-cmdline", "cmdline", &format!("{argument}$"));
    write(&folder, "by-neither", "exe", &argument);
    let daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let tick = daemon.ticks()[0].clone();
    for (plugin, expected) in [
        ("by-exe", vec![running.pid()]),
        ("by-cmdline", vec![running.pid()]),
        ("by-neither", Vec::new()),
    ] {
        assert_eq!(members(&tick, plugin), expected, "{plugin}: {}", tick.0);
    }
    assert_eq!(running.finish().status, 0);
    daemon.terminate();
}

#[test]
fn short_lives_told_apart_by_their_arguments() {
    let program = Program::new(WORKLOAD, "instances");
    let folder = PluginDir::new();
    for instance in ["one", "other"] {
        let pattern = format!("^{} burn .*--instance={instance}$", program.path_text());
        write(&folder, instance, "cmdline", &pattern);
    }
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let (mut of_one, mut of_other) = (Truth::default(), Truth::default());
    for _ in 0..10 {
        let burn = |work: &[&str]| truth::spawn(&program, work).reap().truth;
        of_one += burn(&["burn", "--cpu-ms", "2", "--instance=one"]);
        of_other += burn(&["burn", "--sleeps", "3", "--cpu-ms", "1", "--instance=other"]);
    }
    let since = of_one.last_reap.max(of_other.last_reap);
    let tick = daemon.tick_after(since, Duration::from_millis(500), LIMIT);
    for (plugin, truth) in [("one", &of_one), ("other", &of_other)] {
        let group = tick.expect_group(plugin);
        assert_eq!(group.int("starts"), 10, "{}", group.0);
        checks::assert_equals_truth(group, truth);
    }
    daemon.terminate();
}

#[test]
fn an_exe_does_not_change_by_a_new_title() {
    let program = Program::new(WORKLOAD, "titled");
    let folder = PluginDir::new();
    let title = format!("kvt{}", scratch::unique());
    assert!(title.len() <= 15, "{title}");
    write(&folder, "by-exe", "exe", &program.pattern());
    write(&folder, "by-exe-title", "exe", &title);
    write(&folder, "by-name-title", "name", &format!("^{title}$"));
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let mut running = program.start(&["title"]);
    daemon.wait_until("it", LIMIT, |tick| {
        tick.group("by-exe")
            .is_some_and(|group| group.int("process_count") == 1)
    });
    assert_eq!(running.ask(&title), "ok");
    let tick = daemon.wait_until("its new name", LIMIT, |tick| {
        tick.group("by-name-title")
            .is_some_and(|group| group.int("process_count") == 1)
    });
    assert_eq!(members(&tick, "by-exe"), [running.pid()], "{}", tick.0);
    assert_eq!(members(&tick, "by-exe-title"), [0; 0], "{}", tick.0);
    assert_eq!(running.finish().status, 0);
    let tick = daemon.wait_until("its end", LIMIT, |tick| {
        tick.group("by-exe").is_some_and(|group| group.int("exits") == 1)
    });
    let group = tick.expect_group("by-exe");
    assert_eq!((group.int("leaves"), group.int("joins")), (0, 0), "{}", group.0);
    daemon.terminate();
}
