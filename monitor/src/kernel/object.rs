//! Loads the eBPF object and attaches its programs, or takes over those that an earlier kevmon left in bpffs.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use aya::{
    Btf, Ebpf, EbpfLoader, Pod,
    maps::{Array, Map, MapData},
    programs::{BtfTracePoint, Iter},
};
use kevmon_common::{
    Counters, HeldRename, Key, Lives, LivesKey, LostEnd, Mark, Offsets, READER_CALL_AT, READER_WATCHED_UNTIL,
    SwitchCounters, Verdict, WATCHED_ALWAYS,
};

use tracing::{debug, warn};

use super::{
    btf::{self, BtfError},
    pins::{Fnv, Found, PinError, Pins},
    placeholders, sys,
};

/// The object that `cargo xtask build` made from `monitor-ebpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("KEVMON_EBPF_OBJECT_PATH"));

/// The file with the types of the running kernel (BTF).
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The smallest ring there is.
const LOG_OFF_BYTES: u32 = 4096;

/// Programs that report events, by the tracepoint they attach to.
const TRACEPOINTS: [&str; 5] = [
    "sched_process_exec",
    "sched_process_fork",
    "sched_process_exit",
    "sched_process_free",
    "task_rename",
];

/// Programs without which kevmon does not know something, and what.
const OPTIONAL: [(&str, &str); 3] = [
    ("signal_generate", "who sent a signal is not told"),
    (
        "mark_victim",
        "ends by the OOM killer look like any other SIGKILL",
    ),
    (
        "cgroup_mkdir",
        "what ran and ended with its cgroup may be no member of a plugin with unit, cgroup or container",
    ),
];

/// The program that is attached only where it is asked for, and its tracepoint.
const TASK_DEAD: &str = "task_dead";
const SCHED_SWITCH: &str = "sched_switch";

/// The iterator programs.
const ITERATORS: [&str; 2] = ["snapshot", "sample"];

/// The maps that userspace reads or writes.
const MAPS: [&str; 12] = [
    "EVENTS",
    "MARKS",
    "VERDICTS",
    "JUDGED_UNTIL",
    "COUNTERS",
    "ARGUMENTS_LEFT_OUT",
    "LOST_ENDS",
    "LOST_LIVES",
    "PENDING",
    "HELD",
    "LOST_NAMES",
    READER,
];

/// The map that says until when the programs watch, and when they call.
pub const READER: &str = "READER";

/// What else both sides have to agree on when one kevmon takes over from another: how positions, losses and sums are kept.
const TAKEOVER: u32 = 1;

