//! What people read of measured things: lengths of time, reasons.

use std::time::Duration;

use crate::{
    plugin::{Predecessor, RestartKind},
    process::{Ending, Reason, Tgid, signal_name},
    shown::printable,
};

/// `exit 7`, `SIGSEGV (core dumped)`, `OOM kill`, `unknown`.
pub fn reason(reason: Reason) -> String {
    match reason {
        Reason::Exit { code } => format!("exit {code}"),
        Reason::Signal { number, core_dumped } => {
            let dumped = if core_dumped { " (core dumped)" } else { "" };
            format!("{}{dumped}", signal_name(number))
        }
        Reason::Oom => "OOM kill".to_owned(),
        Reason::Unknown => "unknown".to_owned(),
    }
}

/// The reason, and who sent the signal where that is known: `SIGKILL by 123 (bash)`.
pub fn ending(ending: &Ending) -> String {
    let killer = ending.killer();
    death(
        ending.reason(),
        killer.map(|sender| (sender.tgid, sender.comm.as_str())),
    )
}

/// The same, of its parts.
pub fn death(why: Reason, sender: Option<(Tgid, &str)>) -> String {
    let why = reason(why);
    match sender {
        Some((pid, comm)) => format!("{why} by {pid} ({})", printable(comm)),
        None => why,
    }
}

/// The root whose place another one took, for people.
#[derive(Debug, Clone, Copy)]
pub struct Previous<'a> {
    /// Its pid.
    pub pid: Tgid,
    /// Its name.
    pub name: &'a str,
    /// Why it ended.
    pub reason: Reason,
    /// Who sent the signal that it died of, where a process did: pid and `comm`.
    pub sender: Option<(Tgid, &'a str)>,
    /// From its end to its successor's start; `None` where the end was not seen.
    pub ago: Option<Duration>,
}

/// The same of a notice.
pub fn previous(previous: &Predecessor) -> Previous<'_> {
    let killer = previous.ending.killer();
    Previous {
        pid: previous.key.tgid,
        name: &previous.name,
        reason: previous.ending.reason(),
        sender: killer.map(|sender| (sender.tgid, sender.comm.as_str())),
        ago: previous.ago,
    }
}

/// `respawn of 815 (nginx): exit 7, down 254 ms`. Without a downtime, how long ago the old process ended: `…, 12.300 s ago`.
pub fn restart(kind: RestartKind, previous: Option<Previous<'_>>, downtime: Option<Duration>) -> String {
    let mut text = kind.name().to_owned();
    if let Some(previous) = previous {
        let how = death(previous.reason, previous.sender);
        text += &format!(" of {} ({}): {how}", previous.pid, printable(previous.name));
    }
    match (downtime, previous.and_then(|previous| previous.ago)) {
        (Some(downtime), _) => text + &format!(", down {}", span(downtime)),
        (None, Some(ago)) => text + &format!(", {} ago", span(ago)),
        (None, None) => text,
    }
}

/// Three or four digits and the unit that fits: `0.3 ms`, `25 ms`, `3.250 s`, `5m 12s`, `3h 07m`, `12d 04h`.
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if length < Duration::from_millis(10) {
        format!("{:.1} ms", length.as_secs_f64() * 1e3)
    } else if seconds == 0 {
        format!("{} ms", length.as_millis())
    } else if minutes == 0 {
        format!("{seconds}.{:03} s", length.subsec_millis())
    } else if hours == 0 {
        format!("{minutes}m {:02}s", seconds % 60)
    } else if days == 0 {
        format!("{hours}h {:02}m", minutes % 60)
    } else {
        format!("{days}d {:02}h", hours % 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Sender;

    #[test]
    fn endings() {
        let sender = |signal| {
            Some(Sender {
                tgid: Tgid(123),
                comm: "ba\x1bsh".to_owned(),
                signal,
            })
        };
        for (status, oom_victim, sender, expected) in [
            (Some(0x0700), false, None, "exit 7"),
            (Some(0x8b), false, None, "SIGSEGV (core dumped)"),
            (Some(9), false, sender(9), "SIGKILL by 123 (ba\\u{1b}sh)"),
            (Some(9), false, sender(15), "SIGKILL"),
            (Some(9), true, None, "OOM kill"),
            (None, false, None, "unknown"),
        ] {
            let told = Ending {
                status,
                oom_victim,
                sender,
            };
            assert_eq!(ending(&told), expected);
        }
    }

    #[test]
    fn restarts_name_the_predecessor() {
        let previous = |reason, ago: Option<u64>| Previous {
            pid: Tgid(815),
            name: "ngi\x1bnx",
            reason,
            sender: (reason != Reason::Unknown).then_some((Tgid(1), "systemd")),
            ago: ago.map(Duration::from_millis),
        };
        let term = Reason::Signal {
            number: 15,
            core_dumped: false,
        };
        let respawn = RestartKind::Respawn;
        for (told, expected) in [
            (
                restart(
                    respawn,
                    Some(previous(term, Some(254))),
                    Some(Duration::from_millis(254)),
                ),
                "respawn of 815 (ngi\\u{1b}nx): SIGTERM by 1 (systemd), down 254 ms",
            ),
            (
                restart(respawn, Some(previous(term, Some(12_300))), None),
                "respawn of 815 (ngi\\u{1b}nx): SIGTERM by 1 (systemd), 12.300 s ago",
            ),
            (
                restart(respawn, Some(previous(Reason::Unknown, None)), None),
                "respawn of 815 (ngi\\u{1b}nx): unknown",
            ),
            (
                restart(respawn, None, Some(Duration::ZERO)),
                "respawn, down 0.0 ms",
            ),
            (restart(RestartKind::Reexec, None, None), "reexec"),
        ] {
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn units_that_fit() {
        for (micros, expected) in [
            (0, "0.0 ms"),
            (340, "0.3 ms"),
            (9_900, "9.9 ms"),
            (25_999, "25 ms"),
            (999_999, "999 ms"),
            (3_250_000, "3.250 s"),
            (59_999_999, "59.999 s"),
            (312_000_000, "5m 12s"),
            (11_220_000_000, "3h 07m"),
            (1_051_200_000_000, "12d 04h"),
        ] {
            assert_eq!(span(Duration::from_micros(micros)), expected, "{micros} µs");
        }
    }
}
