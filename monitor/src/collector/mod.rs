//! Collectors: values that plugins bring from files, commands, local HTTP servers and code of kevmon's own. Each runs beside
//! the ticks, at its own interval, never twice at once, and its failures are counted under its name.

mod builtin;
pub mod confine;
mod confinement;
mod following;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod identity;
mod last_runs;
mod lines;
mod log;
mod run;
mod stream;
mod values;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use following::Following;
use tokio::sync::{Semaphore, mpsc};
use tracing::{info, warn};

use crate::{
    plugin::{
        GroupId, Plugin,
        collector::{CollectorReading, CollectorRun, CollectorSpec, CustomValue, FilePath, Source},
        rates::Rates,
    },
    process::ProcessKey,
};
use last_runs::LastRuns;
use log::LogBudget;
use run::{Context, Outcome};
use stream::News;
use values::Sums;
use waiting::Waiting;

/// Runs at once: five hundred plugins may be due together.
const AT_ONCE: usize = 8;

/// What collectors need to know of this kevmon.
#[derive(Debug, Clone)]
pub struct Places {
    /// Where proc is mounted.
    pub proc: PathBuf,
    /// What stays out of their reach: state, settings, secrets.
    pub denied: Vec<PathBuf>,
    /// The account that the settings name for collectors.
    pub account: Option<String>,
    /// Whether a name is one of kevmon's own metrics.
    pub is_taken: fn(&str) -> bool,
}

type Id = (String, String);

/// All collectors of a run.
pub struct Collectors {
    places: Arc<Places>,
    entries: BTreeMap<Id, Entry>,
    to: mpsc::UnboundedSender<(Id, u64, News)>,
    from: mpsc::UnboundedReceiver<(Id, u64, News)>,
    logs: HashMap<String, LogBudget>,
    /// Tells a run of a collector from one of an earlier collector of its name.
    generation: u64,
    /// Runs that have not ended, of collectors that may be others by now.
    going: BTreeSet<Id>,
    /// Runs at once, of all collectors.
    turns: Arc<Semaphore>,
    /// Every failure is told, not the first of its kind alone.
    tells_all: bool,
    last_runs: LastRuns,
}

struct Entry {
    group: GroupId,
    plugin: Arc<Plugin>,
    spec: Arc<CollectorSpec>,
    interval: Duration,
    due: Instant,
    generation: u64,
    running: bool,
    /// Of a program that stays.
    following: Option<Following>,
    sums: Sums,
    rates: Rates,
    waiting: Waiting,
    runs: u64,
    failures: BTreeMap<&'static str, u64>,
    /// Kinds that have been told, until a run goes well.
    failing: BTreeSet<&'static str>,
    confinement: confinement::Told,
    tells_all: bool,
}

/// A collector brings what another one of its plugin brings: no run of its own can tell that it is over.
const OVERLAP: &str = "overlap";

