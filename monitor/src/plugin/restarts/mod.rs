//! Pairs the ends of a group's roots with the starts that replace them. A pair is a *respawn*. Only roots are paired
//! (`group/roots.rs` brings them); a root that ends while a child of it lives hands its role to that child, and no end comes here.
//!
//! # What makes a pair
//!
//! An end and a start make a pair when they are of one program and not further apart than `restart_window`. Among several
//! ends that a start could replace, the one that fits best is taken: the surely same program before a perhaps same one, then
//! the same unit or container, then the same arguments, then the *latest* end. ADR 13 has the reasons, and `simulation` the
//! figures behind them. A `restart_window` of zero pairs nothing.
//!
//! A start may come before the end that it replaces (a rolling hand-over): up to [`OVERLAP`] before it, and only if the ended
//! root was that old by then, because roots that start together do not replace each other. Its downtime is 0.
//!
//! # States
//!
//! Records do not come in the order of their times: a successor may start before its predecessor ends, and after a loss an end
//! may be read long after the start that followed it. So unpaired starts are held as well as unpaired ends.
//!
//! | what comes | finds | becomes |
//! |---|---|---|
//! | a start ([`RestartPairing::start`]) | an end that fits | a respawn; the end is taken |
//! | | none, and events were lost within the window before it | [`Started::Unknown`] (`unpaired_starts`); not held |
//! | | none | [`Started::First`]; held until an end comes more than [`OVERLAP`] after it |
//! | an end ([`RestartPairing::end`]) | a held start that fits | a respawn; the start is taken |
//! | | none | held until a start comes more than `restart_window` after it: it lapses, the group was scaled down |
//! | another program executed by a root that replaced nothing ([`RestartPairing::unwrapped`]) | an end that fits | a respawn: the first program was a wrapper |
//! | | none | its held start is of the new program from now on |
//! | a root that a snapshot found ([`RestartPairing::found`]) | an end from before an outage, and before its start | no respawn, but the end is taken: it was replaced while nobody watched |
//!
//! An end that was *not seen* (found missing; no wait status) may be replaced by a start with an earlier time, as nobody knows
//! when it was. It gives no downtime, and is no crash.
//!
//! # Losses
//!
//! A lost record may have been the missing half of any pair. [`RestartPairing::blur`] drops all held ends and starts, and what
//! starts within the window of it without an end seen since is unknown: it is counted apart, and never guessed (ADR 7).
//! [`RestartPairing::blur_outage`] keeps the ends from before kevmon's outage: a start that follows one replaces it, or one that
//! was not seen, and is a restart either way.
//!
//! The latest [`SAVED`] unpaired ends are kept with every commit. A start that follows one over an outage is a respawn without
//! a downtime, unless the kernel side went on meanwhile ([`RestartPairing::restore`]).
//!
//! # Invariants
//!
//! - An end is paired with one start at most, and a start with one end: both are taken out when they are paired.
//! - [`HELD`] unpaired ends and as many starts of a group, about 400 bytes each, and the crashes of [`crashes::PROGRAMS`]
//!   programs are held. Where a list is full, the user with most entries gives up the oldest of them, so no user's entries crowd
//!   out another's.

mod crashes;
mod held;
mod root;

use std::{sync::Arc, time::Duration};

use crashes::Crashes;
use held::Held;
use root::Fit;
pub use root::RootIdentity;

use super::{Predecessor, SavedEnd};
use crate::process::{BootTime, Ending, ProcessKey, Program};

/// A start this long before its predecessor's end still replaces it (a rolling hand-over); its downtime is 0.
pub const OVERLAP: Duration = Duration::from_secs(1);

/// Unpaired starts or ends held at most; the oldest of the user who has most are given up first.
const HELD: usize = 1024;

/// Unpaired ends of a group that outlive kevmon.
const SAVED: usize = 64;

/// The start of a root.
#[derive(Debug, Clone)]
pub struct RootStart {
    /// The process that started.
    pub key: ProcessKey,
    /// When it started as a member.
    pub time: BootTime,
    /// The program that it runs, and what else tells roots apart.
    pub identity: Arc<RootIdentity>,
}

/// The end of a root that left no heir.
#[derive(Debug, Clone)]
pub struct RootEnd {
    /// The process that ended.
    pub key: ProcessKey,
    /// When it ended, or was found missing.
    pub time: BootTime,
    /// Since when it had been a root.
    pub since: BootTime,
    /// How it ended; unknown for one that was found missing.
    pub ending: Ending,
    /// The program it ran when it became a root, and what else tells roots apart.
    pub first: Arc<RootIdentity>,
    /// The program it ran in the end: another one than at first where a wrapper gave way to what it wraps.
    pub last: Arc<RootIdentity>,
    /// kevmon was away since then, so that the time from this end to the next start is no downtime.
    pub before_outage: bool,
}

