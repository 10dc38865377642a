//! How a bounded list is shared among users, so that no user crowds out another one.

use std::collections::HashMap;

/// Positions of the entries that stay where `most` may, in their order. `users` gives the user of each entry, oldest entry
/// first; the unknown ones are one user's. Of each user as many stay as of any other, as far as there are, and of one user's
/// the latest.
pub fn latest(
    users: impl DoubleEndedIterator<Item = Option<u32>> + ExactSizeIterator,
    most: usize,
) -> Vec<usize> {
    let mut seen: HashMap<Option<u32>, usize> = HashMap::new();
    let ranked = users.enumerate().rev().map(|(position, user)| {
        let nth = seen.entry(user).or_default();
        *nth += 1;
        (*nth, position)
    });
    // By how many later ones its user has, and then the later one.
    let mut ranked: Vec<(usize, usize)> = ranked.collect();
    ranked.sort_unstable_by_key(|&(nth, position)| (nth, std::cmp::Reverse(position)));
    let mut kept: Vec<usize> = ranked
        .into_iter()
        .take(most)
        .map(|(_, position)| position)
        .collect();
    kept.sort_unstable();
    kept
}
