//! What a collection says of a group.

use std::{collections::HashSet, sync::Arc};

use super::{Group, Last, single::Now};
use crate::{
    plugin::reading::{ProcessReading, Reading},
    process::{
        BootTime, Counter, Facts, Gauges, Host, KeyMap, Moment, ProcessKey, ProcessTable, State, Usage,
    },
};

impl Group {
    /// Fixes since when the usage sums count, the first time it is called: the oldest member's start, or the
    /// group's first watch.
    pub(super) fn usage_start(&mut self) -> Moment {
        // Of a member that brings nothing from before it came, nothing older is in the sums.
        let members = self.members.iter();
        let counted_since = members.map(|(key, membership)| {
            if membership.base == Usage::ZERO {
                key.start
            } else {
                membership.since
            }
        });
        let oldest = counted_since.min();
        *self.usage_start.get_or_insert(
            oldest
                .unwrap_or(self.watched_since)
                .min(self.watched_since)
                .into(),
        )
    }

    /// The members' sums on top of what others left behind, and who lives.
    pub(super) fn members_now(&self, now: BootTime, table: &ProcessTable) -> Members {
        let mut sums = Members {
            usage: self.left_behind,
            own: Usage::ZERO,
            lived: self.lived,
            unsettled: self.given_up,
            live: Vec::new(),
        };
        for (key, membership, process) in self.counted(table) {
            sums.usage = sums.usage.plus(&membership.used(process, &process.totals()));
            match process.state {
                State::Live => {
                    sums.lived += now.0.saturating_sub(membership.since.0);
                    sums.live.push(ProcessReading {
                        key,
                        name: self.plugin.name_of(&process.identity).to_owned(),
                    });
                }
                State::Ended { .. } => sums.unsettled += 1,
            }
        }
        sums.live.sort_unstable_by_key(|process| process.key);
        sums.own = self.own(&sums.usage);
        sums
    }

    /// The part of these sums that was used in the group's time: rates are made of it. A process that joins after hours of work
    /// brings its CPU time into the sums, and is no peak.
    pub(super) fn own(&self, usage: &Usage) -> Usage {
        usage.since(&self.brought)
    }

    /// The group as it is now. `gauges` holds what could be read of the live members.
    pub fn read(
        &mut self,
        now: BootTime,
        host: Host,
        gauges: &KeyMap<Gauges>,
        table: &ProcessTable,
        facts: &KeyMap<Facts>,
    ) -> Reading {
        let usage_start = self.usage_start();
        let Members {
            usage,
            own,
            lived,
            unsettled,
            live,
        } = self.members_now(now, table);
        let of_live = LiveGauges::of(live.iter().map(|process| process.key), gauges);
        let (read, unread) = (&of_live.read, !of_live.is_read);
        let spaces = Spaces::of(read);
        self.peak_rss = self
            .peak_rss
            .max(read.iter().filter_map(|gauges| gauges.peak_rss).max());

        let lives_lost = std::mem::take(&mut self.lives_lost);
        let last = self.last.replace(Last {
            time: now,
            own,
            lived,
        });
        let per_process = self.single_processes(
            &live,
            Now {
                time: now,
                host,
                gauges,
                table,
                facts,
                arguments: &Arc::clone(&self.plugin).arguments,
            },
        );
        let threads: Option<Vec<u64>> = read.iter().map(|gauges| gauges.threads).collect();
        Reading {
            usage_start,
            watch_start: self.watch_start,
            exits: self.exit_counts(),
            downtime: self.downtime,
            lifetime: self.lifetime,
            last_start: self.last_start,
            last_exit: self.last_exit,
            crash_loop: self.pairing.in_crash_loop(now),
            usage,
            happened: self.happened,
            process_count: live.len() as u64,
            unlisted: false,
            // How long lost lives lasted is not known, so neither is the mean over them.
            cpu_usage: last
                .filter(|_| !lives_lost)
                .and_then(|last| last.cpu_usage(&own, lived)),
            cpu_utilization: last.and_then(|last| last.cpu_utilization(&own, now, host)),
            cpus: last.and_then(|last| last.cpus(&own, now)),
            memory_usage: mean_share(spaces.rss, read.len(), host.memory),
            memory_utilization: mean_share(spaces.rss.filter(|_| !unread), 1, host.memory),
            rss: spaces.rss.filter(|_| !unread),
            vms: spaces.vms.filter(|_| !unread),
            fds: of_live.sum(|gauges| gauges.fds),
            threads: of_live.sum(|gauges| gauges.threads),
            max_threads: threads.as_ref().and_then(|threads| threads.iter().copied().max()),
            min_threads: threads.as_ref().and_then(|threads| threads.iter().copied().min()),
            avg_threads: threads
                .filter(|threads| !threads.is_empty())
                .map(|threads| threads.iter().sum::<u64>() as f64 / threads.len() as f64),
            peak_rss: self.peak_rss,
            uptime: live.iter().map(|process| now.since(process.key.start)).max(),
            processes: live,
            per_process,
            unsettled,
            sharing: spaces.sharing,
            detail: self.read_detail(),
        }
    }
}

