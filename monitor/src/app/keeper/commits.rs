//! A collection on its way into the store, and from there to the receivers: it is committed before it is exported.
//!
//! # Why before
//!
//! A receiver must not be told a counter that the next run takes back. So the commit of a collection holds all that the
//! collection says: the groups' sums and members, rows of history, runs of collectors, and how far the kernel side's records have
//! been applied (`Progress`). It is one transaction.
//!
//! # The way of a collection
//!
//! ```text
//! collect ──► announce to the spool ──► commit ──► release the kernel's records ──► send, print, show
//! (loop)      (kevmon-export)           (kevmon-state)                                 (loop)
//! ```
//!
//! 1. The loop collects, and takes lifecycle events, groups and progress at one moment (`daemon/collecting.rs`, `collect`).
//! 2. It announces the collection's time to the thread `kevmon-export`, which notes it in the spool's file. The commit is handed over
//!    after that, and does not wait for the note.
//! 3. [`Keeper::commit`] hands commit and collection to the thread `kevmon-state` (writer.rs), which may wait for the disk. Commits are
//!    written in the order in which they were handed over.
//! 4. The collection comes back by [`Keeper::written`]. Only now are the records in the ring and the kept ends released, and
//!    the collection is exported.
//!
//! Between collections, what has happened is committed within 0.8 s (`commit_between`), with cumulative temporality only: deltas go on
//! from what was committed, so a commit without an export would lose them.
//!
//! # States of the store
//!
//! *here*: this thread has it and waits for it, from the start until [`Keeper::write_beside`], and in single runs. *writer*: the
//! thread has it. *none*: no store was asked for, or it could not be opened; then collections are exported at once, and counters
//! begin at 0 at the next start.
//!
//! # Failures
//!
//! | what fails | what happens |
//! |---|---|
//! | a commit (full disk, lock, I/O) | nothing of it is written, and the store keeps it in memory for the next commit. The collection is exported all the same, and counted in `store_failed`. With cumulative temporality records are not released, so that a kill now does not lose them |
//! | a kill before the commit | the next run goes on from the commit before. Records that were not released are read again. The collection is unconfirmed, once its time has been noted |
//! | a kill between commit and export | the next run has the counters; the collection is unconfirmed, once its time has been noted. Cumulative points show its growth later; a delta of it never reaches a receiver |
//! | a kill after a failed commit that was exported | the next run reads again what the kernel side holds; where it does not hold all, counters come back lower than told |
//! | a slow disk | collections wait for it, in order. With 32 of them no further one is made (`tick_skipped`); the next one has its growth |
//! | an end while the disk does not answer | commits that are not written in time are not exported, and the next run goes on from the one before |
//!
//! # Durability
//!
//! A commit of a collection waits for the disk (`synchronous = FULL`), so that a power cut does not undo it. Commits in between, and
//! all commits where a plugin's interval is below [`DURABLE_FROM`](super::DURABLE_FROM), do not: a power cut may undo the last ones, a kill none.

use std::{sync::Arc, time::Instant};

use tokio::sync::oneshot;
use tracing::{error, info};

use super::{Keeper, Place, writer::Written};
use crate::{
    app::exports::Began,
    export::{Collection, UnixClock},
    plugin::{GroupId, Notice, SavedGroup},
    process::{BootTime, Moment, Progress},
    store::{self, Commit, HistoryRow, Store, StoreError},
};

/// A collection to be committed, and its clocks.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct Collected {
    /// When it was made, Unix ns by `times`.
    pub(in crate::app) time: u64,
    /// Tells the times of collections.
    pub(in crate::app) times: UnixClock,
    /// Tells the starts of processes.
    pub(in crate::app) boot: UnixClock,
    /// Tells when something happened.
    pub(in crate::app) wall: UnixClock,
    /// A power cut after it does not undo it.
    pub(in crate::app) is_durable: bool,
}

/// A collection on its way to the receivers: it goes there once it is in the store.
pub(in crate::app) struct Outgoing {
    /// When it was committed, Unix ns by the clock of collections.
    pub(in crate::app) time: u64,
    /// Of the groups that were due; `None`: what happened, and no collection.
    pub(in crate::app) collection: Option<Collection>,
    /// What happened since the last one.
    pub(in crate::app) notices: Vec<Notice>,
    /// When it began.
    pub(in crate::app) began: Began,
    /// How far this collection has the kernel side's records; `None` where those do not outlive this run.
    pub(in crate::app) progress: Option<Progress>,
    /// Whether the store has it; false after a failed commit.
    pub(in crate::app) is_committed: bool,
}

