//! Points of single processes. Whatever all points of a process have in common is encoded once, and copied.

use std::ops::Range;

use super::{
    Described, Moments, Temporality,
    points::{self, Number, Of, Times},
    requests::Requests,
    series::Series,
};
use crate::{
    export::{
        calendar::iso8601,
        collection::{Collection, ServiceReading},
    },
    metrics::{Attribute, Measure, ProcessMetric, ProcessPoint, process_metrics},
    plugin::reading::SingleProcess,
};

/// A process with what goes into each of its points.
struct Prepared<'a> {
    process: &'a SingleProcess,
    /// In the shared buffer.
    attributes: Range<usize>,
    cumulative: Times,
    /// Its sums since it was told last, where deltas are wanted.
    delta: Option<(SingleProcess, Times)>,
}

/// Beside its attributes a point takes so much at most, with the attribute that tells it from the metric's others, bytes.
const POINT: usize = 128;
/// A metric has two points of each process at most.
const POINTS: usize = 2;

/// Adds the processes of a service, in pieces that leave a request some room.
pub(super) fn encode(
    requests: &mut Requests,
    prefix: &str,
    temporality: Temporality,
    collection: &Collection,
    of: &ServiceReading,
    series: &mut Series,
) {
    let Some(singles) = &of.reading.per_process else {
        return;
    };
    let (mut attributes, mut prepared) = (Vec::new(), Vec::with_capacity(singles.processes.len()));
    for process in &singles.processes {
        prepared.push(prepare(process, temporality, collection, series, &mut attributes));
    }
    if temporality == Temporality::Delta {
        let live = &of.reading.processes;
        series.retain(|key| live.binary_search_by_key(&key, |process| process.key).is_ok());
    }
    for piece in pieces(&prepared, requests.longest() / 8) {
        let asked = |listed: &&ProcessMetric| of.plugin.metrics.lets(listed.name);
        for listed in process_metrics(of.plugin.naming).filter(asked) {
            let described = Described {
                prefix,
                name: listed.name,
                unit: listed.unit,
                description: listed.description,
                instrument: listed.instrument,
            };
            requests.metric(|buffer| {
                points::metric(buffer, described, temporality, |buffer| {
                    append(buffer, listed, temporality, piece, &attributes)
                })
            });
        }
    }
}

fn prepare<'a>(
    process: &'a SingleProcess,
    temporality: Temporality,
    collection: &Collection,
    series: &mut Series,
    attributes: &mut Vec<u8>,
) -> Prepared<'a> {
    let start = collection.clock.unix(process.key.start);
    let moments = Moments::new(start, collection);
    let delta = (temporality == Temporality::Delta).then(|| {
        let delta = series.process(process.key, &process.usage, start, collection.time);
        let process = SingleProcess {
            usage: delta.value,
            ..process.clone()
        };
        (process, moments.since(delta.start))
    });
    let begin = attributes.len();
    let pid = vec![("process.pid", Attribute::from(process.key.tgid.0))];
    points::attributes(attributes, Of::Number, &pid);
    points::text_attribute(attributes, Of::Number, "process.creation.time", &iso8601(start));
    if !process.exe.is_empty() {
        points::text_attribute(attributes, Of::Number, "process.executable.name", &process.exe);
    }
    if let Some(user) = &process.facts.user {
        points::text_attribute(attributes, Of::Number, "process.owner", user);
    }
    if let Some(id) = process.facts.container() {
        points::text_attribute(attributes, Of::Number, "container.id", id);
    }
    if let Some(unit) = process.facts.unit() {
        points::text_attribute(attributes, Of::Number, "kevmon.process.unit", unit);
    }
    if !process.arguments.is_empty() {
        let arguments = process.arguments.join(" ");
        points::text_attribute(attributes, Of::Number, "kevmon.process.arguments", &arguments);
    }
    Prepared {
        process,
        attributes: begin..attributes.len(),
        cumulative: moments.cumulative(),
        delta,
    }
}

/// Of as many processes as make a metric of less than `longest` bytes; of one at least.
fn pieces<'a, 'b>(mut rest: &'b [Prepared<'a>], longest: usize) -> impl Iterator<Item = &'b [Prepared<'a>]> {
    std::iter::from_fn(move || {
        let mut length = 0;
        let fits = rest.iter().take_while(|process| {
            length += POINTS * (POINT + process.attributes.len());
            length < longest
        });
        let (piece, others) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = others;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The metric's points of these processes; returns how many.
fn append(
    buffer: &mut Vec<u8>,
    listed: &ProcessMetric,
    temporality: Temporality,
    processes: &[Prepared<'_>],
    attributes: &[u8],
) -> u64 {
    let mut count = 0;
    let is_delta = temporality.is_delta(listed.instrument);
    let mut own = Vec::new();
    for ProcessPoint { attribute, value } in listed.points {
        own.clear();
        if let Some((key, text)) = attribute {
            points::text_attribute(&mut own, Of::Number, key, text);
        }
        for prepared in processes {
            let (process, times) = match &prepared.delta {
                Some((process, times)) if is_delta => (process, *times),
                _ => (prepared.process, prepared.cumulative),
            };
            let number = match value(process) {
                Some(Measure::Integer(integer)) => Number::Integer(integer),
                Some(Measure::Float(float)) => Number::Float(float),
                // The catalogue of processes holds neither.
                Some(Measure::Time(_) | Measure::Durations(_)) | None => continue,
            };
            let common = &attributes[prepared.attributes.clone()];
            points::number(buffer, listed.instrument, times, number, [common, &own]);
            count += 1;
        }
    }
    count
}
