//! Parts of arguments whose exec's record is still to come.
//!
//! An exec sends what does not fit its own record in parts before it, one after the other on one CPU; parts of other execs
//! come in between. The exec's record takes the parts out. Where that record found no room in the ring, they stay until
//! the process executes again or is freed, or until newer ones need their room. An exec whose parts have gone is one
//! with cut arguments, and is counted so.

use std::collections::BTreeMap;

use super::decode::PartOfArguments;
use crate::process::{KeyMap, ProcessKey};

/// Bytes of all parts together: 30 processes with the longest arguments that are sent, or thousands with usual ones.
const MOST_BYTES: usize = 4 << 20;
/// What a process takes here at least, bytes: a part whose text could not be read is empty.
const OVERHEAD: usize = 256;

/// The parts of all processes.
#[derive(Debug, Default)]
pub(super) struct HeldArguments {
    held: KeyMap<Held>,
    /// Their keys, oldest first.
    order: BTreeMap<u64, ProcessKey>,
    /// Bytes of all parts, with [`OVERHEAD`] for each process.
    bytes: usize,
    /// Number of processes whose parts have been begun, which numbers the next.
    begun: u64,
}

#[derive(Debug, Default)]
struct Held {
    text: Vec<u8>,
    /// Its number in `order`.
    number: u64,
}

impl HeldArguments {
    /// Keeps a part. Where there is no room for it, the oldest ones of other processes go.
    pub(super) fn hold(&mut self, part: &PartOfArguments<'_>) {
        if part.is_first {
            self.take(part.key);
        }
        while self.bytes + OVERHEAD + part.text.len() > MOST_BYTES && self.drop_oldest(part.key) {}
        let held = self.held.entry(part.key).or_insert_with(|| {
            self.begun += 1;
            self.bytes += OVERHEAD;
            self.order.insert(self.begun, part.key);
            Held {
                text: Vec::new(),
                number: self.begun,
            }
        });
        held.text.extend_from_slice(part.text);
        self.bytes += part.text.len();
    }

    /// What came of this process's arguments; nothing of it is kept.
    pub(super) fn take(&mut self, key: ProcessKey) -> Vec<u8> {
        if self.held.is_empty() {
            return Vec::new(); // all but always
        }
        let Some(held) = self.held.remove(&key) else {
            return Vec::new();
        };
        self.order.remove(&held.number);
        self.bytes -= OVERHEAD + held.text.len();
        held.text
    }

    /// False: there is none but `keep`.
    fn drop_oldest(&mut self, keep: ProcessKey) -> bool {
        let oldest = self.order.values().find(|key| **key != keep).copied();
        oldest.inspect(|&key| drop(self.take(key))).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{BootTime, Tgid};

    /// The longest that an exec sends, about.
    const LONG: usize = 135_000;

    fn key(number: u32) -> ProcessKey {
        ProcessKey {
            tgid: Tgid(number),
            start: BootTime(1),
        }
    }

    fn part(number: u32, is_first: bool, text: &[u8]) -> PartOfArguments<'_> {
        PartOfArguments {
            key: key(number),
            is_first,
            text,
        }
    }

    #[test]
    fn parts_are_put_together_by_process_and_taken_once() {
        let mut held = HeldArguments::default();
        held.hold(&part(1, true, b"a"));
        held.hold(&part(2, true, b"x"));
        held.hold(&part(1, false, b"b"));
        assert_eq!(held.take(key(1)), b"ab");
        assert_eq!(held.take(key(1)), b"");
        // Its exec's record was lost, and it executes again.
        held.hold(&part(2, true, b"y"));
        held.hold(&part(2, false, b"z"));
        assert_eq!(held.take(key(2)), b"yz");
        assert_eq!((held.bytes, held.held.len()), (0, 0));
    }

    #[test]
    fn those_that_nobody_asks_for_are_bounded_and_take_no_other_with_them() {
        let mut held = HeldArguments::default();
        let text = vec![b'x'; LONG / 2];
        held.hold(&part(0, true, &text));
        for number in 1..400 {
            held.hold(&part(number, true, &text));
            held.hold(&part(number, false, &text));
            assert!(held.bytes <= MOST_BYTES, "{number}: {}", held.bytes);
            let sum: usize = held.held.values().map(|held| held.text.len() + OVERHEAD).sum();
            assert_eq!(held.bytes, sum, "{number}");
            assert_eq!(held.held[&key(number)].text.len(), LONG / 2 * 2, "{number}");
        }
        assert!(!held.held.contains_key(&key(0)), "the oldest goes first");
        let kept = held.held.len();
        assert!(kept > 25, "{kept}: no more go than have to");
        assert_eq!(held.take(key(399 - 20)).len(), LONG / 2 * 2);
    }

    #[test]
    fn the_one_being_put_together_survives_whatever_else_comes() {
        let mut held = HeldArguments::default();
        held.hold(&part(0, true, b"begin "));
        for number in 1..100_000 {
            held.hold(&part(number, true, b""));
        }
        assert!(held.held.len() <= MOST_BYTES / OVERHEAD, "{}", held.held.len());
        held.hold(&part(7, true, &vec![b'x'; MOST_BYTES + 1]));
        held.hold(&part(7, false, b"y"));
        assert_eq!(held.take(key(7)).len(), MOST_BYTES + 2);
        assert_eq!((held.bytes, held.held.len()), (0, 0));
    }
}
