//! The second object: what tracked threads do between two looks.
//!
//! It is loaded with the first, while kevmon may load, and attached only while somebody asks for it: every switch on the host
//! runs its program then. How threads are tracked is told in monitor-ebpf, switches/main.rs; here is the other half: saying which
//! processes are wanted, and turning what was measured of a thread since it is tracked into what is new since the last look.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::{
    Btf, EbpfLoader,
    maps::{Array, HashMap as BpfHashMap, MapData, PerCpuArray},
};
use kevmon_common::{EndKind, Key, Offsets, SwitchCounters, ThreadEnd, ThreadTimes};

use super::{
    decode,
    object::{LoadError, Shared, load_iterator, load_tracepoint},
    placeholders,
    ring_memory::RingMemory,
    switch_decode, sys,
};
use crate::process::{BootTime, KeySet, ProcessKey, SwitchTimes};

/// The object that `cargo xtask build` made from `monitor-ebpf`, `src/switches`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("KEVMON_EBPF_SWITCHES_PATH"));

/// Programs, and the tracepoints that they attach to.
const PROGRAMS: [(&str, &str); 3] = [
    ("switches_switch", "sched_switch"),
    ("switches_fork", "sched_process_fork"),
    ("switches_exec", "sched_process_exec"),
];
/// The iterator program, which reads what was measured of tracked threads.
const WALK: &str = "walk";
/// Bytes of the ring: about a thousand threads that end between two looks.
const RING_BYTES: u32 = 4 << 20;
/// Threads tracked at most: 4 KiB of kernel memory each.
const THREADS: u64 = 1 << 14;
/// A thread that was not seen is remembered for so many looks.
const KEPT_FOR: u64 = 64;
/// How much of a walk is read at once; a record has to fit.
const CHUNK: usize = 64 << 10;

/// What is new of a thread that has ended, or has executed a program.
#[derive(Debug)]
pub struct ThreadEnded {
    /// The process of the thread.
    pub key: ProcessKey,
    /// Time of the end or of the exec.
    pub time: BootTime,
    /// What was measured since the last look.
    pub times: SwitchTimes,
    /// The thread goes on and has executed another program.
    pub executes: bool,
}

/// Counts of what could not be measured, since the object was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missed {
    /// Threads that were not tracked for want of room, and processes for which `WANTED` had none.
    pub refused: u64,
    /// Ends of threads and processes for which the ring had no room.
    pub ends_lost: u64,
}

/// The second object, loaded; attached while somebody measures.
pub struct Switches {
    programs: Vec<(&'static str, OwnedFd)>,
    /// Links that keep the programs attached; empty while nobody measures.
    links: Vec<OwnedFd>,
    walk: OwnedFd,
    ring: RingMemory,
    wanted: BpfHashMap<MapData, Shared<Key>, u64>,
    /// The keys in `wanted`.
    wants: KeySet,
    decided_until: Array<MapData, u64>,
    counters: PerCpuArray<MapData, Shared<SwitchCounters>>,
    /// Each thread as of the last look, by its id when tracking began and the time of that.
    last: HashMap<(u32, u64), Box<Last>>,
    buffer: Vec<u8>,
    /// Number of looks so far.
    looks: u64,
    /// Processes for which there was no room in `wanted`, each time that they were to be.
    unwanted: u64,
}

/// A thread at the last look.
struct Last {
    times: ThreadTimes,
    migrations: u64,
    /// The look that it was seen at.
    look: u64,
}

impl Switches {
    /// Loads the object.
    ///
    /// # Errors
    /// The kernel lacks something that the programs need, or refuses.
    pub fn load(offsets: &Offsets, names_preemptors: bool) -> Result<Self, LoadError> {
        let (object, _) = placeholders::replace(OBJECT, offsets)?;
        let btf = Btf::from_sys_fs()?;
        let (wake_at, names) = (u64::from(RING_BYTES / 4), u32::from(names_preemptors));
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            // Task storage, which nobody but the programs opens.
            .allow_unsupported_maps()
            .override_global("ENDS_WAKE_AT", &wake_at, true)
            .override_global("THREADS_AT_MOST", &THREADS, true)
            .override_global("NAMES_PREEMPTORS", &names, true)
            .map_max_entries("ENDS", RING_BYTES)
            .load(&object)?;
        let mut programs = Vec::new();
        for (program, tracepoint) in PROGRAMS {
            programs.push((tracepoint, load_tracepoint(&mut ebpf, program, tracepoint, &btf)?));
        }
        let walk = load_iterator(&mut ebpf, WALK, &btf)?;
        let mut map = |name: &'static str| ebpf.take_map(name).ok_or(LoadError::Foreign(name));
        let ring = match map("ENDS")? {
            aya::maps::Map::RingBuf(data) => RingMemory::new(data).map_err(LoadError::Ring)?,
            _ => return Err(LoadError::Foreign("ENDS")),
        };
        Ok(Self {
            programs,
            links: Vec::new(),
            walk,
            ring,
            wanted: map("WANTED")?.try_into()?,
            wants: KeySet::default(),
            decided_until: map("DECIDED_UNTIL")?.try_into()?,
            counters: map("SWITCH_COUNTERS")?.try_into()?,
            last: HashMap::new(),
            buffer: Vec::new(),
            looks: 0,
            unwanted: 0,
        })
    }

    /// Attaches the programs, or detaches them.
    ///
    /// # Errors
    /// Any of bpf(2).
    pub fn measure(&mut self, on: bool) -> io::Result<()> {
        if !on {
            if self.measures() {
                self.links.clear();
                self.forget()?;
            }
        } else if self.links.is_empty() {
            // Forks and execs say which threads are tracked; sched_switch comes last.
            let programs = self.programs.iter().rev();
            let links: io::Result<Vec<OwnedFd>> = programs
                .map(|(_, program)| sys::attach_tracepoint(program.as_fd()))
                .collect();
            self.links = links?;
        }
        Ok(())
    }

