//! Collectors: values that plugins bring from files, commands, local HTTP servers and code of kevmon's own. Each runs beside
//! the ticks, at its own interval, never twice at once, and its failures are counted under its name.

mod builtin;
pub mod confine;
mod format;
mod http;
mod log;
mod run;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, mpsc};
use tracing::{info, warn};

use crate::{
    plugin::{
        GroupId, Plugin,
        collector::{CollectorReading, CollectorSpec, CustomValue, FilePath, Source},
        rates::Rates,
    },
    process::ProcessKey,
};
use log::LogBudget;
use run::{Context, Outcome};
use values::Sums;

/// Runs at once: five hundred plugins may be due together.
const AT_ONCE: usize = 8;
/// Values that wait of one collector for their plugin's next collection; the oldest make room.
const WAITING: usize = 20_000;

/// What collectors need to know of this kevmon.
#[derive(Debug, Clone)]
pub struct Places {
    /// Where proc is mounted.
    pub proc: PathBuf,
    /// What stays out of their reach: state, settings, secrets.
    pub denied: Vec<PathBuf>,
    /// Whether a name is one of kevmon's own metrics.
    pub is_taken: fn(&str) -> bool,
}

type Id = (String, String);

/// All collectors of a run.
pub struct Collectors {
    places: Arc<Places>,
    entries: BTreeMap<Id, Entry>,
    to: mpsc::UnboundedSender<(Id, u64, Outcome)>,
    from: mpsc::UnboundedReceiver<(Id, u64, Outcome)>,
    logs: HashMap<String, LogBudget>,
    /// Tells a run of a collector from one of an earlier collector of its name.
    generation: u64,
    /// Runs that have not ended, of collectors that may be others by now.
    going: BTreeSet<Id>,
    /// Runs at once, of all collectors.
    turns: Arc<Semaphore>,
    /// Every failure is told, not the first of its kind alone.
    tells_all: bool,
}

struct Entry {
    group: GroupId,
    plugin: Arc<Plugin>,
    spec: Arc<CollectorSpec>,
    interval: Duration,
    due: Instant,
    generation: u64,
    running: bool,
    sums: Sums,
    rates: Rates,
    waiting: Vec<CustomValue>,
    runs: u64,
    failures: BTreeMap<&'static str, u64>,
    /// Kinds that have been told, until a run goes well.
    failing: BTreeSet<&'static str>,
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
        }
    }

    /// To whoever is trying a plugin out every failure is told.
    #[must_use]
    pub fn telling_all(self) -> Self {
        Self {
            tells_all: true,
            ..self
        }
    }

    /// What is out of reach from now on.
    pub fn set_places(&mut self, places: Places) {
        self.places = Arc::new(places);
    }

    /// These plugins' collectors from now on. One that is the same as before goes on; a new one is due at once.
    pub fn update<'a>(&mut self, plugins: impl Iterator<Item = (GroupId, &'a Arc<Plugin>)>, now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        for (group, plugin) in plugins {
            for spec in &plugin.collectors {
                let id = (plugin.label(), spec.name.clone());
                let interval = spec.interval.unwrap_or(plugin.interval);
                let entry = match before.remove(&id) {
                    Some(entry) if *entry.spec == *spec && entry.plugin.settings == plugin.settings => {
                        Entry {
                            group,
                            plugin: Arc::clone(plugin),
                            due: entry.due.min(now + interval),
                            interval,
                            ..entry
                        }
                    }
                    known => {
                        self.generation += 1;
                        let known = known.map(|entry| (entry.runs, entry.failures));
                        let (runs, failures) = known.unwrap_or_default();
                        Entry {
                            group,
                            plugin: Arc::clone(plugin),
                            spec: Arc::new(spec.clone()),
                            interval,
                            due: now,
                            generation: self.generation,
                            // Of the one before it: never two at once.
                            running: self.going.contains(&id),
                            sums: Sums::default(),
                            rates: Rates::default(),
                            waiting: Vec::new(),
                            runs,
                            failures,
                            failing: BTreeSet::new(),
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

    /// Some run has not ended yet.
    pub fn is_running(&self) -> bool {
        self.entries.values().any(|entry| entry.running)
    }

    /// Starts those that are due. `members` gives a group's live members. Needs a tokio runtime.
    pub fn start_due(&mut self, now: Instant, mut members: impl FnMut(GroupId) -> Vec<ProcessKey>) {
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.due <= now) {
            entry.due += entry.interval;
            if entry.due <= now {
                entry.due = now + entry.interval;
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
                members: if of_members {
                    members(entry.group)
                } else {
                    Vec::new()
                },
            };
            entry.running = true;
            self.going.insert(id.clone());
            let (id, generation, to) = (id.clone(), entry.generation, self.to.clone());
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
                let _: Result<(), mpsc::error::SendError<_>> = to.send((id, generation, outcome));
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

    fn take_up(&mut self, (id, generation, outcome): (Id, u64, Outcome)) {
        self.going.remove(&id);
        let Some(entry) = self.entries.get_mut(&id) else {
            return; // of a plugin that is no more
        };
        entry.running = false;
        if entry.generation != generation {
            return; // of what it was before
        }
        entry.runs += 1;
        let label = format!("{}: {}", id.0, id.1);
        let budget = self.logs.entry(id.0.clone()).or_default();
        for line in outcome.stderr.lines() {
            if budget.allows(line.len(), Instant::now()) {
                info!("{label}: stderr: {line}");
            }
        }
        if let Some(suppressed) = budget.take_suppressed(Instant::now()) {
            warn!("{label}: {suppressed} bytes of its log are left out: more than 2,000 a second");
        }
        let made = values::make(
            &entry.spec,
            &entry.plugin.transforms,
            outcome.found,
            entry.interval,
            (&mut entry.sums, &mut entry.rates),
            self.places.is_taken,
        );
        entry.waiting.extend(made.values);
        let over = entry.waiting.len().saturating_sub(WAITING);
        entry.waiting.drain(..over);
        let failures = outcome.failures.into_iter().chain(made.failures);
        let mut well = true;
        for (kind, reason) in failures {
            well = false;
            entry.failed(kind, &label, &reason);
        }
        if well && entry.failing.iter().any(|kind| *kind != OVERLAP) {
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
            let mut own = std::mem::take(&mut entry.waiting);
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
    /// Counts a failure; a kind of failure is told when it begins.
    fn failed(&mut self, kind: &'static str, label: &str, reason: &str) {
        *self.failures.entry(kind).or_default() += 1;
        if self.tells_all {
            warn!("{label}: {kind}: {reason}");
        } else if self.failing.insert(kind) {
            warn!("{label}: {kind}: {reason} (told once, counted as kevmon.collector.failures)");
        }
    }
}