/// What a group has used and how long its processes lived, ns, up to now; who of them lives, by pid.
pub(super) struct Members {
    pub(super) usage: Usage,
    /// As [`Group::own`] says.
    pub(super) own: Usage,
    lived: u64,
    unsettled: u64,
    pub(super) live: Vec<ProcessReading>,
}

impl Last {
    /// CPU time over process time since then.
    fn cpu_usage(&self, own: &Usage, lived: u64) -> Option<f64> {
        let lived = lived.checked_sub(self.lived).filter(|&lived| lived > 0)?;
        Some(own.since(&self.own).get(Counter::Runtime)? as f64 / lived as f64)
    }

    /// CPU time over elapsed time.
    fn cpus(&self, own: &Usage, now: BootTime) -> Option<f64> {
        let elapsed = now.since(self.time).as_nanos() as f64;
        let used = own.since(&self.own).get(Counter::Runtime)?;
        (elapsed > 0.0).then(|| used as f64 / elapsed)
    }

    fn cpu_utilization(&self, own: &Usage, now: BootTime, host: Host) -> Option<(f64, f64)> {
        let available = now.since(self.time).as_nanos() as f64 * host.cpus as f64;
        let used = own.since(&self.own);
        (available > 0.0)
            .then(|| {
                Some((
                    used.get(Counter::User)? as f64 / available,
                    used.get(Counter::System)? as f64 / available,
                ))
            })
            .flatten()
    }
}

/// The gauges of the live members that could be read. A process that vanished before has none, and makes no other's unknown.
pub(super) struct LiveGauges<'a> {
    pub(super) read: Vec<&'a Gauges>,
    /// Some could be read, or nobody lives.
    is_read: bool,
}

impl<'a> LiveGauges<'a> {
    pub(super) fn of(live: impl ExactSizeIterator<Item = ProcessKey>, gauges: &'a KeyMap<Gauges>) -> Self {
        let is_empty = live.len() == 0;
        let read: Vec<&Gauges> = live.filter_map(|key| gauges.get(&key)).collect();
        Self {
            is_read: is_empty || !read.is_empty(),
            read,
        }
    }

    /// `None` where it is not known of one of them, or of nobody.
    pub(super) fn sum(&self, of: fn(&Gauges) -> Option<u64>) -> Option<u64> {
        let sum = self.read.iter().map(|gauges| of(gauges)).sum::<Option<u64>>();
        sum.filter(|_| self.is_read)
    }

    /// Resident sets, where members that share an address space count it once.
    pub(super) fn rss(&self) -> Option<u64> {
        Spaces::of(&self.read).rss.filter(|_| self.is_read)
    }
}

/// Sums over address spaces: members that share one (a vfork child before its exec) count it once.
pub(super) struct Spaces {
    pub(super) rss: Option<u64>,
    vms: Option<u64>,
    sharing: u64,
}

impl Spaces {
    pub(super) fn of(members: &[&Gauges]) -> Self {
        let mut seen = HashSet::new();
        let mut sums = Self {
            rss: Some(0),
            vms: Some(0),
            sharing: 0,
        };
        for gauges in members {
            if gauges.address_space.is_some_and(|space| !seen.insert(space)) {
                sums.sharing += 1;
                continue;
            }
            sums.rss = add(sums.rss, gauges.rss);
            sums.vms = add(sums.vms, gauges.vms);
        }
        sums
    }
}

fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.saturating_add(b?))
}

fn mean_share(sum: Option<u64>, count: usize, whole: Option<u64>) -> Option<f64> {
    (count > 0)
        .then(|| Some(sum? as f64 / count as f64 / whole.filter(|&whole| whole > 0)? as f64))
        .flatten()
}
