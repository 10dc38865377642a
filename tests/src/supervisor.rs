//! A supervisor as services have one: it starts a program, waits for its end, counts it by what wait4 says, and starts it again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    truth::{self, Truth},
    workload::Program,
};

/// How a process ends: by what wait4 says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl Ending {
    /// By a wait status.
    pub fn of(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signal(libc::WTERMSIG(status))
        } else {
            Self::Exit(libc::WEXITSTATUS(status))
        }
    }
}

/// What a supervisor counted.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    pub truth: Truth,
    pub endings: BTreeMap<Ending, u64>,
}

impl Counted {
    /// Runs `program` with `args` to its end, and counts it.
    pub fn run(&mut self, program: &Program, args: &[&str]) {
        let ended = truth::spawn(program, args).reap();
        self.truth += ended.truth;
        *self.endings.entry(Ending::of(ended.status)).or_default() += 1;
    }

    /// What was counted since `before`, which is an earlier state of this one.
    pub fn since(&self, before: &Self) -> BTreeMap<Ending, u64> {
        let earlier = |ending: &Ending| before.endings.get(ending).copied().unwrap_or_default();
        self.endings
            .iter()
            .map(|(ending, count)| (*ending, count - earlier(ending)))
            .collect()
    }
}

/// A supervisor in a thread of its own.
#[derive(Debug)]
pub struct Supervisor {
    stops: Arc<AtomicBool>,
    thread: JoinHandle<Counted>,
}

impl Supervisor {
    /// Runs `program` with each of `ways` in turn, again and again, a start every `period` where the one before has ended by then.
    /// Counts go on from `counted`.
    pub fn start(
        program: &Arc<Program>,
        ways: &'static [&'static [&'static str]],
        period: Duration,
        counted: Counted,
    ) -> Self {
        let stops = Arc::<AtomicBool>::default();
        let (program, stop) = (Arc::clone(program), Arc::clone(&stops));
        let thread = std::thread::spawn(move || {
            let mut counted = counted;
            let mut next = Instant::now();
            for args in ways.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                counted.run(&program, args);
                next += period;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            counted
        });
        Self { stops, thread }
    }

    /// Lets the process that runs end, and returns what was counted.
    pub fn stop(self) -> Counted {
        self.stops.store(true, Ordering::Relaxed);
        self.thread.join().expect("the supervisor does not panic")
    }
}
