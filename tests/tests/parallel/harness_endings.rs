//! The harness itself, without kevmon: the ways to end that the tests of reasons, restarts and outages rely
//! on are what wait4 tells.

use std::{os::unix::process::CommandExt, process::Command};

use kevmon_tests::{
    cgroup::MemoryCgroup,
    same_pid,
    truth::{self, Spawned},
    workload::{self, Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn each_way_to_end_is_what_wait4_tells() {
    let program = Program::new(WORKLOAD, "ends");
    let status = |args: &[&str]| truth::spawn(&program, args).reap().status;
    assert_eq!(status(&["alarm", "--life-ms", "20"]), libc::SIGALRM);
    let finished = |args: &[&str]| program.start(args).finish().status;
    assert_eq!(finished(&["thread-exits", "5"]), 0x500);
    // From Linux 5.17 on the last thread's code stands (kernel/exit.c, synchronize_group_exit), before it the
    // leader's.
    assert!([0x300, 0x400].contains(&finished(&["leader-first", "3", "4"])));
    assert_eq!(finished(&["leader-first", "3", "4", "--group"]), 0x400);

    let mut handled = program.start(&["on-term", "0"]);
    handled.signal(libc::SIGTERM);
    assert_eq!(handled.reap().status, 0);

    let mut victim = program.start(&["idle"]);
    assert_eq!(status(&["kill", &victim.pid().to_string(), "10"]), 0);
    assert_eq!(victim.reap().status, libc::SIGUSR1);
}

#[test]
fn a_fault_leaves_a_core_in_its_own_directory() {
    let program = Program::new(WORKLOAD, "core");
    let mut command = Command::new(program.path());
    command.arg("segfault").current_dir(program.directory());
    let status = Spawned::start(&mut command).reap().status;
    assert_eq!(
        status,
        libc::SIGSEGV | 0x80,
        "missing prerequisite: a core dump (core_pattern in core(5) must be a path, or a program that exists; sudo sets the limit to 0, which root without CAP_SYS_RESOURCE cannot raise: rlimit_core in sudoers(5))"
    );
}

#[test]
fn eating_in_a_small_cgroup_ends_by_the_oom_killer() {
    let program = Program::new(WORKLOAD, "eats");
    let cgroup = MemoryCgroup::new(32 << 20);
    let mut running = program.start(&["eat"]);
    cgroup.take(running.pid());
    running.tell("");
    let ended = running.reap();
    assert_eq!(ended.status, libc::SIGKILL);
    assert_eq!(cgroup.oom_kills(), 1);
}

#[test]
fn a_pid_is_given_again() {
    let program = Program::new(WORKLOAD, "again");
    let first = truth::spawn(&program, &["burn", "--cpu-ms", "2"]);
    let pid = first.pid();
    assert_eq!(first.reap().status, 0);
    for code in 1..=3 {
        let again = same_pid::spawn(pid, &program, &["exit", &code.to_string()]);
        assert_eq!(again.pid(), pid);
        assert_eq!(again.reap().status, code << 8);
    }
}

#[test]
fn a_preforking_master_replaces_a_worker_that_was_killed() {
    let program = Program::new(WORKLOAD, "master");
    let mut master = program.start(&["prefork", "3"]);
    let master_pid = i32::try_from(master.pid()).unwrap();
    let before = workload::pids_of(program.path());
    assert_eq!(before.len(), 4);
    let victim = *before.iter().find(|pid| **pid != master_pid).unwrap();
    // SAFETY: a worker of our own master, which is the only one that reaps it.
    assert_eq!(unsafe { libc::kill(victim, libc::SIGKILL) }, 0);
    let told: i32 = master.line().parse().unwrap();
    let after = workload::pids_of(program.path());
    assert!(after.contains(&told) && after.len() == 4, "{told} in {after:?}");
    assert_eq!(master.finish().status, 0);
}

#[test]
fn a_title_is_what_ps_and_comm_show() {
    let program = Program::new(WORKLOAD, "title");
    let mut running = program.start(&["title"]);
    assert_eq!(running.ask("kvt-title: worker"), "ok");
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", running.pid())).unwrap();
    assert_eq!(read("cmdline").trim_end_matches('\0'), "kvt-title: worker");
    assert_eq!(read("comm"), "kvt-title: work\n");
    assert_eq!(running.finish().status, 0);
}

#[test]
fn a_shell_becomes_the_program() {
    let program = Program::new(WORKLOAD, "shell");
    let mut shell = Command::new("/bin/sh");
    shell
        .arg0("sh")
        .args(["-c", &format!("exec {} idle", program.path_text())]);
    let running = Running::start(shell);
    assert_eq!(
        workload::pids_of(program.path()),
        [i32::try_from(running.pid()).unwrap()]
    );
    assert_eq!(running.finish().status, 0);
}
