//! Reads the task iterators: snapshots of every process, and samples of the watched ones.
//!
//! # Snapshot
//!
//! One walk over all tasks of the host; `snapshot.rs` in monitor-ebpf writes a record for each thread-group leader. The same
//! walk marks processes for which userspace wrote a keep verdict on sequence 0 after an earlier snapshot. So a process that
//! was there before the programs is marked by the second snapshot, not by the first.
//!
//! # Sample
//!
//! `sample.rs` in monitor-ebpf writes a record for each *thread* of a marked process that no verdict refuses. A process is read in
//! one of two ways, with the same records:
//!
//! - *restricted* (Linux 6.1 and newer): one walk over the threads of one process, through a link that is kept for the next
//!   reading. It costs a few microseconds (one BPF_ITER_CREATE).
//! - *full*: one walk over all tasks of the host, watched or not.
//!
//! At most [`ONE_BY_ONE`] processes are read by restricted walks, and only if they are fewer than one in [`READ_IN_TASKS`] of
//! the host's tasks. A kernel that refuses a restricted link (EINVAL, or E2BIG before 5.14) is not asked again.
//!
//! A link names a process by its tgid. If the tgid belongs to another process by now, its records have another start time,
//! and [`Groups::samples`] leaves them out.
//!
//! # Sums, and why they err downwards only
//!
//! Usage of a process = sums of its ended threads (`signal_struct`; for `run_delay`, the mark) + sums of each live thread.
//! The kernel gives no consistent view of both, so:
//!
//! - The sums of ended threads come from the first record of the process. A thread that ends during the walk is either
//!   counted as a live one or missed; it is never counted twice.
//! - Within a record the sums of ended threads are read before the thread's own.
//! - A thread that is exiting adds no `run_delay` of its own: `sched_process_exit` adds it to the mark.
//! - The process table keeps the highest value seen (`Process::observe`), so a short reading only delays usage to a later
//!   collection. The final totals of the free record are no lower than any reading.
//!
//! # Races
//!
//! *Short walk.* A thread that is released between two steps ends a restricted walk (kernel/bpf/task_iter.c,
//! task_group_seq_get_next, goes on from the pid it visited last, and that pid is gone). Each record has the number of
//! threads; a walk with fewer records is repeated, [`SHORT_WALKS`] times in all, and then one last walk counts as it is.
//!
//! *Freed during the walk.* The iterator still holds the task, but its mark, which is preallocated memory, may belong to another
//! process. Both programs look for the mark again at the end and drop the record if it is gone: the free record tells the totals.
//!
//! *Full buffer.* When the kernel's buffer is full, the program runs again for the same task, so records are whole and come
//! once. EAGAIN means that the kernel gave up its time slice; reading goes on.
//!
//! # Failures
//!
//! A wanted process without a record has been freed, has no mark, or was refused: it is absent from the result, and its last
//! values stand. Any other error of bpf(2) or read(2) fails the whole reading: the collection keeps the last values and counts
//! `iterator_failed`. `kevmon.complete_totals` is 0 where a sample failed, `kevmon.complete` where a snapshot did.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use kevmon_common::{FDS_UNKNOWN, SNAPSHOT_ENDED, SNAPSHOT_UNTOLD, SampleRecord, SnapshotRecord, Usage};

use super::{
    decode::{self, Blind, Record},
    sys,
};
use crate::process::{FactIds, KeyMap, KeySet, ProcessKey, Sample, Seen};

/// Room for one read.
const CHUNK: usize = 32 << 10;
/// More processes than these are always read by a walk.
const ONE_BY_ONE: usize = 128;
/// What a restricted read costs, in tasks walked: measured, see `cargo xtask bench tick` and docs/performance.md.
const READ_IN_TASKS: usize = 40;
/// How often a walk of one process is repeated that has fewer records than the process has threads.
const SHORT_WALKS: usize = 3;

/// The iterators of one loaded object.
#[derive(Debug)]
pub struct Iterators {
    snapshot: OwnedFd,
    sample: OwnedFd,
    walk: Option<OwnedFd>,
    links: KeyMap<OwnedFd>,
    /// Links kept at most; further ones are made for one read.
    room: usize,
    /// False once the kernel has refused a restricted iterator (before 6.1).
    restricted: bool,
    buffer: Vec<u8>,
}

impl Iterators {
    /// Takes the object's two iterator programs, attached to nothing yet. Keeps `room` links to single processes at most.
    pub fn new(snapshot: OwnedFd, sample: OwnedFd, room: usize) -> Self {
        Self {
            snapshot,
            sample,
            walk: None,
            links: KeyMap::default(),
            room,
            restricted: true,
            buffer: Vec::new(),
        }
    }

