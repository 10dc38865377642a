//! What one collection says about one group.

use std::{sync::Arc, time::Duration};

use super::{Durations, detail::DetailReading};
use crate::process::{Facts, Gauges, Identity, Moment, ProcessKey, Reason, Usage};

/// Counts of what happened, since the group's first watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Happened {
    /// Roots that appeared by exec, fork, or a rename right after their fork.
    pub starts: u64,
    /// Workers that appeared by exec, fork, or a rename right after their fork.
    pub worker_starts: u64,
    /// Root starts that took the place of an ended root.
    pub respawns: u64,
    /// Re-executions of a live root.
    pub reexecs: u64,
    /// Starts of which nobody can say whether they were restarts: records were lost, or kevmon was away.
    pub unpaired_starts: u64,
    /// Members that ended within the plugin's `failed_start` of their start, other than with exit code 0.
    pub failed_starts: u64,
    /// Members that ended, for whatever reason.
    pub exits: u64,
    /// Members that came some other way: found running, by a later rename, back from elsewhere.
    pub joins: u64,
    /// Members that went on living under another name.
    pub leaves: u64,
}

/// A live member by key and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessReading {
    /// The process.
    pub key: ProcessKey,
    /// The name that it is listed under: see [`super::Plugin::name_of`].
    pub name: String,
}

/// One live member, for series of its own. Values that could not be known are `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct SingleProcess {
    /// The process.
    pub key: ProcessKey,
    /// Its executable's base name; empty for kernel threads.
    pub exe: String,
    /// `argv[0]`; empty where it is not known, or not a command: see [`SingleProcess::command_of`].
    pub command: String,
    /// Path of its executable; `None` where the plugin does not ask for it, or it cannot be read.
    pub path: Option<Arc<str>>,
    /// What it has used since it began, in this group or not.
    pub usage: Usage,
    /// CPU time since the last collection, or since its start, over the time: 1 = one CPU fully used. `None` at the first
    /// collection, and when it came in between otherwise than by a start.
    pub cpu_usage: Option<f64>,
    /// User and system CPU time since the last collection, or since its start, over that time times the host's CPUs;
    /// `None` as `cpu_usage`.
    pub cpu_utilization: Option<(f64, f64)>,
    /// Share of physical memory that its resident set takes; 1 is all of it.
    pub memory_usage: Option<f64>,
    /// Memory, descriptors and threads of the process, each `None` where it could not be read.
    pub gauges: Gauges,
    /// Time since the process started.
    pub uptime: Duration,
    /// Whose it is and where it runs, where the plugin asks for that.
    pub facts: Facts,
    /// The arguments of its command line that the plugin lets be exported.
    pub arguments: Vec<String>,
}

/// Bytes of the longest `argv[0]` that is told.
const LONGEST_COMMAND: usize = 256;

impl SingleProcess {
    /// The command that a process was started with: `argv[0]`, and empty where that is a title. A title may hold whatever a
    /// program works on (`postgres: app orders 10.0.0.7(54321) SELECT`), and changes while the process lives; it has white
    /// space, and a command has none.
    pub fn command_of(identity: &Identity) -> &str {
        let argv0 = identity.argv.first().map_or("", String::as_str);
        let is_title = argv0.len() > LONGEST_COMMAND || argv0.contains(char::is_whitespace);
        if is_title { "" } else { argv0 }
    }
}

/// A group's live members that get series of their own, and how many do not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SingleProcesses {
    /// The members, in the order of their keys.
    pub processes: Vec<SingleProcess>,
    /// Live members beyond the plugin's bound.
    pub left_out: u64,
}

/// How far a group's numbers of one interval, from one of its collections to the next, can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Completeness {
    /// No start, end or change of a member was missed.
    pub counts: bool,
    /// The usage sums hold all that members used, too: `counts`, the usage could be read, and no ended member was given up
    /// without its final totals. Never true where `counts` is not.
    pub totals: bool,
}

impl Completeness {
    /// Counts and totals are both exact.
    pub const WHOLE: Self = Self {
        counts: true,
        totals: true,
    };

    /// The completeness of two groups together: each part holds where it holds for both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            counts: self.counts && other.counts,
            totals: self.totals && other.totals,
        }
    }
}

