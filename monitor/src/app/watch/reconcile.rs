//! Brings the table into line with the host: at the start, after losses, and at each scan where there are no events.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::{
    Source, Watch,
    arguments::complete,
    facts::FactReader,
    verdicts::{judged_seen, say_verdict},
};
use crate::{
    health::Soft,
    process::{Arguments, BootTime, KeySet, Recovered, Seen},
    procfs::HostReader,
};

/// Drains of what the kernel side held: many more than a full ring takes.
const TAKEOVER_DRAINS: usize = 64;

/// Snapshots at the start until one shows nothing new; a fork bomb of matching processes is left to its events.
const SNAPSHOTS: usize = 8;

/// A process that a snapshot misses and whose end nobody has told may be on its way out: the kernel's last word
/// comes from RCU, 10 to 40 ms after it is reaped. So long it is waited for, in this many steps.
pub(in crate::app) const LAST_WORD: Duration = Duration::from_millis(20);
const LAST_WORDS: usize = 3;

/// Who was there, to be compared with who is known.
pub(super) struct Snapshot {
    present: KeySet,
    /// Of those, the ones that had ended and were not reaped.
    ended: Vec<Seen>,
    began: BootTime,
    /// How often last words were waited for.
    looks: usize,
}

/// What a snapshot brought.
struct Found {
    /// Processes of interest that were not known.
    new: usize,
    /// Known ones that the kernel side does not watch: its map was full.
    unmarked: usize,
}

