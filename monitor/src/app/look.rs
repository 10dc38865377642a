//! One look at the host over a window. Where it keeps totals, each plugin has two groups: one that goes on from the last
//! run, and one that shows the window by itself, as if there had been no other run.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::time::{Instant, sleep_until};

use super::{
    busiest::Before,
    exports::Began,
    faulty_files,
    keeper::{self, Claimed, Collected, Compared, Keeper, Kept, Outgoing},
    output::{self, Clocks},
    sources::Sources,
    times::CollectionTimes,
    watch::{Next, Origin, Watch},
};
use crate::{
    config::Loaded,
    export::{Collection, Continued, HostIdentity, LastRun, UnixClock},
    plugin::{GroupId, KeptGroup, Plugin, Reading},
    procfs::HostReader,
};

/// Events are taken this often while the window is open.
const DRAIN: Duration = Duration::from_millis(20);

/// A run with a longer window is not waited for by whoever wants its state.
const SHORT: Duration = Duration::from_secs(3);

/// A look, begun.
pub(super) struct Look {
    pub(super) watch: Watch,
    /// `None`: nothing is kept.
    keeper: Option<Keeper>,
    times: CollectionTimes,
    /// For starts of series.
    clock: UnixClock,
    /// For when something happened.
    wall: UnixClock,
    /// For starts of processes.
    boot: UnixClock,
    faulty: Vec<String>,
    /// The groups that show the window.
    windows: Vec<GroupId>,
    /// The groups that go on, in the same order; none where nothing is kept.
    totals: Vec<GroupId>,
    /// What the last run kept of those.
    before: Vec<(GroupId, Reading)>,
    /// The last run's collection (Unix ns), and whether the host has not booted since.
    last: Option<(u64, bool)>,
    /// What members had used when the window began.
    began: Option<Before>,
}

impl Look {
    /// Opens the state where one is kept, and the source; takes the first reading, from which rates are measured.
    ///
    /// # Errors
    /// The source does not work.
    pub(super) fn start(
        sources: &Sources,
        mut loaded: Loaded,
        claimed: Claimed,
        host: &HostIdentity,
    ) -> Result<Self> {
        let args = sources.args();
        let faulty = faulty_files(&loaded);
        let now = output::unix_now();
        let (mut keeper, kept) = match claimed {
            Claimed::NotWanted => (None, Kept::default()),
            claimed => {
                let boot = keeper::this_boot(args.boot_id.as_deref(), &args.proc_root);
                let (keeper, kept) = Keeper::open(claimed, boot, now, &mut loaded.plugins, host);
                (keeper.path().is_some().then_some(keeper), kept)
            }
        };
        if args.window() <= SHORT
            && let Some(keeper) = &mut keeper
        {
            keeper.ending();
        }
        let outage = keeper.as_ref().and_then(Keeper::outage);
        let last = outage.map(|outage| (outage.from, outage.same_boot));
        let count = loaded.plugins.len();
        let (totals, windows) = if keeper.is_some() {
            (
                (0..count).map(GroupId).collect(),
                (count..2 * count).map(GroupId).collect(),
            )
        } else {
            (Vec::new(), (0..count).map(GroupId).collect::<Vec<_>>())
        };
        let before = before(&kept, &loaded.plugins);
        let mut plugins = loaded.plugins;
        if keeper.is_some() {
            plugins.extend(plugins.clone());
        }
        let compared = keeper.is_some().then(|| Compared {
            last: last.map(|(time, _)| time),
            left_at: keeper.as_ref().and_then(Keeper::left_at),
            same_boot: last.is_some_and(|(_, same_boot)| same_boot),
            windows: windows.clone(),
        });
        let kept = Kept { compared, ..kept };
        let watch = Watch::start(Origin::from(args), plugins, &kept)?;
        if let Some(keeper) = &mut keeper {
            keeper.attached(output::unix_now(), HostReader::now());
            keeper.offer_original(sources.environment());
        }
        let boot = output::boot_clock();
        let boot = keeper.as_mut().map_or(boot, |keeper| keeper.boot_clock(boot));
        let earlier = keeper.as_ref().map(Keeper::earlier_times).unwrap_or_default();
        let times = CollectionTimes::new(earlier, output::boot_clock(), HostReader::now());
        let mut look = Self {
            watch,
            keeper,
            clock: times.clock(),
            wall: output::clock(),
            times,
            boot,
            faulty,
            windows,
            totals,
            before,
            last,
            began: None,
        };
        look.watch.collect(&look.all());
        look.began = Some(Before::of(&look.watch, &look.windows));
        if look.keeper.is_some() {
            // What nobody saw between the runs makes the totals incomplete, not the window.
            look.watch.close_intervals(&look.windows, Next::Comes);
        }
        Ok(look)
    }

