//! The groups over kevmon's own restarts: opens the store, hands it each collection before that is exported, and answers what an
//! earlier run left. commits.rs has the protocol and its failure cases.

mod commits;
mod kept;
mod key;
mod parents;
mod writer;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

pub(super) use self::{
    commits::{Collected, Outgoing},
    kept::{Compared, Kept},
    key::key,
};
use self::{parents::Names, writer::Writer};
use super::{
    host,
    original::{self, Who},
    output,
    times::Earlier,
};
use crate::{
    config::Environment,
    episode::Episode,
    export::{HostIdentity, Run, UnixClock, service_instance_id},
    health::Pulse,
    kernel::Takeover,
    plugin::{GroupId, Plugin, Plugins, collector::CollectorRun},
    process::{BootTime, ProcessKey},
    procfs::HostReader,
    store::{Claim, GroupKey, HistoryRow, KeptGroup, Opened, Outage, Store, StoreError, ThisBoot},
};

/// Below this interval a commit does not wait for the disk: a power cut may then cost the last ones.
const DURABLE_FROM: Duration = Duration::from_secs(1);

/// Whether this process has the state's database to itself.
#[derive(Debug)]
pub(super) enum Claimed {
    /// No state is to be kept.
    NotWanted,
    /// This process holds the lock of the database.
    Mine(Box<Claim>),
    /// The database cannot be locked or used.
    Refused(StoreError),
}

/// Where the store is.
enum Place {
    /// With this thread, which waits for it.
    Here(Box<Store>),
    /// With a thread of its own.
    Writer(Writer),
}

/// What the store knows of a plugin that comes while kevmon runs.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its service's id.
    pub(super) instance_id: Option<String>,
    /// What an earlier run kept of its group; `None` also for one that this run has kept already.
    pub(super) kept: Option<KeptGroup>,
}

/// The store, or the lack of one.
pub(super) struct Keeper {
    store: Option<Place>,
    /// The database, links resolved.
    path: Option<PathBuf>,
    /// How long kevmon was away before this run; `None` without a store and with a new one.
    outage: Option<Outage>,
    /// How often it was away since the store began, and for how long, ns.
    outages: (u64, u64),
    /// Some plugin is collected too often to wait for the disk each time.
    is_quick: bool,
    /// The host's name and id.
    host: (String, String),
    keys: BTreeMap<GroupId, Arc<GroupKey>>,
    /// Ends that the opening brought to light; the first commit takes them.
    closed: Vec<HistoryRow>,
    /// Names of who started what the next commit tells of.
    names: Names,
    /// Runs of collectors that the next commit takes.
    runs: Vec<CollectorRun>,
    failing: Episode,
    /// The last commit failed.
    unwritten: bool,
    failures: u64,
}

