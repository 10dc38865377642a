//! Which events are shown.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use crate::{
    cli::{EventKind, EventsArgs},
    export::LiveEvent,
    process::{ProcessKey, Reason, Tgid},
    procfs, shown, users,
};

/// Each part that was asked for has to fit.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// These processes, and what they start.
    family: Option<Family>,
    users: Vec<u32>,
    places: Vec<Regex>,
    kinds: Vec<EventKind>,
    only_failed: bool,
}

/// Why there is no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What was asked for makes no sense.
    Usage(String),
    /// There is no such process.
    NoProcess(String),
}

impl Filter {
    pub(super) fn new(args: &EventsArgs) -> Result<Self, Refusal> {
        let mut family = None;
        for &pid in &args.pid {
            let root = std::path::Path::new("/proc");
            let Some(key) = procfs::key_of(root, Tgid(pid)) else {
                return Err(Refusal::NoProcess(format!(
                    "--pid {pid}: no process has this pid now; `kevmon why {pid}` says what the history knows of it"
                )));
            };
            let family: &mut Family = family.get_or_insert_default();
            family.add(key);
            procfs::descendants(root, key)
                .into_iter()
                .for_each(|key| family.add(key));
        }
        Ok(Self {
            family,
            users: args.user.iter().map(|user| uid(user)).collect::<Result<_, _>>()?,
            places: args
                .unit
                .iter()
                .map(|pattern| place(pattern))
                .collect::<Result<_, _>>()?,
            kinds: args.event.clone(),
            only_failed: args.failed,
        })
    }

    /// Whether it is shown. Events are asked for in the order of time: what a process starts belongs to its family.
    pub(super) fn lets(&mut self, event: &LiveEvent) -> bool {
        let is_of_family = self
            .family
            .as_mut()
            .is_none_or(|family| family.takes(event.key, event.parent));
        let facts = &event.facts;
        let is_of_user = self.users.is_empty() || facts.uid.is_some_and(|uid| self.users.contains(&uid));
        let is_there = self.places.is_empty()
            || self.places.iter().any(|place| {
                let of = [facts.unit(), facts.container()];
                of.into_iter().flatten().any(|name| place.is_match(name))
            });
        let is_of_kind = self.kinds.is_empty() || self.kinds.contains(&kind(event));
        let failed = || event.reason().is_some_and(|reason| !reason.is_success());
        is_of_family && is_of_user && is_there && is_of_kind && (!self.only_failed || failed())
    }
}

/// As it is asked for: the OOM killer's victims are a kind of their own.
fn kind(event: &LiveEvent) -> EventKind {
    match (event.kind(), event.reason()) {
        (_, Some(Reason::Oom)) => EventKind::Oom,
        ("start", _) => EventKind::Start,
        ("exec", _) => EventKind::Exec,
        ("rename", _) => EventKind::Rename,
        ("restart", _) => EventKind::Restart,
        _ => EventKind::Exit,
    }
}

fn uid(user: &str) -> Result<u32, Refusal> {
    let number = user.parse().ok();
    number
        .or_else(|| users::by_name(user).map(|entry| entry.uid))
        .ok_or_else(|| {
            Refusal::Usage(format!(
                "--user {}: this host knows no such user; `getent passwd` lists them, and a number is taken as it is",
                shown::printable(user)
            ))
        })
}

fn place(pattern: &str) -> Result<Regex, Refusal> {
    let regex = RegexBuilder::new(pattern).case_insensitive(true).build();
    regex.map_err(|error| {
        Refusal::Usage(format!(
            "--unit {}: not a regular expression: {error}",
            shown::printable(pattern)
        ))
    })
}

/// Processes and all that descends from them.
#[derive(Debug, Default)]
struct Family(HashMap<Tgid, ProcessKey>);

impl Family {
    fn add(&mut self, key: ProcessKey) {
        self.0.insert(key.tgid, key);
    }

    fn has(&self, key: ProcessKey) -> bool {
        self.0.get(&key.tgid).is_some_and(|known| known.same_process(key))
    }

