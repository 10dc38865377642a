//! From the kernel side's bytes to the process module's types. Nothing is believed unchecked: lengths and
//! discriminants first.

use std::mem::offset_of;

use kevmon_common::{
    ARGUMENTS_LEN, ARGUMENTS_LONG_LEN, ARGV_LEN, ArgumentsHead, CGROUP_PATH_LEN, CgroupHead, CgroupRecord,
    END_OOM, EXE_LEN, EXEC_ARGV_CUT, EXEC_FILENAME_CUT, EndRecord, ExecHead, ExecRecord, FILENAME_LEN,
    ForkRecord, Header, Kind, RENAME_UNHEARD, RenameRecord, SNAPSHOT_ENDED, SNAPSHOT_MARKED, SNAPSHOT_OOM,
    SNAPSHOT_RENAMED, SNAPSHOT_TOLD, SNAPSHOT_UNTOLD, SampleRecord, SnapshotRecord, ThreadEnd, UID_UNKNOWN,
};

use crate::process::{
    Arguments, BootTime, Counter, Ending, Event, FactIds, Identity, ProcessKey, Seen, SeenEnd, Sender, Tgid,
    Usage, end_of_a_path, executable_name,
};

/// Types that any bytes of the right length are a value of: integers and arrays of integers, without padding.
///
/// # Safety
/// Implementors are `repr(C)`, have no padding, and every bit pattern is valid.
pub unsafe trait Record: Copy {}

// SAFETY: kevmon-common's records are repr(C), hold integers and byte arrays, and assert their sizes.
unsafe impl Record for Header {}
// SAFETY: as above.
unsafe impl Record for ExecHead {}
// SAFETY: as above.
unsafe impl Record for ForkRecord {}
// SAFETY: as above.
unsafe impl Record for RenameRecord {}
// SAFETY: as above.
unsafe impl Record for EndRecord {}
// SAFETY: an integer.
unsafe impl Record for u32 {}
// SAFETY: as above.
unsafe impl Record for ArgumentsHead {}
// SAFETY: as above.
unsafe impl Record for CgroupHead {}
// SAFETY: as above.
unsafe impl Record for kevmon_common::Facts {}
// SAFETY: as above.
unsafe impl Record for SnapshotRecord {}
// SAFETY: as above.
unsafe impl Record for SampleRecord {}
// SAFETY: as above.
unsafe impl Record for ThreadEnd {}