impl Keeper {
    /// Opens the store that was claimed; without one, kevmon still monitors. Gives the plugins the ids that it keeps.
    pub(super) fn open(
        claimed: Claimed,
        boot: ThisBoot,
        now_unix: u64,
        plugins: &mut [Plugin],
        host: &HostIdentity,
    ) -> (Self, Kept) {
        let keys = plugins.iter().enumerate();
        let keys = keys.map(|(index, plugin)| (GroupId(index), Arc::new(key(plugin))));
        let keys = keys.collect();
        let mut keeper = Self {
            store: None,
            path: None,
            outage: None,
            outages: (0, 0),
            is_quick: false,
            host: (
                host.name.clone(),
                host.id.clone().unwrap_or_else(|| host.name.clone()),
            ),
            keys,
            closed: Vec::new(),
            names: Names::new(boot.proc.clone()),
            runs: Vec::new(),
            failing: Episode::default(),
            unwritten: false,
            failures: 0,
        };
        let keys = keeper.keys.values().map(|key| key.key.clone()).collect();
        let opened = match claimed {
            Claimed::NotWanted => return (keeper, Kept::default()),
            Claimed::Refused(reason) => Opened::Without { reason },
            Claimed::Mine(claim) => Store::open_claimed(*claim, boot, now_unix, &keys),
        };
        let mut store = match opened {
            Opened::Ready(store) => store,
            Opened::Without { reason } => {
                error!("{reason}; running without a store: counters begin anew now and at each restart");
                keeper.failures = 1;
                return (keeper, Kept::default());
            }
        };
        keeper.is_quick = is_quick(plugins.iter());
        let change = store.on_host(host::of_ids(host), host.is_id_given());
        host::say_change(&change, store.path(), host);
        identify(&mut store, &keeper.host, plugins.iter_mut(), host);
        let groups: Vec<(GroupId, KeptGroup)> = keeper
            .keys
            .iter()
            .filter_map(|(&group, key)| Some((group, store.group(&key.key)?)))
            .collect();
        for (group, kept) in groups.iter().filter(|(_, kept)| !kept.same_boot) {
            let key = keeper.keys.get(group).into_iter();
            let rows = key.flat_map(|key| HistoryRow::of_closed(key, &kept.saved, now_unix));
            keeper.closed.extend(rows);
        }
        let (outages, outage_ns) = store.outages();
        // The one that ends now has not been told.
        let kept = Kept {
            groups,
            last_commit: store.outage().map(|outage| outage.from),
            outages: store.outage().map_or((outages, outage_ns), |outage| {
                (outages - 1, outage_ns - outage.to.saturating_sub(outage.from))
            }),
            compared: None,
            progress: store.progress(keeper.keys.values().map(|key| key.key.as_str())),
        };
        keeper.path = Some(store.path().to_owned());
        keeper.outage = store.outage();
        keeper.outages = store.outages();
        keeper.store = Some(Place::Here(store));
        (keeper, kept)
    }

    /// kevmon watches again since `now_unix`, ns, which is `now`: so long it was away. To be told before the first commit.
    pub(super) fn attached(&mut self, now_unix: u64, now: BootTime) {
        let Some(Place::Here(store)) = &mut self.store else {
            return;
        };
        store.attached(now_unix, now);
        self.outage = store.outage();
        self.outages = store.outages();
        // Found now, like what the first snapshot finds missing.
        for row in &mut self.closed {
            row.time = now_unix;
        }
    }

    /// From now on commits are written by a thread of their own, and the collections that wait for them come back by
    /// [`Keeper::written`].
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn write_beside(&mut self) -> std::io::Result<()> {
        self.store = match self.store.take() {
            Some(Place::Here(store)) => Some(Place::Writer(Writer::start(store)?)),
            other => other,
        };
        Ok(())
    }

    /// Reads the names of processes that have started others, for the next commit: many have ended by then.
    pub(super) fn read_names(&mut self, keys: Vec<ProcessKey>) {
        if self.store.is_some() {
            keys.into_iter().for_each(|key| drop(self.names.read(key)));
        }
    }

    /// Asks the thread that writes whether it still moves; `None` where there is none.
    pub(super) fn ask_thread(&self) -> Option<Pulse> {
        match &self.store {
            Some(Place::Writer(writer)) => Some(writer.ask_thread()),
            _ => None,
        }
    }

    /// Says that the original framework has a database, where the store is new and knows nothing of it.
    pub(super) fn offer_original(&self, environment: &Environment) {
        let is_new = matches!(&self.store, Some(Place::Here(store)) if store.is_new());
        if let Some(path) = self.path().filter(|_| is_new)
            && let Some(line) = original::offer(environment, Who::of_this_process(environment), path)
        {
            info!("{line}");
        }
    }

