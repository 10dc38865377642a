//! Plugins that watch one working program, and the settings of the kevmon that runs them: the frame of the tests
//! about export.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    kevmon::Daemon,
    plugin_dir::PluginDir,
    points::Point,
    push::plugin_file,
    scratch::Scratch,
    workload::{Program, Running},
};

/// A process that works a little all the time, so that no two collections measure the same.
const WORK: [&str; 5] = ["pulse", "--busy-ms", "1", "--idle-ms", "40"];

/// A number of plugins on one running program, a folder for settings, and a state that outlives a kevmon.
#[derive(Debug)]
pub struct Watched {
    folder: PluginDir,
    settings: Scratch,
    database: PathBuf,
    plugins: Vec<String>,
    _running: Running,
    program: Program,
}

impl Watched {
    /// `count` plugins, called STEM0, STEM1, …, with `further` sections in each file.
    pub fn new(workload: &str, stem: &str, count: usize, interval: &str, further: &str) -> Self {
        let program = Program::new(workload, stem);
        let folder = PluginDir::new();
        let plugins: Vec<String> = (0..count).map(|index| format!("{stem}{index}")).collect();
        for plugin in &plugins {
            let file = plugin_file(plugin, &program.pattern(), "").replace("300ms", interval);
            folder.write(plugin, &format!("{file}{further}"));
        }
        let settings = Scratch::new();
        Self {
            database: settings.path().join("metadata.db"),
            folder,
            settings,
            plugins,
            _running: program.start(&WORK),
            program,
        }
    }

    /// Its plugins' names.
    pub fn plugins(&self) -> &[String] {
        &self.plugins
    }

    /// The program that they watch.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// `kevmon.service.id` of a plugin's service.
    pub fn service_id(plugin: &str) -> String {
        format!("kvt_company_{plugin}")
    }

    /// A folder for files of the test's own.
    pub fn settings(&self) -> &Scratch {
        &self.settings
    }

    /// Puts the state elsewhere.
    pub fn set_database(&mut self, path: PathBuf) {
        self.database = path;
    }

    /// Where the state is; the spool lies beside it.
    pub fn database(&self) -> &PathBuf {
        &self.database
    }

    /// Writes kevmon.toml and returns its path.
    pub fn write_settings(&self, text: &str) -> String {
        let file = self.settings.path().join("kevmon.toml");
        fs::write(&file, format!("schema = 1\n{text}")).expect("a file in the scratch directory");
        file.to_str().expect("a UTF-8 scratch directory").to_owned()
    }

    /// The arguments that name the plugins.
    pub fn plugin_args(&self) -> [&str; 2] {
        ["--plugins-dir", self.folder.path()]
    }

    /// Starts kevmon on the plugins and the state, with further arguments.
    pub fn start(&self, args: &[&str]) -> Daemon {
        self.start_with(args, &[])
    }

    /// The same with variables in its environment.
    pub fn start_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Daemon {
        let database = self.database.to_str().expect("a UTF-8 scratch directory");
        let own = ["--metadata-db-path", database];
        Daemon::start_with(&[&self.plugin_args()[..], &own, args].concat(), environment)
    }
}

/// Those of a plugin's service.
pub fn points_of(points: &[Point], plugin: &str) -> Vec<Point> {
    let service = Watched::service_id(plugin);
    points
        .iter()
        .filter(|point| point.resource.get("kevmon.service.id") == Some(&service))
        .cloned()
        .collect()
}

/// Takes in ticks for so long.
pub fn run_for(daemon: &mut Daemon, time: Duration) {
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end {
        daemon.next_tick(Duration::from_secs(10));
    }
}
