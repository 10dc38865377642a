//! A directory of plugin files, written by a test and given to kevmon as `--plugins-dir`.

use std::{fs, path::PathBuf};

use crate::{scratch::Scratch, turn::Turn};

/// Held by a test that starts processes of the names that published plugin files ask for, or counts them: these names,
/// unlike all others, are not the test's own.
pub fn published_names() -> Turn {
    Turn::wait("published-names")
}

/// A temporary plugins directory.
#[derive(Debug)]
pub struct PluginDir {
    scratch: Scratch,
}

impl PluginDir {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            scratch: Scratch::new(),
        }
    }

    /// Writes `NAME/plugin.toml` and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let folder = self.scratch.path().join(name);
        fs::create_dir_all(&folder).expect("a folder in the scratch directory");
        let file = folder.join("plugin.toml");
        fs::write(&file, text).expect("a file in the scratch directory");
        file
    }

    /// Its path, as an argument.
    pub fn path(&self) -> &str {
        self.scratch.path().to_str().expect("a UTF-8 scratch directory")
    }

    /// The directory of the plugins that this repository ships.
    pub fn shipped() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"))
    }
}

impl Default for PluginDir {
    fn default() -> Self {
        Self::new()
    }
}
