//! A group as it outlives kevmon: what a store keeps and gives back.

use std::sync::Arc;

use super::{Aggregate, Durations, Reading, reading::Happened};
use crate::process::{BootTime, COMM_BYTES, Ending, Identity, Moment, ProcessKey, Program, Reason, Usage};

/// A member as of the last collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedMember {
    /// The process; its key means nothing in another boot.
    pub key: ProcessKey,
    /// The name that it is listed under.
    pub name: Arc<str>,
    /// Its executable's base name; empty for kernel threads.
    pub exe: Arc<str>,
    /// It is no member any more: it left alive and may come back. Only `totals` and `attributed` matter.
    pub former: bool,
    /// It is a root: its parent was no member.
    pub root: bool,
    /// It had executed while a member.
    pub executed: bool,
    /// The part of its totals that belongs to others (see the usage ledger in group/mod.rs).
    pub base: Usage,
    /// Its totals as of the last collection.
    pub totals: Usage,
    /// How much of its life some group has taken into account.
    pub attributed: Usage,
    /// It had ended, and its totals were not final.
    pub ended: bool,
    /// It had series of its own, which receivers know by these attributes, as the export writes them; `None`: it had none.
    pub series: Option<Arc<str>>,
    /// Its effective user when it was looked at; `None` where that is not known.
    pub user: Option<u32>,
    /// Of a root: what it runs. `None` for others, and where an older kevmon kept it.
    pub programs: Option<Programs>,
}

/// The programs of a root, at first and at last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The program when it became a root.
    pub first: Program,
    /// The program since its last exec: another one where a wrapper gave way to what it wraps.
    pub last: Program,
}

impl SavedMember {
    /// Names enough to tell of a process whose end is found before anything else of it. What shows a script as its own
    /// name and not its interpreter's is the path that it was executed by; a title is `argv[0]`.
    pub fn names(&self) -> Identity {
        let is_other = !self.name.is_empty() && self.name != self.exe;
        let is_title = is_other
            && self
                .name
                .contains(|c: char| c.is_whitespace() || matches!(c, '/' | ':'))
            || (self.exe.is_empty() && self.name.len() > COMM_BYTES);
        let is_script = is_other && !is_title && !self.exe.is_empty();
        Identity {
            comm: self.name[..self.name.floor_char_boundary(COMM_BYTES)].to_owned(),
            exe: self.exe.to_string(),
            filename: if is_script {
                self.name.to_string()
            } else {
                String::new()
            },
            argv: if is_title {
                vec![self.name.to_string()]
            } else {
                Vec::new()
            },
            cut: None,
        }
    }

    /// What it ran, as a root; of one that an older kevmon kept, as far as its names tell.
    pub fn programs(&self) -> Programs {
        self.programs.clone().unwrap_or_else(|| {
            let program = self.names().program();
            Programs {
                first: program.clone(),
                last: program,
            }
        })
    }
}

/// A root's end that nothing has replaced yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedEnd {
    /// The process; its key and the times mean nothing in another boot.
    pub key: ProcessKey,
    /// When it ended, or was found missing.
    pub time: BootTime,
    /// When it had become a root.
    pub since: BootTime,
    /// The name that it was listed under.
    pub name: Arc<str>,
    /// How it ended.
    pub ending: Ending,
    /// The program when it became a root.
    pub first: Program,
    /// The program in the end.
    pub last: Program,
    /// Its effective user when it started; `None` where that is not known.
    pub user: Option<u32>,
}

/// An end that is counted, and whose event waits for the totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedExit {
    /// The member; its key and the time mean nothing in another boot.
    pub key: ProcessKey,
    /// When it ended.
    pub time: BootTime,
    /// How it ended.
    pub ending: Ending,
}

/// A group's accumulators. Times are Unix nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedGroup {
    /// Start time of the counts of events.
    pub watch_start: u64,
    /// Start time of the usage sums.
    pub usage_start: u64,
    /// Usage sums of former members; those of `members` come on top.
    pub left_behind: Usage,
    /// Counts of what happened since the first watch.
    pub happened: Happened,
    /// Number of ends by reason.
    pub exits: Vec<(Reason, u64)>,
    /// Members that ended and whose final totals never came.
    pub given_up: u64,
    /// Lengths of time without a root.
    pub downtime: Durations,
    /// Ages at the end.
    pub lifetime: Durations,
    /// Time of the last start of a member; `None` where none is known.
    pub last_start: Option<u64>,
    /// Time of the last end of a member; `None` where none is known.
    pub last_exit: Option<u64>,
    /// Highest peak of the resident set, bytes.
    pub peak_rss: Option<u64>,
    /// Members, and processes that have left alive (`former`).
    pub members: Vec<SavedMember>,
    /// The latest ends of roots that nothing has replaced yet, oldest first.
    pub unpaired_ends: Vec<SavedEnd>,
    /// Ends of members that have not been told, in the order of their times.
    pub untold_exits: Vec<SavedExit>,
}

/// What an earlier run of kevmon kept of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptGroup {
    /// The group as of its last commit.
    pub saved: SavedGroup,
    /// It was kept until the last commit there was, and under this boot: its members' keys still mean the same
    /// processes. Where a run in between left the group out, nobody knows what became of them.
    pub same_boot: bool,
}

impl SavedGroup {
    /// The group's sums as the collection that kept them read them. Of what is no sum, nothing is known.
    pub fn reading(&self, aggregate: Aggregate) -> Reading {
        let counted = |member: &&SavedMember| !member.former && (member.root || aggregate == Aggregate::All);
        let members = self.members.iter().filter(counted);
        let usage = members.fold(self.left_behind, |sum, member| {
            sum.plus(&member.totals.since(&member.base))
        });
        Reading {
            usage_start: Moment::Unix(self.usage_start),
            watch_start: Moment::Unix(self.watch_start),
            usage,
            happened: self.happened,
            exits: self.exits.clone(),
            downtime: self.downtime,
            lifetime: self.lifetime,
            last_start: self.last_start.map(Moment::Unix),
            last_exit: self.last_exit.map(Moment::Unix),
            crash_loop: false,
            process_count: 0,
            unlisted: false,
            cpu_usage: None,
            cpu_utilization: None,
            cpus: None,
            memory_usage: None,
            memory_utilization: None,
            rss: None,
            vms: None,
            fds: None,
            threads: None,
            max_threads: None,
            min_threads: None,
            avg_threads: None,
            peak_rss: self.peak_rss,
            uptime: None,
            processes: Vec::new(),
            per_process: None,
            unsettled: 0,
            sharing: 0,
            detail: None,
        }
    }
}
