//! What goes beyond the limits is dropped, oldest first, and counted.

use std::time::Duration;

use super::{ROOMY, Random, drain, dropped, parcel, spool, state};
use crate::store::{
    spool::{Limits, Loss, OVERHEAD, Parcel, Why},
    tests::{NOW, Scratch},
};

const S: u64 = 1_000_000_000;

fn bytes(requests: u64, length: u64) -> Limits {
    Limits {
        bytes: requests * (length + OVERHEAD),
        ..ROOMY
    }
}

fn times(parcels: &[Parcel]) -> Vec<u64> {
    parcels.iter().map(|parcel| parcel.time - NOW).collect()
}

#[test]
fn the_oldest_goes_whosever_it_is() {
    let scratch = Scratch::new();
    let mut spool = spool(&scratch.store(), bytes(3, 100));
    let all = [parcel("a", 0, 100), parcel("b", 1, 100), parcel("a", 2, 100)];
    assert_eq!(spool.push(&all, NOW).unwrap(), [], "as much as there is room for");
    let more = [parcel("b", 3, 100), parcel("b", 4, 100)];
    let lost = [dropped("a", Why::Full, 1, 10), dropped("b", Why::Full, 1, 11)];
    assert_eq!(spool.push(&more, NOW).unwrap(), lost);
    assert_eq!(times(&drain(&mut spool, "a")), [2]);
    assert_eq!(times(&drain(&mut spool, "b")), [3, 4]);
}

#[test]
fn one_call_may_go_beyond_the_limit_by_itself() {
    let scratch = Scratch::new();
    let mut spool = spool(&scratch.store(), bytes(2, 100));
    let all: Vec<Parcel> = (0..5).map(|number| parcel("a", number, 100)).collect();
    let lost = [dropped("a", Why::Full, 3, 10 + 11 + 12)];
    assert_eq!(spool.push(&all, NOW).unwrap(), lost);
    assert_eq!(times(&drain(&mut spool, "a")), [3, 4]);
}

#[test]
fn what_has_never_room_drops_nothing_else() {
    let scratch = Scratch::new();
    let mut spool = spool(&scratch.store(), bytes(2, 100));
    spool.push(&[parcel("a", 0, 100)], NOW).unwrap();
    for (length, fits) in [(200 + OVERHEAD as usize, true), (201 + OVERHEAD as usize, false)] {
        let lost = spool.push(&[parcel("b", 1, length)], NOW).unwrap();
        if fits {
            assert_eq!(lost, [dropped("a", Why::Full, 1, 10)]);
        } else {
            assert_eq!(lost, [dropped("b", Why::Full, 1, 11)]);
        }
    }
    assert_eq!(times(&drain(&mut spool, "b")), [1]);
}

#[test]
fn what_is_too_old_goes() {
    let scratch = Scratch::new();
    let limits = Limits {
        age: Duration::from_secs(10),
        ..ROOMY
    };
    let at = |lane, seconds| Parcel {
        time: NOW + seconds * S,
        ..parcel(lane, seconds, 100)
    };
    let mut spool = spool(&scratch.store(), limits);
    spool.push(&[at("a", 0), at("b", 1), at("a", 5)], NOW).unwrap();
    for (seconds, lost) in [
        (10, vec![]),
        (11, vec![dropped("a", Why::Old, 1, 10)]),
        (11, vec![]),
    ] {
        assert_eq!(spool.expire(NOW + seconds * S).unwrap(), lost, "{seconds}");
    }
    let lost = spool.push(&[at("b", 12)], NOW + 12 * S).unwrap();
    assert_eq!(
        lost,
        [dropped("b", Why::Old, 1, 11)],
        "pushing looks at the age too"
    );
    assert_eq!(
        spool.expire(NOW).unwrap(),
        [],
        "a clock that was set back drops nothing"
    );
    let ages = |parcels: Vec<Parcel>| times(&parcels).iter().map(|time| time / S).collect::<Vec<_>>();
    assert_eq!(ages(drain(&mut spool, "a")), [5]);
    assert_eq!(ages(drain(&mut spool, "b")), [12]);
}

#[test]
fn losses_are_counted_for_good() {
    let scratch = Scratch::new();
    let limits = Limits {
        age: Duration::from_secs(10),
        ..bytes(2, 100)
    };
    let all: Vec<Parcel> = (0..5).map(|number| parcel("a", number, 100)).collect();
    {
        let mut spool = spool(&scratch.store(), limits);
        spool.push(&all, NOW).unwrap();
        spool.push(&[parcel("b", 7, 9_999)], NOW).unwrap();
    }
    {
        let mut spool = spool(&scratch.store(), limits);
        assert_eq!(spool.expire(NOW + 60 * S).unwrap().len(), 1);
    }
    let spool = spool(&scratch.store(), limits);
    let full = Loss {
        requests: 3,
        items: 33,
    };
    let old = Loss {
        requests: 2,
        items: 13 + 14,
    };
    assert_eq!((state(&spool, "a").full, state(&spool, "a").old), (full, old));
    let full = Loss {
        requests: 1,
        items: 17,
    };
    assert_eq!(
        (state(&spool, "b").full, state(&spool, "b").old),
        (full, Loss::default())
    );
}

/// Against a model: what is kept are the newest that have room, and what went in either came out, waits, or is counted.
#[test]
fn nothing_is_lost_uncounted() {
    for seed in 0..20 {
        let scratch = Scratch::new();
        let mut random = Random(seed);
        let limits = Limits {
            bytes: 4_000 + random.next() % 8_000,
            age: Duration::from_nanos(40),
        };
        let mut model: Vec<Parcel> = Vec::new();
        let (mut pushed, mut lost, mut taken) = (0, 0, 0);
        let mut open = spool(&scratch.store(), limits);
        for number in 0..150 {
            if random.below(20) == 0 {
                drop(open);
                open = spool(&scratch.store(), limits);
            }
            let lane = ["a", "b", "c"][random.below(3)];
            if random.below(3) == 0 {
                let head = open.peek(lane).unwrap();
                let position = model.iter().position(|parcel| parcel.lane == lane);
                assert_eq!(
                    head.as_ref().map(|head| &head.parcel),
                    position.map(|at| &model[at])
                );
                if let (Some(head), Some(at)) = (head, position) {
                    assert!(open.remove(&head).unwrap());
                    model.remove(at);
                    taken += 1;
                }
                continue;
            }
            let batch: Vec<Parcel> = (0..random.below(4))
                .map(|_| parcel(lane, number, random.below(3_000)))
                .collect();
            pushed += batch.len() as u64;
            let dropped = open.push(&batch, NOW + number).unwrap();
            lost += dropped.iter().map(|dropped| dropped.loss.requests).sum::<u64>();
            let size = |parcel: &Parcel| parcel.body.len() as u64 + OVERHEAD;
            model.extend(batch);
            while model.iter().map(size).sum::<u64>() > limits.bytes {
                model.remove(0);
            }
            model.retain(|parcel| parcel.time + 40 >= NOW + number);
            let waiting: u64 = open.lanes().map(|(_, state)| state.waiting.requests).sum();
            assert_eq!(waiting, model.len() as u64, "seed {seed}, {number}");
            assert_eq!(pushed, waiting + lost + taken, "seed {seed}, {number}");
        }
        assert!(lost > 0 && taken > 0, "seed {seed}");
    }
}
