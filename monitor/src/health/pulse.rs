//! Whether the threads that kevmon cannot do without still move.
//!
//! The loop asks each of the others every few seconds, by the way that work reaches the thread, and the thread answers once
//! it gets round to it. One question is open at a time, so that a stuck thread costs nothing. The loop itself is asked by
//! nobody: it notes the time each time it has drained the events.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// No question is open.
const ANSWERED: u64 = 0;

/// Answers for one thread. Cloning it shares it.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    /// When the open question was asked, ns of [`now`]; [`ANSWERED`] where none is.
    asked: Arc<AtomicU64>,
}

/// Since the first call, ns, and never 0. CLOCK_MONOTONIC: a suspended host makes no thread late.
fn now() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let since = BEGAN.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
}

impl Pulse {
    /// Opens a question; false where one is open already, and another must not be asked.
    pub fn ask(&self) -> bool {
        let opened = self
            .asked
            .compare_exchange(ANSWERED, now(), Ordering::Relaxed, Ordering::Relaxed);
        opened.is_ok()
    }

    /// The thread moves.
    pub fn answer(&self) {
        self.asked.store(ANSWERED, Ordering::Relaxed);
    }

    /// The thread moves, and is asked again from this moment on.
    pub fn beat(&self) {
        self.asked.store(now(), Ordering::Relaxed);
    }

    /// For how long the thread has owed an answer.
    fn owes_for(&self) -> Duration {
        match self.asked.load(Ordering::Relaxed) {
            ANSWERED => Duration::ZERO,
            asked => Duration::from_nanos(now().saturating_sub(asked)),
        }
    }
}

/// The threads that are looked after. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct Pulses {
    threads: Arc<Mutex<Vec<(&'static str, Pulse)>>>,
    /// A thread that owes an answer for longer is stuck.
    limit: Duration,
}

impl Pulses {
    /// No thread so far. A thread that owes an answer for longer than `limit` is stuck.
    pub fn new(limit: Duration) -> Self {
        Self {
            threads: Arc::default(),
            limit,
        }
    }

    /// Looks after the thread `name` too.
    pub fn add(&self, name: &'static str, pulse: Pulse) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push((name, pulse));
    }

    /// How long a thread may owe an answer.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The threads that are stuck.
    pub fn stuck(&self) -> Vec<&'static str> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let stuck = threads.iter().filter(|(_, pulse)| pulse.owes_for() > self.limit);
        stuck.map(|(name, _)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn a_thread_is_stuck_once_it_owes_an_answer_for_too_long() {
        const LIMIT: Duration = Duration::from_millis(100);
        let pulses = Pulses::new(LIMIT);
        let (quiet, asked, looping) = (Pulse::default(), Pulse::default(), Pulse::default());
        pulses.add("quiet", quiet);
        pulses.add("asked", asked.clone());
        pulses.add("looping", looping.clone());
        looping.beat();
        assert!(asked.ask());
        assert!(!asked.ask(), "one question at a time");
        sleep(LIMIT * 2);
        assert_eq!(pulses.stuck(), ["asked", "looping"], "nobody asked the quiet one");
        asked.answer();
        looping.beat();
        assert_eq!(pulses.stuck(), [""; 0]);
        assert!(asked.ask());
    }
}
