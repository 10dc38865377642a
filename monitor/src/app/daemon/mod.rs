//! The daemon: drains events, collects what is due, exports beside it, and ends in order.

mod alarm;
mod collecting;
mod pace;
mod reloading;
mod service;
mod start;

use std::{
    collections::{BTreeSet, VecDeque},
    os::fd::OwnedFd,
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::Signal as Signals,
    sync::mpsc,
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

use self::{
    alarm::Alarm,
    collecting::{BETWEEN_PRESSED, COMMIT_WITHIN, Onset},
    pace::Pace,
    reloading::Reloading,
    service::Service,
};
use super::{
    Exit, Setup,
    custom::{self, Collectors},
    delivery::Attempt,
    empty::EmptyGroups,
    exports::{Began, Exports},
    keeper::Keeper,
    lines::Lines,
    process_series::ProcessSeries,
    recorder::Recorder,
    reload::{Applied, Asked, Change},
    schedule::Schedule,
    service::{control::Order, view::Ask},
    times::CollectionTimes,
    watch::Watch,
};
use crate::{
    cli::Args,
    config::Fault,
    export::{HostIdentity, UnixClock},
    health::Soft,
    plugin::GroupId,
};

/// At the end, events are awaited this long at least …
const FINAL_DRAIN: Duration = Duration::from_millis(100);
/// … and this long when totals of what just ended have not settled by then.
const FINAL_SETTLING: Duration = Duration::from_millis(500);
/// A reader of the JSON that is slow may take this long for the last lines: a line of 750 plugins is eight times what a pipe
/// holds.
const FINAL_OUTPUT: Duration = Duration::from_secs(5);
/// A large group may take this part of its interval.
const BUDGET: u32 = 10;
/// At the end, the disk may take this long for the last commit.
const FINAL_COMMIT: Duration = Duration::from_secs(5);
/// A daemon without plugins commits this often, so that the store knows until when it was there.
const IDLE_COMMIT: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The source does not work, or has stopped working.
pub(super) async fn run(setup: Setup) -> Result<Exit> {
    let (mut daemon, mut inputs) = start::start(setup)?;
    daemon.service.ready();
    let end = daemon.serve(&mut inputs).await;
    daemon.service.ending(end == End::Again);
    Ok(daemon.finish(end).await)
}

/// How a daemon was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// For good, as far as it knows: nothing is left in the kernel.
    ForGood,
    /// Another one follows: the kernel side goes on until then.
    Restart,
    /// The same, and this process becomes the other one.
    Again,
}

impl From<Order> for End {
    fn from(order: Order) -> Self {
        match order {
            Order::Stop => Self::ForGood,
            Order::Restart => Self::Again,
        }
    }
}

/// What a daemon waits for, beside its timers and collectors.
struct Inputs {
    terminate: Signals,
    interrupt: Signals,
    /// SIGUSR2: another kevmon follows.
    restart: Signals,
    changes: mpsc::Receiver<Change>,
    /// Attempts to deliver, to be told as spans.
    attempts: mpsc::Receiver<Attempt>,
    /// What operators ask for.
    orders: mpsc::Receiver<Order>,
    /// Looks that clients of `kevmon top` ask for.
    asks: mpsc::Receiver<Ask>,
    /// Readable once the kernel side has called.
    ring: Option<AsyncFd<OwnedFd>>,
    /// Rings when something is due.
    alarm: Alarm,
}

