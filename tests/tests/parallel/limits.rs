//! A low limit of open files: kevmon keeps fewer files open between two collections and its values stay right; below a
//! stated least it does not start. Hundreds of real processes, compared with /proc.

use std::{os::unix::process::CommandExt, process::Command, time::Duration};

use kevmon_tests::{
    kevmon::{self, Daemon},
    tick::Group,
    wait,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);

/// What the child may open.
fn set_open_files(command: &mut Command, limit: u64) {
    let limit = libc::rlimit {
        rlim_cur: limit,
        rlim_max: limit,
    };
    // SAFETY: setrlimit(2) only reads the struct; it may be called between fork and exec.
    unsafe {
        command.pre_exec(
            move || match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
}

/// Starts kevmon with so many open files at most.
fn start(limit: u64, args: &[&str]) -> Daemon {
    let page = ["--interval", "500ms"];
    Daemon::start_prepared(&[&page, args].concat(), |command| set_open_files(command, limit))
}

fn open_files(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("our child")
        .count() as u64
}

/// Resident bytes, virtual bytes, threads and descriptors of these processes, as /proc has them.
fn sums_of(pids: &[u32]) -> [u64; 4] {
    // SAFETY: takes no pointer.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a page size");
    let mut sums = [0; 4];
    for pid in pids {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it lives");
        let mut pages = statm
            .split(' ')
            .map(|number| number.parse::<u64>().expect("a number"));
        sums[1] += pages.next().expect("a size") * page;
        sums[0] += pages.next().expect("a size") * page;
        sums[2] += std::fs::read_dir(format!("/proc/{pid}/task"))
            .expect("it lives")
            .count() as u64;
        sums[3] += open_files(*pid);
    }
    sums
}

fn assert_right(group: Group<'_>, members: usize) {
    let pids: Vec<u32> = group.members().iter().map(|member| member.pid).collect();
    assert_eq!(pids.len(), members);
    let told = [
        "memory_rss_total",
        "memory_vms_total",
        "thread_count",
        "open_file_descriptors",
    ]
    .map(|name| group.int(name));
    assert_eq!(told, sums_of(&pids), "{}", group.0["metrics"]);
}

fn herd(count: u64) -> (Program, Running) {
    let program = Program::new(WORKLOAD, "herd");
    let running = program.start(&["herd", &count.to_string()]);
    (program, running)
}

#[test]
fn every_value_is_right_whatever_the_limit_and_files_are_left_for_the_rest() {
    const MEMBERS: usize = 601;
    let (program, running) = herd(600);
    for (limit, source) in [
        (1_024, "ebpf"),
        (128, "ebpf"),
        (300, "ebpf"),
        (1_024, "proc"),
        (128, "proc"),
    ] {
        let mut daemon = start(limit, &["--source", source, "--process-name", &program.pattern()]);
        for _ in 0..3 {
            let since = wait::unix_now();
            let tick = daemon.tick_after(since, Duration::ZERO, LIMIT);
            assert_right(tick.expect_group(&program.plugin()), MEMBERS);
            assert_eq!(tick.complete(), source == "ebpf", "{limit} {source}");
        }
        let open = open_files(daemon.pid());
        // docs/configuration.md: half of what exceeds 256 is for caches; without them kevmon has about 75 open.
        let most = 100 + limit.saturating_sub(256) / 2;
        assert!(open <= most, "{open} files open of {limit}, source {source}");
        assert!(
            !daemon.stderr().contains("Too many open files"),
            "{}",
            daemon.stderr()
        );
        daemon.terminate();
    }
    running.finish();
}

#[test]
fn caches_make_room_when_the_limit_is_reached_and_say_so_once() {
    const MEMBERS: usize = 401;
    let (program, running) = herd(400);
    let args = ["--process-name", &program.pattern(), "--source", "ebpf"];
    let mut daemon = start(8_192, &args);
    daemon.tick_after(wait::unix_now(), Duration::ZERO, LIMIT);
    let open = open_files(daemon.pid());
    assert!(open > 800, "{open}: nothing is kept open");
    let limit = libc::rlimit {
        rlim_cur: 200,
        rlim_max: 8_192,
    };
    let pid = i32::try_from(daemon.pid()).expect("a pid");
    // SAFETY: prlimit(2) reads the new limit and may write no old one.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    for _ in 0..4 {
        let tick = daemon.tick_after(wait::unix_now(), Duration::ZERO, LIMIT);
        assert_right(tick.expect_group(&program.plugin()), MEMBERS);
        assert!(tick.complete(), "{}", daemon.stderr());
    }
    let open = open_files(daemon.pid());
    assert!(open < 150, "{open} files stay open of 200");
    let said = daemon.stderr().matches("open files run out").count();
    assert_eq!(said, 1, "{}", daemon.stderr());
    daemon.terminate();
    running.finish();
}

#[test]
fn a_limit_that_is_too_low_is_an_error_at_the_start() {
    for limit in [20, 32, 64, 127] {
        for more in [&["--run-once"][..], &[]] {
            let mut command = kevmon::command(&[&["--process-name", "^kvt-none$"], more].concat());
            set_open_files(&mut command, limit);
            let output = kevmon::finish(command);
            output.assert_code(4);
            for part in [&format!("open files is {limit}"), "128", "LimitNOFILE="] {
                assert!(output.stderr.contains(part), "{limit}: {}", output.stderr);
            }
        }
    }
}
