//! What the text says of a plugin in detailed mode: a table of distributions, who ran instead, peaks, memory.

use crate::{
    plugin::detail::{DetailReading, Samples},
    process::{Spread, SwitchTimes},
};

/// Preemptors that are listed.
const LISTED: usize = 5;

/// The lines below a plugin's values, without the indentation that they share.
pub(super) fn lines(detail: &DetailReading) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(times) = &detail.times {
        distributions(&mut lines, times);
        preemptors(&mut lines, times);
    }
    if !detail.is_complete {
        lines.push("some threads' switches were missed: the distributions lack them".to_owned());
    }
    peaks(&mut lines, &detail.samples);
    if let Some(memory) = &detail.memory {
        lines.push(format!(
            "memory: {} proportional, {} shared, {} private and dirty, {} swapped",
            bytes(memory.pss),
            bytes(memory.shared),
            bytes(memory.private_dirty),
            bytes(memory.swap)
        ));
    }
    lines
}

fn distributions(lines: &mut Vec<String>, times: &SwitchTimes) {
    if times.on_cpu.count == 0 {
        lines.push("no thread has left its CPU".to_owned());
        return;
    }
    lines.push(format!(
        "{:<22} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "at each switch", "count", "p50", "p90", "p99", "longest", "sum"
    ));
    for (name, spread) in [
        ("run-queue latency", &times.run_queue),
        ("on CPU", &times.on_cpu),
        ("off CPU: asleep", &times.sleep),
        ("off CPU: state D", &times.uninterruptible),
        ("off CPU: preempted", &times.preempted),
    ] {
        if spread.count > 0 {
            lines.push(row(name, spread));
        }
    }
    if times.migrations > 0 {
        lines.push(format!("moves to another CPU: {}", times.migrations));
    }
}

fn row(name: &str, spread: &Spread) -> String {
    let percentile = |share| spread.percentile(share).map_or_else(String::new, time);
    format!(
        "{name:<22} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        spread.count,
        percentile(0.5),
        percentile(0.9),
        percentile(0.99),
        spread.max.map_or_else(String::new, time),
        time(spread.sum)
    )
}

fn preemptors(lines: &mut Vec<String>, times: &SwitchTimes) {
    let top = times.top_preemptors(LISTED);
    let waited = times.run_queue.sum;
    if top.is_empty() || waited == 0 {
        return;
    }
    let listed: Vec<String> = top
        .into_iter()
        .map(|(name, by)| {
            let share = by.time as f64 / waited as f64 * 100.0;
            format!("{name} {} ({share:.0} %)", time(by.time))
        })
        .collect();
    lines.push(format!("ran while they waited: {}", listed.join(", ")));
}

fn peaks(lines: &mut Vec<String>, samples: &Samples) {
    let mut peaks = Vec::new();
    let mut add = |name: &str, peak: Option<String>| {
        if let Some(peak) = peak {
            peaks.push(format!("{name} {peak}"));
        }
    };
    let of = |sampled: &crate::plugin::detail::Sampled| sampled.peak.map(|peak| peak.value);
    add(
        "CPU",
        of(&samples.cpu).map(|value| format!("{:.2}", value as f64 / 1e9)),
    );
    add("RSS", of(&samples.rss).map(bytes));
    add("threads", of(&samples.threads).map(|value| value.to_string()));
    add("descriptors", of(&samples.fds).map(|value| value.to_string()));
    add(
        "runnable threads",
        of(&samples.runnable).map(|value| value.to_string()),
    );
    if !peaks.is_empty() {
        let count = samples.threads.spread.count;
        lines.push(format!("peaks of {count} samples: {}", peaks.join(", ")));
    }
}

/// A length of time in the unit that leaves one to three digits before the point.
pub fn time(nanos: u64) -> String {
    let value = nanos as f64;
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{BootTime, Preempted};

    #[test]
    fn it_reads_like_a_table() {
        let mut times = SwitchTimes::default();
        for nanos in [2_000, 4_000, 900_000] {
            times.run_queue.add_value(nanos);
            times.on_cpu.add_value(nanos * 10);
        }
        times.sleep.add_value(1_500_000_000);
        times.add_preemptor(
            "hog",
            Preempted {
                time: 453_000,
                switches: 2,
            },
        );
        let detail = DetailReading {
            since: BootTime(0),
            times: Some(times),
            samples: Samples::NONE,
            memory: None,
            contention: None,
            is_complete: true,
        };
        assert_eq!(
            lines(&detail),
            [
                "at each switch             count       p50       p90       p99   longest       sum",
                "run-queue latency              3    4.2 µs  895.5 µs  895.5 µs  900.0 µs  906.0 µs",
                "on CPU                         3   39.6 µs    8.5 ms    8.5 ms    9.0 ms    9.1 ms",
                "off CPU: asleep                1    1.50 s    1.50 s    1.50 s    1.50 s    1.50 s",
                "ran while they waited: hog 453.0 µs (50 %)",
            ]
        );
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known() {
        let detail = DetailReading {
            since: BootTime(0),
            times: None,
            samples: Samples::NONE,
            memory: None,
            contention: None,
            is_complete: true,
        };
        assert_eq!(lines(&detail), [] as [String; 0]);
    }
}
