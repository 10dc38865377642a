//! Takes the records that wait, and applies them in their order.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Drained, Source, Watch,
    facts::FactReader,
    live::Observed,
    titles,
    verdicts::{judged, say_verdict},
};
use crate::{
    kernel::KernelSource,
    plugin::Tracker,
    process::{BootTime, Event},
    procfs::{self, HostReader},
};

/// A drain ends after this long, so that a storm does not keep the ticks and signals waiting.
const DRAIN_FOR: Duration = Duration::from_millis(50);
/// Events between two looks at the clock.
const EVENTS_AT_ONCE: usize = 256;

impl Watch {
    /// All that happened before this time has been applied.
    pub(super) fn applied(&self) -> BootTime {
        match &self.source {
            Source::Ebpf(_) => self.drained_at,
            // A scan tells all at once.
            Source::Proc(_) => HostReader::now(),
        }
    }

    /// Takes the events that wait.
    pub fn drain(&mut self) -> Drained {
        let mut drained = Drained {
            taken: 0,
            of_interest: 0,
            all: true,
        };
        let (began, begins) = (Instant::now(), HostReader::now());
        let Source::Ebpf(kernel) = &mut self.source else {
            return drained;
        };
        kernel.beat();
        if self.detail.is_on() {
            self.detail.take_ends(kernel);
        }
        while let Some((mut event, ids)) = kernel.next_event(&mut self.health) {
            self.first_taken.get_or_insert(event.time());
            if matches!(event, Event::Rename { .. }) {
                complete_rename(&self.tracker, kernel, &self.root, &mut event);
            }
            titles::complete(&self.tracker, kernel, &self.root, &mut event);
            if self.tracker.facts_matter() {
                FactReader::new(&self.root, Some(kernel.cgroups())).learn(
                    &mut self.tracker,
                    &mut self.health,
                    &event,
                    ids,
                );
            }
            if let Event::Free { .. } = &event {
                self.ends.told += 1;
            }
            if self.detail.is_on() {
                self.detail.before(kernel, &mut self.tracker, &event);
            }
            let judged = self
                .verdicts_are_read
                .then(|| judged(&self.tracker, &event))
                .flatten();
            let observed = self
                .observed
                .is_some()
                .then(|| Observed::before(&self.tracker, &event, ids, kernel.cgroups()));
            let key = event.key();
            let was_known = self.tracker.knows(key);
            let judgement = self.tracker.apply_of(event, ids.uid);
            drained.of_interest += usize::from(was_known || self.tracker.knows(key));
            if let (Some(all), Some(observed)) = (&mut self.observed, observed) {
                all.push(observed.after(&self.tracker));
            }
            if let Some(judged) = judged {
                say_verdict(&mut self.verdict_log, &self.tracker, judged);
            }
            if let Some(judgement) = judgement {
                kernel.judge(&judgement);
            }
            drained.taken += 1;
            if drained.taken.is_multiple_of(EVENTS_AT_ONCE) && began.elapsed() > DRAIN_FOR {
                drained.all = false;
                break;
            }
        }
        if drained.all {
            self.drained_at = begins;
        }
        self.has_taken |= drained.taken > 0;
        self.look_at_starts();
        if let Source::Ebpf(kernel) = &mut self.source {
            for name in kernel.take_lost_names() {
                self.tracker.lose_name(&name);
            }
            kernel.flush(&mut self.health);
        }
        self.end_drain_of_threads(drained.all.then_some(begins));
        drained
    }
}

/// Adds to a rename what its record could not hold.
fn complete_rename(tracker: &Tracker, kernel: &mut KernelSource, root: &Path, event: &mut Event) {
    if let Event::Rename {
        key,
        threads,
        comm,
        unheard,
        found,
        usage,
        ..
    } = event
    {
        if *unheard {
            *found = procfs::identity(root, *key).ok();
        }
        // What is not known has been judged by all its names but this one.
        if tracker.is_unconfirmed(*key) {
            *found = procfs::identity(root, *key).ok();
        } else if !tracker.knows(*key) {
            if tracker.matches_name(comm) {
                *found = procfs::identity(root, *key).ok();
            }
        } else if threads.is_none_or(|threads| threads > 1)
            && let Ok(Some(sample)) = kernel.sample_one(*key)
        {
            // The record could not hold what the leader's siblings had used; a held name comes without usage.
            *usage = usage.at_least(&sample.usage);
        }
    }
}
