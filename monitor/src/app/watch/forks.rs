//! Titles of processes that were forked by one that nobody follows.
//!
//! The kernel side tells the forks of followed processes alone: all others would drown the rest. A master that fits no pattern
//! may fork workers whose titles fit one, at any time. So where a pattern may fit the title of any program, each process of the
//! host that is of a certain age is looked at, once for each age: by then it has written its title, if it ever does. One walk
//! over all processes finds them, and is made only while the host starts processes at all.

use std::time::Duration;

use super::{Source, Watch, titles};
use crate::{health::Soft, process::BootTime, procfs::HostReader};

/// The first look.
const YOUNG: Duration = Duration::from_secs(1);
/// The second look is not before this age, however short the interval is: on a busy host a worker may write its title late.
const GROWN: Duration = Duration::from_secs(3);
/// Processes looked at at one tick; the rest are counted and left out.
const AT_ONCE: usize = 1024;

/// Which processes have been looked at.
#[derive(Debug)]
pub(super) struct Forks {
    /// When the last look was.
    looked: BootTime,
    /// The host's last pid at the last look.
    last_pid: Option<u32>,
    /// Nothing has started since.
    quiet_since: BootTime,
}

/// Processes that started after the first time, and not after the second one.
type Ages = (BootTime, BootTime);

impl Forks {
    /// What started before `now` is for the first snapshot.
    pub(super) fn new(now: BootTime) -> Self {
        Self {
            looked: now,
            last_pid: None,
            quiet_since: now,
        }
    }

    /// The processes to look at `now`, by their starts. `interval`: the age at the second look, [`GROWN`] at least.
    fn due(&mut self, now: BootTime, last_pid: Option<u32>, interval: Duration) -> Vec<Ages> {
        if last_pid.is_none() || last_pid != self.last_pid {
            self.last_pid = last_pid;
            self.quiet_since = now;
        }
        let before = std::mem::replace(&mut self.looked, now);
        let ages = [YOUNG, interval.max(GROWN)];
        let started = |at: BootTime, age: Duration| {
            BootTime(at.0.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
        };
        let starts = ages
            .map(|age| (started(before, age), started(now, age)))
            .into_iter();
        starts.filter(|(after, _)| *after < self.quiet_since).collect()
    }
}

impl Watch {
    /// Looks at what has reached an age since the last tick and is not followed.
    pub(super) fn look_at_forks(&mut self) {
        let now = HostReader::now();
        if !self.tracker.looks_at_anybody() {
            self.forks = Forks::new(now);
            return;
        }
        let due = self.forks.due(now, self.host.last_pid(), self.title_interval());
        if due.is_empty() {
            return;
        }
        let Source::Ebpf(kernel) = &mut self.source else {
            return;
        };
        let Ok(seen) = kernel.snapshot() else {
            self.health.count(Soft::IteratorFailed);
            return;
        };
        let is_due = |start: BootTime| due.iter().any(|&(after, until)| start > after && start <= until);
        let mut looks = 0;
        for seen in seen {
            // A mark does not say that it was looked at: a master that forks before the verdict about itself comes hands one on.
            // The kernel's own threads have no executable, and no title.
            let has_title = !seen.identity.exe.is_empty() && !seen.ended;
            let is_new = is_due(seen.key.start) && !self.tracker.knows(seen.key);
            if !has_title || !is_new {
                continue;
            }
            if looks == AT_ONCE {
                self.health.count(Soft::TitlesUnread);
                continue;
            }
            looks += 1;
            self.look_at_stranger(seen.key);
        }
    }

    /// An interval after a start, for looks: that of the plugin that is collected most often.
    pub(super) fn title_interval(&self) -> Duration {
        let intervals = self.tracker.plugins().map(|(_, plugin)| plugin.interval);
        intervals.min().unwrap_or(titles::LATEST).min(titles::LATEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Looks at these times, s, with the last pid of each; which of the starts are looked at, and at which look.
    fn looked_at(looks: &[(u64, Option<u32>)], interval: u64, starts: &[u64]) -> Vec<(u64, u64)> {
        let mut forks = Forks::new(BootTime(100 * SECOND));
        let mut found = Vec::new();
        for &(now, last_pid) in looks {
            let due = forks.due(BootTime(now * SECOND), last_pid, Duration::from_secs(interval));
            for &start in starts.iter().filter(|start| **start <= now) {
                let at = BootTime(start * SECOND);
                found.extend(
                    due.iter()
                        .filter(|(after, until)| at > *after && at <= *until)
                        .map(|_| (start, now)),
                );
            }
        }
        found
    }

    #[test]
    fn each_process_is_looked_at_once_at_each_age() {
        let every = |step: u64| (1..20).map(move |tick| (100 + tick * step, Some(tick as u32)));
        let looks: Vec<_> = every(1).collect();
        assert_eq!(
            looked_at(&looks, 1, &[103, 110]),
            [(103, 104), (103, 106), (110, 111), (110, 113)]
        );
        assert_eq!(
            looked_at(&looks, 5, &[103, 110]),
            [(103, 104), (103, 108), (110, 111), (110, 115)]
        );
        let looks: Vec<_> = every(10).collect();
        assert_eq!(
            looked_at(&looks, 10, &[103, 119, 120]),
            [
                (103, 110),
                (103, 120),
                (119, 120),
                (119, 130),
                (120, 130),
                (120, 130)
            ]
        );
    }

    #[test]
    fn a_host_that_starts_nothing_is_not_walked() {
        let mut forks = Forks::new(BootTime(100 * SECOND));
        let mut due = |now: u64, last_pid| {
            let due = forks.due(BootTime(now * SECOND), last_pid, Duration::from_secs(10));
            due.len()
        };
        assert_eq!(due(110, Some(7)), 2, "7 started by then");
        assert_eq!(due(120, Some(7)), 2, "it may have started at 110");
        assert_eq!(due(130, Some(7)), 0);
        assert_eq!(due(140, Some(7)), 0);
        assert_eq!(due(150, Some(8)), 2);
        assert_eq!(due(160, None), 2, "not known");
        assert_eq!(due(170, None), 2);
    }
}
