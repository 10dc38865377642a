//! What a source tells `kevmon top` at one moment: a running kevmon in its reply, or this process by itself. Sums and gauges, no
//! rates: whoever has two frames of one run takes the difference. A value that is not known is absent.
//!
//! It is the reply of the commands socket, so keys are added and never changed; what a reader does not know it passes over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    app::watch::Looked,
    export::UnixClock,
    plugin::live::{LiveMember, LiveReading},
    process::{Counter, Quantity, Spread, Usage},
};

/// Groups of a frame at most.
const GROUPS: usize = 1_000;
/// Processes of a frame at most, of all groups together.
const PROCESSES: usize = 10_000;

/// One moment of one run of kevmon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::app) struct Frame {
    /// Another one each time that the source begins: sums of two runs have no difference.
    pub(in crate::app) run: u64,
    /// When, Unix ns.
    pub(in crate::app) time: u64,
    /// The same by a clock that nobody sets, ns.
    pub(in crate::app) boot_time: u64,
    /// `ebpf` or `proc`.
    pub(in crate::app) source: String,
    /// Records lost so far.
    pub(in crate::app) lost: u64,
    /// False: too many processes to read them for a look; the values are those of the last collections.
    pub(in crate::app) fresh: bool,
    pub(in crate::app) groups: Vec<GroupFrame>,
    /// Groups for which there was no room.
    pub(in crate::app) groups_left_out: usize,
    /// What has happened since the number that was asked for, oldest first.
    pub(in crate::app) events: Vec<EventFrame>,
    /// Events since then that are no longer kept.
    pub(in crate::app) events_missed: u64,
}

/// What was used, of each sum that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::app) struct Used {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::app) cpu_time_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::app) run_queue_wait_ns: Option<u64>,
    /// Context switches of both kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::app) switches: Option<u64>,
}

/// What a group, or a process, has at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::app) struct Has {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::app) rss_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::app) open_file_descriptors: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::app) threads: Option<u64>,
}

/// One plugin's group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::app) struct GroupFrame {
    /// Its number in this run.
    pub(in crate::app) id: u64,
    /// The plugin's label.
    pub(in crate::app) label: String,
    /// Live members.
    pub(in crate::app) process_count: u64,
    /// Since the group is watched.
    pub(in crate::app) used: Used,
    pub(in crate::app) has: Has,
    pub(in crate::app) starts: u64,
    pub(in crate::app) restarts: u64,
    pub(in crate::app) exits: u64,
    /// Unix ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::app) last_exit_time: Option<u64>,
    pub(in crate::app) crash_loop: bool,
    /// Run-queue latency, in detailed mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::app) run_queue: Option<Latency>,
    /// Its members, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::app) processes: Vec<ProcessFrame>,
    /// Members for which there was no room.
    #[serde(default)]
    pub(in crate::app) processes_left_out: u64,
}

/// One live process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::app) struct ProcessFrame {
    pub(in crate::app) pid: u32,
    /// Unix ns; with the pid it says which process.
    pub(in crate::app) start_time: u64,
    pub(in crate::app) name: String,
    /// Its parent is a member, too.
    #[serde(default)]
    pub(in crate::app) worker: bool,
    /// Since it began.
    pub(in crate::app) used: Used,
    pub(in crate::app) has: Has,
}

/// A distribution of times, ns, as [`Spread`] keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::app) struct Latency {
    count: u64,
    sum_ns: u64,
    zero: u64,
    buckets: BTreeMap<i32, u64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::app) struct EventFrame {
    /// Counts from 1 in each run.
    pub(in crate::app) number: u64,
    /// The group's label.
    pub(in crate::app) group: String,
    /// As `kevmon events --json` tells it.
    pub(in crate::app) event: Json,
}

/// Of which groups processes are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) enum Members {
    All,
    Of(Vec<u64>),
}

impl Members {
    fn include(&self, group: u64) -> bool {
        match self {
            Self::All => true,
            Self::Of(groups) => groups.contains(&group),
        }
    }
}

impl From<&Usage> for Used {
    fn from(usage: &Usage) -> Self {
        let voluntary = usage.get(Counter::Voluntary);
        let switches = voluntary.zip(usage.get(Counter::Involuntary));
        Self {
            cpu_time_ns: usage.get(Counter::Runtime),
            run_queue_wait_ns: usage.get(Counter::RunDelay),
            switches: switches.map(|(voluntary, involuntary)| voluntary.saturating_add(involuntary)),
        }
    }
}

impl From<&Spread> for Latency {
    fn from(spread: &Spread) -> Self {
        Self {
            count: spread.count,
            sum_ns: spread.sum,
            zero: spread.zero,
            buckets: spread.buckets.clone(),
        }
    }
}

impl Latency {
    /// The same as a distribution. Its ends are not told, and percentiles do not need them.
    pub(in crate::app) fn spread(&self) -> Spread {
        Spread {
            count: self.count,
            sum: self.sum_ns,
            zero: self.zero,
            buckets: self.buckets.clone(),
            ..Spread::new(Quantity::Time)
        }
    }
}

