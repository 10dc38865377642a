//! Memory, descriptors and threads of live members: the values of this moment. What a sample holds is not read again;
//! that leaves the resident set, whose counters are exact in /proc alone (`statm` adds up what each CPU counted).

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use procfs::process::Process;
use rustix::fs::{Dir, OFlags};

use super::{Unread, directory, living_thread, open};
use crate::{
    health::{Health, Soft},
    process::{Gauges, KeyMap, ProcessKey, Sample},
};

/// A process's files that stay open between ticks.
#[derive(Debug)]
struct Opened {
    process: Process,
    statm: File,
}

impl Opened {
    fn open(root: &Path, key: ProcessKey) -> Result<Self, Unread> {
        let process = open(root, key)?;
        let statm = process.open_relative("statm")?;
        Ok(Self { process, statm })
    }
}

/// Reads gauges; keeps the processes' files open between ticks.
#[derive(Debug)]
pub struct GaugeReader {
    root: PathBuf,
    page_size: u64,
    /// The kernel tells the number of descriptors as the size of the directory (6.2 and newer).
    fd_count_is_size: bool,
    /// Reading through kept files costs a fraction and cannot meet a reused pid.
    kept: KeyMap<Opened>,
    /// Processes whose files are kept at most.
    room: usize,
    /// No descriptor was left since the last call of [`GaugeReader::take_out_of_files`].
    out_of_files: bool,
}

impl GaugeReader {
    /// Below `root`, usually /proc. Keeps the files of `room` processes open between two ticks at most.
    pub fn new(root: PathBuf, room: usize) -> Self {
        Self {
            // This process surely has descriptors: a size of zero says that sizes tell nothing.
            fd_count_is_size: std::fs::metadata(root.join("self/fd"))
                .is_ok_and(|directory| directory.len() > 0),
            root,
            page_size: rustix::param::page_size() as u64,
            kept: KeyMap::default(),
            room,
            out_of_files: false,
        }
    }

    /// Keeps the files of fewer processes open, from now on.
    pub fn shrink(&mut self, room: usize) {
        self.room = room;
        let mut left = room;
        self.kept.retain(|_, _| {
            let keeps = left > 0;
            left = left.saturating_sub(1);
            keeps
        });
    }

    /// Whether a process could not be read at once since the last call, because no descriptor was left.
    pub fn take_out_of_files(&mut self) -> bool {
        std::mem::take(&mut self.out_of_files)
    }

    /// The gauges of those of `members` that still live. What the samples hold comes from them.
    pub fn read(
        &mut self,
        members: &[ProcessKey],
        samples: &KeyMap<Sample>,
        health: &mut Health,
    ) -> KeyMap<Gauges> {
        let mut gauges = KeyMap::default();
        for &key in members {
            let mut read = self.read_one(key, samples.get(&key), health);
            if matches!(read, Err(Unread::OutOfFiles(_))) {
                self.out_of_files = true;
                // What is kept open is the least that can be let go of.
                self.shrink(self.kept.len() / 2);
                read = self.read_one(key, samples.get(&key), health);
            }
            gauges.extend(settled(read, samples.get(&key), health).map(|read| (key, read)));
        }
        tell_shared_spaces(&mut gauges);
        gauges
    }

    /// The same, without a trace: no file stays open or is closed, and neither failures nor a lack of descriptors is noted.
    pub fn look(&self, members: &[ProcessKey], samples: &KeyMap<Sample>) -> KeyMap<Gauges> {
        let mut ignored = Health::default();
        let mut gauges = KeyMap::default();
        for &key in members {
            let sample = samples.get(&key);
            let read = self.look_at_one(key, sample, &mut ignored);
            gauges.extend(settled(read, sample, &mut ignored).map(|read| (key, read)));
        }
        tell_shared_spaces(&mut gauges);
        gauges
    }

    /// Closes the files of processes that are no longer members of anything.
    pub fn retain(&mut self, is_tracked: impl Fn(ProcessKey) -> bool) {
        self.kept.retain(|&key, _| is_tracked(key));
    }

    fn read_one(
        &mut self,
        key: ProcessKey,
        sample: Option<&Sample>,
        health: &mut Health,
    ) -> Result<Gauges, Unread> {
        if !self.kept.contains_key(&key)
            && self.kept.len() >= self.room
            && let Some(gauges) = sample.and_then(|sample| self.with_sample(key, sample))
        {
            return Ok(gauges);
        }
        if let Some(kept) = self.kept.get(&key) {
            return self.read_opened(kept, sample, health);
        }
        let opened = Opened::open(&self.root, key)?;
        let read = self.read_opened(&opened, sample, health);
        if self.kept.len() < self.room {
            self.kept.insert(key, opened);
        }
        read
    }

