//! A plugin with one command collector, whose program and further files stand beside its plugin file.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::Value;

use crate::{executable, kevmon::Daemon, plugin_dir::PluginDir, tick::Tick};

/// Name of the plugin.
pub const PLUGIN: &str = "scripted";

/// The plugin.
#[derive(Debug)]
pub struct Script {
    folder: PluginDir,
}

impl Script {
    /// Collected every 300 ms. `keys` are the collector's beside name, kind and command; `script` is what `run.sh` does.
    pub fn new(keys: &str, script: &str) -> Self {
        let made = Self {
            folder: PluginDir::new(),
        };
        made.write_plugin(&format!("command = [\"./run.sh\"]\n{keys}"));
        made.write("run.sh", &format!("#!/bin/sh\n{script}\n"));
        made
    }

    /// One whose collector has these keys beside name and kind.
    pub fn of_keys(keys: &str) -> Self {
        let made = Self {
            folder: PluginDir::new(),
        };
        made.write_plugin(keys);
        made
    }

    /// Writes the plugin file again.
    pub fn write_plugin(&self, keys: &str) {
        let text = format!(
            "schema = 1\n[monitoring]\ninterval = \"300ms\"\n[[collector]]\nname = \"c\"\nkind = \"command\"\n{keys}\n"
        );
        let file = self.folder.write(PLUGIN, &text);
        // Whoever runs the program has to get there.
        for part in file.ancestors().skip(1).take(2) {
            fs::set_permissions(part, fs::Permissions::from_mode(0o755)).expect("a folder of the test's own");
        }
    }

    /// Writes a file beside the plugin file, which everybody may execute.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = PathBuf::from(self.path()).join(PLUGIN).join(name);
        executable::write(&path, text);
        path
    }

    /// The folder of plugins, as an argument.
    pub fn path(&self) -> &str {
        self.folder.path()
    }

    /// The folder, for further plugins.
    pub fn folder(&self) -> &PluginDir {
        &self.folder
    }

    /// A daemon that runs it.
    pub fn start(&self, args: &[&str]) -> Daemon {
        Daemon::start(&[&["--plugins-dir", self.path()], args].concat())
    }
}

/// The plugin's custom values in a tick, in their order.
pub fn values<'t>(tick: &'t Tick, name: &str) -> Vec<&'t Value> {
    let groups = tick.groups().filter(|group| group.0["plugin"] == PLUGIN);
    let custom = groups.filter_map(|group| group.0.get("custom")?.as_array());
    custom.flatten().filter(|value| value["name"] == name).collect()
}

/// Processes whose command line holds `mark`.
pub fn marked(mark: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    })
    .collect()
}
