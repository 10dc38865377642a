//! What this user may do: capabilities and limits.

use std::fs;

use rustix::process::{Resource, geteuid, getrlimit};

use super::{Check, Finding, fault, fine, warning};
use crate::limits;

/// Capability, its number (include/uapi/linux/capability.h), whether kevmon needs it, and for what.
const CAPABILITIES: [(Check, u32, bool, &str); 4] = [
    (Check::Bpf, 39, true, "to load the programs"),
    (Check::Perfmon, 38, true, "to have them read the kernel"),
    (
        Check::SysPtrace,
        19,
        false,
        "to read descriptors and paths of other users' processes in /proc",
    ),
    (
        Check::DacReadSearch,
        2,
        false,
        "to read files of other users, such as those that collectors name",
    ),
];
/// CAP_SYS_ADMIN, which includes the first two.
const SYS_ADMIN: u32 = 21;

pub(super) fn checks() -> Vec<Finding> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut findings = vec![fine(Check::User, format!("uid {}", geteuid().as_raw()))];
    findings.extend(capabilities(&status));
    findings.push(open_files());
    findings.push(locked_memory());
    findings.push(clock());
    findings
}

fn capabilities(status: &str) -> Vec<Finding> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    let Some(effective) = effective else {
        return vec![warning(
            Check::Capabilities,
            "not known: /proc/self/status cannot be read",
            "mount /proc",
        )];
    };
    let has = |number: u32| effective & (1 << number) != 0;
    let of = |(name, number, is_needed, what): (Check, u32, bool, &str)| {
        if has(number) || (is_needed && has(SYS_ADMIN)) {
            fine(name, "held")
        } else if is_needed {
            fault(
                name,
                format!("missing, {what}"),
                format!(
                    "run as root, or grant it (systemd: AmbientCapabilities={name}; setcap for a binary)"
                ),
            )
        } else {
            warning(
                name,
                format!("missing, {what}"),
                "what it shows is absent then, never zero; grant it where that is needed",
            )
        }
    };
    CAPABILITIES.into_iter().map(of).collect()
}

fn open_files() -> Finding {
    let hard = getrlimit(Resource::Nofile).maximum;
    let found = hard.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    if hard.is_some_and(|limit| limit < limits::LEAST) {
        return fault(
            Check::OpenFiles,
            found,
            format!(
                "kevmon needs {} (systemd: LimitNOFILE=, ulimit -Hn)",
                limits::LEAST
            ),
        );
    }
    fine(Check::OpenFiles, found)
}

fn locked_memory() -> Finding {
    match getrlimit(Resource::Memlock).current {
        None => fine(Check::LockedMemory, "no limit"),
        Some(bytes) => fine(
            Check::LockedMemory,
            format!("{bytes} bytes, which counts before Linux 5.11 alone (systemd: LimitMEMLOCK=infinity)"),
        ),
    }
}

/// Whether the kernel takes the wall clock to be in step with others (adjtimex(2)).
fn clock() -> Finding {
    // SAFETY: a struct of integers, for which zeros mean that nothing is set.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: a place of that type.
    match unsafe { libc::adjtimex(&raw mut state) } {
        libc::TIME_ERROR => warning(
            Check::Clock,
            "not synchronised",
            "times in the export are this host's own: start chrony or systemd-timesyncd",
        ),
        -1 => warning(
            Check::Clock,
            format!("not known: {}", std::io::Error::last_os_error()),
            "a seccomp filter may refuse adjtimex, which kevmon itself does not call",
        ),
        _ => fine(Check::Clock, "synchronised"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Outcome::{self, Fault, Fine, Warning};

    #[test]
    fn capabilities_are_found_by_their_numbers() {
        let outcomes = |mask: &str| -> Vec<Outcome> {
            let status = format!("Name:\tx\nCapEff:\t{mask}\n");
            let findings = capabilities(&status);
            findings.iter().map(|finding| finding.outcome).collect()
        };
        assert_eq!(outcomes("000001ffffffffff"), [Fine; 4]);
        assert_eq!(outcomes("0000000000000000"), [Fault, Fault, Warning, Warning]);
        assert_eq!(outcomes("000000c000000000"), [Fine, Fine, Warning, Warning]);
        assert_eq!(outcomes("0000000000200000"), [Fine, Fine, Warning, Warning]);
        assert_eq!(outcomes("0000008000080004"), [Fine, Fault, Fine, Fine]);
        assert_eq!(outcomes("no number"), [Warning]);
    }
}
