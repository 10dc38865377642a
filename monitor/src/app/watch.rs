//! The flow of one run: source → tracker → readings. Holds the order that makes the numbers right: attach, then
//! snapshot; drain, then sample; snapshot, then drain, then call missing.

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    path::PathBuf,
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

/// More than the ring can hold: what waits when a drain begins is taken by it, and a storm does not keep it for ever.
const EVENTS_AT_ONCE: usize = 1 << 16;

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

    /// Takes all events that wait; returns how many.
    pub fn drain(&mut self) -> usize {
        let Source::Ebpf(kernel) = &mut self.source else {
            return 0;
        };
        let mut taken = 0;
        while taken < EVENTS_AT_ONCE
            && let Some(mut event) = kernel.next_event(&mut self.health)
        {
            if let Event::Rename {
                key,
                threads,
                found,
                usage,
                ..
            } = &mut event
            {
                if !self.tracker.knows(*key) {
                    *found = procfs::identity(&self.root, *key).ok();
                } else if *threads > 1
                    && let Ok(Some(sample)) = kernel.sample_one(*key)
                {
                    // The record could not hold what the leader's siblings had used.
                    *usage = usage.at_least(&sample.usage);
                }
            }
            taken += 1;
            let freed = matches!(event, Event::Free { .. }).then(|| event.key());
            if let Some(judgement) = self.tracker.apply(event) {
                kernel.judge(&judgement, &mut self.health);
            }
            if let Some(key) = freed {
                kernel.forget(key);
            }
        }
        taken
    }

    /// Reads the groups in `due`.
    ///
    /// # Errors
    /// The source has stopped working.
    pub fn collect(&mut self, due: &[GroupId]) -> Result<Vec<ServiceReading>> {
        self.catch_up()?;
        let tracked: HashSet<ProcessKey> = self.tracker.tracked().collect();
        let samples = self.sample(&tracked);
        self.tracker.observe(&samples, HostReader::now());
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
        Ok(readings
            .into_iter()
            .map(|(group, reading)| {
                self.health.add(Soft::SharedMemory, reading.sharing);
                ServiceReading {
                    plugin: plugins[group.0].clone(),
                    reading,
                }
            })
            .collect())
    }

    /// kevmon's own state; to be read after [`Watch::collect`] for the same groups, whose interval it closes.
    pub fn health_reading(&mut self, due: &[GroupId], faulty_plugins: Vec<String>) -> HealthReading {
        let nothing_lost = !std::mem::take(&mut self.stale)
            && due.iter().all(|group| self.lost_at_reading[group.0] == self.lost);
        for group in due {
            self.lost_at_reading[group.0] = self.lost;
        }
        let irregular = self.tracker.irregularities();
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
                let sweep = self.sweep_at.is_some_and(|at| HostReader::now() >= at);
                if lost == self.lost && !sweep {
                    return Ok(());
                }
                if lost > self.lost {
                    warn!(
                        "{} records were lost; looking at every process again",
                        lost - self.lost
                    );
                    self.lost = lost;
                }
                self.reconcile()
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
            let new = self.discover(seen, None);
            // What ended before the snapshot has its record in the ring by now; what is missing still was lost.
            self.drain();
            self.tracker.end_missing(&present, began, HostReader::now());
            let Source::Ebpf(kernel) = &mut self.source else {
                return Ok(());
            };
            self.sweep_at = kernel.sweep(&present, began);
            if new == 0 {
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
        self.discover(seen, new_since);
        self.tracker.end_missing(&present, began, began);
        self.scanned = began;
        Ok(())
    }

    /// Returns how many were new and of interest.
    fn discover(&mut self, seen: Vec<Seen>, new_since: Option<BootTime>) -> usize {
        let now = HostReader::now();
        let mut new = 0;
        for mut seen in seen {
            let known = self.tracker.knows(seen.key);
            if let Source::Ebpf(_) = self.source
                && !known
                && !seen.identity.exe.is_empty()
            {
                seen.identity.argv = procfs::argv(&self.root, seen.key.tgid);
            }
            if let Some(judgement) = self.tracker.discover(&seen, now, new_since) {
                new += usize::from(judgement.keep && !known);
                if let Source::Ebpf(kernel) = &mut self.source {
                    kernel.judge(&judgement, &mut self.health);
                }
            }
        }
        new
    }

    fn sample(&mut self, tracked: &HashSet<ProcessKey>) -> HashMap<ProcessKey, Sample> {
        match &mut self.source {
            Source::Proc(proc) => proc.sample(tracked, &mut self.health),
            Source::Ebpf(kernel) => {
                let tasks = self.host.tasks().unwrap_or(usize::MAX);
                kernel.sample(tracked, tasks).unwrap_or_else(|error| {
                    // The last values stand; the next tick tries again.
                    warn!(
                        "the usage of {} processes could not be read: {error}",
                        tracked.len()
                    );
                    self.health.count(Soft::IteratorFailed);
                    HashMap::new()
                })
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