struct Daemon {
    args: Args,
    service: Service,
    /// Where the state is kept.
    state: PathBuf,
    /// As it was told last.
    host: HostIdentity,
    collectors: Collectors,
    watch: Watch,
    keeper: Keeper,
    /// For starts of series.
    clock: UnixClock,
    /// For starts of processes.
    boot: UnixClock,
    /// For when something happened.
    wall: UnixClock,
    /// Plugins without processes.
    empty: EmptyGroups,
    /// Events for which there was no room.
    left_out: Onset,
    /// Events that could not be held for the receiver, or that it rejected.
    undeliverable: Onset,
    faulty: Vec<String>,
    /// When the faulty files were last named in the log.
    named_at: Instant,
    lines: Option<Lines>,
    exports: Exports,
    applied: Applied,
    times: CollectionTimes,
    schedule: Schedule,
    /// Large groups that are due and have not had their turn.
    late: VecDeque<GroupId>,
    /// Those of which it has been told that they take longer than they should.
    over_budget: BTreeSet<GroupId>,
    /// The folders that plugin files are looked for in.
    folders: Vec<PathBuf>,
    /// When a daemon without plugins commits next; `None` while there are plugins.
    idle_at: Option<Instant>,
    /// Plugins that are left out because another daemon on the same state runs them.
    elsewhere: BTreeSet<String>,
    /// What happens between collections is committed, too. Not where deltas are told: they go on from what was committed,
    /// which has to be what was told.
    commits_between: bool,
    /// When that is due; `None` while nothing has happened since the last commit.
    commit_at: Option<Instant>,
    /// The earliest time of the next commit that the ring calls for.
    may_press_at: Instant,
    /// The disk does not keep up with the collections, which has been told.
    is_behind: bool,
    /// By which attributes receivers know single processes.
    series: ProcessSeries,
    /// The flight recorder.
    recorder: Recorder,
    /// A change of the configuration that waits for the state; `None` while there is none.
    reloading: Option<Reloading>,
    /// Who asked for the present change, and the faults of the configuration; `None` once its end has been said.
    asked: Option<(Option<Asked>, Vec<String>)>,
    /// Groups that have been collected for the last time, and go once that is in the state.
    leaving: BTreeSet<GroupId>,
}

impl Daemon {
    /// Goes on until it is told to end.
    async fn serve(&mut self, inputs: &mut Inputs) -> End {
        self.watch.never_wait();
        let mut pace = Pace::new();
        let mut drained_at = Instant::now();
        let mut drain_at = drained_at + pace::BUSY;
        let mut ask_at = self.service.next();
        loop {
            let tick_at = match self.schedule.next() {
                _ if !self.late.is_empty() => Instant::now(),
                next => next.map(Instant::from_std).or(self.idle_at).unwrap_or(drain_at),
            };
            drain_at = self.drain_by(drain_at, drained_at);
            let sample_at = self.watch.next_sample().map(Instant::from_std);
            let collect_at = self.collectors.next().map(Instant::from_std);
            let times = [
                Some(tick_at),
                Some(ask_at),
                Some(drain_at),
                sample_at,
                collect_at,
                self.commit_at,
            ];
            let first = times.into_iter().flatten().min().unwrap_or(drain_at);
            tokio::select! {
                // What is due is due in the next round.
                () = inputs.alarm.wait(first.into_std()), if first > Instant::now() => {}
                _ = inputs.terminate.recv() => return End::ForGood,
                _ = inputs.interrupt.recv() => return End::ForGood,
                _ = inputs.restart.recv() => return End::Restart,
                Some(order) = inputs.orders.recv() => return End::from(order),
                Some(ask) = inputs.asks.recv() => self.answer(ask),
                () = due(Some(tick_at)) => {
                    let due = self.schedule.take(std::time::Instant::now());
                    self.watch.health.add(Soft::TickSkipped, due.skipped);
                    if due.skipped > 0 {
                        warn!("{} ticks came too late and were left out", due.skipped);
                    }
                    self.take_turns(due.groups);
                    self.commit_idle();
                    self.watch.give_back_memory();
                }
                Some(attempt) = inputs.attempts.recv() => {
                    self.service.attempted(&attempt);
                    self.exports.tell(attempt);
                }
                () = due(Some(ask_at)) => {
                    self.ask_threads();
                    ask_at = self.service.next();
                }
                () = due(sample_at) => {
                    self.watch.take_samples();
                    self.recorder.take(&mut self.watch, self.wall);
                }
                () = due(collect_at) => custom::start_due(&mut self.collectors, &self.watch),
                () = self.collectors.ended() => {}
                outgoing = self.keeper.written() => self.send(*outgoing),
                () = due(self.commit_at) => self.commit_between(),
                Some(Change { configuration, asked, looks_same }) = inputs.changes.recv(), if self.reloading.is_none() => {
                    self.asked = Some((asked, service::lines(configuration.faults())));
                    if !looks_same {
                        self.exports.ask_again();
                    }
                    self.reload(configuration);
                    self.say_reloaded();
                }
                step = reloading::next(&mut self.reloading) => {
                    self.go_on(step);
                    self.say_reloaded();
                }
                () = either(due(Some(drain_at)), readable(inputs.ring.as_ref())) => {
                    let pause = self.drain(&mut pace);
                    drained_at = Instant::now();
                    drain_at = pause.map_or(ask_at, |pause| drained_at + pause);
                }
            }
        }
    }

