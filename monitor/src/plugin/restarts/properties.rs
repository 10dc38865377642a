//! What holds of every schedule.

use super::{
    tests::{FAILED, MS, ended, ms, runs, started},
    *,
};
use crate::process::Likeness;

/// A small generator of pseudo-random numbers (xorshift64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Random lives of a few programs, told in the order of time. Of each pair: no other program while an end of the same one
/// waits, no downtime below zero or beyond the window, each end and each start in one pair at most, and
/// starts = first starts + restarts.
#[test]
fn properties_of_random_schedules() {
    const WINDOW: Duration = Duration::from_secs(10);
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let programs: Vec<Arc<RootIdentity>> = (0..1 + random.below(4))
            .flat_map(|program| {
                (0..1 + random.below(2))
                    .map(move |argument| runs(&format!("app-{program}"), &argument.to_string()))
            })
            .collect();
        let mut pairing = RestartPairing::new(WINDOW);
        let mut live: Vec<(u32, u64, Arc<RootIdentity>)> = Vec::new();
        let mut waiting: Vec<(u32, u64, Arc<RootIdentity>)> = Vec::new();
        let mut paired_starts = Vec::new();
        let (mut time, mut starts, mut firsts, mut ends, mut restarts) = (0, 0, 0, 0, 0);
        for pid in 0..300 {
            let longest = if random.below(10) == 0 { 15_000 } else { 900 };
            time += 1 + random.below(longest);
            let start = live.is_empty() || random.below(2) == 0;
            let replaced = if start {
                let identity = Arc::clone(&programs[random.below(programs.len() as u64) as usize]);
                live.push((pid, time, Arc::clone(&identity)));
                starts += 1;
                match pairing.start(started(time, pid, &identity)) {
                    Started::Replaces(replaced) => Some(*replaced),
                    Started::First => {
                        let fits = |(_, end, old): &&(u32, u64, Arc<RootIdentity>)| {
                            old.program == identity.program && time - end <= 10_000
                        };
                        let left = waiting.iter().find(fits);
                        assert!(left.is_none(), "{seed}: {left:?} was left out");
                        firsts += 1;
                        None
                    }
                    Started::Unknown => panic!("nothing was lost"),
                }
            } else {
                let (pid, since, identity) = live.swap_remove(random.below(live.len() as u64) as usize);
                ends += 1;
                let replaced = pairing.end(ended(time, since, pid, Some(FAILED), &identity));
                waiting.push((pid, time, identity));
                firsts -= u64::from(replaced.is_some());
                replaced
            };
            let Some(replaced) = replaced else { continue };
            restarts += 1;
            let old = waiting
                .iter()
                .position(|(pid, ..)| *pid == replaced.predecessor.key.tgid.0);
            let (_, end, old) = waiting.remove(old.expect("an end is replaced once"));
            let new = &replaced.successor;
            assert_eq!(
                old.program.likeness(&new.identity.program),
                Likeness::Same,
                "{seed}: another program"
            );
            assert!(!paired_starts.contains(&new.key), "{seed}: {new:?} replaces two");
            paired_starts.push(new.key);
            let started = new.time.0 / MS;
            let downtime = replaced.downtime.map(ms);
            assert_eq!(downtime, Some(started.saturating_sub(end)), "{seed}");
            assert!(replaced.downtime <= Some(WINDOW), "{seed}");
            assert!(started + ms(OVERLAP) >= end, "{seed}: too early");
            if started >= end {
                let later = |(_, other, identity): &&(u32, u64, Arc<RootIdentity>)| {
                    **identity == *old && (end + 1..=started).contains(other)
                };
                let later = waiting.iter().find(later);
                assert!(later.is_none(), "{seed}: {later:?} is as like and ended later");
            }
        }
        assert_eq!(starts, firsts + restarts, "{seed}");
        assert!(restarts <= ends, "{seed}");
    }
}
