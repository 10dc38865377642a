//! What the program on context switches measures of each tracked thread, and how both sides cut lengths of time into buckets.

use crate::{COMM_LEN, Header, Key};

/// Buckets of a [`Spread`]: four for each power of two, from 2^-24 s (60 ns) to 2^14 s (four and a half hours).
pub const BUCKETS: usize = 152;
/// Places of a [`Spread`]: for what is shorter than the first bucket's, for the buckets, and one unused, so that eight bytes divide
/// the size.
pub const PLACES: usize = BUCKETS + 2;
/// Bounds an index of [`Spread::places`] for the verifier, which knows where a [`ThreadTimes`] ends and not where its fields do.
pub const PLACE_MASK: usize = PLACES.next_power_of_two() - 1;
/// `scale` of an OpenTelemetry exponential histogram with these buckets: each is 2^(2^-2) = 1.189 times as wide as the one
/// before (opentelemetry-proto, metrics.proto, ExponentialHistogramDataPoint).
pub const SCALE: i32 = 2;
/// The first bucket begins at 2^this seconds; what is shorter is counted apart.
pub const SHORTEST: i32 = -24;
/// Index of the first bucket in such a histogram.
pub const FIRST_INDEX: i32 = SHORTEST * PER_OCTAVE as i32;

const PER_OCTAVE: usize = 4;
/// Times are cut in units of 2^-30 s, in which the bounds are powers of two.
const UNIT: i32 = -30;
/// The highest bit of the shortest time in those units that has a bucket.
const LOWEST_BIT: u32 = (SHORTEST - UNIT) as u32;
/// The bit above the longest one.
const TOP_BIT: u32 = LOWEST_BIT + (BUCKETS / PER_OCTAVE) as u32;
/// 2^30 / 10^9 - 1, times 2^30: what a number of nanoseconds grows by in units of 2^-30 s.
const GROWTH: u64 = 79_179_681;
/// ns, beyond the last bucket, and few enough to be multiplied.
const LONGEST: u64 = 1 << 50;
/// 2^31 times 2^(1/4), 2^(2/4) and 2^(3/4): where the second, third and fourth bucket of an octave begin.
const QUARTERS: [u32; 3] = [2_553_802_834, 3_037_000_500, 3_611_622_603];

/// The bucket of a length of time, ns; `None` when it is shorter than the first one's. What is longer than the last one's goes
/// there. The bounds hold to within three nanoseconds, or a billionth.
pub const fn bucket(nanos: u64) -> Option<usize> {
    place(nanos).checked_sub(1)
}

/// The same as an index of [`Spread::places`]. One number and no `Option`, so that its user compares nothing again: the verifier of
/// Linux 6.1 follows a comparison of a constant with a register both ways, also where it has been decided before.
#[inline(always)]
pub const fn place(nanos: u64) -> usize {
    let nanos = if nanos < LONGEST { nanos } else { LONGEST };
    let growth = ((nanos >> 16) * GROWTH) >> 14;
    let units = nanos + growth + (((nanos & 0xffff) * GROWTH) >> 30);
    let units = if units < 1 << TOP_BIT {
        units
    } else {
        (1 << TOP_BIT) - 1
    };
    if units >> LOWEST_BIT == 0 {
        return 0;
    }
    // The highest bit: BPF has no instruction for it.
    let (mut rest, mut bit) = (units, 0);
    if rest >> 32 != 0 {
        rest >>= 32;
        bit += 32;
    }
    if rest >> 16 != 0 {
        rest >>= 16;
        bit += 16;
    }
    if rest >> 8 != 0 {
        rest >>= 8;
        bit += 8;
    }
    if rest >> 4 != 0 {
        rest >>= 4;
        bit += 4;
    }
    if rest >> 2 != 0 {
        rest >>= 2;
        bit += 2;
    }
    bit += (rest >> 1) as u32;
    let mantissa = ((units << (63 - bit)) >> 32) as u32;
    let quarter = (mantissa >= QUARTERS[0]) as usize
        + (mantissa >= QUARTERS[1]) as usize
        + (mantissa >= QUARTERS[2]) as usize;
    1 + (bit - LOWEST_BIT) as usize * PER_OCTAVE + quarter
}

/// Lengths of time, by bucket. They only grow, but for `min`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Sum of all of them, ns.
    pub sum: u64,
    /// The shortest one's complement, ns: `!min`, so that zeros mean that there was none.
    pub not_min: u64,
    /// The longest one, ns.
    pub max: u64,
    /// Number of those shorter than the first bucket's, then number in each bucket: see [`place`].
    pub places: [u32; PLACES],
}

/// How a thread left the CPU.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The thread has not been seen to leave.
    Unseen = 0,
    /// The thread could have gone on, and had to give way.
    Preempted = 1,
    /// The thread waits for something, and signals wake it; or it was stopped, or is traced.
    Asleep = 2,
    /// The thread waits, and no signal wakes it (state D).
    Uninterruptible = 3,
}

/// Names that a thread keeps of those who ran while it waited for a CPU; a power of two.
pub const PREEMPTORS: usize = 16;

/// A program that ran while a thread waited for a CPU.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preemptor {
    /// `comm` of what ran, as it was when it left the CPU.
    pub comm: [u8; COMM_LEN],
    /// Time that it ran meanwhile, ns.
    pub time: u64,
    /// Number of its turns on the CPU meanwhile.
    pub count: u64,
}

