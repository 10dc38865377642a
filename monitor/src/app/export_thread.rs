//! The thread of all exports: senders, their spool, the page for Prometheus. Whatever a receiver, a disk or a scraper
//! makes it wait for, the loop does not.

use std::{
    io,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::health::Pulse;

/// Threads that look host names up, which is all that blocks; they are started when one is needed …
const RESOLVERS: usize = 16;
/// … and end after this long without work.
const KEEP_RESOLVERS: Duration = Duration::from_secs(1);

/// The thread, which ends with it.
pub(super) struct ExportThread {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    pulse: Pulse,
}

impl ExportThread {
    /// # Errors
    /// The system has no thread or no descriptor left.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(RESOLVERS)
            .thread_keep_alive(KEEP_RESOLVERS)
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("kevmon-export".to_owned())
            .spawn(move || {
                // An error: its owner is gone, which is as good as told.
                let _ = runtime.block_on(ended);
                // A name server that does not answer would hold an ordinary shutdown up.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            end: Some(end),
            thread: Some(thread),
            pulse: Pulse::default(),
        })
    }

    /// Asks the thread whether it still moves.
    pub(super) fn ask(&self) -> Pulse {
        let answers = self.pulse.clone();
        if self.pulse.ask() {
            self.handle.spawn(async move { answers.answer() });
        }
        self.pulse.clone()
    }

    /// Where tasks are spawned that belong to exports.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for ExportThread {
    fn drop(&mut self) {
        /// One that waits for a disk is left to itself after this long.
        const ENDS_WITHIN: Duration = Duration::from_millis(500);
        self.end = None;
        let Some(ending) = self.thread.take() else { return };
        let begin = Instant::now();
        while !ending.is_finished() && begin.elapsed() < ENDS_WITHIN {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