    /// Says for how long kevmon was away.
    pub(super) fn say_outage(&self, takeover: Option<&Takeover>) {
        let (Some(path), Some(outage)) = (self.path(), self.outage) else {
            return;
        };
        let away = Duration::from_nanos(outage.to.saturating_sub(outage.from));
        let meanwhile = if let Some(takeover) = takeover {
            &watched(takeover)
        } else if outage.same_boot {
            "what lived through it is caught up; what ended in it did so for an unknown reason"
        } else {
            "the host was booted meanwhile; what was watched then has ended for an unknown reason"
        };
        info!("{}: kevmon was away for {away:.1?}: {meanwhile}", path.display());
    }

    /// The clock for the starts of processes: the one of the first run of this boot, as far as the store knows, or else as it
    /// is `measured` now.
    pub(super) fn boot_clock(&mut self, measured: UnixClock) -> UnixClock {
        let Some(Place::Here(store)) = &mut self.store else {
            return measured;
        };
        let began = store.boot_time(measured.unix(BootTime(0)));
        UnixClock::new(began, BootTime(0))
    }

    /// Whether another run of kevmon goes on from what this one keeps.
    pub(super) fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// When collectors ran last, before this start.
    pub(super) fn collector_runs(&self) -> Vec<CollectorRun> {
        match &self.store {
            Some(Place::Here(store)) => store.collector_runs(),
            _ => Vec::new(),
        }
    }

    /// Collectors that have run, for the next commit.
    pub(super) fn add_collector_runs(&mut self, runs: Vec<CollectorRun>) {
        if self.store.is_some() {
            self.runs.extend(runs);
        }
    }

    /// Has the store know what runs from now on: `new`, which come while kevmon runs, and `running`, all others. The answer is
    /// what the store knows of `new` from before.
    pub(super) fn replan(
        &mut self,
        new: &[Plugin],
        running: &Plugins,
        host: &HostIdentity,
        now_unix: u64,
    ) -> oneshot::Receiver<Vec<Known>> {
        // All of them: the store knows services by what a run reports. Those that run have their ids.
        let running = running.values().map(|plugin| Plugin::clone(plugin));
        let mut all: Vec<Plugin> = new.iter().cloned().chain(running).collect();
        let keys: Vec<GroupKey> = new.iter().map(key).collect();
        self.is_quick = is_quick(all.iter());
        let (of_host, host) = (self.host.clone(), host.clone());
        self.ask(move |store| {
            identify(store, &of_host, all.iter_mut(), &host);
            let keys: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
            let kept = store.groups_of_before(&keys, now_unix);
            let ids = all.into_iter().map(|plugin| plugin.instance_id);
            let known = ids
                .zip(kept)
                .map(|(instance_id, kept)| Known { instance_id, kept });
            known.collect()
        })
    }

    /// The host has another name or id than when kevmon started, and is the same.
    pub(super) fn host_is_now(&mut self, host: &HostIdentity) {
        let host = host::of_ids(host);
        self.tell(move |store| store.host_is_now(host));
    }

    /// The database, links resolved; `None` without a store.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// From now on this daemon runs `plugins`. The answer is which of them another daemon on the same state runs, and who that
    /// is.
    pub(super) fn run_elsewhere(
        &mut self,
        plugins: Vec<String>,
    ) -> oneshot::Receiver<BTreeMap<String, String>> {
        self.ask(move |store| match store.change_plugins(&plugins) {
            Ok(refused) => refused
                .into_iter()
                .map(|(plugin, other)| (plugin, other.to_string()))
                .collect(),
            Err(reason) => {
                warn!("{reason}; whether another kevmon runs the plugins that have come is not known");
                BTreeMap::new()
            }
        })
    }

    /// Says to a daemon that waits for the state that it will be free soon.
    pub(super) fn ending(&mut self) {
        self.tell(Store::ending);
    }

    /// A plugin comes while kevmon runs, of which an earlier run kept this. Ends that another boot brought to light go into the
    /// history.
    pub(super) fn comes(&mut self, plugin: &Plugin, kept: &KeptGroup, now_unix: u64) {
        if !kept.same_boot {
            let key = Arc::new(key(plugin));
            self.closed
                .extend(HistoryRow::of_closed(&key, &kept.saved, now_unix));
        }
    }