    /// The time of the next drain, planned for `planned`: sooner where something has come to be waited for since the last one.
    fn drain_by(&self, planned: Instant, last: Instant) -> Instant {
        let pause = self.watch.wants_drain(pace::BUSY);
        let wanted = pause.map(|pause| Instant::now() + pause);
        // Not for each of many looks by itself.
        let look = self.watch.next_look();
        let look = look.map(|at| Instant::from_std(at).max(last + pace::BUSY));
        [wanted, look].into_iter().flatten().fold(planned, Instant::min)
    }

    /// Takes what has been told; returns the pause until the next time, `None`: until the kernel side calls.
    fn drain(&mut self, pace: &mut Pace) -> Option<Duration> {
        let drained = self.watch.drain();
        self.keeper.read_names(self.watch.take_parents());
        self.service.drained(self.schedule.next());
        let pause = pace.after(drained, &mut self.watch);
        if self.commits_between && self.commit_at.is_none() && self.watch.is_unsaved() {
            self.commit_at = Some(Instant::now() + COMMIT_WITHIN);
        }
        let may_commit = self.commits_between && self.keeper.under_way() == 0;
        let now = Instant::now();
        if may_commit && !self.keeper.is_failing() && now >= self.may_press_at && self.watch.is_pressed() {
            self.may_press_at = now + BETWEEN_PRESSED;
            self.commit_at = Some(now);
        }
        pause
    }

    /// Says once that no plugin runs, with `why` where that is known, and where plugins are looked for.
    fn note_idle(&mut self, why: Option<&Fault>) {
        if self.watch.plugins().next().is_some() {
            self.idle_at = None;
            return;
        }
        if self.idle_at.is_some() {
            return;
        }
        self.idle_at = Some(Instant::now());
        let why = why.map_or_else(String::new, |fault| format!(" ({})", fault.message));
        let folders: Vec<String> = self
            .folders
            .iter()
            .map(|folder| match folder.is_dir() {
                true => folder.display().to_string(),
                false => format!("{} (does not exist yet)", folder.display()),
            })
            .collect();
        warn!(
            "no plugin runs{why}: kevmon waits, and starts what appears in {}",
            folders.join(", ")
        );
    }

    /// A collection without plugins: it says that kevmon is there, and until when it was.
    fn commit_idle(&mut self) {
        if self.idle_at.is_some_and(|at| at <= Instant::now()) {
            self.idle_at = Some(Instant::now() + IDLE_COMMIT);
            self.tick(&[]);
        }
    }

    /// Groups that take long are read one by one, after those that do not: a plugin that matches ten thousand processes
    /// keeps no other waiting for more than what it costs beyond that one's interval.
    fn take_turns(&mut self, mut due: Vec<GroupId>) {
        due.retain(|group| !self.leaving.contains(group));
        self.late.retain(|group| !self.leaving.contains(group));
        let (large, due): (Vec<_>, Vec<_>) = due.into_iter().partition(|&group| self.watch.is_large(group));
        for group in large {
            if self.late.contains(&group) {
                self.watch.health.add(Soft::TickSkipped, 1);
            } else {
                self.late.push_back(group);
            }
        }
        if !due.is_empty() {
            self.tick(&due);
        } else if let Some(group) = self.late.pop_front()
            && let Some(plugin) = self.watch.plugin(group)
        {
            let began = Instant::now();
            self.tick(&[group]);
            let (took, budget) = (began.elapsed(), plugin.interval / BUDGET);
            if took > budget {
                self.watch.health.count(Soft::OverBudget);
                if self.over_budget.insert(group) {
                    warn!(
                        "{}: a collection takes {} ms, more than a {BUDGET}th of its interval (told once); it matches very \
                         many processes: lengthen the interval, or narrow the pattern",
                        plugin.label(),
                        took.as_millis()
                    );
                }
            }
        }
    }

