//! The queue to the recorder's thread, as the loop fills it.
//!
//! Nobody waits for room. Steps and events that find none are counted, and the count is sent before any later one. Plans and
//! incidents, which later messages depend on, are held until there is room, and what comes after them is counted meanwhile: the
//! thread never has a step of a group that it has not been told of.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    time::Instant,
};

use tracing::{info, warn};

use super::thread::Message;
use crate::{episode::Episode, recorder::Event};

/// Incidents that are held while the queue is full.
const HELD: usize = 256;
/// Events that wait for the disk, some 200 bytes each.
const EVENTS: usize = 1 << 16;

/// The part of [`EVENTS`] that a message takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    all: Arc<AtomicUsize>,
    count: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// The sender's end.
#[derive(Debug)]
pub(super) struct Queue {
    messages: SyncSender<Message>,
    /// How many events are on their way.
    events: Arc<AtomicUsize>,
    /// Plans and incidents that found no room, in their order.
    held: VecDeque<Message>,
    /// Steps and events that found no room since the last that did.
    dropped: u64,
    /// The same since the queue was full first, for the log.
    missing: u64,
    behind: Episode,
}

impl Queue {
    pub(super) fn new(messages: SyncSender<Message>) -> Self {
        Self {
            messages,
            events: Arc::default(),
            held: VecDeque::new(),
            dropped: 0,
            missing: 0,
            behind: Episode::default(),
        }
    }

    /// So many steps were lost before they came here.
    pub(super) fn lose(&mut self, steps: u64) {
        self.dropped = self.dropped.saturating_add(steps);
    }

    /// Sends events, or counts them as lost where too many wait. Never waits.
    pub(super) fn send_events(&mut self, events: Vec<(usize, Event)>) {
        let count = events.len();
        let waiting = self.events.fetch_add(count, Ordering::Relaxed);
        let share = Share {
            all: Arc::clone(&self.events),
            count,
        };
        if waiting + count > EVENTS {
            self.leave_out(count as u64, Instant::now());
        } else {
            self.send(Message::Events(events, share));
        }
    }

    /// Sends `message`, or keeps it, or counts it as lost. Never waits.
    pub(super) fn send(&mut self, message: Message) {
        let now = Instant::now();
        self.send_held();
        let refused = if self.held.is_empty() && self.dropped == 0 {
            self.messages.try_send(message).err().map(refused)
        } else {
            Some(message)
        };
        let Some(message) = refused else {
            if self.behind.works(now).is_some() {
                let missing = std::mem::take(&mut self.missing);
                info!(
                    "flight recorder: its disk has caught up; {missing} steps and events are missing in it"
                );
            }
            return;
        };
        let lost = match &message {
            Message::Plan(_) => 0,
            Message::Freeze(..) => u64::from(self.held.len() >= HELD),
            Message::Lost(count) => *count,
            Message::Step { .. } => 1,
            Message::Events(events, _) => events.len() as u64,
        };
        if lost == 0 {
            self.held.push_back(message);
            return;
        }
        self.leave_out(lost, now);
    }

    fn leave_out(&mut self, lost: u64, now: Instant) {
        self.lose(lost);
        self.missing = self.missing.saturating_add(lost);
        if self.behind.fails(now) {
            warn!(
                "flight recorder: its disk does not keep up: steps and events are left out of it until it does; nothing else waits"
            );
        }
    }

    /// Sends what there is room for; whether that was all.
    pub(super) fn flush(&mut self) -> bool {
        self.send_held();
        self.held.is_empty() && self.dropped == 0
    }

    /// Says what will not be written any more.
    pub(super) fn say_left(&self) {
        let incidents = self
            .held
            .iter()
            .filter(|held| matches!(held, Message::Freeze(..)));
        let (incidents, dropped) = (incidents.count(), self.dropped);
        warn!(
            "flight recorder: its disk did not keep up until the end: {incidents} incidents and {dropped} steps and events are missing in it"
        );
    }

