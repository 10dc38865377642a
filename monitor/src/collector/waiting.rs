//! Values of one collector that wait for their plugin's next collection, within bounds. Pure.

use std::collections::VecDeque;

use crate::plugin::collector::{Custom, CustomValue};

/// Values that wait at most.
const MOST: usize = 20_000;
/// Memory that they take at most, about, bytes.
const MOST_BYTES: usize = 64 << 20;

/// They; the oldest make room for the newest.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    values: VecDeque<CustomValue>,
    /// Memory that they take, about.
    bytes: usize,
}

impl Waiting {
    /// Adds the newest; returns how many of the oldest are left out for them.
    pub(super) fn add(&mut self, newest: Vec<CustomValue>) -> usize {
        self.bytes += newest.iter().map(bytes).sum::<usize>();
        self.values.extend(newest);
        let mut over = 0;
        while self.values.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.values.pop_front() else {
                break;
            };
            self.bytes -= bytes(&oldest);
            over += 1;
        }
        over
    }

    /// All of them, oldest first.
    pub(super) fn into_values(self) -> Vec<CustomValue> {
        self.values.into()
    }
}

/// What is said of values that were left out.
pub(super) fn overflow(over: usize) -> String {
    let most = MOST_BYTES >> 20;
    format!(
        "more than {MOST} values, or {most} MiB of them, wait for a collection; the oldest {over} are left out"
    )
}

fn bytes(value: &CustomValue) -> usize {
    let attributes = value.attributes.iter().map(|(key, text)| key.len() + text.len());
    let text = match &value.value {
        Custom::Text(text) => text.len(),
        _ => 0,
    };
    let texts = value.name.len() + value.unit.len() + value.description.len() + text;
    size_of_val(value) + size_of_val(value.attributes.as_slice()) + texts + attributes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(number: i64, attribute: usize) -> CustomValue {
        CustomValue {
            name: "a".to_owned(),
            unit: String::new(),
            description: String::new(),
            value: Custom::Int(number),
            attributes: vec![("k".to_owned(), "x".repeat(attribute))],
            time: 0,
        }
    }

    fn numbers(waiting: Waiting) -> Vec<i64> {
        let values = waiting.into_values().into_iter();
        values
            .map(|value| match value.value {
                Custom::Int(number) => number,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_oldest_make_room_for_more() {
        let mut waiting = Waiting::default();
        assert_eq!(
            waiting.add((0..20_000).map(|number| value(number, 1)).collect()),
            0
        );
        assert_eq!(waiting.add(vec![value(20_000, 1), value(20_001, 1)]), 2);
        let kept = numbers(waiting);
        assert_eq!((kept.len(), kept[0], kept[19_999]), (20_000, 2, 20_001));
    }

    #[test]
    fn the_oldest_make_room_for_longer_ones() {
        let mut waiting = Waiting::default();
        let mut over = 0;
        for number in 0..100 {
            over += waiting.add(vec![value(number, 1 << 20)]);
            assert!(waiting.bytes <= MOST_BYTES, "{}", waiting.bytes);
        }
        let kept = numbers(waiting);
        assert_eq!(over + kept.len(), 100);
        assert!(
            (60..64).contains(&kept.len()) && kept.ends_with(&[98, 99]),
            "{kept:?}"
        );
    }
}
