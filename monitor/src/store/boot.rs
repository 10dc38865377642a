//! Whether the host was booted between two runs of kevmon. Keys of processes (a pid and a time since boot) mean the same
//! processes within one boot only.
//!
//! The kernel's boot id answers that, where it can be read: a /proc mounted with `subset=pid` (systemd's `ProcSubset=pid`)
//! does not show it. What cannot be hidden then decides, in this order:
//!
//! 1. CLOCK_BOOTTIME only grows within a boot: a value below that of the last commit is another boot's.
//! 2. CLOCK_REALTIME − CLOCK_BOOTTIME changes only when the wall clock is set: NTP slews both clocks alike, and both go on
//!    through a suspend (kernel/time/timekeeping.c, Linux 6.12). The same difference is the same boot.
//! 3. Where the difference is another one, either the clock was set or the host was booted. A member that is still there, with
//!    its pid and its start, says that the clock was set.
//!
//! When no member is left either, the boot is not known, which is not another boot: kevmon goes on as within one boot, and
//! says so. What is not found then has ended for an unknown reason, as after any time that kevmon was away.

use std::path::PathBuf;

use super::holder;
use crate::process::{BootTime, ProcessKey, Tgid};

/// Wall clocks that differ by less have not been set, ns: a leap second, and the time between two readings.
const SAME_CLOCK: u64 = 1_500_000_000;

/// The boot that a run of kevmon is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThisBoot {
    /// /proc/sys/kernel/random/boot_id; `None` where /proc does not show it.
    pub id: Option<String>,
    /// When CLOCK_BOOTTIME was 0 by the wall clock as it is now, Unix ns.
    pub began: u64,
    /// CLOCK_BOOTTIME now.
    pub now: BootTime,
    /// Where proc is mounted.
    pub proc: PathBuf,
}

/// The boot of an earlier run's last commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastBoot<'a> {
    /// `None`: that run could not read it.
    pub(super) id: Option<&'a str>,
    /// When CLOCK_BOOTTIME was 0 by the clock of the last commit, Unix ns.
    pub(super) began: Option<u64>,
    /// CLOCK_BOOTTIME at the last commit, ns.
    pub(super) left_at: Option<u64>,
}

/// How the boot of an earlier run and this one are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Related {
    /// They are one boot.
    Same,
    /// The host was booted in between.
    Other,
    /// Nothing that can be read says so.
    Unknown,
}

impl Related {
    /// The host was not booted, as far as anything tells.
    pub(super) fn is_same(self) -> bool {
        self != Self::Other
    }
}

impl ThisBoot {
    /// Compares this boot with an earlier run's, of whose members those in `members` had not ended.
    pub(super) fn related(&self, last: LastBoot<'_>, members: impl Iterator<Item = ProcessKey>) -> Related {
        if let (Some(id), Some(last)) = (&self.id, last.id) {
            return if id == last { Related::Same } else { Related::Other };
        }
        if last.left_at.is_some_and(|left_at| self.now.0 < left_at) {
            return Related::Other;
        }
        let is_one_clock = last
            .began
            .is_some_and(|began| began.abs_diff(self.began) < SAME_CLOCK);
        let mut members = members;
        if is_one_clock || members.any(|key| self.has(key)) {
            return Related::Same;
        }
        Related::Unknown
    }

    /// A process with this pid and this start, to the clock tick, is there. The first process has both in each boot.
    fn has(&self, key: ProcessKey) -> bool {
        let ticks = key.start.0 / ProcessKey::TICK_NANOS;
        key.tgid != Tgid(1) && holder::start_ticks(&self.proc, key.tgid.0) == Some(ticks)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const S: u64 = 1_000_000_000;
    const BEGAN: u64 = 1_800_000_000 * S;

    /// A /proc in which process 77 started 5 s after boot, and process 1 with it.
    fn proc() -> PathBuf {
        let root = std::env::temp_dir().join(format!("kevmon-boot-{}", std::process::id()));
        for (pid, ticks) in [(77, 500), (1, 0)] {
            let folder = root.join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let stat = format!("{pid} (a b) S 1 {}{ticks} 0", "0 ".repeat(17));
            fs::write(folder.join("stat"), stat).unwrap();
        }
        root
    }

    fn key(tgid: u32, start: u64) -> ProcessKey {
        ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(start),
        }
    }

    /// boot_id visible or hidden in either run × same boot or another one × clock set or not × members left or not.
    #[test]
    fn a_boot_is_known_by_what_cannot_be_hidden() {
        let proc = proc();
        let alive = key(77, 5 * S + 1_234_567);
        let (reused, first) = (key(77, 6 * S), key(1, 1_000));
        let gone = key(78, 5 * S);
        let ids = [Some("a"), Some("b"), None];
        for (now_id, last_id) in ids.iter().flat_map(|&now| ids.map(|last| (now, last))) {
            for (later, set_by, member, hidden) in [
                // The boot goes on; the clock was not set, slewed, or a leap second came.
                (true, 0, alive, Related::Same),
                (true, 0, gone, Related::Same),
                (true, 300_000_000, gone, Related::Same),
                (true, -i64::try_from(S).unwrap(), gone, Related::Same),
                // The clock was set, or the host was booted long ago.
                (true, 3_600_000_000_000, alive, Related::Same),
                (true, -3_600_000_000_000, alive, Related::Same),
                (true, 3_600_000_000_000, gone, Related::Unknown),
                (true, -3_600_000_000_000, reused, Related::Unknown),
                (true, 3_600_000_000_000, first, Related::Unknown),
                // The host has been up for a shorter time than it was: whatever the clock says, and whoever is there.
                (false, 0, alive, Related::Other),
                (false, 3_600_000_000_000, alive, Related::Other),
                (false, 3_600_000_000_000, gone, Related::Other),
            ] {
                let this = ThisBoot {
                    id: now_id.map(str::to_owned),
                    began: BEGAN.saturating_add_signed(set_by),
                    now: BootTime(if later { 100 * S } else { 10 * S }),
                    proc: proc.clone(),
                };
                let last = LastBoot {
                    id: last_id,
                    began: Some(BEGAN),
                    left_at: Some(50 * S),
                };
                let expected = match (now_id, last_id) {
                    (Some(now), Some(last)) if now == last => Related::Same,
                    (Some(_), Some(_)) => Related::Other,
                    _ => hidden,
                };
                let related = this.related(last, std::iter::once(member));
                assert_eq!(related, expected, "{this:?} {last:?} {member:?}");
            }
        }
        fs::remove_dir_all(proc).unwrap();
    }

    #[test]
    fn what_an_older_kevmon_kept_decides_nothing_by_itself() {
        let this = ThisBoot {
            id: None,
            began: BEGAN,
            now: BootTime(S),
            proc: PathBuf::from("/nonexistent"),
        };
        let last = LastBoot {
            id: Some("a"),
            began: None,
            left_at: None,
        };
        assert_eq!(this.related(last, std::iter::empty()), Related::Unknown);
    }
}
