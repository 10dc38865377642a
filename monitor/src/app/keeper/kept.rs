//! What an earlier run left, for the groups and the exports of this one.

use crate::{
    export::MetricRequests,
    plugin::{GroupId, KeptGroup, Plugins},
    process::{BootTime, Progress},
};

/// What an earlier run left.
#[derive(Debug, Default)]
pub(in crate::app) struct Kept {
    /// Its groups, by this run's ids.
    pub(in crate::app) groups: Vec<(GroupId, KeptGroup)>,
    /// Its last commit, Unix ns; `None` without a store or with a new one.
    pub(in crate::app) last_commit: Option<u64>,
    /// How often kevmon had been away until then, and for how long, ns.
    pub(in crate::app) outages: (u64, u64),
    /// For a single run that goes on from an earlier one.
    pub(in crate::app) compared: Option<Compared>,
    /// How far that run had taken what the kernel side holds, where all groups go on from there.
    pub(in crate::app) progress: Option<Progress>,
}

/// What a single run is compared with: its groups go on from the earlier run, and others show it by itself.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct Compared {
    /// When the earlier run looked last, Unix ns; `None`: there was none.
    pub(in crate::app) last: Option<u64>,
    /// The same on the boot's own clock, where that is known.
    pub(in crate::app) left_at: Option<BootTime>,
    /// The host has not booted since.
    pub(in crate::app) same_boot: bool,
    /// Groups that show this run by itself.
    pub(in crate::app) windows: Vec<GroupId>,
}

impl Kept {
    /// Deltas go on from what was kept, which is what was told.
    pub(in crate::app) fn told_before(&self, plugins: &Plugins, requests: &mut MetricRequests) {
        self.groups_told_before(plugins, requests);
        let Some(time) = self.last_commit else { return };
        requests.sent_until(time);
        let (outages, outage_ns) = self.outages;
        requests.outages_told_before(outages, outage_ns, time);
    }

    /// The groups of whose members some had series of their own.
    pub(in crate::app) fn with_series(&self) -> impl Iterator<Item = GroupId> {
        let has_series = |kept: &KeptGroup| kept.saved.members.iter().any(|member| member.series.is_some());
        self.groups
            .iter()
            .filter(move |(_, kept)| has_series(kept))
            .map(|(group, _)| *group)
    }

    /// The same of the groups alone.
    pub(in crate::app) fn groups_told_before(&self, plugins: &Plugins, requests: &mut MetricRequests) {
        let Some(time) = self.last_commit else { return };
        for (group, kept) in &self.groups {
            if let Some(plugin) = plugins.get(group) {
                requests.told_before((*group, plugin), &kept.saved, kept.same_boot, time);
            }
        }
    }
}
