//! /proc as a source of its own, where eBPF is refused: what lives between two scans is not seen, and sums are as
//! coarse as /proc tells them. Whatever uses it says so (`kevmon.complete` = 0).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use procfs::process::{Process, Stat};

use super::{Unread, directory, identity, is_live, open};
use crate::{
    health::{Health, Soft},
    process::{BootTime, Counter, FactIds, Identity, KeyMap, KeySet, ProcessKey, Sample, Seen, Tgid, Usage},
};

/// Scans /proc.
#[derive(Debug)]
pub struct ProcSource {
    root: PathBuf,
    /// Identities as of the last scan: all of one is read again when its `comm`, its arguments or its executable have
    /// changed.
    identities: KeyMap<Identity>,
}

impl ProcSource {
    /// Below `root`, usually /proc.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            identities: KeyMap::default(),
        }
    }

    /// Every process.
    ///
    /// # Errors
    /// The root cannot be listed.
    pub fn scan(&mut self, health: &mut Health) -> std::io::Result<Vec<Seen>> {
        let mut found: Vec<Found> = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let Ok(entry) = entry else { continue };
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let process = Process::new_with_root(directory(&self.root, Tgid(pid)));
            // Closed again at once: a host has more processes than kevmon may have files.
            match process
                .and_then(|process| process.stat().map(|stat| (process, stat)))
                .map_err(Unread::from)
            {
                Ok((process, stat)) => {
                    let known = key_of(&stat).and_then(|key| self.identities.get(&key));
                    let names = match known {
                        Some(names) if names.comm == identity::comm(&stat) => {
                            with_present_arguments(names, &self.root, &process, &stat)
                        }
                        _ => identity::of(&self.root, &process, &stat),
                    };
                    let ended = !is_live(&process, &stat);
                    found.push(Found { stat, names, ended });
                }
                Err(Unread::Gone) => health.count(Soft::Vanished),
                Err(Unread::Unreadable) => health.count(Soft::Unreadable),
                // A scan that leaves processes out would end them.
                Err(Unread::OutOfFiles(error)) => return Err(error),
            }
        }
        let starts: HashMap<i32, BootTime> = found
            .iter()
            .map(|Found { stat, .. }| (stat.pid, start(stat)))
            .collect();
        self.identities.clear();
        let seen = found.into_iter().filter_map(|Found { stat, names, ended }| {
            let key = key_of(&stat)?;
            let parent = starts.get(&stat.ppid).and_then(|&start| {
                Some(ProcessKey {
                    tgid: Tgid(u32::try_from(stat.ppid).ok()?),
                    start,
                })
            });
            self.identities.insert(key, names.clone());
            Some(Seen {
                key,
                parent,
                sequence: None,
                told: false,
                untold: false,
                renamed: false,
                end: None,
                identity: names,
                facts: FactIds::default(),
                ended,
            })
        });
        Ok(seen.collect())
    }

    /// The usage of the processes in `wanted` that still exist.
    pub fn sample(&self, wanted: &KeySet, health: &mut Health) -> KeyMap<Sample> {
        let mut samples = KeyMap::default();
        for &key in wanted {
            match read(&self.root, key, health) {
                Ok(sample) => {
                    samples.insert(key, sample);
                }
                Err(Unread::Gone) => health.count(Soft::Vanished),
                Err(Unread::Unreadable) => health.count(Soft::Unreadable),
                Err(Unread::OutOfFiles(_)) => health.count(Soft::OutOfFiles),
            }
        }
        samples
    }
}

/// What a scan reads of one process.
struct Found {
    stat: Stat,
    names: Identity,
    ended: bool,
}

fn key_of(stat: &Stat) -> Option<ProcessKey> {
    Some(ProcessKey {
        tgid: Tgid(u32::try_from(stat.pid).ok()?),
        start: start(stat),
    })
}

/// The names of a process that had them at the scan before. Its arguments and the link to its executable are read again: a
/// title may have been written over them, and another program executed under the same `comm`.
fn with_present_arguments(names: &Identity, root: &Path, process: &Process, stat: &Stat) -> Identity {
    if identity::is_kernel_thread(stat) {
        return names.clone();
    }
    let is_same_file = || identity::executable(process).is_none_or(|executable| executable == names.exe);
    match identity::read_arguments(process) {
        // On its way out, or just executing: what it was is what is known.
        Ok(None) => names.clone(),
        Ok(Some(arguments)) if names.has_arguments(&arguments) && is_same_file() => names.clone(),
        Ok(Some(_)) => identity::of(root, process, stat),
        Err(_) => names.clone(),
    }
}

