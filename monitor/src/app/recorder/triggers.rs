//! Which ends are incidents.
//!
//! A *crash* is the end of a member by a signal or the OOM killer, or of a root with another exit code than 0. What asks a process
//! to end is none: SIGTERM, SIGINT and SIGHUP, and the exit codes that shells give for them (128 more).
//!
//! An incident is a group's, and covers [`AROUND`] before its first crash and after it. A crash in that time belongs to it. While
//! a program of the group is in a crash loop, no further incident begins: the first, or the one in which the loop began, says all.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    export::iso8601_millis,
    plugin::{GroupId, Notice, What},
    process::Reason,
    recorder::{Cause, Trigger},
};

/// Before and after a crash, ns.
const AROUND: u64 = 60_000_000_000;
/// Ids that are not given twice.
const REMEMBERED: usize = 256;

/// What an event is to incidents.
#[derive(Debug, PartialEq)]
pub(super) enum Judged {
    /// Nothing.
    Nothing,
    /// An incident begins.
    Begins(Trigger),
    /// It is a part of this one.
    BelongsTo(Trigger),
}

/// The incidents that have begun.
#[derive(Debug, Default)]
pub(super) struct Triggers {
    /// The latest of each group.
    latest: BTreeMap<GroupId, Trigger>,
    /// Whether each group was in a crash loop at its last crash.
    looping: BTreeMap<GroupId, bool>,
    given: VecDeque<String>,
}

impl Triggers {
    /// Forgets the groups that are no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(GroupId) -> bool) {
        self.latest.retain(|group, _| is_there(*group));
        self.looping.retain(|group, _| is_there(*group));
    }

    /// What `notice` is, which happened at `time`, Unix ns. `in_loop`: whether a program of a group is in a crash loop.
    pub(super) fn judge(&mut self, notice: &Notice, time: u64, in_loop: impl Fn(GroupId) -> bool) -> Judged {
        let Some(cause) = crash(&notice.what) else {
            return Judged::Nothing;
        };
        let group = notice.group;
        let loops = in_loop(group);
        let looped = self.looping.insert(group, loops).unwrap_or(false);
        let open = self.latest.get(&group);
        let open = open.filter(|open| (open.from..=open.until).contains(&time));
        if let Some(open) = open {
            return Judged::BelongsTo(open.clone());
        }
        if loops && looped {
            return Judged::Nothing;
        }
        let trigger = Trigger {
            id: self.id(time, notice.key.tgid.0),
            cause: if loops { Cause::CrashLoop } else { cause },
            time,
            from: time.saturating_sub(AROUND),
            until: time.saturating_add(AROUND),
            pid: notice.key.tgid.0,
            name: notice.name.to_string(),
        };
        self.latest.insert(group, trigger.clone());
        Judged::Begins(trigger)
    }

    /// `20261130T161346123Z-4711`; a second one of the same end, of another group, has `-2` behind it.
    fn id(&mut self, time: u64, pid: u32) -> String {
        let time: String = iso8601_millis(time)
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let id = format!("{time}-{pid}");
        let same = self.given.iter().filter(|given| **given == id).count();
        if self.given.len() == REMEMBERED {
            self.given.pop_front();
        }
        self.given.push_back(id.clone());
        match same {
            0 => id,
            same => format!("{id}-{}", same + 1),
        }
    }
}

/// The crash that an event is; `None`: it is none.
fn crash(what: &What) -> Option<Cause> {
    let What::Exit { ending, worker, .. } = what else {
        return None;
    };
    let asks = |signal: i32| [libc::SIGTERM, libc::SIGINT, libc::SIGHUP].contains(&signal);
    let is_crash = match ending.reason() {
        Reason::Oom => return Some(Cause::Oom),
        Reason::Unknown | Reason::Exit { code: 0 } => false,
        Reason::Exit { code } => !worker && !asks(i32::from(code) - 128),
        Reason::Signal { number, core_dumped } => core_dumped || !asks(number.into()),
    };
    is_crash.then_some(Cause::Crash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plugin::RestartKind,
        process::{BootTime, Ending, ProcessKey, Tgid, Usage},
    };

    const SECOND: u64 = 1_000_000_000;

    fn notice(what: What) -> Notice {
        Notice {
            group: GroupId(1),
            time: BootTime(0),
            key: ProcessKey {
                tgid: Tgid(7),
                start: BootTime(0),
            },
            parent: None,
            name: "web".into(),
            exe: "web".into(),
            user: None,
            programs: Vec::new(),
            incident: None,
            what,
        }
    }

    fn exit(status: u32, oom_victim: bool, worker: bool) -> Notice {
        let ending = Ending {
            status: Some(status),
            oom_victim,
            sender: None,
        };
        notice(What::Exit {
            ending,
            lifetime: None,
            usage: Usage::ZERO,
            peak_rss: None,
            settled: true,
            worker,
        })
    }

    #[test]
    fn what_a_crash_is() {
        for (status, oom, worker, expected) in [
            (0, false, false, None),
            (1 << 8, false, false, Some(Cause::Crash)),
            (1 << 8, false, true, None),
            (143 << 8, false, false, None),
            (139 << 8, false, false, Some(Cause::Crash)),
            (15, false, false, None),
            (2, false, false, None),
            (9, false, true, Some(Cause::Crash)),
            (9, true, true, Some(Cause::Oom)),
            (0x8b, false, true, Some(Cause::Crash)),
        ] {
            assert_eq!(
                crash(&exit(status, oom, worker).what),
                expected,
                "{status:#x} {oom} {worker}"
            );
        }
        assert_eq!(crash(&What::Start { worker: false }), None);
        let restart = What::Restart {
            kind: RestartKind::Reexec,
            downtime: None,
            previous: None,
        };
        assert_eq!(crash(&restart), None);
    }

    #[test]
    fn crashes_within_a_minute_are_one_incident_and_a_loop_is_one() {
        let mut triggers = Triggers::default();
        let crash = exit(0x8b, false, false);
        let mut at = |second: u64, loops: bool| match triggers.judge(&crash, second * SECOND, |_| loops) {
            Judged::Nothing => "nothing".to_owned(),
            Judged::Begins(trigger) => format!("begins {} {}", trigger.cause.name(), trigger.id),
            Judged::BelongsTo(trigger) => format!("belongs to {}", trigger.id),
        };
        let (first, second) = ("19700101T001640000Z-7", "19700101T001821000Z-7");
        assert_eq!(at(1_000, false), format!("begins crash {first}"));
        assert_eq!(at(1_060, false), format!("belongs to {first}"));
        assert_eq!(at(1_101, true), format!("begins crash_loop {second}"));
        assert_eq!(at(1_150, true), format!("belongs to {second}"));
        assert_eq!(at(1_200, true), "nothing");
        assert_eq!(at(2_000, true), "nothing");
        assert_eq!(at(9_000, false), "begins crash 19700101T023000000Z-7");
        assert!(at(9_000 - 30, false).starts_with("belongs"), "told late");
    }

    #[test]
    fn an_end_that_is_two_groups_has_two_incidents() {
        let mut triggers = Triggers::default();
        let one = exit(0x8b, false, false);
        let other = Notice {
            group: GroupId(2),
            ..one.clone()
        };
        let ids = [&one, &other].map(|notice| match triggers.judge(notice, SECOND, |_| false) {
            Judged::Begins(trigger) => trigger.id,
            other => panic!("{other:?}"),
        });
        assert_eq!(ids, ["19700101T000001000Z-7", "19700101T000001000Z-7-2"]);
    }
}
