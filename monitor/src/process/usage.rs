//! Usage sums of a process: what the kernel has counted for it since it began.

/// One of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// CPU time, ns.
    Runtime,
    /// User part of the CPU time, ns.
    User,
    /// System part of the CPU time, ns.
    System,
    /// Time runnable but waiting for a CPU, ns.
    RunDelay,
    /// Voluntary context switches.
    Voluntary,
    /// Involuntary context switches.
    Involuntary,
    /// Page faults served from memory.
    MinorFaults,
    /// Page faults that waited for storage.
    MajorFaults,
    /// Bytes fetched from storage.
    ReadBytes,
    /// Bytes sent to storage.
    WriteBytes,
}

const COUNTERS: usize = 10;

/// A value for each [`Counter`]; `None` where the source could not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage([Option<u64>; COUNTERS]);

impl Usage {
    /// Nothing used.
    pub const ZERO: Self = Self([Some(0); COUNTERS]);
    /// Nothing known.
    pub const UNKNOWN: Self = Self([None; COUNTERS]);

    /// The sum of `counter`, if known.
    pub fn get(&self, counter: Counter) -> Option<u64> {
        self.0[counter as usize]
    }

    /// The same with another value for `counter`.
    #[must_use]
    pub fn with(mut self, counter: Counter, value: Option<u64>) -> Self {
        self.0[counter as usize] = value;
        self
    }

    /// Sum by sum; unknown where either is.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, |a, b| Some(a?.saturating_add(b?)))
    }

    /// What was used between `earlier` and now; unknown where either is.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, |a, b| Some(a?.saturating_sub(b?)))
    }

    /// The higher of the two, sum by sum; what only one knows is taken from it. A sum never falls this way.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        self.zip(other, Option::max)
    }

    /// Of raw totals of what is over: with user and system time as parts of the exact CPU time.
    #[must_use]
    pub fn split(&self) -> Self {
        let known = (
            self.get(Counter::Runtime),
            self.get(Counter::User),
            self.get(Counter::System),
        );
        let (Some(runtime), Some(user), Some(system)) = known else {
            return *self;
        };
        let mut split = CpuSplit::default();
        split.advance(runtime, user, system);
        split.settle();
        let (user, system) = split.parts();
        self.with(Counter::User, Some(user))
            .with(Counter::System, Some(system))
    }

    fn zip(&self, other: &Self, f: impl Fn(Option<u64>, Option<u64>) -> Option<u64>) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

/// Splits exact CPU time into user and system by the kernel's tick samples, increment by increment, so that
/// neither part ever falls. (Splitting the *total* anew each time, as kernel/sched/cputime.c does, would need
/// its monotonicity clamps.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuSplit {
    user: u64,
    system: u64,
    /// Inputs seen so far, ns.
    runtime: u64,
    user_ticks: u64,
    system_ticks: u64,
    /// CPU time that no tick has told the mode of yet, ns.
    pending: u64,
}

impl CpuSplit {
    /// Goes on from totals of which `user` and `system` ns have been told apart.
    pub fn resumed(runtime: u64, user: u64, system: u64) -> Self {
        Self {
            user,
            system,
            runtime,
            pending: runtime.saturating_sub(user.saturating_add(system)),
            ..Self::default()
        }
    }

    /// Takes a new reading of all three sums, ns.
    pub fn advance(&mut self, runtime: u64, user_ticks: u64, system_ticks: u64) {
        let user = user_ticks.saturating_sub(self.user_ticks);
        let system = system_ticks.saturating_sub(self.system_ticks);
        self.pending += runtime.saturating_sub(self.runtime);
        if user + system > 0 {
            let user_part = (u128::from(self.pending) * u128::from(user) / u128::from(user + system)) as u64;
            self.user += user_part;
            self.system += self.pending - user_part;
            self.pending = 0;
        }
        self.runtime = self.runtime.max(runtime);
        self.user_ticks = self.user_ticks.max(user_ticks);
        self.system_ticks = self.system_ticks.max(system_ticks);
    }

