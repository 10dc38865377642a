//! Verdicts on their way to the kernel side. `monitor-common/src/marks.rs` has the protocol between marks and verdicts;
//! this file says when userspace writes one, and when it deletes one.
//!
//! **Two ways to write.** A verdict on a record is queued, and a drain ends with one batch update ([`Verdicts::flush`]).
//! Nothing depends on its time: until it arrives, the kernel side reports everything about a process whose record it sent. A
//! verdict on a process that a snapshot showed as untold is written at once ([`Verdicts::write_now`]), because
//! `KernelSource::claim` must look at the mark after it.
//!
//! **Before each write, `JUDGED_UNTIL` is raised** to the highest sequence written. Programs do not search `VERDICTS` for a
//! later identity, so a process that lives and dies between two drains costs them no look-up. If raising fails, nothing
//! is written: programs would not look for it.
//!
//! **Deleting.** The free of a process deletes its verdict in the kernel. A verdict that is written after that stays in the
//! map. Three cases:
//!
//! - The free record is read before the flush: the queued verdict is dropped ([`Verdicts::freed`]).
//! - The free record is read after the flush: keys written since the last drain but one are remembered (`recent`), and the
//!   verdict is deleted. After the ring has been emptied twice, the free of such a process has been read, or was lost.
//! - The free record was lost: `KernelSource::sweep` deletes verdicts, as it deletes marks, of processes that two snapshots
//!   15 s apart do not show.
//!
//! **Failures.** A batch may be refused in the middle (a full map) or as a whole (a kernel without batches for this map, which is
//! not asked for one again). Each verdict of the rest is then written by itself. A verdict that the map refuses is
//! counted (`verdict_refused`): the kernel side goes on to report the process, which costs time and loses nothing.

use std::{io, os::fd::AsFd};

use aya::maps::{Array, HashMap as BpfHashMap, IterableMap, MapData, MapError};
use kevmon_common::{Key, Verdict};

use super::{decode, object::Shared, sys};
use crate::process::{Judgement, KeyMap, KeySet, ProcessKey};

/// Verdicts queued at most. When so many wait, all of them are written.
const QUEUED: usize = 4096;

/// The maps `VERDICTS` and `JUDGED_UNTIL`.
pub struct Verdicts {
    map: BpfHashMap<MapData, Shared<Key>, Shared<Verdict>>,
    newest: Newest,
    queue: KeyMap<Verdict>,
    /// What was written since the last drain but one: the kernel side may have freed the process, and looked for its
    /// verdict, before that. Once the ring has been emptied twice such a free has been read, or was lost.
    recent: [KeySet; 2],
    writer: Writer,
    /// Verdicts that the map did not take since [`Verdicts::take_refused`] was last called.
    refused: u64,
}

impl Verdicts {
    /// Takes the maps `VERDICTS` and `JUDGED_UNTIL`, which an earlier kevmon may have filled.
    pub fn new(
        map: BpfHashMap<MapData, Shared<Key>, Shared<Verdict>>,
        judged_until: Array<MapData, u64>,
    ) -> Self {
        Self {
            map,
            newest: Newest::new(judged_until),
            queue: KeyMap::default(),
            recent: [KeySet::default(), KeySet::default()],
            writer: Writer::default(),
            refused: 0,
        }
    }

    /// Queues a verdict for the next [`Verdicts::flush`]. A newer one of the same process replaces it.
    pub fn queue(&mut self, judgement: &Judgement) {
        self.queue.insert(judgement.key, verdict(judgement));
        if self.queue.len() >= QUEUED {
            self.flush();
        }
    }

    /// The process has been freed: nothing that waits is needed any more, and what was written too late for the kernel
    /// side to find it is removed.
    pub fn freed(&mut self, key: ProcessKey) {
        self.queue.remove(&key);
        if self.recent.iter_mut().any(|recent| recent.remove(&key)) {
            self.remove(key); // usually gone already
        }
    }

    /// Writes the queued verdicts. Those that the map refuses are counted, and not tried again.
    pub fn flush(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let newest = self.queue.values().map(|verdict| verdict.sequence).max();
        if !self.newest.raise(newest.unwrap_or(0)) {
            self.refused += self.queue.drain().len() as u64;
            return;
        }
        let map = &mut self.map;
        let queued = self.queue.iter().map(|(&key, &verdict)| (key, verdict));
        self.refused += self.writer.write(queued, |write| match write {
            Write::Batch(keys, values) => sys::update_batch(map_fd(map), keys, values),
            Write::One(key, value) => {
                let result = map.insert(Shared(*key), Shared(*value), 0);
                (usize::from(result.is_ok()), result.map_err(io_error))
            }
        });
        self.recent[0].extend(self.queue.drain().map(|(key, _)| key));
    }

    /// Notes that the ring has been emptied: forgets the keys written before the drain before this one.
    pub fn drained(&mut self) {
        self.recent[1].clear();
        self.recent.swap(0, 1);
    }

    /// Writes a verdict at once, without the queue; false when the map did not take it.
    pub fn write_now(&mut self, judgement: &Judgement) -> bool {
        let (key, verdict) = (decode::raw_key(judgement.key), verdict(judgement));
        let written =
            self.newest.raise(judgement.sequence) && self.map.insert(Shared(key), Shared(verdict), 0).is_ok();
        if written {
            self.recent[0].insert(judgement.key);
        } else {
            self.refused += 1;
        }
        written
    }

    /// Deletes the verdict on a process; false when there was none.
    pub fn remove(&mut self, key: ProcessKey) -> bool {
        self.map.remove(&Shared(decode::raw_key(key))).is_ok()
    }