    fn look_at_one(
        &self,
        key: ProcessKey,
        sample: Option<&Sample>,
        health: &mut Health,
    ) -> Result<Gauges, Unread> {
        if let Some(kept) = self.kept.get(&key) {
            return self.read_opened(kept, sample, health);
        }
        match sample.and_then(|sample| self.with_sample(key, sample)) {
            Some(gauges) => Ok(gauges),
            None => self.read_opened(&Opened::open(&self.root, key)?, sample, health),
        }
    }

    fn read_opened(
        &self,
        opened: &Opened,
        sample: Option<&Sample>,
        health: &mut Health,
    ) -> Result<Gauges, Unread> {
        let mut statm = Statm::read(&opened.statm)?;
        let other;
        let mut process = &opened.process;
        // A leader that ended before its threads has neither memory nor descriptors; the process has.
        if statm.size == 0
            && sample.is_some_and(|sample| sample.address_space.is_some() || sample.threads > Some(1))
            && let Some(thread) = living_thread(&self.root, process)
        {
            other = thread;
            process = &other;
            statm = Statm::read(&process.open_relative("statm")?)?;
        }
        let mut known = |value: Result<Option<u64>, Unread>| match value {
            Ok(value) => value,
            Err(Unread::OutOfFiles(_)) => {
                health.count(Soft::OutOfFiles);
                None
            }
            Err(_) => {
                health.count(Soft::Unreadable);
                None
            }
        };
        let rss = statm.resident.saturating_mul(self.page_size);
        Ok(Gauges {
            rss: Some(rss),
            vms: sample
                .and_then(|sample| sample.vms)
                .or(Some(statm.size.saturating_mul(self.page_size))),
            fds: match sample.and_then(|sample| sample.fds) {
                Some(fds) => Some(fds),
                None => known(fd_count(process, self.fd_count_is_size)),
            },
            threads: match sample.and_then(|sample| sample.threads) {
                Some(threads) => Some(threads),
                None => known(
                    process
                        .stat()
                        .map(|stat| u64::try_from(stat.num_threads).ok())
                        .map_err(Unread::from),
                ),
            },
            peak_rss: match sample.and_then(|sample| sample.noted_rss) {
                Some(noted) => peak_of(noted, rss),
                None => known(peak_rss(process)),
            },
            address_space: sample.and_then(|sample| sample.address_space),
        })
    }

    /// The gauges of a process of which the sample has all but the resident set, with three system calls instead of twelve. The
    /// size that its `statm` tells is the one in the sample, of a moment ago: so the pid is still that process's. `None` where it
    /// is not, or where the sample lacks something: then it is to be read as the others are.
    fn with_sample(&self, key: ProcessKey, sample: &Sample) -> Option<Gauges> {
        let (vms, noted) = (sample.vms?, sample.noted_rss?);
        sample.fds.and(sample.threads)?;
        let file = File::open(directory(&self.root, key.tgid).join("statm")).ok()?;
        let statm = Statm::read(&file).ok()?;
        if statm.size == 0 || statm.size.saturating_mul(self.page_size) != vms {
            return None;
        }
        let rss = statm.resident.saturating_mul(self.page_size);
        Some(Gauges {
            rss: Some(rss),
            vms: Some(vms),
            fds: sample.fds,
            threads: sample.threads,
            peak_rss: peak_of(noted, rss),
            address_space: sample.address_space,
        })
    }
}

/// What was read, or what is known without it; failures are counted.
fn settled(read: Result<Gauges, Unread>, sample: Option<&Sample>, health: &mut Health) -> Option<Gauges> {
    let unread = match read {
        Ok(read) => return Some(read),
        Err(unread) => unread,
    };
    health.count(match unread {
        Unread::Gone => Soft::Vanished,
        Unread::Unreadable => Soft::Unreadable,
        Unread::OutOfFiles(_) => Soft::OutOfFiles,
    });
    without_files(unread, sample)
}

/// The peak, as the kernel tells it itself (fs/proc/task_mmu.c, task_mem), of what it noted and the present size. Without that one
/// the process ended since the sample, and what the kernel noted is no peak: it notes when memory is unmapped, which an exec does
/// while it has a single page (fs/exec.c, shift_arg_pages).
fn peak_of(noted: u64, rss: u64) -> Option<u64> {
    (rss > 0).then(|| noted.max(rss))
}

