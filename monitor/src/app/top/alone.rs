//! Frames of this process, which watches by itself, as `kevmon events` and `--run-once` do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::time::{Instant, sleep_until};

use super::{
    frame::{EventFrame, Frame, Members},
    source::Answer,
};
use crate::{
    app::{
        Exit,
        events::stream::{ShownArguments, Stream},
        keeper::Kept,
        output, report,
        sources::on_this_host,
        watch::{Origin, Watch},
    },
    cli::TopArgs,
    config::{self, Environment, accounting::ExactEnds},
    export::{LiveEvent, UnixClock, event_json},
    plugin::{GroupId, Plugin},
    procfs::HostReader,
};

/// Events are taken this often.
const DRAIN: Duration = Duration::from_millis(100);
/// Ended processes are given up, and what is kept open for them is closed, this often.
const TIDY: Duration = Duration::from_secs(5);
/// Events that wait for the next frame at most.
const WAITING: usize = 1_000;

/// A watch of its own.
pub(super) struct Alone {
    watch: Watch,
    stream: Stream,
    labels: BTreeMap<GroupId, (String, Arc<Plugin>)>,
    run: u64,
    /// For starts of processes.
    boot: UnixClock,
    /// For when something happened.
    wall: UnixClock,
    /// A frame is asked for, with these processes.
    asked: Option<Members>,
    drain_at: Instant,
    tidy_at: Instant,
    events: Vec<EventFrame>,
    number: u64,
    missed: u64,
}

impl Alone {
    /// Begins to watch; or what the command ends with, which has been said.
    ///
    /// # Errors
    /// The source is refused.
    pub(super) fn start(
        args: &TopArgs,
        environment: &Environment,
    ) -> Result<std::result::Result<Self, Exit>> {
        let sources = on_this_host(args.plugin_sources(), environment);
        let mut loaded = config::load(&sources, environment, &args.overrides(), None);
        let faults: Vec<_> = loaded.faults.iter().chain(loaded.idle.as_ref()).collect();
        if !faults.is_empty() {
            faults.into_iter().for_each(|fault| report(fault, true));
            return Ok(Err(Exit::Usage));
        }
        for plugin in &mut loaded.plugins {
            plugin.events = true;
        }
        let origin = Origin {
            exact_ends: ExactEnds::default(),
            ..Origin::of_command(args.source)
        };
        let root = origin.root.clone();
        let mut watch = Watch::start(origin, loaded.plugins, &Kept::default())?;
        watch.observe();
        let plugins = watch.plugins();
        let labels = plugins.map(|(group, plugin)| (group, (plugin.label(), Arc::clone(plugin))));
        Ok(Ok(Self {
            labels: labels.collect(),
            watch,
            stream: Stream::new(root, ShownArguments::None),
            run: HostReader::now().0,
            boot: output::boot_clock(),
            wall: output::clock(),
            asked: None,
            drain_at: Instant::now(),
            tidy_at: Instant::now() + TIDY,
            events: Vec::new(),
            number: 0,
            missed: 0,
        }))
    }

    pub(super) fn ask(&mut self, members: &Members) {
        self.asked = Some(members.clone());
        self.drain_at = Instant::now();
    }

    pub(super) async fn told(&mut self) -> Answer {
        loop {
            let sample = self.watch.next_sample().map(Instant::from_std);
            sleep_until(sample.map_or(self.drain_at, |at| at.min(self.drain_at))).await;
            self.watch.take_samples();
            if Instant::now() < self.drain_at {
                continue;
            }
            let all = self.watch.drain().all;
            self.drain_at = Instant::now() + if all { DRAIN } else { Duration::ZERO };
            self.take_events();
            if let Some(members) = self.asked.take() {
                return Answer::Frame(Box::new(self.frame(&members)));
            }
        }
    }

    fn frame(&mut self, members: &Members) -> Frame {
        if Instant::now() >= self.tidy_at {
            self.tidy_at = Instant::now() + TIDY;
            self.watch.collect(&[]);
        } else {
            self.watch.keep_up();
        }
        self.take_events();
        self.wall = self.wall.follow(output::clock());
        let looked = self.watch.look();
        let clocks = (self.boot, self.wall);
        let mut frame = Frame::of(&looked, self.run, output::unix_now(), clocks, members);
        frame.events = std::mem::take(&mut self.events);
        frame.events_missed = std::mem::take(&mut self.missed);
        frame
    }

    /// Takes what has been held for long enough to stand in its order.
    fn take_events(&mut self) {
        let plugin = |group: GroupId| self.labels.get(&group).map(|(_, plugin)| Arc::clone(plugin));
        for observed in self.watch.take_observed() {
            self.stream.observe(observed, plugin);
        }
        for notice in self.watch.take_notices() {
            self.stream.note(notice);
        }
        for event in self.stream.take(HostReader::now(), false) {
            self.keep(&event);
        }
    }

    /// Nobody takes events while it is paused: the first ones are kept, and the others counted.
    fn keep(&mut self, event: &LiveEvent) {
        let Some((label, plugin)) = self.labels.get(&event.group) else {
            return;
        };
        if self.events.len() >= WAITING {
            self.missed += 1;
            return;
        }
        self.number += 1;
        let json = event_json(event, plugin, self.boot, self.wall);
        self.events.push(EventFrame {
            number: self.number,
            group: label.clone(),
            event: serde_json::from_str(&json).unwrap_or_default(),
        });
    }
}
