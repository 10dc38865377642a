//! Userspace's answers to the kernel side: queued while records are drained, and written many at a time. What came and
//! went within one drain needs none.

use std::{io, os::fd::AsFd};

use aya::maps::{Array, HashMap as BpfHashMap, IterableMap, MapData, MapError};
use kevmon_common::{Key, Verdict};

use super::{decode, object::Shared, sys};
use crate::process::{Judgement, KeyMap, KeySet, ProcessKey};

/// Judgements queued at most; more are written at once.
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
    /// Verdicts that the map did not take since that was last asked.
    refused: u64,
}

impl Verdicts {
    /// Over the maps, which an earlier kevmon may have filled.
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

    /// Will be written at the next [`Verdicts::flush`].
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

    /// Writes what waits.
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

    /// The ring has been emptied since the last flush but one.
    pub fn drained(&mut self) {
        self.recent[1].clear();
        self.recent.swap(0, 1);
    }

    /// Writes one at once; false when the map did not take it.
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

    /// Removes one; false when there was none.
    pub fn remove(&mut self, key: ProcessKey) -> bool {
        self.map.remove(&Shared(decode::raw_key(key))).is_ok()
    }

    /// The processes that have one.
    pub fn keys(&self) -> impl Iterator<Item = ProcessKey> + '_ {
        self.map
            .keys()
            .filter_map(Result::ok)
            .map(|Shared(key)| decode::key(&key))
    }

    /// How many the map did not take since this was last asked.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}

/// The newest sequence that a verdict is about. The programs look for no verdict about a later one, so it is raised before
/// the verdict is written.
struct Newest {
    map: Array<MapData, u64>,
    /// What the map holds.
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
    /// Several at once.
    Batch(&'a [Key], &'a [Verdict]),
    /// One.
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
