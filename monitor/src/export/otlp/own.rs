//! Which of kevmon's own points go with a collection.
//!
//! A daemon sends to one receiver every few seconds, and most of what it counts of itself never moves. So each metric has
//! a cadence ([`crate::metrics::Cadence`]), and a series that has been 0 all the time has no points. Its first point that
//! is not 0 comes with one of value 0 at the time of the request before: a receiver that does not look at start times
//! (Prometheus' `increase`) would miss that first step else. The value was 0 then, as each collection looks at all series.
//!
//! All of kevmon's own points have the times of collections, and one resource: its times never go back.

use std::{collections::HashMap, time::Duration};

use crate::{
    metrics::{Attributes, Cadence, Instrument, Measure, OWN, OwnMetric, TELEMETRY, Timing, Value},
    plugin::Durations,
};

/// The longest time between two points of a series.
const MINUTE: Duration = Duration::from_secs(60);

/// When a daemon sends which of its own metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// How far its minutes lie from those of the wall clock, ns.
    pub phase: u64,
    /// How often it sends what it costs and how its exports fare; `None`: not at all, or not to this receiver.
    pub telemetry: Option<Duration>,
}

/// What goes with this collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// All points, also those that are 0.
    Everything,
    /// All that are not 0, or have been something else.
    Due,
    /// What has changed, or goes with each collection.
    Changed,
    /// Nothing.
    Nothing,
}

/// The points of one metric.
#[derive(Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) values: Vec<Value>,
    /// Those of `values` whose series begin, as they were at the time of the request before.
    pub(super) zeros: Vec<Value>,
}

/// What has been sent of kevmon's own metrics to some receivers.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnPoints {
    /// `None`: everything goes with each collection.
    rhythm: Option<Rhythm>,
    /// The last value of each series.
    sent: HashMap<&'static str, Vec<(Attributes, Measure)>>,
    /// The time of the last request, Unix ns, also of an earlier run.
    last: Option<u64>,
    /// Periods of a minute, and of telemetry, in which it was sent.
    minute: Option<u64>,
    telemetry: Option<u64>,
}

impl OwnPoints {
    /// From now on by this rhythm.
    pub(super) fn set_rhythm(&mut self, rhythm: Rhythm) {
        self.rhythm = Some(rhythm);
    }

    /// An earlier run sent this value of a series; 0 is as good as nothing.
    pub(super) fn sent_before(&mut self, metric: &OwnMetric, value: &Value) {
        if !is_zero(&value.measure) {
            self.remember(metric, value);
        }
    }

    /// An earlier run sent its last request at `time`, Unix ns.
    pub(super) fn last_before(&mut self, time: u64) {
        self.last = self.last.max(Some(time));
    }

    /// Whether telemetry goes with a collection of `time`, Unix ns.
    pub(super) fn is_telemetry_due(&self, time: u64, is_final: bool) -> bool {
        let Some(Rhythm {
            phase,
            telemetry: Some(interval),
        }) = self.rhythm
        else {
            return false;
        };
        is_final || self.telemetry != Some(period(time, phase, interval))
    }

    /// Whether there is a request of `time` although it has nothing of plugins.
    pub(super) fn is_alone(&self, time: u64, is_final: bool) -> bool {
        self.rhythm.is_none() || self.is_telemetry_due(time, is_final)
    }

