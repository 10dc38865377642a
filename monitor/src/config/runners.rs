//! The programs of kevmon's own that run plugins written for other systems, and where they are found. A plugin file names
//! them without a path, so that it is the same on every host.

use std::path::{Path, PathBuf};

/// Runs a Scalyr monitor, a Python module.
pub(crate) const SCALYR: &str = "kevmon-scalyr-runner";
/// Runs a Panoptes polling plugin, a Python module.
pub(crate) const PANOPTES: &str = "kevmon-panoptes-runner";

/// Where they are looked for after the folder of kevmon's own program; the first of these is where packages put them.
const FOLDERS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/usr/libexec/kevmon"];

/// Whether `program` is the name of one, without a path.
pub(crate) fn is_runner(program: &str) -> bool {
    [SCALYR, PANOPTES].contains(&program)
}

/// Where `name` is; where it is nowhere, where a package would have put it.
pub(crate) fn find(name: &str) -> PathBuf {
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::parent);
    let folders = own.into_iter().chain(FOLDERS.iter().map(Path::new));
    let mut places = folders.map(|folder| folder.join(name));
    let found = places.find(|place| place.is_file());
    found.unwrap_or_else(|| Path::new(FOLDERS[0]).join(name))
}
