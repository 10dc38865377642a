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

use super::{Unread, living_thread, open};
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
            match read {
                Ok(read) => {
                    gauges.insert(key, read);
                }
                Err(unread) => {
                    health.count(match unread {
                        Unread::Gone => Soft::Vanished,
                        Unread::Unreadable => Soft::Unreadable,
                        Unread::OutOfFiles(_) => Soft::OutOfFiles,
                    });
                    let sample = samples.get(&key);
                    if let Some(known) = without_files(unread, sample) {
                        gauges.insert(key, known);
                    }
                }
            }
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
        let unkept;
        let opened = if let Some(kept) = self.kept.get(&key) {
            kept
        } else {
            let opened = Opened::open(&self.root, key)?;
            if self.kept.len() < self.room {
                self.kept.entry(key).or_insert(opened)
            } else {
                unkept = opened;
                &unkept
            }
        };
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
                // It ended since the sample. What the kernel noted is no peak without the present size: it notes when memory is
                // unmapped, which an exec does while it has a single page (fs/exec.c, shift_arg_pages).
                Some(_) if rss == 0 => None,
                // As the kernel tells it itself (fs/proc/task_mmu.c, task_mem).
                Some(noted) => Some(noted.max(rss)),
                None => known(peak_rss(process)),
            },
            address_space: sample.and_then(|sample| sample.address_space),
        })
    }
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
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_found_or_absent() {
        let status = b"Name:\tapp\nVmPeak:\t  9000 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 1000 kB\n";
        assert_eq!(vm_hwm(status), Some(1234 * 1024));
        for other in [&b"Name:\tkthreadd\n"[..], b"VmHWM:\t x kB\n", b"VmHWM:\t12", b""] {
            assert_eq!(vm_hwm(other), None, "{other:?}");
        }
    }

    #[test]
    fn two_sizes_are_found_in_statm_or_it_makes_no_sense() {
        for (text, sizes) in [
            (&b"2345 678 9 0 0 0 0\n"[..], Some((2345, 678))),
            (b"0 0 0 0 0 0 0\n", Some((0, 0))),
            (b"12", None),
            (b"1 x 3", None),
            (b"", None),
        ] {
            let told = Statm::parse(text).map(|statm| (statm.size, statm.resident));
            assert_eq!(told, sizes, "{text:?}");
        }
    }

    #[test]
    fn what_a_sample_holds_is_not_read_again() {
        let pid = std::process::id();
        let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc is mounted");
        let after_name = stat.rsplit(')').next().expect("a name in brackets");
        let start: u64 = after_name
            .split(' ')
            .nth(20)
            .and_then(|ticks| ticks.parse().ok())
            .expect("field 22");
        let me = ProcessKey {
            tgid: crate::process::Tgid(pid),
            start: crate::process::BootTime(start * ProcessKey::TICK_NANOS),
        };
        let read = |noted_rss, vms, fds| {
            let sample = Sample {
                facts: crate::process::FactIds::default(),
                key: me,
                usage: crate::process::Usage::ZERO,
                threads: Some(5),
                address_space: Some(1),
                noted_rss,
                vms,
                fds,
                runnable: None,
                live: true,
            };
            let samples = KeyMap::from_iter([(me, sample)]);
            let mut reader = GaugeReader::new(PathBuf::from("/proc"), 1);
            let mut health = Health::default();
            // Twice: the second time through what was kept open.
            reader.read(&[me], &samples, &mut health);
            reader.read(&[me], &samples, &mut health)[&me]
        };
        let given = read(Some(1 << 50), Some(7), Some(9));
        assert_eq!(
            (given.peak_rss, given.vms, given.fds),
            (Some(1 << 50), Some(7), Some(9))
        );
        let rss = given.rss.expect("known");
        assert!(rss > 100_000, "{rss}");
        let largest = read(Some(1), None, None);
        assert_eq!(largest.peak_rss, largest.rss, "the set is at its largest");
        let from_proc = read(None, None, None);
        assert!(from_proc.peak_rss >= from_proc.rss, "{from_proc:?}");
        assert!(
            from_proc.vms > from_proc.rss && from_proc.fds > Some(2),
            "{from_proc:?}"
        );
    }

    /// It ended between the sample, which noted one page as it executed, and the look into /proc.
    #[test]
    fn a_process_without_memory_has_no_peak() {
        let mut child = std::process::Command::new("true").spawn().expect("true(1)");
        let stat = format!("/proc/{}/stat", child.id());
        let start = loop {
            let text = std::fs::read_to_string(&stat).expect("not reaped yet");
            let fields = text.rsplit_once(") ").expect("a name in brackets").1;
            if fields.starts_with('Z') {
                break fields
                    .split(' ')
                    .nth(19)
                    .and_then(|ticks| ticks.parse::<u64>().ok());
            }
            std::thread::yield_now();
        };
        let key = ProcessKey {
            tgid: crate::process::Tgid(child.id()),
            start: crate::process::BootTime(start.expect("field 22") * ProcessKey::TICK_NANOS),
        };
        let sample = Sample {
            facts: crate::process::FactIds::default(),
            key,
            usage: crate::process::Usage::ZERO,
            threads: Some(1),
            address_space: Some(1),
            noted_rss: Some(4096),
            vms: Some(1),
            fds: Some(1),
            runnable: None,
            live: true,
        };
        let mut reader = GaugeReader::new(PathBuf::from("/proc"), 1);
        let read = reader.read(
            &[key],
            &KeyMap::from_iter([(key, sample)]),
            &mut Health::default(),
        );
        assert_eq!(
            read.get(&key).and_then(|gauges| gauges.peak_rss),
            None,
            "{read:?}"
        );
        assert!(child.wait().expect("our child").success());
    }

    #[test]
    fn descriptors_are_the_same_whichever_way_they_are_counted() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep(1)");
        let process = Process::new(i32::try_from(child.id()).expect("a pid")).expect("our child");
        // Its loader opens and closes files for a while.
        while process.stat().expect("our child").state != 'S' {
            std::thread::yield_now();
        }
        let listed = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
            .expect("our child")
            .count();
        let counted = fd_count(&process, false).expect("our child");
        assert_eq!(counted, Some(listed as u64));
        let by_size = fd_count(&process, true).expect("our child");
        // 0 before 6.2, where the reader does not ask for it.
        assert!(by_size == counted || by_size == Some(0), "{by_size:?}");
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    #[test]
    fn memory_shared_with_another_process_is_told() {
        let me = ProcessKey {
            tgid: crate::process::Tgid(std::process::id()),
            start: crate::process::BootTime(1),
        };
        let same = ProcessKey {
            start: crate::process::BootTime(2),
            ..me
        };
        let init = ProcessKey {
            tgid: crate::process::Tgid(1),
            start: crate::process::BootTime(3),
        };
        let gauge = Gauges {
            rss: Some(4096),
            vms: Some(8192),
            ..Gauges::default()
        };
        let mut gauges = KeyMap::from_iter([(me, gauge), (same, gauge), (init, gauge)]);
        tell_shared_spaces(&mut gauges);
        assert_eq!(gauges[&me].address_space, gauges[&same].address_space);
        assert_ne!(gauges[&me].address_space, gauges[&init].address_space);
    }

    #[test]
    fn a_pid_that_is_another_processs_is_gone() {
        let mut reader = GaugeReader::new(PathBuf::from("/proc"), 1);
        let mut health = Health::default();
        let me = crate::process::Tgid(std::process::id());
        let never = ProcessKey {
            tgid: me,
            start: crate::process::BootTime(10),
        };
        assert!(reader.read(&[never], &KeyMap::default(), &mut health).is_empty());
        assert_eq!(health.get(Soft::Vanished), 1);
    }
}