    /// What was kept of these groups, as the exports take it.
    pub(super) fn kept(&self, groups: Vec<(GroupId, KeptGroup)>) -> Kept {
        Kept {
            groups,
            last_commit: self.last_commit(),
            outages: (0, 0),
            compared: None,
            progress: None,
        }
    }

    /// These groups are kept from now on.
    pub(super) fn add(&mut self, groups: impl Iterator<Item = (GroupId, Arc<GroupKey>)>) {
        self.keys.extend(groups);
    }

    /// These are not any more. What is stored of them stays.
    pub(super) fn remove(&mut self, groups: &[GroupId]) {
        self.keys.retain(|group, _| !groups.contains(group));
    }

    /// How long kevmon was away before this run; `None` without a store and with a new one.
    pub(super) fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// When the last commit before this run was, on the boot's own clock; `None` where that is not known.
    pub(super) fn left_at(&self) -> Option<BootTime> {
        match &self.store {
            Some(Place::Here(store)) => store.left_at().map(BootTime),
            _ => None,
        }
    }

    /// By what the last collection before this run was told.
    pub(super) fn earlier_times(&self) -> Earlier {
        let anchor = match &self.store {
            Some(Place::Here(store)) => store.times_began(),
            _ => None,
        };
        Earlier {
            last: self.last_commit(),
            anchor,
        }
    }

    /// The last commit failed: the store is as it was.
    pub(super) fn is_failing(&self) -> bool {
        self.unwritten
    }

    /// The time of the last collection that the run before this one committed, Unix ns.
    pub(super) fn last_commit(&self) -> Option<u64> {
        Some(self.outage?.from)
    }

    /// Commits that failed, and a store that could not be opened.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// How often kevmon was away since the store began, and for how long, ns.
    pub(super) fn outages(&self) -> (u64, u64) {
        self.outages
    }
}

/// What the kernel side told of the time that kevmon was away.
fn watched(takeover: &Takeover) -> String {
    let Takeover {
        records,
        unsaved,
        was_told,
        lapsed,
        lost,
    } = takeover;
    let mut text = format!("the kernel side went on without it and held {records} records");
    if takeover.is_whole() {
        text.push_str(", and lost none");
    }
    if !lost.is_empty() {
        let lost: Vec<String> = lost
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        text.push_str(&format!("; it lost, by name: {}", lost.join(", ")));
    }
    if *unsaved > 0 {
        text.push_str(&format!(
            "; {unsaved} records had been read before, and are not in the state"
        ));
    }
    if !was_told {
        text.push_str(
            "; something was lost before, in an interval that the run before did not live to close",
        );
    }
    if *lapsed {
        text.push_str(
            "; it stopped before kevmon came back ([state] keep_watching), and what came then is not known",
        );
    }
    text
}

/// A commit waits for the disk unless some plugin is collected too often for that.
fn is_quick<'a>(mut plugins: impl Iterator<Item = &'a Plugin>) -> bool {
    plugins.any(|plugin| plugin.interval < DURABLE_FROM)
}

fn identify<'a>(
    store: &mut Store,
    (name, id): &(String, String),
    plugins: impl Iterator<Item = &'a mut Plugin>,
    host: &HostIdentity,
) {
    let mut plugins: Vec<&mut Plugin> = plugins.collect();
    let given: Vec<(&Plugin, String)> = plugins
        .iter()
        .map(|plugin| (&**plugin, service_instance_id(plugin, host, Run::Service)))
        .collect();
    let ids = store.identify((name, id), &given);
    for (plugin, id) in plugins.iter_mut().zip(ids) {
        plugin.instance_id = Some(id);
    }
}

