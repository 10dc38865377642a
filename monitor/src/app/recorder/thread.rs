//! The thread that writes the ring and cuts incidents from it.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::{error, warn};

use super::queue::{Queue, Share};
use crate::{
    app::output,
    config::recorder::Recorder as Settings,
    episode::Episode,
    health::Vital,
    recorder::{Bounds, Event, Group, Incidents, Ring, Trigger, Values, incident::Unfinished},
};

/// Messages that wait for the disk: some seconds of a group at 10 ms.
const WAITING: usize = 1024;
/// An incident is made whole so long after its last step: what happened in it has been told by then.
const LATE: Duration = Duration::from_secs(2);
/// An incident that could not be written, or looked at, is tried again after this time …
const AGAIN: Duration = Duration::from_secs(10);
/// … and given up when the ring does not have it any more, or after this time.
const GIVEN_UP: Duration = Duration::from_hours(1);
/// The end of kevmon waits so long for what waits to be written.
const FINISH: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Message {
    /// These groups are recorded from now on.
    Plan(Vec<(usize, Group)>),
    /// So many steps and events were lost before they came here.
    Lost(u64),
    Step {
        /// Unix ns.
        time: u64,
        is_lossy: bool,
        groups: Vec<(usize, Values)>,
    },
    /// What happened to members of groups.
    Events(Vec<(usize, Event)>, Share),
    /// An incident of a group begins.
    Freeze(usize, Trigger),
}

/// The thread, while it is wanted.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) queue: Queue,
    thread: JoinHandle<()>,
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(folder: &Path, settings: Settings) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(WAITING);
        let folder = folder.to_owned();
        let thread = thread::Builder::new()
            .name("kevmon-recorder".to_owned())
            .spawn(move || {
                let _vital = Vital("kevmon-recorder");
                Work::new(folder, settings).serve(&messages);
            })?;
        Ok(Self {
            queue: Queue::new(queue),
            thread,
        })
    }

    /// Writes what waits, unless the disk takes too long: that is left to itself then.
    pub(super) fn finish(self) {
        let Self { mut queue, thread } = self;
        let end = Instant::now() + FINISH;
        let pause = || thread::sleep(Duration::from_millis(2));
        while !queue.flush() {
            if Instant::now() >= end {
                queue.say_left();
                break;
            }
            pause();
        }
        drop(queue);
        while !thread.is_finished() && Instant::now() < end {
            pause();
        }
    }
}

struct Work {
    ring: Ring,
    incidents: Incidents,
    /// Incidents that are not whole, with the time of the next look at each, Unix ns.
    open: Vec<(Group, Trigger, u64)>,
    /// When the incidents of earlier runs are looked at, Unix ns; `None` once that worked.
    look_at: Option<u64>,
    trouble: Episode,
}

impl Work {
    fn new(folder: PathBuf, settings: Settings) -> Self {
        let bounds = Bounds {
            bytes: settings.bytes,
            age: settings.age,
        };
        let ring = Ring::open(&folder, bounds);
        let incidents = Incidents::new(&folder);
        Self {
            ring,
            incidents,
            open: Vec::new(),
            look_at: Some(0),
            trouble: Episode::default(),
        }
    }

