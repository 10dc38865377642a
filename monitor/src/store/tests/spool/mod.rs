//! The spool against real files, real disks and real kills.

mod disk;
mod files;
mod in_place;
mod kills;
mod limits;
mod measure;

use std::{path::Path, time::Duration};

use super::{NOW, Random, Scratch};
use crate::store::spool::{Dropped, LaneState, Limits, Loss, OVERHEAD, Parcel, Spool, Why};

/// Far above what most tests need.
const ROOMY: Limits = Limits {
    bytes: 1 << 30,
    age: Duration::from_secs(86_400),
};

#[track_caller]
fn spool(path: &Path, limits: Limits) -> Spool {
    Spool::open(path, limits, NOW).unwrap_or_else(|error| panic!("no spool: {error}"))
}

/// A request with content that tells it from others.
fn parcel(lane: &str, number: u64, length: usize) -> Parcel {
    Parcel {
        lane: lane.to_owned(),
        signal: "metrics".to_owned(),
        time: NOW + number,
        items: 10 + number,
        sent: number.is_multiple_of(3),
        body: Random(number).bytes(length),
    }
}

/// Takes all of a lane out.
#[track_caller]
fn drain(spool: &mut Spool, lane: &str) -> Vec<Parcel> {
    std::iter::from_fn(|| {
        let spooled = spool.peek(lane).unwrap()?;
        assert_eq!(
            spool.peek(lane).unwrap().as_ref(),
            Some(&spooled),
            "until it is removed"
        );
        assert!(spool.remove(&spooled).unwrap());
        assert!(!spool.remove(&spooled).unwrap(), "once");
        Some(spooled.parcel)
    })
    .collect()
}

fn state(spool: &Spool, lane: &str) -> LaneState {
    let mut lanes = spool.lanes();
    lanes
        .find(|(name, _)| *name == lane)
        .map_or_else(LaneState::default, |(_, state)| state)
}

fn dropped(lane: &str, why: Why, requests: u64, items: u64) -> Dropped {
    Dropped {
        lane: lane.to_owned(),
        why,
        loss: Loss { requests, items },
    }
}

#[test]
fn each_lane_gives_back_what_it_got_in_order() {
    let scratch = Scratch::new();
    let lanes = ["default/metrics", "default/logs", "eu/metrics"];
    let parcels: Vec<Parcel> = (0..60)
        .map(|number| parcel(lanes[Random(number).below(3)], number, (number * 97) as usize))
        .collect();
    let mut writer = spool(&scratch.store(), ROOMY);
    for some in parcels.chunks(7) {
        assert_eq!(writer.push(some, NOW).unwrap(), []);
    }
    assert_eq!(writer.peek("nobody").unwrap(), None);
    let states: Vec<LaneState> = lanes.iter().map(|lane| state(&writer, lane)).collect();
    drop(writer);

    let mut reader = spool(&scratch.store(), ROOMY);
    for (lane, kept) in lanes.iter().zip(states) {
        let expected: Vec<Parcel> = parcels
            .iter()
            .filter(|parcel| parcel.lane == *lane)
            .cloned()
            .collect();
        assert!(expected.len() > 9, "{lane}");
        assert_eq!(state(&reader, lane), kept, "{lane}, as after opening");
        assert_eq!(kept.waiting.requests, expected.len() as u64, "{lane}");
        assert_eq!(
            kept.waiting.items,
            expected.iter().map(|parcel| parcel.items).sum::<u64>()
        );
        let bytes = expected.iter().map(|parcel| parcel.body.len() as u64 + OVERHEAD);
        assert_eq!(kept.waiting.bytes, bytes.sum::<u64>(), "{lane}");
        assert_eq!(drain(&mut reader, lane), expected, "{lane}");
        assert_eq!(state(&reader, lane), LaneState::default(), "{lane}");
    }
    assert_eq!(reader.lanes().count(), 3);
}

#[test]
fn fresh_requests_go_behind_those_of_an_earlier_run() {
    let scratch = Scratch::new();
    for run in 0..4 {
        let mut spool = spool(&scratch.store(), ROOMY);
        if run > 0 {
            let oldest = spool.peek("a").unwrap().unwrap();
            assert_eq!(oldest.parcel, parcel("a", 2 * run - 2 - (run - 1), 50));
            spool.remove(&oldest).unwrap();
        }
        let fresh = [parcel("a", 2 * run, 50), parcel("a", 2 * run + 1, 50)];
        spool.push(&fresh, NOW).unwrap();
    }
    let left = drain(&mut spool(&scratch.store(), ROOMY), "a");
    let times: Vec<u64> = left.iter().map(|parcel| parcel.time - NOW).collect();
    assert_eq!(times, [3, 4, 5, 6, 7]);
}

/// A request that was dropped while it was under way must not take a newer one with it.
#[test]
fn what_is_removed_late_takes_nothing_else_out() {
    let scratch = Scratch::new();
    let limits = Limits {
        bytes: 2 * (100 + OVERHEAD),
        ..ROOMY
    };
    let mut spool = spool(&scratch.store(), limits);
    spool.push(&[parcel("a", 0, 100)], NOW).unwrap();
    let under_way = spool.peek("a").unwrap().unwrap();
    let newer = [parcel("a", 1, 100), parcel("a", 2, 100)];
    assert_eq!(spool.push(&newer, NOW).unwrap(), [dropped("a", Why::Full, 1, 10)]);
    assert!(!spool.remove(&under_way).unwrap());
    assert_eq!(drain(&mut spool, "a"), newer);
}

#[test]
fn the_file_shrinks_when_a_lane_is_drained() {
    let scratch = Scratch::new();
    let mut spool = spool(&scratch.store(), ROOMY);
    let length = || std::fs::metadata(scratch.store()).unwrap().len();
    let empty = length();
    for number in 0..200 {
        spool
            .push(&[parcel("a", number, 50_000), parcel("b", number, 300)], NOW)
            .unwrap();
    }
    drop(spool);
    let full = length();
    assert!(full > 200 * 50_000, "{full}");
    let mut spool = self::spool(&scratch.store(), ROOMY);
    assert_eq!(drain(&mut spool, "a").len(), 200);
    let shrink = |spool: &mut Spool| (0..4).for_each(|_| assert_eq!(spool.expire(NOW).unwrap(), []));
    shrink(&mut spool);
    let half = length();
    assert!(
        half < 1_300_000,
        "{half}: what waits for b is a fraction, and 1 MiB may be free"
    );
    assert_eq!(drain(&mut spool, "b").len(), 200);
    shrink(&mut spool);
    assert!(length() < empty + 1_100_000, "{} of {full}", length());
    let log = std::fs::metadata(format!("{}-wal", scratch.store().display())).unwrap();
    assert!(log.len() <= 4 << 20);
}
