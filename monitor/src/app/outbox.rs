//! The events that no receiver has taken yet, in a bounded number.

use crate::export::LogEvent;

/// Events that a receiver which is away or slow leaves waiting at most. The oldest go first: the history has them.
const HELD: usize = 4096;

/// What waits, and what is being sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Vec<LogEvent>,
    /// By group, the order in which requests hold them. Older than what waits.
    on_the_way: Vec<LogEvent>,
    dropped: u64,
    closed: bool,
}

impl Outbox {
    /// Adds what a collection brought. All of it is tried once, however much it is: only what has waited before makes
    /// room.
    pub(super) fn push(&mut self, events: Vec<LogEvent>) {
        if self.closed {
            return;
        }
        self.trim();
        self.waiting.extend(events);
    }

    /// All that waits, by group, to be sent now.
    pub(super) fn take_off(&mut self) -> &[LogEvent] {
        self.restore();
        self.on_the_way = std::mem::take(&mut self.waiting);
        // Stable: within a group they stay in the order of their telling.
        self.on_the_way.sort_by_key(|event| event.notice.group.0);
        &self.on_the_way
    }

    /// The first `count` of those on the way need not be sent again; `rejected` of them were not taken, and never will
    /// be.
    pub(super) fn settle(&mut self, count: usize, rejected: u64) {
        self.on_the_way.drain(..count.min(self.on_the_way.len()));
        self.dropped += rejected;
    }

    /// Those on the way wait again.
    pub(super) fn come_back(&mut self) {
        self.restore();
        self.trim();
    }

    /// The receiver has no use for events: none are held from now on, and none are missed.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.waiting = Vec::new();
        self.on_the_way = Vec::new();
    }

    /// Events that no receiver has taken.
    pub(super) fn undelivered(&self) -> usize {
        self.waiting.len() + self.on_the_way.len()
    }

    /// Events for which there was no room, or that a receiver rejected.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn restore(&mut self) {
        if !self.on_the_way.is_empty() {
            self.on_the_way.append(&mut self.waiting);
            std::mem::swap(&mut self.on_the_way, &mut self.waiting);
        }
    }

    fn trim(&mut self) {
        let excess = self.waiting.len().saturating_sub(HELD);
        if excess > 0 {
            // They come group by group, and no group is to lose more than another.
            self.waiting.sort_by_key(|event| event.notice.time);
            self.waiting.drain(..excess);
            self.dropped += excess as u64;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        export::UnixClock,
        plugin::{GroupId, Notice, What},
        process::{BootTime, ProcessKey, Tgid},
    };

    pub(in crate::app) fn event(group: usize, time: u64) -> LogEvent {
        let clock = UnixClock::new(0, BootTime(0));
        LogEvent {
            notice: Notice {
                group: GroupId(group),
                time: BootTime(time),
                key: ProcessKey {
                    tgid: Tgid(7),
                    start: BootTime(time),
                },
                parent: None,
                name: "a".into(),
                exe: "a".into(),
                what: What::Start { worker: false },
            },
            clock,
            wall: clock,
            observed: 0,
        }
    }

    fn events(group: usize, times: std::ops::Range<u64>) -> Vec<LogEvent> {
        times.map(|time| event(group, time)).collect()
    }

    fn told(events: &[LogEvent]) -> Vec<(usize, u64)> {
        let one = |event: &LogEvent| (event.notice.group.0, event.notice.time.0);
        events.iter().map(one).collect()
    }

    #[test]
    fn what_was_not_taken_comes_with_the_next_delivery() {
        let mut outbox = Outbox::default();
        outbox.push(vec![event(1, 5), event(0, 6)]);
        assert_eq!(told(outbox.take_off()), [(0, 6), (1, 5)]);
        outbox.settle(1, 0);
        outbox.push(vec![event(0, 7), event(1, 8)]);
        outbox.come_back();
        assert_eq!(outbox.undelivered(), 3);
        assert_eq!(
            told(outbox.take_off()),
            [(0, 7), (1, 5), (1, 8)],
            "older ones first"
        );
        outbox.settle(3, 0);
        assert_eq!((outbox.undelivered(), outbox.dropped()), (0, 0));
    }

    #[test]
    fn a_delivery_that_was_broken_off_loses_nothing() {
        let mut outbox = Outbox::default();
        outbox.push(events(0, 0..3));
        outbox.take_off();
        outbox.settle(1, 0);
        outbox.push(events(0, 3..4));
        assert_eq!(told(outbox.take_off()), [(0, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_of_all_groups_go() {
        let mut outbox = Outbox::default();
        // In one interval more than is held for long: all are tried.
        outbox.push([events(0, 0..4_000), events(1, 0..4_000)].concat());
        assert_eq!((outbox.take_off().len(), outbox.dropped()), (8_000, 0));
        outbox.come_back();
        assert_eq!((outbox.undelivered(), outbox.dropped()), (4_096, 3_904));
        let left = told(outbox.take_off());
        for group in [0, 1] {
            let of = left.iter().filter(|(of, _)| *of == group);
            assert_eq!(of.count(), 2_048, "of group {group}");
        }
        assert!(left.iter().all(|(_, time)| *time >= 1_952), "the oldest are gone");
    }

    #[test]
    fn a_slow_receiver_has_what_is_new_and_4096_before_it() {
        let mut outbox = Outbox::default();
        outbox.push(events(0, 0..10));
        outbox.take_off();
        outbox.push(events(0, 10..4_110));
        outbox.push(events(0, 4_110..4_120));
        assert_eq!(outbox.dropped(), 4, "of those that waited before");
        outbox.settle(10, 0);
        let left = told(outbox.take_off());
        assert_eq!((left[0], left.len()), ((0, 14), 4_106));
    }

    #[test]
    fn what_a_receiver_rejects_is_counted_and_not_sent_again() {
        let mut outbox = Outbox::default();
        outbox.push(events(0, 0..5));
        outbox.take_off();
        outbox.settle(3, 2);
        outbox.come_back();
        assert_eq!((outbox.undelivered(), outbox.dropped()), (2, 2));
    }

    #[test]
    fn a_receiver_without_logs_misses_nothing() {
        let mut outbox = Outbox::default();
        outbox.push(events(0, 0..5));
        outbox.take_off();
        outbox.push(events(0, 5..9));
        outbox.close();
        outbox.push(events(0, 9..10));
        assert_eq!((outbox.undelivered(), outbox.dropped()), (0, 0));
    }
}
