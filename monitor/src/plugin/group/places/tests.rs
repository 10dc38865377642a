//! Who gets a place, who keeps it, who loses it.

use super::*;

/// Loads in thousandths of a CPU; who has a place after each.
fn run(most: usize, ticks: &[&[Option<u32>]]) -> Vec<Vec<usize>> {
    let mut standings: Vec<Option<Standing>> = Vec::new();
    let mut told = Vec::new();
    for (tick, loads) in ticks.iter().enumerate() {
        standings.resize(loads.len().max(standings.len()), None);
        let mut live: Vec<(usize, Standing)> = Vec::new();
        for (index, standing) in standings.iter_mut().enumerate() {
            let load = loads.get(index).copied().flatten();
            *standing = load.map(|load| match *standing {
                Some(standing) => standing.after(f64::from(load) / 1_000.0),
                None if tick == 0 => Standing::found(f64::from(load) / 1_000.0, false),
                None => Standing::default().after(f64::from(load) / 1_000.0),
            });
            live.extend(standing.map(|standing| (index, standing)));
        }
        let mut given: Vec<Standing> = live.iter().map(|(_, standing)| *standing).collect();
        give(&mut given, most, Rank::Cpu);
        for ((index, _), standing) in live.iter().zip(given) {
            standings[*index] = Some(standing);
        }
        let with_place = standings.iter().enumerate();
        let with_place =
            with_place.filter(|(_, standing)| standing.is_some_and(|standing| standing.has_place));
        told.push(with_place.map(|(index, _)| index).collect());
    }
    told
}

fn steady(loads: &[u32]) -> Vec<Option<u32>> {
    loads.iter().map(|&load| Some(load)).collect()
}

#[test]
fn all_have_places_as_long_as_they_are_enough() {
    let ticks: Vec<Vec<Option<u32>>> = vec![steady(&[0]), steady(&[0, 9]), steady(&[0, 9, 50])];
    let ticks: Vec<&[Option<u32>]> = ticks.iter().map(Vec::as_slice).collect();
    assert_eq!(run(3, &ticks), [vec![0], vec![0, 1], vec![0, 1, 2]]);
    assert_eq!(run(0, &ticks), [vec![], vec![], Vec::<usize>::new()]);
}

#[test]
fn a_place_goes_to_the_busiest_and_is_lost_to_a_clearly_busier_one_only() {
    let first = steady(&[10, 30, 20]);
    // A fifth more is not enough, however long; half more is.
    for (load, expected) in [(24, vec![1, 2]), (30, vec![0, 1])] {
        let later = steady(&[load, 30, 20]);
        let mut ticks: Vec<&[Option<u32>]> = vec![&first];
        ticks.extend(std::iter::repeat_n(later.as_slice(), 30));
        let told = run(2, &ticks);
        assert_eq!(told[0], [1, 2]);
        assert_eq!(*told.last().unwrap(), expected, "{load}");
    }
}

#[test]
fn what_matters_to_nobody_takes_no_place() {
    // 0.5 % of a CPU in every eighth collection, from processes that do nothing else.
    let still = steady(&[0; 8]);
    let woken: Vec<Vec<Option<u32>>> = (0..40)
        .map(|tick| {
            (0..8)
                .map(|index| Some(5 * u32::from(tick % 8 == index)))
                .collect()
        })
        .collect();
    let mut ticks: Vec<&[Option<u32>]> = vec![&still];
    ticks.extend(woken.iter().map(Vec::as_slice));
    assert!(run(2, &ticks).iter().all(|places| *places == [0, 1]));
}

#[test]
fn a_newcomer_waits_for_its_third_collection_and_no_longer_if_it_is_busy() {
    let before = steady(&[10, 10]);
    let with = steady(&[10, 10, 100]);
    let ticks: Vec<&[Option<u32>]> = vec![&before, &before, &with, &with, &with, &with];
    let told = run(2, &ticks);
    assert_eq!(told[2..4], [vec![0, 1], vec![0, 1]]);
    assert_eq!(told[4], [0, 2], "at its third");
}

#[test]
fn a_free_place_goes_to_one_that_has_been_there() {
    let (all, without) = (steady(&[10, 10, 1]), vec![None, Some(10), Some(1), Some(100)]);
    let told = run(2, &[&all, &all, &without, &without]);
    assert_eq!(told[1], [0, 1]);
    assert_eq!(told[2], [1, 2], "not to the one that has just come");
    let without = vec![None, Some(10), None, Some(100), Some(50)];
    assert_eq!(run(2, &[&all, &without])[1], [1, 3], "unless only such are left");
}

#[test]
fn a_smaller_bound_keeps_the_busiest() {
    let mut standings: Vec<Standing> = [1.0, 3.0, 2.0].map(|load| Standing::found(load, false)).into();
    give(&mut standings, 3, Rank::Cpu);
    give(&mut standings, 1, Rank::Cpu);
    let places: Vec<bool> = standings.iter().map(|standing| standing.has_place).collect();
    assert_eq!(places, [false, true, false]);
    give(&mut standings, 2, Rank::Cpu);
    let places: Vec<bool> = standings.iter().map(|standing| standing.has_place).collect();
    assert_eq!(places, [false, true, true]);
}

#[test]
fn a_place_is_kept_over_a_restart_of_kevmon() {
    let mut standings = vec![
        Standing::found(1.0, false),
        Standing::found(0.9, true),
        Standing::found(0.5, true),
    ];
    give(&mut standings, 2, Rank::Cpu);
    let places: Vec<bool> = standings.iter().map(|standing| standing.has_place).collect();
    assert_eq!(places, [true, true, false], "the margin counts as ever");
}

/// Places of each user's processes after so many collections in which all have these loads; who is listed first came first.
fn shared(most: usize, users: &[(u32, usize, f64)]) -> Vec<usize> {
    let mut standings: Vec<Standing> = Vec::new();
    for &(user, processes, load) in users {
        standings.extend(vec![Standing::default().of(Some(user)); processes]);
        for _ in 0..20 {
            let mut all = users
                .iter()
                .flat_map(|&(_, processes, load)| vec![load; processes]);
            for standing in &mut standings {
                *standing = standing.after(all.next().unwrap_or(load));
            }
            give(&mut standings, most, Rank::Cpu);
        }
    }
    let places = |user: u32| {
        let of_user = standings.iter().filter(|standing| standing.user == Some(user));
        of_user.filter(|standing| standing.has_place).count()
    };
    users.iter().map(|&(user, ..)| places(user)).collect()
}

#[test]
fn no_user_holds_more_than_half_of_the_places_while_another_ones_are_left_out() {
    const SERVICE: u32 = 0;
    const STRANGER: u32 = 65_534;
    for (most, users, expected) in [
        (4, &[(SERVICE, 2, 0.01), (STRANGER, 500, 0.9)][..], &[2, 2][..]),
        (4, &[(STRANGER, 500, 0.9), (SERVICE, 2, 0.01)], &[2, 2]),
        (4, &[(STRANGER, 500, 0.0), (SERVICE, 2, 0.0)], &[2, 2]),
        (5, &[(STRANGER, 500, 0.9), (SERVICE, 9, 0.01)], &[3, 2]),
        // What nobody else wants is not withheld.
        (6, &[(STRANGER, 500, 0.9), (SERVICE, 1, 0.01)], &[5, 1]),
        (4, &[(STRANGER, 500, 0.9)], &[4]),
        (1, &[(SERVICE, 1, 0.5), (STRANGER, 500, 0.5)], &[1, 0]),
    ] {
        assert_eq!(shared(most, users), expected, "{most} places, {users:?}");
    }
}
