//! Programs that write a title over their arguments: nobody tells of it, and the answer is the same whoever came first.

use std::{process::Command, time::Duration};

use kevmon_tests::{
    checks,
    columns::Columns,
    kevmon, scratch,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

/// A perl that runs `script`, says that it is ready, and lives until its input is closed. `$0` writes over the arguments,
/// and takes its beginning for `comm`.
fn perl(script: &str) -> Running {
    let mut command = Command::new("/usr/bin/perl");
    command.args(["-e", &format!("{script}; $| = 1; print \"ready\\n\"; <STDIN>;")]);
    Running::start(command)
}

/// The same program, its title alone written, as nginx does it: without `comm`.
fn titled(program: &Program, title: &str) -> Running {
    // Room for the title: it never grows beyond the arguments.
    let room = "x".repeat(200);
    let mut running = program.start(&["title", "--argv-only", &room]);
    assert_eq!(running.ask(title), "ok");
    running
}

#[test]
fn a_title_is_found_whoever_came_first() {
    let unique = scratch::unique();
    let program = Program::new(WORKLOAD, "titled");
    let name = program.name();
    let mut columns = Columns::new();
    let by = |pattern: &str| format!("process_name = '{pattern}'");
    let shown = Some(name);
    // A member is listed under the name that matched.
    let [worker, master] = ["worker*", "master*"].map(|rest| format!("{name}: {rest}"));
    let (worker, master) = (Some(worker.as_str()), Some(master.as_str()));
    columns.add("worker", &by(&format!("^{name}: worker")), 2, worker);
    columns.add(
        "slash",
        &by(&format!("^{name}: worker process /srv/{unique}$")),
        1,
        worker,
    );
    columns.add("padded", &by(&format!("^{name}: worker$")), 1, worker);
    columns.add(
        "master",
        &by(&format!("^{name}: master process /usr/sbin/{name}$")),
        1,
        master,
    );
    columns.add("program", &by(&format!("^{name}$")), 4, shown);
    columns.add("last", &by(&format!("^{unique}$")), 0, None);
    // Without a beginning, and of a program that is called otherwise.
    columns.add("inside", &by(&format!("{unique}: cache [0-9]+$")), 1, None);
    columns.add("other", &by(&format!("^shop-{unique}: cache")), 1, None);
    columns.add(
        "cmdline",
        &format!("{}\nmatch = \"cmdline\"", by(&format!("^{name}: worker process"))),
        1,
        shown,
    );
    columns.add(
        "excluded",
        &format!("{}\nexclude = 'master'", by(&format!("^{name}$"))),
        3,
        shown,
    );
    columns.add("perl", &by(&format!("^kvt-perl-{unique}: worker /a/b$")), 1, None);
    columns.add(
        "longer",
        &by(&format!("^kvt-longer-{unique}: (long ){{60}}end$")),
        1,
        None,
    );
    let mut early = columns.early();
    let mut running = vec![
        titled(&program, &format!("{name}: worker process /srv/{unique}")),
        titled(&program, &format!("{name}: worker")),
        titled(&program, &format!("{name}: master process /usr/sbin/{name}")),
        titled(&program, &format!("shop-{unique}: cache 7")),
        perl(&format!("$0 = 'kvt-perl-{unique}: worker /a/b'")),
    ];
    // The title is longer than the arguments, and goes on over the environment.
    let mut longer = Command::new("/usr/bin/env");
    let script =
        format!("$0 = 'kvt-longer-{unique}: '.('long ' x 60).'end'; $| = 1; print \"ready\\n\"; <STDIN>;");
    longer.arg(format!("ROOM={}", "x".repeat(1_000)));
    longer.args(["/usr/bin/perl", "-e", &script]);
    running.push(Running::start(longer));
    columns.assert_agree(&mut early);
    // What is taken soon after a start is the name that it started with.
    let tick = early.ticks().last().expect("a tick").clone();
    for plugin in ["worker", "slash", "master", "perl"] {
        let group = tick.expect_group(plugin);
        assert_eq!(
            (group.int("starts"), group.int("joins")),
            (group.int("process_count"), 0),
            "{plugin}: {}",
            group.0
        );
    }
    for running in running {
        running.finish();
    }
    early.wait_until("their ends", LIMIT, |tick| {
        tick.expect_group("worker").int("exits") == 2
    });
    checks::assert_complete(early.ticks());
    early.terminate();
}

#[test]
fn a_title_that_is_written_late_is_a_join_and_another_one_a_leave() {
    let program = Program::new(WORKLOAD, "late-title");
    let name = program.name();
    let mut columns = Columns::new();
    columns.add(
        "worker",
        &format!("process_name = '^{name}: worker$'"),
        1,
        Some(&format!("{name}: worker")),
    );
    let mut early = columns.early();
    let mut running = program.start(&["title", "--argv-only", &"x".repeat(200)]);
    let since = kevmon_tests::wait::unix_now();
    let tick = early.tick_after(since, Duration::from_millis(1_500), LIMIT);
    assert_eq!(tick.expect_group("worker").int("process_count"), 0, "{}", tick.0);
    assert_eq!(running.ask(&format!("{name}: worker")), "ok");
    columns.assert_agree(&mut early);
    let tick = early.ticks().last().expect("a tick").clone();
    let group = tick.expect_group("worker");
    assert_eq!((group.int("starts"), group.int("joins")), (0, 1), "{}", group.0);
    assert_eq!(running.ask(&format!("{name}: worker is shutting down")), "ok");
    let tick = early.wait_until("the leave", LIMIT, |tick| {
        tick.expect_group("worker").int("process_count") == 0
    });
    let group = tick.expect_group("worker");
    assert_eq!((group.int("leaves"), group.int("exits")), (1, 0), "{}", group.0);
    assert_eq!(running.finish().status, 0);
    checks::assert_complete(early.ticks());
    early.terminate();
}

/// nginx and postgres: a master with a title, and workers that take theirs after the fork. One that dies is replaced.
#[test]
fn workers_of_a_master_are_told_by_their_titles() {
    let unique = scratch::unique();
    let program = Program::new("/usr/bin/perl", "pool");
    let name = program.name();
    let mut columns = Columns::new();
    columns.add(
        "workers",
        &format!("process_name = '^{name}: worker'"),
        3,
        Some(&format!("{name}: worker*")),
    );
    columns.add(
        "master",
        &format!("process_name = '^{name}: master'"),
        1,
        Some(&format!("{name}: master*")),
    );
    columns.add("none", &format!("process_name = '^{unique}: worker'"), 0, None);
    let mut early = columns.early();
    let script = format!(
        "$0 = '{name}: master'; sub worker {{ my $n = shift; if (!fork) {{ $0 = \"{name}: worker $n /x\"; <STDIN>; exit }} }} \
         worker($_) for 1 .. 3; $| = 1; print \"ready\\n\"; while (wait > 0) {{ worker(4) if $? }}"
    );
    let mut command = Command::new(program.path());
    command.args(["-e", &script]);
    let running = Running::start(command);
    columns.assert_agree(&mut early);
    let tick = early.ticks().last().expect("a tick").clone();
    let group = tick.expect_group("workers");
    assert_eq!(
        (
            group.int("starts") + group.int("worker_starts"),
            group.int("joins")
        ),
        (3, 0),
        "{}",
        group.0
    );
    let pid = i32::try_from(group.members()[0].pid).expect("a pid");
    // SAFETY: kill(2) takes plain integers.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    let tick = early.wait_until("another worker", LIMIT, |tick| {
        let group = tick.expect_group("workers");
        group.int("exits") == 1 && group.int("process_count") == 3
    });
    let group = tick.expect_group("workers");
    assert_eq!(
        (group.int("starts"), group.int("restarts")),
        (4, 1),
        "{}",
        group.0
    );
    drop(running);
    drop(program);
    early.terminate();
}

