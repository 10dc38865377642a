//! One group at this moment, for whoever looks at it between two collections: sums and gauges, and no rates. A rate is the
//! difference of two looks, which is taken by the one who looks. Nothing of the group changes, so a collection says the same
//! however many look.

use crate::process::{Gauges, Moment, ProcessKey, Spread, Usage};

use super::reading::Happened;

/// A live member as `kevmon top` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveMember {
    pub key: ProcessKey,
    /// The name that it is listed under: see [`super::Plugin::name_of`].
    pub name: String,
    /// It is a worker: its parent is a member.
    pub worker: bool,
    /// What it has used since it began, in this group or not.
    pub usage: Usage,
    /// Memory, descriptors, threads; `None` each where it could not be read.
    pub gauges: Gauges,
}

/// One group at this moment. Values that could not be known are `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveReading {
    /// What the members have used as members, ended ones among them: it grows by what they use, and by nothing that they bring.
    pub usage: Usage,
    /// Counts of what happened, since the group's first watch.
    pub happened: Happened,
    /// The last end of a member.
    pub last_exit: Option<Moment>,
    /// The group keeps failing and coming back.
    pub crash_loop: bool,
    /// Sum of resident sets, bytes; address spaces shared by members count once.
    pub rss: Option<u64>,
    /// Open file descriptors of all members.
    pub fds: Option<u64>,
    /// Threads of all members.
    pub threads: Option<u64>,
    /// Run-queue latency at each switch since the group is watched in detail, ns; `None` in any other mode.
    pub run_queue: Option<Spread>,
    /// The live members, by pid.
    pub members: Vec<LiveMember>,
}