/// A start that took an ended root's place.
#[derive(Debug, Clone)]
pub struct Replaced {
    /// The root that started.
    pub successor: RootStart,
    /// The root that ended.
    pub predecessor: Predecessor,
    /// From the end to the start, zero for a rolling hand-over; `None` where the end was not seen, or kevmon was away in
    /// between.
    pub downtime: Option<Duration>,
}

/// What a start is in the light of what is known of ends.
#[derive(Debug)]
pub enum Started {
    /// It replaces no end that is known; an end soon after it may still pair with it.
    First,
    /// It takes an ended root's place.
    Replaces(Box<Replaced>),
    /// Events were lost within the window before it: whether it replaces a root is not known.
    Unknown,
}

/// The unpaired starts and ends of one group, each in the order of their times.
#[derive(Debug)]
pub struct RestartPairing {
    window: Duration,
    ends: Held<RootEnd>,
    starts: Held<RootStart>,
    /// When events were lost last: what starts within the window and replaces no end that was seen since may replace one
    /// that was not seen.
    blurred: Option<BootTime>,
    crashes: Crashes,
}

impl RestartPairing {
    /// Pairs within `window`; where that is zero, never, not even what hands over.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            ends: Held::default(),
            starts: Held::default(),
            blurred: None,
            crashes: Crashes::default(),
        }
    }

    /// Changes `restart_window`. What is held stays.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// A root started. Returns whether it replaces one that ended.
    pub fn start(&mut self, start: RootStart) -> Started {
        match self.replaces(&start) {
            Some(replaced) => Started::Replaces(Box::new(replaced)),
            None if self.blurred.is_some_and(|at| start.time.since(at) <= self.window) => Started::Unknown,
            None => {
                self.starts.hold(start, HELD);
                Started::First
            }
        }
    }

    /// A root that started as something else, and replaced nothing as that, executed another program: the first one was a
    /// wrapper. Returns the restart if it replaces a root as what it is now. `start` has the time of its start.
    pub fn unwrapped(&mut self, start: &RootStart) -> Option<Replaced> {
        let replaced = self.replaces(start);
        let held = self.starts.iter().position(|held| held.key == start.key);
        if let Some(position) = held {
            if replaced.is_some() {
                self.starts.remove(position);
            } else if let Some(held) = self.starts.get_mut(position) {
                held.identity = Arc::clone(&start.identity);
            }
        }
        replaced
    }

    /// Takes the end whose place `start` takes.
    fn replaces(&mut self, start: &RootStart) -> Option<Replaced> {
        while self
            .ends
            .front()
            .is_some_and(|end| start.time.since(end.time) > self.window)
        {
            self.ends.remove(0);
        }
        let position = self.best_end(start)?;
        let end = self.ends.remove(position)?;
        Some(self.pair(end, start.clone()))
    }

    /// The latest of the ends that fit best.
    fn best_end(&self, start: &RootStart) -> Option<usize> {
        let possible = start.identity.best_fit();
        let mut best: Option<(Fit, usize)> = None;
        for (position, end) in self.ends.iter().enumerate().rev() {
            let Some(fit) = fit(start, end).filter(|_| self.in_time(start.time, end)) else {
                continue;
            };
            if best.is_none_or(|(known, _)| fit > known) {
                best = Some((fit, position));
            }
            if fit == possible {
                break;
            }
        }
        best.map(|(_, position)| position)
    }

    /// Whether a root that started at `start` can have taken the place of one that ended so. Only a root that was
    /// established by then (for [`OVERLAP`] at least) has a successor that starts before its end: roots that start together
    /// are no replacements of each other.
    fn in_time(&self, start: BootTime, end: &RootEnd) -> bool {
        // Of a root that was found missing, an earlier run of kevmon may have known before this one did.
        let since = if end.is_seen() {
            end.since
        } else {
            end.since.min(end.key.start)
        };
        if self.window.is_zero() || start <= since || start.since(end.time) > self.window {
            return false;
        }
        let hand_over = end.time.since(start) <= OVERLAP && start.since(since) >= OVERLAP;
        // Of an end that was not seen, nobody knows how long before it was.
        start >= end.time || hand_over || !end.is_seen()
    }

    /// A root ended. Returns the restart if a start has taken its place already: one shortly before its end, or one that was
    /// told first.
    pub fn end(&mut self, end: RootEnd) -> Option<Replaced> {
        while self
            .starts
            .front()
            .is_some_and(|start| end.time.since(start.time) > OVERLAP)
        {
            self.starts.remove(0);
        }
        let mut best: Option<(Fit, usize)> = None;
        for (position, start) in self.starts.iter().enumerate() {
            let Some(fit) = fit(start, &end).filter(|_| end.is_seen() && self.in_time(start.time, &end))
            else {
                continue;
            };
            if best.is_none_or(|(known, _)| fit > known) {
                best = Some((fit, position));
            }
        }
        match best.and_then(|(_, position)| self.starts.remove(position)) {
            Some(start) => Some(self.pair(end, start)),
            None => {
                self.ends.hold(end, HELD);
                None
            }
        }
    }

    fn pair(&mut self, end: RootEnd, successor: RootStart) -> Replaced {
        if end.is_seen() && !end.ending.reason().is_success() {
            self.crashes
                .note(&end.last.program, end.last.user, successor.time);
        }
        let ago = end.is_seen().then(|| successor.time.since(end.time));
        Replaced {
            downtime: ago.filter(|_| !end.before_outage),
            successor,
            predecessor: Predecessor {
                key: end.key,
                name: Arc::clone(&end.last.name),
                ending: end.ending,
                ago,
            },
        }
    }

    /// A snapshot found a root that had started at `key.start`. Where it did so while kevmon was away, it took the place of
    /// a root that had ended before: what starts from now on replaces another one.
    pub fn found(&mut self, key: ProcessKey, identity: &Arc<RootIdentity>) {
        let found = RootStart {
            key,
            time: key.start,
            identity: Arc::clone(identity),
        };
        if let Some(position) = self.best_end(&found)
            && let Some(end) = self.ends.get(position)
            && end.before_outage
            && end.time < key.start
        {
            self.ends.remove(position);
        }
    }

    /// Starts or ends were lost until `now`: what is unpaired may have been paired by them.
    pub fn blur(&mut self, now: BootTime) {
        self.ends.clear();
        self.blur_starts(now);
    }

    /// kevmon was away until `now`, or has just found out what ended meanwhile. A start that follows an end from before
    /// replaces it or one that was not seen: a restart either way.
    pub fn blur_outage(&mut self, now: BootTime) {
        self.ends.retain(|end| end.before_outage);
        self.blur_starts(now);
    }

    fn blur_starts(&mut self, now: BootTime) {
        self.starts.clear();
        self.blurred = self.blurred.max(Some(now));
    }

    /// The latest of the ends that nothing has replaced yet, [`SAVED`] at most, oldest first.
    pub fn saved(&self) -> Vec<SavedEnd> {
        self.ends.latest(SAVED).into_iter().map(RootEnd::saved).collect()
    }

    /// Goes on from the ends that an earlier run of this boot kept. `blurred`: until when nobody watched; `None`: somebody did.
    pub fn restore(&mut self, saved: &[SavedEnd], blurred: Option<BootTime>) {
        if let Some(now) = blurred {
            self.blur(now);
        }
        let ends = saved.iter().map(|end| RootEnd {
            before_outage: blurred.is_some(),
            ..RootEnd::restored(end)
        });
        self.ends = ends.collect();
    }

    /// Whether a program of the group is in a crash loop; see [`crashes::CRASHES`].
    pub fn in_crash_loop(&self, now: BootTime) -> bool {
        self.crashes.any_loop(now, self.window)
    }
}

impl RootEnd {
    /// Its time is when it ended, and not when it was found missing.
    fn is_seen(&self) -> bool {
        self.ending.status.is_some()
    }

    fn saved(&self) -> SavedEnd {
        SavedEnd {
            key: self.key,
            time: self.time,
            since: self.since,
            name: Arc::clone(&self.last.name),
            ending: self.ending.clone(),
            first: self.first.program.clone(),
            last: self.last.program.clone(),
            user: self.first.user,
        }
    }

    fn restored(saved: &SavedEnd) -> Self {
        let identity = |program: &Program| {
            let remembered = RootIdentity::remembered(&saved.name, &program.executable, program);
            Arc::new(remembered.run_by(saved.user))
        };
        Self {
            key: saved.key,
            time: saved.time,
            since: saved.since,
            ending: saved.ending.clone(),
            first: identity(&saved.first),
            last: identity(&saved.last),
            before_outage: true,
        }
    }
}

/// How well a start fits an end, as what the ended root was at first or in the end.
fn fit(start: &RootStart, end: &RootEnd) -> Option<Fit> {
    let as_first = start.identity.fit(&end.first);
    if Arc::ptr_eq(&end.first, &end.last) {
        return as_first;
    }
    as_first.max(start.identity.fit(&end.last))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
