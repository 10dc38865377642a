//! The daemon as a service: notifications of the service manager, the watchdog, and the status that commands show.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::{debug, error, info};

use super::Daemon;
use crate::{
    app::{
        delivery::Attempt,
        exports::Exports,
        keeper::Keeper,
        output,
        reload::{Asked, Reloaded},
        service::{
            Wanted,
            control::{self, Control, Desk, Order},
            notify::Notifier,
            status::{self, Fixed, Status},
            view::{self, Ask, Recent, Views},
        },
        watch::Watch,
    },
    config::Fault,
    export::{Collection, UnixClock},
    health::{Pulse, Pulses},
    plugin::{GroupId, Notice, Plugin},
    procfs::HostReader,
};

/// The threads are asked this often whether they move …
const ASK_EVERY: Duration = Duration::from_secs(5);
/// … and one that does not answer for so long is stuck. A watchdog that is less patient shortens both.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// The daemon as the service manager and operators see it.
pub(super) struct Service {
    notifier: Arc<Notifier>,
    pulses: Pulses,
    /// The loop's.
    own: Pulse,
    ask_every: Duration,
    /// When the last `WATCHDOG=1` was sent.
    alive_at: Option<Instant>,
    /// Threads are stuck, which the log has said.
    is_stuck: bool,
    status: Status,
    /// The latest events, for those who look.
    recent: Recent,
    /// Answers commands; ends with it.
    control: Option<Control>,
}

/// How long a thread may take to answer, given the manager's patience.
pub(super) fn patience(notifier: &Notifier) -> Pulses {
    let watchdog = notifier.watchdog().map(|watchdog| watchdog / 2);
    Pulses::new(watchdog.map_or(STUCK_AFTER, |half| half.min(STUCK_AFTER)))
}

impl Service {
    /// `pulses` looks after the threads of these parts from now on.
    pub(super) fn start(
        notifier: Arc<Notifier>,
        pulses: Pulses,
        state: Option<PathBuf>,
        (watch, keeper, exports): (&Watch, &Keeper, &Exports),
    ) -> Self {
        let own = Pulse::default();
        own.beat();
        let threads = [
            ("the loop", Some(own.clone())),
            ("kevmon-ring", watch.ask_thread()),
            ("kevmon-state", keeper.ask_thread()),
            ("kevmon-export", Some(exports.ask_thread())),
        ];
        for (name, pulse) in threads {
            if let Some(pulse) = pulse {
                pulses.add(name, pulse);
            }
        }
        let status = Status::new(Fixed {
            run: HostReader::now().0,
            started: output::unix_now(),
            unit: status::own_unit(),
            state,
        });
        Self {
            notifier,
            own,
            ask_every: ASK_EVERY.min(pulses.limit() / 2),
            pulses,
            alive_at: None,
            is_stuck: false,
            status,
            recent: Recent::default(),
            control: None,
        }
    }

    /// Takes commands from now on, if there is a place for the socket.
    pub(super) fn take_commands(
        &mut self,
        wanted: &Wanted<'_>,
        (orders, reloads, asks): (
            mpsc::Sender<Order>,
            mpsc::Sender<oneshot::Sender<Reloaded>>,
            mpsc::Sender<Ask>,
        ),
        may_begin_again: bool,
    ) {
        let desk = Desk {
            status: self.status.clone(),
            pulses: self.pulses.clone(),
            views: Views::new(asks, self.recent.clone()),
            orders,
            reloads,
            may_begin_again,
        };
        let Some(folder) = wanted.folder() else {
            info!("no folder for the commands socket; kevmon status does not find this instance");
            return;
        };
        match Control::start(&folder, wanted.instance(), desk) {
            Ok(control) => {
                debug!("commands are taken at {}", control.path().display());
                self.control = Some(control);
            }
            Err(error) => info!(
                "no commands socket in {}: {}; kevmon status does not find this instance",
                folder.display(),
                control::why_none(&error)
            ),
        }
    }

    /// No commands any more: kevmon has ended, or another one takes its place.
    pub(super) fn refuse_commands(&mut self) {
        self.control = None;
    }

    /// The sources are attached, the plugins loaded, and the first snapshot was taken.
    pub(super) fn ready(&self) {
        self.notifier.ready();
    }

