//! Names of processes that change them too often for the ring: the kernel side holds the last one of each process, and
//! lists the names before it.
//!
//! A held name is an event like those of the ring, and has its place among them by its sequence. It is applied after all
//! records that were in the ring when it was taken, so that the record of the exec or fork before it has been read; and only
//! if its mark still has its sequence, so that it never replaces a later name. One that is out of date joins the names that are
//! lost: nobody can say what the process was meanwhile, and only a plugin that such a name fits may have missed a member.

use std::{collections::VecDeque, io, os::fd::AsFd};

use aya::maps::{HashMap as BpfHashMap, IterableMap, MapData};
use kevmon_common::{COMM_LEN, HELD_AT_MOST, HeldRename, Key, LOST_NAMES_AT_MOST};

use super::{decode, object::Shared, sys};
use crate::process::{BootTime, Event, Usage};

/// The maps `HELD` and `LOST_NAMES`, and what was taken from them.
pub struct Held {
    map: BpfHashMap<MapData, Shared<Key>, Shared<HeldRename>>,
    names: BpfHashMap<MapData, [u8; COMM_LEN], u64>,
    /// `Counters::held` as of the last time that the maps were emptied.
    counted: u64,
    /// Taken, and to be applied once the ring has been emptied.
    waiting: VecDeque<(Key, HeldRename)>,
    /// Lost names, to be asked for.
    lost: Vec<String>,
}

impl Held {
    /// Takes the two maps.
    pub fn new(
        map: BpfHashMap<MapData, Shared<Key>, Shared<HeldRename>>,
        names: BpfHashMap<MapData, [u8; COMM_LEN], u64>,
    ) -> Self {
        Self {
            map,
            names,
            counted: 0,
            waiting: VecDeque::new(),
            lost: Vec::new(),
        }
    }

    /// Takes what the kernel side holds, if its count of that, `counted`, has moved. Returns whether something waits now.
    ///
    /// # Errors
    /// Any of bpf(2); the next call tries again.
    pub fn take(&mut self, counted: u64) -> io::Result<bool> {
        if counted == self.counted {
            return Ok(false);
        }
        let held = sys::take_batch::<Shared<Key>, _>(self.map.map().fd().as_fd(), HELD_AT_MOST as usize)?;
        let held = held
            .into_iter()
            .map(|(Shared(key), Shared(rename))| (key, rename));
        self.waiting.extend(held);
        let names = sys::take_batch::<_, u64>(self.names.map().fd().as_fd(), LOST_NAMES_AT_MOST as usize)?;
        self.lost.extend(names.iter().map(|(name, _)| text(name)));
        self.counted = counted;
        Ok(!self.waiting.is_empty())
    }

    /// The next one that is its process's present name. `sequence` tells that of a process's mark.
    pub fn next(&mut self, sequence: impl Fn(&Key) -> Option<u64>) -> Option<Event> {
        while let Some((key, rename)) = self.waiting.pop_front() {
            if sequence(&key) == Some(rename.sequence) {
                return Some(event(&key, &rename));
            }
            self.lost.push(text(&rename.comm));
        }
        None
    }

    /// Names that processes had for a moment and that no event tells.
    pub fn take_lost(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lost)
    }
}

fn event(key: &Key, rename: &HeldRename) -> Event {
    Event::Rename {
        key: decode::key(key),
        time: BootTime(rename.sequence),
        sequence: rename.sequence,
        parent: decode::key(&rename.parent),
        comm: text(&rename.comm),
        threads: None,
        unheard: false,
        found: None,
        usage: Usage::UNKNOWN,
    }
}

fn text(comm: &[u8; COMM_LEN]) -> String {
    decode::text(decode::until_nul(comm))
}