/// The record that `bytes` begin with; `None` when they are too few.
pub fn record<T: Record>(bytes: &[u8]) -> Option<T> {
    // SAFETY: the length is checked, the read is unaligned, and `Record` vouches for every bit pattern.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// What this kernel does not count, so that it is unknown and not 0; and its page size.
#[derive(Debug, Clone, Copy)]
pub struct Blind {
    /// The kernel lacks CONFIG_SCHED_INFO: run-queue delay is unknown.
    pub run_delay: bool,
    /// The kernel lacks CONFIG_TASK_IO_ACCOUNTING: bytes read and written are unknown.
    pub io: bool,
    /// The page size, bytes.
    pub page_size: u64,
}

impl Blind {
    /// The kernel's sums as a [`Usage`].
    pub fn usage(&self, usage: &kevmon_common::Usage) -> Usage {
        let io = |bytes| (!self.io).then_some(bytes);
        Usage::UNKNOWN
            .with(Counter::Runtime, Some(usage.runtime))
            .with(Counter::User, Some(usage.utime))
            .with(Counter::System, Some(usage.stime))
            .with(Counter::RunDelay, (!self.run_delay).then_some(usage.run_delay))
            .with(Counter::Voluntary, Some(usage.nvcsw))
            .with(Counter::Involuntary, Some(usage.nivcsw))
            .with(Counter::MinorFaults, Some(usage.min_flt))
            .with(Counter::MajorFaults, Some(usage.maj_flt))
            .with(Counter::ReadBytes, io(usage.read_bytes))
            .with(Counter::WriteBytes, io(usage.write_bytes))
    }

    /// The event of a process that a ring record tells; `None` for bytes that are no such record. `before` is what came
    /// before an exec of its arguments ([`part_of_arguments`]).
    pub fn event(&self, bytes: &[u8], before: &[u8]) -> Option<Event> {
        let header: Header = record(bytes)?;
        let (key, time) = (key(&header.key), BootTime(header.time));
        Some(match Kind::from_raw(header.kind)? {
            Kind::Exec => self.exec(bytes, before)?,
            Kind::Fork => {
                let fork: ForkRecord = record(bytes)?;
                Event::Fork {
                    key,
                    time,
                    sequence: fork.sequence,
                    parent: self::key(&fork.parent),
                }
            }
            Kind::Rename => {
                let rename: RenameRecord = record(bytes)?;
                Event::Rename {
                    key,
                    time,
                    sequence: rename.sequence,
                    parent: self::key(&rename.parent),
                    comm: text(until_nul(&rename.comm)),
                    threads: Some(header.flags & !RENAME_UNHEARD),
                    unheard: header.flags & RENAME_UNHEARD != 0,
                    found: None,
                    usage: self.usage(&rename.usage),
                }
            }
            Kind::Exit => {
                let end: EndRecord = record(bytes)?;
                Event::Exit {
                    key,
                    time,
                    ending: ending(&end),
                    usage: self.usage(&end.usage),
                    peak_rss: self.pages(end.peak_rss),
                }
            }
            Kind::Free | Kind::Dead => {
                let end: EndRecord = record(bytes)?;
                Event::Free {
                    key,
                    time,
                    ended: seen_at(end.ended),
                    ending: ending(&end),
                    usage: self.usage(&end.usage),
                    peak_rss: self.pages(end.peak_rss),
                }
            }
            Kind::Cgroup | Kind::Arguments => return None,
        })
    }

    /// An exec's texts are read where they stand: most of the record's bytes are not used.
    fn exec(&self, bytes: &[u8], before: &[u8]) -> Option<Event> {
        let head: ExecHead = record(bytes)?;
        let text_at = |offset: usize, room: usize, len: u32| {
            bytes.get(offset..offset + room).map(|array| prefix(array, len))
        };
        let argv = text_at(offset_of!(ExecRecord, argv), ARGV_LEN, head.argv_len)?;
        let arguments = exec_arguments(&head, argv, before);
        let filename = text_at(offset_of!(ExecRecord, filename), FILENAME_LEN, head.filename_len)?;
        Some(Event::Exec {
            key: key(&head.header.key),
            time: BootTime(head.header.time),
            sequence: head.sequence,
            parent: key(&head.parent),
            identity: Identity {
                comm: text(until_nul(&head.comm)),
                exe: executable(text_at(offset_of!(ExecRecord, exe), EXE_LEN, head.exe_len)?),
                filename: exec_filename(&head, filename),
                argv: arguments.whole,
                cut: arguments.cut,
            },
            usage: self.usage(&head.usage),
        })
    }

    /// Pages as bytes; the programs write 0 for what the kernel did not know.
    pub fn pages(&self, pages: u64) -> Option<u64> {
        (pages > 0).then(|| pages.saturating_mul(self.page_size))
    }
}

/// Whose the process is that a ring record of an event is about, and where.
pub fn facts(bytes: &[u8]) -> FactIds {
    let at = |kind: Kind| match kind {
        Kind::Exec => Some(offset_of!(ExecHead, facts)),
        Kind::Fork => Some(offset_of!(ForkRecord, facts)),
        Kind::Rename => Some(offset_of!(RenameRecord, facts)),
        Kind::Exit | Kind::Free | Kind::Dead => Some(offset_of!(EndRecord, facts)),
        Kind::Cgroup | Kind::Arguments => None,
    };
    // They alone are read: every event comes by here, and few plugins ask.
    let told = kind(bytes).and_then(at).and_then(|at| record(bytes.get(at..)?));
    told.map_or(FactIds::default(), |facts| fact_ids(&facts))
}

/// User, cgroup and pid namespace of a record; `None` for the numbers that stand for "not known".
pub fn fact_ids(facts: &kevmon_common::Facts) -> FactIds {
    FactIds {
        uid: (facts.euid != UID_UNKNOWN).then_some(facts.euid),
        cgroup: (facts.cgroup > 0).then_some(facts.cgroup),
        pid_namespace: (facts.pid_namespace > 0).then_some(facts.pid_namespace),
    }
}

/// The id and path of a cgroup that has been made; `None` for any other record, and for a path that is not whole.
pub fn made_cgroup(bytes: &[u8]) -> Option<(u64, &str)> {
    if !is_of_a_cgroup(bytes) {
        return None;
    }
    let head: CgroupHead = record(bytes)?;
    let room = bytes
        .get(offset_of!(CgroupRecord, path)..)?
        .get(..CGROUP_PATH_LEN)?;
    let is_whole = (head.path_len as usize) < CGROUP_PATH_LEN - 1;
    let path = std::str::from_utf8(prefix(room, head.path_len)).ok()?;
    (is_whole && !path.is_empty()).then_some((head.id, path))
}

/// True for the record of a new cgroup, which is about no process.
pub fn is_of_a_cgroup(bytes: &[u8]) -> bool {
    kind(bytes) == Some(Kind::Cgroup)
}

/// Every record begins with it.
fn kind(bytes: &[u8]) -> Option<Kind> {
    let raw = bytes.first_chunk().copied().map(u32::from_ne_bytes)?;
    Kind::from_raw(raw)
}

/// The time of a field that is 0 when the event was not seen; `None` for 0.
pub fn seen_at(time: u64) -> Option<BootTime> {
    (time > 0).then_some(BootTime(time))
}

/// Status, OOM kill and signal sender of an end record.
pub fn ending(end: &EndRecord) -> Ending {
    Ending {
        status: Some(end.status),
        oom_victim: end.header.flags & END_OOM != 0,
        sender: sender(&end.sender),
    }
}

/// Who sent the last terminating signal; `None` when no process did, or for a number that is no signal.
fn sender(sender: &kevmon_common::Sender) -> Option<Sender> {
    let signal = u8::try_from(sender.signal).ok().filter(|&signal| signal > 0)?;
    Some(Sender {
        tgid: Tgid(sender.tgid),
        comm: text(until_nul(&sender.comm)),
        signal,
    })
}

/// The path that was executed. Of a path that does not fit, the kernel side sends the end, or nothing.
fn exec_filename(head: &ExecHead, filename: &[u8]) -> String {
    let path = text(filename);
    if head.header.flags & EXEC_FILENAME_CUT == 0 || path.is_empty() {
        return path;
    }
    end_of_a_path(&path)
}

/// The arguments of an exec: the beginning in its own record, and what came before it. Unless that is all of what was sent,
/// it does not count.
fn exec_arguments(head: &ExecHead, argv: &[u8], before: &[u8]) -> Arguments {
    let is_cut = head.header.flags & EXEC_ARGV_CUT != 0;
    if head.argv_before == 0 {
        return Arguments::parse(argv, is_cut);
    }
    if head.argv_before as usize != before.len() || argv.len() != ARGV_LEN {
        return Arguments::parse(argv, true);
    }
    Arguments::parse(&[argv, before].concat(), is_cut)
}

/// A part of the arguments of an exec whose record is still to come.
#[derive(Debug, PartialEq, Eq)]
pub struct PartOfArguments<'a> {
    /// The process that executes.
    pub key: ProcessKey,
    /// Whether it is the first part of its exec.
    pub is_first: bool,
    /// Bytes of the argument vector, NULs included.
    pub text: &'a [u8],
}

