//! Whatever /proc holds, what is read of it is read within bounds.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
};

use procfs::process::MountInfo;

use super::{
    GaugeReader, Hidden, HostReader, ProcSource, arguments, executable_path, facts, identity, parent,
};
use crate::{
    health::Health,
    process::{Counter, KeyMap, KeySet, ProcessKey},
};

/// The files that an input may have, below the root. Process 7 has one thread.
const FILES: [&str; 14] = [
    "7/stat",
    "7/status",
    "7/statm",
    "7/cgroup",
    "7/cmdline",
    "7/task/7/stat",
    "7/task/7/status",
    "7/task/7/io",
    "7/task/7/schedstat",
    "7/task/7/statm",
    "8/stat",
    "meminfo",
    "loadavg",
    "mountinfo",
];

/// A folder in place of /proc.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

thread_local! {
    static ROOT: RefCell<Option<Root>> = const { RefCell::new(None) };
}

impl Root {
    /// A folder of this thread's own; `None` where none can be made.
    fn new() -> Option<Self> {
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let path = std::env::temp_dir().join(format!("kevmon-fuzz-proc-{}-{thread}", std::process::id()));
        for folder in ["7/task/7", "7/fd", "8"] {
            fs::create_dir_all(path.join(folder)).ok()?;
        }
        // kevmon itself is process 7, too.
        std::os::unix::fs::symlink("7", path.join("self")).ok()?;
        Some(Self(path))
    }
}

/// Reads `input` as files of /proc, each with a line `== NAME` before it; what has no such line is not there.
pub fn files(input: &[u8]) {
    ROOT.with_borrow_mut(|root| {
        if root.is_none() {
            *root = Root::new();
        }
        let Some(root) = root else { return };
        let mut parts = parts(input);
        parts.retain(|(name, text)| !name.ends_with("/stat") || is_stat(text));
        for name in FILES {
            let path = root.0.join(name);
            let written = match parts.iter().find(|(of, _)| *of == name) {
                Some((_, content)) => fs::write(&path, content),
                None => fs::remove_file(&path).or(Ok(())),
            };
            if written.is_err() {
                return; // the disk is full: nothing can be said
            }
        }
        read(&root.0);
        if let Some((_, text)) = parts.iter().find(|(name, _)| *name == "mountinfo") {
            mounts(text);
        }
    });
}

/// Whether a text has a name in brackets with something before and behind it, as the kernel writes it always (fs/proc/array.c,
/// do_task_stat): the procfs crate (0.18) panics where it has not.
fn is_stat(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    match (text.find('('), text.rfind(')')) {
        (Some(begin), Some(end)) => {
            begin > 0 && begin < end && text.is_char_boundary(begin - 1) && text.get(end + 2..).is_some()
        }
        _ => true,
    }
}

fn parts(input: &[u8]) -> Vec<(&'static str, &[u8])> {
    const MARK: &[u8] = b"== ";
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(behind) = rest.strip_prefix(MARK) {
        let end = behind.windows(4).position(|four| four == b"\n== ");
        let part;
        (part, rest) = match end {
            Some(end) => (&behind[..end], &behind[end + 1..]),
            None => (behind, &[][..]),
        };
        let line = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
        let (name, content) = part.split_at(line);
        if let Some(name) = FILES.iter().find(|of| of.as_bytes() == name) {
            parts.push((*name, content.get(1..).unwrap_or_default()));
        }
    }
    parts
}

fn read(root: &Path) {
    let mut health = Health::default();
    let mut source = ProcSource::new(root.to_owned());
    // Twice: the second scan compares with the first.
    for _ in 0..2 {
        let Ok(seen) = source.scan(&mut health) else {
            return;
        };
        assert!(seen.len() <= 2, "{seen:?}");
        let keys: KeySet = seen.iter().map(|seen| seen.key).collect();
        let samples = source.sample(&keys, &mut health);
        for sample in samples.values() {
            let sum = [Counter::User, Counter::System]
                .into_iter()
                .try_fold(0_u64, |sum, counter| {
                    Some(sum.saturating_add(sample.usage.get(counter)?))
                });
            // The highest number stands for what is not known.
            let sum = sum.map(|sum| sum.min(u64::MAX - 1));
            assert_eq!(sample.usage.get(Counter::Runtime), sum, "{sample:?}");
        }
        let members: Vec<ProcessKey> = keys.into_iter().collect();
        for key in &members {
            one(root, *key);
        }
        for room in [0, 8] {
            let mut reader = GaugeReader::new(root.to_owned(), room);
            let gauges = reader.read(&members, &samples, &mut health);
            assert!(gauges.len() <= members.len());
            reader.read(&members, &KeyMap::default(), &mut health);
        }
    }
    let mut host = HostReader::new(root.to_owned());
    host.read_again();
    assert!(host.host().cpus > 0);
    let _told = (host.tasks(), host.last_pid(), host.own());
}

fn one(root: &Path, key: ProcessKey) {
    if let Ok(identity) = identity(root, key) {
        assert!(identity.comm.len() <= 3 * (4096 + 16), "{identity:?}");
        let _name = (identity.name(), identity.cmdline());
    }
    if let Ok(Some(arguments)) = arguments(root, key) {
        assert!(
            !arguments.whole.iter().any(|one| one.contains('\0')),
            "{arguments:?}"
        );
    }
    if let Ok(facts) = facts(root, key) {
        assert!(facts.user.is_none() || facts.uid.is_some(), "{facts:?}");
    }
    let _told = (executable_path(root, key), parent(root, key));
}

fn mounts(text: &[u8]) {
    for line in String::from_utf8_lossy(text).lines() {
        if let Ok(mount) = MountInfo::from_line(line)
            && let Some(hidden) = Hidden::of(&mount, &[0, 27])
        {
            assert!(hidden.to_string().contains("hidepid="), "{hidden:?}");
        }
    }
}
