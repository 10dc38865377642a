//! Members by more than names, on the real kernel: by user, also one that is taken after the fork; by cgroup; by descent; and
//! that no command line leaves the host unasked.

use std::{fs, os::unix::process::CommandExt, path::Path, process::Command, time::Duration};

use kevmon_tests::{
    cgroup::unified, kevmon::Daemon, plugin_dir::PluginDir, receiver::Receiver, scratch::Scratch,
    tick::Group, workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(15);
/// nobody.
const OTHER: u32 = 65534;

fn folder(service: &str, rest: &str) -> PluginDir {
    let folder = PluginDir::new();
    let text = format!(
        "schema = 1\n[plugin]\nname = \"chosen\"\n[service]\nnamespace = \"Kvt\"\n{service}\n[monitoring]\ninterval = \
         \"200ms\"\n{rest}\n"
    );
    folder.write("chosen", &text);
    folder
}

fn members(group: Group<'_>) -> Vec<u64> {
    let all = group.0["processes"].as_array().unwrap();
    all.iter().map(|member| member["pid"].as_u64().unwrap()).collect()
}

#[test]
fn whose_a_process_is() {
    let program = Program::new(WORKLOAD, "owned");
    let own = program.start(&["work"]);
    let folder = folder(
        &format!("process_name = '{}'\nuser = \"nobody\"", program.pattern()),
        "",
    );
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    // Started as another user, …
    let mut other = Command::new("/bin/sleep");
    let mut other = other.arg0(program.name()).arg("60").uid(OTHER).spawn().unwrap();
    let pid = u64::from(other.id());
    let tick = daemon.wait_until("the other user's", LIMIT, |tick| {
        tick.group("chosen").is_some_and(|group| members(group) == [pid])
    });
    assert_eq!(tick.expect_group("chosen").int("starts"), 1);
    // … and one that becomes that user once it runs, without another exec.
    let script =
        format!("use POSIX; select(undef, undef, undef, 0.5); POSIX::setuid({OTHER}) or die; sleep 60");
    let mut turned = Command::new("/usr/bin/perl");
    let mut turned = turned.arg0(program.name()).args(["-e", &script]).spawn().unwrap();
    let mut both = vec![pid, u64::from(turned.id())];
    both.sort_unstable();
    daemon.wait_until("the one that turned", LIMIT, |tick| {
        tick.group("chosen").is_some_and(|group| {
            let mut members = members(group);
            members.sort_unstable();
            members == both
        })
    });
    assert!(!both.contains(&u64::from(own.pid())), "root's own is none");
    for child in [&mut other, &mut turned] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    daemon.wait_until("their ends", LIMIT, |tick| {
        tick.group("chosen").is_some_and(|group| group.int("exits") == 2)
    });
    // One that is root again in its last moment ends where it was a member.
    let script = format!("$> = {OTHER}; select(undef, undef, undef, 1.5); $> = 0; exit 7");
    let mut guest = Command::new("/usr/bin/perl");
    let mut guest = guest.arg0(program.name()).args(["-e", &script]).spawn().unwrap();
    assert_eq!(guest.wait().unwrap().code(), Some(7));
    let tick = daemon.wait_until("its end", LIMIT, |tick| {
        tick.group("chosen").is_some_and(|group| group.int("exits") == 3)
    });
    assert_eq!(tick.expect_group("chosen").int("leaves"), 0);
    daemon.terminate();
}

#[test]
fn where_a_process_runs() {
    a_member_by_its_unit(unified());
}

/// Hosts with the hybrid layout have units in systemd's own hierarchy of version 1, which tells nothing of what exits.
#[test]
fn where_a_process_runs_by_systemds_own_hierarchy() {
    let own = Path::new("/sys/fs/cgroup/systemd");
    if own.exists() {
        a_member_by_its_unit(own);
    } else {
        eprintln!("skipped: the host has the unified hierarchy alone");
    }
}

fn a_member_by_its_unit(hierarchy: &Path) {
    let layout = hierarchy.file_name().unwrap().to_str().unwrap();
    let name = format!("kvt-{layout}-{}.service", std::process::id());
    let cgroup = hierarchy.join(&name);
    fs::create_dir(&cgroup).unwrap();
    let program = Program::new(WORKLOAD, "placed");
    let inside = program.start(&["work"]);
    let _outside = program.start(&["work"]);
    fs::write(cgroup.join("cgroup.procs"), inside.pid().to_string()).unwrap();
    let folder = folder(
        &format!(
            "process_name = '{}'\nunit = '^{}$'\nattributes = {{ unit = \"{{unit}}\", owner = \"{{user}}\" }}",
            program.pattern(),
            name.replace('.', r"\.")
        ),
        "",
    );
    let receiver = Receiver::start();
    let endpoint = format!("http://127.0.0.1:{}", receiver.port());
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path(), "--endpoint", &endpoint]);
    let pid = u64::from(inside.pid());
    daemon.wait_until("the one inside", LIMIT, |tick| {
        tick.group("chosen").is_some_and(|group| members(group) == [pid])
    });
    let told = receiver.wait_for("its attributes", LIMIT, |points| {
        let point = points.iter().find(|point| point.resource.contains_key("unit"))?;
        Some((point.resource["unit"].clone(), point.resource["owner"].clone()))
    });
    assert_eq!(told, (name, "root".to_owned()));
    // A zombie for a while: it ends as the member that it was.
    let tick = daemon.next_tick(LIMIT).time();
    inside.signal(libc::SIGKILL);
    let tick = daemon.tick_after(tick, Duration::from_millis(600), LIMIT);
    let group = tick.expect_group("chosen");
    assert_eq!((group.int("exits"), group.int("leaves")), (1, 0), "{}", group.0);
    drop(inside);
    daemon.terminate();
    fs::remove_dir(&cgroup).unwrap();
}

