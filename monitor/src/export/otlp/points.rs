//! Metrics and their data points as protobuf: fields of `ScopeMetrics` and below (metrics/v1).

use super::{Temporality, wire};
use crate::{
    metrics::{Attribute, Attributes, Instrument},
    process::{Quantity, Spread, spread::lower_bound},
};

/// What all points of a metric share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Described<'a, 'n> {
    /// In front of its name.
    pub(super) prefix: &'a str,
    pub(super) name: &'n str,
    pub(super) unit: &'n str,
    pub(super) description: &'n str,
    pub(super) instrument: Instrument,
    /// Of a histogram: its points are exponential ones.
    pub(super) exponential: bool,
}

/// When a point begins and is taken, Unix ns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) now: u64,
}

/// A point's number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Integer(u64),
    Signed(i64),
    Float(f64),
}

/// `AggregationTemporality`'s numbers.
const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;

/// A metric with the points that `points` adds; returns how many.
pub(super) fn metric(
    buffer: &mut Vec<u8>,
    described: Described<'_, '_>,
    temporality: Temporality,
    points: impl FnOnce(&mut Vec<u8>) -> u64,
) -> u64 {
    let Described {
        prefix,
        name,
        unit,
        description,
        instrument,
        exponential,
    } = described;
    let metric = wire::Open::new(buffer, 2, 2);
    wire::head(buffer, 1, prefix.len() + name.len());
    buffer.extend_from_slice(prefix.as_bytes());
    buffer.extend_from_slice(name.as_bytes());
    wire::text(buffer, 2, description);
    wire::text(buffer, 3, unit);
    let kind = match instrument {
        Instrument::Gauge => 5,
        Instrument::Counter | Instrument::UpDownCounter => 7,
        Instrument::Histogram if exponential => 10,
        Instrument::Histogram => 9,
    };
    let data = wire::Open::new(buffer, kind, 2);
    let count = points(buffer);
    if instrument != Instrument::Gauge {
        let delta = temporality.is_delta(instrument);
        wire::varint(buffer, 2, if delta { DELTA } else { CUMULATIVE });
    }
    if instrument == Instrument::Counter {
        wire::varint(buffer, 3, 1);
    }
    data.close(buffer);
    metric.close(buffer);
    count
}

/// A `NumberDataPoint`. `attributes` are encoded, each part a run of whole fields. A gauge has no start.
pub(super) fn number(
    buffer: &mut Vec<u8>,
    instrument: Instrument,
    times: Times,
    number: Number,
    attributes: [&[u8]; 2],
) {
    /// A tag and eight bytes.
    const FIELD: usize = 9;
    let has_start = instrument != Instrument::Gauge;
    let fields = if has_start { 3 } else { 2 };
    let [first, second] = attributes;
    wire::head(buffer, 1, fields * FIELD + first.len() + second.len());
    if has_start {
        wire::eight(buffer, 2, times.start.to_le_bytes());
    }
    wire::eight(buffer, 3, times.now.to_le_bytes());
    match number {
        // OTLP's integers are signed; a count beyond 2^63 is not reached in a machine's life.
        Number::Integer(integer) => {
            let signed = i64::try_from(integer).unwrap_or(i64::MAX);
            wire::eight(buffer, 6, signed.to_le_bytes());
        }
        Number::Signed(signed) => wire::eight(buffer, 6, signed.to_le_bytes()),
        Number::Float(float) => wire::eight(buffer, 4, float.to_le_bytes()),
    }
    buffer.extend_from_slice(first);
    buffer.extend_from_slice(second);
}

/// `DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`: the series has ended.
const NO_RECORDED_VALUE: u64 = 1;

/// A `NumberDataPoint` that ends its series: no value, and a flag that says so. Attributes and times as of [`number`].
pub(super) fn end(buffer: &mut Vec<u8>, instrument: Instrument, times: Times, attributes: [&[u8]; 2]) {
    wire::message(buffer, 1, |point| {
        if instrument != Instrument::Gauge {
            wire::eight(point, 2, times.start.to_le_bytes());
        }
        wire::eight(point, 3, times.now.to_le_bytes());
        attributes.iter().for_each(|part| point.extend_from_slice(part));
        wire::varint(point, 8, NO_RECORDED_VALUE);
    });
}

/// A `HistogramDataPoint`, in seconds: of these counts, by these upper bounds (ns), with this sum (ns). OTLP's buckets are
/// as ours: each includes its upper bound, the last one has none.
pub(super) fn histogram(
    buffer: &mut Vec<u8>,
    times: Times,
    (counts, bounds, sum): (&[u64], &[u64], u64),
    attributes: &[u8],
) {
    let point = wire::Open::new(buffer, 1, 2);
    wire::eight(buffer, 2, times.start.to_le_bytes());
    wire::eight(buffer, 3, times.now.to_le_bytes());
    let count: u64 = counts.iter().sum();
    if count > 0 {
        wire::eight(buffer, 4, count.to_le_bytes());
    }
    wire::eight(buffer, 5, (sum as f64 / 1e9).to_le_bytes());
    wire::head(buffer, 6, counts.len() * 8);
    for count in counts {
        buffer.extend_from_slice(&count.to_le_bytes());
    }
    wire::head(buffer, 7, bounds.len() * 8);
    for nanos in bounds {
        buffer.extend_from_slice(&(*nanos as f64 / 1e9).to_le_bytes());
    }
    buffer.extend_from_slice(attributes);
    point.close(buffer);
}

