//! Keeps the groups over kevmon's own restarts: hands the store what each collection brought, before it is exported.

use std::{path::Path, sync::Arc, time::Duration};

use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    export::{HostIdentity, Run, UnixClock, service_instance_id},
    plugin::{GroupId, Notice, Plugin, SavedGroup},
    process::Moment,
    store::{Commit, GroupKey, HistoryRow, Opened, Store},
};

/// Namespace of the fingerprints of what a plugin matches.
const MATCHES: Uuid = Uuid::from_u128(0x6b65_766d_6f6e_4f54_8c50_6d61_7463_6865);
/// Below this interval a commit does not wait for the disk: a power cut may then cost the last ones.
const DURABLE_FROM: Duration = Duration::from_secs(1);

/// What an earlier run left.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Its groups, by this run's ids.
    pub(super) groups: Vec<(GroupId, SavedGroup)>,
    /// Its processes' keys still mean the same processes.
    pub(super) same_boot: bool,
}

/// The store, or the lack of one.
pub(super) struct Keeper {
    store: Option<Box<Store>>,
    /// By group.
    keys: Vec<Arc<GroupKey>>,
    failing: bool,
    failures: u64,
}

impl Keeper {
    /// Opens the store at `path`; without one, kevmon still monitors. Gives the plugins the ids that it keeps.
    pub(super) fn open(
        path: &Path,
        boot_id: &str,
        now_unix: u64,
        plugins: &mut [Plugin],
        host: &HostIdentity,
    ) -> (Self, Kept) {
        let keys: Vec<Arc<GroupKey>> = plugins.iter().map(|plugin| Arc::new(key(plugin))).collect();
        let mut keeper = Self {
            store: None,
            keys,
            failing: false,
            failures: 0,
        };
        let mut store = match Store::open(path, boot_id, now_unix) {
            Opened::Ready(store) => store,
            Opened::Without { reason } => {
                error!("{reason}; running without a store: a restart of kevmon will begin all counters anew");
                keeper.failures = 1;
                return (keeper, Kept::default());
            }
        };
        if plugins.iter().any(|plugin| plugin.interval < DURABLE_FROM)
            && let Err(reason) = store.set_durable(false)
        {
            warn!("{reason}");
        }
        let given: Vec<(&Plugin, String)> = plugins
            .iter()
            .map(|plugin| (plugin, service_instance_id(plugin, host, Run::Service)))
            .collect();
        let ids = store.identify((&host.name, host.id.as_deref().unwrap_or(&host.name)), &given);
        for (plugin, id) in plugins.iter_mut().zip(ids) {
            plugin.instance_id = Some(id);
        }
        let groups = keeper
            .keys
            .iter()
            .enumerate()
            .filter_map(|(index, key)| Some((GroupId(index), store.group(&key.key)?)))
            .collect();
        let outage = store.outage();
        if let Some(outage) = outage {
            let away = Duration::from_nanos(outage.to.saturating_sub(outage.from));
            let meanwhile = if outage.same_boot {
                "what lived through it is caught up; what ended in it did so for an unknown reason"
            } else {
                "the host was booted meanwhile; what was watched then has ended for an unknown reason"
            };
            info!(
                "{}: kevmon was away for {away:.1?}: {meanwhile}",
                store.path().display()
            );
        }
        keeper.store = Some(store);
        let kept = Kept {
            groups,
            same_boot: outage.is_some_and(|outage| outage.same_boot),
        };
        (keeper, kept)
    }

    /// Commits a collection: when something happened is told by `wall`, starts of processes by `clock`. What could not be written is written by the next one that can.
    pub(super) fn commit(
        &mut self,
        time: u64,
        clock: UnixClock,
        wall: UnixClock,
        groups: Vec<(GroupId, SavedGroup)>,
        notices: &[Notice],
    ) {
        let Some(store) = &mut self.store else { return };
        let history = notices
            .iter()
            .map(|notice| {
                let unix = |time| wall.unix(Moment::Boot(time));
                HistoryRow {
                    start_time: clock.unix(notice.key.start),
                    ..HistoryRow::of(notice, &self.keys[notice.group.0], unix)
                }
            })
            .collect();
        let groups = groups
            .into_iter()
            .map(|(group, saved)| (Arc::clone(&self.keys[group.0]), saved))
            .collect();
        match store.commit(Commit {
            time,
            groups,
            history,
        }) {
            Ok(()) if std::mem::take(&mut self.failing) => {
                info!("{}: the state is written again", store.path().display());
            }
            Ok(()) => {}
            Err(reason) => {
                self.failures += 1;
                if !std::mem::replace(&mut self.failing, true) {
                    error!("{reason}; trying again at every collection");
                }
            }
        }
    }

    /// Commits that failed, and a store that could not be opened.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// How often kevmon was away since the store began, and for how long, ns.
    pub(super) fn outages(&self) -> (u64, u64) {
        self.store.as_ref().map_or((0, 0), |store| store.outages())
    }
}

/// A group is the same as long as its plugin, service and match are. What decides over its members' sums is part of
/// the match: other members' sums are another series.
fn key(plugin: &Plugin) -> GroupKey {
    let mut matched = format!("{:?}\0{:?}", plugin.matching, plugin.aggregate);
    for pattern in &plugin.patterns {
        matched.push('\0');
        matched.push_str(pattern.as_str());
    }
    let service = &plugin.service;
    GroupKey {
        plugin: plugin.name.clone(),
        key: format!(
            "{}/{}/{}/{}",
            plugin.name,
            service.namespace,
            service.original,
            Uuid::new_v5(&MATCHES, matched.as_bytes())
        ),
    }
}

/// This boot's name (Documentation/admin-guide/sysctl/kernel.rst, random). Where it cannot be read, one that no boot
/// has: nothing is caught up then.
pub(super) fn boot_id(proc: &Path, now_unix: u64) -> String {
    std::fs::read_to_string(proc.join("sys/kernel/random/boot_id"))
        .map_or_else(|_| format!("unknown at {now_unix}"), |id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Aggregate, Matching, tracker::tests::plugin};

    #[test]
    fn a_group_is_another_one_when_its_match_is_and_only_then() {
        let base = plugin("^app$");
        let same = Plugin {
            interval: Duration::from_secs(1),
            description: "changed".into(),
            events: true,
            ..base.clone()
        };
        assert_eq!(key(&base), key(&same));
        let others = [
            Plugin {
                matching: Matching::Exe,
                ..base.clone()
            },
            Plugin {
                aggregate: Aggregate::Roots,
                ..base.clone()
            },
            Plugin {
                name: "other".into(),
                ..base.clone()
            },
            Plugin {
                patterns: plugin("^app").patterns,
                ..base.clone()
            },
        ];
        for other in others {
            assert_ne!(key(&base).key, key(&other).key, "{other:?}");
        }
    }
}