    /// Keeps `room` links at most from now on, and closes the others.
    pub fn shrink(&mut self, room: usize) {
        self.room = room;
        let mut left = room;
        self.links.retain(|_, _| {
            let keeps = left > 0;
            left = left.saturating_sub(1);
            keeps
        });
    }

    /// Every process of the host. `untold` is set to those that run and whose present names no record told (the ring was full),
    /// each with its mark's sequence.
    ///
    /// # Errors
    /// Any of bpf(2) or read(2).
    pub fn snapshot(&mut self, untold: &mut KeyMap<u64>, blind: &Blind) -> io::Result<Vec<Seen>> {
        let link = sys::link_full_iterator(self.snapshot.as_fd())?;
        read_all(&link, &mut self.buffer)?;
        untold.clear();
        let seen = records::<SnapshotRecord>(&self.buffer).map(|record| {
            if record.flags & (SNAPSHOT_UNTOLD | SNAPSHOT_ENDED) == SNAPSHOT_UNTOLD {
                untold.insert(decode::key(&record.key), record.sequence);
            }
            decode::seen(&record, blind)
        });
        Ok(seen.collect())
    }

    /// The usage of the processes in `wanted` that still exist. `tasks` is the number of tasks on the host.
    ///
    /// # Errors
    /// Any of bpf(2) or read(2).
    pub fn sample(&mut self, wanted: &KeySet, tasks: usize, blind: &Blind) -> io::Result<KeyMap<Sample>> {
        self.read(wanted, tasks, blind)
    }

    /// Closes the kept links of all processes but the tracked ones.
    pub fn retain(&mut self, is_tracked: impl Fn(ProcessKey) -> bool) {
        self.links.retain(|&key, _| is_tracked(key));
    }

    /// The usage of one process, if it still exists.
    ///
    /// # Errors
    /// Any of bpf(2) or read(2).
    pub fn sample_one(&mut self, key: ProcessKey, blind: &Blind) -> io::Result<Option<Sample>> {
        let mut samples = self.read(&KeySet::from_iter([key]), usize::MAX, blind)?;
        Ok(samples.remove(&key))
    }

    fn read(&mut self, wanted: &KeySet, tasks: usize, blind: &Blind) -> io::Result<KeyMap<Sample>> {
        let mut groups = Groups::default();
        let one_by_one =
            self.restricted && wanted.len() <= ONE_BY_ONE && wanted.len() * READ_IN_TASKS < tasks;
        if !one_by_one || !self.sample_one_by_one(wanted, &mut groups)? {
            if self.walk.is_none() {
                self.walk = Some(sys::link_full_iterator(self.sample.as_fd())?);
            }
            if let Some(walk) = &self.walk {
                groups = Groups::default();
                read_all(walk, &mut self.buffer)?;
                groups.add_all(&self.buffer);
            }
        }
        Ok(groups.samples(wanted, blind))
    }

    /// Returns false when the kernel cannot restrict iterators.
    fn sample_one_by_one(&mut self, wanted: &KeySet, groups: &mut Groups) -> io::Result<bool> {
        // Held for other groups' turns only as far as there is room.
        if wanted.iter().filter(|key| !self.links.contains_key(key)).count() + self.links.len() > self.room {
            self.links.retain(|key, _| wanted.contains(key));
        }
        for &key in wanted {
            let unkept;
            let link = if let Some(link) = self.links.get(&key) {
                link
            } else {
                let link = match sys::link_process_iterator(self.sample.as_fd(), key.tgid.0) {
                    Ok(link) => link,
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue, // it has vanished
                    // E2BIG: before 5.14 bpf(2) has no iter_info at all.
                    Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::E2BIG)) => {
                        self.restricted = false;
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                };
                if self.links.len() < self.room {
                    self.links.entry(key).or_insert(link)
                } else {
                    unkept = link;
                    &unkept
                }
            };
            read_process(link, &mut self.buffer)?;
            groups.add_all(&self.buffer);
        }
        Ok(true)
    }
}

