//! Usage sums of a process: what the kernel has counted for it since it began.

use std::fmt;

/// A usage counter: one of the sums that the kernel keeps of a process.
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

/// Stands for a value that the source could not say. No sum comes near it: it would take 584 years of CPU time.
const UNKNOWN: u64 = u64::MAX;

/// A value for each [`Counter`]; unknown where the source could not say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Usage([u64; COUNTERS]);

impl Usage {
    /// All counters known to be 0.
    pub const ZERO: Self = Self([0; COUNTERS]);
    /// All counters unknown.
    pub const UNKNOWN: Self = Self([UNKNOWN; COUNTERS]);

    /// The sum of `counter`, if known.
    pub fn get(&self, counter: Counter) -> Option<u64> {
        Some(self.0[counter as usize]).filter(|&value| value != UNKNOWN)
    }

    /// These sums with another value for `counter`; `None`: unknown.
    #[must_use]
    pub fn with(mut self, counter: Counter, value: Option<u64>) -> Self {
        self.0[counter as usize] = value.map_or(UNKNOWN, highest_known);
        self
    }

    /// Sum by sum; unknown where either is.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// What was used between `earlier` and now; unknown where either is.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    /// The higher of the two, sum by sum; what only one knows is taken from it. A sum never falls this way.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| match (self.0[i], other.0[i]) {
            (UNKNOWN, known) | (known, UNKNOWN) => known,
            (a, b) => a.max(b),
        }))
    }

    /// These sums, which are raw totals of something that is over, with user and system time as parts of the exact CPU time.
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

    /// Of what both know; unknown where either does not.
    fn zip(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|i| {
            let (a, b) = (self.0[i], other.0[i]);
            if a == UNKNOWN || b == UNKNOWN {
                UNKNOWN
            } else {
                highest_known(f(a, b))
            }
        }))
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |&value: &u64| Some(value).filter(|&value| value != UNKNOWN);
        f.debug_tuple("Usage")
            .field(&self.0.each_ref().map(known))
            .finish()
    }
}

/// A known value stays one, however high.
fn highest_known(value: u64) -> u64 {
    value.min(UNKNOWN - 1)
}

/// Splits exact CPU time into user and system as the kernel does for times(2), wait4(2) and /proc/<pid>/stat
/// (kernel/sched/cputime.c, cputime_adjust, 5.10 to 6.18): all of it anew at each reading, by the ticks of the whole life, and
/// clamped so that neither part ever falls. From one reading after the end the parts are those of wait4. With readings in between
/// they are, too, unless a clamp held: the kernel's own previous values come from whoever asked it then.
///
/// What runs before its first tick is split by nothing yet, and waits: reported as user time at once, as the kernel would, it
/// could not become system time any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuSplit {
    user: u64,
    system: u64,
    /// The highest CPU time read, ns.
    runtime: u64,
}

impl CpuSplit {
    /// Goes on from totals that were reported before, ns.
    pub fn resumed(runtime: u64, user: u64, system: u64) -> Self {
        Self {
            user,
            system,
            runtime,
        }
    }

    /// Takes a reading of CPU time and of its samples by ticks, all ns since the process began.
    pub fn advance(&mut self, runtime: u64, user_ticks: u64, system_ticks: u64) {
        self.runtime = self.runtime.max(runtime);
        if self.told_apart() >= runtime || (user_ticks, system_ticks) == (0, 0) {
            return;
        }
        let system = match (user_ticks, system_ticks) {
            (_, 0) => 0,
            (0, _) => runtime,
            (user, system) => {
                let ticks = u128::from(user) + u128::from(system);
                (u128::from(system) * u128::from(runtime) / ticks) as u64
            }
        };
        let system = system.max(self.system);
        let user = runtime.saturating_sub(system).max(self.user);
        (self.user, self.system) = (user, runtime - user);
    }

    /// The process is over: what no tick ever fell into is user time ("if either stime or utime are 0, assume all runtime is
    /// userspace").
    pub fn settle(&mut self) {
        self.user += self.runtime.saturating_sub(self.told_apart());
    }

    /// The CPU time that has been split, or waits to be, ns.
    pub fn runtime(&self) -> u64 {
        self.runtime
    }