/// Nobody's rights are needed to see a title.
#[test]
fn a_title_is_seen_without_rights() {
    use std::os::unix::process::CommandExt;
    let program = Program::new(WORKLOAD, "anybody");
    let name = program.name();
    let running = titled(&program, &format!("{name}: worker /x"));
    let mut command = kevmon::command(&[
        "--run-once",
        "--source",
        "proc",
        "--output",
        "json",
        "--process-name",
        &format!("^{name}: worker"),
    ]);
    command.uid(65534).gid(65534).current_dir("/");
    let tick = kevmon::finish(command).assert_code(0).json();
    let group = tick.groups().next().expect("a group");
    assert_eq!(group.members()[0].pid, running.pid(), "{}", group.0);
    assert_eq!(running.finish().status, 0);
}

/// A master that forks two workers, and a third one when it is asked; they write their titles over the arguments alone.
const MASTER: &str = r"
import ctypes, os, sys, time
fields = open('/proc/self/stat').read().rsplit(') ', 1)[1].split(' ')
start, end = int(fields[45]), int(fields[46])
def worker(number):
    master = os.getpid()
    if os.fork():
        return
    title = ('shop-UNIQUE: worker %d of the pool UNIQUE' % number).encode()
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, title, len(title))
    while os.getppid() == master:
        time.sleep(0.05)
    os._exit(0)
worker(1)
worker(2)
print('ready', flush=True)
sys.stdin.readline()
worker(3)
print('ok', flush=True)
sys.stdin.readline()
";

/// A master whose name nothing asks for forks workers whose titles something asks for, at its start and later: no record tells
/// of their forks.
#[test]
fn workers_of_a_master_that_nobody_follows_are_found_by_their_titles() {
    let unique = scratch::unique();
    let mut columns = Columns::new();
    for (plugin, pattern) in [
        ("ends", format!("pool {unique}$")),
        ("only-a-title", format!("^shop-{unique}: worker")),
        ("anywhere", format!("{unique}: worker [0-9]")),
    ] {
        columns.add(plugin, &format!("process_name = '{pattern}'"), 3, None);
    }
    columns.add("other", &format!("process_name = 'other {unique}$'"), 0, None);
    let mut early = columns.early();
    // Perl would set `comm` as well, which a record tells.
    let script = MASTER.replace("UNIQUE", &unique);
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", &script]);
    let mut master = Running::start(command);
    early.wait_until("the first two", LIMIT, |tick| {
        tick.expect_group("ends").int("process_count") == 2
    });
    // The master has been looked at before, and passed over.
    assert_eq!(master.ask("another"), "ok");
    columns.assert_agree(&mut early);
    master.finish();
    let tick = early.wait_until("their ends", LIMIT, |tick| {
        tick.expect_group("ends").int("process_count") == 0
    });
    assert_eq!(tick.expect_group("ends").int("exits"), 3, "{}", tick.0);
    checks::assert_complete(early.ticks());
    early.terminate();
}