/// The gauges of a process whose files in /proc cannot be read: what the sample holds. What /proc hides is not gone where
/// the kernel side shows it alive. `None` for a process that is gone.
fn without_files(unread: Unread, sample: Option<&Sample>) -> Option<Gauges> {
    // A source that reads /proc itself has no address spaces; one that does not has them of all that live.
    let sample = sample.filter(|sample| sample.live && sample.address_space.is_some());
    match (unread, sample) {
        (Unread::Gone, None) => None,
        (Unread::Unreadable | Unread::OutOfFiles(_), None) => Some(Gauges::default()),
        (_, Some(sample)) => Some(Gauges {
            rss: None,
            vms: sample.vms,
            fds: sample.fds,
            threads: sample.threads,
            // The noted peak is below the true one while the set is at its largest, and its size is not known.
            peak_rss: None,
            address_space: sample.address_space,
        }),
    }
}

/// The sizes in `statm`, pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Statm {
    size: u64,
    resident: u64,
}

impl Statm {
    /// From the file, kept open or not: each read at its beginning is a new one.
    fn read(file: &File) -> Result<Self, Unread> {
        /// Seven numbers.
        const LONGEST: usize = 256;
        let mut text = [0; LONGEST];
        let read = file.read_at(&mut text, 0).map_err(Unread::from_io)?;
        Self::parse(&text[..read]).ok_or(Unread::Unreadable)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut numbers = text.split(|&byte| byte == b' ');
        let mut next = || std::str::from_utf8(numbers.next()?).ok()?.parse().ok();
        Some(Self {
            size: next()?,
            resident: next()?,
        })
    }
}

/// Processes of equal size that are asked for at most: more than this are one program started many times, and their
/// number squared is too much to ask.
const ASKED: usize = 32;

/// Gives processes that share their memory a common address space, where the source did not tell: /proc does not.
/// Sharers have equal sizes, so only equal ones are asked for (kcmp(2), which takes the right to trace both).
fn tell_shared_spaces(gauges: &mut KeyMap<Gauges>) {
    let mut by_size: HashMap<(Option<u64>, Option<u64>), Vec<ProcessKey>> = HashMap::new();
    for (&key, gauge) in gauges
        .iter()
        .filter(|(_, gauge)| gauge.address_space.is_none() && gauge.vms > Some(0))
    {
        by_size.entry((gauge.rss, gauge.vms)).or_default().push(key);
    }
    for same_size in by_size
        .into_values()
        .filter(|keys| (2..=ASKED).contains(&keys.len()))
    {
        let mut spaces: Vec<ProcessKey> = Vec::new();
        for key in same_size {
            let space = spaces.iter().copied().find(|&space| share_memory(space, key));
            if space.is_none() {
                spaces.push(key);
            }
            if let Some(gauge) = gauges.get_mut(&key) {
                gauge.address_space = Some(u64::from(space.unwrap_or(key).tgid.0));
            }
        }
    }
}

fn share_memory(one: ProcessKey, other: ProcessKey) -> bool {
    /// `enum kcmp_type`, include/uapi/linux/kcmp.h.
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one.tgid.0, other.tgid.0, KCMP_VM, 0, 0) };
    order == 0
}

fn fd_count(process: &Process, by_size: bool) -> Result<Option<u64>, Unread> {
    if by_size {
        let directory =
            process.open_relative_flags("fd", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
        return Ok(directory.metadata().ok().map(|directory| directory.len()));
    }
    // Not by the crate's own count, which takes `.` and `..` for descriptors (procfs 0.18, before Linux 6.2).
    let directory =
        process.open_relative_flags("fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
    let entries = Dir::read_from(directory).map_err(|error| Unread::from_io(error.into()))?;
    let mut count = 0;
    for entry in entries {
        let entry = entry.map_err(|error| Unread::from_io(error.into()))?;
        count += u64::from(!entry.file_name().to_bytes().starts_with(b"."));
    }
    Ok(Some(count))
}

/// `VmHWM` of `status`, alone: taking the whole file apart costs five times as much. Kernel threads and zombies have
/// no such line.
fn peak_rss(process: &Process) -> Result<Option<u64>, Unread> {
    let mut text = [0; 4096];
    let read = process
        .open_relative("status")?
        .read(&mut text)
        .map_err(Unread::from_io)?;
    Ok(vm_hwm(&text[..read]))
}

/// Bytes; the file tells kibibytes (fs/proc/task_mmu.c, task_mem).
fn vm_hwm(status: &[u8]) -> Option<u64> {
    let line = status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"VmHWM:"))?;
    let kibibytes = std::str::from_utf8(line).ok()?.trim().strip_suffix(" kB")?.trim();
    kibibytes.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
#[path = "gauges_tests.rs"]
mod tests;
