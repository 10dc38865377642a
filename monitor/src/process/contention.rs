//! What the processes of a cgroup had to wait for.

/// Time in which some, or all, of them stood still for want of one resource, ns (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stall {
    /// Time in which at least one of them stood still, ns.
    pub some_ns: u64,
    /// Time in which all that had work to do stood still, ns; of the CPU known since Linux 5.13.
    pub full_ns: Option<u64>,
}

/// Sums of a cgroup, since it was made or since they are added up; `None`: not counted there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contention {
    /// Waiting for a CPU.
    pub cpu: Option<Stall>,
    /// Waiting for memory.
    pub memory: Option<Stall>,
    /// Waiting for disks.
    pub io: Option<Stall>,
    /// Held back by the cgroup's own bound on CPU time (`cpu.max`), ns.
    pub throttled_ns: Option<u64>,
    /// Number of periods of `cpu.max` in which they were held back.
    pub throttled_periods: Option<u64>,
}

impl Stall {
    fn grown(self, since: Self) -> Self {
        Self {
            some_ns: self.some_ns.saturating_sub(since.some_ns),
            full_ns: grown(self.full_ns, since.full_ns),
        }
    }

    fn plus(self, more: Self) -> Self {
        Self {
            some_ns: self.some_ns.saturating_add(more.some_ns),
            full_ns: plus(self.full_ns, more.full_ns),
        }
    }
}

fn grown(now: Option<u64>, since: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(since.unwrap_or(0)))
}

fn plus(sum: Option<u64>, more: Option<u64>) -> Option<u64> {
    Some(sum.unwrap_or(0).saturating_add(more?))
}

impl Contention {
    /// What has come since `since`, of the same cgroup.
    #[must_use]
    pub fn grown(&self, since: &Self) -> Self {
        let stall = |now: Option<Stall>, since: Option<Stall>| Some(now?.grown(since.unwrap_or_default()));
        Self {
            cpu: stall(self.cpu, since.cpu),
            memory: stall(self.memory, since.memory),
            io: stall(self.io, since.io),
            throttled_ns: grown(self.throttled_ns, since.throttled_ns),
            throttled_periods: grown(self.throttled_periods, since.throttled_periods),
        }
    }

    /// Both together. What is not counted now has no sum.
    #[must_use]
    pub fn plus(&self, more: &Self) -> Self {
        let stall = |sum: Option<Stall>, more: Option<Stall>| Some(sum.unwrap_or_default().plus(more?));
        Self {
            cpu: stall(self.cpu, more.cpu),
            memory: stall(self.memory, more.memory),
            io: stall(self.io, more.io),
            throttled_ns: plus(self.throttled_ns, more.throttled_ns),
            throttled_periods: plus(self.throttled_periods, more.throttled_periods),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_on_and_what_is_not_counted_stays_absent() {
        let of = |some_ns, full_ns| Contention {
            cpu: Some(Stall { some_ns, full_ns }),
            throttled_periods: Some(some_ns),
            ..Contention::default()
        };
        let grown = of(50, Some(9)).grown(&of(30, Some(4)));
        assert_eq!(grown, of(20, Some(5)));
        let sum = Contention::default().plus(&grown).plus(&of(1, Some(1)));
        assert_eq!(sum, of(21, Some(6)));
        assert_eq!((sum.memory, sum.throttled_ns), (None, None));
        assert_eq!(
            of(5, None).grown(&of(1, None)).cpu,
            Some(Stall {
                some_ns: 4,
                full_ns: None
            })
        );
    }
}
