//! The flow of one run: source → tracker → readings. Holds the order that makes the numbers right: attach, then
//! snapshot; drain, then sample; snapshot, then drain, then call missing.

mod arguments;
mod completeness;
mod detail;
mod drain;
mod ends;
mod facts;
mod forks;
mod live;
mod look;
mod origin;
mod outlive;
pub(super) mod reconcile;
pub(super) mod record;
mod reload;
mod restore;
mod sleep;
mod titles;
mod verdicts;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tracing::{debug, info, warn};

use self::facts::FactReader;
pub(super) use self::{
    completeness::Next,
    live::{Happening, Observed},
    look::Looked,
    origin::Origin,
};
use super::{
    keeper::Kept,
    log::verdicts::{self as verdict_lines, VerdictLog},
    process_series,
};
use crate::{
    cli,
    episode::Episode,
    export::{Extra, ServiceReading, UnixClock},
    health::{Health, Pulse, Soft},
    kernel::{KernelSource, ProgramTime, Settings},
    limits::{self, CacheShare},
    metrics::{HealthReading, TelemetryReading},
    plugin::{Completeness, GroupId, Notice, Plugin, Reading, SavedGroup, Tracker},
    process::{BootTime, FactIds, KeyMap, KeySet, Moment, ProcessKey, Recovered, Sample},
    procfs::{self, GaugeReader, Hidden, HostReader, ProcSource},
};

/// Members of which a group is large.
const LARGE: usize = 1000;

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drained {
    /// Events taken.
    pub(super) taken: usize,
    /// Those of them that concern processes of interest, or made them so.
    pub(super) of_interest: usize,
    /// Nothing waited any more at its end.
    pub(super) all: bool,
}

enum Source {
    Ebpf(Box<KernelSource>),
    Proc(ProcSource),
}

/// A run's state.
pub(super) struct Watch {
    source: Source,
    reason: String,
    /// What hides processes in /proc from kevmon, as of the last scan.
    hidden: Option<Hidden>,
    tracker: Tracker,
    gauges: GaugeReader,
    /// What the source and `gauges` may keep open between two collections.
    caches: CacheShare,
    /// `caches` had to shrink, which the log has said.
    made_room: bool,
    host: HostReader,
    root: PathBuf,
    verdicts_are_read: bool,
    /// Verdicts in the debug log.
    verdict_log: VerdictLog,
    /// The last collection could not read the source, which the log has said.
    unread: Episode,
    /// Soft failures so far.
    pub health: Health,
    /// Records lost so far, as of the last look.
    lost: u64,
    /// Lost names that nobody can try on patterns, as of the last look.
    lost_names: u64,
    /// How often the programs had stopped watching, as of the last look.
    lapses: u64,
    /// Records are being lost, which the log has said.
    losing: Episode,
    /// What was lost as of each group's last reading.
    lost_at_reading: BTreeMap<GroupId, completeness::LostSoFar>,
    /// Members that the kernel side does not watch, as of the last snapshot: nothing tells their ends.
    unmarked: usize,
    /// How often an interval did not tell all, for another reason than a count of `lost`: processes could not be listed,
    /// kevmon was away, or lives were lost but for their sums.
    unclear: u64,
    /// How often the usage of processes could not be read: counts are exact then, totals are not.
    unread_totals: u64,
    /// When this run began.
    started: BootTime,
    /// When the first of the groups was first watched, by whichever run.
    first_watch: Moment,
    /// When /proc was last scanned.
    scanned: BootTime,
    /// A sweep is to be repeated then.
    sweep_at: Option<BootTime>,
    /// Records have been taken since [`Watch::note_paced`].
    has_taken: bool,
    /// A snapshot that is to be compared with who is known.
    compared: Option<reconcile::Snapshot>,
    /// Last words may be waited for.
    may_wait: bool,
    /// While a snapshot follows a change of plugins: when that was. What was judged before, and found of no interest, is
    /// judged again.
    replanned: Option<BootTime>,
    /// Titles to be looked at.
    looks: titles::Looks,
    /// When facts that are only shown were read last.
    shown_facts: facts::Shown,
    /// Groups whose last reading had series of single processes.
    with_series: BTreeSet<GroupId>,
    /// Titles of processes that nobody follows.
    forks: forks::Forks,
    /// All events before this time have been taken.
    drained_at: BootTime,
    /// When the first event happened that this run has taken.
    first_taken: Option<BootTime>,
    /// The detailed mode.
    detail: detail::Detail,
    /// What the flight recorder is told.
    record: record::Record,
    /// Whether dying threads tell their processes' totals.
    ends: ends::Ends,
    /// What the kernel side kept of lost records, until all that was told before it has been taken.
    recovered: Recovered,
    /// Events for `kevmon events`, since they were taken last; `None`: nobody asks for them.
    observed: Option<Vec<Observed>>,
}

