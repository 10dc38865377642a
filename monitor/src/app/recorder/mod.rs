//! The flight recorder in the daemon: takes steps and events from the loop to a thread of their own, and decides what is an
//! incident.
//!
//! The loop never waits for it: what finds no room in the queue is counted, and the ring says so. The thread is not asked whether
//! it moves, unlike the others ([`crate::health::Pulses`]): a disk that hangs costs steps, and no service manager is to end
//! kevmon for them.

mod queue;
mod thread;
mod triggers;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::{error, info, warn};

use self::{
    thread::{Message, Thread},
    triggers::{Judged, Triggers},
};
use super::{
    keeper,
    watch::{Watch, record::StepOf},
};
use crate::{
    config::recorder::Recorder as Settings,
    export::{Precision, UnixClock, span},
    plugin::{GroupId, Notice, RestartKind, StepReading, What},
    process::{Counter, Reason},
    recorder::{self, Event, EventKind, Field, Group, Values},
    shown::printable,
};

/// The recorder of a run.
#[derive(Debug)]
pub(super) struct Recorder {
    settings: Settings,
    /// Where; `None`: nowhere, as there is no state.
    folder: Option<PathBuf>,
    /// `None` while no group is recorded.
    thread: Option<Thread>,
    groups: BTreeMap<GroupId, Group>,
    triggers: Triggers,
}

impl Recorder {
    /// The recorder of the state in `database`; nothing is recorded without one.
    pub(super) fn new(settings: Settings, database: Option<&Path>) -> Self {
        let folder = database.map(recorder::folder);
        if settings.enabled && settings.standard && folder.is_none() {
            warn!(
                "[recorder] standard = true has no effect without a state, which the recorder's files lie next to"
            );
        }
        Self {
            settings,
            folder: folder.filter(|_| settings.enabled),
            thread: None,
            groups: BTreeMap::new(),
            triggers: Triggers::default(),
        }
    }

    /// The groups of `watch` are recorded from now on, as far as the settings say so.
    pub(super) fn plan(&mut self, watch: &mut Watch) {
        let Some(folder) = &self.folder else { return };
        let nanos = |length: std::time::Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let recorded = watch.plugins().filter_map(|(id, plugin)| {
            let step = match plugin.detail {
                Some(detail) => detail.sample_interval,
                None => Some(self.settings.step).filter(|_| self.settings.standard)?,
            };
            let group = Group {
                key: keeper::key(plugin).key,
                plugin: plugin.name.clone(),
                label: plugin.label(),
                step: nanos(step),
                detailed: plugin.detail.is_some(),
            };
            Some((id, group))
        });
        let groups: BTreeMap<GroupId, Group> = recorded.collect();
        if groups.is_empty() && self.thread.is_none() {
            return;
        }
        if self.thread.is_none() {
            match Thread::start(folder, self.settings) {
                Ok(thread) => {
                    info!(
                        "flight recorder {}: {} plugins are recorded; it holds {} and {} at most",
                        folder.display(),
                        groups.len(),
                        Precision::Human.bytes(self.settings.bytes),
                        span(self.settings.age)
                    );
                    self.thread = Some(thread);
                    watch.start_record(self.settings);
                }
                Err(error) => {
                    error!("flight recorder: no thread for it: {error}; kevmon runs without one");
                    self.folder = None;
                    return;
                }
            }
        }
        self.triggers.retain(|group| groups.contains_key(&group));
        if groups != self.groups {
            self.groups = groups;
            let plan = self
                .groups
                .iter()
                .map(|(id, group)| (id.0, group.clone()))
                .collect();
            self.send(Message::Plan(plan));
        }
    }

    /// Takes the steps that `watch` has made. `wall` tells when.
    pub(super) fn take(&mut self, watch: &mut Watch, wall: UnixClock) {
        if self.thread.is_none() {
            return;
        }
        let (steps, missed) = watch.take_steps();
        if let Some(thread) = &mut self.thread {
            thread.queue.lose(missed);
        }
        for StepOf {
            time,
            is_lossy,
            groups,
        } in steps
        {
            let groups = groups.iter().map(|(group, step)| (group.0, values(step)));
            let message = Message::Step {
                time: wall.unix(time),
                is_lossy,
                groups: groups.collect(),
            };
            self.send(message);
        }
    }

