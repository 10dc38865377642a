//! /proc as a source, and what is not to be had from it.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

use kevmon_tests::{
    kevmon::Daemon,
    nobody::Nobody,
    plugin_dir::PluginDir,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_process_whose_leader_left_first_is_alive() {
    let program = Program::new(WORKLOAD, "leader-left");
    let mut running = program.start(&["leader-first", "3", "4"]);
    let stat = format!("/proc/{}/stat", running.pid());
    kevmon_tests::wait::until("the leader to go", LIMIT, || {
        fs::read_to_string(&stat).ok()?.contains(") Z ").then_some(())
    });
    for source in ["proc", "ebpf"] {
        let pattern = program.pattern();
        let args = [
            "--interval",
            "200ms",
            "--process-name",
            &pattern,
            "--source",
            source,
        ];
        let mut daemon = Daemon::start(&args);
        for _ in 0..3 {
            let tick = daemon.next_tick(LIMIT);
            let group = tick.expect_group(&program.plugin());
            let members = group.members();
            assert_eq!(members.len(), 1, "{source}: {}", group.0);
            assert_eq!(
                (members[0].pid, members[0].name.as_str()),
                (running.pid(), program.name()),
                "{source}"
            );
            assert_eq!(group.int("exits"), 0, "{source}: {}", group.0);
            // Of the thread that lives: the leader has neither memory nor descriptors.
            for metric in ["memory_rss_total", "memory_vms_total", "open_file_descriptors"] {
                assert!(group.int(metric) > 0, "{source}: {metric}: {}", group.0);
            }
        }
        if source == "ebpf" {
            daemon.terminate();
            continue;
        }
        // Until its last thread has gone.
        running.release();
        running.reap();
        daemon.wait_until("its end", LIMIT, |tick| {
            tick.expect_group(&program.plugin()).int("process_count") == 0
        });
        daemon.terminate();
        running = program.start(&["leader-first", "3", "4"]);
        let stat = format!("/proc/{}/stat", running.pid());
        kevmon_tests::wait::until("the leader to go", LIMIT, || {
            fs::read_to_string(&stat).ok()?.contains(") Z ").then_some(())
        });
    }
}

/// The kernel shows a removed file with ` (deleted)` behind its path; a file may be called that.
#[test]
fn a_removed_executable_keeps_its_name_and_a_name_keeps_its_end() {
    let [removed, named, both] = ["removed", "named", "both"].map(|stem| Program::new(WORKLOAD, stem));
    let start = |path: &PathBuf| {
        let mut command = Command::new(path);
        command.arg("idle");
        Running::start(command)
    };
    let ends_so = |program: &Program| {
        let path = program.directory().join(format!("{} (deleted)", program.name()));
        fs::rename(program.path(), &path).expect("our own file");
        path
    };
    let mut running = vec![start(&removed.path().to_owned())];
    fs::remove_file(removed.path()).expect("our own file");
    let path = ends_so(&named);
    running.push(start(&path));
    let path = ends_so(&both);
    running.push(start(&path));
    // Its file has another link, so that it is not gone for good.
    fs::hard_link(&path, both.directory().join("other")).expect("a file of our own");
    fs::remove_file(&path).expect("our own file");
    let names = [
        removed.name().to_owned(),
        format!("{} (deleted)", named.name()),
        format!("{} (deleted)", both.name()),
    ];
    let folder = PluginDir::new();
    for (index, name) in names.iter().enumerate() {
        let pattern = name.replace('(', "\\(").replace(')', "\\)");
        let text = format!(
            "schema = 1\n[service]\nnamespace = \"Kvt\"\nprocess_name = '^{pattern}$'\nmatch = \"exe\"\n\
             [monitoring]\ninterval = \"200ms\"\n"
        );
        folder.write(&format!("p{index}"), &text);
    }
    for source in ["proc", "ebpf"] {
        let daemon = Daemon::start(&["--plugins-dir", folder.path(), "--source", source]);
        let tick = daemon.ticks()[0].clone();
        for (index, name) in names.iter().enumerate() {
            let members = tick.expect_group(&format!("p{index}")).members();
            let members: Vec<_> = members.iter().map(|one| (one.pid, one.name.as_str())).collect();
            assert_eq!(members, [(running[index].pid(), name.as_str())], "{source}");
        }
        daemon.terminate();
    }
    for pid in running.iter().map(Running::pid) {
        // The names of their files have changed: nobody else ends them.
        // SAFETY: kill(2) takes plain integers; the child has not been reaped.
        unsafe { libc::kill(i32::try_from(pid).expect("a pid"), libc::SIGKILL) };
    }
}

#[test]
fn what_proc_hides_is_not_known_and_the_remedy_is_said() {
    let program = Program::new(WORKLOAD, "hidden");
    let running = program.start(&["idle"]);
    let nobody = Nobody::new();
    let pattern = program.pattern();
    let args = ["--source", "proc", "--process-name", &pattern];
    for (options, remedies) in [
        ("hidepid=1", vec!["CAP_SYS_PTRACE", "gid=", "hidepid=0"]),
        ("hidepid=2", vec!["CAP_SYS_PTRACE", "gid=", "hidepid=0"]),
        ("hidepid=2,gid=4711", vec!["CAP_SYS_PTRACE", "gid=", "hidepid=0"]),
        ("hidepid=4", vec!["CAP_SYS_PTRACE", "hidepid=0"]),
    ] {
        let output = nobody.run_once(options, "", &args);
        output.assert_code(1);
        let said = &output.stdout;
        assert!(!said.contains("nothing on this host"), "{options}: {said}");
        assert!(
            said.contains("not known, no visible process"),
            "{options}: {said}"
        );
        for remedy in remedies {
            assert!(
                said.contains(remedy) && output.stderr.contains(remedy),
                "{options}: {remedy}: {said}"
            );
        }
        let json = nobody
            .run_once(options, "", &[&args[..], &["--output", "json"]].concat())
            .json();
        let group = json.expect_group(&program.plugin());
        // Not one value: each would say that there is nothing.
        let values: Vec<&str> = group.metrics().into_keys().collect();
        assert_eq!(values, Vec::<&str>::new(), "{options}: {}", group.0);
        assert!(
            json.0["soft_failures"]["processes_hidden"].as_u64() > Some(0),
            "{}",
            json.0
        );
    }
    // Whoever may see them sees them.
    for (options, capabilities) in [
        ("hidepid=0", ""),
        ("hidepid=2", "+sys_ptrace"),
        ("hidepid=2,gid=65534", ""),
    ] {
        let output = nobody.run_once(options, capabilities, &args);
        output.assert_code(0);
        let pid = format!(" {} ", running.pid());
        let is_listed = |line: &str| line.contains(&pid) && line.ends_with(program.name());
        assert!(
            output.stdout.lines().any(is_listed),
            "{options} {capabilities}: {}",
            output.stdout
        );
        assert!(
            !output.stdout.contains("hidepid"),
            "{options} {capabilities}: {}",
            output.stdout
        );
    }
}

/// Rights × what /proc hides × metric: a value is the one that root reads, or absent, and 0 where it is 0.
#[test]
fn without_rights_a_value_is_right_or_absent() {
    const VALUES: [&str; 9] = [
        "process_count",
        "thread_count",
        "open_file_descriptors",
        "memory_rss_total",
        "memory_vms_total",
        "peak_rss_bytes",
        "disk_read_bytes",
        "disk_write_bytes",
        "voluntary_ctx_switches",
    ];
    let program = Program::new(WORKLOAD, "rights");
    let _running = program.start(&["threads", "4"]);
    let nobody = Nobody::new();
    let pattern = program.pattern();
    let args = ["--output", "json", "--process-name", &pattern];
    let all = "+bpf,+perfmon,+sys_ptrace,+dac_read_search";
    let values = |options: &str, capabilities: &str| {
        let tick = nobody.run_once(options, capabilities, &args).json();
        let group = tick.expect_group(&program.plugin());
        let values = VALUES.map(|name| group.get(name).cloned());
        (values, tick.complete(), tick.0.to_string())
    };
    let (truth, ..) = values("hidepid=0", all);
    assert!(truth.iter().all(Option::is_some), "{truth:?}");
    for capabilities in ["", "+bpf,+perfmon", all] {
        for options in ["hidepid=0", "hidepid=1", "hidepid=2", "hidepid=4"] {
            let (values, is_complete, line) = values(options, capabilities);
            for ((name, value), truth) in VALUES.iter().zip(values).zip(&truth) {
                let is_right = value.is_none() || value == *truth;
                assert!(
                    is_right,
                    "{options} {capabilities} {name}: {value:?}, not {truth:?}: {line}"
                );
                assert!(value.is_some() || capabilities != all, "{options} {name}: {line}");
            }
            assert_eq!(
                is_complete,
                capabilities == all || (options == "hidepid=0" && !capabilities.is_empty()),
                "{options} {capabilities}: {line}"
            );
        }
    }
}

#[test]
fn what_the_kernel_side_tells_needs_no_proc() {
    let program = Program::new(WORKLOAD, "kernels-sample");
    let running = program.start(&["threads", "4"]);
    let nobody = Nobody::new();
    let pattern = program.pattern();
    let args = ["--source", "ebpf", "--output", "json", "--process-name", &pattern];
    let descriptors = fs::read_dir(format!("/proc/{}/fd", running.pid()))
        .expect("our child")
        .count();
    for options in ["hidepid=0", "hidepid=1", "hidepid=2"] {
        let tick = nobody.run_once(options, "+bpf,+perfmon", &args).json();
        let group = tick.expect_group(&program.plugin());
        assert_eq!(group.int("process_count"), 1, "{options}: {}", group.0);
        assert_eq!(group.members()[0].name, program.name(), "{options}");
        assert_eq!(group.int("thread_count"), 5, "{options}: {}", group.0);
        assert_eq!(
            group.int("open_file_descriptors"),
            descriptors as u64,
            "{options}: {}",
            group.0
        );
        assert!(group.int("memory_vms_total") > 1 << 20, "{options}: {}", group.0);
        // /proc alone tells the resident set.
        let is_known = group.get("memory_rss_total").is_some();
        assert_eq!(is_known, options == "hidepid=0", "{options}: {}", group.0);
    }
}

/// What /proc hides of another user's process is not known, and nothing is said to be complete.
#[test]
fn a_hidden_command_line_is_unknown() {
    let program = Program::new(WORKLOAD, "hidden-line");
    let running = program.start(&["title", "--argv-only", "word"]);
    let folder = PluginDir::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    let text = format!(
        "schema = 1\n[plugin]\nname = \"line\"\n[service]\nmatch = \"cmdline\"\nprocess_name = '{} .* word$'\n",
        program.name()
    );
    folder.write("line", &text);
    let nobody = Nobody::new();
    let args = [
        "--source",
        "ebpf",
        "--output",
        "json",
        "--plugins-dir",
        folder.path(),
    ];
    for (options, processes) in [("hidepid=0", 1), ("hidepid=1", 0), ("hidepid=2", 0)] {
        let tick = nobody.run_once(options, "+bpf,+perfmon", &args).json();
        let group = tick.expect_group("line");
        assert_eq!(group.int("process_count"), processes, "{options}: {}", group.0);
        assert_eq!(tick.complete(), options == "hidepid=0", "{options}: {}", tick.0);
        let unknown = tick.0["soft_failures"]["verdict_unknown"].as_u64();
        assert_eq!(unknown > Some(0), options != "hidepid=0", "{options}: {}", tick.0);
    }
    assert_eq!(running.finish().status, 0);
}
