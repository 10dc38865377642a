//! What the daemon collects, on its way into the state and to the receivers.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::Daemon;
use crate::{
    app::{
        custom,
        exports::Began,
        keeper::{Collected, Outgoing},
        output::{self, Clocks, End},
    },
    export::{Collection, ServiceReading, Wall, event_text, json_line, transport::Signal},
    health::Soft,
    metrics::UNSUPPORTED,
    plugin::{GroupId, Notice, SavedGroup},
    procfs::HostReader,
};

/// The least time between two commits that the ring calls for. In a storm its room is given back without commits, and many
/// small ones cost more than they save.
pub(super) const BETWEEN_PRESSED: Duration = Duration::from_millis(250);

/// What has happened is committed so long after it was read, at the latest, however long the intervals are: a kill costs
/// no more than that.
pub(super) const COMMIT_WITHIN: Duration = Duration::from_millis(800);
/// Collections that wait for the disk; no further one is made until it has caught up.
const BEHIND: usize = 32;
/// Faulty plugin files are named in the log again after this long.
const NAME_FAULTY: Duration = Duration::from_secs(3600);
/// The soft failure that counts events which reach nobody.
const EVENT_DROPPED: &str = "event_dropped";

impl Daemon {
    /// Commits what has happened since the last collection, and tells its events.
    pub(super) fn commit_between(&mut self) {
        if self.keeper.under_way() > 0 {
            self.commit_at = Some(Instant::now() + COMMIT_WITHIN); // a slow disk: one after the other
            return;
        }
        self.commit_at = None;
        self.wall = self.wall.follow(output::clock());
        let time = self.times.next(output::boot_clock(), HostReader::now());
        let mut notices = self.watch.take_notices();
        self.recorder.note(&mut notices, &self.watch, self.wall);
        let outgoing = Outgoing {
            time,
            collection: None,
            notices,
            began: Began::now(),
            progress: self.watch.progress(),
            is_committed: false,
        };
        let mut saved = self.watch.saved(&[], self.clock, self.wall);
        for (group, saved) in &mut saved {
            self.series.keep(*group, saved);
        }
        self.exports.announce_events(&outgoing.notices, time);
        self.commit(saved, false, outgoing);
    }

    fn commit(&mut self, groups: Vec<(GroupId, SavedGroup)>, is_durable: bool, outgoing: Outgoing) {
        // A collection drains by itself: of what it took, too.
        self.keeper.read_names(self.watch.take_parents());
        let collected = Collected {
            time: outgoing.time,
            times: self.times.clock(),
            boot: self.boot,
            wall: self.wall,
            is_durable,
        };
        // Without a store nothing has to wait.
        if let Some(outgoing) = self.keeper.commit(collected, groups, Box::new(outgoing)) {
            self.send(*outgoing);
        }
    }

    /// Sends what has been committed.
    pub(super) fn send(&mut self, outgoing: Outgoing) {
        let Outgoing {
            time,
            collection,
            notices,
            began,
            progress,
            is_committed,
        } = outgoing;
        // With delta temporality, what receivers have must not be read again, even where the state lacks it.
        if let Some(progress) = progress.filter(|_| is_committed || !self.commits_between) {
            self.watch.release(&progress);
        }
        let clocks = (self.boot, self.wall);
        let plugin = |group: GroupId| {
            let services = collection.iter().flat_map(|collection| &collection.services);
            let of = services.filter(|service| service.group == group);
            let known = of.map(|service| Arc::clone(&service.plugin)).next();
            known.or_else(|| self.watch.plugin(group))
        };
        self.service.happened(&notices, plugin, clocks);
        let Some(collection) = collection else {
            self.exports.send_events(notices, (self.boot, self.wall), time);
            return;
        };
        let collection = Arc::new(collection);
        // Told only when it is on its way, or kept for a receiver that is away.
        log_collection(&collection, began.elapsed(), &notices);
        self.exports.send(&collection, notices);
        self.print(&collection);
        self.exports.observe(&collection, began);
        self.service.collected(&collection);
        self.empty.say(&collection);
    }

    /// Whether the disk is so far behind that a collection has to be left out.
    pub(super) fn is_behind(&mut self) -> bool {
        let is_behind = self.keeper.under_way() >= BEHIND;
        if is_behind {
            self.watch.health.count(Soft::TickSkipped);
        }
        if is_behind && !self.is_behind {
            warn!(
                "{BEHIND} collections wait for the disk of the state: no further one is made until it has caught up; \
                 nothing is lost, the next one has it"
            );
        }
        self.is_behind = is_behind;
        is_behind
    }

    /// `is_last`: the groups end with it.
    pub(super) fn collect_and_send(&mut self, due: &[GroupId], is_last: bool) {
        let began = Began::now();
        if !self.faulty.is_empty() && self.named_at.elapsed() > NAME_FAULTY {
            self.named_at = Instant::now();
            error!(
                "running without these plugin files, which have faults: {}",
                self.faulty.join(", ")
            );
        }
        if let Some(host) = self.host.renamed() {
            self.is_on(host);
        }
        self.collect(due, is_last, false, began);
    }

