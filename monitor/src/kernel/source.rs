//! The eBPF source as the rest of kevmon sees it: events, snapshots, samples, verdicts, and what was lost.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::Duration,
};

use aya::maps::{Array, HashMap as BpfHashMap, MapData, PerCpuArray};
use aya_log::EbpfLogger;
use kevmon_common::{ABSENT, ARGUMENTS_MOST, Counters, Key, MARK_TOLD, Mark, WATCHED_ALWAYS};
use log::Log;
use tracing::{debug, info, warn};

use super::{
    caller::Caller,
    cgroups::Cgroups,
    decode::{self, Blind},
    heartbeat::{Heartbeat, after, monotonic},
    held::Held,
    iterator::Iterators,
    losses::{self, Losses, Records, ToldBefore},
    lost::Lost,
    object::{self, Attached, LoadError, READER, Shared, Sizes, TakeoverError},
    pins::{self, Found, PinError, Pins},
    refusal::Refusal,
    rights,
    ring::{Reached, Ring, Told},
    ring_memory::RingMemory,
    sys,
    threads::Threads,
    verdicts::Verdicts,
};
use crate::{
    health::{Health, Pulse, Soft},
    limits,
    process::{
        BootTime, Event, FactIds, Judgement, KeyMap, KeySet, ProcessKey, Progress, Recovered, Sample, Seen,
    },
};

