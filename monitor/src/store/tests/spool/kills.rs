//! `kill -9` at any moment: what was pushed is there, what was removed is not.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader},
    time::Duration,
};

use super::{ROOMY, Random, drain, parcel, spool};
use crate::store::{
    spool::Parcel,
    tests::{Scratch, child, child_arguments},
};

const LANES: [&str; 2] = ["a", "b"];

/// Pushes two for each lane, and removes one, over and over.
#[test]
#[ignore = "run by a_kill_loses_nothing_acknowledged"]
fn pushes_for_ever() {
    let Some((path, first)) = child_arguments() else {
        return;
    };
    let mut spool = spool(&path, ROOMY);
    for number in first as u64.. {
        let parcels: Vec<Parcel> = [2 * number, 2 * number + 1]
            .iter()
            .flat_map(|number| LANES.map(|lane| parcel(lane, *number, (number % 20_000) as usize)))
            .collect();
        spool.push(&parcels, super::NOW).unwrap();
        println!("pushed {number}");
        for lane in LANES {
            let oldest = spool.peek(lane).unwrap().unwrap();
            spool.remove(&oldest).unwrap();
            println!("removed {lane} {}", oldest.parcel.time - super::NOW);
        }
    }
}

#[test]
fn a_kill_loses_nothing_acknowledged() {
    let scratch = Scratch::new();
    let mut random = Random(44);
    let (mut next, mut seen) = (0, 0);
    let mut expected: [VecDeque<u64>; 2] = Default::default();
    for _ in 0..10 {
        let mut writer = child("spool::kills::pushes_for_ever", &scratch.store(), next as usize)
            .spawn()
            .unwrap();
        let output = writer.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines();
            lines.map_while(Result::ok).collect::<Vec<String>>()
        });
        std::thread::sleep(Duration::from_millis(60 + random.next() % 90));
        writer.kill().unwrap();
        writer.wait().unwrap();
        for line in reader.join().unwrap() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                [.., "pushed", number] => {
                    next = number.parse::<u64>().unwrap() + 1;
                    expected
                        .iter_mut()
                        .for_each(|lane| lane.extend([2 * next - 2, 2 * next - 1]));
                    seen += 1;
                }
                ["removed", lane, number] => {
                    let lane = LANES.iter().position(|known| known == lane).unwrap();
                    assert_eq!(expected[lane].pop_front(), Some(number.parse().unwrap()));
                }
                _ => {}
            }
        }

        // The last call may have been done and not told.
        let mut left = spool(&scratch.store(), ROOMY);
        assert_eq!(left.moved_aside(), None);
        let mut unacknowledged = false;
        for (lane, expected) in LANES.iter().zip(&mut expected) {
            let head = left.peek(lane).unwrap().map(|head| head.parcel.time - super::NOW);
            if head != expected.front().copied() {
                expected.pop_front();
            }
            let requests = left
                .lanes()
                .find(|(name, _)| name == lane)
                .map_or(0, |(_, state)| state.waiting.requests);
            if requests == expected.len() as u64 + 2 {
                expected.extend([2 * next, 2 * next + 1]);
                unacknowledged = true;
            }
            assert_eq!(requests, expected.len() as u64, "{lane}");
        }
        next += u64::from(unacknowledged);
    }
    let mut left = spool(&scratch.store(), ROOMY);
    for (lane, expected) in LANES.iter().zip(expected) {
        let parcels: Vec<Parcel> = expected
            .into_iter()
            .map(|number| parcel(lane, number, (number % 20_000) as usize))
            .collect();
        assert!(drain(&mut left, lane) == parcels, "{lane}");
    }
    assert!(seen > 10, "{seen} pushes");
}