fn start(stat: &Stat) -> BootTime {
    BootTime(stat.starttime.saturating_mul(ProcessKey::TICK_NANOS))
}

fn read(root: &Path, key: ProcessKey, health: &mut Health) -> Result<Sample, Unread> {
    let process = open(root, key)?;
    let stat = process.stat()?;
    let user = stat.utime.saturating_mul(ProcessKey::TICK_NANOS);
    let system = stat.stime.saturating_mul(ProcessKey::TICK_NANOS);
    let usage = Usage::UNKNOWN
        .with(Counter::Runtime, Some(user.saturating_add(system)))
        .with(Counter::User, Some(user))
        .with(Counter::System, Some(system))
        .with(Counter::MinorFaults, Some(stat.minflt))
        .with(Counter::MajorFaults, Some(stat.majflt));
    Ok(Sample {
        key,
        usage: add_threads(&process, usage, health),
        threads: u64::try_from(stat.num_threads).ok(),
        address_space: None,
        noted_rss: None,
        vms: None,
        fds: None,
        facts: FactIds::default(),
        runnable: None,
        live: is_live(&process, &stat),
    })
}

/// Switches and run-queue wait, which /proc tells per thread only, and bytes: the living threads' sums. What ended
/// threads had is not to be had here, so these sums are short by it. (The process's own `io` would have their bytes,
/// but those of its reaped children too.)
fn add_threads(process: &Process, usage: Usage, health: &mut Health) -> Usage {
    let Ok(threads) = process.tasks() else {
        return usage;
    };
    let mut sums = Usage::ZERO;
    let mut read_any = false;
    for thread in threads {
        let status = match thread.and_then(|thread| thread.status().map(|status| (thread, status))) {
            Ok(status) => status,
            Err(error) => match Unread::from(error) {
                // Sums that leave threads out would be too small.
                Unread::OutOfFiles(_) => {
                    health.count(Soft::OutOfFiles);
                    return usage;
                }
                Unread::Unreadable => {
                    health.count(Soft::Unreadable);
                    return usage;
                }
                Unread::Gone => continue, // it has ended meanwhile
            },
        };
        let (thread, status) = status;
        // Needs the same user, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.
        let io = thread.io().inspect_err(|_| health.count(Soft::Unreadable)).ok();
        let own = Usage::ZERO
            .with(Counter::Voluntary, status.voluntary_ctxt_switches)
            .with(Counter::Involuntary, status.nonvoluntary_ctxt_switches)
            // Absent without CONFIG_SCHED_INFO.
            .with(
                Counter::RunDelay,
                thread.schedstat().ok().map(|schedstat| schedstat.run_delay),
            )
            .with(Counter::ReadBytes, io.as_ref().map(|io| io.read_bytes))
            .with(Counter::WriteBytes, io.as_ref().map(|io| io.write_bytes));
        sums = sums.plus(&own);
        read_any = true;
    }
    if !read_any {
        return usage; // the sum of nothing is not 0: none of its threads could be read
    }
    [
        Counter::Voluntary,
        Counter::Involuntary,
        Counter::RunDelay,
        Counter::ReadBytes,
        Counter::WriteBytes,
    ]
    .into_iter()
    .fold(usage, |usage, counter| usage.with(counter, sums.get(counter)))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    /// A /proc of our own, removed when it goes out of scope.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kevmon-procfs-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        /// A process of one thread. `comm` may be any bytes.
        fn process(&self, pid: u32, ppid: u32, state: char, comm: &[u8], start_ticks: u64) -> &Self {
            let directory = self.0.join(pid.to_string());
            let thread = directory.join("task").join(pid.to_string());
            fs::create_dir_all(&thread).unwrap();
            let mut stat = format!("{pid} (").into_bytes();
            stat.write_all(comm).unwrap();
            let rest = "1 1 0 -1 4194304 11 0 22 0 150 50 0 0 20 0 3 0";
            write!(
                stat,
                ") {state} {ppid} {rest} {start_ticks} 1000 25 {}",
                "0 ".repeat(28)
            )
            .unwrap();
            fs::write(directory.join("stat"), &stat).unwrap();
            fs::write(directory.join("cmdline"), b"/opt/app\0--flag\0").unwrap();
            fs::write(thread.join("stat"), &stat).unwrap();
            let io = "rchar: 1\nwchar: 1\nsyscr: 1\nsyscw: 1\nread_bytes: 512\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n";
            fs::write(thread.join("io"), io).unwrap();
            fs::write(thread.join("schedstat"), "900 700 5\n").unwrap();
            self
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn key(tgid: u32, ticks: u64) -> ProcessKey {
        ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(ticks * ProcessKey::TICK_NANOS),
        }
    }

    #[test]
    fn a_scan_tells_names_parents_and_zombies() {
        let root = Root::new("scan");
        root.process(10, 1, 'S', b"app", 500)
            .process(11, 10, 'Z', b"a) (pp\xff", 600);
        fs::create_dir(root.0.join("12")).unwrap(); // vanished between the listing and the read
        fs::write(root.0.join("uptime"), "1 1").unwrap();
        let mut health = Health::default();
        let mut seen = ProcSource::new(root.0.clone()).scan(&mut health).unwrap();
        seen.sort_by_key(|seen| seen.key);
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(
            (seen[0].key, seen[0].parent, seen[0].ended),
            (key(10, 500), None, false)
        );
        assert_eq!(seen[0].identity.names().collect::<Vec<_>>(), ["app"]);
        assert_eq!(
            (seen[1].key, seen[1].parent, seen[1].ended),
            (key(11, 600), Some(key(10, 500)), true)
        );
        assert_eq!(seen[1].identity.comm, "a) (pp\u{fffd}");
        assert_eq!(health.get(Soft::Vanished), 1, "counted, no error");
    }

    /// What a scan tells of the names of the one process of the root.
    fn names(source: &mut ProcSource) -> Identity {
        let mut seen = source.scan(&mut Health::default()).unwrap();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0).identity
    }

    #[test]
    fn what_has_changed_is_read_again() {
        let root = Root::new("again");
        root.process(10, 1, 'S', b"app", 500);
        let directory = root.0.join("10");
        let (cmdline, exe) = (directory.join("cmdline"), directory.join("exe"));
        let link = |to: &str| {
            let _ = fs::remove_file(&exe);
            std::os::unix::fs::symlink(to, &exe).unwrap();
        };
        let mut source = ProcSource::new(root.0.clone());
        // Just executing, and of another user: neither is told. It is no kernel thread for good.
        fs::write(&cmdline, "").unwrap();
        assert!(names(&mut source).arguments_are_unknown());
        fs::write(&cmdline, "/usr/bin/app\0-d\0").unwrap();
        link("/opt/app-1.2");
        let told = names(&mut source);
        assert_eq!((told.exe.as_str(), told.argv.len()), ("app-1.2", 2));
        // It executes itself with the same arguments, through a link that leads elsewhere now.
        link("/opt/app-1.3");
        assert_eq!(names(&mut source).exe, "app-1.3");
        // It writes nothing over its arguments.
        fs::write(&cmdline, [0; 16]).unwrap();
        let told = names(&mut source);
        assert_eq!((told.argv.len(), told.cut), (0, None));
        // It is on its way out.
        fs::write(&cmdline, "/usr/bin/app\0").unwrap();
        let told = names(&mut source);
        fs::write(&cmdline, "").unwrap();
        fs::remove_file(&exe).unwrap();
        assert_eq!(names(&mut source), told);
    }

    /// Adds a thread to a process of the root, whose state it tells, and says how many the process has.
    fn add_thread(root: &Root, pid: u32, tid: u32, state: char) {
        let directory = root.0.join(pid.to_string());
        let thread = directory.join("task").join(tid.to_string());
        fs::create_dir_all(&thread).unwrap();
        let stat = fs::read_to_string(directory.join("stat")).unwrap();
        let leader = stat.split_whitespace().nth(2).unwrap().to_owned();
        let stat = stat.replacen(&format!(") {leader} "), &format!(") {state} "), 1);
        fs::write(thread.join("stat"), stat).unwrap();
        fs::write(thread.join("statm"), "10 5 0 0 0 0 0\n").unwrap();
        fs::write(thread.join("cmdline"), b"/opt/app\0--flag\0").unwrap();
    }

    #[test]
    fn a_process_lives_as_long_as_one_of_its_threads() {
        let root = Root::new("threads");
        for pid in [10, 11, 12] {
            root.process(pid, 1, 'Z', b"app", 500);
            fs::write(root.0.join(format!("{pid}/cmdline")), "").unwrap();
        }
        add_thread(&root, 10, 20, 'S');
        add_thread(&root, 11, 21, 'Z');
        add_thread(&root, 11, 22, 'X');
        let mut health = Health::default();
        let mut source = ProcSource::new(root.0.clone());
        let mut seen = source.scan(&mut health).unwrap();
        seen.sort_by_key(|seen| seen.key);
        let ended: Vec<bool> = seen.iter().map(|seen| seen.ended).collect();
        assert_eq!(ended, [false, true, true]);
        assert_eq!(seen[0].identity.argv, ["/opt/app", "--flag"], "of the thread");
        let wanted = KeySet::from_iter([key(10, 500), key(11, 500), key(12, 500)]);
        let samples = source.sample(&wanted, &mut health);
        let live = [10, 11, 12].map(|pid| samples[&key(pid, 500)].live);
        assert_eq!(live, [true, false, false]);
    }

    #[test]
    fn threads_that_cannot_be_read_have_no_sums() {
        let root = Root::new("unread");
        root.process(10, 1, 'S', b"app", 500);
        let wanted = KeySet::from_iter([key(10, 500)]);
        let sums = || {
            let source = ProcSource::new(root.0.clone());
            let samples = source.sample(&wanted, &mut Health::default());
            let usage = samples[&key(10, 500)].usage;
            [Counter::Voluntary, Counter::RunDelay, Counter::WriteBytes].map(|counter| usage.get(counter))
        };
        let thread = root.0.join("10/task/10");
        let status = fs::read_to_string("/proc/self/status").unwrap();
        fs::write(thread.join("status"), &status).unwrap();
        assert!(sums().iter().all(Option::is_some), "{:?}", sums());
        fs::remove_file(thread.join("status")).unwrap();
        assert_eq!(sums(), [None; 3]);
    }

    #[test]
    fn a_kernel_thread_is_called_as_the_kernel_calls_it() {
        let root = Root::new("kernel");
        for (pid, comm) in [
            (10, &b"kworker/u8:2-events_unbound"[..]),
            (11, b"kworker/0:1H+kblockd"),
            (12, b"kworker/R-rcu_gp"),
            (13, b"card0-crtc0-and-more"),
            (14, b"app-with+more-than15"),
        ] {
            root.process(pid, 2, 'I', comm, 500);
            let stat = root.0.join(format!("{pid}/stat"));
            let text = fs::read_to_string(&stat).unwrap();
            // PF_KTHREAD; the last one is none.
            let flags = if pid == 14 { "4194304" } else { "2097152" };
            fs::write(&stat, text.replace("4194304", flags)).unwrap();
        }
        let mut seen = ProcSource::new(root.0.clone())
            .scan(&mut Health::default())
            .unwrap();
        seen.sort_by_key(|seen| seen.key);
        let comms: Vec<&str> = seen.iter().map(|seen| seen.identity.comm.as_str()).collect();
        let expected = [
            "kworker/u8:2",
            "kworker/0:1H",
            "kworker/R-rcu_g",
            "card0-crtc0-and",
            "app-with+more-than15",
        ];
        assert_eq!(comms, expected);
    }

    #[test]
    fn a_root_that_is_not_there_is_an_error() {
        let mut source = ProcSource::new(PathBuf::from("/nonexistent/proc"));
        assert!(source.scan(&mut Health::default()).is_err());
    }

    #[test]
    fn a_sample_is_the_processs_own_and_what_cannot_be_read_is_unknown() {
        let root = Root::new("sample");
        root.process(10, 1, 'S', b"app", 500);
        let mut health = Health::default();
        let wanted = KeySet::from_iter([key(10, 500), key(10, 499), key(77, 1)]);
        let samples = ProcSource::new(root.0.clone()).sample(&wanted, &mut health);
        assert_eq!(
            samples.keys().copied().collect::<Vec<_>>(),
            [key(10, 500)],
            "a reused pid is another process"
        );
        assert_eq!(health.get(Soft::Vanished), 2);
        let sample = samples[&key(10, 500)];
        assert_eq!(sample.usage.get(Counter::Runtime), Some(2_000_000_000));
        assert_eq!(
            (sample.usage.get(Counter::User), sample.usage.get(Counter::System)),
            (Some(1_500_000_000), Some(500_000_000))
        );
        assert_eq!(
            (
                sample.usage.get(Counter::MinorFaults),
                sample.threads,
                sample.live
            ),
            (Some(11), Some(3), true)
        );
        // Its one thread has no status: it ended meanwhile, and what it wrote is not known.
        assert_eq!(sample.usage.get(Counter::WriteBytes), None);
    }
}
