//! What a watched program does: the modes of the `workload` binary. They are plain system calls on a
//! bare `main`, so that a process that is meant to live one millisecond can.
//!
//! A mode that lasts prints `ready` and then lives until its standard input is closed.

mod burn;
mod endings;
mod family;
mod identity;
mod orphans;
mod renames;
mod switches;

use std::{
    io::{Read, Write},
    time::Duration,
};

const USAGE: &str = "workload MODE: burn | threads | idle | exit | signal | mem | fds | rename | exec | exec-chain | \
                     title | forks | prefork | double-fork | vfork-hold | zombie | herd | storm | orphans | pulse | on-term | \
                     alarm | segfault | kill | eat | leak | thread-exits | leader-first | rename-storm | work | switches | ping-pong";

/// Runs the mode that `args` (without argv[0]) name and returns the exit code.
pub fn run(args: &[String]) -> i32 {
    let (mode, rest) = args
        .split_first()
        .map_or(("", args), |(mode, rest)| (mode.as_str(), rest));
    let args = Args(rest);
    match mode {
        "burn" => burn::burn(&args),
        "pulse" => burn::pulse(&args),
        "work" => burn::work(),
        "switches" => switches::switches(),
        "ping-pong" => switches::ping_pong(&args),
        "threads" => burn::threads(&args),
        "idle" => identity::idle(),
        "exit" => identity::exit(&args),
        "signal" => identity::signal(&args),
        "mem" => identity::mem(&args),
        "fds" => identity::fds(&args),
        "rename" => identity::rename(),
        "rename-storm" => renames::rename_storm(&args),
        "exec" => identity::exec(&args),
        "exec-chain" => identity::exec_chain(&args),
        "title" => identity::title(&args),
        "on-term" => endings::on_term(&args),
        "alarm" => endings::alarm(&args),
        "segfault" => endings::segfault(),
        "kill" => endings::kill(&args),
        "eat" => endings::eat(),
        "leak" => endings::leak(&args),
        "thread-exits" => endings::thread_exits(&args),
        "leader-first" => endings::leader_first(&args),
        "forks" => family::forks(&args),
        "prefork" => family::prefork(&args),
        "double-fork" => family::double_fork(),
        "vfork-hold" => family::vfork_hold(&args),
        "zombie" => family::zombie(),
        "herd" => family::herd(&args),
        "storm" => family::storm(&args),
        "orphans" => orphans::orphans(&args),
        _ => {
            eprintln!("{USAGE}");
            2
        }
    }
}

/// A mode's arguments: positional ones first, then `--name VALUE` and `--name`.
struct Args<'a>(&'a [String]);

impl Args<'_> {
    fn positional(&self, index: usize) -> &str {
        self.0
            .get(index)
            .unwrap_or_else(|| panic!("argument {index} is missing; {USAGE}"))
    }

    fn number(&self, index: usize) -> u64 {
        let text = self.positional(index);
        text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    fn flag(&self, name: &str) -> bool {
        self.0.iter().any(|arg| arg == name)
    }

    fn value(&self, name: &str) -> Option<&str> {
        let index = self.0.iter().position(|arg| arg == name)?;
        Some(self.positional(index + 1))
    }

    fn count(&self, name: &str) -> u64 {
        self.value(name).map_or(0, |text| {
            text.parse()
                .unwrap_or_else(|error| panic!("{name} {text:?}: {error}"))
        })
    }

    /// A duration in (fractions of) milliseconds.
    fn millis(&self, name: &str) -> Duration {
        let parse = |text: &str| {
            text.parse::<f64>()
                .unwrap_or_else(|error| panic!("{name} {text:?}: {error}"))
        };
        Duration::from_secs_f64(self.value(name).map_or(0.0, parse) / 1e3)
    }
}

/// Tells the harness that the state which the test is about has been reached.
fn ready() {
    say("ready");
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").expect("the harness reads");
    stdout.flush().expect("the harness reads");
}

/// Lives until the harness closes the input.
fn hold() {
    let mut sink = [0; 64];
    while std::io::stdin().read(&mut sink).is_ok_and(|length| length > 0) {}
}

/// A CPU or wall clock, as the time since its zero.
fn clock(id: libc::clockid_t) -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid timespec for the kernel to fill.
    let result = unsafe { libc::clock_gettime(id, &raw mut now) };
    assert_eq!(result, 0, "clock_gettime({id})");
    let seconds = u64::try_from(now.tv_sec).expect("clocks are positive");
    Duration::new(seconds, u32::try_from(now.tv_nsec).expect("less than a second"))
}

fn checked(result: i32, what: &str) -> i32 {
    assert!(result >= 0, "{what}: {}", std::io::Error::last_os_error());
    result
}
