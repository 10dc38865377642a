//! Which members have series of their own, where they are more than the plugin's bound.
//!
//! A series costs the receiver for as long as it keeps anything of it, so that a place is worth more than a rank. Ranked
//! afresh at each collection, every process that is busy for a moment takes a place and leaves a series behind: on a whole host
//! a bound of five made hundreds of series in half an hour. Hence:
//!
//! - What is compared is the smoothed load: each collection takes over a quarter of the new one. A process that is new begins
//!   with nothing, one that was found at the group's first collection with its mean over its life.
//! - Who has a place keeps it until it ends, or until another one has clearly more: a quarter more, and so much more in all
//!   that it matters.
//! - Only processes that were there at three collections take places from others. A place that has become free goes to the
//!   first of those, too; to a newer one only where there are no others.
//!
//! Without competition, that is, up to the bound, each process has a place at once.
//! docs/adr/0021-a-place-is-kept.md has the figures; `simulation.rs` makes them.

use std::cmp::Ordering;

use crate::plugin::Rank;

/// The part of a new load that the smoothed one takes over at each collection.
const WEIGHT: f64 = 0.25;
/// A process takes a place from one that has less than its own smoothed load over this, …
const MARGIN: f64 = 1.25;
/// … once it was there at so many collections.
const SETTLED: u32 = 3;

/// What is known of a member when places are given.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Standing {
    /// Smoothed.
    load: f64,
    /// At how many it was there, up to [`SETTLED`].
    collections: u32,
    /// It has a place.
    pub(super) has_place: bool,
}

impl Standing {
    /// Of a process that was there before the group's first collection.
    pub(super) fn found(load: f64, has_place: bool) -> Self {
        Self {
            load,
            collections: SETTLED,
            has_place,
        }
    }

    /// After one more collection, in which the load was this.
    pub(super) fn after(self, load: f64) -> Self {
        Self {
            load: self.load + WEIGHT * (load - self.load),
            collections: (self.collections + 1).min(SETTLED),
            has_place: self.has_place,
        }
    }

    fn is_settled(&self) -> bool {
        self.collections >= SETTLED
    }
}

/// By how much a load must be larger at least, whatever the margin: what is below is noise.
fn least(rank: Rank) -> f64 {
    match rank {
        // Of one CPU.
        Rank::Cpu => 0.002,
        // Bytes.
        Rank::Memory => (1_u64 << 20) as f64,
    }
}

/// Gives `most` places. Of equal loads the earlier one in the list goes first.
pub(super) fn give(standings: &mut [Standing], most: usize, rank: Rank) {
    if standings.len() <= most {
        standings
            .iter_mut()
            .for_each(|standing| standing.has_place = true);
        return;
    }
    let by_load = |one: &usize, other: &usize, of: &[Standing]| {
        let order = of[*other].load.total_cmp(&of[*one].load);
        order.then(one.cmp(other))
    };
    let (mut holders, mut others): (Vec<usize>, Vec<usize>) =
        (0..standings.len()).partition(|&index| standings[index].has_place);
    holders.sort_by(|one, other| by_load(one, other, standings));
    // The bound has become smaller.
    for index in holders.split_off(most.min(holders.len())) {
        standings[index].has_place = false;
        others.push(index);
    }
    others.sort_by(|one, other| {
        let settled = standings[*other].is_settled().cmp(&standings[*one].is_settled());
        settled.then_with(|| by_load(one, other, standings))
    });
    let mut others = others.into_iter();
    let free = most - holders.len();
    for index in others.by_ref().take(free) {
        standings[index].has_place = true;
    }
    let enough = least(rank);
    // The strongest of the others against the weakest of the holders.
    for (holder, other) in holders.into_iter().rev().zip(others) {
        let (held, load) = (standings[holder].load, standings[other].load);
        let takes = load.partial_cmp(&(held * MARGIN).max(held + enough)) == Some(Ordering::Greater);
        if !takes || !standings[other].is_settled() {
            break;
        }
        standings[holder].has_place = false;
        standings[other].has_place = true;
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