/// One group at one collection. Values that could not be known are `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Start time of the usage sums.
    pub usage_start: Moment,
    /// Start time of the counts of events: the group's first watch.
    pub watch_start: Moment,
    /// Usage sums of the group.
    pub usage: Usage,
    /// Counts of what happened since the first watch.
    pub happened: Happened,
    /// Ends by reason, in the order of the reasons.
    pub exits: Vec<(Reason, u64)>,
    /// From a root's end to the start that took its place.
    pub downtime: Durations,
    /// From a member's start to its end.
    pub lifetime: Durations,
    /// The last start of a member.
    pub last_start: Option<Moment>,
    /// The last end of a member.
    pub last_exit: Option<Moment>,
    /// A program of the group keeps failing and being replaced (`restarts/crashes.rs`).
    pub crash_loop: bool,
    /// Number of live members.
    pub process_count: u64,
    /// No member was found, and not every process could be listed: the number of members and their usage are not known.
    pub unlisted: bool,
    /// CPU time per process and unit of time since the last collection: 1 = one CPU fully used by each.
    /// `None` at the first collection, and when no process lived in between.
    pub cpu_usage: Option<f64>,
    /// User and system CPU time since the last collection, over elapsed time times the host's CPUs.
    pub cpu_utilization: Option<(f64, f64)>,
    /// CPUs that the members used together since the last collection: 1 = one CPU fully used. `None` at the first collection.
    pub cpus: Option<f64>,
    /// Mean share of physical memory that a process's resident set takes.
    pub memory_usage: Option<f64>,
    /// Share of physical memory that the resident sets take together.
    pub memory_utilization: Option<f64>,
    /// Sum of resident sets, bytes; address spaces shared by members count once.
    pub rss: Option<u64>,
    /// Sum of virtual sizes, bytes; address spaces shared by members count once.
    pub vms: Option<u64>,
    /// Open file descriptors of all live members.
    pub fds: Option<u64>,
    /// Threads of all live members.
    pub threads: Option<u64>,
    /// Most threads in one process.
    pub max_threads: Option<u64>,
    /// Fewest threads in one process.
    pub min_threads: Option<u64>,
    /// Mean number of threads of a process.
    pub avg_threads: Option<f64>,
    /// Highest resident set that one member ever had, bytes.
    pub peak_rss: Option<u64>,
    /// Age of the oldest live member.
    pub uptime: Option<Duration>,
    /// The live members, by pid.
    pub processes: Vec<ProcessReading>,
    /// Members with series of their own; `None` where the plugin asks for none.
    pub per_process: Option<SingleProcesses>,
    /// Members that have ended without their final totals: not yet freed, or freed unseen.
    pub unsettled: u64,
    /// Live members that share their address space with another one.
    pub sharing: u64,
    /// Values of the detailed mode; `None` in the standard mode.
    pub detail: Option<Box<DetailReading>>,
}

/// One group between two collections, for the flight recorder. Values that could not be known are `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReading {
    /// Usage sums, without what members had used before they joined.
    pub usage: Usage,
    /// Counts of what happened since the first watch.
    pub happened: Happened,
    /// Number of ends by reason.
    pub exits: Vec<(Reason, u64)>,
    /// Number of live members.
    pub process_count: Option<u64>,
    /// Sum of resident sets, bytes; address spaces shared by members count once.
    pub rss: Option<u64>,
    /// Threads of all live members.
    pub threads: Option<u64>,
    /// Open file descriptors of all live members.
    pub fds: Option<u64>,
}

impl StepReading {
    /// Says that processes could not be listed and no member was found: its members, if there are any, are not 0.
    pub fn set_unlisted(&mut self) {
        self.usage = Usage::UNKNOWN;
        (self.rss, self.fds, self.threads) = (None, None, None);
        self.process_count = None;
    }
}

impl Reading {
    /// Says that processes could not be listed and no member was found: its members, if there are any, are not 0.
    pub fn set_unlisted(&mut self) {
        self.unlisted = true;
        self.usage = Usage::UNKNOWN;
        (self.rss, self.vms, self.fds, self.threads) = (None, None, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_no_command() {
        let long = "x".repeat(LONGEST_COMMAND + 1);
        for (argv, command) in [
            (&["/usr/sbin/nginx", "-g", "daemon off;"][..], "/usr/sbin/nginx"),
            (&["-bash"], "-bash"),
            (&["python3", "--password", "s3cret"], "python3"),
            (&["nginx: worker process"], ""),
            (&["postgres: app orders 10.0.0.7(54321) SELECT"], ""),
            (&["sshd:\tanna"], ""),
            (&[&long], ""),
            (&[&long[1..]], &long[1..]),
            (&[""], ""),
            (&[], ""),
        ] {
            let identity = Identity {
                argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
                ..Identity::default()
            };
            assert_eq!(SingleProcess::command_of(&identity), command, "{argv:?}");
        }
    }
}