impl Watch {
    /// Opens the source and finds the processes that run already.
    ///
    /// # Errors
    /// The source that was asked for is refused, or no source works.
    pub fn start(origin: Origin, plugins: Vec<Plugin>, kept: &Kept) -> Result<Self> {
        let began = HostReader::now();
        let caches = CacheShare::of(limits::open_file_limit());
        let root = origin.root.clone();
        let ends = ends::Ends::new(origin.exact_ends);
        let in_detail = plugins.iter().any(|plugin| plugin.detail.is_some());
        let (source, reason) = open(origin, caches, in_detail)?;
        match &source {
            Source::Ebpf(_) => info!("source ebpf: {reason}"),
            Source::Proc(_) => {
                warn!("source proc: {reason}; processes that live between two scans are not seen")
            }
        }
        let mut watch = Self {
            source,
            reason,
            hidden: None,
            tracker: Tracker::new(plugins, began).context("the plugins' patterns")?,
            gauges: GaugeReader::new(root.clone(), caches.processes),
            caches,
            made_room: false,
            verdicts_are_read: verdict_lines::are_read(),
            verdict_log: VerdictLog::default(),
            unread: Episode::default(),
            host: HostReader::new(root.clone()),
            root,
            health: Health::default(),
            lost: 0,
            lost_names: 0,
            lapses: 0,
            losing: Episode::default(),
            lost_at_reading: BTreeMap::new(),
            unmarked: 0,
            unclear: 0,
            unread_totals: 0,
            started: began,
            first_watch: kept
                .groups
                .iter()
                .map(|(_, kept)| kept.saved.watch_start)
                .min()
                .map_or(began.into(), Moment::Unix),
            scanned: began,
            sweep_at: None,
            has_taken: false,
            compared: None,
            may_wait: true,
            replanned: None,
            looks: titles::Looks::default(),
            shown_facts: facts::Shown::default(),
            with_series: kept.with_series().collect(),
            forks: forks::Forks::new(began),
            drained_at: began,
            first_taken: None,
            detail: detail::Detail::default(),
            record: record::Record::default(),
            ends,
            recovered: Recovered::default(),
            observed: None,
        };
        if watch.takeover().is_some() {
            watch.tracker.go_on_unseen();
        }
        watch.restore(kept, began)?;
        watch.look_for_hidden();
        watch.tell_how_much_of_arguments();
        match &watch.source {
            Source::Ebpf(_) if watch.takeover().is_some() => watch.take_over()?,
            Source::Ebpf(_) => watch.reconcile()?,
            // What is there at the first scan has been there before: nothing of it counts as a start.
            Source::Proc(_) => watch.scan(None)?,
        }
        watch.tracker.end_comparison();
        watch.follow_detail();
        watch.look_at_ends();
        Ok(watch)
    }

    /// Execs send no more of long arguments than plugins look at.
    fn tell_how_much_of_arguments(&mut self) {
        let all = self.tracker.reads_command_lines();
        if let Source::Ebpf(kernel) = &mut self.source {
            kernel.send_arguments(all);
        }
    }

    /// The plugins, by group.
    pub fn plugins(&self) -> impl Iterator<Item = (GroupId, &Arc<Plugin>)> {
        self.tracker.plugins()
    }

