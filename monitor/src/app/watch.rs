//! The flow of one run: source → tracker → readings. Holds the order that makes the numbers right: attach, then
//! snapshot; drain, then sample; snapshot, then drain, then call missing.

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tracing::{debug, info, warn};

use crate::{
    cli,
    export::ServiceReading,
    health::{Health, Soft},
    kernel::KernelSource,
    metrics::HealthReading,
    plugin::{GroupId, Plugin, Tracker},
    process::{BootTime, Event, ProcessKey, Sample, Seen},
    procfs::{self, GaugeReader, HostReader, ProcSource},
};

/// Snapshots at the start until one shows nothing new; a fork bomb of matching processes is left to its events.
const SNAPSHOTS: usize = 8;

/// A drain ends after this long, so that a storm does not keep the ticks and signals waiting.
const DRAIN_FOR: Duration = Duration::from_millis(50);
/// Events between two looks at the clock.
const EVENTS_AT_ONCE: usize = 256;

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drained {
    /// Events taken.
    pub(super) taken: usize,
    /// Nothing waited any more at its end.
    pub(super) all: bool,
}

/// What a snapshot brought.
struct Found {
    /// Processes of interest that were not known.
    new: usize,
    /// Known ones that the kernel side does not watch: its map was full.
    unmarked: usize,
}

enum Source {
    Ebpf(Box<KernelSource>),
    Proc(ProcSource),
}

/// A run's state.
pub(super) struct Watch {
    source: Source,
    reason: String,
    tracker: Tracker,
    gauges: GaugeReader,
    host: HostReader,
    root: PathBuf,
    /// Soft failures so far.
    pub health: Health,
    /// Records lost so far, as of the last look.
    lost: u64,
    /// The same as of each group's last reading.
    lost_at_reading: Vec<u64>,
    /// Members that the kernel side does not watch, as of the last snapshot: nothing tells their ends.
    unmarked: usize,
    /// The usage could not be read at this tick: the last values stand.
    stale: bool,
    /// When /proc was last scanned.
    scanned: BootTime,
    /// A sweep is to be repeated then.
    sweep_at: Option<BootTime>,
}

impl Watch {
    /// Opens the source and finds the processes that run already.
    ///
    /// # Errors
    /// The source that was asked for is refused, or no source works.
    pub fn start(choice: cli::Source, root: PathBuf, plugins: Vec<Plugin>) -> Result<Self> {
        let began = HostReader::now();
        let (source, reason) = open(choice, &root)?;
        match &source {
            Source::Ebpf(_) => info!("source ebpf: {reason}"),
            Source::Proc(_) => {
                warn!("source proc: {reason}; processes that live between two scans are not seen")
            }
        }
        let groups = plugins.len();
        let mut watch = Self {
            source,
            reason,
            tracker: Tracker::new(plugins, began).context("the plugins' patterns")?,
            gauges: GaugeReader::new(root.clone()),
            host: HostReader::new(root.clone()),
            root,
            health: Health::default(),
            lost: 0,
            lost_at_reading: vec![0; groups],
            unmarked: 0,
            stale: false,
            scanned: began,
            sweep_at: None,
        };
        match &watch.source {
            Source::Ebpf(_) => watch.reconcile()?,
            // What is there at the first scan has been there before: nothing of it counts as a start.
            Source::Proc(_) => watch.scan(None)?,
        }
        Ok(watch)
    }

    /// The plugins, by group.
    pub fn plugins(&self) -> impl Iterator<Item = (GroupId, &Plugin)> {
        self.tracker.plugins()
    }

