//! What the kernel side kept of lives whose records found no room in the ring, decoded.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use aya::maps::{HashMap as BpfHashMap, MapData, MapError};
use kevmon_common::{
    Key, Kind, LIVES_OOM, Lives, LivesKey, MARK_EXE_CUT, MARK_FORKED, MARK_RENAMED, MARK_TOLD, Usage,
};
use tracing::warn;

use super::{
    decode::{self, Blind},
    object::Shared,
};
use crate::process::{BootTime, Ending, Identity, LostEnd, LostLives, Recovered};

/// Sums held before those that have not moved for [`IDLE`] are dropped: half of what the map takes.
const SUMS: usize = 256;
const IDLE: Duration = Duration::from_secs(60);

/// The most ends that stay in their map until the state has them: half of what the map takes.
const UNRELEASED: usize = 2048;
/// Bytes of a name and its sums, as the state keeps them.
const TOLD_BYTES: usize = size_of::<LivesKey>() + size_of::<Lives>();

/// The maps `LOST_ENDS`, `LOST_LIVES` and `PENDING`, and how far they have been taken.
pub struct Lost {
    ends: BpfHashMap<MapData, Shared<Key>, Shared<kevmon_common::LostEnd>>,
    lives: BpfHashMap<MapData, Shared<LivesKey>, Shared<Lives>>,
    pending: BpfHashMap<MapData, Shared<Key>, Shared<kevmon_common::LostEnd>>,
    /// Taken from `pending`, for the next look.
    overdue: Vec<LostEnd>,
    told: Told,
    /// Whether ends stay in their map until they are released.
    is_held: bool,
    /// Ends that were taken and are still in their map, in the order in which they were taken.
    unreleased: VecDeque<Key>,
    unreleased_keys: HashSet<Key>,
    /// Ends that were taken and released.
    released: u64,
    /// What has been applied of `told` and of the ends.
    applied: (Arc<[u8]>, u64),
}

impl Lost {
    /// Takes the three maps. `is_held`: ends stay in their map until they are released.
    pub fn new(
        ends: BpfHashMap<MapData, Shared<Key>, Shared<kevmon_common::LostEnd>>,
        lives: BpfHashMap<MapData, Shared<LivesKey>, Shared<Lives>>,
        pending: BpfHashMap<MapData, Shared<Key>, Shared<kevmon_common::LostEnd>>,
        is_held: bool,
    ) -> Self {
        Self {
            ends,
            lives,
            pending,
            overdue: Vec::new(),
            told: Told::default(),
            is_held,
            unreleased: VecDeque::new(),
            unreleased_keys: HashSet::new(),
            released: 0,
            applied: (Arc::from([]), 0),
        }
    }

    /// Goes on from the sums that an earlier kevmon has reported.
    pub fn told_before(&mut self, lives: Arc<[u8]>) {
        self.told = Told::decode(&lives);
        self.applied.0 = lives;
    }

    /// Notes that all that was taken so far has been applied.
    pub fn note_applied(&mut self) {
        let ends = self.released + self.unreleased.len() as u64;
        let lives = if self.told.is_new {
            self.told.is_new = false;
            self.told.encode()
        } else {
            Arc::clone(&self.applied.0)
        };
        self.applied = (lives, ends);
    }

    /// The sums and the number of ends that were applied.
    pub fn applied(&self) -> (Arc<[u8]>, u64) {
        (Arc::clone(&self.applied.0), self.applied.1)
    }

    /// Deletes the first `ends` ends from their map: the state has them.
    pub fn release(&mut self, ends: u64) {
        while self.released < ends && self.release_one() {}
    }

    fn release_one(&mut self) -> bool {
        let Some(key) = self.unreleased.pop_front() else {
            return false;
        };
        self.unreleased_keys.remove(&key);
        usable(self.ends.remove(&Shared(key)));
        self.released += 1;
        true
    }

    /// Takes the ends and the growth of the sums since the last call.
    pub fn take(&mut self, blind: &Blind) -> Recovered {
        Recovered {
            ends: self.take_ends(blind),
            lives: self.take_lives(blind),
        }
    }

    /// Whether ends from `PENDING` wait to be taken, which the kernel side does not count.
    pub fn is_overdue(&self) -> bool {
        !self.overdue.is_empty()
    }

