//! The queue of one lane, step by step.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        backlog::Backlog,
        queue::{Counts, Queue},
    },
    Folder, LIMITS, SECOND, request,
};
use crate::{
    export::transport::Signal,
    store::spool::{Limits, Tally},
};

const LANE: &str = "default/metrics";

/// A queue, its spool and a clock that moves only when told to.
struct Bench {
    queue: Queue,
    backlog: Backlog,
    start: Instant,
    folder: Folder,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let folder = Folder::new();
        Self {
            queue: Queue::new(LANE.to_owned()),
            backlog: Backlog::open(Some(&folder.spool()), limits, 0),
            start: Instant::now(),
            folder,
        }
    }

    /// The collection of this second comes.
    fn tick(&mut self, second: u64) {
        let now = self.start + Duration::from_secs(second);
        let one = vec![request(Signal::Metrics, second, 10)];
        for dropped in self.queue.push(one, (now, second * SECOND), &mut self.backlog) {
            assert_eq!(dropped.lane, LANE);
            self.queue.counts.dropped_space += dropped.loss.items;
        }
    }

    /// The second whose collection goes next.
    fn next(&mut self) -> Option<u64> {
        let request = self.queue.next(&mut self.backlog).expect("the spool works")?;
        assert_eq!(
            request.body,
            format!("collection {}", request.time / SECOND),
            "its own body"
        );
        Some(request.time / SECOND)
    }

    fn delivered(&mut self) {
        self.queue.delivered(0, &mut self.backlog);
    }

    fn failed(&mut self, may_have_arrived: bool) {
        self.queue.failed(may_have_arrived, 0, &mut self.backlog);
    }

    fn spooled(&self) -> u64 {
        self.backlog.waiting(LANE).requests
    }

    /// All that waits, delivered one by one.
    fn drain(&mut self) -> Vec<u64> {
        let mut seconds = Vec::new();
        while let Some(second) = self.next() {
            seconds.push(second);
            self.delivered();
        }
        seconds
    }
}

#[test]
fn nothing_is_spooled_while_all_is_well() {
    let mut bench = Bench::new(LIMITS);
    for second in 0..5 {
        bench.tick(second);
        assert_eq!(bench.next(), Some(second));
        assert_eq!(bench.spooled(), 0);
        bench.delivered();
    }
    assert_eq!(bench.next(), None);
    assert_eq!(bench.queue.counts.delivered, 50);
}

#[test]
fn what_is_still_on_its_way_at_the_next_collection_is_kept_with_it() {
    let mut bench = Bench::new(LIMITS);
    bench.tick(0);
    assert_eq!(bench.next(), Some(0));
    bench.tick(1);
    assert_eq!(
        (bench.spooled(), bench.queue.held()),
        (2, 0),
        "both would survive a kill"
    );
    bench.delivered();
    assert_eq!(bench.spooled(), 1, "the one in flight was taken");
    assert_eq!(bench.drain(), [1], "and is not sent again");
    bench.tick(2);
    assert_eq!((bench.spooled(), bench.queue.held()), (0, 1), "all is well again");
}

#[test]
fn collections_close_together_wait_in_memory() {
    let mut bench = Bench::new(LIMITS);
    let now = bench.start;
    for millis in [0, 10, 20, 400] {
        let one = vec![request(Signal::Metrics, millis, 1)];
        let at = now + Duration::from_millis(millis);
        bench.queue.push(one, (at, 0), &mut bench.backlog);
    }
    assert_eq!((bench.spooled(), bench.queue.held()), (0, 4));
    assert_eq!(bench.drain(), [0, 10, 20, 400]);
}

#[test]
fn a_receiver_that_is_away_gets_everything_in_order_when_it_is_back() {
    let mut bench = Bench::new(LIMITS);
    bench.tick(0);
    assert_eq!(bench.next(), Some(0));
    bench.failed(false);
    for second in 1..4 {
        bench.tick(second);
    }
    assert_eq!((bench.spooled(), bench.queue.held()), (4, 0));
    assert!(bench.queue.is_away());
    assert_eq!(bench.next(), Some(0), "the oldest first");
    bench.failed(true);
    assert_eq!(bench.next(), Some(0), "again");
    bench.delivered();
    bench.tick(4);
    assert_eq!(bench.drain(), [1, 2, 3, 4], "what is fresh queues behind");
    let counts = Counts {
        delivered: 50,
        repeated: 1,
        failures: 2,
        ..Counts::default()
    };
    assert_eq!(bench.queue.counts, counts);
    assert!(!bench.queue.is_away());
    assert_eq!(bench.spooled(), 0);
}