    /// kevmon ends. `begins_again`: in the same process, which says when it is ready.
    pub(super) fn ending(&self, begins_again: bool) {
        if begins_again {
            self.notifier.reloading();
        } else {
            self.notifier.stopping();
        }
    }

    /// When the threads are asked next.
    pub(super) fn next(&self) -> Instant {
        Instant::now() + self.ask_every
    }

    /// The events were drained. `tick`: when the next collection is due.
    pub(super) fn drained(&self, tick: Option<StdInstant>) {
        let is_late = tick.is_some_and(|at| at.elapsed() > self.pulses.limit());
        if !is_late {
            self.own.beat();
        }
    }

    /// A receiver has answered, or has not.
    pub(super) fn attempted(&self, attempt: &Attempt) {
        if attempt.accepted {
            self.status.exported();
        }
    }

    /// A collection has been committed and handed over.
    pub(super) fn collected(&self, collection: &Arc<Collection>) {
        self.status.collected(collection);
        self.notifier.status(self.status.line());
    }

    /// These have happened. `plugin` finds a group's; the clocks tell starts of processes, and what happened.
    pub(super) fn happened(
        &self,
        notices: &[Notice],
        plugin: impl Fn(GroupId) -> Option<Arc<Plugin>>,
        clocks: (UnixClock, UnixClock),
    ) {
        self.recent.add(notices, plugin, clocks);
    }

    /// A reload has ended, and these are the plugins that run.
    pub(super) fn reloaded(&self, asked: Option<Asked>, labels: &BTreeSet<String>, faults: Vec<String>) {
        self.status.retain(labels);
        self.recent.retain(labels);
        let Some(asked) = asked else { return };
        if let Asked::Command(answer) = asked {
            let plugins = labels.len();
            // The client may have gone.
            let _: Result<(), Reloaded> = answer.send(Reloaded { plugins, faults });
        }
        self.notifier.reloaded();
    }

    /// Sends `WATCHDOG=1` while no thread is stuck, and logs which are. The manager expects it within its patience, and gets
    /// it each half of that.
    fn report(&mut self) {
        self.notifier.retry();
        let stuck = self.pulses.stuck();
        if stuck.is_empty() && self.is_stuck {
            info!("all threads move again");
        } else if !stuck.is_empty() && !self.is_stuck {
            let consequence = match self.notifier.watchdog() {
                Some(_) => "the service manager gets no sign of life, and ends kevmon unless that changes",
                None => "collections or exports are late until it moves: most likely it waits for a disk",
            };
            error!(
                "{} has not moved for {:.1?}: {consequence}",
                stuck.join(", "),
                self.pulses.limit()
            );
        }
        self.is_stuck = !stuck.is_empty();
        let Some(watchdog) = self.notifier.watchdog().filter(|_| !self.is_stuck) else {
            return;
        };
        // Asked four times as often as the manager's patience: half of it has passed with every second report.
        let due = watchdog / 2 - self.ask_every / 2;
        if self.alive_at.is_none_or(|at| at.elapsed() >= due) {
            self.alive_at = Some(Instant::now());
            self.notifier.alive();
        }
    }
}

impl Daemon {
    /// Asks the threads whether they move, and reports what they answered before.
    pub(super) fn ask_threads(&mut self) {
        self.service.report();
        self.watch.ask_thread();
        self.keeper.ask_thread();
        self.exports.ask_thread();
    }

    /// Says that the present change has ended, once it has.
    pub(super) fn say_reloaded(&mut self) {
        if self.reloading.is_some() {
            return;
        }
        if let Some((asked, faults)) = self.asked.take() {
            self.service.reloaded(asked, &self.labels(), faults);
        }
    }

    /// Looks at all groups for somebody who asks, unless they have gone.
    pub(super) fn answer(&mut self, ask: Ask) {
        self.wall = self.wall.follow(output::clock());
        let clocks = (self.boot, self.wall);
        view::answer(ask, || self.watch.look(), clocks);
    }

    /// The plugins that run, by their labels.
    fn labels(&self) -> BTreeSet<String> {
        self.watch.plugins().map(|(_, plugin)| plugin.label()).collect()
    }
}

/// The faults of a configuration, a line each.
pub(super) fn lines<'a>(faults: impl Iterator<Item = &'a Fault>) -> Vec<String> {
    faults.map(ToString::to_string).collect()
}
