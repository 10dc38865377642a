//! Why there is no eBPF source, and what to do about it. A refused system call says little by itself: EPERM may come from
//! a missing capability, a seccomp filter, lockdown, a security module or, before Linux 5.11, the limit of locked memory.

use std::fs;

use tracing::debug;

use super::object::LoadError;
use crate::limits;

/// Why there is no eBPF source.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Tracepoints tell pids of the initial namespace, the iterator and /proc those of kevmon's own.
    #[error(
        "kevmon runs in a pid namespace of its own, where the kernel's pids mean other processes; run it on the host"
    )]
    PidNamespace,
    /// CLOCK_BOOTTIME and /proc tell other start times here than the kernel side does.
    #[error(
        "kevmon runs in a time namespace of its own, where start times differ from the kernel's; run it on the host"
    )]
    TimeNamespace,
    /// kevmon lacks the capabilities.
    #[error("not permitted to load eBPF programs; run kevmon as root, or with CAP_BPF and CAP_PERFMON")]
    Permission,
    /// kevmon has the capabilities and was refused all the same.
    #[error("{error}, although kevmon has CAP_BPF and CAP_PERFMON: {why}")]
    Forbidden {
        /// The error of loading.
        error: Box<LoadError>,
        /// What of this host may have refused it: lockdown, seccomp, a security module.
        why: String,
    },
    /// A limit was reached, or a system call is not there.
    #[error("{error}; {remedy}")]
    Limit {
        /// The error of loading.
        error: Box<LoadError>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The kernel refused for another reason than rights or limits.
    #[error("{error}; {}", remedy(.error))]
    Load {
        /// The kernel's error.
        error: Box<LoadError>,
    },
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        let error = Box::new(error);
        let cause = error.io_error();
        if let Some(remedy) = cause.and_then(limits::remedy) {
            return Self::Limit { error, remedy };
        }
        let errno = cause.and_then(std::io::Error::raw_os_error);
        if !matches!(errno, Some(libc::EPERM | libc::EACCES)) {
            return Self::Load { error };
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if !may_load(&status) {
            debug!("{error}");
            return Self::Permission;
        }
        if error.is_the_verifiers() {
            return Self::Load { error };
        }
        let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let why = suspects(&status, &lockdown, &release).join("; ");
        Self::Forbidden { error, why }
    }
}

fn remedy(error: &LoadError) -> &'static str {
    match error {
        LoadError::Offsets(_) | LoadError::Btf(_) => {
            "eBPF needs Linux 5.10 or newer with CONFIG_DEBUG_INFO_BTF=y"
        }
        LoadError::Foreign(_) => "build it anew with `cargo xtask build`",
        _ => "this kernel is not supported yet: please report its version with `--log-level debug`'s output",
    }
}