/// Why the programs could not be put to work.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Offsets of kernel fields could not be resolved.
    #[error(transparent)]
    Offsets(#[from] BtfError),
    /// aya could not read the kernel's BTF.
    #[error("{VMLINUX_BTF}: {0}")]
    Btf(#[from] aya::BtfError),
    /// The embedded object is no valid ELF file.
    #[error("eBPF object: {0}")]
    Elf(#[from] ::object::Error),
    /// The object could not be loaded; mostly a map was refused.
    #[error("eBPF object: {}", chain(.0))]
    Object(#[from] aya::EbpfError),
    /// The kernel refused a program.
    #[error("eBPF program {program}: {}", brief(.source))]
    Program {
        /// Name of the program.
        program: &'static str,
        /// The kernel's error, with the verifier's log.
        source: aya::programs::ProgramError,
    },
    /// A map or program that should be in the object is not.
    #[error("the eBPF object has no {0}; it does not belong to this kevmon")]
    Foreign(&'static str),
    /// The ring cannot be waited for.
    #[error("the ring buffer's descriptor: {0}")]
    Ring(#[source] std::io::Error),
    /// A map of an unexpected type.
    #[error("eBPF map: {0}")]
    Map(#[from] aya::maps::MapError),
}

/// aya's errors say only the outermost part by themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A refused program, without the verifier's account of how it got there: its last words only.
fn brief(error: &aya::programs::ProgramError) -> String {
    let aya::programs::ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return chain(error);
    };
    let log = verifier_log.to_string();
    let verdict = log.lines().rev().find(|line| {
        !line.is_empty()
            && !["verification time", "stack depth", "processed"]
                .iter()
                .any(|s| line.starts_with(s))
    });
    match verdict {
        Some(verdict) => format!("{io_error}: the verifier says: {verdict}"),
        None => io_error.to_string(),
    }
}

impl LoadError {
    /// The kernel looked at a program and found it unsafe, whatever rights kevmon has: the verifier has said why.
    pub fn is_the_verifiers(&self) -> bool {
        match self {
            Self::Program {
                source: aya::programs::ProgramError::LoadError { verifier_log, .. },
                ..
            } => !verifier_log.to_string().trim().is_empty(),
            _ => false,
        }
    }

    /// The system's error that this comes from.
    pub fn io_error(&self) -> Option<&std::io::Error> {
        let mut cause: Option<&dyn std::error::Error> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                return Some(error);
            }
            // Both hold it without naming it as their source.
            match error.downcast_ref() {
                Some(btf_rs::Error::IO(error)) => return Some(error),
                _ => cause = error.source(),
            }
        }
        None
    }
}

/// A value of a shared type, for aya's map and global interfaces.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Shared<T>(pub T);

// SAFETY: repr(C), integers only, no padding (asserted in kevmon-common).
unsafe impl Pod for Shared<Key> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Mark> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Verdict> {}
// SAFETY: as above.
unsafe impl Pod for Shared<HeldRename> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Counters> {}
// SAFETY: as above.
unsafe impl Pod for Shared<LostEnd> {}
// SAFETY: as above.
unsafe impl Pod for Shared<LivesKey> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Lives> {}
// SAFETY: as above.
unsafe impl Pod for Shared<SwitchCounters> {}

/// Sizes that depend on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Ring buffer, bytes; a power of two and a multiple of the page size.
    pub ring: u32,
    /// Processes marked at once.
    pub marks: u32,
    /// The programs' own log, bytes; `None` keeps it out of them.
    pub log: Option<u32>,
}

/// A loaded and attached object.
#[derive(Debug)]
pub struct Attached {
    /// Maps that have not been taken, by name.
    maps: BTreeMap<&'static str, Map>,
    /// Offsets of kernel fields that the programs were loaded with.
    pub offsets: Offsets,
    /// The iterators' programs: snapshot, sample.
    pub iterators: (OwnedFd, OwnedFd),
    /// The tracepoint programs that are attached, by name.
    pub tracepoints: Vec<(&'static str, OwnedFd)>,
    /// The program by which dying threads tell totals, which is attached where it is asked for; `None`: the kernel has not taken
    /// it.
    pub task_dead: Option<OwnedFd>,
    /// Links that keep the tracepoint programs attached, by name.
    links: Vec<(&'static str, OwnedFd)>,
    /// Where the programs' own log is; `None` where an earlier kevmon loaded them.
    pub ebpf: Option<Ebpf>,
}

impl Attached {
    /// Takes the map called `name` out of the object.
    ///
    /// # Errors
    /// The object has no such map.
    pub fn take(&mut self, name: &'static str) -> Result<Map, LoadError> {
        self.maps.remove(name).ok_or(LoadError::Foreign(name))
    }

    /// Takes the ring called `name` out of the object.
    ///
    /// # Errors
    /// The object has no such ring.
    pub fn take_ring(&mut self, name: &'static str) -> Result<MapData, LoadError> {
        match self.take(name)? {
            Map::RingBuf(data) => Ok(data),
            _ => Err(LoadError::Foreign(name)),
        }
    }

    /// Has the programs watch without an end, for a run that pins nothing.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn watch_always(&mut self) -> Result<(), LoadError> {
        if let Some(map) = self.maps.get_mut(READER) {
            let mut watched: Array<&mut MapData, u64> = map.try_into()?;
            watched.set(READER_WATCHED_UNTIL, WATCHED_ALWAYS, 0)?;
        }
        Ok(())
    }

    /// Pins all maps, programs and links in bpffs. To be called before any map is taken.
    ///
    /// # Errors
    /// Something could not be pinned; nothing is pinned then.
    pub fn pin(&self, pins: &Pins) -> Result<(), PinError> {
        let maps = self.maps.iter();
        let maps = maps.filter_map(|(name, map)| Some((map_file(name), data(map)?.fd().as_fd())));
        let (snapshot, sample) = &self.iterators;
        let iterators = [(ITERATORS[0], snapshot), (ITERATORS[1], sample)];
        let programs = self.tracepoints.iter().map(|(name, program)| (*name, program));
        let on_demand = self.task_dead.iter().map(|program| (TASK_DEAD, program));
        let programs = iterators.into_iter().chain(programs).chain(on_demand);
        let programs = programs.map(|(name, program)| (program_file(name), program.as_fd()));
        let links = self
            .links
            .iter()
            .map(|(name, link)| (link_file(name), link.as_fd()));
        pins.pin(maps.chain(programs).chain(links))
    }
}

fn map_file(name: &str) -> String {
    format!("map_{name}")
}

fn program_file(name: &str) -> String {
    format!("program_{name}")
}

fn link_file(name: &str) -> String {
    format!("link_{name}")
}

/// What the kernel knows of a map; `None` of a kind that the object has none of.
pub fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data) | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// The layout: a hash of all that two kevmons have to agree on, so that the second can take over from the first. That is the
/// programs, with the records that they share with userspace, and the sizes of the maps.
pub fn layout(sizes: Sizes) -> u64 {
    let mut hash = Fnv::new();
    hash.add(OBJECT);
    for number in [TAKEOVER, sizes.ring, sizes.marks] {
        hash.add(&number.to_ne_bytes());
    }
    hash.0
}

/// Opens the programs and maps that an earlier kevmon left.
///
/// # Errors
/// They are not what this kevmon would have loaded, or the kernel's types cannot be read.
pub fn take_over(found: &Found, sizes: Sizes) -> Result<Attached, TakeoverError> {
    let offsets = btf::resolve(Path::new(VMLINUX_BTF)).map_err(LoadError::from)?;
    let mut maps = BTreeMap::new();
    for name in MAPS {
        let data = MapData::from_fd(found.open(&map_file(name))?).map_err(LoadError::from)?;
        let entries = data.info().map_err(LoadError::from)?.max_entries();
        let expected = match name {
            "EVENTS" => Some(sizes.ring),
            "MARKS" | "VERDICTS" => Some(sizes.marks),
            _ => None,
        };
        if expected.is_some_and(|expected| expected != entries) {
            return Err(found.foreign(format!("{name} has another size")).into());
        }
        maps.insert(name, Map::from_map_data(data).map_err(LoadError::from)?);
    }
    let mut programs = Vec::new();
    let mut links = Vec::new();
    for name in TRACEPOINTS.into_iter().chain(OPTIONAL.map(|(name, _)| name)) {
        let is_optional = OPTIONAL.iter().any(|(optional, _)| *optional == name);
        if is_optional && found.object(&link_file(name))?.is_none() {
            continue;
        }
        let program = found.open(&program_file(name))?;
        let link = found.open(&link_file(name))?;
        let attached = sys::linked_program(link.as_fd());
        if attached.is_none() || attached != sys::tracing_program_id(program.as_fd()) {
            return Err(found.foreign(format!("{name} is not attached")).into());
        }
        programs.push((name, program));
        links.push((name, link));
    }
    let iterator = |name: &str| -> Result<OwnedFd, TakeoverError> {
        let program = found.open(&program_file(name))?;
        match sys::tracing_program_id(program.as_fd()) {
            Some(_) => Ok(program),
            None => Err(found.foreign(format!("{name} is no iterator")).into()),
        }
    };
    Ok(Attached {
        maps,
        offsets,
        iterators: (iterator(ITERATORS[0])?, iterator(ITERATORS[1])?),
        tracepoints: programs,
        task_dead: found
            .open(&program_file(TASK_DEAD))
            .ok()
            .filter(|program| sys::tracing_program_id(program.as_fd()).is_some()),
        links,
        ebpf: None,
    })
}

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// A pinned file could not be opened.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A map or the kernel's types could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Until when the programs of a set watch, ns of CLOCK_MONOTONIC; `None` where that cannot be read.
pub fn watched_until(found: &Found) -> Option<u64> {
    let map = MapData::from_fd(found.open(&map_file(READER)).ok()?).ok()?;
    let array: Array<MapData, u64> = Map::from_map_data(map).ok()?.try_into().ok()?;
    array.get(&READER_WATCHED_UNTIL, 0).ok()
}

/// Loads and attaches everything. The programs watch until `until`, ns of CLOCK_MONOTONIC.
///
/// # Errors
/// The kernel lacks something, or refuses.
pub fn attach(sizes: Sizes, until: u64) -> Result<Attached, LoadError> {
    attach_with(btf::resolve(Path::new(VMLINUX_BTF))?, sizes, until)
}

fn attach_with(offsets: Offsets, sizes: Sizes, until: u64) -> Result<Attached, LoadError> {
    match attach_at(offsets, sizes, until) {
        // Calls of kernel functions need the JIT compiler (kernel/bpf/verifier.c, add_kfunc_call), which may be switched off; or a
        // verifier takes some program without them alone.
        Err(error @ LoadError::Program { .. }) if offsets.cast != 0 => {
            debug!("{error}; once more without calls of kernel functions");
            attach_at(Offsets { cast: 0, ..offsets }, sizes, until)
        }
        done => done,
    }
}

fn attach_at(offsets: Offsets, sizes: Sizes, until: u64) -> Result<Attached, LoadError> {
    let (object, placed) = placeholders::replace(OBJECT, &offsets)?;
    if placed == 0 {
        return Err(LoadError::Foreign("place for the kernel's offsets"));
    }
    // Dropped at the end: it takes 23 MB.
    let btf = Btf::from_sys_fs()?;
    // Before the load: what no level lets through, the verifier drops from the programs.
    let log_level = if sizes.log.is_some() {
        aya_log::Level::Debug as u8
    } else {
        0
    };
    let wake_at = u64::from(sizes.ring / 4);
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&btf))
        .override_global("WAKE_AT", &wake_at, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("AYA_LOGS", sizes.log.unwrap_or(LOG_OFF_BYTES))
        .map_max_entries("EVENTS", sizes.ring)
        .map_max_entries("MARKS", sizes.marks)
        .map_max_entries("VERDICTS", sizes.marks)
        .load(&object)?;
    let mut maps = BTreeMap::new();
    for name in MAPS {
        maps.insert(name, ebpf.take_map(name).ok_or(LoadError::Foreign(name))?);
    }
    // Before the first of them runs.
    if let Some(map) = maps.get_mut(READER) {
        let mut reader: Array<&mut MapData, u64> = map.try_into()?;
        reader.set(READER_WATCHED_UNTIL, until, 0)?;
        reader.set(READER_CALL_AT, wake_at, 0)?;
    }
    let iterators = (
        load_iterator(&mut ebpf, ITERATORS[0], &btf)?,
        load_iterator(&mut ebpf, ITERATORS[1], &btf)?,
    );
    let mut tracepoints = Vec::new();
    let mut links = Vec::new();
    let mut keep = |program, (attached, link)| {
        tracepoints.push((program, attached));
        links.push((program, link));
    };
    for program in TRACEPOINTS {
        keep(program, attach_tracepoint(&mut ebpf, program, &btf)?);
    }
    for (program, without) in OPTIONAL {
        match attach_tracepoint(&mut ebpf, program, &btf) {
            Ok(attached) => keep(program, attached),
            Err(error) if offsets.cast != 0 => return Err(error),
            Err(error) => warn!("{error}; {without}"),
        }
    }
    let task_dead = match load_tracepoint(&mut ebpf, TASK_DEAD, SCHED_SWITCH, &btf) {
        Ok(loaded) => Some(loaded),
        Err(error) if offsets.cast != 0 => return Err(error),
        Err(error) => {
            debug!("{error}; exact ends cannot be asked for");
            None
        }
    };
    Ok(Attached {
        maps,
        offsets,
        iterators,
        tracepoints,
        task_dead,
        links,
        ebpf: Some(ebpf),
    })
}

fn owned(descriptor: BorrowedFd<'_>) -> Result<OwnedFd, aya::programs::ProgramError> {
    Ok(descriptor.try_clone_to_owned()?)
}

/// Loads a program for a tracepoint.
pub(super) fn load_tracepoint(
    ebpf: &mut Ebpf,
    program: &'static str,
    tracepoint: &str,
    btf: &Btf,
) -> Result<OwnedFd, LoadError> {
    let error = |source| LoadError::Program { program, source };
    let hook: &mut BtfTracePoint = ebpf
        .program_mut(program)
        .ok_or(LoadError::Foreign(program))?
        .try_into()
        .map_err(error)?;
    hook.load(tracepoint, btf).map_err(error)?;
    let loaded = hook.fd().map_err(error)?;
    owned(loaded.as_fd()).map_err(error)
}

/// Loads an iterator over tasks.
pub(super) fn load_iterator(ebpf: &mut Ebpf, program: &'static str, btf: &Btf) -> Result<OwnedFd, LoadError> {
    let error = |source| LoadError::Program { program, source };
    let iterator: &mut Iter = ebpf
        .program_mut(program)
        .ok_or(LoadError::Foreign(program))?
        .try_into()
        .map_err(error)?;
    iterator.load("task", btf).map_err(error)?;
    let loaded = iterator.fd().map_err(error)?;
    owned(loaded.as_fd()).map_err(error)
}

/// Programs are called after their tracepoint. Returns the program and what keeps it attached.
fn attach_tracepoint(
    ebpf: &mut Ebpf,
    program: &'static str,
    btf: &Btf,
) -> Result<(OwnedFd, OwnedFd), LoadError> {
    let error = |source| LoadError::Program { program, source };
    let loaded = load_tracepoint(ebpf, program, program, btf)?;
    // Not by aya, whose links tell nobody their descriptor.
    let link = sys::attach_tracepoint(loaded.as_fd()).map_err(|refused| error(refused.into()))?;
    Ok((loaded, link))
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
