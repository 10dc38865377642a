//! What people read of measured things: lengths of time, reasons.

use std::time::Duration;

use crate::process::{Ending, Reason, Tgid, signal_name};

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

/// A name without control characters: names are chosen by whoever runs a process, and must not write on the terminal.
pub fn printable(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
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
            (Some(9), false, sender(9), "SIGKILL by 123 (ba\u{fffd}sh)"),
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