/// An `ExponentialHistogramDataPoint` of values as they are exported.
pub(super) fn exponential_histogram(buffer: &mut Vec<u8>, times: Times, spread: &Spread, attributes: &[u8]) {
    let units = spread.quantity.units();
    let point = wire::Open::new(buffer, 1, 2);
    buffer.extend_from_slice(attributes);
    wire::eight(buffer, 2, times.start.to_le_bytes());
    wire::eight(buffer, 3, times.now.to_le_bytes());
    wire::eight(buffer, 4, spread.count.to_le_bytes());
    wire::eight(buffer, 5, (spread.sum as f64 / units).to_le_bytes());
    wire::varint(buffer, 6, zigzag(kevmon_common::SCALE));
    wire::eight(buffer, 7, spread.zero.to_le_bytes());
    let ends = spread
        .buckets
        .first_key_value()
        .zip(spread.buckets.last_key_value());
    if let Some(((&first, _), (&last, _))) = ends {
        wire::message(buffer, 8, |positive| {
            wire::varint(positive, 1, zigzag(first));
            let mut counts = Vec::new();
            for bucket in first..=last {
                let count = spread.buckets.get(&bucket).copied().unwrap_or(0);
                prost::encoding::encode_varint(count, &mut counts);
            }
            wire::bytes(positive, 2, &counts);
        });
    }
    if let Some(min) = spread.min {
        wire::eight(buffer, 12, (min as f64 / units).to_le_bytes());
    }
    if let Some(max) = spread.max {
        wire::eight(buffer, 13, (max as f64 / units).to_le_bytes());
    }
    wire::eight(buffer, 14, spread.threshold().to_le_bytes());
    point.close(buffer);
}

/// `sint32` on the wire.
fn zigzag(number: i32) -> u64 {
    u64::from(((number << 1) ^ (number >> 31)).cast_unsigned())
}

/// The same values as a `HistogramDataPoint`, with a bucket for each power of two: four of theirs make up one.
pub(super) fn spread_histogram(buffer: &mut Vec<u8>, times: Times, spread: &Spread, attributes: &[u8]) {
    let units = spread.quantity.units();
    let bounds = octaves(spread.quantity);
    let mut counts = vec![0_u64; bounds.len() + 1];
    counts[0] = spread.zero;
    for (&bucket, &count) in &spread.buckets {
        let upper = lower_bound(bucket + 1);
        let at = bounds.partition_point(|&bound| bound < upper * 0.999_999);
        counts[at] += count;
    }
    let point = wire::Open::new(buffer, 1, 2);
    wire::eight(buffer, 2, times.start.to_le_bytes());
    wire::eight(buffer, 3, times.now.to_le_bytes());
    wire::eight(buffer, 4, spread.count.to_le_bytes());
    wire::eight(buffer, 5, (spread.sum as f64 / units).to_le_bytes());
    wire::head(buffer, 6, counts.len() * 8);
    for count in &counts {
        buffer.extend_from_slice(&count.to_le_bytes());
    }
    wire::head(buffer, 7, bounds.len() * 8);
    for bound in &bounds {
        buffer.extend_from_slice(&bound.to_le_bytes());
    }
    buffer.extend_from_slice(attributes);
    if let Some(min) = spread.min {
        wire::eight(buffer, 11, (min as f64 / units).to_le_bytes());
    }
    if let Some(max) = spread.max {
        wire::eight(buffer, 12, (max as f64 / units).to_le_bytes());
    }
    point.close(buffer);
}

/// Bounds that hold for every value of a kind, so that a series keeps its buckets.
fn octaves(quantity: Quantity) -> Vec<f64> {
    let (first, last) = match quantity {
        // 1 µs to 4.5 hours.
        Quantity::Time => (-20, 14),
        // A thousandth of a CPU to 1,024 CPUs.
        Quantity::Share => (-10, 10),
        // 1 to 2^48: 256 TiB.
        Quantity::Number => (0, 48),
    };
    (first..=last).map(|power| 2_f64.powi(power)).collect()
}

/// The field of a point's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Exponential = 1,
    Number = 7,
    Histogram = 9,
}

/// Attributes, as the fields of a point.
pub(super) fn attributes(buffer: &mut Vec<u8>, of: Of, attributes: &Attributes) {
    for (key, value) in attributes {
        match value {
            Attribute::Text(text) => text_attribute(buffer, of, key, text),
            Attribute::Integer(number) => attribute(buffer, of, key, |value| {
                wire::varint(value, 3, number.cast_unsigned());
            }),
            Attribute::Float(number) => attribute(buffer, of, key, |value| {
                wire::eight(value, 4, number.to_le_bytes());
            }),
            Attribute::Boolean(flag) => attribute(buffer, of, key, |value| {
                wire::varint(value, 2, u64::from(*flag));
            }),
        }
    }
}

/// One attribute that is a text.
pub(super) fn text_attribute(buffer: &mut Vec<u8>, of: Of, key: &str, text: &str) {
    // An empty text is a text: as a member of `oneof` it is written.
    attribute(buffer, of, key, |value| wire::bytes(value, 1, text.as_bytes()));
}

fn attribute(buffer: &mut Vec<u8>, of: Of, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    wire::message(buffer, of as u32, |pair| {
        wire::text(pair, 1, key);
        wire::message(pair, 2, value);
    });
}
