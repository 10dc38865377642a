//! The thread that has the store: a commit may wait for the disk, and the loop must not.
//!
//! What is exported comes after what is committed. So a collection goes through here on its way to the receivers, and
//! comes back once it is in the store, or once the store has refused it.

use std::{
    sync::mpsc as jobs,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::Outgoing;
use crate::{
    app::output::thread_cpu,
    health::{Pulse, Vital},
    store::{Commit, Store, StoreError},
};

/// Work for the thread.
enum Job {
    Commit(Box<Commit>, Box<Outgoing>),
    Other(Box<dyn FnOnce(&mut Store) + Send>),
}

/// A commit that was tried.
pub(super) struct Written {
    /// What came of it.
    pub(super) result: Result<(), StoreError>,
    /// CPU time that it took, ns.
    pub(super) cpu: u64,
    /// What waited for it.
    pub(super) outgoing: Box<Outgoing>,
}

/// The thread, which ends with it.
pub(super) struct Writer {
    jobs: Option<jobs::Sender<Job>>,
    written: mpsc::UnboundedReceiver<Written>,
    /// Commits under way.
    waiting: usize,
    thread: Option<JoinHandle<()>>,
    pulse: Pulse,
}

impl Writer {
    /// Gives the store to a thread of its own.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(mut store: Box<Store>) -> std::io::Result<Self> {
        let (jobs, work) = jobs::channel();
        let (tell, written) = mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("kevmon-state".to_owned())
            .spawn(move || serve(&mut store, &work, &tell))?;
        Ok(Self {
            jobs: Some(jobs),
            written,
            waiting: 0,
            thread: Some(thread),
            pulse: Pulse::default(),
        })
    }

    /// Asks the thread whether it still moves: it answers after all commits under way.
    pub(super) fn ask_thread(&self) -> Pulse {
        let answers = self.pulse.clone();
        if self.pulse.ask() {
            self.send(Job::Other(Box::new(move |_| answers.answer())));
        }
        self.pulse.clone()
    }

    /// Commits as soon as what came before is written.
    pub(super) fn commit(&mut self, commit: Commit, outgoing: Box<Outgoing>) {
        self.waiting += usize::from(self.send(Job::Commit(Box::new(commit), outgoing)));
    }

    /// Commits under way.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The next commit that has been tried; never where none is under way. Cancelled, it takes none.
    pub(super) async fn written(&mut self) -> Written {
        if self.waiting == 0 {
            return std::future::pending().await;
        }
        match self.written.recv().await {
            Some(written) => {
                self.waiting -= 1;
                written
            }
            None => std::future::pending().await,
        }
    }

    /// The same, waited for on this thread until `end`.
    pub(super) fn written_before(&mut self, end: Instant) -> Option<Written> {
        /// Looked for this often.
        const PAUSE: Duration = Duration::from_millis(2);
        while self.waiting > 0 {
            match self.written.try_recv() {
                Ok(written) => {
                    self.waiting -= 1;
                    return Some(written);
                }
                Err(mpsc::error::TryRecvError::Empty) if Instant::now() < end => thread::sleep(PAUSE),
                Err(_) => return None,
            }
        }
        None
    }

    /// What `of` says of the store, after all commits under way; nothing where the thread has ended, as kevmon does then.
    pub(super) fn ask<R: Send + 'static>(
        &mut self,
        of: impl FnOnce(&mut Store) -> R + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (answer, answered) = oneshot::channel();
        let job = move |store: &mut Store| {
            // Nobody waits any more where kevmon ends.
            let _ = answer.send(of(store));
        };
        self.send(Job::Other(Box::new(job)));
        answered
    }

    /// The same, where nobody asks what came of it.
    pub(super) fn tell(&mut self, of: impl FnOnce(&mut Store) + Send + 'static) {
        self.send(Job::Other(Box::new(of)));
    }

    /// False where the thread has ended, as kevmon does then.
    fn send(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

impl Drop for Writer {
    /// What was handed over is written first, unless the disk takes too long: that is left to itself then.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take().filter(|_| self.waiting == 0) {
            let _ = thread.join(); // a panic of it has been told
        }
    }
}

fn serve(store: &mut Store, work: &jobs::Receiver<Job>, tell: &mpsc::UnboundedSender<Written>) {
    let _vital = Vital("kevmon-state");
    while let Ok(job) = work.recv() {
        match job {
            Job::Commit(commit, outgoing) => {
                let began = thread_cpu();
                let result = store.commit(*commit);
                let written = Written {
                    result,
                    cpu: thread_cpu().saturating_sub(began),
                    outgoing,
                };
                // Nobody listens any more where kevmon ends.
                let _ = tell.send(written);
            }
            Job::Other(job) => job(store),
        }
    }
}