    fn takes(&mut self, key: ProcessKey, parent: Option<ProcessKey>) -> bool {
        if self.has(key) {
            return true;
        }
        let is_child = parent.is_some_and(|parent| self.has(parent));
        if is_child {
            self.add(key);
        }
        is_child
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::Happened,
        plugin::{GroupId, Notice, What},
        process::{BootTime, Ending, Facts, Usage},
    };

    fn key(tgid: u32) -> ProcessKey {
        ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(u64::from(tgid) * 1_000_000_000),
        }
    }

    fn event(tgid: u32, parent: u32, what: What) -> LiveEvent {
        LiveEvent::of(Notice {
            group: GroupId(0),
            time: BootTime(0),
            key: key(tgid),
            parent: Some(key(parent)),
            name: "x".into(),
            exe: "x".into(),
            user: Some(33),
            programs: Vec::new(),
            incident: None,
            what,
        })
    }

    fn exit(status: u32, oom_victim: bool) -> What {
        What::Exit {
            ending: Ending {
                status: Some(status),
                oom_victim,
                sender: None,
            },
            lifetime: None,
            usage: Usage::UNKNOWN,
            peak_rss: None,
            settled: true,
            worker: false,
        }
    }

    const START: What = What::Start { worker: false };

    #[test]
    fn a_family_grows_with_what_it_starts() {
        let mut filter = Filter::default();
        let mut family = Family::default();
        family.add(key(10));
        filter.family = Some(family);
        for (tgid, parent, is_shown) in [
            (10, 1, true),
            (11, 10, true),
            (12, 11, true),
            (13, 1, false),
            (14, 13, false),
        ] {
            assert_eq!(filter.lets(&event(tgid, parent, START)), is_shown, "{tgid}");
        }
        let mut reused = event(12, 1, START);
        reused.key.start = BootTime(99_000_000_000);
        assert!(!filter.lets(&reused), "a reused pid is another process");
    }

    #[test]
    fn each_part_has_to_fit() {
        let facts = Facts {
            uid: Some(33),
            cgroup: Some("/system.slice/nginx.service".into()),
            ..Facts::default()
        };
        let renamed = LiveEvent {
            what: Happened::Rename { was: None },
            facts: facts.clone(),
            ..event(1, 0, START)
        };
        let events = [
            event(1, 0, START),
            event(1, 0, exit(0, false)),
            event(1, 0, exit(0x0700, false)),
            event(1, 0, exit(9, true)),
            renamed,
        ];
        let shown = |filter: &mut Filter| events.iter().map(|event| filter.lets(event)).collect::<Vec<_>>();
        let of = |filter: Filter| filter;
        for (mut filter, expected) in [
            (of(Filter::default()), [true; 5]),
            (
                of(Filter {
                    kinds: vec![EventKind::Exit],
                    ..Filter::default()
                }),
                [false, true, true, false, false],
            ),
            (
                of(Filter {
                    kinds: vec![EventKind::Oom, EventKind::Rename],
                    ..Filter::default()
                }),
                [false, false, false, true, true],
            ),
            (
                of(Filter {
                    only_failed: true,
                    ..Filter::default()
                }),
                [false, false, true, true, false],
            ),
            (
                of(Filter {
                    users: vec![0],
                    ..Filter::default()
                }),
                [false; 5],
            ),
            (
                of(Filter {
                    users: vec![0, 33],
                    places: vec![place("^NGINX").unwrap()],
                    ..Filter::default()
                }),
                [false, false, false, false, true],
            ),
        ] {
            assert_eq!(shown(&mut filter), expected, "{filter:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_remedy() {
        assert_eq!(uid("0"), Ok(0));
        assert_eq!(uid("root"), Ok(0));
        let refused = format!("{:?}", uid("kvt-nobody-at-all").unwrap_err());
        assert!(
            refused.contains("Usage") && refused.contains("getent passwd"),
            "{refused}"
        );
        assert!(matches!(place("("), Err(Refusal::Usage(_))));
        let args = EventsArgs {
            pid: vec![u32::MAX],
            ..EventsArgs::default()
        };
        assert!(matches!(Filter::new(&args), Err(Refusal::NoProcess(_))));
    }
}
