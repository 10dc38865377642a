//! What every receiver can be asked for, whatever else it keeps: a metric's value at a time. And the comparison
//! with what kevmon measured.

use std::collections::BTreeSet;

use crate::{
    checks::float,
    points::{Number, Point},
    push::INSTANA,
    tick::Tick,
};

/// One value that arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// By its name in docs/metrics.md.
    pub metric: String,
    /// Unix nanoseconds, as exact as the receiver keeps them.
    pub time: u64,
    pub value: f64,
}

/// How exactly a receiver keeps samples.
#[derive(Debug, Clone, Copy)]
pub struct Exactness {
    /// Nanoseconds that its times are cut to.
    pub time: u64,
    /// The error of a value, a fraction of it.
    pub value: f64,
}

/// To the last bit but one, which serde_json may lose when it reads a number.
pub const EXACT: Exactness = Exactness {
    time: 1,
    value: 5e-16,
};

impl Sample {
    /// The numbers among points, of one service.
    pub fn of_service(points: &[Point], service_id: &str) -> Vec<Self> {
        let id = |point: &&Point| {
            let id = point.resource.get("kevmon.service.id");
            id.is_some_and(|id| id == service_id)
        };
        points
            .iter()
            .filter(id)
            .filter(|point| matches!(point.value, Number::Int(_) | Number::Double(_)))
            .map(|point| Self {
                metric: point.metric.clone(),
                time: point.time,
                value: point.value.as_f64(),
            })
            .collect()
    }
}

/// Asserts that everything that `plugin` measured at the ticks from the first to the last one that arrived has
/// arrived once, with its value and its time as exactly as the receiver keeps them, and nothing else has. Returns how
/// many ticks that were.
pub fn assert_equals_measured(
    ticks: &[Tick],
    plugin: &str,
    arrived: &[Sample],
    exactness: Exactness,
) -> usize {
    let cut = |time: u64| time / exactness.time;
    let times: BTreeSet<u64> = arrived.iter().map(|sample| cut(sample.time)).collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        panic!("nothing arrived of {plugin}");
    };
    let ticks: Vec<&Tick> = ticks
        .iter()
        .filter(|tick| tick.group(plugin).is_some() && (*first..=*last).contains(&cut(tick.time())))
        .collect();
    let measured: BTreeSet<u64> = ticks.iter().map(|tick| cut(tick.time())).collect();
    assert_eq!(times, measured, "times that arrived, and times of the ticks");
    for tick in &ticks {
        let group = tick.expect_group(plugin);
        let metrics = group.metrics();
        for (metric, ..) in INSTANA {
            let values: Vec<f64> = arrived
                .iter()
                .filter(|sample| sample.metric == metric && cut(sample.time) == cut(tick.time()))
                .map(|sample| sample.value)
                .collect();
            let expected: Vec<f64> = metrics
                .get(metric)
                .map(|value| number(value))
                .into_iter()
                .collect();
            let equal = values.len() == expected.len()
                && values
                    .iter()
                    .zip(&expected)
                    .all(|(value, expected)| (value - expected).abs() <= expected.abs() * exactness.value);
            assert!(
                equal,
                "{metric} at {}: {values:?}, not {expected:?}: {}",
                tick.time(),
                tick.0
            );
        }
    }
    ticks.len()
}

/// As a double, whether it was printed as an integer or not.
fn number(value: &serde_json::Value) -> f64 {
    value
        .as_u64()
        .map(float)
        .or(value.as_f64())
        .unwrap_or_else(|| panic!("no number: {value}"))
}
