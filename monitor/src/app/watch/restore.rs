//! The groups of an earlier run: how they go on in this one.

use anyhow::{Context, Result};

use super::{Source, Watch, completeness::LostSoFar};
use crate::{
    app::{
        keeper::{Compared, Kept},
        output,
    },
    kernel::Takeover,
    plugin::SavedMember,
    process::{BootTime, KeyMap, KeySet, ProcessKey, Seen},
};

impl Watch {
    /// Goes on from what an earlier run kept, before the first snapshot of this one.
    ///
    /// # Errors
    /// The processes that are there now cannot be listed.
    pub(super) fn restore(&mut self, kept: &Kept, now: BootTime) -> Result<()> {
        let members = || kept.groups.iter().flat_map(|(_, kept)| &kept.saved.members);
        let is_compared = kept.compared.is_some() && !kept.groups.is_empty();
        let from_proc = |member: &SavedMember| member.key.start.0.is_multiple_of(ProcessKey::TICK_NANOS);
        let seen = match &mut self.source {
            Source::Ebpf(kernel) if is_compared || members().any(from_proc) => {
                kernel.snapshot().context("the process snapshot")?
            }
            _ => Vec::new(),
        };
        let keys = Keys::new(&seen);
        for (group, kept_group) in &kept.groups {
            let mut kept_group = kept_group.clone();
            for member in &mut kept_group.saved.members {
                member.key = match &self.source {
                    Source::Ebpf(_) => keys.exact(member.key),
                    Source::Proc(_) => to_the_tick(member.key),
                };
            }
            let (saved, same_boot) = (&kept_group.saved, kept_group.same_boot);
            self.tracker.restore(*group, saved, same_boot, now);
            // Totals that never came before have been told by the run that gave them up.
            let told = LostSoFar {
                counts: 0,
                totals: saved.given_up,
            };
            self.lost_at_reading.insert(*group, told);
            if let Some(compared) = &kept.compared {
                let since = looked_last(compared, now, output::unix_now());
                self.tracker.compare(*group, &kept_group, since, now);
            }
            // What happened while kevmon was away, nobody saw, unless the kernel side did.
            self.unclear = u64::from(!self.takeover().is_some_and(Takeover::is_whole));
        }
        if let Some(compared) = &kept.compared {
            self.tracker.count_whole_lives(&compared.windows);
        }
        if is_compared && !seen.is_empty() {
            // Ends first: what started since may have taken an ended one's place.
            let present: KeySet = seen.iter().map(|seen| seen.key).collect();
            let ended = seen.into_iter().filter(|seen| seen.ended).collect();
            self.tracker.end_seen_as(ended, now, false);
            self.tracker.end_missing(&present, now, now, false);
        }
        Ok(())
    }
}

/// When the earlier run looked last; the beginning of the boot where that was in another one. `now` is `unix`, ns, by the
/// clock on the wall. An older kevmon kept the time by that clock alone: setting it back then hides what it did not show.
fn looked_last(compared: &Compared, now: BootTime, unix: u64) -> BootTime {
    match (compared.left_at, compared.last.filter(|_| compared.same_boot)) {
        (Some(left_at), Some(_)) => left_at,
        (None, Some(last)) => BootTime(now.0.saturating_sub(unix.saturating_sub(last))),
        (_, None) => BootTime(0),
    }
}

/// A key as /proc tells it: to the clock tick.
fn to_the_tick(key: ProcessKey) -> ProcessKey {
    ProcessKey {
        start: BootTime(key.start.0 - key.start.0 % ProcessKey::TICK_NANOS),
        ..key
    }
}

/// The keys of the processes that are there, by what /proc would tell of them.
struct Keys(KeyMap<ProcessKey>);

impl Keys {
    fn new(seen: &[Seen]) -> Self {
        Self(
            seen.iter()
                .map(|seen| (to_the_tick(seen.key), seen.key))
                .collect(),
        )
    }

    /// The key of the same process as the kernel tells it, where an earlier run had it from /proc.
    fn exact(&self, key: ProcessKey) -> ProcessKey {
        let is_cut = key == to_the_tick(key);
        self.0.get(&key).filter(|_| is_cut).copied().unwrap_or(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Tgid;

    #[test]
    fn a_clock_that_was_set_does_not_move_the_last_look() {
        let compared = |last, left_at: Option<u64>, same_boot| Compared {
            last,
            left_at: left_at.map(BootTime),
            same_boot,
            windows: Vec::new(),
        };
        let now = BootTime(1_000);
        for (last, left_at, same_boot, unix, expected) in [
            (Some(50_000), Some(400), true, 50_600, 400),
            // Set back, and forward, in between.
            (Some(50_000), Some(400), true, 40_000, 400),
            (Some(50_000), Some(400), true, 90_000, 400),
            // Kept by an older kevmon.
            (Some(50_000), None, true, 50_600, 400),
            (Some(50_000), None, true, 40_000, 1_000),
            // Another boot, and no earlier run.
            (Some(50_000), None, false, 50_600, 0),
            (None, None, false, 50_600, 0),
        ] {
            let compared = compared(last, left_at, same_boot);
            assert_eq!(
                looked_last(&compared, now, unix),
                BootTime(expected),
                "{compared:?}"
            );
        }
    }

    #[test]
    fn a_process_is_found_again_whatever_the_source_was() {
        let key = |tgid, start| ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(start),
        };
        assert_eq!(to_the_tick(key(1, 12_345_678)), key(1, 10_000_000));
        let there = [key(1, 12_345_678), key(2, 20_000_000)];
        let keys = Keys(there.iter().map(|&key| (to_the_tick(key), key)).collect());
        for (told, expected) in [
            (key(1, 10_000_000), key(1, 12_345_678)),
            (key(1, 12_345_678), key(1, 12_345_678)),
            (key(2, 20_000_000), key(2, 20_000_000)),
            (key(3, 10_000_000), key(3, 10_000_000)),
            (key(1, 12_345_679), key(1, 12_345_679)),
        ] {
            assert_eq!(keys.exact(told), expected, "{told:?}");
        }
    }
}