#[test]
fn what_may_have_arrived_once_may_be_a_duplicate_ever_after() {
    let mut bench = Bench::new(LIMITS);
    // Nothing can be kept on disk at first, so that it is held when it is sent again.
    let mut memory = Backlog::open(None, LIMITS, 0);
    bench.tick(0);
    assert!(bench.queue.next(&mut memory).expect("memory works").is_some());
    bench.queue.failed(true, 0, &mut memory);
    assert!(bench.queue.next(&mut memory).expect("memory works").is_some());
    assert_eq!(bench.queue.counts.repeated, 1);
    bench.tick(1);
    assert_eq!(bench.spooled(), 2, "moved while it is being sent");
    bench.failed(false);
    assert_eq!(bench.next(), Some(0));
    assert_eq!(
        bench.queue.counts.repeated, 2,
        "the first attempt is not forgotten"
    );
}

#[test]
fn a_kill_loses_what_is_in_memory_and_nothing_else() {
    let mut bench = Bench::new(LIMITS);
    bench.tick(0);
    bench.next();
    bench.failed(false);
    bench.tick(1);
    bench.tick(2);
    assert_eq!(bench.next(), Some(0));
    bench.delivered();
    assert_eq!(bench.next(), Some(1), "in flight when the kill comes");
    let Bench {
        folder,
        backlog,
        queue,
        ..
    } = bench;
    drop((backlog, queue));
    let mut bench = Bench {
        queue: Queue::new(LANE.to_owned()),
        backlog: Backlog::open(Some(&folder.spool()), LIMITS, 0),
        start: Instant::now(),
        folder,
    };
    bench.tick(3);
    assert_eq!(bench.drain(), [1, 2, 3], "the one in flight may arrive twice");
    assert_eq!(bench.queue.counts.repeated, 1, "which is counted");
}

#[test]
fn what_the_receiver_will_never_take_does_not_hold_up_the_rest() {
    let mut bench = Bench::new(LIMITS);
    bench.tick(0);
    bench.tick(1);
    assert_eq!(bench.next(), Some(0));
    bench.queue.refused(&mut bench.backlog);
    assert_eq!(bench.next(), Some(1));
    bench.queue.delivered(3, &mut bench.backlog);
    assert_eq!(bench.next(), None);
    let counts = Counts {
        delivered: 7,
        refused: 13,
        failures: 1,
        ..Counts::default()
    };
    assert_eq!(bench.queue.counts, counts);
}

#[test]
fn without_a_spool_memory_is_used_and_the_one_in_flight_is_never_dropped() {
    let mut queue = Queue::new(LANE.to_owned());
    let mut backlog = Backlog::open(None, LIMITS, 0);
    let now = Instant::now();
    for second in 0..3 {
        let one = vec![request(Signal::Metrics, second, 1)];
        queue.push(one, (now + Duration::from_secs(second), 0), &mut backlog);
    }
    let first = queue
        .next(&mut backlog)
        .expect("memory works")
        .expect("three wait");
    assert_eq!(first.time, 0);
    assert_eq!(queue.oldest_held(), Some(SECOND));
    queue.drop_oldest_held();
    queue.failed(false, 0, &mut backlog);
    let mut seconds = Vec::new();
    while let Some(request) = queue.next(&mut backlog).expect("memory works") {
        assert_eq!(request.body, format!("collection {}", request.time / SECOND));
        seconds.push(request.time / SECOND);
        queue.delivered(0, &mut backlog);
    }
    assert_eq!(seconds, [0, 2]);
    assert_eq!((queue.counts.dropped_space, queue.counts.delivered), (1, 2));
    assert_eq!(backlog.waiting(LANE), Tally::default());
}

#[test]
fn a_full_spool_drops_the_oldest_and_counts_it() {
    let mut bench = Bench::new(Limits {
        bytes: 1_500,
        ..LIMITS
    });
    bench.tick(0);
    bench.next();
    bench.failed(false);
    for second in 1..100 {
        bench.tick(second);
    }
    let kept = bench.spooled();
    assert!((2..50).contains(&kept), "{kept}");
    let seconds = bench.drain();
    let expected: Vec<u64> = (100 - kept..100).collect();
    assert_eq!(seconds, expected, "the newest, in order");
    assert_eq!(
        bench.queue.counts.dropped_space + bench.queue.counts.delivered,
        1_000,
        "each is in one count"
    );
}

#[test]
fn a_closed_lane_keeps_nothing() {
    let mut bench = Bench::new(LIMITS);
    bench.tick(0);
    bench.tick(1);
    bench.next();
    bench.queue.close(&mut bench.backlog);
    bench.tick(2);
    assert_eq!(bench.next(), None);
    assert!(bench.queue.is_empty(&bench.backlog));
    assert_eq!(bench.spooled(), 0);
    let counts = Counts {
        unsupported: 30,
        ..Counts::default()
    };
    assert_eq!(bench.queue.counts, counts, "and says how much it was");
}
