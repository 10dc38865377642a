//! Series of single processes that receivers believe to go on, so that each gets its end.
//!
//! A series without an end looks to a receiver as if its points were late: Prometheus shows its last value for five minutes
//! more, so that the busiest processes of a query are dead ones. The end is a point without a value whose flags say so
//! (opentelemetry-proto 1.x, metrics/v1, `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`), which Prometheus and VictoriaMetrics take
//! as a staleness marker.
//!
//! What was sent in a collection is compared with what goes out in the next one, whatever made the difference: the process has
//! ended, left the group, lost its place or taken other attributes; the plugin asks for no processes, for fewer metrics, or for
//! other names. Series are compared by their attributes and not by their process: these are what the receiver knows.

use std::{collections::HashMap, ops::Range};

/// The open series of one service.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenSeries {
    /// Of the collection before the last one, …
    before: Sent,
    /// … and of the last one: the same collection may be encoded again, and says the same then.
    last: Sent,
}

/// What one collection sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    /// When, Unix ns.
    time: u64,
    /// In front of the metrics' names.
    prefix: String,
    /// Encoded attributes of all processes.
    attributes: Vec<u8>,
    processes: Vec<Process>,
}

#[derive(Debug, Clone)]
struct Process {
    /// In the shared buffer.
    attributes: Range<usize>,
    /// When its sums begin, Unix ns.
    start: u64,
    /// The numbers of its points.
    points: Points,
}

/// A set of points, by their numbers (see [`crate::metrics::numbered_process_metrics`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Points(u64);

/// Series that end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    /// The encoded attributes of the process.
    pub(super) attributes: &'a [u8],
    /// When its sums began, Unix ns.
    pub(super) start: u64,
    /// Which of its points had series.
    pub(super) points: Points,
}

impl OpenSeries {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.last.processes.is_empty()
    }

    /// Whether there were none before the collection of this time, Unix ns.
    pub(super) fn was_empty(&self, time: u64) -> bool {
        let is_again = self.last.time == time;
        let before = if is_again { &self.before } else { &self.last };
        before.processes.is_empty()
    }

    /// What was sent before the collection of this time, Unix ns.
    pub(super) fn before(&mut self, time: u64) -> Sent {
        if self.last.time != time {
            self.before = std::mem::take(&mut self.last);
        }
        std::mem::take(&mut self.before)
    }

    /// A collection has been encoded: `before` was sent before it, and `sent` with it.
    pub(super) fn sent(&mut self, before: Sent, sent: Sent) {
        self.before = before;
        self.last = sent;
    }
}

impl Sent {
    /// Nothing yet, in a collection at `time`, Unix ns.
    pub(super) fn new(time: u64, prefix: &str) -> Self {
        Self {
            time,
            prefix: prefix.to_owned(),
            ..Self::default()
        }
    }

    /// When it was sent, Unix ns.
    pub(super) fn time(&self) -> u64 {
        self.time
    }

    /// What stood before its metrics' names.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Adds a process with the attributes that `write` encodes. Its points are yet to come.
    pub(super) fn add(&mut self, start: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.attributes.len();
        write(&mut self.attributes);
        self.processes.push(Process {
            attributes: begin..self.attributes.len(),
            start,
            points: Points::default(),
        });
    }

    /// The attributes of the process that was added as the `index`th.
    pub(super) fn attributes_of(&self, index: usize) -> &[u8] {
        let process = self.processes.get(index);
        process.map_or(&[], |process| self.of(process))
    }

    /// These points of the `index`th process have been written.
    pub(super) fn wrote(&mut self, index: usize, points: Points) {
        if let Some(process) = self.processes.get_mut(index) {
            process.points = process.points.with(points);
        }
    }

    /// The series of this collection that end now that `next` goes out, with points among `wanted`. What goes on and has no
    /// value this time stays open: `next` takes it over.
    pub(super) fn ended_by<'a>(&'a self, next: &mut Self, wanted: Points) -> Vec<Ended<'a>> {
        if self.processes.is_empty() {
            return Vec::new();
        }
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        if self.prefix == next.prefix {
            let processes = next.processes.iter().enumerate();
            places = processes
                .map(|(index, process)| (next.of(process).to_vec(), index))
                .collect();
        }
        let ended = self.processes.iter().filter_map(|process| {
            let attributes = self.of(process);
            let mut points = process.points;
            if let Some(&index) = places.get(attributes) {
                next.wrote(index, points.among(wanted));
                points = points.without(wanted);
            }
            (points != Points::default()).then_some(Ended {
                attributes,
                start: process.start,
                points,
            })
        });
        ended.collect()
    }

    fn of(&self, process: &Process) -> &[u8] {
        &self.attributes[process.attributes.clone()]
    }
}

impl Points {
    /// One point.
    pub(super) fn one(number: u32) -> Self {
        Self(1 << number)
    }

    pub(super) fn has(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }

    pub(super) fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    fn among(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}