/// Reads the threads of one process into `buffer`.
///
/// A thread that is released between two steps of the walk ends it (kernel/bpf/task_iter.c, task_group_seq_get_next: the walk goes
/// on from the pid that it visited last, and that is gone). Each record has the number of threads; where there are fewer
/// records, threads have ended or were left out, and the walk is repeated. The totals hold without that, as they never fall; but what
/// the threads that were left out used would look as if it had not been used yet.
fn read_process(link: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<()> {
    for _ in 0..SHORT_WALKS {
        read_all(link, buffer)?;
        if is_whole(buffer) {
            return Ok(());
        }
    }
    read_all(link, buffer)
}

/// Whether a walk of one process has as many records as the first of them says that there are threads.
fn is_whole(bytes: &[u8]) -> bool {
    let first = records::<SampleRecord>(bytes).next();
    first.is_none_or(|first| bytes.len() / size_of::<SampleRecord>() >= first.threads as usize)
}

/// Reads one whole walk into `buffer`.
fn read_all(link: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut walk = File::from(sys::open_iterator(link.as_fd())?);
    let mut filled = 0;
    loop {
        // The kernel hands out whole records, as many as fit its own buffer of eight pages at most.
        buffer.resize(filled + CHUNK, 0);
        match walk.read(&mut buffer[filled..]) {
            Ok(0) => {
                buffer.truncate(filled);
                return Ok(());
            }
            Ok(read) => filled += read,
            // EAGAIN: the kernel gave up its time slice in a long stretch without output (bpf_iter.c, bpf_seq_read).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

fn records<T: Record + 'static>(bytes: &[u8]) -> impl Iterator<Item = T> {
    bytes.chunks_exact(size_of::<T>()).filter_map(decode::record)
}

/// Threads' records, gathered into processes.
#[derive(Default)]
pub(super) struct Groups(KeyMap<Gathered>);

struct Gathered {
    /// As the first thread's record shows the sums: a thread that ends during the walk is then missed, not counted
    /// twice.
    first: SampleRecord,
    own: Usage,
    mm: u64,
    /// Sizes of the address space, pages.
    hiwater_rss: u64,
    total_vm: u64,
    fds: Option<u32>,
    runnable: u64,
    facts: FactIds,
}

impl Groups {
    pub(super) fn add_all(&mut self, bytes: &[u8]) {
        for record in records::<SampleRecord>(bytes) {
            let gathered = self.0.entry(decode::key(&record.key)).or_insert(Gathered {
                first: record,
                own: Usage::default(),
                mm: 0,
                hiwater_rss: 0,
                total_vm: 0,
                fds: None,
                runnable: 0,
                facts: FactIds::default(),
            });
            gathered.own = plus(&gathered.own, &record.own);
            gathered.mm = gathered.mm.max(record.mm);
            gathered.hiwater_rss = gathered.hiwater_rss.max(record.hiwater_rss);
            gathered.total_vm = gathered.total_vm.max(record.total_vm);
            gathered.runnable += u64::from(record.runnable);
            let told = (record.fds != FDS_UNKNOWN).then_some(record.fds);
            gathered.fds = gathered.fds.or(told);
            if record.tid == record.key.tgid {
                gathered.facts = decode::fact_ids(&record.facts);
            }
        }
    }

    pub(super) fn samples(self, wanted: &KeySet, blind: &Blind) -> KeyMap<Sample> {
        self.0
            .into_iter()
            .filter(|(key, _)| wanted.contains(key))
            .map(|(key, gathered)| {
                let live = gathered.first.live > 0;
                let sample = Sample {
                    key,
                    usage: blind.usage(&plus(&gathered.first.ended, &gathered.own)),
                    threads: live.then_some(u64::from(gathered.first.threads)),
                    address_space: (gathered.mm != 0).then_some(gathered.mm),
                    noted_rss: (gathered.mm != 0).then(|| blind.pages(gathered.hiwater_rss).unwrap_or(0)),
                    vms: blind.pages(gathered.total_vm),
                    fds: gathered.fds.map(u64::from),
                    facts: gathered.facts,
                    runnable: Some(gathered.runnable),
                    live,
                };
                (key, sample)
            })
            .collect()
    }
}

fn plus(a: &Usage, b: &Usage) -> Usage {
    Usage {
        runtime: a.runtime.saturating_add(b.runtime),
        utime: a.utime.saturating_add(b.utime),
        stime: a.stime.saturating_add(b.stime),
        run_delay: a.run_delay.saturating_add(b.run_delay),
        nvcsw: a.nvcsw.saturating_add(b.nvcsw),
        nivcsw: a.nivcsw.saturating_add(b.nivcsw),
        min_flt: a.min_flt.saturating_add(b.min_flt),
        maj_flt: a.maj_flt.saturating_add(b.maj_flt),
        read_bytes: a.read_bytes.saturating_add(b.read_bytes),
        write_bytes: a.write_bytes.saturating_add(b.write_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_with_fewer_records_than_threads_is_short() {
        let length = size_of::<SampleRecord>();
        let records = |count: usize, threads: u32| {
            // SAFETY: integers alone; zero is a value of each.
            let mut record: SampleRecord = unsafe { std::mem::zeroed() };
            record.threads = threads;
            // SAFETY: no padding (asserted in kevmon-common), so each byte is initialised.
            let bytes = unsafe { std::slice::from_raw_parts((&raw const record).cast::<u8>(), length) };
            bytes.repeat(count)
        };
        assert!(is_whole(&[]), "the process has ended");
        assert!(is_whole(&records(3, 3)));
        assert!(is_whole(&records(4, 3)), "one was made during the walk");
        assert!(!is_whole(&records(2, 3)));
    }
}
