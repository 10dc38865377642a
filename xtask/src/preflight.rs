//! What the end-to-end tests demand of the machine. Each missing thing is named; nothing is skipped.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::packages::Version;
use crate::privilege::{Credentials, Root};

/// The oldest kernel whose facts kevmon relies on (ring buffer, BTF-typed tracepoints, task iterator).
const OLDEST_KERNEL: Version = Version { major: 5, minor: 10 };
/// PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";
/// Names and numbers from linux/capability.h. The tests, not kevmon, need CAP_SYS_ADMIN: for a pid of their choice,
/// mounts and control groups.
const CAPABILITIES: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_PERFMON", 38), ("CAP_SYS_ADMIN", 21)];

/// What was found on this machine.
#[derive(Debug)]
struct Facts {
    kernel_release: String,
    has_btf: bool,
    pid_namespace: String,
    credentials: Credentials,
    /// /proc/sys/kernel/core_pattern (core(5)).
    core_pattern: String,
    /// Whether the program that it pipes to exists; true where it pipes to none.
    takes_cores: bool,
    has_memory_cgroups: bool,
    /// /etc/machine-id, or D-Bus's.
    has_machine_id: bool,
}

pub(crate) fn check(root: &Root) -> Result<()> {
    let core_pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let takes_cores = core_program(&core_pattern).is_none_or(|program| Path::new(program).exists());
    let facts = Facts {
        kernel_release: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        has_btf: fs::metadata("/sys/kernel/btf/vmlinux").is_ok_and(|file| file.len() > 0),
        pid_namespace: fs::read_link("/proc/self/ns/pid")
            .map(|link| link.to_string_lossy().into_owned())
            .unwrap_or_default(),
        credentials: root.credentials()?,
        core_pattern,
        takes_cores,
        // Version 1, and version 2 (cgroups(7)).
        has_memory_cgroups: Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
            || fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
                .is_ok_and(|names| names.split_whitespace().any(|name| name == "memory")),
        has_machine_id: ["/etc/machine-id", "/var/lib/dbus/machine-id"]
            .iter()
            .any(|path| fs::read_to_string(path).is_ok_and(|id| !id.trim().is_empty())),
    };
    let missing = missing(&facts);
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "this machine cannot run the end-to-end tests:\n  - {}",
        missing.join("\n  - ")
    )
}

/// The program that a core pattern pipes to.
fn core_program(pattern: &str) -> Option<&str> {
    pattern.strip_prefix('|')?.split_whitespace().next()
}

fn missing(facts: &Facts) -> Vec<String> {
    let mut missing = Vec::new();
    if Version::parse(&facts.kernel_release).is_none_or(|version| version < OLDEST_KERNEL) {
        let release = &facts.kernel_release;
        missing.push(format!(
            "kernel {OLDEST_KERNEL} or later: this is {release:?}; boot a newer kernel"
        ));
    }
    if !facts.has_btf {
        missing.push(
            "/sys/kernel/btf/vmlinux: the kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not mounted; \
             boot a distribution's kernel"
                .to_owned(),
        );
    }
    if facts.pid_namespace != INITIAL_PID_NAMESPACE {
        let namespace = &facts.pid_namespace;
        missing.push(format!(
            "the initial pid namespace: this is {namespace:?}; run on the host, or in a container started with --pid=host"
        ));
    }
    if facts.credentials.effective_uid != 0 {
        missing.push(format!(
            "root: the tests would run as uid {}",
            facts.credentials.effective_uid
        ));
    }
    for (name, number) in CAPABILITIES {
        if !facts.credentials.has_capability(number) {
            missing.push(format!(
                "{name}: not among the effective capabilities; a container needs --cap-add {name}"
            ));
        }
    }
    if facts.core_pattern.trim().is_empty() || !facts.takes_cores {
        let pattern = facts.core_pattern.trim();
        missing.push(format!(
            "core dumps: /proc/sys/kernel/core_pattern is {pattern:?}, which no core can go to; write `core` there"
        ));
    }
    if !facts.has_memory_cgroups {
        missing.push(
            "memory control groups: no memory controller under /sys/fs/cgroup; mount cgroup2 there, or boot without \
             cgroup_disable=memory"
                .to_owned(),
        );
    }
    if !facts.has_machine_id {
        missing.push(
            "/etc/machine-id: missing or empty, and host.id is made of it; as root: systemd-machine-id-setup, or \
             dbus-uuidgen > /etc/machine-id"
                .to_owned(),
        );
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            kernel_release: "6.1.0-44-amd64".to_owned(),
            has_btf: true,
            pid_namespace: INITIAL_PID_NAMESPACE.to_owned(),
            credentials: Credentials::parse("Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n").unwrap(),
            core_pattern: "core\n".to_owned(),
            takes_cores: true,
            has_memory_cgroups: true,
            has_machine_id: true,
        }
    }

    #[test]
    fn a_fit_machine_misses_nothing() {
        assert_eq!(missing(&facts()), Vec::<String>::new());
        assert!(
            missing(&Facts {
                kernel_release: "5.10.0".to_owned(),
                ..facts()
            })
            .is_empty()
        );
    }

    #[test]
    fn each_missing_thing_is_named() {
        let user = Credentials::parse("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n").unwrap();
        for (facts, names) in [
            (
                Facts {
                    kernel_release: "5.4.0-200".to_owned(),
                    ..facts()
                },
                vec!["kernel 5.10"],
            ),
            (
                Facts {
                    kernel_release: String::new(),
                    ..facts()
                },
                vec!["kernel 5.10"],
            ),
            (
                Facts {
                    has_btf: false,
                    ..facts()
                },
                vec!["/sys/kernel/btf/vmlinux"],
            ),
            (
                Facts {
                    pid_namespace: "pid:[4026532281]".to_owned(),
                    ..facts()
                },
                vec!["the initial pid namespace"],
            ),
            (
                Facts {
                    credentials: user,
                    ..facts()
                },
                vec!["root", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"],
            ),
            (
                Facts {
                    core_pattern: "|/no/such/program %P".to_owned(),
                    takes_cores: false,
                    ..facts()
                },
                vec!["core dumps"],
            ),
            (
                Facts {
                    has_memory_cgroups: false,
                    ..facts()
                },
                vec!["memory control groups"],
            ),
            (
                Facts {
                    has_machine_id: false,
                    ..facts()
                },
                vec!["/etc/machine-id"],
            ),
        ] {
            let found = missing(&facts);
            assert_eq!(found.len(), names.len(), "{found:?}");
            for (message, name) in found.iter().zip(names) {
                assert!(
                    message.starts_with(name),
                    "{message:?} does not begin with {name:?}"
                );
            }
        }
    }

    #[test]
    fn the_program_that_takes_cores() {
        for (pattern, program) in [
            ("core\n", None),
            ("/var/cores/core.%p\n", None),
            (
                "|/usr/lib/systemd/systemd-coredump %P %u\n",
                Some("/usr/lib/systemd/systemd-coredump"),
            ),
        ] {
            assert_eq!(core_program(pattern), program, "{pattern}");
        }
    }
}