    /// Takes up the incidents that earlier runs did not finish. What fails is tried again.
    fn look_at_earlier(&mut self, now: u64) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        match self.incidents.unfinished() {
            Ok(Unfinished { open, faults }) => {
                self.look_at = None;
                self.trouble.works(Instant::now());
                faults.iter().for_each(|fault| warn!("flight recorder: {fault}"));
                for (group, trigger) in open {
                    if !self.open.iter().any(|(_, known, _)| known.id == trigger.id) {
                        let at = whole_at(&trigger);
                        self.open.push((group, trigger, at));
                    }
                }
            }
            Err(error) => {
                self.look_at = Some(now.saturating_add(nanos(AGAIN)));
                if self.trouble.fails(Instant::now()) {
                    warn!(
                        "flight recorder: the incidents of earlier runs cannot be looked at: {error}; it is tried again"
                    );
                }
            }
        }
    }

    /// Until nobody sends any more.
    fn serve(&mut self, messages: &Receiver<Message>) {
        loop {
            let now = output::unix_now();
            self.look_at_earlier(now);
            self.look_at_open(now);
            let next = self.open.iter().map(|(_, _, at)| *at);
            let next = next.chain(self.look_at).min();
            let message = match next {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => {
                    let wait = Duration::from_nanos(at.saturating_sub(output::unix_now()));
                    messages.recv_timeout(wait)
                }
            };
            match message {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Plan(groups) => self.ring.plan(groups),
            Message::Lost(steps) => self.ring.note_lost(steps),
            Message::Step {
                time,
                is_lossy,
                groups,
            } => self.ring.step(time, is_lossy, &groups),
            Message::Events(events, share) => {
                self.ring.events(&events);
                drop(share); // others find room
            }
            Message::Freeze(index, trigger) => {
                // The ring has it first: a kill from here on loses nothing of it.
                self.ring.trigger(index, &trigger);
                if let Some(group) = self.ring.group(index).cloned() {
                    self.freeze(&group, &trigger, false);
                    let at = whole_at(&trigger);
                    self.open.push((group, trigger, at));
                }
            }
        }
    }

    /// Makes incidents whole whose time is over.
    fn look_at_open(&mut self, now: u64) {
        let (due, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(_, _, at)| *at <= now);
        self.open = open;
        let due: Vec<(Group, Trigger, u64)> = due;
        for (group, trigger, _) in due {
            if !self.freeze(&group, &trigger, true) && now.saturating_sub(trigger.until) < nanos(GIVEN_UP) {
                self.open.push((group, trigger, now + nanos(AGAIN)));
            }
        }
    }

    /// False where that failed.
    fn freeze(&mut self, group: &Group, trigger: &Trigger, is_whole: bool) -> bool {
        let frozen = self.incidents.freeze(group, trigger, is_whole);
        match frozen {
            Ok(()) => {
                self.trouble.works(Instant::now());
                true
            }
            Err(error) => {
                if self.trouble.fails(Instant::now()) {
                    error!(
                        "incident {}: {error}; it is tried again, and the flight recorder has it meanwhile",
                        trigger.id
                    );
                }
                false
            }
        }
    }
}

fn whole_at(trigger: &Trigger) -> u64 {
    trigger.until.saturating_add(nanos(LATE))
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::recorder::Cause;

    #[test]
    fn a_look_at_earlier_incidents_that_failed_is_repeated() {
        let base = std::env::temp_dir().join(format!("kevmon-recorder-look-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        let (folder, aside) = (base.join("metadata.db.recorder"), base.join("aside"));
        let settings = Settings::default();
        let group = Group {
            key: "k".to_owned(),
            plugin: "web".to_owned(),
            label: "web".to_owned(),
            step: 1,
            detailed: false,
        };
        let trigger = Trigger {
            id: "a-7".to_owned(),
            cause: Cause::Crash,
            time: 5,
            from: 1,
            until: 9,
            pid: 7,
            name: "web".to_owned(),
        };
        let mut earlier = Work::new(folder.clone(), settings);
        earlier.ring.plan([(0, group)]);
        earlier.ring.trigger(0, &trigger);
        drop(earlier);
        fs::rename(&folder, &aside).unwrap();
        fs::write(&folder, "no folder").unwrap();
        let mut work = Work::new(folder.clone(), settings);
        work.look_at_earlier(1_000);
        assert_eq!(work.open.len(), 0);
        fs::remove_file(&folder).unwrap();
        fs::rename(&aside, &folder).unwrap();
        work.look_at_earlier(999 + nanos(AGAIN));
        assert_eq!(work.open.len(), 0, "not at once");
        work.look_at_earlier(1_000 + nanos(AGAIN));
        assert_eq!(work.open.len(), 1);
        work.look_at_earlier(u64::MAX);
        assert_eq!(work.open.len(), 1, "once");
        fs::remove_dir_all(&base).unwrap();
    }
}
