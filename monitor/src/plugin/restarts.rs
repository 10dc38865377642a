//! Pairs the ends of a group's roots with the starts that replace them.

use std::{collections::VecDeque, time::Duration};

use crate::process::BootTime;

/// A start this long before its predecessor's end still replaces it (a rolling hand-over); its downtime is 0.
pub const OVERLAP: Duration = Duration::from_secs(1);

/// A group is in a crash loop while so many of its roots have ended other than with exit code 0, and been replaced,
/// within the last `restart_window`.
pub const CRASHES: usize = 3;

/// Unpaired starts or ends held at most; the oldest are given up first.
const HELD: usize = 1024;

/// A root's end that no start has replaced yet.
#[derive(Debug, Clone, Copy)]
struct End {
    time: BootTime,
    /// The time is when it ended, and not when it was found missing.
    seen: bool,
    /// Not with exit code 0.
    failed: bool,
}

/// A start that took an ended root's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// From the end to the start; `None` where the end was not seen.
    pub downtime: Option<Duration>,
}

/// The unpaired starts and ends of one group.
#[derive(Debug)]
pub struct RestartPairing {
    window: Duration,
    ends: VecDeque<End>,
    starts: VecDeque<BootTime>,
    /// When events were lost last: what starts within the window and replaces no end that was seen since may replace one
    /// that was not seen.
    blurred: Option<BootTime>,
    /// When failed roots were replaced; the last [`CRASHES`] of them.
    crashes: VecDeque<BootTime>,
}

/// What a start is in the light of what is known of ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It replaces nothing.
    Anew,
    /// It takes an ended root's place.
    Instead(Replaced),
    /// Records were lost around it: nobody can say.
    Unknown,
}

impl RestartPairing {
    /// From now on, pairs within `window`.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// Pairs within `window`.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            ends: VecDeque::new(),
            starts: VecDeque::new(),
            blurred: None,
            crashes: VecDeque::new(),
        }
    }

    /// A root started.
    pub fn start(&mut self, time: BootTime) -> Started {
        while self
            .ends
            .front()
            .is_some_and(|end| time.since(end.time) > self.window)
        {
            self.ends.pop_front();
        }
        match self.ends.pop_front() {
            Some(end) => {
                self.note_crash(&end, time);
                Started::Instead(Replaced {
                    downtime: end.seen.then(|| time.since(end.time)),
                })
            }
            None if self.blurred.is_some_and(|at| time.since(at) <= self.window) => Started::Unknown,
            None => {
                hold(&mut self.starts, time);
                Started::Anew
            }
        }
    }

    /// A root ended that had been one since `since`; returns the restart if a start has taken its place already: one
    /// shortly before its end, or one that was told first. Only a root that was established by then (for [`OVERLAP`]
    /// at least) has a successor: roots that start together are no replacements of each other.
    pub fn end(&mut self, time: BootTime, since: BootTime, failed: bool) -> Option<Replaced> {
        while self
            .starts
            .front()
            .is_some_and(|&start| time.since(start) > OVERLAP)
        {
            self.starts.pop_front();
        }
        let end = End {
            time,
            seen: true,
            failed,
        };
        let successor = self.starts.iter().position(|&start| {
            start > since
                && start.since(time) <= self.window
                && (start > time || start.since(since) >= OVERLAP)
        });
        let Some(start) = successor.and_then(|position| self.starts.remove(position)) else {
            hold(&mut self.ends, end);
            return None;
        };
        self.note_crash(&end, start);
        Some(Replaced {
            downtime: Some(start.since(time)),
        })
    }

    /// A root was found missing by a scan: it ended some time before `now`.
    pub fn missing(&mut self, now: BootTime) {
        let end = End {
            time: now,
            seen: false,
            failed: false,
        };
        hold(&mut self.ends, end);
    }

    /// Starts or ends were lost until `now`: what is unpaired may have been paired by them.
    pub fn blur(&mut self, now: BootTime) {
        self.ends.clear();
        self.starts.clear();
        self.blurred = self.blurred.max(Some(now));
    }

    /// Whether the group is in a crash loop; see [`CRASHES`].
    pub fn in_crash_loop(&self, now: BootTime) -> bool {
        self.crashes.len() == CRASHES
            && self
                .crashes
                .front()
                .is_some_and(|&first| now.since(first) <= self.window)
    }

    fn note_crash(&mut self, end: &End, replaced: BootTime) {
        if end.failed {
            if self.crashes.len() == CRASHES {
                self.crashes.pop_front();
            }
            self.crashes.push_back(replaced);
        }
    }
}