    /// Takes what happened, and gives ends their incidents.
    pub(super) fn note(&mut self, notices: &mut [Notice], watch: &Watch, wall: UnixClock) {
        if self.thread.is_none() {
            return;
        }
        let (mut events, mut begun) = (Vec::new(), Vec::new());
        for notice in notices {
            let Some(label) = self.groups.get(&notice.group).map(|group| group.label.clone()) else {
                continue;
            };
            let time = wall.unix(notice.time);
            let in_loop = |group| watch.in_crash_loop(group);
            let judged = self.triggers.judge(notice, time, in_loop);
            if let Judged::Begins(trigger) | Judged::BelongsTo(trigger) = &judged {
                notice.incident = Some(Arc::from(trigger.id.as_str()));
            }
            let group = notice.group.0;
            events.push((group, event(notice, time)));
            if let Judged::Begins(trigger) = judged {
                info!(
                    "incident {} of {label}: {} of {} (pid {}); kevmon incidents lists it",
                    trigger.id,
                    trigger.cause.name(),
                    printable(&trigger.name),
                    trigger.pid
                );
                begun.push(Message::Freeze(group, trigger));
            }
        }
        // One message for all, as a burst has more events than the queue has places.
        if !events.is_empty() {
            self.send_events(events);
        }
        begun.into_iter().for_each(|begins| self.send(begins));
    }

    /// Never waits.
    fn send_events(&mut self, events: Vec<(usize, Event)>) {
        if let Some(thread) = &mut self.thread {
            thread.queue.send_events(events);
        }
    }

    /// Never waits.
    fn send(&mut self, message: Message) {
        if let Some(thread) = &mut self.thread {
            thread.queue.send(message);
        }
    }

    /// Writes what waits, for a moment at most.
    pub(super) fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.finish();
        }
    }
}

/// A step's values, as the files have them.
fn values(step: &StepReading) -> Values {
    let exits = |is_it: fn(Reason) -> bool| {
        let counts = step.exits.iter().filter(|(reason, _)| is_it(*reason));
        counts.map(|(_, count)| count).sum::<u64>()
    };
    let happened = &step.happened;
    Values::default()
        .with(Field::Cpu, step.usage.get(Counter::Runtime))
        .with(Field::RunDelay, step.usage.get(Counter::RunDelay))
        .with(Field::Voluntary, step.usage.get(Counter::Voluntary))
        .with(Field::Involuntary, step.usage.get(Counter::Involuntary))
        .with(Field::Rss, step.rss)
        .with(Field::Threads, step.threads)
        .with(Field::Fds, step.fds)
        .with(Field::Processes, step.process_count)
        .with(Field::Starts, happened.starts)
        .with(Field::WorkerStarts, happened.worker_starts)
        .with(Field::Restarts, happened.respawns + happened.reexecs)
        .with(Field::Succeeded, exits(Reason::is_success))
        .with(
            Field::Failed,
            exits(|reason| matches!(reason, Reason::Exit { code: 1.. })),
        )
        .with(
            Field::Signalled,
            exits(|reason| matches!(reason, Reason::Signal { .. })),
        )
        .with(Field::OomKilled, exits(|reason| reason == Reason::Oom))
        .with(Field::Vanished, exits(|reason| reason == Reason::Unknown))
}

/// A notice, as the files have it; `time` is Unix ns.
fn event(notice: &Notice, time: u64) -> Event {
    let nanos = |length: std::time::Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let kind = match &notice.what {
        What::Start { worker } => EventKind::Start { worker: *worker },
        What::Exit {
            ending,
            lifetime,
            peak_rss,
            worker,
            ..
        } => EventKind::Exit {
            worker: *worker,
            reason: ending.reason(),
            sender: ending.killer().map(|sender| (sender.tgid.0, sender.comm.clone())),
            lifetime: lifetime.map(nanos),
            peak_rss: *peak_rss,
        },
        What::Restart { kind, downtime, .. } => EventKind::Restart {
            reexec: *kind == RestartKind::Reexec,
            downtime: downtime.map(nanos),
        },
    };
    Event {
        time,
        pid: notice.key.tgid.0,
        name: notice.name.to_string(),
        kind,
        incident: notice.incident.as_deref().unwrap_or_default().to_owned(),
    }
}
