//! Points of single processes, and the ends of their series. Whatever all points of a process have in common is encoded once,
//! and copied.

use std::borrow::Cow;

use super::{
    Described, Moments, Temporality,
    open_series::{Ended, OpenSeries, Points, Sent},
    points::{self, Number, Of, Times},
    requests::Requests,
    series::Series,
};
use crate::{
    export::collection::{Collection, ServiceReading, UnixClock},
    metrics::{Attribute, Measure, ProcessMetric, ProcessPoint, numbered_process_metrics},
    plugin::{Plugin, reading::SingleProcess},
    process::ProcessKey,
};

/// A process with what its points say.
struct Prepared<'a> {
    process: &'a SingleProcess,
    cumulative: Times,
    /// Its sums since it was told last, where deltas are wanted.
    delta: Option<(SingleProcess, Times)>,
}

/// Points of a process: values, or their end.
enum Line<'a> {
    /// The `index`th process of what is sent.
    Values {
        index: usize,
        of: &'a Prepared<'a>,
        attributes: &'a [u8],
    },
    /// Times of sums that are cumulative, and of deltas.
    End {
        of: Ended<'a>,
        cumulative: Times,
        delta: Times,
    },
}

/// Without its attributes a point takes so much at most, with the attribute that tells it from the metric's others, bytes.
const POINT: usize = 128;
/// A metric has two points of each process at most.
const POINTS: usize = 2;

/// What is kept of a service's processes between two collections.
pub(super) struct Known<'a> {
    /// In front of the metrics' names.
    pub(super) prefix: &'a str,
    /// What deltas are measured from.
    pub(super) series: &'a mut Series,
    pub(super) open: &'a mut OpenSeries,
}

/// Adds the processes of a service and the ends of the series that do not go on, in pieces that leave a request some room.
/// Without `with_values`, all of its series end.
pub(super) fn encode(
    requests: &mut Requests,
    temporality: Temporality,
    collection: &Collection,
    of: &ServiceReading,
    known: Known<'_>,
    with_values: bool,
) {
    let Known { prefix, series, open } = known;
    let singles = of.reading.per_process.as_ref();
    let singles = singles.filter(|_| with_values && !of.is_last);
    let processes = singles.map_or(&[][..], |singles| &singles.processes);
    if processes.is_empty() && open.is_empty() && open.was_empty(collection.time) {
        return;
    }
    let mut sent = Sent::new(collection.time, prefix);
    let mut prepared = Vec::with_capacity(processes.len());
    for process in processes {
        let start = collection.boot.unix(process.key.start);
        sent.add(start, |buffer| attributes(buffer, process, collection.boot));
        prepared.push(prepare(process, temporality, collection, series));
    }
    if singles.is_some() && temporality == Temporality::Delta {
        let live = &of.reading.processes;
        series.retain(|key| live.binary_search_by_key(&key, |process| process.key).is_ok());
    }
    let before = open.before(collection.time);
    let ended = before.ended_by(&mut sent, wanted(&of.plugin));
    let end = |of: Ended<'_>| {
        let moments = Moments::new(of.start, collection);
        (moments.cumulative(), moments.since(before.time()))
    };
    let ends = ended.iter().map(|&of| {
        let (cumulative, delta) = end(of);
        Line::End {
            of,
            cumulative,
            delta,
        }
    });
    let values = prepared.iter().enumerate().map(|(index, of)| Line::Values {
        index,
        of,
        attributes: sent.attributes_of(index),
    });
    let mut written = vec![Points::default(); processes.len()];
    if before.prefix() == prefix {
        let lines: Vec<Line<'_>> = values.chain(ends).collect();
        write(requests, prefix, temporality, &of.plugin, &lines, &mut written);
    } else {
        let (values, ends): (Vec<_>, Vec<_>) = (values.collect(), ends.collect());
        write(requests, before.prefix(), temporality, &of.plugin, &ends, &mut []);
        write(requests, prefix, temporality, &of.plugin, &values, &mut written);
    }
    for (index, points) in written.into_iter().enumerate() {
        sent.wrote(index, points);
    }
    open.sent(before, sent);
}

