//! Pressure and throttling of a cgroup (Documentation/accounting/psi.rst, Documentation/admin-guide/cgroup-v2.rst).

use std::{fs, path::Path};

use super::{facts, open};
use crate::process::{Contention, ProcessKey, Stall};

/// Where systemd mounts the unified hierarchy, alone or with those of version 1 (systemd, src/basic/cgroup-util.c).
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The cgroup that all of these processes live in or below, from the unified hierarchy's root; `None` where that is the root itself,
/// which is the host's, or where it is not known of one that lives.
pub fn common_cgroup(root: &Path, keys: &[ProcessKey]) -> Option<String> {
    let mut common: Option<String> = None;
    for &key in keys {
        let Ok(process) = open(root, key) else { continue };
        let Ok(groups) = process.cgroups() else { continue };
        let unified = groups.0.iter().find(|group| group.hierarchy == 0)?;
        let path = facts::path_in(&unified.pathname);
        common = Some(match common {
            None => path.to_owned(),
            Some(known) => shared(&known, path),
        });
    }
    common.filter(|path| path.len() > 1)
}

/// The path of which both are, or are below.
fn shared(one: &str, other: &str) -> String {
    let parts = one.split('/').zip(other.split('/'));
    let same: Vec<&str> = parts
        .take_while(|(one, other)| one == other)
        .map(|(part, _)| part)
        .collect();
    match same.join("/") {
        root if root.is_empty() => "/".to_owned(),
        path => path,
    }
}

/// What the processes of a cgroup waited for, since it was made. `None`: there is no such cgroup, or the kernel does not count
/// (CONFIG_PSI, `cgroup.pressure`).
pub fn contention(path: &str) -> Option<Contention> {
    let folder = MOUNTS
        .iter()
        .map(|mount| Path::new(mount).join(path.trim_start_matches('/')))
        .find(|folder| folder.join("cgroup.procs").exists())?;
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let stall = |name: &str| read(name).and_then(|text| parse(&text));
    let stat = read("cpu.stat");
    let of = |name: &str| {
        let line = stat.as_deref()?.lines().find_map(|line| line.strip_prefix(name));
        line?.trim().parse::<u64>().ok()
    };
    Some(Contention {
        cpu: stall("cpu.pressure"),
        memory: stall("memory.pressure"),
        io: stall("io.pressure"),
        throttled_ns: of("throttled_usec ").map(|micros| micros.saturating_mul(1000)),
        throttled_periods: of("nr_throttled "),
    })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and a line of `full`; totals are µs.
fn parse(text: &str) -> Option<Stall> {
    let total = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let total = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("total="))?;
        Some(total.parse::<u64>().ok()?.saturating_mul(1000))
    };
    Some(Stall {
        some_ns: total("some ")?,
        // Of the CPU it is told since 5.13.
        full_ns: total("full "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_paths_share_ends_with_a_whole_name() {
        for (one, other, expected) in [
            ("/a/b", "/a/b", "/a/b"),
            ("/a/b", "/a/c", "/a"),
            ("/a/bc", "/a/b", "/a"),
            ("/a/b/c", "/a/b", "/a/b"),
            ("/a", "/b", "/"),
            ("/", "/b", "/"),
        ] {
            assert_eq!(shared(one, other), expected, "{one} {other}");
            assert_eq!(shared(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn totals_are_read_and_what_is_missing_is_absent() {
        let text = "some avg10=0.12 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let stall = parse(text).expect("both lines");
        assert_eq!((stall.some_ns, stall.full_ns), (1_234_000, Some(7_000)));
        let some = parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n").expect("one line");
        assert_eq!((some.some_ns, some.full_ns), (5_000, None));
        for wrong in ["", "some", "some total=x", "full total=1"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
