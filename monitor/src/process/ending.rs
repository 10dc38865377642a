//! How a process ended.

use super::Tgid;

/// The process that sent a terminating signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Thread-group id of the sender.
    pub tgid: Tgid,
    /// `comm` of the sender.
    pub comm: String,
    /// The signal it sent.
    pub signal: u8,
}

/// An end as the kernel told it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ending {
    /// Wait status, as wait4(2) reports it; `None` when the process was only found missing.
    pub status: Option<u32>,
    /// The OOM killer had picked it (`oom:mark_victim`).
    pub oom_victim: bool,
    /// Who sent the last terminating signal, a handled one too, where a process did (SI_USER, SI_QUEUE, SI_TKILL).
    pub sender: Option<Sender>,
}

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It exited, with this code.
    Exit {
        /// Exit code, 0 to 255.
        code: u8,
    },
    /// A signal ended it.
    Signal {
        /// Number of the signal, 1 to 64.
        number: u8,
        /// A core was dumped.
        core_dumped: bool,
    },
    /// The OOM killer ended it.
    Oom,
    /// The process was found missing: its end was not seen.
    Unknown,
}

/// SIGKILL on every architecture.
const SIGKILL: u8 = 9;
/// Bit of the wait status that says that a core was dumped (wait(2), `WCOREDUMP`).
const CORE_DUMPED: u32 = 0x80;

impl Ending {
    /// An end that was not seen.
    pub const UNKNOWN: Self = Self {
        status: None,
        oom_victim: false,
        sender: None,
    };

    /// Why. The OOM killer is the reason only of a marked victim that died of signal 9: victims may also end by
    /// themselves before the signal reaches them.
    pub fn reason(&self) -> Reason {
        let Some(status) = self.status else {
            return Reason::Unknown;
        };
        let number = (status & 0x7f) as u8;
        match number {
            0 => Reason::Exit {
                code: (status >> 8) as u8,
            },
            SIGKILL if self.oom_victim => Reason::Oom,
            _ => Reason::Signal {
                number,
                core_dumped: status & CORE_DUMPED != 0,
            },
        }
    }

    /// Who sent the signal that it died of; `None` where no process did, or where it died of something else.
    pub fn killer(&self) -> Option<&Sender> {
        match (self.reason(), &self.sender) {
            (Reason::Signal { number, .. }, Some(sender)) if sender.signal == number => Some(sender),
            _ => None,
        }
    }
}

impl Reason {
    /// `exit`, `signal`, `oom` or `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exit { .. } => "exit",
            Self::Signal { .. } => "signal",
            Self::Oom => "oom",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is exit code 0.
    pub fn is_success(self) -> bool {
        self == Self::Exit { code: 0 }
    }
}

/// The name of a signal (`SIGSEGV`); real-time signals and numbers without a name are `SIGRTMIN+n` or `SIG n`.
pub fn signal_name(number: u8) -> String {
    // The numbers of x86, ARM and most others (signal(7)).
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    /// The C library keeps the first two real-time signals to itself (signal(7)).
    const SIGRTMIN: u8 = 34;
    match number {
        1..=31 => format!("SIG{}", NAMES[usize::from(number) - 1]),
        SIGRTMIN.. => format!("SIGRTMIN+{}", number - SIGRTMIN),
        _ => format!("SIG {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        let cases = [
            (Some(0x0700), false, Reason::Exit { code: 7 }),
            (Some(0), false, Reason::Exit { code: 0 }),
            (
                Some(9),
                false,
                Reason::Signal {
                    number: 9,
                    core_dumped: false,
                },
            ),
            (
                Some(0x8b),
                false,
                Reason::Signal {
                    number: 11,
                    core_dumped: true,
                },
            ),
            (Some(9), true, Reason::Oom),
            (Some(0x0100), true, Reason::Exit { code: 1 }),
            (
                Some(15),
                true,
                Reason::Signal {
                    number: 15,
                    core_dumped: false,
                },
            ),
            (None, true, Reason::Unknown),
        ];
        for (status, oom_victim, expected) in cases {
            let ending = Ending {
                status,
                oom_victim,
                sender: None,
            };
            assert_eq!(ending.reason(), expected, "{ending:?}");
        }
    }

    #[test]
    fn a_killer_sent_the_signal_that_killed() {
        let sender = |signal| {
            Some(Sender {
                tgid: Tgid(5),
                comm: "kill".into(),
                signal,
            })
        };
        for (status, sender, killed) in [
            (15, sender(15), true),
            (9, sender(15), false),
            (0x0f00, sender(15), false),
            (15, None, false),
        ] {
            let ending = Ending {
                status: Some(status),
                oom_victim: false,
                sender,
            };
            assert_eq!(ending.killer().is_some(), killed, "{ending:?}");
        }
    }

    #[test]
    fn signals_have_names() {
        for (number, name) in [
            (1, "SIGHUP"),
            (11, "SIGSEGV"),
            (31, "SIGSYS"),
            (32, "SIG 32"),
            (34, "SIGRTMIN+0"),
        ] {
            assert_eq!(signal_name(number), name);
        }
    }
}
