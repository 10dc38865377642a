//! Names of the checks. Each has a section of docs/troubleshooting.md, under the same name.

use std::fmt;

/// Declares the checks with their names, and the list of all of them.
macro_rules! checks {
    ($($check:ident = $name:literal,)*) => {
        /// What is looked at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Check {
            $(#[doc = $name] $check,)*
        }

        impl Check {
            /// Every check, in the order in which they are made.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$check,)*];

            /// As it is printed.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$check => $name,)*
                }
            }
        }
    };
}

checks! {
    Kernel = "kernel",
    Btf = "BTF",
    Programs = "eBPF programs",
    PidNamespace = "pid namespace",
    UserNamespace = "user namespace",
    Lockdown = "lockdown",
    UnprivilegedBpf = "kernel.unprivileged_bpf_disabled",
    PerfEventParanoid = "kernel.perf_event_paranoid",
    SecurityModules = "security modules",
    Proc = "/proc",
    Cgroups = "cgroups",
    User = "user",
    Capabilities = "capabilities",
    Bpf = "CAP_BPF",
    Perfmon = "CAP_PERFMON",
    SysPtrace = "CAP_SYS_PTRACE",
    DacReadSearch = "CAP_DAC_READ_SEARCH",
    OpenFiles = "open files",
    LockedMemory = "locked memory",
    Clock = "clock",
    Settings = "settings",
    Plugins = "plugins",
    State = "state",
    Spool = "spool",
    Disk = "disk",
    LeftInKernel = "left in the kernel",
    Receiver = "receiver",
    Receivers = "receivers",
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sections of a check are headings of the third level.
    #[test]
    fn each_check_has_its_section_in_the_troubleshooting_page_in_order() {
        let page = include_str!("../../../../docs/troubleshooting.md");
        let sections: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .collect();
        let names: Vec<&str> = Check::ALL.iter().map(|check| check.name()).collect();
        assert_eq!(sections, names, "the headings ### of docs/troubleshooting.md");
    }
}