/// The process of an exec's or a free's record: parts of arguments that came before belong to that exec, or to one whose
/// record was lost. An exec that counts none of them may have sent an empty one.
pub fn executes_or_is_freed(bytes: &[u8]) -> Option<ProcessKey> {
    if !matches!(kind(bytes)?, Kind::Exec | Kind::Free) {
        return None;
    }
    let header: Header = record(bytes)?;
    Some(key(&header.key))
}

/// The part of an argument vector that a record holds; `None` for any other record.
pub fn part_of_arguments(bytes: &[u8]) -> Option<PartOfArguments<'_>> {
    if kind(bytes) != Some(Kind::Arguments) {
        return None;
    }
    let head: ArgumentsHead = record(bytes)?;
    let is_first = head.offset as usize == ARGV_LEN;
    let room = if is_first {
        ARGUMENTS_LEN
    } else {
        ARGUMENTS_LONG_LEN
    };
    let room = bytes.get(size_of::<ArgumentsHead>()..)?.get(..room)?;
    Some(PartOfArguments {
        key: key(&head.header.key),
        is_first,
        text: prefix(room, head.len),
    })
}

/// The process a snapshot record shows; its argument vector is not in it.
pub fn seen(record: &SnapshotRecord, blind: &Blind) -> Seen {
    Seen {
        untold: record.flags & SNAPSHOT_UNTOLD != 0,
        renamed: record.flags & SNAPSHOT_RENAMED != 0,
        key: key(&record.key),
        parent: Some(key(&record.parent)),
        sequence: (record.flags & SNAPSHOT_MARKED != 0).then_some(record.sequence),
        told: record.flags & SNAPSHOT_TOLD != 0,
        identity: Identity {
            comm: text(until_nul(&record.comm)),
            exe: executable(prefix(&record.exe, record.exe_len)),
            filename: String::new(),
            argv: Vec::new(),
            cut: None,
        },
        facts: fact_ids(&record.facts),
        ended: record.flags & SNAPSHOT_ENDED != 0,
        end: seen_at(record.ended).map(|time| SeenEnd {
            time,
            ending: Ending {
                status: Some(record.status),
                oom_victim: record.flags & SNAPSHOT_OOM != 0,
                sender: sender(&record.sender),
            },
            peak_rss: blind.pages(record.peak_rss),
        }),
    }
}

/// A key as the daemon has it, from the kernel side's form.
pub fn key(key: &kevmon_common::Key) -> ProcessKey {
    ProcessKey {
        tgid: Tgid(key.tgid),
        start: BootTime(key.start_boottime),
    }
}

/// A key as the kernel side has it, from the daemon's form.
pub fn raw_key(key: ProcessKey) -> kevmon_common::Key {
    kevmon_common::Key {
        start_boottime: key.start.0,
        tgid: key.tgid.0,
        pad: 0,
    }
}

/// The first `len` bytes; all of them where `len` is too large.
pub fn prefix(bytes: &[u8], len: u32) -> &[u8] {
    bytes.get(..len as usize).unwrap_or(bytes)
}

/// The bytes before the first NUL; all of them where there is none.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The text of a `comm` field, up to its NUL.
pub fn comm(comm: &[u8]) -> String {
    text(until_nul(comm))
}

/// Bytes as text; what is not UTF-8 becomes replacement characters.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(), // all but always, and cheaper to find out than to mend
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The base name of an executable as text; of a memfd, what it was called.
pub fn executable(bytes: &[u8]) -> String {
    let text = text(bytes);
    match executable_name(&text) {
        name if name.len() == text.len() => text,
        name => name.to_owned(),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
pub mod tests;