/// The programs' own log, at `--log-level debug`.
const LOG_BYTES: u32 = 64 << 10;
/// Marks held at most, however large pid_max is; a mark takes about 210 bytes of kernel memory.
const MARKS: u32 = 1 << 16;
/// Records for long arguments where no plugin looks at command lines: an interpreter's options rarely take more, and of
/// what a `cc1` is called with no more is copied.
const RECORDS_FOR_NAMES: u32 = 1;
/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Inode of the initial time namespace (`PROC_TIME_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_TIME_NAMESPACE: u64 = 0xEFFF_FFFA;
/// A mark that two snapshots this far apart do not show has been missed by `sched_process_free`.
const STALE_AFTER: Duration = Duration::from_secs(15);

/// Time spent in a program, as far as the kernel counted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramTime {
    /// Name of the program's tracepoint.
    pub name: &'static str,
    /// Time spent in the program, ns.
    pub nanos: u64,
    /// Number of runs that took that time.
    pub runs: u64,
}

/// How often the counters and the ring are looked at, at most, until both are of one moment.
const LOOKS: usize = 64;

/// How programs, ring and maps outlive kevmon.
#[derive(Debug, Clone)]
pub struct Pinning {
    /// The name of the state's folder.
    pub state: String,
    /// How long the programs watch without kevmon.
    pub keep_watching: Duration,
    /// How far the last run had taken the records, if its groups go on in this one.
    pub progress: Option<Progress>,
}

/// What the kernel side held when this kevmon took it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// Records in the ring that the state lacks.
    pub records: u64,
    /// Records that the last run had read and released, and that are not in the state: they are lost.
    pub unsaved: u64,
    /// Whether the last run had reported all losses by its last commit. False: a loss was in an interval that was still open.
    pub was_told: bool,
    /// Whether the programs had stopped before kevmon came back.
    pub lapsed: bool,
    /// What was lost meanwhile, by the name of the program or map.
    pub lost: Vec<(&'static str, u64)>,
}

impl Takeover {
    /// Whether nothing of the time away is missing.
    pub fn is_whole(&self) -> bool {
        self.unsaved == 0 && self.was_told && !self.lapsed && self.lost.is_empty()
    }
}

/// What whoever starts the source decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Size of the ring, bytes: a power of two, and a multiple of the page size.
    pub ring_bytes: u32,
    /// Links to iterators of single processes that are kept at most.
    pub links: usize,
    /// `None`: nothing outlives kevmon.
    pub pinning: Option<Pinning>,
    /// Whether the program on context switches is loaded, to be attached when it is asked for.
    pub threads: bool,
    /// Whether the capabilities that loading needs are given up once the programs are attached, by the calling thread.
    pub gives_up_rights: bool,
}

/// The programs at work.
pub struct KernelSource {
    ring: Ring,
    marks: BpfHashMap<MapData, Shared<Key>, Shared<Mark>>,
    verdicts: Verdicts,
    counters: PerCpuArray<MapData, Shared<Counters>>,
    lost: Lost,
    /// [`Counters::kept`] as of the last look into `lost`.
    kept: u64,
    held: Held,
    /// Whether this drain has already emptied the map of held names.
    held_is_taken: bool,
    /// Records that were not understood, as far as they have been counted.
    undecodable: u64,
    /// How many records for long arguments an exec leaves out.
    arguments_left_out: Array<MapData, u32>,
    iterators: Iterators,
    blind: Blind,
    cgroups: Cgroups,
    pub(super) attached: Attached,
    log: Option<EbpfLogger<&'static dyn Log>>,
    /// Marked keys that the last reconciling snapshot did not show, and when.
    suspects: KeyMap<BootTime>,
    /// Lives that ended untold, and whose free was not seen either.
    untold_lives: u64,
    /// Processes that the last snapshot showed and whose names no record told, with their marks' sequences.
    untold: KeyMap<u64>,
    /// Tells the programs that kevmon is there; `None` where they end with it.
    heartbeat: Option<Heartbeat>,
    /// Has the kernel side call with the next record.
    caller: Caller,
    /// Counts that an earlier kevmon has already reported.
    told_before: ToldBefore,
    /// Records that earlier kevmons received.
    received_before: u64,
    takeover: Option<Takeover>,
    /// Measures threads at each context switch, for detailed mode.
    pub(super) threads: Threads,
    /// Keeps the program attached by which dying threads tell totals; `None` while it is not.
    pub(super) exact_ends: Option<OwnedFd>,
    /// Whether this process could load the programs once it has executed kevmon again.
    may_load_again: bool,
    /// The last field, so that pins are removed after everything else is closed.
    pins: Option<Pins>,
}

/// The programs and maps of this run, and those of an earlier one where they are taken over.
struct Origin {
    attached: Attached,
    pins: Option<Pins>,
    /// How far the run before had taken the records.
    progress: Option<Progress>,
}

impl Origin {
    /// Takes over what the state's last run left, or loads everything, and pins it.
    fn of(pinning: Option<&Pinning>, sizes: Sizes) -> Result<Self, LoadError> {
        let load = |keep: Option<Duration>| {
            object::attach(
                sizes,
                keep.map_or(WATCHED_ALWAYS, |keep| after(monotonic(), keep)),
            )
        };
        let alone = |attached| Self {
            attached,
            pins: None,
            progress: None,
        };
        let now = monotonic();
        let is_over = |found: &Found| object::watched_until(found).is_some_and(|until| until < now);
        let Some(pinning) = pinning else {
            pins::tidy(is_over);
            return load(None).map(alone);
        };
        let mut pins = match Pins::open(&pinning.state, object::layout(sizes)) {
            Ok(pins) => pins,
            Err(error) => {
                say_unpinned(&error);
                return load(None).map(alone);
            }
        };
        // Its own is locked.
        pins::tidy(is_over);
        match left_by_the_last_run(&pins, pinning.progress.as_ref(), sizes) {
            Ok(Some((attached, progress))) => {
                // Until this run is known to work.
                pins.stay(true);
                return Ok(Self {
                    attached,
                    pins: Some(pins),
                    progress: Some(progress),
                });
            }
            Ok(None) => {}
            Err(error) => warn!("{error}; what the kernel side held for this kevmon is removed"),
        }
        let attached = load(Some(pinning.keep_watching))?;
        if let Err(error) = pins.clear().and_then(|()| attached.pin(&pins)) {
            say_unpinned(&error);
            let mut attached = attached;
            attached.watch_always()?;
            return Ok(alone(attached));
        }
        Ok(Self {
            attached,
            pins: Some(pins),
            progress: None,
        })
    }
}

/// What the last run left, where this one can go on from it. `None`: there is nothing.
fn left_by_the_last_run(
    pins: &Pins,
    progress: Option<&Progress>,
    sizes: Sizes,
) -> Result<Option<(Attached, Progress)>, TakeoverError> {
    const UNKNOWN: &str = "what happened while kevmon was away is not known";
    let found: Option<Found> = pins.found()?;
    let Some(found) = found else {
        if pins.has_another() {
            info!(
                "another version of kevmon, or one with another ring, left its programs: they are removed, and {UNKNOWN}"
            );
        }
        return Ok(None);
    };
    let Some(progress) = progress else {
        info!(
            "{}: the state does not go on from there (it is new, plugins have come, or another run has used it): {UNKNOWN}",
            found.path().display()
        );
        return Ok(None);
    };
    Ok(Some((object::take_over(&found, sizes)?, progress.clone())))
}

fn say_unpinned(error: &PinError) {
    const MEANS: &str = "what happens while kevmon is away will not be known";
    if error.is_alarming() {
        warn!("{error}; {MEANS}");
    } else {
        info!("{error}; {MEANS}");
    }
}

impl KernelSource {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// Not permitted, not supported, or not in the initial pid namespace.
    pub fn attach(settings: Settings) -> Result<Self, Refusal> {
        if !in_namespace("pid", INITIAL_PID_NAMESPACE) {
            return Err(Refusal::PidNamespace);
        }
        if !in_namespace("time", INITIAL_TIME_NAMESPACE) {
            return Err(Refusal::TimeNamespace);
        }
        let log = tracing::enabled!(tracing::Level::DEBUG).then_some(LOG_BYTES);
        let sizes = Sizes {
            ring: settings.ring_bytes,
            marks: marks(),
            log,
        };
        let Origin {
            mut attached,
            pins,
            mut progress,
        } = Origin::of(settings.pinning.as_ref(), sizes)?;
        let log = attached.ebpf.as_mut().filter(|_| log.is_some()).and_then(|ebpf| {
            EbpfLogger::init(ebpf)
                .inspect_err(|error| warn!("no log from the eBPF programs: {error}"))
                .ok()
        });
        // Loading takes some 40 MB for the kernel's types.
        limits::give_back_memory();
        let is_held = pins.is_some();
        let ring = attached.take_ring("EVENTS")?;
        let ring_id = ring.info().map_err(LoadError::Map)?.id();
        let mut ring = RingMemory::new(ring).map_err(LoadError::Ring)?;
        if let Some(told) = &progress
            && (told.ring != ring_id || !ring.seek(told.position))
        {
            // With the lock, which the next attempt needs.
            drop((attached, pins, ring));
            return Self::attach_anew(settings);
        }
        let offsets = &attached.offsets;
        let blind = Blind {
            run_delay: offsets.task_run_delay == ABSENT,
            io: offsets.task_write_bytes == ABSENT,
            page_size: rustix::param::page_size() as u64,
        };
        let threads = Threads::load(settings.threads, &attached);
        limits::give_back_memory();
        // Before there are other threads: each has capabilities of its own.
        let may_load_again = !settings.gives_up_rights
            || rights::give_up(|| {
                let link = sys::link_full_iterator(attached.iterators.0.as_fd())?;
                sys::open_iterator(link.as_fd()).map(drop)
            });
        let reader = attached.take(READER)?;
        let caller = Caller::of(&reader)?;
        let until: Array<MapData, u64> = reader.try_into().map_err(LoadError::Map)?;
        let pinning = settings.pinning.filter(|_| is_held);
        let heartbeat = pinning.map(|pinning| Heartbeat::start(until, pinning.keep_watching, ring_id));
        let mut map = |name: &'static str| attached.take(name);
        let maps = (map("MARKS")?, map("VERDICTS")?, map("COUNTERS")?);
        let (arguments_left_out, judged_until) = (map("ARGUMENTS_LEFT_OUT")?, map("JUDGED_UNTIL")?);
        let lost = (map("LOST_ENDS")?, map("LOST_LIVES")?, map("PENDING")?);
        let held = (map("HELD")?, map("LOST_NAMES")?);
        let mut source = Self {
            ring: Ring::new(ring, blind, is_held).map_err(LoadError::Ring)?,
            marks: maps.0.try_into().map_err(LoadError::Map)?,
            verdicts: Verdicts::new(
                maps.1.try_into().map_err(LoadError::Map)?,
                judged_until.try_into().map_err(LoadError::Map)?,
            ),
            counters: maps.2.try_into().map_err(LoadError::Map)?,
            lost: Lost::new(
                lost.0.try_into().map_err(LoadError::Map)?,
                lost.1.try_into().map_err(LoadError::Map)?,
                lost.2.try_into().map_err(LoadError::Map)?,
                is_held,
            ),
            kept: 0,
            held: Held::new(
                held.0.try_into().map_err(LoadError::Map)?,
                held.1.try_into().map_err(LoadError::Map)?,
            ),
            held_is_taken: false,
            undecodable: 0,
            arguments_left_out: arguments_left_out.try_into().map_err(LoadError::Map)?,
            iterators: {
                let (snapshot, sample) = &attached.iterators;
                let clone = |program: &OwnedFd, name| {
                    program.try_clone().map_err(|error| LoadError::Program {
                        program: name,
                        source: error.into(),
                    })
                };
                Iterators::new(
                    clone(snapshot, "snapshot")?,
                    clone(sample, "sample")?,
                    settings.links,
                )
            },
            blind,
            cgroups: Cgroups::new(),
            suspects: KeyMap::default(),
            untold_lives: 0,
            untold: KeyMap::default(),
            log,
            attached,
            heartbeat,
            caller,
            told_before: ToldBefore::default(),
            received_before: 0,
            takeover: None,
            pins,
            threads,
            exact_ends: None,
            may_load_again,
        };
        if let Some(progress) = progress.take() {
            source.go_on_from(&progress);
        }
        source.beat();
        Ok(source)
    }

    /// What was found cannot be gone on from: it is removed, and everything is loaded.
    fn attach_anew(settings: Settings) -> Result<Self, Refusal> {
        info!("the ring that an earlier kevmon left is not the one that the state speaks of: it is removed");
        let pinning = settings.pinning.map(|pinning| Pinning {
            progress: None,
            ..pinning
        });
        Self::attach(Settings { pinning, ..settings })
    }

    fn go_on_from(&mut self, progress: &Progress) {
        let (mut counters, mut waiting) = (self.all_counters(), self.ring.come());
        // The programs go on meanwhile: of one moment are a count before and an equal one after.
        for _ in 0..LOOKS {
            let after = self.all_counters();
            if after.sent == counters.sent {
                break;
            }
            (counters, waiting) = (after, self.ring.come());
        }
        let skipped = self.all_skipped();
        self.told_before = ToldBefore::new(&progress.losses, &counters, waiting);
        self.lost.told_before(Arc::clone(&progress.lives));
        let reached = counters.sent - Records::new(&counters, 0).lost.min(counters.sent);
        let lost = Losses::new(
            &self.told_before.new_of(&counters),
            self.told_before.new_skipped(skipped),
            0,
        );
        let unsaved = reached.saturating_sub(waiting + progress.received);
        self.received_before = progress.received + unsaved;
        self.takeover = Some(Takeover {
            records: waiting,
            unsaved,
            was_told: progress.is_told,
            lapsed: self
                .heartbeat
                .as_ref()
                .is_some_and(|heartbeat| heartbeat.had_lapsed),
            lost: lost.by_name().filter(|(_, count)| *count > 0).collect(),
        });
    }

    /// What this run found of the time that kevmon was away; `None` where nothing was watched then.
    pub fn takeover(&self) -> Option<&Takeover> {
        self.takeover.as_ref()
    }

    /// Moves on the time until which the programs watch.
    pub fn beat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat();
        }
    }

    /// Has the kernel side call with the next record, and not only once a quarter of the ring is waiting. Returns the position in
    /// the ring from which on records call; `None` where the kernel refuses, which is said once.
    pub fn call_with_next(&mut self) -> Option<u64> {
        let position = self.ring.produced();
        self.caller.call_with_next().then_some(position)
    }

    /// Whether all records before `position` have been taken, and none has come since. One that is still being written has
    /// come: it may have been decided before the call was asked for that it does not call.
    pub fn ends_at(&self, position: u64) -> bool {
        self.ring.ends_at(position)
    }

    /// How often the programs had stopped, as kevmon did not say in time that it is there.
    pub fn lapses(&self) -> u64 {
        self.heartbeat.as_ref().map_or(0, Heartbeat::lapses)
    }

    /// How far this run has come, for the state; `None` where nothing outlives it. All that was taken has been applied.
    pub fn progress(&self) -> Option<Progress> {
        let heartbeat = self.heartbeat.as_ref()?;
        let Reached { position, received } = self.ring.reached();
        let (lives, ends) = self.lost.applied();
        Some(Progress {
            ring: heartbeat.ring,
            position,
            received: self.received_before + received,
            losses: losses::encode(&self.all_counters(), self.all_skipped()),
            lives,
            groups: 0,
            is_told: false,
            ends,
        })
    }

    /// Gives back the room of what the state has by now: records of the ring, and kept ends.
    pub fn release(&mut self, progress: &Progress) {
        self.ring.release(progress.position);
        self.lost.release(progress.ends);
    }

    /// The state should not wait with its next commit: records are held for it that the ring needs the room of.
    pub fn is_pressed(&self) -> bool {
        self.ring.is_pressed()
    }

    /// Notes that what [`KernelSource::recover`] returned has been applied.
    pub fn note_recovered(&mut self) {
        self.lost.note_applied();
    }

    /// Whether the programs go on when this ends in order.
    pub fn stay(&mut self, stays: bool) {
        if let Some(pins) = &mut self.pins {
            pins.stay(stays);
        }
    }

    /// A descriptor that is readable once the kernel side has called: a quarter of the ring is waiting, or a record came that a
    /// sleeping reader had asked for.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn event_descriptor(&self) -> io::Result<OwnedFd> {
        self.with_threads(self.ring.descriptor()?)
    }

    /// Asks the thread of the ring whether it still moves; `None` where there is none.
    pub fn ask_thread(&self) -> Option<Pulse> {
        self.ring.ask_thread()
    }

    /// The next event, with the process's user, cgroup and pid namespace; `None` once the ring and the held names are
    /// empty.
    pub fn next_event(&mut self, health: &mut Health) -> Option<(Event, FactIds)> {
        loop {
            if let Some(event) = self.next_record(health) {
                return Some(event);
            }
            // Taken before the ring was found empty.
            let marks = &self.marks;
            let sequence = |key: &Key| marks.get(&Shared(*key), 0).ok().map(|Shared(mark)| mark.sequence);
            if let Some(event) = self.held.next(sequence) {
                return Some((event, FactIds::default()));
            }
            // Once in a drain: processes that rename themselves without end must not keep it from ending.
            if std::mem::replace(&mut self.held_is_taken, true) || !self.take_held() {
                self.held_is_taken = false;
                return None;
            }
        }
    }

    fn take_held(&mut self) -> bool {
        let counted = self.counters().held;
        self.held.take(counted).unwrap_or_else(|error| {
            debug!("held names were not read, which the next drain does: {error}");
            false
        })
    }

    /// Takes names that processes had for a moment and that were replaced before they were read; whose they were is not
    /// known.
    pub fn take_lost_names(&mut self) -> Vec<String> {
        self.held.take_lost()
    }

    fn next_record(&mut self, health: &mut Health) -> Option<(Event, FactIds)> {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        while let Some(told) = self.ring.next() {
            match told {
                Told::Cgroup { id, path } => self.cgroups.made(id, &path),
                Told::Event(event, ids) => {
                    match &event {
                        Event::Free { key, .. } => self.verdicts.freed(*key),
                        Event::Exec { identity, .. } if identity.cut.is_some() => health.count(Soft::ArgvCut),
                        _ => {}
                    }
                    return Some((event, ids));
                }
            }
        }
        let undecodable = self.ring.tally().undecodable;
        health.add(
            Soft::Undecodable,
            undecodable - std::mem::replace(&mut self.undecodable, undecodable),
        );
        self.verdicts.drained();
        None
    }

    /// Has execs send long arguments in full, up to the bound, or only as much as names may stand in. From the next exec on.
    pub fn send_arguments(&mut self, all: bool) {
        let left_out = if all {
            0
        } else {
            ARGUMENTS_MOST - RECORDS_FOR_NAMES
        };
        if let Err(error) = self.arguments_left_out.set(0, left_out, 0) {
            // They are read from /proc then, while the process lives.
            warn!("the kernel side was not told how much of long arguments to send: {error}");
        }
    }

    /// When the process took its present identity, as its mark says; `None`: it has no mark.
    pub fn sequence(&self, key: ProcessKey) -> Option<u64> {
        let mark = self.marks.get(&Shared(decode::raw_key(key)), 0);
        mark.ok().map(|Shared(mark)| mark.sequence)
    }

    /// Paths of cgroups by id.
    pub fn cgroups(&mut self) -> &mut Cgroups {
        &mut self.cgroups
    }

    /// Queues a verdict, to be written at the next [`KernelSource::flush`].
    pub fn judge(&mut self, judgement: &Judgement) {
        self.verdicts.queue(judgement);
    }

    /// Whether this process could load the programs once it has executed kevmon again.
    pub fn may_load_again(&self) -> bool {
        self.may_load_again
    }

    /// Writes the queued verdicts. To be called at the end of each drain.
    pub fn flush(&mut self, health: &mut Health) {
        self.verdicts.flush();
        // Without a verdict everything about the process is reported: costly, not wrong.
        health.add(Soft::VerdictRefused, self.verdicts.take_refused());
    }

    /// Answers for a process that the last snapshot showed, before it is taken for found. False: it has been freed
    /// since, and no record ever told its names; [`KernelSource::recover`] tells its life, or has told it.
    pub fn claim(&mut self, key: ProcessKey) -> bool {
        let Some(sequence) = self.untold.remove(&key) else {
            return true; // it was told, is watched from this snapshot on, or is not watched at all
        };
        let keep = Judgement {
            key,
            sequence,
            keep: true,
        };
        if !self.verdicts.write_now(&keep) {
            return false;
        }
        // The verdict is written before the mark is read, on a processor that reorders both (arm64), too. The programs do it
        // the other way round, with a barrier of their own.
        fence(Ordering::SeqCst);
        match self.marks.get(&Shared(decode::raw_key(key)), 0) {
            // What it executes from now on is told to a process that is known.
            Ok(Shared(mark)) if mark.sequence == sequence => true,
            // It executes something else already, which a record or the next snapshot tells.
            Ok(_) => {
                self.verdicts.remove(key);
                false
            }
            // Freed: whoever removes the verdict answers for the life.
            Err(_) => !self.verdicts.remove(key),
        }
    }

    /// What the kernel side kept of lives whose records found no room, since the last call. Costs one look at the
    /// counters when there is nothing.
    pub fn recover(&mut self) -> Recovered {
        let kept = self.counters().kept;
        if kept == self.kept && !self.lost.is_overdue() && !self.lost.is_crowded() {
            return Recovered::default();
        }
        self.kept = kept;
        self.lost.take(&self.blind)
    }

    /// Every process of the host; marks those that were judged worth keeping in an earlier snapshot.
    ///
    /// # Errors
    /// Any of bpf(2) or read(2).
    pub fn snapshot(&mut self) -> io::Result<Vec<Seen>> {
        self.verdicts.flush();
        self.iterators.snapshot(&mut self.untold, &self.blind)
    }

    /// The usage of the processes in `wanted` that still exist. `tasks` is the number of tasks on the host.
    ///
    /// # Errors
    /// Any of bpf(2) or read(2).
    pub fn sample(&mut self, wanted: &KeySet, tasks: usize) -> io::Result<KeyMap<Sample>> {
        self.verdicts.flush();
        self.iterators.sample(wanted, tasks, &self.blind)
    }

    /// Keeps iterator links of tracked processes alone.
    pub fn retain(&mut self, is_tracked: impl Fn(ProcessKey) -> bool) {
        self.iterators.retain(is_tracked);
    }

    /// Keeps fewer links to iterators, from now on.
    pub fn shrink(&mut self, links: usize) {
        self.iterators.shrink(links);
    }

    /// The usage of one process; `None` when it is gone.
    ///
    /// # Errors
    /// Any of bpf(2) or read(2).
    pub fn sample_one(&mut self, key: ProcessKey) -> io::Result<Option<Sample>> {
        self.iterators.sample_one(key, &self.blind)
    }

    /// Losses since the programs were attached, less what an earlier run has reported.
    pub fn losses(&self) -> Losses {
        let skipped = self.told_before.new_skipped(self.all_skipped());
        Losses::new(&self.counters(), skipped, self.untold_lives).with_lapses(self.lapses())
    }

    /// Runs that the kernel skipped, since the programs were loaded. Before 5.12 it does not count them.
    fn all_skipped(&self) -> u64 {
        let programs = self.attached.tracepoints.iter();
        programs
            .filter_map(|(_, program)| Some(sys::program_info(program.as_fd()).ok()?.recursion_misses))
            .sum()
    }

    /// What the kernel counted of each program while its statistics were on (`kernel.bpf_stats_enabled`); none that never
    /// ran under them.
    pub fn program_times(&self) -> Vec<ProgramTime> {
        let programs = self.attached.tracepoints.iter();
        let programs = programs.map(|(name, program)| (*name, program));
        programs
            .chain(self.switch_programs())
            .filter_map(|(name, program)| {
                let info = sys::program_info(program.as_fd()).ok()?;
                (info.runs > 0).then_some(ProgramTime {
                    name,
                    nanos: info.run_time,
                    runs: info.runs,
                })
            })
            .collect()
    }

    /// Names of the programs that are attached.
    pub fn programs(&self) -> Vec<&'static str> {
        let programs = self.attached.tracepoints.iter().map(|(name, _)| *name);
        let switches = self.switch_programs().into_iter().map(|(name, _)| name);
        programs.chain(switches).collect()
    }

    /// Records sent, received and lost since the programs were attached.
    pub fn records(&self) -> Records {
        Records::new(&self.counters(), self.ring.tally().received)
    }

    /// The counters, less what an earlier run has reported.
    fn counters(&self) -> Counters {
        self.told_before.new_of(&self.all_counters())
    }

    fn all_counters(&self) -> Counters {
        let per_cpu = self.counters.get(&0, 0);
        let per_cpu = per_cpu.as_ref().map_or(&[][..], |per_cpu| per_cpu);
        losses::sum(per_cpu.iter().map(|Shared(counters)| counters))
    }

    /// Removes marks of processes that are long gone and were never freed under our eyes: those that two snapshots
    /// some time apart do not show. `present` is a snapshot taken at `began`. Returns when the next one is wanted.
    pub fn sweep(&mut self, present: &KeySet, began: BootTime) -> Option<BootTime> {
        let marked = self.marks.keys().filter_map(Result::ok);
        let marked = marked
            .map(|Shared(key)| decode::key(&key))
            .chain(self.verdicts.keys());
        let absent: KeySet = marked
            .filter(|key| key.start < began && !present.contains(key))
            .collect();
        self.suspects.retain(|key, _| absent.contains(key));
        for key in absent {
            let since = *self.suspects.entry(key).or_insert(began);
            if began.since(since) >= STALE_AFTER {
                let raw = Shared(decode::raw_key(key));
                let mark = self.marks.get(&raw, 0);
                // Gone meanwhile is as good.
                let removed = self.marks.remove(&raw).is_ok();
                let judged = self.verdicts.remove(key);
                if let Ok(Shared(mark)) = mark
                    && removed
                    && !judged
                    && mark.flags & MARK_TOLD == 0
                {
                    // What its exit told is better than nothing.
                    if !self.lost.give_up(&raw.0, &self.blind) {
                        self.untold_lives += 1;
                    }
                }
                self.suspects.remove(&key);
            }
        }
        let delay = u64::try_from(STALE_AFTER.as_nanos()).unwrap_or(u64::MAX);
        self.suspects
            .values()
            .min()
            .map(|since| BootTime(since.0.saturating_add(delay)))
    }
}

/// As many marks as there can be processes, within reason.
fn marks() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/pid_max")
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
        .map_or(MARKS, |pid_max| pid_max.min(MARKS))
}

fn in_namespace(kind: &str, initial: u64) -> bool {
    use std::os::unix::fs::MetadataExt;
    // Unreadable: the kernel has no such namespaces (time: before 5.6), or there is no /proc, which the load will tell.
    std::fs::metadata(Path::new("/proc/self/ns").join(kind))
        .map_or(true, |namespace| namespace.ino() == initial)
}