impl Keeper {
    /// Commits what was collected. What could not be written is written by the next one that can. Returns what is to be
    /// exported now; what waits for the commit comes by [`Keeper::written`].
    pub(in crate::app) fn commit(
        &mut self,
        collected: Collected,
        groups: Vec<(GroupId, SavedGroup)>,
        outgoing: Box<Outgoing>,
    ) -> Option<Box<Outgoing>> {
        if self.store.is_none() {
            return Some(outgoing);
        }
        let Collected {
            time,
            times,
            boot,
            wall,
            is_durable,
        } = collected;
        let mut parents = self.names.of_commit(&outgoing.notices);
        let told = outgoing.notices.iter().filter_map(|notice| {
            let unix = |time| wall.unix(Moment::Boot(time));
            let mut row = HistoryRow {
                start_time: Some(boot.unix(notice.key.start)),
                ..HistoryRow::of(notice, self.keys.get(&notice.group)?, unix)
            };
            if let (Some(known), Some(parent)) = (notice.parent, &mut row.details.parent) {
                parent.name = parents.name_of(known);
            }
            Some(row)
        });
        let history = self.closed.drain(..).chain(told).collect();
        drop(parents);
        let groups = groups.into_iter();
        let commit = Commit {
            time,
            boot_began: Some(times.unix(BootTime(0))),
            groups: groups
                .filter_map(|(group, saved)| Some((Arc::clone(self.keys.get(&group)?), saved)))
                .collect(),
            history,
            runs: std::mem::take(&mut self.runs),
            progress: outgoing.progress.clone().map(|progress| Progress {
                groups: store::group_set(self.keys.values().map(|key| key.key.as_str())),
                ..progress
            }),
            is_durable: is_durable && !self.is_quick,
        };
        match &mut self.store {
            Some(Place::Writer(writer)) => {
                writer.commit(commit, outgoing);
                None
            }
            Some(Place::Here(store)) => {
                let result = store.commit(commit);
                let is_committed = result.is_ok();
                self.note(result);
                Some(Box::new(Outgoing {
                    is_committed,
                    ..*outgoing
                }))
            }
            None => Some(outgoing),
        }
    }

    /// What waited for the next commit that has been tried; never where none is under way. Cancelled, it takes none.
    pub(in crate::app) async fn written(&mut self) -> Box<Outgoing> {
        let Some(Place::Writer(writer)) = &mut self.store else {
            return std::future::pending().await;
        };
        let written = writer.written().await;
        self.note_written(written)
    }

    /// The same of all commits under way, for which this thread waits until `end`.
    pub(in crate::app) fn all_written(&mut self, end: Instant) -> Vec<Outgoing> {
        let mut all = Vec::new();
        while let Some(Place::Writer(writer)) = &mut self.store
            && let Some(written) = writer.written_before(end)
        {
            all.push(*self.note_written(written));
        }
        all
    }

    /// Commits under way.
    pub(in crate::app) fn under_way(&self) -> usize {
        match &self.store {
            Some(Place::Writer(writer)) => writer.waiting(),
            _ => 0,
        }
    }

    /// Notes what came of a commit, whose cost is the collection's.
    fn note_written(&mut self, written: Written) -> Box<Outgoing> {
        let Written {
            result,
            cpu,
            mut outgoing,
        } = written;
        outgoing.is_committed = result.is_ok();
        self.note(result);
        if let Some(collection) = &mut outgoing.collection {
            collection.tick_cpu += cpu;
        }
        outgoing
    }

    /// Counts and tells what came of a commit.
    fn note(&mut self, result: Result<(), StoreError>) {
        match result {
            Ok(()) => {
                self.unwritten = false;
                if let Some(failures) = self.failing.works(Instant::now())
                    && let Some(path) = self.path()
                {
                    info!(
                        "{}: the state is written again; {failures} commits had failed, and nothing is lost",
                        path.display()
                    );
                }
            }
            Err(reason) => {
                self.failures += 1;
                self.unwritten = true;
                if self.failing.fails(Instant::now()) {
                    error!("{reason}; trying again at every collection; nothing is lost until kevmon ends");
                }
            }
        }
    }

    /// What `of` says of the store, after all commits under way; an error without a store.
    pub(super) fn ask<R: Send + 'static>(
        &mut self,
        of: impl FnOnce(&mut Store) -> R + Send + 'static,
    ) -> oneshot::Receiver<R> {
        match &mut self.store {
            Some(Place::Writer(writer)) => writer.ask(of),
            Some(Place::Here(store)) => {
                let (answer, answered) = oneshot::channel();
                // Fails where nobody listens, who holds the other end.
                let _ = answer.send(of(store));
                answered
            }
            None => oneshot::channel().1,
        }
    }

    /// Completes once all commits that were handed over so far have been tried; at once without a store.
    pub(in crate::app) fn tried(&mut self) -> oneshot::Receiver<()> {
        self.ask(|_| ())
    }

    /// Has `of` done with the store, after all commits under way.
    pub(super) fn tell(&mut self, of: impl FnOnce(&mut Store) + Send + 'static) {
        match &mut self.store {
            Some(Place::Here(store)) => of(store),
            Some(Place::Writer(writer)) => writer.tell(of),
            None => {}
        }
    }
}