    fn tick(&mut self, due: &[GroupId]) {
        if !self.is_behind() {
            self.collect_and_send(due, false);
        }
    }

    /// The host has another name or id: resources say so from the next collection on. Instance ids and series stay.
    fn is_on(&mut self, host: HostIdentity) {
        if host == self.host {
            return;
        }
        let id = |host: &HostIdentity| host.id.clone().unwrap_or_else(|| "none".to_owned());
        if host.given() != self.host.given() {
            info!("other resource attributes are given: they go with everything from now on");
        }
        if (&host.name, &host.id) != (&self.host.name, &self.host.id) {
            info!(
                "host.name is {} now (it was {}), host.id {} ({}); service.instance.id stays as it is",
                host.name,
                self.host.name,
                id(&host),
                id(&self.host)
            );
        }
        self.exports.set_host(&host);
        self.keeper.host_is_now(&host);
        self.host = host;
    }

    /// Last events, last collection of every plugin, last export.
    async fn finish(mut self, end: End) -> Exit {
        self.keeper.ending();
        let began = Instant::now();
        while began.elapsed() < FINAL_DRAIN
            || (self.watch.unsettled() > 0 && began.elapsed() < FINAL_SETTLING)
        {
            sleep(Duration::from_millis(10)).await;
            self.watch.drain();
            self.watch.call_missing();
        }
        let groups = self.watch.plugins().map(|(group, _)| group);
        let groups: Vec<GroupId> = groups.filter(|group| !self.leaving.contains(group)).collect();
        let time = self.collect(&groups, false, true, Began::now());
        let unsettled = self.watch.unsettled();
        if unsettled > 0 {
            self.watch.log_unsettled();
            warn!(
                "{unsettled} ended processes are not settled, most likely not reaped: their totals may be short"
            );
        }
        for outgoing in self.keeper.all_written(std::time::Instant::now() + FINAL_COMMIT) {
            self.send(outgoing);
        }
        let left = self.keeper.under_way();
        if left > 0 {
            error!(
                "the disk of the state takes more than {FINAL_COMMIT:.1?}: the last {left} commits may not be in it, and \
                 are not exported; the next run goes on from the one before"
            );
        }
        // Where the last commit failed, the next run goes on from the one before.
        self.watch
            .leave(end != End::ForGood || self.keeper.is_failing() || left > 0);
        self.recorder.finish();
        self.exports.finish(time, left == 0).await;
        if let Some(lines) = self.lines {
            lines.finish(FINAL_OUTPUT);
        }
        self.service.refuse_commands();
        match end {
            End::Again => Exit::Again,
            End::ForGood | End::Restart => Exit::Success,
        }
    }
}

/// Completes where that time has come, and else never: the alarm rings then, and this is asked again.
async fn due(time: Option<Instant>) {
    if time.is_none_or(|time| time > Instant::now()) {
        std::future::pending().await
    }
}

async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::select! {
        () = one => {}
        () = other => {}
    }
}

fn register(ring: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the AsyncFd owns the descriptor, so the registration ends before the descriptor is closed.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(Into::into)
}

/// Completes when the kernel side calls; never without a ring.
async fn readable(ring: Option<&AsyncFd<OwnedFd>>) {
    let Some(ring) = ring else {
        return std::future::pending().await;
    };
    match ring.readable().await {
        Ok(mut guard) => guard.clear_ready(),
        // The timer drains as well.
        Err(_) => std::future::pending().await,
    }
}