    /// Gives back the memory of processes that are gone, where there were many.
    pub(super) fn give_back_memory(&mut self) {
        if self.tracker.shrink() {
            limits::give_back_memory();
        }
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

    /// Asks the thread of the ring whether it still moves; `None` where there is none.
    pub fn ask_thread(&self) -> Option<Pulse> {
        match &self.source {
            Source::Ebpf(kernel) => kernel.ask_thread(),
            Source::Proc(_) => None,
        }
    }

    /// Reads the groups in `due`, and no process of others: what it costs is up to their own members. With none, all
    /// totals are brought up to date.
    pub fn collect(&mut self, due: &[GroupId]) -> Vec<ServiceReading> {
        if limits::is_short_of_files(&self.root) {
            self.make_room();
        }
        let mut all_read = true;
        if let Err(error) = self.catch_up() {
            self.not_read(&error);
            self.unclear += 1;
            all_read = false;
        }
        self.look_at_titles();
        self.look_at_ends();
        if self.detail.is_on() {
            self.look_at_threads();
            self.look_at_memory(due);
        }
        let with_facts = self.tracker.with_facts(due);
        // Asked of what is kept open, which is bounded: what is tracked, due or not, may be much more.
        let tracker = &self.tracker;
        let shown: KeySet = with_facts.iter().copied().collect();
        let is_tracked = |key| !tracker.groups_of(key).is_empty() || shown.contains(&key);
        self.gauges.retain(is_tracked);
        if let Source::Ebpf(kernel) = &mut self.source {
            kernel.retain(is_tracked);
        }
        self.shown_facts.retain(is_tracked);
        let mut wanted: KeySet = self.tracker.tracked_of(due).collect();
        // Candidates, too: what they use before they fit is not the group's of the interval in which they do.
        wanted.extend(&with_facts);
        let samples = match self.sample(&wanted) {
            Ok(samples) => {
                let applied = self.applied();
                self.tracker.observe(&samples, &wanted, applied);
                samples
            }
            Err(error) => {
                self.not_read(&error);
                self.unread_totals += 1;
                all_read = false;
                KeyMap::default()
            }
        };
        if all_read && let Some(failures) = self.unread.works(Instant::now()) {
            info!("the processes can be read again; {failures} ticks could not");
        }
        let now = HostReader::now();
        let mut reader = FactReader::of(&self.root, &mut self.source);
        for key in with_facts {
            let ids = samples
                .get(&key)
                .map_or(FactIds::default(), |sample| sample.facts);
            if !self.tracker.only_shows_facts(key) || self.shown_facts.is_due(key, ids, now) {
                self.tracker.judge_facts(key, reader.read(key, ids), now);
            }
        }
        let gauges = self
            .gauges
            .read(&self.tracker.live_members(due), &samples, &mut self.health);
        if self.gauges.take_out_of_files() {
            self.make_room();
        }
        let (now, host) = (HostReader::now(), self.host.host());
        let unlisted = self.hidden_processes().is_some();
        due.iter()
            .filter_map(|&group| {
                let plugin = self.tracker.plugin(group)?;
                let mut reading = self.tracker.read(group, now, host, &gauges)?;
                if unlisted && reading.process_count == 0 {
                    reading.set_unlisted();
                }
                self.health.add(Soft::SharedMemory, reading.sharing);
                // Series of single processes are ended first.
                let had_series = self.note_series(group, &reading);
                if !had_series && is_forgotten(&plugin, &reading, now) {
                    return None;
                }
                if plugin.per_process.is_some_and(|of| of.paths) {
                    process_series::read_paths(&self.root, &mut reading);
                }
                let attributes = self.tracker.templated(group);
                Some(ServiceReading {
                    group,
                    plugin,
                    reading,
                    extra: Extra {
                        attributes,
                        ..Extra::default()
                    },
                    is_last: false,
                    complete: Completeness::default(),
                })
            })
            .collect()
    }

    /// Notes whether a reading has series of single processes; returns whether the group's last one had.
    fn note_series(&mut self, group: GroupId, reading: &Reading) -> bool {
        let singles = reading.per_process.as_ref();
        if singles.is_some_and(|singles| !singles.processes.is_empty()) {
            !self.with_series.insert(group)
        } else {
            self.with_series.remove(&group)
        }
    }

    /// Looks whether /proc hides processes, and says so when that changes.
    pub(super) fn look_for_hidden(&mut self) {
        let hidden = Hidden::from(&self.root);
        if hidden == self.hidden {
            return;
        }
        match (&hidden, &self.source) {
            (Some(hidden), Source::Proc(_)) => {
                warn!("{hidden}; groups without a visible process have no values")
            }
            (Some(hidden), Source::Ebpf(_)) => {
                warn!("arguments and resident sets are not known in /proc: {hidden}");
            }
            (None, _) => info!("/proc shows the processes of all users again"),
        }
        self.hidden = hidden;
    }

    /// Why some processes are in no list of this source.
    fn hidden_processes(&self) -> Option<String> {
        match &self.source {
            Source::Proc(_) => self.hidden.as_ref().map(ToString::to_string),
            Source::Ebpf(_) => None,
        }
    }

    /// The last values stand, the interval says so, and the next tick tries again.
    fn not_read(&mut self, error: &anyhow::Error) {
        if is_out_of_files(error) {
            self.make_room();
        }
        if !self.unread.fails(Instant::now()) {
            debug!("not read at this tick either: {error:#}");
        } else {
            let remedy = io_error(error).and_then(limits::remedy);
            let remedy = remedy.map_or_else(String::new, |remedy| format!("; {remedy}"));
            warn!(
                "the processes cannot be read for now: {error:#}{remedy}; their last values stand, and each collection \
                 tries again"
            );
        }
        self.health.count(Soft::IteratorFailed);
    }

    /// Looks for what events do not tell: with /proc for processes that came and went, with eBPF for records that were lost.
    pub fn keep_up(&mut self) {
        if let Err(error) = self.catch_up() {
            self.not_read(&error);
        }
    }

    /// What has been lost since the start, by what lost it.
    pub fn losses(&self) -> Vec<(&'static str, u64)> {
        match &self.source {
            Source::Ebpf(kernel) => kernel.losses().by_name().collect(),
            Source::Proc(_) => Vec::new(),
        }
    }

    /// kevmon's own state. `complete`: of the groups that were collected, see [`Watch::close_intervals`].
    pub fn health_reading(&self, complete: Completeness, faulty_plugins: Vec<String>) -> HealthReading {
        let irregular = self.tracker.irregularities();
        let lost = self.losses();
        let (source, records) = match &self.source {
            Source::Ebpf(kernel) => ("ebpf", Some(kernel.records())),
            Source::Proc(_) => ("proc", None),
        };
        let mut soft_failures: Vec<_> = self.health.all().collect();
        soft_failures.extend([
            ("process_missing", irregular.missing),
            ("totals_unsettled", irregular.unsettled),
            ("name_not_utf8", irregular.not_utf8),
            ("untracked_process", irregular.untracked),
            ("verdict_unknown", irregular.verdicts_unknown),
            ("event_dropped", irregular.notices_dropped),
        ]);
        HealthReading {
            source,
            source_reason: self.reason.clone(),
            hidden: self.hidden_processes(),
            complete: complete.counts,
            complete_totals: complete.totals,
            sent: records.map(|records| records.sent),
            received: records.map(|records| records.received),
            unattributed: irregular.unattributed + HealthReading::lives_in(&lost),
            lost,
            outage_ns: 0,
            outages: 0,
            clock_offset: Duration::ZERO,
            soft_failures,
            faulty_plugins,
            collectors: Vec::new(),
            tracked: self.tracker.table_len() as u64,
            started: self.started.into(),
            first_watch: self.first_watch,
            exports: Vec::new(),
            unconfirmed: 0,
            telemetry: TelemetryReading::default(),
        }
    }

    /// What happened to members since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.tracker.take_notices(HostReader::now())
    }