/// Whether the effective capabilities in `status` (/proc/PID/status) are enough: CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN.
fn may_load(status: &str) -> bool {
    /// Numbers in include/uapi/linux/capability.h.
    const SYS_ADMIN: u32 = 21;
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;
    let effective = field(status, "CapEff:").and_then(|text| u64::from_str_radix(text, 16).ok());
    let has = |number: u32| effective.is_some_and(|set| set & (1 << number) != 0);
    has(SYS_ADMIN) || (has(BPF) && has(PERFMON))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// What of this host may refuse bpf(2) to a process that has the capabilities.
fn suspects(status: &str, lockdown: &str, release: &str) -> Vec<&'static str> {
    /// The first kernel that does not charge eBPF to the limit of locked memory.
    const UNCHARGED: (u32, u32) = (5, 11);
    let mut suspects = Vec::new();
    // 2 is a filter (prctl(2), PR_SET_SECCOMP).
    if field(status, "Seccomp:") == Some("2") {
        suspects.push(
            "a seccomp filter is set, which must let bpf(2) through (docker: --security-opt seccomp=, systemd: \
             SystemCallFilter=)",
        );
    }
    if lockdown.contains("[confidentiality]") {
        suspects.push("the kernel is locked down for confidentiality; boot with lockdown=integrity or none");
    }
    if version(release).is_some_and(|version| version < UNCHARGED) {
        suspects.push(
            "before Linux 5.11 the limit of locked memory counts: raise it (ulimit -l, systemd: LimitMEMLOCK=)",
        );
    }
    if suspects.is_empty() {
        suspects.push("a security module (SELinux, AppArmor) may refuse it; see the host's audit log");
    }
    suspects
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::{EbpfError, maps::MapError, sys::SyscallError};

    use super::*;

    fn map_error(errno: i32) -> LoadError {
        LoadError::Object(EbpfError::MapError(MapError::CreateError {
            name: "EVENTS".to_owned(),
            io_error: io::Error::from_raw_os_error(errno),
        }))
    }

    #[test]
    fn a_limit_is_not_called_an_unsupported_kernel() {
        for (errno, word) in [
            (libc::EMFILE, "LimitNOFILE="),
            (libc::ENFILE, "fs.file-max"),
            (libc::ENOSYS, "seccomp"),
            (libc::ENOMEM, "LimitMEMLOCK="),
        ] {
            let errors = [
                map_error(errno),
                LoadError::Program {
                    program: "snapshot",
                    source: aya::programs::ProgramError::SyscallError(SyscallError {
                        call: "bpf_prog_load",
                        io_error: io::Error::from_raw_os_error(errno),
                    }),
                },
                LoadError::Offsets(super::super::btf::BtfError::Unreadable {
                    path: "/sys/kernel/btf/vmlinux".to_owned(),
                    source: btf_rs::Error::IO(io::Error::from_raw_os_error(errno)),
                }),
                LoadError::Btf(aya::BtfError::FileError {
                    path: "/sys/kernel/btf/vmlinux".into(),
                    error: io::Error::from_raw_os_error(errno),
                }),
            ];
            for error in errors {
                let text = Refusal::from(error).to_string();
                assert!(text.contains(word), "{errno}: {text}");
                assert!(!text.contains("not supported yet"), "{text}");
                assert!(!text.contains("needs Linux 5.10"), "{text}");
            }
        }
        let text = Refusal::from(map_error(libc::EINVAL)).to_string();
        assert!(text.contains("not supported yet"), "{text}");
    }

    /// Whoever runs the tests may lack the capabilities, which is said first.
    #[test]
    fn what_the_verifier_refuses_is_no_matter_of_rights() {
        let refused = |log: &str| LoadError::Program {
            program: "task_rename",
            source: aya::programs::ProgramError::LoadError {
                io_error: io::Error::from_raw_os_error(libc::EACCES),
                verifier_log: aya_obj::VerifierLog::new(log.to_owned()),
            },
        };
        assert!(refused("combined stack size of 2 calls is 544. Too large").is_the_verifiers());
        assert!(!refused("").is_the_verifiers());
        assert!(!map_error(libc::EACCES).is_the_verifiers());
        let log = "0: (b7) r0 = 0\ncombined stack size of 2 calls is 544. Too large\nprocessed 1 insns\n";
        let text = Refusal::from(refused(log)).to_string();
        if text.contains("verifier") {
            assert!(text.contains("the verifier says: combined stack size"), "{text}");
            assert!(
                !text.contains("CAP_BPF") && !text.contains("locked memory"),
                "{text}"
            );
        }
        let text = Refusal::from(map_error(libc::EINVAL)).to_string();
        assert!(text.contains("not supported yet"), "{text}");
    }

    #[test]
    fn capabilities_are_told_from_other_refusals() {
        for (mask, enough) in [
            ("0000000000000000", false),
            ("000001ffffffffff", true),
            ("0000000000200000", true),
            ("000000c000000000", true),
            ("0000008000000000", false),
            ("0000004000000000", false),
            ("no number", false),
        ] {
            assert_eq!(
                may_load(&format!("Name:\tx\nCapEff:\t{mask}\n")),
                enough,
                "{mask}"
            );
        }
        assert!(!may_load(""));
    }

    #[test]
    fn every_suspect_is_named() {
        let open = "none [integrity] confidentiality";
        let closed = "none integrity [confidentiality]";
        for (seccomp, lockdown, release, words) in [
            ("2", open, "6.1.0-1-amd64", vec!["seccomp"]),
            ("0", closed, "6.1.0", vec!["lockdown="]),
            ("0", "", "5.10.0-30", vec!["LimitMEMLOCK="]),
            ("0", "", "5.11.0", vec!["security module"]),
            (
                "2",
                closed,
                "5.10.1",
                vec!["seccomp", "lockdown=", "LimitMEMLOCK="],
            ),
            ("", "", "", vec!["security module"]),
        ] {
            let found = suspects(&format!("Seccomp:\t{seccomp}\n"), lockdown, release);
            assert_eq!(found.len(), words.len(), "{found:?}");
            for (found, word) in found.iter().zip(words) {
                assert!(found.contains(word), "{found}");
            }
        }
    }
}