    /// Becomes readable when events wait; `None` when the source has none.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn event_descriptor(&self) -> std::io::Result<Option<OwnedFd>> {
        match &self.source {
            Source::Ebpf(kernel) => kernel.event_descriptor().map(Some),
            Source::Proc(_) => Ok(None),
        }
    }

    /// Takes the events that wait.
    pub fn drain(&mut self) -> Drained {
        let mut drained = Drained { taken: 0, all: true };
        let began = Instant::now();
        let Source::Ebpf(kernel) = &mut self.source else {
            return drained;
        };
        while let Some(mut event) = kernel.next_event(&mut self.health) {
            if let Event::Rename {
                key,
                threads,
                comm,
                found,
                usage,
                ..
            } = &mut event
            {
                // What is not known has been judged by all its names but this one.
                if !self.tracker.knows(*key) {
                    if self.tracker.matches_name(comm) {
                        *found = procfs::identity(&self.root, *key).ok();
                    }
                } else if *threads > 1
                    && let Ok(Some(sample)) = kernel.sample_one(*key)
                {
                    // The record could not hold what the leader's siblings had used.
                    *usage = usage.at_least(&sample.usage);
                }
            }
            let freed = matches!(event, Event::Free { .. }).then(|| event.key());
            if let Some(judgement) = self.tracker.apply(event) {
                kernel.judge(&judgement, &mut self.health);
            }
            if let Some(key) = freed {
                kernel.forget(key);
            }
            drained.taken += 1;
            if drained.taken.is_multiple_of(EVENTS_AT_ONCE) && began.elapsed() > DRAIN_FOR {
                drained.all = false;
                break;
            }
        }
        drained
    }

    /// Reads the groups in `due`.
    pub fn collect(&mut self, due: &[GroupId]) -> Vec<ServiceReading> {
        if let Err(error) = self.catch_up() {
            self.not_read(&error);
        }
        let tracked: HashSet<ProcessKey> = self.tracker.tracked().collect();
        let samples = match self.sample(&tracked) {
            Ok(samples) => {
                self.tracker.observe(&samples, HostReader::now());
                samples
            }
            Err(error) => {
                self.not_read(&error);
                HashMap::new()
            }
        };
        self.gauges.retain(&tracked);
        let gauges = self
            .gauges
            .read(&self.tracker.live_members(due), &samples, &mut self.health);
        let (now, host) = (HostReader::now(), self.host.host());
        let readings = due
            .iter()
            .map(|&group| (group, self.tracker.read(group, now, host, &gauges)))
            .collect::<Vec<_>>();
        let plugins: Vec<&Plugin> = self.tracker.plugins().map(|(_, plugin)| plugin).collect();
        readings
            .into_iter()
            .map(|(group, reading)| {
                self.health.add(Soft::SharedMemory, reading.sharing);
                ServiceReading {
                    plugin: plugins[group.0].clone(),
                    reading,
                }
            })
            .collect()
    }

    /// The last values stand, the interval says so, and the next tick tries again.
    fn not_read(&mut self, error: &anyhow::Error) {
        warn!("not read at this tick: {error:#}");
        self.health.count(Soft::IteratorFailed);
        self.stale = true;
    }

    /// kevmon's own state; to be read after [`Watch::collect`] for the same groups, whose interval it closes.
    pub fn health_reading(&mut self, due: &[GroupId], faulty_plugins: Vec<String>) -> HealthReading {
        let irregular = self.tracker.irregularities();
        let lost = self.lost + irregular.missing;
        let nothing_lost = !std::mem::take(&mut self.stale)
            && self.unmarked == 0
            && due.iter().all(|group| self.lost_at_reading[group.0] == lost);
        for group in due {
            self.lost_at_reading[group.0] = lost;
        }
        let (source, complete, lost) = match &self.source {
            Source::Ebpf(kernel) => ("ebpf", nothing_lost, kernel.losses().by_name().collect()),
            Source::Proc(_) => ("proc", false, Vec::new()),
        };
        let mut soft_failures: Vec<_> = self.health.all().collect();
        soft_failures.extend([
            ("process_missing", irregular.missing),
            ("totals_unsettled", irregular.unsettled),
            ("name_not_utf8", irregular.not_utf8),
        ]);
        HealthReading {
            source,
            source_reason: self.reason.clone(),
            complete,
            lost,
            sent: None,
            received: None,
            unattributed: 0,
            outage_ns: 0,
            outages: 0,
            soft_failures,
            faulty_plugins,
            tracked: self.tracker.table_len() as u64,
        }
    }

    /// Members that have ended and whose totals may still grow.
    pub fn unsettled(&self) -> u64 {
        self.tracker.unsettled().count() as u64
    }

    /// Says which those are.
    pub fn log_unsettled(&self) {
        for key in self.tracker.unsettled() {
            debug!("pid {} has ended and is not settled", key.tgid);
        }
    }

    /// Brings the table up to date: events, and a new snapshot when some of them were lost.
    fn catch_up(&mut self) -> Result<()> {
        match &self.source {
            Source::Proc(_) => self.scan(Some(self.scanned)),
            Source::Ebpf(_) => {
                self.drain();
                let Source::Ebpf(kernel) = &self.source else {
                    return Ok(());
                };
                let lost = kernel.losses().total() + self.health.get(Soft::Undecodable);
                let unmarked = std::mem::take(&mut self.unmarked) > 0;
                let sweep = self.sweep_at.is_some_and(|at| HostReader::now() >= at);
                if lost == self.lost && !sweep && !unmarked {
                    return Ok(());
                }
                if lost > self.lost {
                    warn!(
                        "{} records were lost; looking at every process again",
                        lost - self.lost
                    );
                    self.lost = lost;
                }
                let result = self.reconcile();
                if result.is_err() {
                    self.sweep_at = Some(HostReader::now()); // what was lost is still to be looked for
                }
                result
            }
        }
    }

    /// Snapshots until one shows no new match, then ends what it does not show.
    fn reconcile(&mut self) -> Result<()> {
        for _ in 0..SNAPSHOTS {
            let began = HostReader::now();
            let Source::Ebpf(kernel) = &mut self.source else {
                return Ok(());
            };
            let seen = kernel.snapshot().context("the process snapshot")?;
            let present: HashSet<ProcessKey> = seen.iter().map(|seen| seen.key).collect();
            let ended: Vec<ProcessKey> = seen
                .iter()
                .filter(|seen| seen.ended)
                .map(|seen| seen.key)
                .collect();
            let found = self.discover(seen, None);
            // What ended before the snapshot has its record in the ring by now; what is missing still was lost.
            let drained = self.drain();
            let now = HostReader::now();
            if drained.all {
                self.tracker.end_seen(&ended, now);
                self.tracker.end_missing(&present, began, now, true);
            }
            let Source::Ebpf(kernel) = &mut self.source else {
                return Ok(());
            };
            let sweep_at = kernel.sweep(&present, began);
            // In a storm that outlasts the drain nothing can be called missing yet: again at the next collection.
            self.sweep_at = if drained.all { sweep_at } else { Some(now) };
            self.unmarked = found.unmarked;
            if found.new == 0 && found.unmarked == 0 {
                break;
            }
        }
        Ok(())
    }

    fn scan(&mut self, new_since: Option<BootTime>) -> Result<()> {
        let began = HostReader::now();
        let Source::Proc(proc) = &mut self.source else {
            return Ok(());
        };
        let seen = proc
            .scan(&mut self.health)
            .with_context(|| self.root.display().to_string())?;
        let present: HashSet<ProcessKey> = seen
            .iter()
            .filter(|seen| !seen.ended)
            .map(|seen| seen.key)
            .collect();
        // Ends first: what started since may have taken an ended one's place.
        self.tracker.end_missing(&present, began, began, false);
        self.discover(seen, new_since);
        self.scanned = began;
        Ok(())
    }

    fn discover(&mut self, seen: Vec<Seen>, new_since: Option<BootTime>) -> Found {
        let now = HostReader::now();
        let mut found = Found { new: 0, unmarked: 0 };
        for mut seen in seen {
            let known = self.tracker.knows(seen.key);
            if let Source::Ebpf(_) = self.source
                && !seen.identity.exe.is_empty()
                && self.tracker.is_news(&seen)
            {
                seen.identity.argv = procfs::argv(&self.root, seen.key.tgid);
            }
            if let Some(judgement) = self.tracker.discover(&seen, now, new_since) {
                found.new += usize::from(judgement.keep && !known);
                if let Source::Ebpf(kernel) = &mut self.source {
                    found.unmarked += usize::from(judgement.keep && known && seen.sequence.is_none());
                    kernel.judge(&judgement, &mut self.health);
                }
            }
        }
        found
    }

    fn sample(&mut self, tracked: &HashSet<ProcessKey>) -> Result<HashMap<ProcessKey, Sample>> {
        match &mut self.source {
            Source::Proc(proc) => Ok(proc.sample(tracked, &mut self.health)),
            Source::Ebpf(kernel) => {
                let tasks = self.host.tasks().unwrap_or(usize::MAX);
                kernel
                    .sample(tracked, tasks)
                    .with_context(|| format!("the usage of {} processes", tracked.len()))
            }
        }
    }
}

fn open(choice: cli::Source, root: &std::path::Path) -> Result<(Source, String)> {
    let proc = || Source::Proc(ProcSource::new(root.to_owned()));
    if choice == cli::Source::Proc {
        return Ok((proc(), "asked for".to_owned()));
    }
    match (KernelSource::attach(), choice) {
        (Ok(kernel), cli::Source::Ebpf) => Ok((Source::Ebpf(Box::new(kernel)), "asked for".to_owned())),
        (Ok(kernel), _) => Ok((Source::Ebpf(Box::new(kernel)), "the kernel allows it".to_owned())),
        (Err(refusal), cli::Source::Ebpf) => bail!("--source ebpf: {refusal}"),
        (Err(refusal), _) => Ok((proc(), format!("eBPF was refused: {refusal}"))),
    }
}
