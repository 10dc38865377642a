//! Crash loops: programs whose roots keep failing and being replaced.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::process::{BootTime, Program};

/// A program is in a crash loop while so many of its roots have ended other than with exit code 0, and been replaced,
/// within the last `restart_window`.
pub(super) const CRASHES: usize = 3;

/// Programs of one group whose failures are remembered; of the user who has most of them, the one that failed longest ago is
/// given up first.
pub(super) const PROGRAMS: usize = 64;

/// When failed roots of each program were replaced: the last [`CRASHES`] times.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    programs: HashMap<Program, Failures>,
}

#[derive(Debug)]
struct Failures {
    times: VecDeque<BootTime>,
    /// User who ran the program when it failed first; `None` where that is not known.
    user: Option<u32>,
}

impl Crashes {
    /// A failed root of `program`, which `user` ran, was replaced.
    pub(super) fn note(&mut self, program: &Program, user: Option<u32>, replaced: BootTime) {
        if let Some(Failures { times, .. }) = self.programs.get_mut(program) {
            if times.len() == CRASHES {
                times.pop_front();
            }
            times.push_back(replaced);
            return;
        }
        if self.programs.len() == PROGRAMS
            && let Some(program) = self.in_excess().cloned()
        {
            self.programs.remove(&program);
        }
        let times = VecDeque::from([replaced]);
        self.programs.insert(program.clone(), Failures { times, user });
    }

    /// The program that makes room.
    fn in_excess(&self) -> Option<&Program> {
        let mut by_user: HashMap<Option<u32>, usize> = HashMap::new();
        for of in self.programs.values() {
            *by_user.entry(of.user).or_default() += 1;
        }
        let most = by_user.values().copied().max()?;
        let crowds = |of: &Failures| by_user.get(&of.user) == Some(&most);
        let crowding = self.programs.iter().filter(|(_, of)| crowds(of));
        crowding
            .min_by_key(|(_, of)| of.times.back())
            .map(|(program, _)| program)
    }

    /// True while some program is in a crash loop.
    pub(super) fn any_loop(&self, now: BootTime, window: Duration) -> bool {
        self.programs.values().any(|Failures { times, .. }| {
            times.len() == CRASHES && times.front().is_some_and(|&first| now.since(first) <= window)
        })
    }

    /// Number of programs remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.programs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::BootTime;

    #[test]
    fn a_strangers_failing_programs_leave_a_service_its_crash_loop() {
        const STRANGER: Option<u32> = Some(65_534);
        let program = |name: String| Program {
            executable: name.into(),
            script: "".into(),
            fallback: "".into(),
        };
        let mut crashes = Crashes::default();
        for time in 0..CRASHES as u64 {
            crashes.note(&program("service".to_owned()), Some(33), BootTime(time));
        }
        for number in 0..10 * PROGRAMS as u64 {
            crashes.note(&program(format!("tool{number}")), STRANGER, BootTime(10 + number));
        }
        assert_eq!(crashes.len(), PROGRAMS);
        assert!(crashes.any_loop(BootTime(1_000), Duration::from_secs(1)));
    }
}