    /// The metrics that may have points in a request of `time`. With `services`, it has those of plugins.
    pub(super) fn metrics(
        &mut self,
        (time, is_final): (u64, bool),
        services: bool,
    ) -> impl Iterator<Item = (&'static OwnMetric, Share)> + use<> {
        let (own, telemetry) = match self.rhythm {
            None => (Share::Everything, Share::Nothing),
            Some(Rhythm { phase, telemetry }) => {
                let minute = period(time, phase, MINUTE);
                let own = match self.minute == Some(minute) && !is_final {
                    _ if !services => Share::Nothing,
                    true => Share::Changed,
                    false => Share::Due,
                };
                let share = match telemetry {
                    None => Share::Nothing,
                    Some(_) if self.is_telemetry_due(time, is_final) => Share::Due,
                    Some(_) => Share::Changed,
                };
                if own == Share::Due {
                    self.minute = Some(minute);
                }
                self.telemetry = telemetry.map(|interval| period(time, phase, interval));
                (own, share)
            }
        };
        let of = |metrics: &'static [OwnMetric], share| {
            let metrics = if share == Share::Nothing { &[] } else { metrics };
            metrics.iter().map(move |metric| (metric, share))
        };
        of(OWN, own).chain(of(TELEMETRY, telemetry))
    }

    /// The points of a metric that go with this collection.
    pub(super) fn choose(&mut self, metric: &'static OwnMetric, share: Share, values: Vec<Value>) -> Chosen {
        let mut chosen = Chosen {
            values: Vec::new(),
            zeros: Vec::new(),
        };
        if share == Share::Everything {
            chosen.values = values;
            return chosen;
        }
        for value in values {
            let before = self.sent_of(metric, &value.attributes);
            let is_gauge = metric.instrument == Instrument::Gauge;
            let begins = before.is_none() && (is_gauge || !is_zero(&value.measure));
            let goes = match (metric.cadence, share) {
                (Cadence::Each, _) => true,
                (_, Share::Due) => begins || before.is_some(),
                (Cadence::Changed, _) => begins || before.is_some_and(|before| before != value.measure),
                (Cadence::Minute, _) => begins,
            };
            if !goes {
                continue;
            }
            self.remember(metric, &value);
            let only_grows = matches!(metric.instrument, Instrument::Counter | Instrument::Histogram);
            if begins && only_grows {
                chosen.zeros.push(Value {
                    attributes: value.attributes.clone(),
                    measure: zero(&value.measure),
                });
            }
            chosen.values.push(value);
        }
        chosen
    }

    /// When series that begin with a request of `time` were still 0: at the request before, or, where this run has sent none,
    /// at its `start`. `None`: that is not before `time`. All in Unix ns.
    pub(super) fn were_zero(&self, start: u64, time: u64) -> Option<u64> {
        Some(self.last.unwrap_or(0).max(start)).filter(|zero| *zero < time)
    }

    /// A request of `time`, Unix ns, has been made.
    pub(super) fn made(&mut self, time: u64) {
        self.last = Some(time);
    }

    fn sent_of(&self, metric: &OwnMetric, attributes: &Attributes) -> Option<Measure> {
        let series = self.sent.get(metric.name)?;
        let sent = series.iter().find(|(known, _)| known == attributes);
        sent.map(|(_, measure)| measure.clone())
    }

    fn remember(&mut self, metric: &OwnMetric, value: &Value) {
        let series = self.sent.entry(metric.name).or_default();
        match series.iter_mut().find(|(known, _)| *known == value.attributes) {
            Some((_, measure)) => *measure = value.measure.clone(),
            None => series.push((value.attributes.clone(), value.measure.clone())),
        }
    }
}

/// The number of the period that `time` is in.
fn period(time: u64, phase: u64, length: Duration) -> u64 {
    let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).max(1);
    time.wrapping_add(phase) / length
}

fn is_zero(measure: &Measure) -> bool {
    *measure == zero(measure)
}