/// What an earlier run sent of these members, by the attributes that it kept of their series.
pub(super) fn sent_before<'a>(
    plugin: &Plugin,
    prefix: &str,
    members: impl Iterator<Item = (ProcessKey, &'a str)>,
    time: u64,
) -> Sent {
    let mut sent = Sent::new(time, prefix);
    let all = wanted(plugin);
    for (index, (key, pairs)) in members
        .filter_map(|(key, text)| Some((key, parsed(text)?)))
        .enumerate()
    {
        // A series that ends has begun by then; when, is known no more.
        sent.add(time, |buffer| {
            let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            write_attributes(buffer, key, pairs);
        });
        sent.wrote(index, all);
    }
    sent
}

/// The attributes by which receivers know the series of a process, pid apart, for a store.
pub fn series_text(process: &SingleProcess, boot: UnixClock) -> String {
    let pairs: Vec<(&str, Cow<'_, str>)> = texts(process, boot).collect();
    // Texts in a list: none of them can fail to be written.
    serde_json::to_string(&pairs).unwrap_or_default()
}

/// The attributes that [`series_text`] has written; `None` where it has not.
fn parsed(text: &str) -> Option<Vec<(String, String)>> {
    serde_json::from_str(text).ok()
}

/// The points that a plugin has of each process, where it asks for them.
fn wanted(plugin: &Plugin) -> Points {
    let mut wanted = Points::default();
    for (metric, is_asked, first) in numbered_process_metrics(plugin.naming) {
        if is_asked && plugin.metrics.lets(metric.name) {
            for (number, _) in (first..).zip(metric.points) {
                wanted = wanted.with(Points::one(number));
            }
        }
    }
    wanted
}

fn prepare<'a>(
    process: &'a SingleProcess,
    temporality: Temporality,
    collection: &Collection,
    series: &mut Series,
) -> Prepared<'a> {
    let start = collection.boot.unix(process.key.start);
    let moments = Moments::new(start, collection);
    let delta = (temporality == Temporality::Delta).then(|| {
        let delta = series.process(process.key, &process.usage, start, collection.time);
        let process = SingleProcess {
            usage: delta.value,
            ..process.clone()
        };
        (process, moments.since(delta.start))
    });
    Prepared {
        process,
        cumulative: moments.cumulative(),
        delta,
    }
}

/// The attributes of a process, as the fields of a point.
fn attributes(buffer: &mut Vec<u8>, process: &SingleProcess, boot: UnixClock) {
    let texts: Vec<(&str, Cow<'_, str>)> = texts(process, boot).collect();
    let pairs = texts.iter().map(|(name, value)| (*name, value.as_ref()));
    write_attributes(buffer, process.key, pairs);
}

fn write_attributes<'a>(
    buffer: &mut Vec<u8>,
    key: ProcessKey,
    texts: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let pid = vec![("process.pid", Attribute::from(key.tgid.0))];
    points::attributes(buffer, Of::Number, &pid);
    for (name, value) in texts {
        points::text_attribute(buffer, Of::Number, name, value);
    }
}