    fn told_apart(&self) -> u64 {
        self.user.saturating_add(self.system)
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
    fn a_value_that_is_known_stays_known_however_high() {
        let top = Usage::ZERO.with(Counter::Runtime, Some(u64::MAX));
        for usage in [top, top.plus(&top), top.since(&Usage::ZERO), top.at_least(&top)] {
            assert_eq!(usage.get(Counter::Runtime), Some(u64::MAX - 1));
        }
        assert_eq!(Usage::UNKNOWN.at_least(&top), top.at_least(&Usage::UNKNOWN));
        assert_eq!(Usage::UNKNOWN.at_least(&Usage::UNKNOWN), Usage::UNKNOWN);
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
    fn cpu_time_is_split_by_the_ticks_of_the_whole_life() {
        // (runtime, utime, stime) read in turn; expected (user, system) after each.
        let readings = [
            ((1_000_000, 0, 0), (0, 0)), // no tick yet
            ((4_000_000, 4_000_000, 0), (4_000_000, 0)),
            ((8_000_000, 4_000_000, 4_000_000), (4_000_000, 4_000_000)),
            ((16_000_000, 8_000_000, 12_000_000), (6_400_000, 9_600_000)), // 2:3
            ((10_000_000, 8_000_000, 12_000_000), (6_400_000, 9_600_000)), // an under-read changes nothing
            ((17_000_000, 30_000_000, 12_000_000), (7_400_000, 9_600_000)), // system time does not fall
            ((18_000_000, 30_000_000, 900_000_000), (7_400_000, 10_600_000)), // nor user time
        ];
        let mut split = CpuSplit::default();
        for (step, ((runtime, user, system), expected)) in readings.into_iter().enumerate() {
            split.advance(runtime, user, system);
            assert_eq!(split.parts(), expected, "step {step}");
        }
    }

    /// The kernel's function, line by line (kernel/sched/cputime.c, cputime_adjust, 6.18).
    fn cputime_adjust(runtime: u64, utime: u64, stime: u64, before: &mut (u64, u64)) {
        let (user_before, system_before) = *before;
        if system_before + user_before >= runtime {
            return;
        }
        let mut stime = stime;
        if stime != 0 {
            stime = if utime == 0 {
                runtime
            } else {
                (u128::from(stime) * u128::from(runtime) / (u128::from(stime) + u128::from(utime))) as u64
            };
        }
        if stime < system_before {
            stime = system_before;
        }
        let mut utime = runtime - stime;
        if utime < user_before {
            utime = user_before;
            stime = runtime - utime;
        }
        *before = (utime, stime);
    }

    #[test]
    fn a_process_that_no_tick_hit_ran_in_user_mode_once_it_is_over() {
        let mut split = CpuSplit::default();
        split.advance(900_000, 0, 0);
        assert_eq!(split.parts(), (0, 0));
        let mut hit = split;
        hit.advance(950_000, 0, 4_000_000);
        assert_eq!(hit.parts(), (0, 950_000), "its last tick was in the kernel");
        for _ in 0..2 {
            split.settle();
            assert_eq!(split.parts(), (900_000, 0));
        }
    }

    #[test]
    fn any_readings_are_split_as_the_kernel_does_and_no_part_falls() {
        let mut seed = 7_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for _ in 0..2_000 {
            // Some lives resume, and some counters are large.
            let scale = [1, 1_000, 4_000_000, 1 << 40][random(4) as usize];
            let resumed = random(3) == 0;
            let mut kernel = if resumed {
                (random(5) * scale, random(5) * scale)
            } else {
                (0, 0)
            };
            let mut split = CpuSplit::resumed(kernel.0 + kernel.1, kernel.0, kernel.1);
            // The first tick comes with the first reading.
            let (mut runtime, mut utime, mut stime) = (kernel.0 + kernel.1, scale, 0);
            for _ in 0..random(40) {
                let before = split.parts();
                runtime += random(6) * scale + random(2);
                utime += random(4) * scale;
                stime += random(4) * scale;
                // An under-read, now and then.
                let read = if random(8) == 0 { runtime / 2 } else { runtime };
                split.advance(read, utime, stime);
                cputime_adjust(read, utime, stime, &mut kernel);
                let after = split.parts();
                assert_eq!(after, kernel);
                assert!(
                    after.0 >= before.0 && after.1 >= before.1,
                    "{before:?} to {after:?}"
                );
                assert_eq!(after.0 + after.1, read.max(before.0 + before.1));
            }
        }
    }
}