impl std::fmt::Debug for Collectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collectors")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Collectors {
    /// None so far.
    pub fn new(places: Places) -> Self {
        let (to, from) = mpsc::unbounded_channel();
        Self {
            places: Arc::new(places),
            entries: BTreeMap::new(),
            to,
            from,
            logs: HashMap::new(),
            generation: 0,
            going: BTreeSet::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            tells_all: false,
            last_runs: LastRuns::default(),
        }
    }

    /// When collectors ran last, before kevmon started: to be told before the first of them.
    pub fn remember(&mut self, runs: Vec<CollectorRun>) {
        self.last_runs.remember(runs);
    }

    /// Those that began to run since the last call, to be kept over kevmon's restarts.
    pub fn take_runs(&mut self) -> Vec<CollectorRun> {
        self.last_runs.take_new()
    }

    /// To whoever is trying a plugin out every failure is told.
    #[must_use]
    pub fn telling_all(self) -> Self {
        Self {
            tells_all: true,
            ..self
        }
    }

    /// What is out of reach from now on, and the user of collectors; programs that run, and could reach some of it or have
    /// another user, are started again.
    pub fn set_places(&mut self, places: Places) {
        let before = std::mem::replace(&mut self.places, Arc::new(places));
        let is_same_user = self.places.account == before.account;
        if is_same_user && following::is_out_of_reach(&self.places.denied, &before.denied) {
            return;
        }
        let now = Instant::now();
        for entry in self.entries.values_mut() {
            if let Some(following) = &mut entry.following {
                following.stop();
                self.generation += 1;
                entry.generation = self.generation;
                entry.due = now;
            }
        }
    }

    /// These plugins' collectors from now on. One that is the same as before goes on; a new one is due at once, or an interval
    /// after its last run.
    pub fn update<'a>(&mut self, plugins: impl Iterator<Item = (GroupId, &'a Arc<Plugin>)>, now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        let unix = run::unix_now();
        for (group, plugin) in plugins {
            for spec in &plugin.collectors {
                let id = (plugin.label(), spec.name.clone());
                let interval = spec.interval.unwrap_or(plugin.interval);
                let entry = match before.remove(&id) {
                    Some(entry) if entry.goes_on(spec, plugin, interval) => {
                        entry.moved_to(group, plugin, interval, now)
                    }
                    known => {
                        self.generation += 1;
                        let known = known.map(|entry| (entry.runs, entry.failures));
                        let (runs, failures) = known.unwrap_or_default();
                        let due = self.last_runs.first(&id, spec, plugin, interval, (now, unix));
                        Entry {
                            group,
                            plugin: Arc::clone(plugin),
                            spec: Arc::new(spec.clone()),
                            interval,
                            due,
                            generation: self.generation,
                            // Of the one before it: never two at once.
                            running: self.going.contains(&id),
                            following: Following::of(spec, interval),
                            sums: Sums::default(),
                            rates: Rates::default(),
                            waiting: Waiting::default(),
                            runs,
                            failures,
                            failing: BTreeSet::new(),
                            confinement: confinement::Told::default(),
                            tells_all: self.tells_all,
                        }
                    }
                };
                self.entries.insert(id, entry);
            }
        }
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.due).min()
    }

    /// Some run has not ended yet, or some program that stays has brought nothing yet and may still do so.
    pub fn is_running(&self) -> bool {
        let is_awaited = |entry: &Entry| match &entry.following {
            Some(following) => following.is_awaited(Instant::now()),
            None => true,
        };
        self.entries
            .values()
            .any(|entry| entry.running && is_awaited(entry))
    }

    /// Starts those that are due. `members` gives a group's live members. Needs a tokio runtime.
    pub fn start_due(&mut self, now: Instant, mut members: impl FnMut(GroupId) -> Vec<ProcessKey>) {
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.due <= now) {
            if let Some(following) = &mut entry.following {
                let is_silent = entry.running && following.is_silent();
                entry.due = now + following.look(entry.running);
                if is_silent {
                    let reason =
                        "it runs and has written no value for longer than silence; look at what it does";
                    entry.failed("silent", &format!("{}: {}", id.0, id.1), reason);
                }
                if entry.running {
                    continue;
                }
            } else {
                entry.due += entry.interval;
                if entry.due <= now {
                    entry.due = now + entry.interval;
                }
            }
            if entry.running {
                // Never two at once.
                entry.failed(
                    "still_running",
                    &format!("{}: {}", id.0, id.1),
                    "its last run is still going; this one is left out",
                );
                continue;
            }
            let of_members = matches!(
                &entry.spec.source,
                Source::File {
                    path: FilePath::OfProcess(_),
                    ..
                }
            );
            let context = Context {
                places: Arc::clone(&self.places),
                plugin: Arc::clone(&entry.plugin),
                spec: Arc::clone(&entry.spec),
                interval: entry.interval,
                members: if of_members {
                    members(entry.group)
                } else {
                    Vec::new()
                },
            };
            entry.running = true;
            self.last_runs
                .began(id, &entry.spec, &entry.plugin, run::unix_now());
            self.going.insert(id.clone());
            let (id, generation, to) = (id.clone(), entry.generation, self.to.clone());
            if let Some(following) = &mut entry.following {
                following.begin(now, context, move |news| {
                    // Without a receiver kevmon is ending.
                    let _: Result<(), mpsc::error::SendError<_>> = to.send((id.clone(), generation, news));
                });
                continue;
            }
            let turns = Arc::clone(&self.turns);
            tokio::spawn(async move {
                // Never closed; a run without a turn would be one too many, and no more.
                let _turn = turns.acquire().await;
                // A panic ends the run and nothing else.
                let outcome = match tokio::spawn(run::run(context)).await {
                    Ok(outcome) => outcome,
                    Err(error) => Outcome::failed("panicked", format!("it panicked: {error}")),
                };
                // Without a receiver kevmon is ending.
                let _: Result<(), mpsc::error::SendError<_>> =
                    to.send((id, generation, News::Ended(outcome)));
            });
        }
    }

    /// Completes when a run has ended; [`Collectors::settle`] takes it up.
    pub async fn ended(&mut self) {
        match self.from.recv().await {
            Some(ended) => self.take_up(ended),
            None => std::future::pending().await,
        }
    }

    /// Takes up what has ended.
    pub fn settle(&mut self) {
        while let Ok(ended) = self.from.try_recv() {
            self.take_up(ended);
        }
    }

    fn take_up(&mut self, (id, generation, news): (Id, u64, News)) {
        let has_ended = matches!(news, News::Ended(_));
        if has_ended {
            self.going.remove(&id);
        }
        let Some(entry) = self.entries.get_mut(&id) else {
            return; // of a plugin that is no more
        };
        let now = Instant::now();
        if has_ended {
            entry.running = false;
        }
        if entry.generation != generation {
            if has_ended && entry.following.is_some() {
                entry.due = now; // the one before it is out of the way
            }
            return; // of what it was before
        }
        let label = format!("{}: {}", id.0, id.1);
        let outcome = match news {
            News::Ended(outcome) => {
                entry.runs += 1;
                if let Some(following) = &mut entry.following {
                    entry.due = now + following.ended(now);
                }
                outcome
            }
            News::Brought(outcome) => outcome,
        };
        let budget = self.logs.entry(id.0.clone()).or_default();
        for line in outcome.stderr.lines() {
            if budget.allows(line.len(), now) {
                info!("{label}: stderr: {line}");
            }
        }
        if let Some(suppressed) = budget.take_suppressed(now) {
            warn!("{label}: {suppressed} bytes of its log are left out: more than 2,000 a second");
        }
        entry.confinement.tell(&label, &outcome, entry.tells_all);
        for _ in &outcome.refused_calls {
            *entry.failures.entry(confinement::REFUSED_CALL).or_default() += 1;
        }
        if !has_ended && outcome.found.is_empty() {
            return; // a word on standard error, or a refused call
        }
        let made = values::make(
            &entry.spec,
            &entry.plugin.transforms,
            outcome.found,
            entry.interval,
            (&mut entry.sums, &mut entry.rates),
            self.places.is_taken,
        );
        if let Some(following) = entry.following.as_mut().filter(|_| !made.values.is_empty()) {
            following.heard();
            entry.due = now + following.look(true);
        }
        let over = entry.waiting.add(made.values);
        let mut failures: Vec<_> = outcome.failures.into_iter().chain(made.failures).collect();
        if over > 0 {
            failures.push(("overflow", waiting::overflow(over)));
        }
        let well = failures.is_empty();
        for (kind, reason) in failures {
            entry.failed(kind, &label, &reason);
        }
        // One line that can be read says little of a program that stays: it is well after a while without a failure.
        let is_well = well
            && entry
                .following
                .as_ref()
                .is_none_or(|following| following.is_well(now));
        if is_well && entry.failing.iter().any(|kind| *kind != OVERLAP) {
            entry.failing.retain(|kind| *kind == OVERLAP);
            info!("{label}: works again");
        }
    }

    /// What a plugin's collectors have brought since the last call.
    pub fn take(&mut self, plugin: &str) -> Vec<CustomValue> {
        let of_plugin = self.entries.iter_mut().filter(|((of, _), _)| of == plugin);
        let mut taken = Vec::new();
        let mut series: HashSet<(String, Vec<(String, String)>)> = HashSet::new();
        for ((of, collector), entry) in of_plugin {
            let mut own = std::mem::take(&mut entry.waiting).into_values();
            // Several values of one series are one collector's at several times; another one's would be no series any more.
            let before = own.len();
            own.retain(|value| !series.contains(&(value.name.clone(), value.attributes.clone())));
            if own.len() < before {
                let reason = "brings what another collector of the plugin brings, which is left out here; name one of \
                              the two otherwise";
                entry.failed(OVERLAP, &format!("{of}: {collector}"), reason);
            }
            series.extend(
                own.iter()
                    .map(|value| (value.name.clone(), value.attributes.clone())),
            );
            taken.extend(own);
        }
        taken
    }

    /// Runs and failures so far.
    pub fn readings(&self) -> Vec<CollectorReading> {
        let reading = |((plugin, collector), entry): (&Id, &Entry)| CollectorReading {
            plugin: plugin.clone(),
            collector: collector.clone(),
            runs: entry.runs,
            failures: entry
                .failures
                .iter()
                .map(|(&kind, &count)| (kind, count))
                .collect(),
        };
        self.entries.iter().map(reading).collect()
    }
}

