//! Ends by reason: how a reason reads as attributes, and which reasons are told before they ever happen.

use super::{Attribute, Attributes, Measure, Value};
use crate::process::{Reason, signal_name};

const SIGABRT: u8 = 6;
const SIGKILL: u8 = 9;
const SIGSEGV: u8 = 11;
const SIGTERM: u8 = 15;

/// Ends that have a point, 0, from the first collection on: a rate needs a value before the first end. These are
/// the ordinary ones and those that alerts ask for; all that could be would be 386 points for each plugin.
const ALWAYS: [Reason; 10] = [
    Reason::Exit { code: 0 },
    Reason::Exit { code: 1 },
    signal(SIGABRT, false),
    signal(SIGABRT, true),
    signal(SIGKILL, false),
    signal(SIGSEGV, false),
    signal(SIGSEGV, true),
    signal(SIGTERM, false),
    Reason::Oom,
    Reason::Unknown,
];

const fn signal(number: u8, core_dumped: bool) -> Reason {
    Reason::Signal { number, core_dumped }
}

/// A reason as attributes, of metrics and of log records.
pub fn exit_attributes(reason: Reason) -> Attributes {
    let mut attributes = vec![("kevmon.exit.reason", Attribute::from(reason.name()))];
    match reason {
        Reason::Exit { code } => attributes.push(("process.exit.code", u32::from(code).into())),
        Reason::Signal { number, core_dumped } => {
            attributes.push(("kevmon.exit.signal", signal_name(number).into()));
            attributes.push(("kevmon.exit.core_dumped", core_dumped.into()));
        }
        Reason::Oom | Reason::Unknown => {}
    }
    attributes
}

/// One point for each reason that was seen, and for each of [`ALWAYS`], in the order of the reasons.
pub(super) fn points(counted: &[(Reason, u64)]) -> Vec<Value> {
    let unseen = ALWAYS
        .into_iter()
        .filter(|reason| !counted.iter().any(|(seen, _)| seen == reason))
        .map(|reason| (reason, 0));
    let mut all: Vec<(Reason, u64)> = counted.iter().copied().chain(unseen).collect();
    all.sort_unstable();
    all.into_iter()
        .map(|(reason, count)| Value {
            attributes: exit_attributes(reason),
            measure: Measure::Integer(count),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_typed_attributes() {
        let text = |text: &str| Attribute::Text(text.to_owned());
        for (reason, expected) in [
            (
                Reason::Exit { code: 7 },
                vec![
                    ("kevmon.exit.reason", text("exit")),
                    ("process.exit.code", Attribute::Integer(7)),
                ],
            ),
            (
                signal(SIGSEGV, true),
                vec![
                    ("kevmon.exit.reason", text("signal")),
                    ("kevmon.exit.signal", text("SIGSEGV")),
                    ("kevmon.exit.core_dumped", Attribute::Boolean(true)),
                ],
            ),
            (Reason::Oom, vec![("kevmon.exit.reason", text("oom"))]),
            (Reason::Unknown, vec![("kevmon.exit.reason", text("unknown"))]),
        ] {
            assert_eq!(exit_attributes(reason), expected);
        }
    }

    #[test]
    fn zeros_stand_beside_what_was_seen_and_each_series_once() {
        let seen = [
            (Reason::Exit { code: 0 }, 5),
            (Reason::Exit { code: 7 }, 3),
            (Reason::Oom, 1),
        ];
        let points = points(&seen);
        assert_eq!(points.len(), ALWAYS.len() + 1, "code 7 is the only one more");
        for (index, point) in points.iter().enumerate() {
            assert!(
                !points[..index]
                    .iter()
                    .any(|other| other.attributes == point.attributes),
                "{point:?} twice"
            );
        }
        let count = |reason| {
            let attributes = exit_attributes(reason);
            let of = points.iter().find(|point| point.attributes == attributes);
            of.unwrap_or_else(|| panic!("no {reason:?}")).measure.clone()
        };
        for (reason, expected) in [
            (Reason::Exit { code: 0 }, 5),
            (Reason::Exit { code: 7 }, 3),
            (Reason::Oom, 1),
            (signal(SIGKILL, false), 0),
            (Reason::Unknown, 0),
        ] {
            assert_eq!(count(reason), Measure::Integer(expected), "{reason:?}");
        }
    }
}
