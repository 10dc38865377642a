//! Tells the programs that kevmon is there: they watch until a time that is moved on.
//!
//! The loop moves it on before it takes records, once a second at most, so that it knows at once of a time that had passed. A thread of its own moves it on
//! four times in `keep_watching`, for a loop that waits, as it does for disks at the start and at the end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aya::maps::{Array, MapData};
use kevmon_common::{READER_WATCHED_UNTIL, WATCHED_ALWAYS};
use tracing::{debug, warn};

use crate::health::Vital;

/// How often the loop moves the time on; a quarter of `keep_watching` where that is less.
const BEAT: Duration = Duration::from_secs(1);

/// Moves on the time until which the programs watch, from the loop and from a thread of its own, which ends with this value.
pub struct Heartbeat {
    watched: Arc<Mutex<Watched>>,
    /// Id of the ring that goes on without kevmon.
    pub ring: u32,
    /// Whether the time had passed that the kevmon before this one wrote last.
    pub had_lapsed: bool,
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts for programs that watch until the time in `until`, and `keep` beyond each beat.
    pub fn start(until: Array<MapData, u64>, keep: Duration, ring: u32) -> Self {
        let period = keep / 4;
        let told = until.get(&READER_WATCHED_UNTIL, 0).unwrap_or(0);
        let watched = Arc::new(Mutex::new(Watched {
            told,
            until,
            keep,
            at: Instant::now().checked_sub(BEAT).unwrap_or_else(Instant::now),
            lapses: 0,
        }));
        Self {
            watched,
            ring,
            had_lapsed: monotonic() > told,
            end: None,
            thread: None,
        }
        .with_thread(period)
    }

    fn with_thread(mut self, period: Duration) -> Self {
        let (end, ended) = mpsc::channel();
        let watched = Arc::clone(&self.watched);
        let beats = move || {
            let _vital = Vital("kevmon-heartbeat");
            while ended.recv_timeout(period) == Err(mpsc::RecvTimeoutError::Timeout) {
                lock(&watched).beat();
            }
        };
        match thread::Builder::new()
            .name("kevmon-heartbeat".to_owned())
            .spawn(beats)
        {
            Ok(thread) => (self.end, self.thread) = (Some(end), Some(thread)),
            Err(error) => {
                warn!("no thread to tell the programs that kevmon is there: {error}; the loop does it alone");
            }
        }
        self
    }

    /// Moves the time on where that is due.
    pub fn beat(&self) {
        lock(&self.watched).beat();
    }

    /// How often the time had passed before it was moved on.
    pub fn lapses(&self) -> u64 {
        lock(&self.watched).lapses
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic of it has been told
        }
    }
}

struct Watched {
    until: Array<MapData, u64>,
    keep: Duration,
    /// The time that was written last, ns of CLOCK_MONOTONIC.
    told: u64,
    /// When `told` was written.
    at: Instant,
    lapses: u64,
}

impl Watched {
    fn beat(&mut self) {
        if self.at.elapsed() < BEAT.min(self.keep / 4) {
            return;
        }
        let now = monotonic();
        self.lapses += u64::from(now > self.told);
        let until = after(now, self.keep);
        match self.until.set(READER_WATCHED_UNTIL, until, 0) {
            Ok(()) => self.told = until,
            Err(error) => debug!("the programs were not told that kevmon is there: {error}"),
        }
        self.at = Instant::now();
    }
}

/// Whoever panics with it ends kevmon.
fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time by CLOCK_MONOTONIC, ns.
pub fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// The time `keep` after `now`, ns; never [`WATCHED_ALWAYS`].
pub fn after(now: u64, keep: Duration) -> u64 {
    now.saturating_add(u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX))
        .min(WATCHED_ALWAYS - 1)
}