fn hold<T>(held: &mut VecDeque<T>, new: T) {
    if held.len() == HELD {
        held.pop_front();
    }
    held.push_back(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    enum Step {
        Start(u64),
        /// End at the first time of a root that was one since the second.
        End(u64, u64),
        /// Found missing.
        Missing(u64),
        /// Records were lost.
        Lost(u64),
    }
    use Step::{End, Lost, Missing, Start};

    /// What a step gives: `None` nothing, `Some(None)` an unknown restart or downtime, else the downtime, ms.
    type Paired = Option<Option<u64>>;

    fn run(steps: &[Step]) -> Vec<Paired> {
        let mut pairing = RestartPairing::new(Duration::from_secs(10));
        let ms = |replaced: Replaced| Some(replaced.downtime.map(|downtime| downtime.as_millis() as u64));
        steps
            .iter()
            .map(|step| match *step {
                Start(time) => match pairing.start(BootTime(time * MS)) {
                    Started::Anew => None,
                    Started::Instead(replaced) => ms(replaced),
                    Started::Unknown => Some(None),
                },
                End(time, since) => pairing
                    .end(BootTime(time * MS), BootTime(since * MS), true)
                    .and_then(ms),
                Missing(now) => {
                    pairing.missing(BootTime(now * MS));
                    None
                }
                Lost(now) => {
                    pairing.blur(BootTime(now * MS));
                    None
                }
            })
            .collect()
    }

    #[test]
    fn pairs() {
        let cases: [(&str, &[Step], &[Paired]); 12] = [
            ("a first start replaces nothing", &[Start(0)], &[None]),
            (
                "a crash loop",
                &[Start(0), End(700, 0), Start(800), End(1500, 800), Start(1600)],
                &[None, None, Some(Some(100)), None, Some(Some(100))],
            ),
            (
                "an end long ago",
                &[Start(0), End(10, 0), Start(20_000)],
                &[None, None, None],
            ),
            (
                "oldest end first",
                &[End(10, 0), End(20, 0), Start(30), Start(30)],
                &[None, None, Some(Some(20)), Some(Some(10))],
            ),
            (
                "the new one is up before the old one is down",
                &[Start(0), Start(5_000), End(5_200, 0), Start(6_000)],
                &[None, None, Some(Some(0)), None],
            ),
            (
                "roots that start together do not replace each other",
                &[Start(0), Start(1), End(500, 0), Start(600)],
                &[None, None, None, Some(Some(100))],
            ),
            (
                "an end that is told after the start that followed it",
                &[Start(0), Start(700), End(600, 0)],
                &[None, None, Some(Some(100))],
            ),
            (
                "a start too long after an end that is told late",
                &[Start(0), Start(20_000), End(600, 0)],
                &[None, None, None],
            ),
            (
                "found missing: a restart, and nobody knows how long it took",
                &[Start(0), Missing(1_000), Start(1_500)],
                &[None, None, Some(None)],
            ),
            (
                "lost records: the starts after them may or may not be restarts",
                &[Start(0), End(700, 0), Lost(750), Start(800), Start(900)],
                &[None, None, None, Some(None), Some(None)],
            ),
            (
                "… but an end that was seen since is replaced by the start that follows it",
                &[
                    Lost(0),
                    End(700, 0),
                    Start(800),
                    End(1500, 800),
                    Start(1600),
                    Start(1700),
                ],
                &[None, None, Some(Some(100)), None, Some(Some(100)), Some(None)],
            ),
            (
                "… and in the end they are forgotten",
                &[Lost(0), Start(9_000), Start(10_001)],
                &[None, Some(None), None],
            ),
        ];
        for (name, steps, expected) in cases {
            assert_eq!(run(steps), expected, "{name}");
        }
    }

    #[test]
    fn a_crash_loop_is_three_failed_roots_replaced_within_the_window() {
        let mut pairing = RestartPairing::new(Duration::from_secs(10));
        let at = |ms: u64| BootTime(ms * MS);
        for (round, expected) in [(0, false), (1, false), (2, true), (3, true)] {
            pairing.end(at(round * 1000 + 500), at(round * 1000), true);
            pairing.start(at(round * 1000 + 600));
            assert_eq!(pairing.in_crash_loop(at(round * 1000 + 700)), expected, "{round}");
        }
        assert!(pairing.in_crash_loop(at(11_600)), "the third last was at 1.6 s");
        assert!(!pairing.in_crash_loop(at(11_601)));

        let mut calm = RestartPairing::new(Duration::from_secs(10));
        for round in 0..5 {
            calm.end(at(round * 1000 + 500), at(round * 1000), false);
            calm.start(at(round * 1000 + 600));
        }
        assert!(!calm.in_crash_loop(at(5_000)), "exit code 0 is no crash");
    }

    #[test]
    fn holds_a_bounded_number() {
        let mut pairing = RestartPairing::new(Duration::from_secs(10));
        for time in 0..10_000 {
            pairing.end(BootTime(time), BootTime(0), false);
        }
        assert_eq!(pairing.ends.len(), HELD);
        assert_eq!(
            pairing.ends.front().map(|end| end.time),
            Some(BootTime(10_000 - HELD as u64)),
            "the oldest were given up"
        );
    }
}