    /// Whether so many sums are held that idle ones should make room: a full map refuses new ones.
    pub fn is_crowded(&self) -> bool {
        self.told.sums.len() > SUMS
    }

    /// The free of this process, whose names nobody was told, will not be told either. Returns whether its exit was
    /// kept; it is taken at the next look.
    pub fn give_up(&mut self, key: &Key, blind: &Blind) -> bool {
        let Some(Shared(end)) = usable(self.pending.get(&Shared(*key), 0)) else {
            return false;
        };
        usable(self.pending.remove(&Shared(*key)));
        self.overdue.push(lost_end(&end, blind));
        true
    }

    fn take_ends(&mut self, blind: &Blind) -> Vec<LostEnd> {
        // Keys first: to remove while walking begins the walk anew.
        let taken = &self.unreleased_keys;
        let keys = self.ends.keys().filter_map(usable);
        let keys: Vec<_> = keys.filter(|Shared(key)| !taken.contains(key)).collect();
        let mut ends = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(Shared(end)) = usable(self.ends.get(&key, 0)) {
                ends.push(lost_end(&end, blind));
                self.unreleased.push_back(key.0);
                self.unreleased_keys.insert(key.0);
            }
        }
        let most = if self.is_held { UNRELEASED } else { 0 };
        while self.unreleased.len() > most && self.release_one() {}
        ends.append(&mut self.overdue);
        ends.sort_by_key(|end| end.freed);
        ends
    }

    fn take_lives(&mut self, blind: &Blind) -> Vec<LostLives> {
        let sums: Vec<_> = self
            .lives
            .iter()
            .filter_map(usable)
            .map(|(Shared(key), Shared(sums))| (key, sums))
            .collect();
        let now = Instant::now();
        let lives = self.told.advance(&sums, now, blind);
        for key in self.told.idle(now) {
            // A life that ends this very moment is lost if it is added between the look and the removal: about a
            // microsecond, once, for sums that have not moved for a minute.
            let unmoved = self
                .lives
                .get(&Shared(key), 0)
                .is_ok_and(|Shared(sums)| self.told.is(&key, &sums));
            if unmoved && usable(self.lives.remove(&Shared(key))).is_some() {
                self.told.forget(&key);
            }
        }
        lives
    }
}

/// The value of a map operation; `None` for a key that has vanished, and, with a warning, for any other error.
fn usable<T>(result: Result<T, MapError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(MapError::KeyNotFound) => None,
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => None,
        Err(error) => {
            warn!("the map of what was lost cannot be read: {error}; some of it stays uncounted");
            None
        }
    }
}

/// The sums that have been taken already.
#[derive(Debug, Default)]
struct Told {
    sums: HashMap<LivesKey, (Lives, Instant)>,
    /// Whether a sum has changed since the sums were encoded.
    is_new: bool,
}

impl Told {
    /// Takes the sums as they are now and returns what they have grown by.
    fn advance(&mut self, sums: &[(LivesKey, Lives)], now: Instant, blind: &Blind) -> Vec<LostLives> {
        let mut grown = Vec::new();
        for (key, sums) in sums {
            let (told, since) = self.sums.entry(*key).or_insert((Lives::default(), now));
            if told == sums {
                continue;
            }
            if sums.count < told.count {
                *told = Lives::default(); // begun anew, after it was idle and made room
            }
            grown.push(lost_lives(key, told, sums, blind));
            (*told, *since) = (*sums, now);
            self.is_new = true;
        }
        grown
    }

    /// Sums that have not moved for [`IDLE`]; none while there is plenty of room.
    fn idle(&self, now: Instant) -> Vec<LivesKey> {
        if self.sums.len() <= SUMS {
            return Vec::new();
        }
        let idle = self
            .sums
            .iter()
            .filter(|(_, (_, since))| now.duration_since(*since) >= IDLE);
        idle.map(|(&key, _)| key).collect()
    }

    fn is(&self, key: &LivesKey, sums: &Lives) -> bool {
        self.sums.get(key).is_some_and(|(told, _)| told == sums)
    }

