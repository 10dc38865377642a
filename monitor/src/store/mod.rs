//! The store: what kevmon remembers over its own restarts. One SQLite file with the groups' accumulators and members, the
//! restart history, and the stable ids of everything that is reported. docs/store.md describes it.

mod boot;
mod claim;
mod columns;
mod connection;
mod details;
mod elsewhere;
mod error;
mod files;
mod groups;
mod history;
mod holder;
mod host;
mod identities;
mod in_place;
mod lock;
mod migrate;
mod open;
mod progress;
mod runs;
mod schema;
mod seed;
pub mod spool;
#[cfg(test)]
mod tests;
mod unpaired_ends;
mod untold_exits;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tracing::warn;

pub use boot::ThisBoot;
pub use claim::{Claim, Wanted};
#[cfg(test)]
pub use details::{Details, Parent};
pub use error::StoreError;
pub use history::{Event, GroupKey, History, HistoryRow, KEPT, Outage, PreviousRow, history};
pub use holder::Named;
pub use host::{HostChange, IdHost};
pub use open::Note;
pub use progress::group_set;

pub use crate::plugin::KeptGroup;
use crate::{
    plugin::{Plugin, SavedGroup, collector::CollectorRun},
    process::{BootTime, Progress},
};
use boot::Related;
use elsewhere::Elsewhere;
use groups::Written;
use identities::Identities;
use in_place::InPlace;
use open::GroupRow;

/// What opening the store led to.
#[derive(Debug)]
pub enum Opened {
    /// It can be used.
    Ready(Box<Store>),
    /// It cannot; what lies at its path is as it was. Monitoring goes on without it.
    Without {
        /// Why, and what to do about it.
        reason: StoreError,
    },
}

/// What one commit adds. All of it becomes visible at once, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Now, Unix ns.
    pub time: u64,
    /// When this boot began by the clock that `time` is told by, Unix ns; `None` where that is not known.
    pub boot_began: Option<u64>,
    /// The groups that have been collected. What did not change since the last commit is not written again.
    pub groups: Vec<(Arc<GroupKey>, SavedGroup)>,
    /// What has happened since the last commit.
    pub history: Vec<HistoryRow>,
    /// Collectors that have run since the last commit.
    pub runs: Vec<CollectorRun>,
    /// How far this run has taken what the kernel side holds for the next one; `None`: it holds nothing.
    pub progress: Option<Progress>,
    /// Whether to wait for the disk: without that, a power cut may undo the last commits, and a crash of kevmon none.
    pub is_durable: bool,
}

/// The daemon's store. No second one can be opened on the same file while this one lives.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    /// After the connection: see there.
    files: InPlace,
    path: PathBuf,
    boot: ThisBoot,
    /// What the database names this boot: empty where no run of it could read its id.
    boot_id: String,
    /// When CLOCK_BOOTTIME was 0 as the runs of this boot have it, Unix ns; `None` until this run says.
    boot_time: Option<u64>,
    #[cfg_attr(not(test), expect(dead_code, reason = "logged already; the tests look at it"))]
    notes: Vec<Note>,
    is_new: bool,
    outage: Option<Outage>,
    /// When the outage began on the boot's own clock (CLOCK_BOOTTIME), ns.
    left_at: Option<u64>,
    /// When this boot began by the clock of the last commit, Unix ns.
    times_began: Option<u64>,
    /// How many outages there had been before this one, and how long they were together, ns.
    outages_before: (u64, u64),
    /// This run's number: one more than the last that committed.
    run: u64,
    group_ids: HashMap<String, GroupRow>,
    /// Groups of which another database on the same path keeps more than this one.
    adopted: HashMap<String, Elsewhere>,
    /// What is in the database, by key.
    written: HashMap<String, Written>,
    identities: Identities,
    /// The host that ids are made on.
    id_host: Option<IdHost>,
    /// As of the last commit, of this run or the one before.
    progress: Option<Progress>,
    unwritten: Unwritten,
    /// Whether commits wait for the disk; `None` until one has said.
    is_durable: Option<bool>,
    /// Last, so that the database is closed before the lock is given up.
    claim: Claim,
}

