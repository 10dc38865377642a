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
//! - Whoever may start processes can start many that fit a plugin, and keep them busy. So no user's processes hold more than half
//!   of the places while those of another are left out: they take no further place from others, and give up what they have
//!   beyond that, whatever their load.
//!
//! Without competition, that is, up to the bound, each process has a place at once.
//! docs/adr/0021-a-place-is-kept.md has the figures; `simulation.rs` makes them.

use std::cmp::Ordering;

use crate::{plugin::Rank, process::UserMap};

/// The part of a new load that the smoothed one takes over at each collection.
const WEIGHT: f64 = 0.25;
/// A process takes a place from one that has less than its own smoothed load over this, …
const MARGIN: f64 = 1.25;
/// Collections that a process has been there at before it may take a place.
const SETTLED: u32 = 3;

/// What is known of a member when places are given.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Standing {
    /// Smoothed load, in the unit of the plugin's rank.
    load: f64,
    /// At how many it was there, up to [`SETTLED`].
    collections: u32,
    /// It has a series of its own.
    pub(super) has_place: bool,
    /// Its effective user, where that is known: the unknown ones are one.
    user: Option<u32>,
}

impl Standing {
    /// The standing of a process that was there before the group's first collection.
    pub(super) fn found(load: f64, has_place: bool) -> Self {
        Self {
            load,
            collections: SETTLED,
            has_place,
            user: None,
        }
    }

    /// This standing, for a process that `user` runs now.
    pub(super) fn of(self, user: Option<u32>) -> Self {
        Self { user, ..self }
    }

    /// This standing after one more collection, in which the load was `load`.
    pub(super) fn after(self, load: f64) -> Self {
        Self {
            load: self.load + WEIGHT * (load - self.load),
            collections: (self.collections + 1).min(SETTLED),
            ..self
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
    let mut held = Held::of(holders, standings, most);
    held.fill(&mut others, standings);
    held.give_up_more_than_half(&others, standings);
    held.contest(&others, standings, least(rank));
}

/// The places, and whose they are.
struct Held {
    /// Who has one: the strongest first, then those that were given.
    holders: Vec<usize>,
    by_user: UserMap<usize>,
    most: usize,
}

impl Held {
    fn of(holders: Vec<usize>, standings: &[Standing], most: usize) -> Self {
        let mut by_user: UserMap<usize> = UserMap::default();
        for &holder in &holders {
            *by_user.entry(standings[holder].user).or_default() += 1;
        }
        Self {
            holders,
            by_user,
            most,
        }
    }

    /// What one user's processes hold at most while others are left out.
    fn half(&self) -> usize {
        self.most.div_ceil(2)
    }

    fn held_by(&self, user: Option<u32>) -> usize {
        self.by_user.get(&user).copied().unwrap_or(0)
    }

    fn put(&mut self, index: usize, standings: &mut [Standing]) {
        standings[index].has_place = true;
        *self.by_user.entry(standings[index].user).or_default() += 1;
        self.holders.push(index);
    }

    fn take_from(&mut self, position: usize, standings: &mut [Standing]) {
        let index = self.holders.remove(position);
        standings[index].has_place = false;
        if let Some(held) = self.by_user.get_mut(&standings[index].user) {
            *held -= 1;
        }
    }

    /// Gives the places that are free to the first of `others`: to one whose user has half of them only where nobody else
    /// wants them.
    fn fill(&mut self, others: &mut Vec<usize>, standings: &mut [Standing]) {
        for is_last_call in [false, true] {
            let mut at = 0;
            while self.holders.len() < self.most && at < others.len() {
                if is_last_call || self.held_by(standings[others[at]].user) < self.half() {
                    self.put(others.remove(at), standings);
                } else {
                    at += 1;
                }
            }
        }
    }

    /// Whose processes hold more than half of the places gives up to others.
    fn give_up_more_than_half(&mut self, others: &[usize], standings: &mut [Standing]) {
        for &other in others {
            let of = standings[other];
            if of.has_place || !of.is_settled() || self.held_by(of.user) >= self.half() {
                continue;
            }
            let is_too_many = |&holder: &usize| self.held_by(standings[holder].user) > self.half();
            let Some(position) = self.holders.iter().rposition(is_too_many) else {
                return;
            };
            self.take_from(position, standings);
            self.put(other, standings);
        }
    }

    /// The strongest of the others against the weakest of those that it may take a place from.
    fn contest(&mut self, others: &[usize], standings: &mut [Standing], enough: f64) {
        let held = std::mem::take(&mut self.holders);
        // Who has just been given a place keeps it.
        let mut contested: Vec<usize> = held;
        contested.sort_by(|one, other| standings[*other].load.total_cmp(&standings[*one].load));
        for &other in others {
            let of = standings[other];
            if of.has_place {
                continue;
            }
            let has_half = self.held_by(of.user) >= self.half();
            let may_take = |&holder: &usize| !has_half || standings[holder].user == of.user;
            let Some(position) = contested.iter().rposition(may_take) else {
                continue;
            };
            let holder = contested[position];
            let held = standings[holder].load;
            let takes = of.load.partial_cmp(&(held * MARGIN).max(held + enough)) == Some(Ordering::Greater);
            if takes && of.is_settled() {
                contested.remove(position);
                standings[holder].has_place = false;
                if let Some(held) = self.by_user.get_mut(&standings[holder].user) {
                    *held -= 1;
                }
                standings[other].has_place = true;
                *self.by_user.entry(of.user).or_default() += 1;
            } else if !has_half {
                return; // those that follow are weaker
            }
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