    /// The sums in the form in which the state keeps them. Only a kevmon with the same layout reads them.
    fn encode(&self) -> Arc<[u8]> {
        let mut bytes = Vec::with_capacity(self.sums.len() * TOLD_BYTES);
        for (key, (sums, _)) in &self.sums {
            bytes.extend_from_slice(bytes_of(key));
            bytes.extend_from_slice(bytes_of(sums));
        }
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Self {
        let now = Instant::now();
        let all = bytes.chunks_exact(TOLD_BYTES).map(|bytes| {
            let (key, sums) = bytes.split_at(size_of::<LivesKey>());
            // SAFETY: as many bytes as either has, and any of them are integers (asserted in kevmon-common).
            let (key, sums) = unsafe {
                (
                    key.as_ptr().cast::<LivesKey>().read_unaligned(),
                    sums.as_ptr().cast::<Lives>().read_unaligned(),
                )
            };
            (key, (sums, now))
        });
        Self {
            sums: all.collect(),
            is_new: false,
        }
    }

    fn forget(&mut self, key: &LivesKey) {
        self.is_new |= self.sums.remove(key).is_some();
    }
}

/// The bytes of a type that userspace and the kernel share.
fn bytes_of<T>(value: &T) -> &[u8]
where
    Shared<T>: aya::Pod,
    T: Copy,
{
    // SAFETY: `Pod` has no padding, and the bytes live as long as `value`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

fn lost_end(lost: &kevmon_common::LostEnd, blind: &Blind) -> LostEnd {
    let end = &lost.end;
    let told = lost.flags & MARK_TOLD != 0;
    LostEnd {
        key: decode::key(&end.header.key),
        unheard: (!told).then(|| Identity {
            comm: decode::text(decode::until_nul(&lost.comm)),
            // Half a name is none.
            exe: if lost.flags & MARK_EXE_CUT != 0 {
                String::new()
            } else {
                decode::executable(decode::prefix(&lost.exe, lost.exe_len))
            },
            ..Identity::default()
        }),
        identified: BootTime(lost.sequence),
        renamed: lost.flags & MARK_RENAMED != 0,
        settled: Kind::from_raw(end.header.kind) == Some(Kind::Free),
        ended: decode::seen_at(end.ended),
        freed: BootTime(end.header.time),
        ending: decode::ending(end),
        usage: blind.usage(&end.usage),
        peak_rss: blind.pages(end.peak_rss),
        facts: decode::fact_ids(&end.facts),
    }
}

fn lost_lives(key: &LivesKey, told: &Lives, sums: &Lives, blind: &Blind) -> LostLives {
    let name_is_whole = key.flags & MARK_EXE_CUT == 0;
    LostLives {
        identity: name_is_whole.then(|| Identity {
            comm: decode::text(decode::until_nul(&key.comm)),
            exe: decode::executable(decode::until_nul(&key.exe)),
            ..Identity::default()
        }),
        forked: key.flags & MARK_FORKED != 0,
        ending: Ending {
            status: Some(key.status),
            oom_victim: key.flags & LIVES_OOM != 0,
            sender: None,
        },
        count: sums.count.saturating_sub(told.count),
        usage: blind.usage(&since(&sums.usage, &told.usage)),
        // The highest of all; that of the new ones alone is known only when they have raised it.
        peak_rss: (sums.peak_rss > told.peak_rss)
            .then_some(sums.peak_rss)
            .and_then(|pages| blind.pages(pages)),
    }
}

fn since(now: &Usage, before: &Usage) -> Usage {
    Usage {
        runtime: now.runtime.saturating_sub(before.runtime),
        utime: now.utime.saturating_sub(before.utime),
        stime: now.stime.saturating_sub(before.stime),
        run_delay: now.run_delay.saturating_sub(before.run_delay),
        nvcsw: now.nvcsw.saturating_sub(before.nvcsw),
        nivcsw: now.nivcsw.saturating_sub(before.nivcsw),
        min_flt: now.min_flt.saturating_sub(before.min_flt),
        maj_flt: now.maj_flt.saturating_sub(before.maj_flt),
        read_bytes: now.read_bytes.saturating_sub(before.read_bytes),
        write_bytes: now.write_bytes.saturating_sub(before.write_bytes),
    }
}

#[cfg(test)]
#[path = "lost_tests.rs"]
mod tests;
