//! `kevmon events` as a snoop: what real processes do between their start and their end, in the order of time, who they are, and
//! what is shown of it.

use std::{
    cell::Cell,
    fs,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use kevmon_tests::{
    cgroup::{MemoryCgroup, UnitCgroup},
    kevmon::{self, KillOnDrop},
    live::Live,
    scratch::Scratch,
    supervisor::{Counted, Supervisor},
    truth::{self, Spawned},
    wait,
    workload::Program,
};
use serde_json::{Value, json};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// The events of a process, in the order in which they were shown.
fn of(live: &Live, pid: u32) -> Vec<&Value> {
    live.seen().iter().filter(|event| event["pid"] == pid).collect()
}

fn kinds(events: &[&Value]) -> Vec<String> {
    let kinds = events
        .iter()
        .map(|event| event["event"].as_str().unwrap().to_owned());
    kinds.collect()
}

#[test]
fn a_fork_without_exec_has_its_parents_name() {
    let (program, probe) = (Program::new(WORKLOAD, "forks"), Program::new(WORKLOAD, "probe"));
    let mut live = Live::start(&[&program.pattern()], &probe);
    let running = program.start(&["forks", "2"]);
    let master = running.pid();
    let worker = live.wait_for("a worker's start", |event| {
        event["event"] == "start" && event["parent_pid"] == master
    });
    assert_eq!(worker["name"], program.name(), "{worker}");
    assert_eq!(worker["parent_name"], program.name(), "{worker}");
    assert_eq!(worker["role"], "worker", "{worker}");
    let pid = u32::try_from(worker["pid"].as_u64().unwrap()).unwrap();
    running.finish();
    live.event("exit", pid);
    assert_eq!(kinds(&of(&live, pid)), ["start", "exit"]);
    live.event("exit", master);
    assert_eq!(kinds(&of(&live, master)), ["start", "exec", "exit"]);
    let exec = of(&live, master)[1];
    assert_eq!(exec["exe"], program.name(), "{exec}");
    assert_eq!(exec["uid"], 0, "{exec}");
    assert_eq!(exec["user"], "root", "{exec}");
    live.stop(libc::SIGTERM);
}

#[test]
fn a_start_has_the_name_of_what_is_executed_and_a_chain_is_told_link_by_link() {
    let (first, second) = (Program::new(WORKLOAD, "first"), Program::new(WORKLOAD, "second"));
    let probe = Program::new(WORKLOAD, "probe");
    // Every process: the fork is a parent of the test's own, which is shown as well.
    let mut live = Live::start(&[], &probe);
    let mut running = first.start(&["exec", second.path_text(), "exec-chain", "2"]);
    let pid = running.pid();
    running.tell("");
    assert_eq!(running.line(), "ready");
    running.finish();
    live.event("exit", pid);
    let events = of(&live, pid);
    let told: Vec<(&str, &str)> = events
        .iter()
        .filter(|event| event["event"] != "restart")
        .map(|event| (event["event"].as_str().unwrap(), event["name"].as_str().unwrap()))
        .collect();
    let (first, second) = (first.name(), second.name());
    assert_eq!(
        told,
        [
            ("start", first),
            ("exec", first),
            ("exec", second),
            ("exec", second),
            ("exec", second),
            ("exit", second),
        ]
    );
    let execs: Vec<_> = events.iter().filter(|event| event["event"] == "exec").collect();
    assert_eq!(execs[1]["previous_name"], first, "{:?}", execs[1]);
    let times: Vec<u64> = events
        .iter()
        .map(|event| event["time"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{events:?}");
    live.stop(libc::SIGTERM);
}

#[test]
fn what_a_supervisor_starts_again_is_told_in_order() {
    let program = Arc::new(Program::new(WORKLOAD, "crashes"));
    let probe = Program::new(WORKLOAD, "probe");
    let mut live = Live::start(&[&program.pattern()], &probe);
    let ways: &[&[&str]] = &[&["exit", "7", "--life-ms", "5"]];
    let supervisor = Supervisor::start(&program, ways, Duration::from_millis(60), Counted::default());
    let restarts = Cell::new(0);
    live.wait_for("five restarts", |event| {
        restarts.set(restarts.get() + u32::from(event["event"] == "restart"));
        restarts.get() >= 5
    });
    supervisor.stop();
    let shown: Vec<&Value> = live
        .seen()
        .iter()
        .filter(|event| event["name"] == program.name())
        .collect();
    let times: Vec<u64> = shown
        .iter()
        .map(|event| event["time"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "in the order of time: {shown:?}");
    let restart = shown.iter().find(|event| event["event"] == "restart").unwrap();
    let previous = &restart["previous"];
    assert_eq!(
        (&previous["reason"], &previous["code"]),
        (&json!("exit"), &json!(7)),
        "{restart}"
    );
    assert!(restart["downtime_ns"].as_u64() > Some(0), "{restart}");
    live.stop(libc::SIGTERM);
}

#[test]
fn a_rename_is_told_with_the_name_before() {
    let (program, probe) = (Program::new(WORKLOAD, "renames"), Program::new(WORKLOAD, "probe"));
    let mut live = Live::start(&[&program.pattern()], &probe);
    let mut running = program.start(&["rename"]);
    let pid = running.pid();
    running.rename(b"worker 2");
    let rename = live.event("rename", pid);
    assert_eq!(rename["name"], "worker 2", "{rename}");
    assert_eq!(rename["previous_name"], program.name()[..15], "{rename}");
    // It is a member by its executable still, and the same name again is no rename.
    running.rename(b"worker 2");
    running.rename(b"worker 3");
    running.finish();
    live.event("exit", pid);
    let names: Vec<&Value> = of(&live, pid)
        .into_iter()
        .filter(|event| event["event"] == "rename")
        .map(|event| &event["name"])
        .collect();
    assert_eq!(names, ["worker 2", "worker 3"]);
    live.stop(libc::SIGTERM);
}

#[test]
fn the_oom_killers_victims_are_a_kind_of_their_own() {
    let (program, probe) = (Program::new(WORKLOAD, "eater"), Program::new(WORKLOAD, "probe"));
    let mut live = Live::start_with(&[&program.pattern()], &["--event", "oom,start"], &probe);
    let cgroup = MemoryCgroup::new(32 << 20);
    let mut running = program.start(&["eat"]);
    let pid = running.pid();
    cgroup.take(pid);
    running.tell("");
    assert_eq!(running.reap().status, libc::SIGKILL);
    assert_eq!(cgroup.oom_kills(), 1);
    let end = live.event("exit", pid);
    assert_eq!(end["reason"], "oom", "{end}");
    assert!(end["peak_rss_bytes"].as_u64() > Some(1 << 20), "{end}");
    // An ordinary end is not asked for.
    let other = truth::spawn(&program, &["exit", "0"]);
    let others_pid = other.pid();
    other.reap();
    live.event("start", others_pid);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(kinds(&of(&live, others_pid)), ["start"]);
    live.stop(libc::SIGTERM);
}

#[test]
fn a_unit_is_named_and_chosen_by() {
    let (program, probe) = (Program::new(WORKLOAD, "unit"), Program::new(WORKLOAD, "probe"));
    let unit = format!("{}.service", program.name());
    let cgroup = UnitCgroup::new(&unit);
    let mut live = Live::start(&[&program.pattern()], &probe);
    // A shell that moves itself into the unit's cgroup before it executes the program.
    let line = format!(
        "echo $$ > {}; exec {} exit 3",
        cgroup.processes().display(),
        program.path_text()
    );
    let child = Spawned::start(Command::new("sh").args(["-c", &line]));
    let pid = child.pid();
    child.reap();
    let exit = live.event("exit", pid);
    assert_eq!(exit["unit"], unit.as_str(), "{exit}");
    live.stop(libc::SIGTERM);
}

/// Runs `kevmon events` with `flags` for people, lets `act` happen once it is attached, and returns what it showed.
fn shown(flags: &[&str], probe: &Program, act: impl FnOnce()) -> String {
    let scratch = Scratch::new();
    let path = scratch.path().join("stdout");
    let stdout = fs::File::create(&path).expect("a file");
    let child = kevmon::command(&[&["events"], flags].concat())
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .expect("kevmon starts");
    let mut child = KillOnDrop(child);
    let text = || fs::read_to_string(&path).expect("our own file");
    wait::until("the probe", Duration::from_secs(20), || {
        truth::spawn(probe, &["exit", "0"]).reap();
        std::thread::sleep(Duration::from_millis(500));
        text().contains(probe.name()).then_some(())
    });
    act();
    std::thread::sleep(Duration::from_millis(800));
    let pid = i32::try_from(child.0.id()).expect("a pid");
    // SAFETY: kill(2) takes plain integers; the child has not been reaped.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    assert_eq!(child.0.wait().expect("our child").code(), Some(0));
    text()
}

#[test]
fn people_read_columns_below_a_heading_and_no_argument_unless_it_is_named() {
    let (program, probe) = (Program::new(WORKLOAD, "read"), Program::new(WORKLOAD, "probe"));
    let secret = "s3cret-of-nobody";
    let act = || {
        let args = ["exit", "7", "--life-ms", "1", "--password", secret];
        truth::spawn(&program, &args).reap();
    };
    let (pattern, probes) = (program.pattern(), probe.pattern());
    let flags = ["--process-name", &pattern, "--process-name", &probes];
    let text = shown(&flags, &probe, act);
    let heading = text.lines().next().unwrap();
    let columns = ["TIME", "EVENT", "PID", "PPID", "USER", "UNIT", "NAME", "WHAT"];
    let places: Vec<usize> = columns.map(|title| heading.find(title).expect(title)).to_vec();
    assert!(places.is_sorted(), "{heading}");
    let line = |event: &str| {
        let mut lines = text.lines();
        let line = lines.find(|line| line.contains(&format!(" {event} ")) && line.contains(program.name()));
        line.unwrap_or_else(|| panic!("no {event} in\n{text}"))
    };
    assert!(line("START").contains(" by parallel"), "by whom: {text}");
    assert!(line("EXIT").contains(" exit 7, lived "), "{text}");
    assert!(line("EXIT").contains(" root "), "{text}");
    assert!(!text.contains(secret) && !text.contains("--life-ms"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a file: {text:?}");

    let flags = [&flags[..], &["--argument", "--life-ms", "--color", "always"]].concat();
    let text = shown(&flags, &probe, act);
    assert!(text.contains("--life-ms 1"), "{text}");
    assert!(!text.contains(secret), "{text}");
    assert!(text.contains("\u{1b}["), "colours were asked for: {text:?}");
}

#[test]
fn what_a_process_starts_is_chosen_by_its_pid_and_stands_below_it() {
    let (program, other) = (
        Program::new(WORKLOAD, "family"),
        Program::new(WORKLOAD, "stranger"),
    );
    // A shell that starts the programs it is told to.
    let shell = Program::script("sh", "#!/bin/sh\necho ready\nwhile read line; do $line; done\n");
    let mut running = shell.start(&[]);
    let parent = running.pid().to_string();
    let scratch = Scratch::new();
    let path = scratch.path().join("stdout");
    let child = kevmon::command(&["events", "--pid", &parent, "--tree"])
        .stdout(fs::File::create(&path).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("kevmon starts");
    let mut child = KillOnDrop(child);
    let text = || fs::read_to_string(&path).expect("our own file");
    let outer = Program::script(
        "outer",
        &format!("#!/bin/sh\n{} exit 3\n:\n", program.path_text()),
    );
    wait::until("the child", Duration::from_secs(20), || {
        running.tell(outer.path_text());
        truth::spawn(&other, &["exit", "0"]).reap();
        std::thread::sleep(Duration::from_millis(500));
        text().contains("exit 3").then_some(())
    });
    let pid = i32::try_from(child.0.id()).expect("a pid");
    // SAFETY: kill(2) takes plain integers; the child has not been reaped.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    assert_eq!(child.0.wait().expect("our child").code(), Some(0));
    let text = text();
    assert!(!text.contains(other.name()), "a stranger: {text}");
    assert!(
        text.contains(&format!(" └ {}", program.name())),
        "below the script: {text}"
    );
    assert!(!text.contains(&format!("└ {}", outer.name())), "{text}");
    running.finish();
}

/// What cannot be shown is refused with the remedy and the right status.
#[test]
fn bad_input_has_a_line_and_a_status() {
    for (args, code, told) in [
        (&["--args"][..], 2, "--argument"),
        (&["--user", "kvt-nobody-at-all"], 2, "getent passwd"),
        (&["--unit", "("], 2, "not a regular expression"),
        (&["--event", "birth"], 2, "possible values"),
        (&["--pid", "0"], 2, "--pid"),
        (&["--pid", "4194304000"], 1, "no process has this pid now"),
    ] {
        let output = kevmon::run(&[&["events"], args].concat());
        output.assert_code(code);
        assert!(output.stderr.contains(told), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
    }
}
