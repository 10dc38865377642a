//! A daemon that watches one name at a short interval: the frame of the tests about membership.

use std::time::Duration;

use serde_json::Value;

use crate::{
    checks, history,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    tick::{Group, Tick},
    wait, workload,
};

/// Deadline of everything that takes a few ticks.
const LIMIT: Duration = Duration::from_secs(10);

/// A running kevmon with one ad hoc plugin.
#[derive(Debug)]
pub struct Watch {
    daemon: Daemon,
    plugin: String,
}

impl Watch {
    /// Watches the processes called `name`.
    pub fn start(name: &str) -> Self {
        let daemon = Daemon::start(&["--interval", "200ms", "--process-name", &workload::pattern(name)]);
        Self {
            daemon,
            plugin: workload::adhoc_plugin(name),
        }
    }

    /// Watches with the one plugin, called `plugin`, of a directory.
    pub fn plugin(folder: &PluginDir, plugin: &str) -> Self {
        let daemon = Daemon::start(&["--plugins-dir", folder.path()]);
        Self {
            daemon,
            plugin: plugin.to_owned(),
        }
    }

    /// Waits until the group satisfies `condition` and returns that tick.
    pub fn until(&mut self, what: &str, condition: impl Fn(Group<'_>) -> bool) -> Tick {
        let plugin = &self.plugin;
        self.daemon
            .wait_until(what, LIMIT, |tick| condition(tick.expect_group(plugin)))
    }

    /// Waits until so many processes live, then asserts that each of `expected` has its value. What a tick from before this call
    /// told does not count: it may have seen a program on its way.
    pub fn expect(&mut self, processes: u64, expected: &[(&str, u64)]) -> Tick {
        let (plugin, since) = (&self.plugin, wait::unix_now());
        let tick = self
            .daemon
            .wait_until(&format!("{processes} processes"), LIMIT, |tick| {
                tick.time() >= since && tick.expect_group(plugin).int("process_count") == processes
            });
        let group = tick.expect_group(&self.plugin);
        for (metric, value) in expected {
            assert_eq!(group.int(metric), *value, "{metric}; {}", group.0);
        }
        tick
    }

    /// The first tick at least half a second after `since`: what ended by then has settled.
    pub fn settled(&mut self, since: u64) -> Tick {
        self.daemon.tick_after(since, Duration::from_millis(500), LIMIT)
    }

    /// Its group in a tick.
    pub fn group<'a>(&self, tick: &'a Tick) -> Group<'a> {
        tick.expect_group(&self.plugin)
    }

    /// What `kevmon history` tells of its group.
    pub fn history(&self) -> Vec<Value> {
        history::rows(self.daemon.database(), Some(&self.plugin))
    }

    /// What kevmon wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.daemon.stderr()
    }

    /// The same as [`Self::finish`] where something was lost, and that was what the test is about.
    pub fn finish_incomplete(self) -> Tick {
        checks::assert_sum_rule(self.daemon.ticks(), &self.plugin);
        self.daemon.terminate()
    }

    /// Stops kevmon and checks the rules that hold for every tick; returns the last one.
    pub fn finish(self) -> Tick {
        checks::assert_sum_rule(self.daemon.ticks(), &self.plugin);
        checks::assert_complete(self.daemon.ticks());
        let told = self.daemon.stderr();
        assert!(!told.contains("panicked"), "kevmon panicked:\n{told}");
        self.daemon.terminate()
    }
}