    /// Gives up all threads: what is measured of one after a break would have the break in it.
    fn forget(&mut self) -> io::Result<()> {
        self.want(&KeySet::default());
        self.look(BootTime(u64::MAX))?;
        while self.next_end().is_some() {}
        self.last.clear();
        Ok(())
    }

    /// Whether the programs are attached.
    pub fn measures(&self) -> bool {
        !self.links.is_empty()
    }

    /// The programs, by tracepoint.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, &OwnedFd)> {
        self.programs.iter().map(|(name, program)| (*name, program))
    }

    /// A descriptor that is readable once a quarter of the ring is waiting.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.ring.descriptor()
    }

    /// Has the threads of these processes tracked, and of no others. Returns those that are new.
    pub fn want(&mut self, keys: &KeySet) -> Vec<ProcessKey> {
        let gone: Vec<ProcessKey> = self.wants.difference(keys).copied().collect();
        for key in gone {
            // It is no longer there, which is as good.
            let _ = self.wanted.remove(&Shared(decode::raw_key(key)));
            self.wants.remove(&key);
        }
        let new: Vec<ProcessKey> = keys.difference(&self.wants).copied().collect();
        for &key in &new {
            match self.wanted.insert(Shared(decode::raw_key(key)), 0, 0) {
                Ok(()) => drop(self.wants.insert(key)),
                // Full: its threads are not measured.
                Err(_) => self.unwanted += 1,
            }
        }
        new
    }

    /// The next thread that has ended; `None` where none waits.
    pub fn next_end(&mut self) -> Option<ThreadEnded> {
        loop {
            let end: Option<ThreadEnd> = decode::record(self.ring.next()?);
            let ended = end.map(|end| {
                let last = self.last.remove(&(end.times.tid, end.times.since));
                ThreadEnded {
                    key: decode::key(&end.header.key),
                    time: BootTime(end.header.time),
                    times: new_since(&end, last.as_deref()),
                    executes: end.header.kind == EndKind::Exec as u32,
                }
            });
            let position = self.ring.position();
            self.ring.release(position);
            if ended.is_some() {
                return ended;
            }
        }
    }

    /// What is new of the threads of the wanted processes since the last look, by process. Begins to track those that are not
    /// yet, and gives up those that began before `decided_until` and are not wanted.
    ///
    /// # Errors
    /// Any of bpf(2) or read(2).
    pub fn look(&mut self, decided_until: BootTime) -> io::Result<Vec<(ProcessKey, SwitchTimes)>> {
        self.decided_until
            .set(0, decided_until.0, 0)
            .map_err(io::Error::other)?;
        let link = sys::link_full_iterator(self.walk.as_fd())?;
        let mut walk = File::from(sys::open_iterator(link.as_fd())?);
        self.looks += 1;
        let mut found: Vec<(ProcessKey, SwitchTimes)> = Vec::new();
        self.buffer.resize(CHUNK, 0);
        let mut filled = 0;
        loop {
            match walk.read(&mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
            let whole = filled - filled % size_of::<ThreadEnd>();
            for record in self.buffer[..whole].chunks_exact(size_of::<ThreadEnd>()) {
                if let Some(end) = decode::record::<ThreadEnd>(record) {
                    note(&mut self.last, &end, self.looks, &mut found);
                }
            }
            self.buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
        // What was not seen has ended, which takes its own away, or is not wanted and may be wanted again.
        let looks = self.looks;
        self.last.retain(|_, last| last.look + KEPT_FOR > looks);
        Ok(found)
    }

    /// What the programs could not do since they were loaded.
    pub fn missed(&self) -> Missed {
        let per_cpu = self.counters.get(&0, 0);
        let per_cpu = per_cpu.as_ref().map_or(&[][..], |per_cpu| per_cpu);
        per_cpu.iter().fold(
            Missed {
                refused: self.unwanted,
                ends_lost: 0,
            },
            |missed, Shared(counters)| Missed {
                refused: missed.refused + counters.refused,
                ends_lost: missed.ends_lost + counters.ends_lost,
            },
        )
    }
}

/// Takes a thread as a walk shows it.
fn note(
    last: &mut HashMap<(u32, u64), Box<Last>>,
    end: &ThreadEnd,
    look: u64,
    found: &mut Vec<(ProcessKey, SwitchTimes)>,
) {
    let key = decode::key(&end.header.key);
    let id = (end.times.tid, end.times.since);
    if let Some(before) = last.get_mut(&id)
        && before.times.left_at == end.times.left_at
    {
        // It has not left its CPU since, or is about to: the copy may have been made in the middle of that.
        before.look = look;
        return;
    }
    let new = new_since(end, last.get(&id).map(Box::as_ref));
    match found.last_mut() {
        // A process's threads come one after the other, mostly.
        Some((known, times)) if *known == key => times.add(&new),
        _ => found.push((key, new)),
    }
    let now = Last {
        times: end.times,
        migrations: end.migrations,
        look,
    };
    match last.get_mut(&id) {
        Some(kept) => **kept = now,
        None => drop(last.insert(id, Box::new(now))),
    }
}

/// What is new of a thread since the last look at it, if it has been tracked since then without a break.
fn new_since(end: &ThreadEnd, last: Option<&Last>) -> SwitchTimes {
    let mut times = switch_decode::since(&end.times, last.map(|last| &last.times));
    let migrations = last.map_or(end.times.migrations, |last| last.migrations);
    times.migrations = end.migrations.saturating_sub(migrations);
    times
}