    /// Sends what is held, and then how much was lost.
    fn send_held(&mut self) {
        while let Some(message) = self.held.pop_front() {
            if let Err(error) = self.messages.try_send(message) {
                self.held.push_front(refused(error));
                return;
            }
        }
        if self.dropped > 0 && self.messages.try_send(Message::Lost(self.dropped)).is_ok() {
            self.dropped = 0;
        }
    }
}

fn refused(error: TrySendError<Message>) -> Message {
    let (TrySendError::Full(message) | TrySendError::Disconnected(message)) = error;
    message
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::recorder::{Cause, Event, EventKind, Group, Trigger};

    fn step(time: u64) -> Message {
        Message::Step {
            time,
            is_lossy: false,
            groups: Vec::new(),
        }
    }

    fn plan(index: usize) -> Message {
        let group = Group {
            key: "k".to_owned(),
            plugin: "web".to_owned(),
            label: "web".to_owned(),
            step: 1,
            detailed: false,
        };
        Message::Plan(vec![(index, group)])
    }

    fn freeze(id: usize) -> Message {
        let trigger = Trigger {
            id: format!("a-{id}"),
            cause: Cause::Crash,
            time: 1,
            from: 0,
            until: 2,
            pid: 7,
            name: String::new(),
        };
        Message::Freeze(0, trigger)
    }

    fn events(count: u64) -> Vec<(usize, Event)> {
        let event = |time| Event {
            time,
            pid: 7,
            name: String::new(),
            kind: EventKind::Start { worker: false },
            incident: String::new(),
        };
        (0..count).map(|time| (0, event(time))).collect()
    }

    /// What lies in the queue, in short.
    fn received(messages: &Receiver<Message>) -> Vec<String> {
        let messages = messages.try_iter().map(|message| match message {
            Message::Plan(groups) => format!("plan {}", groups[0].0),
            Message::Lost(count) => format!("lost {count}"),
            Message::Step { time, .. } => format!("step {time}"),
            Message::Events(events, _) => format!("events {}", events.len()),
            Message::Freeze(_, trigger) => format!("freeze {}", trigger.id),
        });
        messages.collect()
    }

    #[test]
    fn a_plan_and_an_incident_outlast_a_full_queue_and_what_is_lost_is_counted() {
        let (sender, messages) = sync_channel(2);
        let mut queue = Queue::new(sender);
        for message in [plan(0), step(1), plan(1), step(2)] {
            queue.send(message);
        }
        queue.send_events(events(40));
        for message in [freeze(1), step(3)] {
            queue.send(message);
        }
        assert_eq!(received(&messages), ["plan 0", "step 1"]);
        queue.send(step(4));
        assert_eq!(received(&messages), ["plan 1", "freeze a-1"], "in their order");
        queue.send(step(5));
        assert_eq!(
            received(&messages),
            ["lost 43", "step 5"],
            "steps 2 to 4 and 40 events"
        );
    }

    #[test]
    fn events_that_wait_are_bounded_by_their_number() {
        let (sender, messages) = sync_channel(100);
        let mut queue = Queue::new(sender);
        let half = EVENTS as u64 / 2;
        for _ in 0..3 {
            queue.send_events(events(half));
        }
        assert_eq!(queue.dropped, half);
        assert!(!queue.flush() || queue.dropped == 0);
        assert_eq!(
            received(&messages),
            [
                format!("events {half}"),
                format!("events {half}"),
                format!("lost {half}")
            ]
        );
        queue.send_events(events(half));
        assert_eq!(
            received(&messages),
            [format!("events {half}")],
            "there is room again"
        );
        assert!(queue.flush());
    }

    #[test]
    fn incidents_that_wait_are_bounded_and_the_rest_is_counted() {
        let (sender, messages) = sync_channel(1);
        let mut queue = Queue::new(sender);
        (0..1 + HELD + 3).for_each(|id| queue.send(freeze(id)));
        assert_eq!(queue.held.len(), HELD);
        assert_eq!(queue.dropped, 3);
        assert_eq!(received(&messages), ["freeze a-0"]);
    }
}
