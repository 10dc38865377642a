//! What was told of each series last: a delta is what has come since.

use std::{collections::HashMap, sync::Arc};

use crate::{
    metrics::{Attributes, Measure, Value},
    plugin::Durations,
    process::{KeyMap, ProcessKey, Usage},
};

/// A cumulative value, and when it was told, Unix ns.
#[derive(Debug, Clone, Copy)]
struct At<T> {
    time: u64,
    value: T,
}

/// The last two values of a series: the same collection may be encoded again, and says the same then.
#[derive(Debug, Clone, Copy)]
struct Told<T> {
    before: Option<At<T>>,
    last: At<T>,
}

impl<T: Clone> Told<T> {
    /// Tells `value`; returns what was told before it.
    fn tell(told: &mut Option<Self>, time: u64, value: T) -> Option<At<T>> {
        let before = match told {
            Some(told) if told.last.time == time => told.before.clone(),
            Some(told) => Some(told.last.clone()),
            None => None,
        };
        *told = Some(Self {
            before: before.clone(),
            last: At { time, value },
        });
        before
    }
}

/// Since `start` (Unix ns), so much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Delta<T> {
    pub(super) start: u64,
    pub(super) value: T,
}

/// A metric's series, by their attributes.
type OfMetric = Vec<(Attributes, Option<Told<Measure>>)>;

/// The series of one service.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    points: HashMap<&'static str, OfMetric>,
    processes: KeyMap<Option<Told<Usage>>>,
}

impl Series {
    /// What `value`, cumulative since `start`, has gained since it was told last. Times are Unix ns.
    pub(super) fn point(
        &mut self,
        metric: &'static str,
        value: &Value,
        start: u64,
        now: u64,
    ) -> Delta<Measure> {
        let of_metric = self.points.entry(metric).or_default();
        let index = of_metric
            .iter()
            .position(|(attributes, _)| *attributes == value.attributes)
            .unwrap_or_else(|| {
                of_metric.push((value.attributes.clone(), None));
                of_metric.len() - 1
            });
        let measure = value.measure.clone();
        match Told::tell(&mut of_metric[index].1, now, measure.clone()) {
            // A series that has begun again since is another one.
            Some(before) if start <= before.time => Delta {
                start: before.time,
                value: gained(measure, before.value),
            },
            _ => Delta {
                start,
                value: measure,
            },
        }
    }

    /// The same for the sums of a process, cumulative since its `start`. What is unknown for a while is told when it is
    /// known again.
    pub(super) fn process(&mut self, key: ProcessKey, usage: &Usage, start: u64, now: u64) -> Delta<Usage> {
        let told = self.processes.entry(key).or_default();
        let known = told.map_or(*usage, |told| usage.at_least(&told.last.value));
        let Some(before) = Told::tell(told, now, known) else {
            return Delta { start, value: *usage };
        };
        Delta {
            start: before.time,
            value: usage.since(&before.value.at_least(&Usage::ZERO)),
        }
    }

    /// How many processes it keeps.
    #[cfg(test)]
    pub(super) fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Forgets the processes that are not `live` any more.
    pub(super) fn retain(&mut self, live: impl Fn(ProcessKey) -> bool) {
        self.processes.retain(|key, _| live(*key));
    }
}

fn gained(now: Measure, before: Measure) -> Measure {
    match (now, before) {
        (Measure::Integer(now), Measure::Integer(before)) => Measure::Integer(now.saturating_sub(before)),
        (Measure::Float(now), Measure::Float(before)) => Measure::Float((now - before).max(0.0)),
        (Measure::Durations(now), Measure::Durations(before)) => Measure::Durations(Durations {
            counts: std::array::from_fn(|bucket| now.counts[bucket].saturating_sub(before.counts[bucket])),
            sum: now.sum.saturating_sub(before.sum),
            last: now.last,
        }),
        (Measure::Spread(now), Measure::Spread(before)) => Measure::Spread(Arc::new(now.since(&before))),
        (Measure::Timing(now), Measure::Timing(before)) => Measure::Timing(now.since(&before)),
        // A metric does not change its kind, and moments are no sums.
        (now, _) => now,
    }
}