/// What a process is, pid apart: the semantic conventions' attributes of the entities process (`process.creation.time`
/// identifies it, with the pid), container and pod, and kevmon's own.
fn texts(process: &SingleProcess, boot: UnixClock) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
    fn text(text: &str) -> Option<Cow<'_, str>> {
        (!text.is_empty()).then_some(Cow::Borrowed(text))
    }
    let facts = &process.facts;
    let arguments = (!process.arguments.is_empty()).then(|| Cow::Owned(process.arguments.join(" ")));
    [
        (
            "process.creation.time",
            Some(Cow::Owned(boot.creation_time(process.key))),
        ),
        ("process.executable.name", text(&process.exe)),
        ("process.executable.path", process.path.as_deref().and_then(text)),
        ("process.command", text(&process.command)),
        ("process.owner", facts.user.as_deref().and_then(text)),
        ("container.id", facts.container().and_then(text)),
        ("k8s.pod.uid", facts.pod().map(Cow::Owned)),
        ("kevmon.process.unit", facts.unit().and_then(text)),
        ("kevmon.process.arguments", arguments),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// Adds all metrics of these lines. `written` notes the points of values.
fn write(
    requests: &mut Requests,
    prefix: &str,
    temporality: Temporality,
    plugin: &Plugin,
    lines: &[Line<'_>],
    written: &mut [Points],
) {
    for piece in pieces(lines, requests.longest() / 8) {
        for (listed, is_asked, first) in numbered_process_metrics(plugin.naming) {
            let with_values = is_asked && plugin.metrics.lets(listed.name);
            let described = Described {
                prefix,
                name: listed.name,
                unit: listed.unit,
                description: listed.description,
                instrument: listed.instrument,
                exponential: false,
            };
            let is_written = |line: &Line<'_>| match line {
                Line::Values { .. } => with_values,
                Line::End { of, .. } => (first..)
                    .zip(listed.points)
                    .any(|(number, _)| of.points.has(number)),
            };
            if !piece.iter().any(is_written) {
                continue;
            }
            requests.metric(|buffer| {
                points::metric(buffer, described, temporality, |buffer| {
                    append(buffer, (listed, first), temporality, piece, with_values, written)
                })
            });
        }
    }
}

/// As many lines as make a metric of less than `longest` bytes; one at least.
fn pieces<'a, 'b>(mut rest: &'b [Line<'a>], longest: usize) -> impl Iterator<Item = &'b [Line<'a>]> {
    std::iter::from_fn(move || {
        let mut length = 0;
        let fits = rest.iter().take_while(|line| {
            length += POINTS * (POINT + line.attributes().len());
            length < longest
        });
        let (piece, others) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = others;
        (!piece.is_empty()).then_some(piece)
    })
}

impl Line<'_> {
    fn attributes(&self) -> &[u8] {
        match self {
            Self::Values { attributes, .. } => attributes,
            Self::End { of, .. } => of.attributes,
        }
    }
}

/// The metric's points of these lines; returns how many. `first` is the number of its first point.
fn append(
    buffer: &mut Vec<u8>,
    (listed, first): (&ProcessMetric, u32),
    temporality: Temporality,
    lines: &[Line<'_>],
    with_values: bool,
    written: &mut [Points],
) -> u64 {
    let mut count = 0;
    let is_delta = temporality.is_delta(listed.instrument);
    let mut own = Vec::new();
    for (number, ProcessPoint { attribute, value }) in (first..).zip(listed.points) {
        own.clear();
        if let Some((key, text)) = attribute {
            points::text_attribute(&mut own, Of::Number, key, text);
        }
        for line in lines {
            let both = [line.attributes(), &own];
            match line {
                Line::End {
                    of,
                    cumulative,
                    delta,
                } if of.points.has(number) => {
                    let times = if is_delta { *delta } else { *cumulative };
                    points::end(buffer, listed.instrument, times, both);
                }
                Line::Values { index, of, .. } if with_values => {
                    let (process, times) = match &of.delta {
                        Some((process, times)) if is_delta => (process, *times),
                        _ => (of.process, of.cumulative),
                    };
                    let measured = match value(process) {
                        Some(Measure::Integer(integer)) => Number::Integer(integer),
                        Some(Measure::Float(float)) => Number::Float(float),
                        // The catalogue of processes holds none of these.
                        Some(
                            Measure::Time(_)
                            | Measure::Durations(_)
                            | Measure::Timing(_)
                            | Measure::Spread(_),
                        )
                        | None => {
                            continue;
                        }
                    };
                    points::number(buffer, listed.instrument, times, measured, both);
                    if let Some(written) = written.get_mut(*index) {
                        *written = written.with(Points::one(number));
                    }
                }
                Line::End { .. } | Line::Values { .. } => continue,
            }
            count += 1;
        }
    }
    count
}
