//! Old outputs of builds. Cargo keeps what it made for each set of dependencies and flags, and removes none of it: after some
//! weeks of changes that is many times what is in use.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Outputs that are kept of each crate, the newest: it is built and checked, with its tests and without.
const KEPT: usize = 6;

/// Removes all but the newest outputs of each crate from a profile's folder of the target folder: state of incremental
/// compilation, and test programs. Returns how many it removed. What is still in use after all is made again by the next build.
///
/// # Errors
/// A folder cannot be read, or an output not be removed.
pub(crate) fn remove_old(profile: &Path) -> io::Result<usize> {
    let of_folder = |name: &str, is_output: fn(&DirEntry) -> bool| old(&profile.join(name), is_output);
    let states = of_folder("incremental", |entry| entry.path().is_dir())?;
    let programs = of_folder("deps", |entry| {
        entry.path().is_file() && entry.path().extension().is_none()
    })?;
    for folder in &states {
        fs::remove_dir_all(folder)?;
    }
    for program in &programs {
        fs::remove_file(program)?;
    }
    Ok(states.len() + programs.len())
}

/// Outputs, called CRATE-HASH, of which there are [`KEPT`] newer ones of their crate; none where the folder is not there.
fn old(folder: &Path, is_output: fn(&DirEntry) -> bool) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut crates: BTreeMap<String, Vec<(SystemTime, PathBuf)>> = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((of_crate, _)) = name.rsplit_once('-') else {
            continue;
        };
        if is_output(&entry) {
            let outputs = crates.entry(of_crate.to_owned()).or_default();
            outputs.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    let old_of_crate = |mut outputs: Vec<(SystemTime, PathBuf)>| {
        outputs.sort();
        outputs.into_iter().rev().skip(KEPT).map(|(_, path)| path)
    };
    Ok(crates.into_values().flat_map(old_of_crate).collect())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_newest_outputs_of_each_crate_stay() {
        let profile = std::env::temp_dir().join(format!("xtask-outputs-{}", std::process::id()));
        assert_eq!(remove_old(&profile).unwrap(), 0, "nothing was built");
        let at = |age: u64| SystemTime::now() - Duration::from_secs(age);
        let names = ["kevmon", "kevmon_tests", "a-b"];
        for name in names {
            for age in 0..8 {
                let state = profile.join(format!("incremental/{name}-{age}"));
                fs::create_dir_all(state.join("session")).unwrap();
                File::open(&state).unwrap().set_modified(at(age)).unwrap();
                fs::create_dir_all(profile.join("deps")).unwrap();
                for extension in ["", ".d", ".rlib"] {
                    let file = File::create(profile.join(format!("deps/{name}-{age}{extension}"))).unwrap();
                    file.set_modified(at(age)).unwrap();
                }
            }
        }
        assert_eq!(remove_old(&profile).unwrap(), 2 * 2 * names.len());
        for name in names {
            for age in 0..8 {
                let stays = age < 6;
                let there = |path: String| profile.join(path).exists();
                assert_eq!(there(format!("incremental/{name}-{age}")), stays, "{name} {age}");
                assert_eq!(there(format!("deps/{name}-{age}")), stays, "{name} {age}");
                assert!(there(format!("deps/{name}-{age}.rlib")), "libraries stay");
            }
        }
        assert_eq!(remove_old(&profile).unwrap(), 0, "once");
        fs::remove_dir_all(&profile).unwrap();
    }
}