impl Entry {
    /// Nothing has changed that its runs depend on.
    fn goes_on(&self, spec: &CollectorSpec, plugin: &Plugin, interval: Duration) -> bool {
        let is_told_the_interval = self.following.is_some(); // at its start, and never again
        *self.spec == *spec
            && self.plugin.settings == plugin.settings
            && (self.interval == interval || !is_told_the_interval)
    }

    /// The same collector, of another state of its plugin.
    fn moved_to(self, group: GroupId, plugin: &Arc<Plugin>, interval: Duration, now: Instant) -> Self {
        let due = match self.following {
            Some(_) => self.due,
            None => self.due.min(now + interval),
        };
        Self {
            group,
            plugin: Arc::clone(plugin),
            due,
            interval,
            ..self
        }
    }

    /// Counts a failure; a kind of failure is told when it begins.
    fn failed(&mut self, kind: &'static str, label: &str, reason: &str) {
        *self.failures.entry(kind).or_default() += 1;
        if let Some(following) = &mut self.following {
            following.failed(Instant::now());
        }
        if self.tells_all {
            warn!("{label}: {kind}: {reason}");
        } else if self.failing.insert(kind) {
            warn!("{label}: {kind}: {reason} (told once, counted as kevmon.collector.failures)");
        }
    }
}