/// What was measured of a thread since it is tracked; the value of the map `THREADS`. Only the program on context switches
/// writes it, while the thread leaves its CPU, so that it has one writer at a time.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ThreadTimes {
    /// Since when it is tracked, ns of CLOCK_BOOTTIME; 0: nothing else here is written yet.
    pub since: u64,
    /// Its CPU time as of the last switch, ns.
    pub runtime: u64,
    /// Its wait for CPUs as of the last switch, ns.
    pub run_delay: u64,
    /// When it left its CPU last, ns of that CPU's run-queue clock.
    pub left_at: u64,
    /// `se.nr_migrations` when tracking began.
    pub migrations: u64,
    /// Number of a [`Left`]: how it left its CPU last.
    pub left: u32,
    /// The CPU that it left.
    pub cpu: u32,
    /// Flags of `TRACK_*`.
    pub flags: u32,
    /// The thread's id when tracking began: one that executes takes its leader's.
    pub tid: u32,
    /// Run-queue latency: from ready to running.
    pub run_queue: Spread,
    /// On the CPU, from switch to switch.
    pub on_cpu: Spread,
    /// Off the CPU to wait ([`Left::Asleep`]), up to being ready again.
    pub sleep: Spread,
    /// Off the CPU in state D ([`Left::Uninterruptible`]), up to being ready again.
    pub uninterruptible: Spread,
    /// From ready to running, after it had to leave.
    pub preempted: Spread,
    /// Who ran while it waited, by name; each name has a few places to be in.
    pub preemptors: [Preemptor; PREEMPTORS],
    /// Time that it waited while others than `preemptors` ran, ns.
    pub others_time: u64,
    /// Time that it waited while it is not known who ran, ns.
    pub unknown_time: u64,
}

/// [`ThreadTimes::flags`]: all of it has been sent, as the thread has left for the last time.
pub const TRACK_ENDED: u32 = 2;
/// [`ThreadTimes::flags`]: userspace has said that its process is to be tracked, or that its parent is.
pub const TRACK_WANTED: u32 = 1;

/// Opens a record of the ring `ENDS`.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndKind {
    /// A [`ThreadEnd`]: a tracked thread has left its CPU for the last time.
    Thread = 1,
    /// A [`ThreadEnd`]: a tracked thread executes a program; from there on it is tracked as a new one.
    Exec = 2,
}

/// What was measured of a thread until its end or exec: a record of the ring `ENDS`, and of the iterator.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ThreadEnd {
    /// An [`EndKind`]; the key is the process's.
    pub header: Header,
    /// Thread id.
    pub tid: u32,
    /// Always zero.
    pub pad: u32,
    /// `se.nr_migrations` now.
    pub migrations: u64,
    /// Everything that was measured since tracking began.
    pub times: ThreadTimes,
}

/// Programs of the switch object count here.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwitchCounters {
    /// Threads tracked now: begun less ended, over all CPUs; wraps on each.
    pub tracked: u64,
    /// Threads that found no place.
    pub refused: u64,
    /// Records for which the ring `ENDS` had no room.
    pub ends_lost: u64,
}

const _: () = {
    assert!(size_of::<Spread>() == 24 + 4 * PLACES);
    assert!(size_of::<Preemptor>() == COMM_LEN + 16);
    assert!(size_of::<ThreadTimes>() == 56 + 5 * size_of::<Spread>() + PREEMPTORS * 32 + 16);
    assert!(size_of::<ThreadEnd>() == 32 + 16 + size_of::<ThreadTimes>());
    assert!(size_of::<Key>() == 16);
    assert!(BUCKETS < PLACES);
    let last = core::mem::offset_of!(ThreadTimes, preempted) + core::mem::offset_of!(Spread, places);
    assert!(last + 4 * (PLACE_MASK + 1) <= size_of::<ThreadTimes>());
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    /// Where bucket `index` begins, seconds.
    fn begin(index: usize) -> f64 {
        2_f64.powf(f64::from(SHORTEST) + index as f64 / PER_OCTAVE as f64)
    }

    #[test]
    fn each_bucket_holds_what_lies_between_its_bounds() {
        for index in 0..BUCKETS {
            let bound = (begin(index) * 1e9).round() as u64;
            let slack = 3 + bound / 1_000_000_000;
            assert_eq!(bucket(bound + slack), Some(index), "just above bound {index}");
            let below = bucket(bound - slack);
            assert_eq!(below, index.checked_sub(1), "just below bound {index}");
        }
        assert_eq!(bucket(0), None);
        assert_eq!(bucket(u64::MAX), Some(BUCKETS - 1));
        assert!(
            place(u64::MAX) < PLACES,
            "the mask bounds it for the verifier only"
        );
    }

    #[test]
    fn a_bucket_never_falls_as_the_time_grows() {
        let mut last = None;
        let mut nanos = 1_u64;
        while nanos < 1 << 60 {
            let now = bucket(nanos);
            assert!(now >= last, "{nanos}");
            last = now;
            nanos += nanos / 97 + 1;
        }
    }

    #[test]
    fn a_bucket_is_where_its_logarithm_says() {
        for nanos in [
            100,
            1_000,
            54_321,
            1_000_000,
            123_456_789,
            4_000_000_000,
            999_999_999_999,
        ] {
            let exact = ((nanos as f64 / 1e9).log2() - f64::from(SHORTEST)) * PER_OCTAVE as f64;
            assert_eq!(bucket(nanos), Some(exact.floor() as usize), "{nanos}");
        }
    }
}
