//! What the programs tried to tell and what was lost of it.

use kevmon_common::{Counters, Failure};

/// Losses since the programs were attached, by program or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    counts: [u64; Failure::COUNT],
    /// Program runs that the kernel skipped.
    skipped: u64,
    /// Lives that no record told, whose free was never seen.
    untold: u64,
    /// How often the programs stopped because kevmon did not come back in time.
    lapses: u64,
}

impl Losses {
    /// From the sums over all CPUs, the kernel's count of skipped runs, and the lives found to be over that no record
    /// told.
    pub fn new(counters: &Counters, skipped: u64, untold: u64) -> Self {
        Self {
            counts: counters.failures,
            skipped,
            untold,
            lapses: 0,
        }
    }

    /// These losses, with `lapses`: how often the programs had stopped because kevmon did not come by in time.
    #[must_use]
    pub fn with_lapses(self, lapses: u64) -> Self {
        Self { lapses, ..self }
    }

    /// Number of losses that call for another look at every process. Lost names are not among them, nor are totals that a dying
    /// thread could not tell: the free tells them.
    pub fn total(&self) -> u64 {
        let told_later = self.counts[Failure::DeadReserve as usize];
        self.counts.iter().sum::<u64>() - self.names() - told_later + self.skipped + self.untold + self.lapses
    }

    /// Names that processes had for a moment, and that were not even kept to be tried on patterns.
    pub fn names(&self) -> u64 {
        self.counts[Failure::RenameLimit as usize]
    }

    /// By the name of the program or map that failed.
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Failure::ALL
            .iter()
            .map(|&(failure, name)| (name, self.counts[failure as usize]))
            .chain([
                ("recursion", self.skipped),
                ("untold_lives", self.untold),
                ("watch_lapsed", self.lapses),
            ])
    }
}

/// The names of the programs whose records the ring may have no room for.
#[cfg(test)]
pub fn of_the_ring() -> impl Iterator<Item = &'static str> {
    let reserves = Failure::ALL.iter().filter(|(failure, _)| failure.is_reserve());
    reserves.map(|(_, name)| *name)
}

/// Records on their way through the ring. When no process event is under way and the ring is empty,
/// `received + lost == sent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Records {
    /// Records that programs tried to send.
    pub sent: u64,
    /// Records taken from the ring, also those that could not be decoded.
    pub received: u64,
    /// Records for which the ring had no room.
    pub lost: u64,
}

impl Records {
    /// Counts from the sums over all CPUs, and the number received.
    pub fn new(counters: &Counters, received: u64) -> Self {
        let reserves = Failure::ALL.iter().filter(|(failure, _)| failure.is_reserve());
        Self {
            sent: counters.sent,
            received,
            lost: reserves
                .map(|&(failure, _)| counters.failures[failure as usize])
                .sum(),
        }
    }
}

/// The counts that an earlier kevmon had reported when this one took over; all zero where this one did not take over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToldBefore {
    failures: [u64; Failure::COUNT],
    skipped: u64,
    /// Records that were sent and are not this run's to receive.
    sent: u64,
}

impl ToldBefore {
    /// `losses` as [`encode`] made them, `counters` as they are now, and the records that wait for this run.
    pub fn new(losses: &[u64], counters: &Counters, waiting: u64) -> Self {
        let mut told = Self::default();
        let skipped = losses.get(Failure::COUNT).copied().unwrap_or(0);
        for (told, loss) in told.failures.iter_mut().zip(losses) {
            *told = *loss;
        }
        told.skipped = skipped;
        let new = told.new_of(counters);
        let lost = Records::new(&new, 0).lost;
        told.sent = counters.sent.saturating_sub(waiting + lost);
        told
    }

    /// The part of `counters` that no earlier kevmon has reported.
    pub fn new_of(&self, counters: &Counters) -> Counters {
        let mut new = *counters;
        for (count, told) in new.failures.iter_mut().zip(self.failures) {
            *count = count.saturating_sub(told);
        }
        new.sent = new.sent.saturating_sub(self.sent);
        new
    }

    /// The part of the runs that the kernel skipped that no earlier kevmon has reported.
    pub fn new_skipped(&self, skipped: u64) -> u64 {
        skipped.saturating_sub(self.skipped)
    }
}

/// The counts in the form in which the state keeps them for the next kevmon.
pub fn encode(counters: &Counters, skipped: u64) -> Vec<u64> {
    counters.failures.iter().copied().chain([skipped]).collect()
}

/// The sums over all CPUs.
pub fn sum<'a>(per_cpu: impl IntoIterator<Item = &'a Counters>) -> Counters {
    per_cpu
        .into_iter()
        .fold(Counters::default(), |mut sum, counters| {
            for (sum, count) in sum.failures.iter_mut().zip(counters.failures) {
                *sum += count;
            }
            sum.sent += counters.sent;
            sum.kept += counters.kept;
            sum.held += counters.held;
            sum
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_for_each_failure_and_in_its_place() {
        for (index, (failure, _)) in Failure::ALL.iter().enumerate() {
            assert_eq!(*failure as usize, index, "{failure:?}");
        }
    }

    #[test]
    fn what_was_told_before_is_not_told_again() {
        let counters = |sent, exec| {
            let mut counters = Counters {
                sent,
                ..Counters::default()
            };
            counters.failures[Failure::ExecReserve as usize] = exec;
            counters.failures[Failure::LostEnds as usize] = 3;
            counters
        };
        let losses = encode(&counters(100, 7), 2);
        // 50 more were tried since: 10 found no room, 40 wait.
        let now = counters(150, 17);
        let told = ToldBefore::new(&losses, &now, 40);
        let new = told.new_of(&now);
        let records = Records {
            sent: 50,
            received: 40,
            lost: 10,
        };
        assert_eq!(Records::new(&new, 40), records);
        let losses = Losses::new(&new, told.new_skipped(5), 0).with_lapses(1);
        let named: Vec<_> = losses.by_name().filter(|&(_, count)| count > 0).collect();
        assert_eq!(
            named,
            [("sched_process_exec", 10), ("recursion", 3), ("watch_lapsed", 1)]
        );
        assert_eq!(losses.total(), 14);
    }

    #[test]
    fn records_that_were_sent_were_received_or_lost() {
        let cpu = |exec, limit, sent| {
            let mut counters = Counters {
                sent,
                kept: 1,
                ..Counters::default()
            };
            counters.failures[Failure::ExecReserve as usize] = exec;
            counters.failures[Failure::FreeReserve as usize] = 1;
            counters.failures[Failure::RenameLimit as usize] = limit;
            counters
        };
        let sum = sum(&[cpu(2, 5, 10), cpu(3, 0, 20)]);
        assert_eq!((sum.sent, sum.kept), (30, 2));
        let records = Records::new(&sum, 23);
        assert_eq!(
            records,
            Records {
                sent: 30,
                received: 23,
                lost: 7
            },
            "a rename beyond the limit was never sent"
        );
        let losses = Losses::new(&sum, 4, 6);
        assert_eq!(losses.total(), 2 + 3 + 2 + 4 + 6);
        assert_eq!(losses.names(), 5, "no record is missing");
        let named: Vec<_> = losses.by_name().filter(|&(_, count)| count > 0).collect();
        assert_eq!(
            named,
            [
                ("sched_process_exec", 5),
                ("sched_process_free", 2),
                ("rename_limit", 5),
                ("recursion", 4),
                ("untold_lives", 6)
            ]
        );
    }
}