    /// Who has started members since the last call.
    pub(super) fn take_parents(&mut self) -> Vec<ProcessKey> {
        self.tracker.take_parents()
    }

    /// Keeps events from now on, until they are taken.
    pub fn observe(&mut self) {
        self.observed = Some(Vec::new());
    }

    /// The events since the last call.
    pub fn take_observed(&mut self) -> Vec<Observed> {
        self.observed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A group's plugin; `None` for a group that is no more.
    pub fn plugin(&self, group: GroupId) -> Option<Arc<Plugin>> {
        self.tracker.plugin(group)
    }

    /// Whether a group has so many members that to read it takes long.
    pub fn is_large(&self, group: GroupId) -> bool {
        self.tracker.member_count(group) > LARGE
    }

    /// A group's live members.
    pub fn members(&self, group: GroupId) -> Vec<ProcessKey> {
        self.tracker.live_members(&[group])
    }

    /// CPU time that a process had used when it was read last, ns; `None` where it is not known.
    pub fn cpu_time_of(&self, key: ProcessKey) -> Option<u64> {
        self.tracker.cpu_time_of(key)
    }

    /// Whether something has happened to a group since [`Watch::saved`] was last asked.
    pub fn is_unsaved(&self) -> bool {
        self.tracker.is_unsaved(HostReader::now())
    }

    /// What is to outlive kevmon of these groups, which have just been collected, and of those to which something has
    /// happened. Starts of series are told by `clock`, what happened by `wall`.
    pub fn saved(
        &mut self,
        due: &[GroupId],
        clock: UnixClock,
        wall: UnixClock,
    ) -> Vec<(GroupId, SavedGroup)> {
        let (starts, events) = (|moment| clock.unix(moment), |moment| wall.unix(moment));
        self.tracker.saved(due, &starts, &events)
    }

    /// Reads the host's memory and CPUs again.
    pub fn read_host_again(&mut self) {
        self.host.read_again();
    }

    /// kevmon itself, as far as it can be read.
    pub fn own(&self) -> procfs::Own {
        self.host.own()
    }

    /// What the kernel counted of each eBPF program, while its statistics were on.
    pub fn program_times(&self) -> Vec<ProgramTime> {
        match &self.source {
            Source::Ebpf(kernel) => kernel.program_times(),
            Source::Proc(_) => Vec::new(),
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

    /// Closes half of what is kept open between two collections, because files run out; for good.
    fn make_room(&mut self) {
        let (now, limit) = (self.caches, limits::open_file_limit());
        self.caches = now.halved().at_most(CacheShare::of(limit));
        if now == self.caches {
            return;
        }
        if !std::mem::replace(&mut self.made_room, true) {
            warn!(
                "open files run out (limit {limit}): fewer are kept open between two collections from now on, which costs \
                 CPU time and no accuracy; raise the limit (systemd: LimitNOFILE=, ulimit -Hn)"
            );
        }
        self.gauges.shrink(self.caches.processes);
        if let Source::Ebpf(kernel) = &mut self.source {
            kernel.shrink(self.caches.links);
        }
    }

    /// The usage of `tracked`. What is kept open makes room where no descriptor is left for it.
    fn sample(&mut self, tracked: &KeySet) -> Result<KeyMap<Sample>> {
        match self.sample_once(tracked) {
            Err(error) if is_out_of_files(&error) => {
                self.make_room();
                self.sample_once(tracked)
            }
            result => result,
        }
    }

    fn sample_once(&mut self, tracked: &KeySet) -> Result<KeyMap<Sample>> {
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

/// The system's error that an error comes from.
fn io_error(error: &anyhow::Error) -> Option<&std::io::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

fn is_out_of_files(error: &anyhow::Error) -> bool {
    io_error(error).is_some_and(limits::is_out_of_files)
}

/// Whether nothing has been there for as long as the plugin wants to hear of that.
fn is_forgotten(plugin: &Plugin, reading: &Reading, now: BootTime) -> bool {
    let Some(after) = plugin.forget_after else {
        return false;
    };
    // Of an end before this run's boot time nothing is known but that it was before.
    let last = match (reading.last_exit, reading.watch_start) {
        (Some(Moment::Boot(time)), _) | (None, Moment::Boot(time)) => Some(time),
        _ => None,
    };
    reading.process_count == 0 && reading.unsettled == 0 && last.is_none_or(|last| now.since(last) >= after)
}

fn open(origin: Origin, caches: CacheShare, in_detail: bool) -> Result<(Source, String)> {
    let choice = origin.choice;
    let settings = Settings {
        ring_bytes: origin.ring_bytes,
        links: caches.links,
        pinning: origin.pinning,
        threads: in_detail,
        gives_up_rights: true,
    };
    let proc = || Source::Proc(ProcSource::new(origin.root.clone()));
    if choice == cli::Source::Proc {
        return Ok((proc(), "asked for".to_owned()));
    }
    match (KernelSource::attach(settings), choice) {
        (Ok(kernel), cli::Source::Ebpf) => Ok((Source::Ebpf(Box::new(kernel)), "asked for".to_owned())),
        (Ok(kernel), _) => Ok((Source::Ebpf(Box::new(kernel)), "the kernel allows it".to_owned())),
        (Err(refusal), cli::Source::Ebpf) => bail!("{}: {refusal}", origin.asked_by),
        (Err(refusal), _) => Ok((proc(), format!("eBPF was refused: {refusal}"))),
    }
}
