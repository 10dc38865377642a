//! Standard output, written by a thread of its own: a reader that does not read must not hold the events up.

use std::{thread::JoinHandle, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::app::output;

/// Batches of lines that wait for a slow reader: about three seconds of them. Further ones are left out and counted.
const WAITING: usize = 64;

/// The thread, and the way to it.
pub(super) struct Printer {
    queue: mpsc::Sender<String>,
    thread: JoinHandle<()>,
}

impl Printer {
    pub(super) fn start() -> Result<Self> {
        let (queue, mut waiting) = mpsc::channel::<String>(WAITING);
        let thread = std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                while let Some(lines) = waiting.blocking_recv() {
                    match output::write(&lines) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(error) => {
                            eprintln!("kevmon: standard output: {error}");
                            break;
                        }
                    }
                }
            })
            .context("a thread for standard output")?;
        Ok(Self { queue, thread })
    }

    /// Hands over lines that are ready to be shown; false when the reader is too slow for them.
    pub(super) fn push(&self, lines: String) -> bool {
        !matches!(
            self.queue.try_send(lines),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }

    /// Completes when nobody reads any more.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Waits until all lines are written, for `limit` at most.
    pub(super) async fn finish(self, limit: Duration) {
        drop(self.queue);
        let end = Instant::now() + limit;
        while !self.thread.is_finished() && Instant::now() < end {
            sleep(Duration::from_millis(2)).await;
        }
    }
}