/// What no commit has brought to the disk yet.
#[derive(Debug, Default)]
struct Unwritten {
    groups: HashMap<String, (Arc<GroupKey>, Written)>,
    /// By key; no more than the database would keep.
    history: HashMap<String, VecDeque<HistoryRow>>,
    outage: Option<Outage>,
    /// The last one of each collector.
    runs: BTreeMap<(String, String), CollectorRun>,
    progress: Option<Progress>,
}

impl Store {
    /// Opens the store at `path`, making it where there is none. `boot_id` names this boot
    /// (/proc/sys/kernel/random/boot_id), `now_unix` is in ns.
    #[cfg(test)]
    pub fn open(path: &Path, boot_id: &str, now_unix: u64) -> Opened {
        match Claim::take(path, Wanted::default()) {
            Ok(claim) => Self::open_claimed(claim, tests::named(boot_id), now_unix, &BTreeSet::new()),
            Err(reason) => Opened::Without { reason },
        }
    }

    /// The same of a file that was claimed. `groups` are the keys of the groups that this daemon keeps: a further daemon's
    /// new store begins with what is known of them.
    pub fn open_claimed(claim: Claim, boot: ThisBoot, now_unix: u64, groups: &BTreeSet<String>) -> Opened {
        if claim.is_of_set() {
            seed::seed(&claim.base, &claim.path, groups);
        }
        let path = claim.path.clone();
        let mut after = |_| Ok(());
        let opening = open::Opening {
            claim: Some(claim),
            ..open::Opening::new(&path, now_unix, &mut after)
        };
        match opening.run() {
            Ok(loaded) => {
                let mut store = Self::new(loaded, boot, now_unix);
                store.adopt(groups, now_unix);
                Opened::Ready(Box::new(store))
            }
            Err(reason) => Opened::Without { reason },
        }
    }

    /// Takes over what another database on the same path keeps of the groups `keys`, where that is newer.
    fn adopt(&mut self, keys: &BTreeSet<String>, now_unix: u64) {
        let last = self.outage.map(|outage| outage.from);
        let is_current = |key: &String| self.group_ids.get(key).is_some_and(|row| row.run + 1 == self.run);
        let newest = elsewhere::newest(&self.claim.base, &self.path, keys, &self.boot);
        let newer = newest.into_iter().filter(|(key, found)| {
            let own = self.group(key).map(|kept| Elsewhere {
                time: last.filter(|_| is_current(key)).unwrap_or(0),
                kept,
            });
            own.is_none_or(|own| found.is_newer_than(&own))
        });
        let adopted: Vec<(String, Elsewhere)> = newer.collect();
        // Somebody watched until then.
        let until = adopted.iter().map(|(_, found)| found.time).max().unwrap_or(0);
        if until > last.unwrap_or(0) {
            let same_boot = adopted
                .iter()
                .any(|(_, found)| found.time == until && found.kept.same_boot);
            self.outage = Some(Outage {
                from: until,
                to: now_unix,
                same_boot,
            });
            self.unwritten.outage = self.outage;
            self.left_at = None;
        }
        self.adopted.extend(adopted);
    }

    /// From now on this daemon runs `plugins`, except those that another daemon on the same state runs: they are returned,
    /// each with who that is.
    ///
    /// # Errors
    /// Nothing could be found out.
    pub fn change_plugins(&mut self, plugins: &[String]) -> Result<Vec<(String, Named)>, StoreError> {
        self.claim.change(plugins)
    }

    /// Says to a daemon that waits for this state that it will be free soon.
    pub fn ending(&mut self) {
        self.claim.ending();
    }