impl Watch {
    /// Brings the table up to date: events, and a new snapshot when some of them were lost.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        match &self.source {
            Source::Proc(_) => self.scan(Some(self.scanned)),
            Source::Ebpf(_) => {
                self.recover();
                let Source::Ebpf(kernel) = &self.source else {
                    return Ok(());
                };
                let losses = kernel.losses();
                let lost = losses.total() + self.health.get(Soft::Undecodable);
                let names = losses.names() - std::mem::replace(&mut self.lost_names, losses.names());
                self.tracker.lose_names(names);
                if kernel.lapses() > self.lapses {
                    // What the programs did not see, no mark tells: everybody is judged again, and members are looked at.
                    self.lapses = kernel.lapses();
                    self.replanned = Some(HostReader::now());
                    self.tracker.unconfirm_all();
                }
                let unmarked = std::mem::take(&mut self.unmarked) > 0;
                let sweep = self.sweep_at.is_some_and(|at| HostReader::now() >= at);
                if lost == self.lost
                    && let Some(ticks) = self.losing.works(Instant::now())
                {
                    info!("no more records are lost; at {ticks} ticks some were");
                }
                if lost == self.lost && !sweep && !unmarked {
                    return Ok(());
                }
                if lost > self.lost {
                    if self.losing.fails(Instant::now()) {
                        warn!(
                            "{} records were lost; looking at every process again, now and after each further loss",
                            lost - self.lost
                        );
                    }
                    self.lost = lost;
                }
                let result = self.reconcile();
                if result.is_err() {
                    self.sweep_at = Some(HostReader::now()); // what was lost is still to be looked for
                }
                result
            }
        }
    }

    /// Brings the groups of the run before up to date with what the kernel side has told since, and then with the host.
    /// Records come first: they tell when something happened, and a snapshot only that it has.
    pub(super) fn take_over(&mut self) -> Result<()> {
        for _ in 0..TAKEOVER_DRAINS {
            if self.drain().all {
                break;
            }
        }
        self.recover();
        // The names of what the run before followed are in its memory, and that is gone: everybody is judged again, but for
        // those who took their names since the first record that was left. This run has taken theirs, or takes them still: one
        // may be on its way into the ring for as long as its processor is taken from it. Found by the snapshot they would
        // join, and not start.
        let since = self.first_taken.unwrap_or(self.drained_at);
        self.replanned = Some(since.min(self.drained_at));
        self.reconcile()
    }

    /// Snapshots until one shows no new match, then ends what it does not show.
    pub(super) fn reconcile(&mut self) -> Result<()> {
        // Passes without news until it is over. The pass after one with news puts on the marks, and a child forked before
        // its parent's mark was on may stand where that walk has been: hence another one.
        let mut quiet = 1;
        for _ in 0..SNAPSHOTS {
            let began = HostReader::now();
            let Source::Ebpf(kernel) = &mut self.source else {
                return Ok(());
            };
            let seen = kernel.snapshot().context("the process snapshot")?;
            let present: KeySet = seen.iter().map(|seen| seen.key).collect();
            let ended: Vec<Seen> = seen.iter().filter(|seen| seen.ended).cloned().collect();
            let found = self.discover(seen, None);
            self.unmarked = found.unmarked;
            quiet = if found.new + found.unmarked > 0 {
                2
            } else {
                quiet - 1
            };
            self.compared = Some(Snapshot {
                present,
                ended,
                began,
                looks: 0,
            });
            if quiet == 0 {
                break;
            }
        }
        self.replanned = None;
        while self.call_missing() && self.may_wait {
            std::thread::sleep(LAST_WORD);
        }
        Ok(())
    }

    /// From now on nothing is waited for: [`Watch::call_missing`] is called again.
    pub(in crate::app) fn never_wait(&mut self) {
        self.may_wait = false;
    }

    /// Ends what the last snapshot does not show, once its last words have been heard. Returns whether that is still to be
    /// done, [`LAST_WORD`] later.
    pub(in crate::app) fn call_missing(&mut self) -> bool {
        let Some(mut snapshot) = self.compared.take() else {
            return false;
        };
        // What ended before the snapshot has its record in the ring by now, or in the maps beside it.
        let all = self.recover();
        let is_missing = self.tracker.is_missing(&snapshot.present, snapshot.began);
        if all && is_missing && snapshot.looks < LAST_WORDS {
            snapshot.looks += 1;
            self.compared = Some(snapshot);
            return true;
        }
        let Snapshot {
            present,
            ended,
            began,
            ..
        } = snapshot;
        let now = HostReader::now();
        if all {
            self.tracker.end_seen(ended, now);
            self.tracker.end_missing(&present, began, now, true);
        }
        if let Source::Ebpf(kernel) = &mut self.source {
            let sweep_at = kernel.sweep(&present, began);
            // In a storm that outlasts the drain nothing can be called missing yet: again at the next collection.
            self.sweep_at = if all { sweep_at } else { Some(now) };
        }
        false
    }

    /// Makes losses good from what the kernel side kept, once everything that was told before has been taken. Returns
    /// whether that is so.
    fn recover(&mut self) -> bool {
        let Source::Ebpf(kernel) = &mut self.source else {
            return true;
        };
        let Recovered { ends, lives } = kernel.recover();
        self.recovered.ends.extend(ends);
        self.recovered.lives.extend(lives);
        let drained = self.drain();
        if drained.all {
            let Recovered { ends, lives } = std::mem::take(&mut self.recovered);
            // Of lives known by their sums alone this interval does not tell all.
            self.unclear += u64::from(!lives.is_empty());
            if self.tracker.facts_matter() {
                FactReader::of(&self.root, &mut self.source).learn_of_ends(&mut self.tracker, &ends);
            }
            self.tracker.recover(ends, &lives, HostReader::now());
            if let Source::Ebpf(kernel) = &mut self.source {
                kernel.note_recovered();
            }
        }
        drained.all
    }

    pub(super) fn scan(&mut self, new_since: Option<BootTime>) -> Result<()> {
        let began = HostReader::now();
        self.look_for_hidden();
        self.health.add(Soft::Hidden, u64::from(self.hidden.is_some()));
        let Source::Proc(proc) = &mut self.source else {
            return Ok(());
        };
        let seen = proc
            .scan(&mut self.health)
            .with_context(|| self.root.display().to_string())?;
        let present: KeySet = seen
            .iter()
            .filter(|seen| !seen.ended)
            .map(|seen| seen.key)
            .collect();
        // Ends first: what started since may have taken an ended one's place.
        self.tracker.end_missing(&present, began, began, false);
        self.discover(seen, new_since);
        self.scanned = began;
        Ok(())
    }

    fn discover(&mut self, seen: Vec<Seen>, new_since: Option<BootTime>) -> Found {
        let now = HostReader::now();
        let judged_before = self.replanned;
        let mut found = Found { new: 0, unmarked: 0 };
        for mut seen in seen {
            let known = self.tracker.knows(seen.key);
            // Of no interest to other plugins.
            let is_open = !known || self.tracker.is_unconfirmed(seen.key);
            let judged = is_open && judged_before.is_some_and(|at| named_before(&seen, at));
            if let Source::Ebpf(kernel) = &mut self.source {
                if !kernel.claim(seen.key) {
                    continue; // the kernel side tells its life
                }
                // A snapshot tells none.
                seen.identity.set_arguments(Arguments::unknown());
                let is_asked = judged || !seen.told;
                if is_asked && !seen.ended && self.tracker.is_news(&seen) {
                    let hidden = self.hidden.is_some();
                    // Another mark: what /proc shows may be of a program that it has executed since the snapshot.
                    if complete(&mut seen, &self.root, hidden).is_err()
                        || kernel.sequence(seen.key) != seen.sequence
                    {
                        // It ends or executes now, or a record tells what it has executed. One that is followed is looked at
                        // by another snapshot, at the latest.
                        found.unmarked += usize::from(known);
                        continue;
                    }
                }
            }
            let is_new = !known && (judged || !seen.told) && !seen.ended;
            if is_new && self.tracker.asks_for_facts(&seen.identity) {
                let facts = FactReader::of(&self.root, &mut self.source).read(seen.key, seen.facts);
                self.tracker.learn(seen.key, facts);
            }
            let verdict = self.verdicts_are_read.then(|| judged_seen(&self.tracker, &seen));
            let judgement = if judged {
                self.tracker.reconsider(&seen, now)
            } else {
                self.tracker.discover(&seen, now, new_since)
            };
            if let Some(verdict) = verdict.filter(|_| judgement.is_some()) {
                say_verdict(&mut self.verdict_log, &self.tracker, verdict);
            }
            if let Some(judgement) = judgement {
                found.new += usize::from(judgement.keep && !known);
                if let Source::Ebpf(kernel) = &mut self.source {
                    found.unmarked += usize::from(judgement.keep && known && seen.sequence.is_none());
                    kernel.judge(&judgement);
                }
            }
        }
        found
    }
}

/// Whether the process took its present names before `at`, and was judged by them.
fn named_before(seen: &Seen, at: BootTime) -> bool {
    seen.told && seen.sequence.is_some_and(|sequence| sequence < at.0)
}
