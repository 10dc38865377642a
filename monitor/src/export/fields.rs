//! What a reading holds, as people read it: a label for each value, and the section that it stands in. The names that programs
//! read are those of the metric catalogue.

use super::amounts::{Amount, Precision};
use crate::{
    plugin::Reading,
    process::{Counter, Usage},
};

/// How a value comes out of a reading.
pub(super) type Of = fn(&Reading) -> Amount;

/// A value with its label.
pub(super) struct Field {
    pub(super) label: &'static str,
    pub(super) amount: Of,
    /// What it is made of, in the same unit.
    pub(super) parts: &'static [(&'static str, Of)],
}

const fn field(label: &'static str, amount: Of) -> Field {
    Field {
        label,
        amount,
        parts: &[],
    }
}

fn usage(reading: &Reading, counter: Counter) -> Option<u64> {
    Usage::get(&reading.usage, counter)
}

/// A count of what happened; not known where /proc hides processes and shows no member.
fn happened(reading: &Reading, count: u64) -> Amount {
    Amount::Count((!reading.unlisted).then_some(count))
}

/// Values of this moment. Those of the header are not among them.
pub(super) const NOW: &[Field] = &[
    field("threads", |r| Amount::Count(r.threads)),
    field("open files", |r| Amount::Count(r.fds)),
    field("virtual memory", |r| Amount::Bytes(r.vms)),
    field("share of memory", |r| Amount::Share(r.memory_utilization)),
];

/// What the processes have used since they began.
pub(super) const USED: &[Field] = &[
    Field {
        label: "CPU time",
        amount: |r| Amount::Nanos(usage(r, Counter::Runtime)),
        parts: &[
            ("user", |r| Amount::Nanos(usage(r, Counter::User))),
            ("system", |r| Amount::Nanos(usage(r, Counter::System))),
        ],
    },
    field("waited for a CPU", |r| Amount::Nanos(usage(r, Counter::RunDelay))),
    Field {
        label: "context switches",
        amount: |r| {
            let both = usage(r, Counter::Voluntary).zip(usage(r, Counter::Involuntary));
            Amount::Count(both.map(|(waited, preempted)| waited.saturating_add(preempted)))
        },
        parts: &[
            ("waited", |r| Amount::Count(usage(r, Counter::Voluntary))),
            ("preempted", |r| Amount::Count(usage(r, Counter::Involuntary))),
        ],
    },
    Field {
        label: "page faults",
        amount: |r| {
            let both = usage(r, Counter::MinorFaults).zip(usage(r, Counter::MajorFaults));
            Amount::Count(both.map(|(minor, major)| minor.saturating_add(major)))
        },
        parts: &[("from storage", |r| Amount::Count(usage(r, Counter::MajorFaults)))],
    },
    field("read from storage", |r| {
        Amount::Bytes(usage(r, Counter::ReadBytes))
    }),
    field("written to storage", |r| {
        Amount::Bytes(usage(r, Counter::WriteBytes))
    }),
];

/// Peaks, which do not add up.
pub(super) const PEAKS: &[Field] = &[field("largest RSS of one", |r| Amount::Bytes(r.peak_rss))];

/// The label of what ended, which is told with the reasons.
pub(super) const ENDED: &str = "ended";

/// The label of those that came otherwise than by a start.
pub(super) const JOINED: &str = "joined";

/// How members came and went. Restarts are in the header.
pub(super) const LIVES: &[Field] = &[
    field("started", |r| happened(r, r.happened.starts)),
    field("started as workers", |r| happened(r, r.happened.worker_starts)),
    field(ENDED, |r| happened(r, r.happened.exits)),
    field("failed starts", |r| happened(r, r.happened.failed_starts)),
    field("maybe restarts", |r| happened(r, r.happened.unpaired_starts)),
    field(JOINED, |r| happened(r, r.happened.joins)),
    field("left, alive", |r| happened(r, r.happened.leaves)),
];

/// Restarts, where the header does not tell them.
pub(super) const RESTARTS: Field = Field {
    label: "restarts",
    amount: |r| {
        let both = r.happened.respawns.saturating_add(r.happened.reexecs);
        happened(r, both)
    },
    parts: &[
        ("by a new process", |r| happened(r, r.happened.respawns)),
        ("in place", |r| happened(r, r.happened.reexecs)),
    ],
};

impl Field {
    /// Its value with the parts that are known: `41m 10s: user 30m 02s, system 11m 08s`. `of` picks what is shown of a reading.
    /// Zeros among the parts are left out; a single part that is all of it is named without its number. `None`: the value is
    /// not known.
    pub(super) fn text(&self, precision: Precision, of: impl Fn(Of) -> Amount) -> Option<String> {
        let whole = of(self.amount).text(precision)?;
        let known: Vec<(&str, Amount, String)> = self
            .parts
            .iter()
            .map(|(name, part)| (*name, of(*part)))
            .filter(|(_, part)| !part.is_zero())
            .filter_map(|(name, part)| Some((name, part, part.text(precision)?)))
            .collect();
        let parts = match known.as_slice() {
            [] => return Some(whole),
            [(name, part, _)] if *part == of(self.amount) => format!("all {name}"),
            several => several
                .iter()
                .map(|(name, _, text)| format!("{name} {text}"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        Some(format!("{whole}: {parts}"))
    }
}