    /// Nothing was ever kept here: neither has a run committed, nor was an older database migrated.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    fn new(loaded: open::Loaded, boot: ThisBoot, now_unix: u64) -> Self {
        let related = loaded.last.as_ref().map(|last| {
            let members = loaded.groups.values().flat_map(Written::live_members);
            boot.related(last.boot(), members)
        });
        if related == Some(Related::Unknown) {
            warn!(
                "{}: whether the host was booted since the last commit is not known: {} does not show the boot id, the wall \
                 clock was set, and no process that was watched is left; it is taken for the same boot",
                loaded.path.display(),
                boot.proc.display()
            );
        }
        let same_boot = related.is_some_and(Related::is_same);
        let outage = loaded.last.as_ref().map(|last| Outage {
            from: last.time,
            to: now_unix,
            same_boot,
        });
        let last_of_boot = loaded.last.as_ref().filter(|_| same_boot);
        let boot_time = last_of_boot.and_then(|last| last.boot_time);
        let left_at = last_of_boot.and_then(|last| last.left_at());
        let times_began = last_of_boot.and_then(|last| last.boot_began);
        let known = last_of_boot.map(|last| last.boot_id.clone());
        let boot_id = boot.id.clone().or(known).unwrap_or_default();
        let outages_before = history::outages(&loaded.connection).unwrap_or_else(|error| {
            warn!("{}: its outages are not known: {error}", loaded.path.display());
            (0, 0)
        });
        Self {
            outages_before,
            left_at,
            times_began,
            is_new: loaded.last.is_none() && loaded.identities.is_empty(),
            run: loaded.last.map_or(0, |last| last.run) + 1,
            connection: loaded.connection,
            files: loaded.files,
            path: loaded.path,
            boot,
            boot_id,
            boot_time,
            notes: loaded.notes,
            outage,
            group_ids: loaded.group_ids,
            adopted: HashMap::new(),
            written: loaded.groups,
            identities: loaded.identities,
            id_host: loaded.id_host,
            progress: loaded.progress,
            unwritten: Unwritten {
                outage,
                ..Unwritten::default()
            },
            is_durable: None,
            claim: loaded.claim,
        }
    }

    /// The file, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One group as of its last commit.
    pub fn group(&self, key: &str) -> Option<KeptGroup> {
        if let Some(adopted) = self.adopted.get(key) {
            return Some(adopted.kept.clone());
        }
        let saved = self.written.get(key).map(Written::to_group)?;
        let continues = |row: &GroupRow| row.run + 1 >= self.run;
        Some(KeptGroup {
            saved,
            same_boot: self.outage.is_some_and(|outage| outage.same_boot)
                && self.group_ids.get(key).is_some_and(continues),
        })
    }

    /// The same of groups that come while this daemon runs, in the order of `keys`; `None` also for one that this run has
    /// kept already. Reads each of the other databases on the path once, however many groups come.
    pub fn groups_of_before(&mut self, keys: &[&str], now_unix: u64) -> Vec<Option<KeptGroup>> {
        let is_kept = |key: &str| {
            self.group_ids.get(key).is_some_and(|row| row.run == self.run)
                || self.unwritten.groups.contains_key(key)
        };
        let new: BTreeSet<String> = keys
            .iter()
            .filter(|key| !is_kept(key))
            .map(|&key| key.to_owned())
            .collect();
        if !new.is_empty() {
            let outage = self.outage;
            self.adopt(&new, now_unix);
            // This daemon was there meanwhile.
            self.outage = outage;
            if self.unwritten.outage.is_some() {
                self.unwritten.outage = outage;
            }
        }
        let of = |&key: &&str| new.contains(key).then(|| self.group(key)).flatten();
        keys.iter().map(of).collect()
    }

    /// How far the run before had taken what the kernel side holds, where `keys` are all the groups of this run and were all
    /// of that one's at its last commit, and each goes on from there: what was judged for others is in the ring no more.
    pub fn progress<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Option<Progress> {
        let keys: Vec<&str> = keys.collect();
        let goes_on = |key: &&str| self.group(key).is_some_and(|kept| kept.same_boot);
        let is_alone = self.adopted.is_empty() && keys.iter().all(goes_on);
        let set = group_set(keys.into_iter());
        let progress = self.progress.clone();
        progress.filter(|progress| is_alone && progress.groups == set)
    }

    /// When collectors ran last, as far as earlier runs of kevmon kept it.
    pub fn collector_runs(&self) -> Vec<CollectorRun> {
        runs::load(&self.connection).unwrap_or_else(|error| {
            warn!(
                "{}: the last runs of collectors are not known: {error}",
                self.path.display()
            );
            Vec::new()
        })
    }

    /// Ends the outage at `now_unix`, ns, which is `now`: when kevmon watches again, which is later than the opening. Within one boot
    /// it is as long as CLOCK_BOOTTIME says, whatever became of the wall clock. To be told before the first commit.
    pub fn attached(&mut self, now_unix: u64, now: BootTime) {
        let away = self.left_at.map(|left_at| now.0.saturating_sub(left_at));
        for outage in [&mut self.outage, &mut self.unwritten.outage]
            .into_iter()
            .flatten()
        {
            outage.to = away.map_or(now_unix, |away| outage.from.saturating_add(away));
        }
    }

    /// When CLOCK_BOOTTIME was 0, Unix ns: as the first run of this boot measured it, or, where this is the first, as
    /// `measured` says. Kept from the next commit on.
    pub fn boot_time(&mut self, measured: u64) -> u64 {
        *self.boot_time.get_or_insert(measured)
    }

    /// How long kevmon was away before this start; `None` for a new store.
    pub fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// When the last commit before this start was, ns of CLOCK_BOOTTIME: a clock that was set since does not move it. `None`
    /// where it was in another boot, or is not known.
    pub fn left_at(&self) -> Option<u64> {
        self.left_at
    }

    /// When this boot began by the clock that the last commit before this start was told by, Unix ns; `None` where that was in
    /// another boot, or is not known.
    pub fn times_began(&self) -> Option<u64> {
        self.times_began
    }

    /// How often kevmon was away since the store began, and for how long together, ns.
    pub fn outages(&self) -> (u64, u64) {
        let (number, length) = self.outages_before;
        self.outage.map_or(self.outages_before, |outage| {
            (number + 1, length + outage.to.saturating_sub(outage.from))
        })
    }

    /// Says which host this is, before [`Self::identify`]; `is_given`: the settings say what its id is. Where ids were made on
    /// another one, all of them are made again. Written at the next commit.
    pub fn on_host(&mut self, host: IdHost, is_given: bool) -> HostChange {
        let same_boot = self.outage.is_some_and(|outage| outage.same_boot);
        let change = host::compare(self.id_host.as_ref(), &host, is_given, same_boot);
        if let HostChange::Other(_) = change {
            self.identities.forget();
        }
        self.id_host = Some(host);
        change
    }

    /// The host has another name or id while this run goes on, so that it is the same host. Written at the next commit.
    pub fn host_is_now(&mut self, host: IdHost) {
        self.id_host = Some(host);
    }

    /// Says what this run reports: the host (name and id) and the plugins, each with the id that its service gets if
    /// the store knows none. Returns the ids to use, in the same order: a plugin keeps its service's id for ever, and of the
    /// plugins that could take over one service of the original, the first does. Written at the next commit.
    pub fn identify(&mut self, host: (&str, &str), plugins: &[(&Plugin, String)]) -> Vec<String> {
        self.identities.identify(host, plugins)
    }

    /// Writes what has changed, in one transaction.
    ///
    /// # Errors
    /// Nothing was written; all of it is kept, and the next commit writes it too.
    pub fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        let (time, boot_began, is_durable) = (commit.time, commit.boot_began, commit.is_durable);
        self.unwritten.take_up(commit);
        self.ensure_in_place()?;
        let result = self
            .set_durable(is_durable)
            .and_then(|()| self.try_commit(time, boot_began));
        if result.is_err() && !self.connection.is_autocommit() {
            // The transaction's own rollback failed. While one is open, no later commit could succeed.
            let _: rusqlite::Result<()> = self.connection.execute_batch("ROLLBACK");
        }
        let new_rows = result.map_err(|error| StoreError::sqlite(&self.path, "commit", error))?;
        self.files.note_log();
        self.group_ids.extend(new_rows);
        let unwritten = std::mem::take(&mut self.unwritten);
        self.progress = unwritten.progress;
        self.written.extend(
            unwritten
                .groups
                .into_iter()
                .map(|(key, (_, written))| (key, written)),
        );
        if self.identities.is_due(time) {
            self.identities.committed(time);
        }
        Ok(())
    }

    /// Brings the lock file and the database back where they were deleted or moved away.
    fn ensure_in_place(&mut self) -> Result<(), StoreError> {
        self.claim.hold()?;
        if self.files.ensure(&mut self.connection, open::set_up)? {
            self.is_durable = None;
        }
        Ok(())
    }

    /// Has commits wait for the disk, or not (sqlite.org/pragma.html, synchronous).
    fn set_durable(&mut self, durable: bool) -> rusqlite::Result<()> {
        if self.is_durable != Some(durable) {
            let synchronous = if durable { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", synchronous)?;
            self.is_durable = Some(durable);
        }
        Ok(())
    }

    /// Returns the rows of the groups that are new, or that this run keeps for the first time.
    fn try_commit(
        &mut self,
        time: u64,
        boot_began: Option<u64>,
    ) -> rusqlite::Result<HashMap<String, GroupRow>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let run = self.run;
        let mut new_rows: HashMap<String, GroupRow> = HashMap::new();
        let mut row_of = |transaction: &Transaction<'_>, group: &GroupKey| match new_rows
            .get(&group.key)
            .or(self.group_ids.get(&group.key))
        {
            Some(row) if row.run == run => Ok(row.id),
            known => {
                let id = keep_group(transaction, group, known.map(|row| row.id), run)?;
                new_rows.insert(group.key.clone(), GroupRow { id, run });
                Ok::<i64, rusqlite::Error>(id)
            }
        };
        for (key, (group, now)) in &self.unwritten.groups {
            let id = row_of(&transaction, group)?;
            groups::write(&transaction, id, self.written.get(key), now)?;
        }
        for rows in self.unwritten.history.values() {
            let Some(first) = rows.front() else { continue };
            let id = row_of(&transaction, &first.group)?;
            history::write(&transaction, id, rows)?;
        }
        if let Some(outage) = self.unwritten.outage {
            history::write_outage(&transaction, outage)?;
        }
        if self.identities.is_due(time) {
            self.identities.write(&transaction, time)?;
        }
        runs::write(&transaction, &self.unwritten.runs, time)?;
        let now = self.unwritten.progress.as_ref();
        let lives = |progress: &Progress| Arc::clone(&progress.lives);
        let is_new_lives = now.map(lives) != self.progress.as_ref().map(lives);
        progress::write(&transaction, now, is_new_lives)?;
        transaction
            .prepare_cached(
                "INSERT INTO state (id, boot_id, last_commit, run, host_id, host_name, boot_time, boot_began)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (id) DO UPDATE
                 SET boot_id = excluded.boot_id, last_commit = excluded.last_commit, run = excluded.run,
                     host_id = excluded.host_id, host_name = excluded.host_name, boot_time = excluded.boot_time,
                     boot_began = excluded.boot_began",
            )?
            .execute(params![
                self.boot_id,
                time.cast_signed(),
                run.cast_signed(),
                self.id_host.as_ref().and_then(|host| host.id.as_deref()),
                self.id_host.as_ref().map(|host| &host.name),
                self.boot_time.map(u64::cast_signed),
                boot_began.map(u64::cast_signed)
            ])?;
        transaction.commit()?;
        Ok(new_rows)
    }
}

impl Unwritten {
    fn take_up(&mut self, commit: Commit) {
        for (key, group) in commit.groups {
            self.groups.insert(key.key.clone(), (key, group.into()));
        }
        for row in commit.history {
            let rows = self.history.entry(row.group.key.clone()).or_default();
            rows.push_back(row);
        }
        self.history.values_mut().for_each(history::trim_unwritten);
        for run in commit.runs {
            self.runs.insert((run.plugin.clone(), run.collector.clone()), run);
        }
        self.progress = commit.progress;
    }
}

/// Notes that this run keeps the group, which has a row already or gets one.
fn keep_group(
    transaction: &Transaction<'_>,
    group: &GroupKey,
    known: Option<i64>,
    run: u64,
) -> rusqlite::Result<i64> {
    match known {
        Some(id) => transaction
            .prepare_cached("UPDATE watched_group SET run = ?2 WHERE id = ?1")?
            .execute(params![id, run.cast_signed()])
            .map(|_| id),
        None => transaction
            .prepare_cached("INSERT INTO watched_group (key, plugin, run) VALUES (?1, ?2, ?3) RETURNING id")?
            .query_row(params![group.key, group.plugin, run.cast_signed()], |row| {
                row.get(0)
            }),
    }
}