    fn all(&self) -> Vec<GroupId> {
        self.totals.iter().chain(&self.windows).copied().collect()
    }

    /// The plugins, each once.
    pub(super) fn window_plugins(&self) -> impl Iterator<Item = (GroupId, &Arc<Plugin>)> {
        self.watch
            .plugins()
            .filter(|(group, _)| self.windows.contains(group))
    }

    /// Follows events until the window ends.
    pub(super) async fn wait(&mut self, window: Duration) {
        let end = Instant::now() + window;
        while Instant::now() < end {
            let sample = self.watch.next_sample().map_or(end, Instant::from_std);
            sleep_until(end.min(sample).min(Instant::now() + DRAIN)).await;
            self.watch.drain();
            self.watch.take_samples();
        }
    }

    /// The window's collection, and the totals' where they are kept.
    pub(super) fn collect(&mut self) -> (Collection, Option<Collection>) {
        let all = self.all();
        let cpu = output::cpu_time();
        let services = self.watch.collect(&all);
        let tick_cpu = output::cpu_time().saturating_sub(cpu);
        let (windows, totals) = services
            .into_iter()
            .partition(|service| self.windows.contains(&service.group));
        let clocks = Clocks {
            clock: self.clock,
            boot: self.boot,
            wall: self.wall,
        };
        let time = self.times.next(output::boot_clock(), HostReader::now());
        let offset = self.times.offset();
        let mut window = output::assemble(
            &mut self.watch,
            windows,
            &self.windows,
            clocks,
            &self.faulty,
            Next::Never,
        );
        window.tick_cpu = tick_cpu;
        (window.time, window.health.clock_offset) = (time, offset);
        let Some(keeper) = &self.keeper else {
            return (window, None);
        };
        let mut kept = output::assemble(
            &mut self.watch,
            totals,
            &self.totals,
            clocks,
            &self.faulty,
            Next::Never,
        );
        kept.tick_cpu = tick_cpu;
        (kept.time, kept.health.clock_offset) = (time, offset);
        (kept.health.outages, kept.health.outage_ns) = keeper.outages();
        (window, Some(kept))
    }

    /// Names the busiest members of each service in the window's collection; all members where `all` are asked for.
    pub(super) fn name_busiest(&self, window: &mut Collection, root: &Path, all: bool) {
        if let Some(began) = &self.began {
            for service in &mut window.services {
                began.name_busiest(&self.watch, root, service, all);
            }
        }
    }

    /// Commits the totals, before they are printed and exported.
    pub(super) fn commit(&mut self, kept: &Collection) {
        let Some(keeper) = &mut self.keeper else { return };
        let notices = self.watch.take_notices();
        let saved = self.watch.saved(&self.totals, self.clock, self.wall);
        let collected = Collected {
            time: kept.time,
            times: self.times.clock(),
            boot: self.boot,
            wall: self.wall,
            is_durable: true,
        };
        let happened = Outgoing {
            time: kept.time,
            collection: None,
            notices,
            began: Began::now(),
            progress: None,
            is_committed: false,
        };
        // Written by the time that this returns: nothing waits for it.
        let _: Option<Box<Outgoing>> = keeper.commit(collected, saved, Box::new(happened));
    }

    /// Whether the totals are in the store.
    pub(super) fn has_kept(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| !keeper.is_failing())
    }

    /// What `kept` goes on from.
    pub(super) fn continued<'a>(&'a self, kept: &'a Collection) -> Continued<'a> {
        Continued {
            kept,
            last: self.last.map(|(time, same_boot)| LastRun {
                time,
                same_boot,
                totals: &self.before,
            }),
        }
    }
}

/// The totals that were kept of each group.
fn before(kept: &Kept, plugins: &[Plugin]) -> Vec<(GroupId, Reading)> {
    let of = |(group, kept): &(GroupId, KeptGroup)| {
        let aggregate = plugins.get(group.0)?.aggregate;
        Some((*group, kept.saved.reading(aggregate)))
    };
    kept.groups.iter().filter_map(of).collect()
}