impl Frame {
    /// A look as a frame of this run, without events. `boot` tells starts of processes, `wall` what happened; `time` is Unix ns.
    pub(in crate::app) fn of(
        looked: &Looked,
        run: u64,
        time: u64,
        (boot, wall): (UnixClock, UnixClock),
        members: &Members,
    ) -> Self {
        let mut room = PROCESSES;
        let groups = looked.groups.iter().take(GROUPS);
        let groups = groups.map(|(group, plugin, live)| {
            let id = group.0 as u64;
            let mut frame = group_frame(id, plugin.label(), live, wall);
            if members.include(id) {
                let shown = busiest(&live.members, room);
                room -= shown.len();
                frame.processes_left_out = (live.members.len() - shown.len()) as u64;
                frame.processes = shown
                    .into_iter()
                    .map(|member| process_frame(member, boot))
                    .collect();
            }
            frame
        });
        Self {
            groups: groups.collect(),
            run,
            time,
            boot_time: looked.time.0,
            source: looked.source.to_owned(),
            lost: looked.lost,
            fresh: looked.is_fresh,
            groups_left_out: looked.groups.len().saturating_sub(GROUPS),
            events: Vec::new(),
            events_missed: 0,
        }
    }
}

/// The members for which there is room: those with the most CPU time.
fn busiest(members: &[LiveMember], room: usize) -> Vec<&LiveMember> {
    let mut shown: Vec<&LiveMember> = members.iter().collect();
    if shown.len() > room {
        shown.sort_by_key(|member| std::cmp::Reverse(member.usage.get(Counter::Runtime)));
        shown.truncate(room);
    }
    shown
}

fn group_frame(id: u64, label: String, live: &LiveReading, wall: UnixClock) -> GroupFrame {
    let happened = &live.happened;
    GroupFrame {
        id,
        label,
        process_count: live.members.len() as u64,
        used: Used::from(&live.usage),
        has: Has {
            rss_bytes: live.rss,
            open_file_descriptors: live.fds,
            threads: live.threads,
        },
        starts: happened.starts,
        restarts: happened.respawns + happened.reexecs,
        exits: happened.exits,
        last_exit_time: live.last_exit.map(|moment| wall.unix(moment)),
        crash_loop: live.crash_loop,
        run_queue: live.run_queue.as_ref().map(Latency::from),
        processes: Vec::new(),
        processes_left_out: 0,
    }
}

fn process_frame(member: &LiveMember, boot: UnixClock) -> ProcessFrame {
    ProcessFrame {
        pid: member.key.tgid.0,
        start_time: boot.unix(member.key.start),
        name: member.name.clone(),
        worker: member.worker,
        used: Used::from(&member.usage),
        has: Has {
            rss_bytes: member.gauges.rss,
            open_file_descriptors: member.gauges.fds,
            threads: member.gauges.threads,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        plugin::{GroupId, tracker::tests::plugin},
        process::{BootTime, Gauges, ProcessKey, Tgid},
    };

    fn looked(members: u32) -> Looked {
        let member = |pid: u32| LiveMember {
            key: ProcessKey {
                tgid: Tgid(pid),
                start: BootTime(u64::from(pid)),
            },
            name: "web".to_owned(),
            worker: false,
            usage: Usage::UNKNOWN.with(Counter::Runtime, Some(u64::from(pid))),
            gauges: Gauges::default(),
        };
        let live = LiveReading {
            usage: Usage::UNKNOWN,
            happened: Default::default(),
            last_exit: None,
            crash_loop: false,
            rss: None,
            fds: Some(3),
            threads: None,
            run_queue: None,
            members: (1..=members).map(member).collect(),
        };
        Looked {
            time: BootTime(7),
            source: "ebpf",
            lost: 0,
            is_fresh: true,
            groups: vec![(GroupId(4), Arc::new(plugin("web")), live)],
        }
    }

    fn frame(members: u32, of: &Members) -> Frame {
        let clock = UnixClock::new(1_000, BootTime(0));
        Frame::of(&looked(members), 1, 2, (clock, clock), of)
    }

    #[test]
    fn what_is_not_known_is_absent_and_processes_come_where_they_are_asked_for() {
        let text = serde_json::to_string(&frame(2, &Members::Of(vec![4]))).unwrap();
        assert!(text.contains(r#""has":{"open_file_descriptors":3}"#), "{text}");
        assert!(text.contains(
            r#"{"pid":2,"start_time":1002,"name":"web","worker":false,"used":{"cpu_time_ns":2},"has":{}}"#
        ));
        assert_eq!(
            serde_json::from_str::<Frame>(&text).unwrap(),
            frame(2, &Members::All)
        );
        let none = frame(2, &Members::Of(vec![5])).groups.remove(0);
        assert_eq!((none.process_count, none.processes.len()), (2, 0));
    }

    #[test]
    fn a_frame_is_bounded_and_says_what_it_lacks() {
        let group = frame(12_000, &Members::All).groups.remove(0);
        assert_eq!((group.processes.len(), group.processes_left_out), (10_000, 2_000));
        let least = group
            .processes
            .iter()
            .map(|process| process.used.cpu_time_ns)
            .min();
        assert_eq!(least, Some(Some(2_001)), "those with the least CPU time");
        assert_eq!(group.process_count, 12_000);
    }

    #[test]
    fn a_later_version_may_tell_more() {
        let mut json = serde_json::to_value(frame(1, &Members::All)).unwrap();
        json["groups"][0]["colour"] = "red".into();
        json["more"] = 7.into();
        assert_eq!(
            serde_json::from_value::<Frame>(json).unwrap(),
            frame(1, &Members::All)
        );
    }
}