    /// The process is over: what no tick ever fell into counts as user time, as the kernel itself has it
    /// (kernel/sched/cputime.c, cputime_adjust: "if either stime or utime are 0, assume all runtime is userspace").
    pub fn settle(&mut self) {
        self.user += std::mem::take(&mut self.pending);
    }

    /// The CPU time that has been split, or waits to be, ns.
    pub fn runtime(&self) -> u64 {
        self.runtime
    }

    /// User and system time so far, ns.
    pub fn parts(&self) -> (u64, u64) {
        (self.user, self.system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_totals_are_split_by_their_ticks() {
        let raw = |runtime, user, system| {
            Usage::ZERO
                .with(Counter::Runtime, Some(runtime))
                .with(Counter::User, Some(user))
                .with(Counter::System, Some(system))
        };
        for (told, user, system) in [
            (raw(5_000, 4_000, 4_000), 2_500, 2_500),
            (raw(5_000, 0, 4_000), 0, 5_000),
            (raw(5_000, 0, 0), 5_000, 0),
        ] {
            assert_eq!(told.split(), raw(5_000, user, system), "{told:?}");
        }
        let unknown = raw(5_000, 1, 1).with(Counter::System, None);
        assert_eq!(unknown.split(), unknown);
    }

    #[test]
    fn sums_are_unknown_where_a_part_is() {
        let known = Usage::ZERO.with(Counter::ReadBytes, Some(5));
        let unknown = Usage::ZERO.with(Counter::ReadBytes, None);
        assert_eq!(known.plus(&known).get(Counter::ReadBytes), Some(10));
        assert_eq!(known.plus(&unknown).get(Counter::ReadBytes), None);
        assert_eq!(known.since(&unknown).get(Counter::ReadBytes), None);
        assert_eq!(known.at_least(&unknown).get(Counter::ReadBytes), Some(5));
        assert_eq!(
            known.at_least(&Usage::ZERO).get(Counter::ReadBytes),
            Some(5),
            "a sum never falls"
        );
    }

    #[test]
    fn cpu_time_is_split_by_the_ticks_of_its_own_increment() {
        // (runtime, utime, stime) read in turn; expected (user, system) after each.
        let readings = [
            ((1_000_000, 0, 0), (0, 0)),                 // no tick yet: nothing is claimed
            ((4_000_000, 4_000_000, 0), (4_000_000, 0)), // all of it user
            ((8_000_000, 4_000_000, 4_000_000), (4_000_000, 4_000_000)),
            ((16_000_000, 8_000_000, 12_000_000), (6_666_666, 9_333_334)), // 1:2
            ((16_000_000, 8_000_000, 12_000_000), (6_666_666, 9_333_334)),
            ((10_000_000, 8_000_000, 12_000_000), (6_666_666, 9_333_334)), // an under-read changes nothing
        ];
        let mut split = CpuSplit::default();
        for (step, ((runtime, user, system), expected)) in readings.into_iter().enumerate() {
            split.advance(runtime, user, system);
            assert_eq!(split.parts(), expected, "step {step}");
        }
    }

    #[test]
    fn a_split_that_is_resumed_never_falls() {
        let mut split = CpuSplit::resumed(10_000_000, 6_000_000, 3_000_000);
        assert_eq!(
            split.parts(),
            (6_000_000, 3_000_000),
            "a millisecond is not told apart yet"
        );
        split.advance(14_000_000, 6_000_000, 4_000_000);
        assert_eq!(
            split.parts(),
            (9_000_000, 5_000_000),
            "the new 5 ms as the whole life: 6:4"
        );
    }

    #[test]
    fn a_process_that_no_tick_hit_ran_in_user_mode() {
        let mut split = CpuSplit::default();
        split.advance(900_000, 0, 0);
        split.settle();
        assert_eq!(split.parts(), (900_000, 0));
        split.settle();
        assert_eq!(split.parts(), (900_000, 0));
    }
}
