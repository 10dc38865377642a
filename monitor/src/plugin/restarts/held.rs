//! A bounded list in the order of times, in which no user crowds out another.
//!
//! Whoever may start processes can have any number of roots start and end under a service's name. Where the list is full, the oldest
//! entry of the user who has most of it makes room: so one user's entries never cost another one theirs as long as that one
//! has fewer.

use std::collections::VecDeque;

use super::{RootEnd, RootStart};
use crate::{
    plugin::shares,
    process::{BootTime, UserMap},
};

/// A start or an end that a list holds.
pub(super) trait Entry {
    /// Its time, by which the list is ordered.
    fn time(&self) -> BootTime;
    /// The user that it counts for. All unknown ones count as one user.
    fn user(&self) -> Option<u32>;
}

impl Entry for RootStart {
    fn time(&self) -> BootTime {
        self.time
    }

    fn user(&self) -> Option<u32> {
        self.identity.user
    }
}

impl Entry for RootEnd {
    fn time(&self) -> BootTime {
        self.time
    }

    fn user(&self) -> Option<u32> {
        self.first.user
    }
}

/// Starts or ends in the order of their times.
#[derive(Debug)]
pub(super) struct Held<T> {
    entries: VecDeque<T>,
    by_user: UserMap<usize>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            by_user: UserMap::default(),
        }
    }
}

impl<T: Entry> Held<T> {
    /// Puts `new` where it belongs by its time, and has an entry make room where there are `most` already.
    pub(super) fn hold(&mut self, new: T, most: usize) {
        if self.entries.len() >= most {
            self.make_room(new.user());
        }
        let later = self
            .entries
            .iter()
            .rev()
            .take_while(|held| held.time() > new.time())
            .count();
        *self.by_user.entry(new.user()).or_default() += 1;
        self.entries.insert(self.entries.len() - later, new);
    }

    /// The oldest entry goes of the user who has most with a new one of `newcomer`.
    fn make_room(&mut self, newcomer: Option<u32>) {
        let with_new = |(user, count): (&Option<u32>, &usize)| count + usize::from(*user == newcomer);
        let most = self.by_user.iter().map(with_new).max().unwrap_or(0);
        let crowds = |entry: &T| {
            let user = entry.user();
            let count = self.by_user.get(&user).copied().unwrap_or(0);
            count + usize::from(user == newcomer) == most
        };
        let position = self.entries.iter().position(crowds).unwrap_or(0);
        self.remove(position);
    }

    pub(super) fn remove(&mut self, position: usize) -> Option<T> {
        let entry = self.entries.remove(position)?;
        let user = entry.user();
        if let Some(count) = self.by_user.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(&user);
            }
        }
        Some(entry)
    }

    pub(super) fn retain(&mut self, keeps: impl FnMut(&T) -> bool) {
        self.entries.retain(keeps);
        self.count();
    }

    fn count(&mut self) {
        self.by_user.clear();
        for entry in &self.entries {
            *self.by_user.entry(entry.user()).or_default() += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_user.clear();
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.entries.front()
    }

    pub(super) fn get(&self, position: usize) -> Option<&T> {
        self.entries.get(position)
    }

    pub(super) fn get_mut(&mut self, position: usize) -> Option<&mut T> {
        self.entries.get_mut(position)
    }

    pub(super) fn iter(&self) -> std::collections::vec_deque::Iter<'_, T> {
        self.entries.iter()
    }

    /// The latest, `most` of them, oldest first: of each user as many as of any other, as far as there are.
    pub(super) fn latest(&self, most: usize) -> Vec<&T> {
        let kept = shares::latest(self.entries.iter().map(Entry::user), most);
        kept.into_iter()
            .filter_map(|position| self.entries.get(position))
            .collect()
    }
}

impl<T: Entry> FromIterator<T> for Held<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut held = Self {
            entries: entries.into_iter().collect(),
            by_user: UserMap::default(),
        };
        held.count();
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of(u64, u32);

    impl Entry for Of {
        fn time(&self) -> BootTime {
            BootTime(self.0)
        }

        fn user(&self) -> Option<u32> {
            Some(self.1)
        }
    }

    fn told(entries: impl Iterator<Item = (u64, u32)>) -> Vec<(u64, u32)> {
        entries.collect()
    }

    #[test]
    fn a_flood_of_one_user_costs_no_other_one_its_entries() {
        const SERVICE: u32 = 0;
        const STRANGER: u32 = 65_534;
        let mut held = Held::default();
        for time in 0..3 {
            held.hold(Of(time, SERVICE), 8);
        }
        for time in 3..100_000 {
            held.hold(Of(time, STRANGER), 8);
        }
        let services = |held: &Held<Of>| {
            let services = held.iter().filter(|of| of.1 == SERVICE);
            told(services.map(|of| (of.0, of.1)))
        };
        assert_eq!(services(&held), [(0, 0), (1, 0), (2, 0)]);
        assert_eq!(held.iter().count(), 8);
        let latest = told(held.latest(4).into_iter().map(|of| (of.0, of.1)));
        assert_eq!(
            latest,
            [(1, SERVICE), (2, SERVICE), (99_998, STRANGER), (99_999, STRANGER)]
        );
        // Up to half it takes room back.
        for time in 100_000..100_009 {
            held.hold(Of(time, SERVICE), 8);
        }
        let kept: Vec<u64> = services(&held).iter().map(|of| of.0).collect();
        assert_eq!(kept.len(), 4, "{kept:?}");
        assert_eq!(kept[3], 100_008);
    }

    #[test]
    fn of_one_user_the_oldest_goes() {
        let mut held = Held::default();
        for time in [5, 1, 3, 2, 4] {
            held.hold(Of(time, 7), 3);
        }
        assert_eq!(told(held.iter().map(|of| (of.0, of.1))), [(3, 7), (4, 7), (5, 7)]);
    }
}
