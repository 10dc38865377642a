//! One set of processes seen in three ways: started under kevmon's eyes, found running, and by `--source proc`.

use std::time::Duration;

use crate::{daemon::Daemon, plugin_dir::PluginDir, tick::Tick};

/// Deadline of everything that takes a few ticks.
const LIMIT: Duration = Duration::from_secs(30);

/// The ways, by name.
const EARLY: &str = "early";
const LATE: &str = "late";
const PROC: &str = "proc";

/// A plugin and the processes that it is to find: how many, and under which shown name, where that is told. A name that ends
/// in `*` is the beginning of one.
#[derive(Debug, Clone)]
pub struct Case {
    pub plugin: String,
    pub members: u64,
    pub shown: Option<String>,
}

/// Plugins with their cases, and the kevmon that was there before their processes.
#[derive(Debug)]
pub struct Columns {
    folder: PluginDir,
    cases: Vec<Case>,
}

impl Columns {
    /// No case yet.
    pub fn new() -> Self {
        Self {
            folder: PluginDir::new(),
            cases: Vec::new(),
        }
    }

    /// A plugin whose `[service]` table is `service`, and what it finds.
    pub fn add(&mut self, plugin: &str, service: &str, members: u64, shown: Option<&str>) {
        let text = format!(
            "schema = 1\n[plugin]\nname = \"{plugin}\"\n[service]\nnamespace = \"Kvt\"\n{service}\n\
             [monitoring]\ninterval = \"200ms\"\n"
        );
        self.folder.write(plugin, &text);
        self.cases.push(Case {
            plugin: plugin.to_owned(),
            members,
            shown: shown.map(str::to_owned),
        });
    }

    /// Where the plugins are.
    pub fn folder(&self) -> &str {
        self.folder.path()
    }

    /// The kevmon that is there first; the processes are to be started after this.
    pub fn early(&self) -> Daemon {
        Daemon::start(&["--plugins-dir", self.folder.path()])
    }

    /// Waits until every way shows what is expected, and once more a moment later; asserts that all show the same.
    pub fn assert_agree(&self, early: &mut Daemon) {
        self.expect(EARLY, early);
        let mut late = Daemon::start(&["--plugins-dir", self.folder.path()]);
        let mut proc = Daemon::start(&["--source", "proc", "--plugins-dir", self.folder.path()]);
        self.expect(LATE, &mut late);
        self.expect(PROC, &mut proc);
        for (way, daemon) in [(EARLY, early), (LATE, &mut late), (PROC, &mut proc)] {
            let since = daemon.ticks().last().map_or(0, Tick::time);
            let tick = daemon.tick_after(since, Duration::from_millis(500), LIMIT);
            self.assert(way, &tick);
        }
        late.terminate();
        proc.terminate();
    }

    fn expect(&self, way: &str, daemon: &mut Daemon) {
        daemon.wait_until(&format!("all members ({way})"), LIMIT, |tick| {
            self.cases.iter().all(|case| {
                tick.group(&case.plugin)
                    .is_some_and(|group| group.int("process_count") == case.members)
            })
        });
    }

    fn assert(&self, way: &str, tick: &Tick) {
        for case in &self.cases {
            let group = tick.expect_group(&case.plugin);
            assert_eq!(
                group.int("process_count"),
                case.members,
                "{way}: {}: {}",
                case.plugin,
                group.0
            );
            for member in group.members() {
                if let Some(shown) = &case.shown {
                    let is_shown = match shown.strip_suffix('*') {
                        Some(beginning) => member.name.starts_with(beginning),
                        None => member.name == *shown,
                    };
                    assert!(
                        is_shown,
                        "{way}: {}: {:?}, not {shown:?}: {}",
                        case.plugin, member.name, group.0
                    );
                }
            }
        }
    }
}

impl Default for Columns {
    fn default() -> Self {
        Self::new()
    }
}