fn zero(measure: &Measure) -> Measure {
    match measure {
        Measure::Integer(_) => Measure::Integer(0),
        Measure::Float(_) => Measure::Float(0.0),
        Measure::Durations(_) => Measure::Durations(Durations::default()),
        Measure::Timing(_) => Measure::Timing(Timing::default()),
        Measure::Time(_) | Measure::Spread(_) => measure.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        export::{
            collection::{Collection, tests::collection},
            otlp::{
                Temporality,
                tests::{decoded, encoder, points},
            },
        },
        metrics::{AttemptsReading, ExportReading, TelemetryReading},
    };

    const S: u64 = 1_000_000_000;
    const START: u64 = 1_000_000_000 * S;

    fn rhythm(telemetry: Option<Duration>) -> Rhythm {
        // Minutes begin 53 s after the run's start.
        Rhythm {
            phase: 27 * S,
            telemetry,
        }
    }

    /// A collection so many seconds after the run's start, with counts that have come to `count`.
    fn at(second: u64, count: u64) -> Collection {
        let mut of = collection();
        of.time = START + second * S;
        of.health.soft_failures = vec![("export_failed", 0), ("event_dropped", count)];
        of.health.exports = vec![ExportReading {
            receiver: "default".to_owned(),
            signal: "metrics",
            delivered: second,
            failures: count,
            waiting_requests: count,
            ..ExportReading::default()
        }];
        let mut timing = Timing::default();
        (0..second).for_each(|_| timing.add(Duration::from_millis(2)));
        of.health.telemetry = TelemetryReading {
            cpu: Some((second * S, 0)),
            rss: Some(4096),
            threads: Some(2),
            collections: timing,
            attempts: vec![AttemptsReading {
                receiver: "default".to_owned(),
                signal: "metrics",
                accepted: true,
                took: timing,
            }],
            ..TelemetryReading::default()
        };
        of
    }

    /// By metric and attributes: times (seconds since the start) and values, in the order of the requests.
    fn series(requests: &[(Vec<super::super::EncodedRequest>, u64)]) -> BTreeMap<String, Vec<(u64, f64)>> {
        let mut series: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
        for (made, _) in requests {
            for request in made {
                for point in points(&decoded(request))
                    .into_iter()
                    .filter(|point| point.resource == 0)
                {
                    let name = point.metric.trim_start_matches("kevmon.").to_owned();
                    let kind = point.attributes.contains("event_dropped");
                    let name = if kind { name + " event_dropped" } else { name };
                    series
                        .entry(name)
                        .or_default()
                        .push(((point.time - START) / S, point.value));
                }
            }
        }
        series
    }

    fn sent(rhythm: Rhythm, collections: &[(u64, u64)]) -> BTreeMap<String, Vec<(u64, f64)>> {
        let mut encoder = encoder(Temporality::Cumulative);
        encoder.set_rhythm(rhythm);
        let made: Vec<_> = collections
            .iter()
            .map(|&(second, count)| (encoder.encode(&at(second, count), |_| true), second))
            .collect();
        series(&made)
    }

    #[test]
    fn what_never_happened_is_absent_and_what_happens_first_begins_with_a_zero() {
        let telling = sent(rhythm(None), &[(1, 0), (11, 0), (21, 3), (31, 3), (41, 4)]);
        assert_eq!(
            telling["soft_failures event_dropped"],
            [(11, 0.0), (21, 3.0), (41, 4.0)],
            "a zero at the time of the request before, then what changes"
        );
        assert!(
            !telling.contains_key("soft_failures"),
            "export_failed was 0 all the time"
        );
        let seconds: Vec<u64> = telling["complete"].iter().map(|point| point.0).collect();
        assert_eq!(seconds, [1, 11, 21, 31, 41], "with each collection");
        assert_eq!(telling["source"].len(), 1);
        assert!(
            !telling.contains_key("process.cpu.time"),
            "no telemetry goes there"
        );
    }

    /// Counters that are not 0 at the first collection of a run began with it.
    #[test]
    fn a_run_that_begins_with_a_failure_has_its_zero_at_its_start() {
        let telling = sent(rhythm(None), &[(1, 2), (11, 2)]);
        assert_eq!(telling["soft_failures event_dropped"], [(0, 0.0), (1, 2.0)]);
        let mut encoder = encoder(Temporality::Cumulative);
        encoder.set_rhythm(rhythm(None));
        encoder.sent_until(START + S / 2);
        let made = [(encoder.encode(&at(1, 2), |_| true), 1)];
        let made = points(&decoded(&made[0].0[0]));
        let zero = made
            .iter()
            .find(|point| point.attributes.contains("event_dropped"))
            .unwrap();
        assert_eq!(
            (zero.time, zero.value),
            (START + S / 2, 0.0),
            "an earlier run sent until then"
        );
    }

    #[test]
    fn once_a_minute_all_is_told_that_is_not_nothing() {
        let collections: Vec<(u64, u64)> = (0..19).map(|tick| (1 + tick * 10, 1)).collect();
        let telling = sent(rhythm(Some(Duration::from_secs(60))), &collections);
        let seconds = |name: &str| telling[name].iter().map(|point| point.0).collect::<Vec<_>>();
        assert_eq!(seconds("source"), [1, 61, 121, 181]);
        assert_eq!(seconds("soft_failures event_dropped"), [0, 1, 61, 121, 181]);
        assert_eq!(seconds("process.cpu.time"), [0, 1, 61, 121, 181]);
        assert_eq!(
            seconds("process.memory.usage"),
            [1, 61, 121, 181],
            "a level begins as it is"
        );
        assert_eq!(seconds("collection.duration"), [0, 1, 61, 121, 181]);
        assert!(!telling.contains_key("export.repeated"));
    }

    #[test]
    fn the_last_collection_has_all() {
        let mut encoder = encoder(Temporality::Cumulative);
        encoder.set_rhythm(rhythm(Some(Duration::from_secs(60))));
        encoder.encode(&at(1, 1), |_| true);
        let mut last = at(2, 1);
        last.is_final = true;
        let told = series(&[(encoder.encode(&last, |_| true), 2)]);
        for name in [
            "source",
            "process.cpu.time",
            "export.delivered",
            "soft_failures event_dropped",
        ] {
            assert_eq!(told[name].len(), 1, "{name}");
        }
    }

    #[test]
    fn without_plugins_of_the_receiver_telemetry_goes_alone_and_only_when_due() {
        let mut encoder = encoder(Temporality::Cumulative);
        encoder.set_rhythm(rhythm(Some(Duration::from_secs(60))));
        let told = series(&[(encoder.encode(&at(1, 1), |_| false), 1)]);
        assert!(
            told.contains_key("process.cpu.time") && !told.contains_key("complete"),
            "{told:?}"
        );
        assert!(encoder.encode(&at(11, 1), |_| false).is_empty());
        encoder.set_rhythm(rhythm(None));
        assert!(encoder.encode(&at(61, 1), |_| false).is_empty());
    }

    /// The rule of the resource's times, over intervals that do not fit each other and counts that grow at random.
    #[test]
    fn times_never_go_back_and_no_point_comes_twice() {
        for temporality in [
            Temporality::Cumulative,
            Temporality::Delta,
            Temporality::LowMemory,
        ] {
            for telemetry in [None, Some(Duration::from_secs(1)), Some(Duration::from_secs(60))] {
                let mut encoder = encoder(temporality);
                encoder.set_rhythm(rhythm(telemetry));
                let (mut newest, mut known) = (0, std::collections::HashSet::new());
                for second in 1..200 {
                    let due = [3, 7, 10].iter().any(|interval| second % interval == 0);
                    let requests = encoder.encode(&at(second, second / 13), |_| due);
                    let mut times = Vec::new();
                    for request in &requests {
                        for point in points(&decoded(request))
                            .into_iter()
                            .filter(|point| point.resource == 0)
                        {
                            times.push(point.time);
                            let series = (point.metric, point.attributes, point.time);
                            assert!(known.insert(series.clone()), "{series:?} twice");
                        }
                    }
                    let Some(&oldest) = times.iter().min() else {
                        continue;
                    };
                    assert!(oldest >= newest, "{oldest} after {newest}");
                    newest = *times.iter().max().unwrap();
                }
            }
        }
    }
}
