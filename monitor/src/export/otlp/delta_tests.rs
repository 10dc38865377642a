//! Deltas: their sums, and the times they stand for.

use std::collections::BTreeMap;

use super::{
    tests::{Point, encoder, points, told},
    *,
};
use crate::{
    export::collection::tests::collection,
    process::{Counter, Reason, Usage},
};

const S: u64 = 1_000_000_000;

/// The value of each series.
type Values = BTreeMap<(String, String), f64>;

fn key(point: &Point) -> (String, String) {
    (point.metric.clone(), point.attributes.clone())
}

/// The collection after `tick` seconds: sums grow unevenly, an end has a reason that no one before it had.
fn at(tick: u64) -> Collection {
    let mut collection = collection();
    collection.time += tick * S;
    let reading = &mut collection.services[0].reading;
    reading.usage = Usage::ZERO
        .with(Counter::User, Some(tick * tick * 1_000_000))
        .with(Counter::Voluntary, Some(tick * 10))
        // Unknown for a while.
        .with(Counter::ReadBytes, (tick != 2).then_some(tick * 4_096));
    reading.happened.starts += tick / 2;
    reading.process_count = tick % 2;
    if tick >= 2 {
        reading.exits.push((Reason::Exit { code: 9 }, tick));
    }
    for _ in 0..tick {
        reading.lifetime.add(std::time::Duration::from_millis(1 + tick));
    }
    collection.health.received = Some(10 + tick);
    collection
}

#[test]
fn deltas_add_up_and_join_on_to_each_other() {
    let (mut cumulative, mut delta) = (encoder(Temporality::Cumulative), encoder(Temporality::Delta));
    let (mut sums, mut ends): (Values, BTreeMap<_, u64>) = (Values::new(), BTreeMap::new());
    for tick in 0..5 {
        let collection = at(tick);
        let expected = points(&told(&mut cumulative, &collection));
        let deltas = points(&told(&mut delta, &collection));
        assert_eq!(deltas.len(), expected.len());
        for (delta, expected) in deltas.iter().zip(&expected) {
            assert_eq!(key(delta), key(expected));
            let up_down = ["process_count", "thread_count", "open_file_descriptors"];
            if expected.temporality == 0 || up_down.contains(&expected.metric.as_str()) {
                assert_eq!(delta, expected, "not summed up");
                continue;
            }
            assert_eq!(delta.temporality, 1, "{delta:?}");
            assert!(delta.start < delta.time, "{delta:?}");
            let end = ends.insert((delta.resource, key(delta)), delta.time);
            assert_eq!(delta.start, end.unwrap_or(expected.start), "{delta:?}");
            let sum = sums.entry(key(delta)).or_default();
            *sum += delta.value;
            assert!((*sum - expected.value).abs() < 1e-9, "{sum} of {expected:?}");
        }
    }
}

#[test]
fn the_same_collection_encoded_again_says_the_same() {
    let mut encoder = encoder(Temporality::Delta);
    encoder.encode(&at(0), |_| true);
    let first = encoder.encode(&at(3), |_| true);
    assert_eq!(encoder.encode(&at(3), |_| true), first);
    let value = |requests: &[EncodedRequest], name: &str| {
        let points = points(&super::tests::decoded(&requests[0]));
        points
            .into_iter()
            .find(|point| point.metric == name)
            .expect("a point")
            .value
    };
    assert_eq!(value(&first, "voluntary_ctx_switches"), 30.0);
    assert_eq!(
        value(&encoder.encode(&at(4), |_| true), "voluntary_ctx_switches"),
        10.0
    );
}

#[test]
fn a_service_left_out_for_a_while_is_told_all_of_it_later() {
    let mut encoder = encoder(Temporality::Delta);
    encoder.encode(&at(1), |_| true);
    encoder.encode(&at(2), |_| false);
    let later = points(&told(&mut encoder, &at(3)));
    let point = later
        .iter()
        .find(|point| point.metric == "voluntary_ctx_switches");
    let point = point.expect("a point");
    assert_eq!((point.value, point.time - point.start), (20.0, 2 * S));
}

#[test]
fn low_memory_is_delta_for_histograms_alone() {
    let (mut cumulative, mut low) = (encoder(Temporality::Cumulative), encoder(Temporality::LowMemory));
    for tick in [1, 3] {
        let expected = points(&told(&mut cumulative, &at(tick)));
        for (low, expected) in points(&told(&mut low, &at(tick))).iter().zip(&expected) {
            let histogram = ["downtime", "lifetime"].contains(&low.metric.as_str());
            assert_eq!(low.temporality == 1, histogram, "{low:?}");
            if !histogram {
                assert_eq!(low, expected);
            } else if tick == 3 && low.metric == "lifetime" {
                assert_eq!((low.value, low.time - low.start), (2.0, 2 * S));
            }
        }
    }
}

#[test]
fn a_clock_set_back_leaves_every_delta_some_time() {
    let mut encoder = encoder(Temporality::Delta);
    encoder.encode(&at(4), |_| true);
    let back = points(&told(&mut encoder, &at(2)));
    for point in back.iter().filter(|point| point.temporality == 1) {
        assert!(point.start < point.time && point.value >= 0.0, "{point:?}");
    }
}
