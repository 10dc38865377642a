//! Turns what the switch programs measured into kevmon's own types.

use kevmon_common::{BUCKETS, FIRST_INDEX, PREEMPTORS, Preemptor, Spread as RawSpread, ThreadTimes};

use super::decode;
use crate::process::{Preempted, Quantity, Spread, SwitchTimes};

/// What is new in `now` since `before`, which it was once.
pub(super) fn since(now: &ThreadTimes, before: Option<&ThreadTimes>) -> SwitchTimes {
    let of = |spread: fn(&ThreadTimes) -> &RawSpread| spread_since(spread(now), before.map(spread));
    let mut times = SwitchTimes {
        run_queue: of(|times| &times.run_queue),
        on_cpu: of(|times| &times.on_cpu),
        sleep: of(|times| &times.sleep),
        uninterruptible: of(|times| &times.uninterruptible),
        preempted: of(|times| &times.preempted),
        others_time: now
            .others_time
            .wrapping_sub(before.map_or(0, |before| before.others_time)),
        unknown_time: now
            .unknown_time
            .wrapping_sub(before.map_or(0, |before| before.unknown_time)),
        ..SwitchTimes::default()
    };
    for index in 0..PREEMPTORS {
        let preemptor = &now.preemptors[index];
        let known = before.map(|before| before.preemptors[index]);
        let known = match known {
            Some(Preemptor { comm, time, count })
                if comm == preemptor.comm && time <= preemptor.time && count <= preemptor.count =>
            {
                (time, count)
            }
            // Another name has had the place since: what stood there at the last look was told by its name, and is among the
            // others now. (The same name may have lost it and come back.)
            Some(gone) => {
                times.others_time = times.others_time.saturating_sub(gone.time);
                (0, 0)
            }
            None => (0, 0),
        };
        let more = Preempted {
            time: preemptor.time.wrapping_sub(known.0),
            switches: preemptor.count.wrapping_sub(known.1),
        };
        if more.switches > 0 {
            times.add_preemptor(&decode::comm(&preemptor.comm), more);
        }
    }
    times
}

fn spread_since(now: &RawSpread, before: Option<&RawSpread>) -> Spread {
    let mut spread = Spread::new(Quantity::Time);
    let more = |place: usize| now.places[place].wrapping_sub(before.map_or(0, |before| before.places[place]));
    spread.zero = more(0).into();
    spread.count = spread.zero;
    for index in 0..BUCKETS {
        let more = more(1 + index);
        if more > 0 {
            let bucket = FIRST_INDEX + i32::try_from(index).unwrap_or(i32::MAX);
            spread.buckets.insert(bucket, more.into());
            spread.count += u64::from(more);
        }
    }
    spread.sum = now.sum.wrapping_sub(before.map_or(0, |before| before.sum));
    if spread.count > 0 {
        let is_new = |old: Option<u64>, new: u64| old.is_none_or(|old| old != new);
        let min = is_new(before.map(|before| before.not_min), now.not_min);
        spread.min = (min && now.not_min != 0).then_some(!now.not_min);
        spread.max = is_new(before.map(|before| before.max), now.max).then_some(now.max);
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[(&[u8], u64, u64)], others: u64) -> ThreadTimes {
        // SAFETY: integers alone; zero is a value of each.
        let mut times: ThreadTimes = unsafe { std::mem::zeroed() };
        for (index, (name, time, count)) in names.iter().enumerate() {
            let preemptor = &mut times.preemptors[index];
            preemptor.comm[..name.len()].copy_from_slice(name);
            (preemptor.time, preemptor.count) = (*time, *count);
        }
        times.others_time = others;
        times
    }

    /// What each name, and others, had in all: the sum of what was told at each look.
    fn told(looks: &[ThreadTimes]) -> (Vec<(String, u64)>, u64) {
        let mut all = SwitchTimes::default();
        let mut before = None;
        for look in looks {
            all.add(&since(look, before));
            before = Some(look);
        }
        let names = all.preemptors.iter().map(|(name, by)| (name.clone(), by.time));
        (names.collect(), all.others_time)
    }

    #[test]
    fn a_name_that_gives_way_keeps_what_was_told_of_it() {
        let looks = [
            with(&[(b"a", 100, 1), (b"b", 50, 1)], 0),
            // "b" had 60 when "c" took its place: 10 more of others.
            with(&[(b"a", 130, 2), (b"c", 7, 1)], 60),
            // "c" had 9 when "b" came back.
            with(&[(b"a", 130, 2), (b"b", 5, 1)], 69),
        ];
        let (names, others) = told(&looks);
        let expected = [("a", 130), ("b", 55), ("c", 7)].map(|(name, time)| (name.to_owned(), time));
        assert_eq!((names, others), (expected.to_vec(), 10 + 2));
    }

    #[test]
    fn the_same_name_may_lose_its_place_and_come_back_between_two_looks() {
        let looks = [with(&[(b"a", 100, 9)], 0), with(&[(b"a", 3, 1)], 100)];
        assert_eq!(told(&looks), (vec![("a".to_owned(), 103)], 0));
    }
}
