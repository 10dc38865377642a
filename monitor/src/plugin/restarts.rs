//! Pairs the ends of a group's roots with the starts that replace them.

use std::{collections::VecDeque, time::Duration};

use crate::process::BootTime;

/// A start this long before its predecessor's end still replaces it (a rolling hand-over); its downtime is 0.
pub const OVERLAP: Duration = Duration::from_secs(1);

/// A group is in a crash loop when so many of its roots have ended, other than with exit code 0, and been replaced
/// within the last [`RestartPairing`] window.
pub const CRASHES: usize = 3;

/// Unpaired starts or ends held at most; the oldest are given up first.
const HELD: usize = 1024;

/// The unpaired starts and ends of one group.
#[derive(Debug)]
pub struct RestartPairing {
    window: Duration,
    ends: VecDeque<BootTime>,
    starts: VecDeque<BootTime>,
}

impl RestartPairing {
    /// Pairs within `window`.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            ends: VecDeque::new(),
            starts: VecDeque::new(),
        }
    }

    /// A root started; returns the downtime if it takes an ended root's place.
    pub fn start(&mut self, time: BootTime) -> Option<Duration> {
        while self
            .ends
            .front()
            .is_some_and(|&end| time.since(end) > self.window)
        {
            self.ends.pop_front();
        }
        match self.ends.pop_front() {
            Some(end) => Some(time.since(end)),
            None => {
                hold(&mut self.starts, time);
                None
            }
        }
    }

    /// A root ended that had been one since `since`; returns the downtime, zero, if a start shortly before has taken
    /// its place already. Only a root that was established by then (for [`OVERLAP`] at least) has a successor:
    /// roots that start together are no replacements of each other.
    pub fn end(&mut self, time: BootTime, since: BootTime) -> Option<Duration> {
        while self
            .starts
            .front()
            .is_some_and(|&start| time.since(start) > OVERLAP)
        {
            self.starts.pop_front();
        }
        let successor = self
            .starts
            .iter()
            .position(|&start| start > since && start.since(since) >= OVERLAP);
        match successor {
            Some(position) => {
                self.starts.remove(position);
                Some(Duration::ZERO)
            }
            None => {
                hold(&mut self.ends, time);
                None
            }
        }
    }
}

fn hold(times: &mut VecDeque<BootTime>, time: BootTime) {
    if times.len() == HELD {
        times.pop_front();
    }
    times.push_back(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        Start(u64),
        /// End at the first time of a root that was one since the second.
        End(u64, u64),
    }
    use Step::{End, Start};

    #[test]
    fn pairs() {
        const MS: u64 = 1_000_000;
        type Case<'a> = (&'a str, &'a [Step], &'a [Option<u64>]);
        let cases: [Case<'_>; 6] = [
            ("a first start replaces nothing", &[Start(0)], &[None]),
            (
                "a crash loop",
                &[Start(0), End(700, 0), Start(800), End(1500, 800), Start(1600)],
                &[None, None, Some(100), None, Some(100)],
            ),
            (
                "an end long ago",
                &[Start(0), End(10, 0), Start(20_000)],
                &[None, None, None],
            ),
            (
                "oldest end first",
                &[End(10, 0), End(20, 0), Start(30), Start(30)],
                &[None, None, Some(20), Some(10)],
            ),
            (
                "the new one is up before the old one is down",
                &[Start(0), Start(5_000), End(5_200, 0), Start(6_000)],
                &[None, None, Some(0), None],
            ),
            (
                "roots that start together do not replace each other",
                &[Start(0), Start(1), End(500, 0), Start(600)],
                &[None, None, None, Some(100)],
            ),
        ];
        for (name, steps, expected) in cases {
            let mut pairing = RestartPairing::new(Duration::from_secs(10));
            let paired: Vec<_> = steps
                .iter()
                .map(|step| match *step {
                    Start(time) => pairing.start(BootTime(time * MS)),
                    End(time, since) => pairing.end(BootTime(time * MS), BootTime(since * MS)),
                })
                .map(|downtime| downtime.map(|downtime| downtime.as_millis() as u64))
                .collect();
            assert_eq!(paired, expected, "{name}");
        }
    }

    #[test]
    fn holds_a_bounded_number() {
        let mut pairing = RestartPairing::new(Duration::from_secs(10));
        for time in 0..10_000 {
            pairing.end(BootTime(time), BootTime(0));
        }
        assert_eq!(pairing.ends.len(), HELD);
        assert_eq!(
            pairing.ends.front(),
            Some(&BootTime(10_000 - HELD as u64)),
            "the oldest were given up"
        );
    }
}