/// A service whose process lives for a moment, with its cgroup: when anybody looks, there is nothing left of either.
#[test]
fn what_is_gone_before_anybody_looks() {
    const LIVES: u64 = 20;
    let name = format!("kvt-brief-{}", std::process::id());
    let unit = format!("{name}.service");
    let cgroup = unified().join(&unit);
    let folder = PluginDir::new();
    for (plugin, selector) in [
        ("of-the-unit", format!("unit = '^{}$'", unit.replace('.', r"\."))),
        ("of-another-unit", "unit = '^kvt-other'".to_owned()),
        ("of-nobody", "user = \"nobody\"".to_owned()),
        ("of-root", "user = \"root\"".to_owned()),
    ] {
        let text = format!(
            "schema = 1\n[service]\nnamespace = \"Kvt\"\nprocess_name = '^{name}$'\n{selector}\n[monitoring]\n\
             interval = \"200ms\"\n"
        );
        folder.write(plugin, &text);
    }
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let brief = |command: &mut Command| {
        let status = command.status().unwrap();
        assert!(status.success(), "{status}");
    };
    let enter = format!(
        "echo $$ >{}/cgroup.procs && exec -a {name} true",
        cgroup.display()
    );
    for _ in 0..LIVES {
        fs::create_dir(&cgroup).unwrap();
        brief(Command::new("bash").args(["-c", &enter]));
        // Busy until the kernel has let go of the process.
        let gone = || fs::remove_dir(&cgroup).is_ok();
        assert!((0..1000).any(|_| gone() || {
            std::thread::sleep(Duration::from_millis(1));
            false
        }));
    }
    for _ in 0..LIVES {
        brief(Command::new("/bin/true").arg0(&name).uid(OTHER));
    }
    let expected = [
        ("of-the-unit", LIVES),
        ("of-another-unit", 0),
        ("of-nobody", LIVES),
        ("of-root", LIVES),
    ];
    let tick = daemon.wait_until("their ends", LIMIT, |tick| {
        expected.iter().all(|(plugin, lives)| {
            tick.group(plugin)
                .is_some_and(|group| group.int("exits") >= *lives)
        })
    });
    for (plugin, lives) in expected {
        let group = tick.expect_group(plugin);
        assert_eq!(
            (group.int("starts"), group.int("exits")),
            (lives, lives),
            "{plugin}: {}",
            group.0
        );
    }
    daemon.terminate();
}

#[test]
fn the_namespace_of_its_pids() {
    let name = format!("kvt-inside-{}", std::process::id());
    let folder = folder(
        &format!("process_name = '^{name}$'\nattributes = {{ ns = \"{{pid_namespace}}\" }}"),
        "",
    );
    let receiver = Receiver::start();
    let endpoint = format!("http://127.0.0.1:{}", receiver.port());
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path(), "--endpoint", &endpoint]);
    // Two deep: the deepest counts.
    let inner = format!("exec -a {name} sleep 60");
    let mut outer = Command::new("unshare");
    let mut outer = outer
        .args([
            "-p",
            "-f",
            "--kill-child",
            "unshare",
            "-p",
            "-f",
            "--kill-child",
            "bash",
            "-c",
            &inner,
        ])
        .spawn()
        .unwrap();
    let tick = daemon.wait_until("the one inside", LIMIT, |tick| {
        tick.group("chosen")
            .is_some_and(|group| group.int("process_count") == 1)
    });
    let pid = members(tick.expect_group("chosen"))[0];
    let link = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    let told = receiver.wait_for("its attribute", LIMIT, |points| {
        points.iter().find_map(|point| point.resource.get("ns").cloned())
    });
    assert_eq!(format!("pid:[{told}]"), link.to_str().unwrap());
    assert_ne!(link, fs::read_link("/proc/self/ns/pid").unwrap());
    outer.kill().unwrap();
    outer.wait().unwrap();
    daemon.terminate();
}

