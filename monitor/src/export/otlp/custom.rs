//! What collectors brought, as metrics. Sums are cumulative whatever the receiver's preference: their starts are the
//! collectors', and each point has a time of its own.

use std::collections::BTreeMap;

use super::{
    Described, Temporality,
    points::{self, Number, Of, Times},
    requests::Requests,
};
use crate::{
    export::collection::ServiceReading,
    metrics::Instrument,
    plugin::collector::{Custom, CustomValue},
};

/// Bytes that a point takes beside its attributes.
const POINT: usize = 64;

/// Adds the custom values of a service; texts are no metrics.
pub(super) fn encode(requests: &mut Requests, prefix: &str, of: &ServiceReading) {
    let mut metrics: BTreeMap<(&str, bool), Vec<&CustomValue>> = BTreeMap::new();
    for value in &of.extra.custom {
        let is_sum = match value.value {
            Custom::Int(_) | Custom::Float(_) => false,
            Custom::IntSum { .. } | Custom::FloatSum { .. } => true,
            Custom::Text(_) => continue,
        };
        if of.plugin.metrics.lets(&value.name) {
            metrics.entry((&value.name, is_sum)).or_default().push(value);
        }
    }
    for ((name, is_sum), mut values) in metrics {
        let Some(first) = values.first() else { continue };
        let described = Described {
            prefix,
            name,
            unit: &first.unit,
            description: &first.description,
            instrument: if is_sum {
                Instrument::Counter
            } else {
                Instrument::Gauge
            },
            exponential: false,
        };
        let longest = requests.longest() / 8;
        while !values.is_empty() {
            let mut length = 0;
            let fits = values.iter().take_while(|value| {
                let attributes = value
                    .attributes
                    .iter()
                    .map(|(key, text)| key.len() + text.len() + 16);
                length += POINT + attributes.sum::<usize>();
                length < longest
            });
            let rest = values.split_off(fits.count().clamp(1, values.len()));
            requests.metric(|buffer| {
                points::metric(buffer, described, Temporality::Cumulative, |buffer| {
                    append(buffer, described.instrument, &values)
                })
            });
            values = rest;
        }
    }
}

fn append(buffer: &mut Vec<u8>, instrument: Instrument, values: &[&CustomValue]) -> u64 {
    let mut attributes = Vec::new();
    for value in values {
        attributes.clear();
        for (key, text) in &value.attributes {
            points::text_attribute(&mut attributes, Of::Number, key, text);
        }
        let (number, start) = match value.value {
            Custom::Int(number) => (Number::Signed(number), value.time),
            Custom::Float(number) => (Number::Float(number), value.time),
            Custom::IntSum { value: number, start } => (Number::Signed(number), start),
            Custom::FloatSum { value: number, start } => (Number::Float(number), start),
            Custom::Text(_) => continue,
        };
        let times = Times {
            start,
            now: value.time,
        };
        points::number(buffer, instrument, times, number, [&attributes, &[]]);
    }
    values.len() as u64
}