    /// Collects, and commits before anything is sent: what is told once must not be taken back by a restart. Returns the
    /// collection's time. `is_last`: the groups are not collected again. `is_final`: nothing is.
    pub(super) fn collect(&mut self, due: &[GroupId], is_last: bool, is_final: bool, began: Began) -> u64 {
        self.commit_at = None;
        self.wall = self.wall.follow(output::clock());
        let clocks = Clocks {
            clock: self.clock,
            boot: self.boot,
            wall: self.wall,
        };
        let end = match (is_final, is_last) {
            (true, _) => End::OfRun,
            (false, true) => End::OfPlugins,
            (false, false) => End::GoesOn,
        };
        let mut collection = output::collect(&mut self.watch, due, clocks, &self.faulty, end);
        // What this run leaves open the next one ends, which knows it from the store.
        let is_last = is_last || (is_final && !self.keeper.has_store());
        for service in &mut collection.services {
            service.is_last = is_last;
        }
        collection.time = self.times.next(output::boot_clock(), HostReader::now());
        collection.health.clock_offset = self.times.offset();
        custom::add(&mut self.collectors, &mut collection);
        let cpu = output::cpu_time();
        let mut notices = self.watch.take_notices();
        self.recorder.note(&mut notices, &self.watch, self.wall);
        let mut saved = self.watch.saved(due, self.clock, self.wall);
        for (group, saved) in &mut saved {
            match collection.services.iter().find(|service| service.group == *group) {
                Some(service) => self.series.note(saved, service, self.boot),
                None => self.series.keep(*group, saved),
            }
        }
        let progress = self.watch.progress();
        self.keeper.add_collector_runs(self.collectors.take_runs());
        self.exports.announce(collection.time);
        collection.tick_cpu += output::cpu_time().saturating_sub(cpu);
        (collection.health.outages, collection.health.outage_ns) = self.keeper.outages();
        collection
            .health
            .soft_failures
            .push(("store_failed", self.keeper.failures()));
        self.exports.read(&mut collection, &self.watch);
        self.say_what_was_dropped(&mut collection);
        let time = collection.time;
        let outgoing = Outgoing {
            time,
            collection: Some(collection),
            notices,
            began,
            progress,
            is_committed: false,
        };
        self.commit(saved, true, outgoing);
        time
    }

    /// Events that reach nobody: one line when it begins, and their number in `soft_failures` ever after.
    fn say_what_was_dropped(&mut self, collection: &mut Collection) {
        let left_out = collection.health.soft_failures.iter();
        let left_out = left_out.filter(|(kind, _)| *kind == EVENT_DROPPED);
        if self.left_out.begins(left_out.map(|(_, count)| count).sum()) {
            warn!(
                "more events than are held of one user's processes in a plugin (1,000 at once for the history, 4,096 with \
                 [events] enabled, and as many again in five seconds): the latest are left out of history and logs, not of \
                 the counters, and counted as {EVENT_DROPPED}"
            );
        }
        let logs = collection.health.exports.iter();
        let logs = logs.filter(|lane| lane.signal == Signal::Logs.name());
        let lost = logs.flat_map(|lane| lane.lost());
        let missed = lost.filter(|(reason, _)| *reason != UNSUPPORTED);
        let undeliverable = missed.map(|(_, count)| count).sum();
        if self.undeliverable.begins(undeliverable) {
            warn!(
                "events are not delivered: a receiver rejects them, or was away for too long and the oldest make \
                 room; they are counted as {EVENT_DROPPED}, and kevmon history has the latest"
            );
        }
        collection.health.add_soft_failures(EVENT_DROPPED, undeliverable);
    }

    fn print(&mut self, collection: &Collection) {
        if let Some(lines) = &mut self.lines
            && !lines.push(json_line(collection) + "\n")
        {
            self.watch.health.count(Soft::OutputDropped);
        }
    }
}

/// Lifecycle events of one collection that the debug log shows.
const EVENTS_SHOWN: usize = 50;

/// One debug line for a collection, and one for each event since the last.
fn log_collection(collection: &Collection, took: Duration, notices: &[Notice]) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let utc = |seconds: u64| Wall {
        hour: (seconds / 3600 % 24) as _,
        minute: (seconds / 60 % 60) as _,
        second: (seconds % 60) as _,
    };
    for notice in notices.iter().take(EVENTS_SHOWN) {
        let service = collection
            .services
            .iter()
            .find(|service| service.group == notice.group);
        let plugin = service.map(|service| &*service.plugin);
        debug!("event: {}", event_text(notice, plugin, collection.wall, utc));
    }
    if let Some(more @ 1..) = notices.len().checked_sub(EVENTS_SHOWN) {
        debug!("event: {more} further events of this collection are not shown; kevmon history has them");
    }
    let count =
        |service: &ServiceReading| format!("{} {}", service.plugin.label(), service.reading.process_count);
    let counts: Vec<String> = collection.services.iter().map(count).collect();
    debug!(
        "collected in {took:.1?} (CPU {:.1?}): processes: {}; {} lifecycle events; complete {}, totals {}",
        Duration::from_nanos(collection.tick_cpu),
        counts.join(", "),
        notices.len(),
        collection.health.complete,
        collection.health.complete_totals
    );
}

/// Tells when a count begins to grow, and not again while it grows on.
#[derive(Debug, Default)]
pub(super) struct Onset {
    count: u64,
    growing: bool,
}

impl Onset {
    fn begins(&mut self, count: u64) -> bool {
        let grows = count > self.count;
        self.count = count;
        let grew = std::mem::replace(&mut self.growing, grows);
        grows && !grew
    }
}

#[cfg(test)]
mod tests {
    use super::Onset;

    #[test]
    fn what_goes_on_is_said_once_and_again_when_it_comes_back() {
        let mut onset = Onset::default();
        let told = [0, 3, 5, 5, 5, 6].map(|count| onset.begins(count));
        assert_eq!(told, [false, true, false, false, false, true]);
    }
}