#[test]
fn what_descends_and_what_is_excluded() {
    let program = Program::new(WORKLOAD, "parent");
    let mark = format!("kvt-child-{}", std::process::id());
    let folder = folder(
        &format!(
            "process_name = ['{}', '{mark}-x']\nchildren = true\nexclude = '-x$'",
            program.pattern()
        ),
        "",
    );
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let script = format!("exec -a {mark} sleep 60 & exec -a {mark}-deep sh -c 'sleep 60; :' & wait");
    let mut parent = Command::new("bash");
    let mut parent = parent
        .arg0(program.name())
        .args(["-c", &script])
        .process_group(0)
        .spawn()
        .unwrap();
    // bash, sleep, sh, and the sleep below it.
    let tick = daemon.wait_until("four members", LIMIT, |tick| {
        tick.group("chosen")
            .is_some_and(|group| group.int("process_count") == 4)
    });
    let group = tick.expect_group("chosen");
    assert_eq!(
        (group.int("starts"), group.int("worker_starts")),
        (1, 3),
        "{}",
        group.0
    );
    let mut excluded = Command::new("/bin/sleep");
    let mut excluded = excluded.arg0(format!("{mark}-x")).arg("60").spawn().unwrap();
    let next = daemon.tick_after(tick.time(), Duration::from_millis(600), LIMIT);
    assert_eq!(next.expect_group("chosen").int("process_count"), 4);
    let group = i32::try_from(parent.id()).unwrap();
    // SAFETY: kill(2) takes plain integers; the group is our child's own.
    assert_eq!(unsafe { libc::kill(-group, libc::SIGKILL) }, 0);
    parent.wait().unwrap();
    excluded.kill().unwrap();
    excluded.wait().unwrap();
    daemon.wait_until("their ends", LIMIT, |tick| {
        tick.group("chosen").is_some_and(|group| group.int("exits") == 4)
    });
    daemon.terminate();
}

#[test]
fn no_command_line_is_told_unless_a_plugin_asks() {
    let secret = format!("kvt-s3cret-{}", std::process::id());
    let program = Program::new(WORKLOAD, "told");
    for (allowed, told) in [("", false), ("arguments = [\"--port\"]", true)] {
        let state = Scratch::new();
        let otlp = state.path().join("otlp.json");
        let folder = folder(
            &format!("process_name = '{}'\nmatch = \"cmdline\"", program.name()),
            &format!("[processes]\nenabled = true\n{allowed}\n[events]\nenabled = true"),
        );
        let mut daemon = Daemon::start(&[
            "--plugins-dir",
            folder.path(),
            "--otlp-json",
            otlp.to_str().unwrap(),
        ]);
        let mut process = Command::new("bash");
        let mut process = process
            .env("KVT_SECRET", &secret)
            .arg0(program.name())
            .args([
                "-c",
                "sleep 60; :",
                "run",
                "--port",
                "8080",
                "--password",
                &secret,
            ])
            .spawn()
            .unwrap();
        let tick = daemon.wait_until("its start", LIMIT, |tick| {
            tick.group("chosen").is_some_and(|group| group.int("starts") >= 1)
        });
        let next = daemon.tick_after(tick.time(), Duration::from_millis(600), LIMIT);
        process.kill().unwrap();
        process.wait().unwrap();
        let lines: String = daemon.ticks().iter().map(|tick| tick.0.to_string()).collect();
        assert!(next.expect_group("chosen").int("process_count") >= 1);
        daemon.terminate();
        let exported = fs::read_to_string(&otlp).unwrap();
        assert!(
            exported.contains("kevmon.process.start") && exported.contains("per_process"),
            "{exported}"
        );
        assert!(!exported.contains(&secret) && !lines.contains(&secret));
        assert_eq!(exported.contains("--port 8080"), told);
    }
}
