//! Crash loops: programs whose roots keep failing and being replaced.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::process::{BootTime, Program};

/// A program is in a crash loop while so many of its roots have ended other than with exit code 0, and been replaced,
/// within the last `restart_window`.
pub(super) const CRASHES: usize = 3;

/// Programs of one group whose failures are remembered; the one that failed longest ago is given up first.
pub(super) const PROGRAMS: usize = 64;

/// When failed roots of each program were replaced: the last [`CRASHES`] times.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    programs: HashMap<Program, VecDeque<BootTime>>,
}

impl Crashes {
    /// A failed root of `program` was replaced.
    pub(super) fn note(&mut self, program: &Program, replaced: BootTime) {
        if let Some(times) = self.programs.get_mut(program) {
            if times.len() == CRASHES {
                times.pop_front();
            }
            times.push_back(replaced);
            return;
        }
        if self.programs.len() == PROGRAMS {
            let oldest = self.programs.iter().min_by_key(|(_, times)| times.back());
            if let Some(oldest) = oldest.map(|(program, _)| program.clone()) {
                self.programs.remove(&oldest);
            }
        }
        self.programs.insert(program.clone(), VecDeque::from([replaced]));
    }

    /// True while some program is in a crash loop.
    pub(super) fn any_loop(&self, now: BootTime, window: Duration) -> bool {
        self.programs.values().any(|times| {
            times.len() == CRASHES && times.front().is_some_and(|&first| now.since(first) <= window)
        })
    }

    /// Number of programs remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.programs.len()
    }
}