    /// The processes that have a verdict.
    pub fn keys(&self) -> impl Iterator<Item = ProcessKey> + '_ {
        self.map
            .keys()
            .filter_map(Result::ok)
            .map(|Shared(key)| decode::key(&key))
    }

    /// Number of verdicts that the map did not take since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}

/// The highest sequence that a verdict is about (`JUDGED_UNTIL`). The programs look for no verdict about a later one, so it
/// is raised before the verdict is written.
struct Newest {
    map: Array<MapData, u64>,
    /// The value in the map.
    raised: u64,
}

impl Newest {
    fn new(map: Array<MapData, u64>) -> Self {
        let raised = map.get(&0, 0).unwrap_or(0);
        Self { map, raised }
    }

    /// To be called before a verdict about `sequence` is written. False when the programs would not look for it.
    fn raise(&mut self, sequence: u64) -> bool {
        if sequence > self.raised && self.map.set(0, sequence, 0).is_ok() {
            self.raised = sequence;
        }
        sequence <= self.raised
    }
}

fn map_fd(map: &BpfHashMap<MapData, Shared<Key>, Shared<Verdict>>) -> std::os::fd::BorrowedFd<'_> {
    map.map().fd().as_fd()
}

fn verdict(judgement: &Judgement) -> Verdict {
    Verdict {
        sequence: judgement.sequence,
        keep: u64::from(judgement.keep),
    }
}

fn io_error(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}

/// One call to the map.
enum Write<'a> {
    /// One update of several elements.
    Batch(&'a [Key], &'a [Verdict]),
    /// One update of one element.
    One(&'a Key, &'a Verdict),
}

/// Brings verdicts into the map with as few calls as the kernel allows.
#[derive(Debug)]
struct Writer {
    /// False once the kernel has said that it knows no batches.
    batches: bool,
    keys: Vec<Key>,
    values: Vec<Verdict>,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            batches: true,
            keys: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl Writer {
    /// Writes all of `verdicts`; `call` returns how many went in, and what stopped the rest. Returns how many were
    /// refused.
    fn write(
        &mut self,
        verdicts: impl Iterator<Item = (ProcessKey, Verdict)>,
        mut call: impl FnMut(Write<'_>) -> (usize, io::Result<()>),
    ) -> u64 {
        self.keys.clear();
        self.values.clear();
        for (key, verdict) in verdicts {
            self.keys.push(decode::raw_key(key));
            self.values.push(verdict);
        }
        let mut written = 0;
        if self.batches {
            let (done, result) = call(Write::Batch(&self.keys, &self.values));
            written = done;
            self.batches = !result.is_err_and(|error| sys::knows_no_batches(&error));
        }
        // Whatever stopped the batch: each of the rest is tried by itself.
        let rest = self.keys.iter().zip(&self.values).skip(written);
        rest.map(|(key, value)| u64::from(call(Write::One(key, value)).1.is_err()))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{BootTime, Tgid};

    /// A kernel that takes `room` verdicts, and batches or not.
    struct Kernel {
        batches: Result<(), i32>,
        room: usize,
        held: Vec<u32>,
        calls: usize,
    }

    impl Kernel {
        fn call(&mut self, write: Write<'_>) -> (usize, io::Result<()>) {
            self.calls += 1;
            let (keys, batch) = match write {
                Write::Batch(keys, values) => {
                    assert_eq!(keys.len(), values.len());
                    (keys, true)
                }
                Write::One(key, _) => (std::slice::from_ref(key), false),
            };
            if let (true, Err(errno)) = (batch, self.batches) {
                return (0, Err(io::Error::from_raw_os_error(errno)));
            }
            for (done, key) in keys.iter().enumerate() {
                if self.held.len() == self.room {
                    return (done, Err(io::Error::from_raw_os_error(libc::E2BIG)));
                }
                self.held.push(key.tgid);
            }
            (keys.len(), Ok(()))
        }
    }

    fn three() -> impl Iterator<Item = (ProcessKey, Verdict)> {
        (1..=3).map(|tgid| {
            let key = ProcessKey {
                tgid: Tgid(tgid),
                start: BootTime(9),
            };
            (key, Verdict { sequence: 5, keep: 0 })
        })
    }

    #[test]
    fn verdicts_go_in_batches_or_one_by_one() {
        const ENOTSUPP: i32 = 524;
        let cases = [
            // batches, room, refused, calls of a first and of a second write
            (Ok(()), 9, 0, (1, 1)),
            (Err(libc::EINVAL), 9, 0, (4, 3)), // unknown command: not asked again
            (Err(ENOTSUPP), 9, 0, (4, 3)),
            (Err(libc::ENOMEM), 9, 0, (4, 4)), // may work the next time
            (Ok(()), 1, 2, (3, 4)),            // full: the others may be there already, and be taken
        ];
        for (batches, room, refused, calls) in cases {
            let mut writer = Writer::default();
            let mut kernel = Kernel {
                batches,
                room,
                held: Vec::new(),
                calls: 0,
            };
            assert_eq!(
                writer.write(three(), |write| kernel.call(write)),
                refused,
                "{batches:?}"
            );
            let first = std::mem::take(&mut kernel.calls);
            let held: Vec<u32> = (1..=3).take(room).collect();
            assert_eq!(kernel.held, held, "{batches:?}, room for {room}: each once");
            writer.write(three(), |write| kernel.call(write));
            assert_eq!((first, kernel.calls), calls, "{batches:?}, room for {room}");
        }
    }
}