/// This boot. Its id is `given`, or else what /proc shows (Documentation/admin-guide/sysctl/kernel.rst, random), which it does
/// not where it is mounted with subset=pid.
pub(super) fn this_boot(given: Option<&str>, proc: &Path) -> ThisBoot {
    let read = || std::fs::read_to_string(proc.join("sys/kernel/random/boot_id")).ok();
    let id = given.map(str::to_owned).or_else(read);
    let id = id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    ThisBoot {
        id,
        began: output::clock().unix(BootTime(0)),
        now: HostReader::now(),
        proc: proc.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app::exports::Began, plugin::SavedGroup};
    use crate::{
        plugin::{Tracker, tracker::tests::plugin},
        process::{Event, Identity, ProcessKey, Tgid, Usage},
        store::{self, Wanted},
    };

    const SECOND: u64 = 1_000_000_000;

    /// Opens, as at second `at`, and watches again a second later.
    fn opened(path: &Path, boot_id: &str, at: u64) -> (Keeper, Kept) {
        let host = HostIdentity::new(None, "web1".to_owned());
        let claim = Claim::take(path, Wanted::default()).unwrap();
        let claimed = Claimed::Mine(Box::new(claim));
        let boot = this_boot(Some(boot_id), Path::new("/proc"));
        let (mut keeper, kept) = Keeper::open(claimed, boot, at * SECOND, &mut [plugin("^app$")], &host);
        keeper.attached((at + 1) * SECOND, BootTime((at + 1) * SECOND));
        (keeper, kept)
    }

    #[test]
    fn what_another_boot_has_ended_is_told_in_the_history() {
        let folder = std::env::temp_dir().join(format!("kevmon-keeper-{}", std::process::id()));
        let path = folder.join("metadata.db");
        let clock = UnixClock::new(0, BootTime(0));
        let at = |second| Collected {
            time: second * SECOND,
            times: clock,
            boot: clock,
            wall: clock,
            is_durable: true,
        };
        let commit = |keeper: &mut Keeper, second: u64, groups: Vec<(GroupId, SavedGroup)>| {
            let nothing = Outgoing {
                time: second * SECOND,
                collection: None,
                notices: Vec::new(),
                began: Began::now(),
                progress: None,
                is_committed: false,
            };
            keeper.commit(at(second), groups, Box::new(nothing));
        };
        let key = |tgid| ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(SECOND),
        };
        let mut tracker = Tracker::new(vec![plugin("^app$")], BootTime(0)).unwrap();
        tracker.apply(Event::Exec {
            key: key(10),
            time: BootTime(SECOND),
            sequence: SECOND,
            parent: key(1),
            identity: Identity {
                exe: "app".to_owned(),
                ..Identity::default()
            },
            usage: Usage::ZERO,
        });
        let saved = tracker.saved(&[GroupId(0)], &|moment| clock.unix(moment), &|moment| {
            clock.unix(moment)
        });

        let (mut keeper, _) = opened(&path, "first", 100);
        commit(&mut keeper, 110, saved.clone());
        drop(keeper);
        let (mut keeper, kept) = opened(&path, "first", 120);
        assert!(kept.groups[0].1.same_boot);
        commit(&mut keeper, 130, saved);
        drop(keeper);
        assert_eq!(store::history(&path, None).unwrap().rows, [], "it may live");

        let (mut keeper, kept) = opened(&path, "second", 140);
        assert!(!kept.groups[0].1.same_boot);
        assert_eq!(
            (kept.last_commit, kept.outages),
            (Some(130 * SECOND), (1, 11 * SECOND)),
            "as the run before told them"
        );
        commit(&mut keeper, 150, Vec::new());
        commit(&mut keeper, 160, Vec::new());
        let history = store::history(&path, None).unwrap();
        let told: Vec<_> = history
            .rows
            .iter()
            .map(|row| (row.time, row.pid.0, row.name.as_str(), row.event.name()))
            .collect();
        assert_eq!(told, [(141 * SECOND, 10, "app", "exit")], "once");
        assert_eq!(keeper.outages(), (2, 22 * SECOND));
        drop(keeper);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
