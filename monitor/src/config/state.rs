//! Where kevmon keeps what outlives it, when nobody says.

use std::path::{Path, PathBuf};

use super::{
    environment::Environment,
    finding::{Fault, Finding},
};

/// The store's file in the state directory.
const FILE: &str = "metadata.db";

/// The file of the store: as asked for with `--metadata-db-path`; in systemd's state directory; in /var/lib/kevmon
/// for root; else in the user's own (XDG Base Directory Specification).
///
/// # Errors
/// Nothing names a folder: there is no home.
pub fn metadata_path(
    asked: Option<&Path>,
    environment: &Environment,
    is_root: bool,
) -> Result<PathBuf, Fault> {
    if let Some(path) = asked {
        return Ok(path.to_owned());
    }
    // Several directories are separated by colons (systemd.exec(5), RuntimeDirectory=).
    let of_systemd = environment
        .get("STATE_DIRECTORY")
        .and_then(|list| list.split(':').find_map(absolute));
    if let Some(folder) = of_systemd {
        return Ok(folder.join(FILE));
    }
    if is_root {
        return Ok(Path::new("/var/lib/kevmon").join(FILE));
    }
    let own = environment.get("XDG_STATE_HOME").and_then(absolute);
    let home = || environment.get("HOME").and_then(absolute);
    match own.or_else(|| home().map(|home| home.join(".local/state"))) {
        Some(folder) => Ok(folder.join("kevmon").join(FILE)),
        None => Err(
            Finding::in_variable("HOME", "names no folder to keep the state in")
                .remedy("name a file with --metadata-db-path"),
        ),
    }
}

/// A path to rely on: relative ones are to be ignored (XDG), and so are names that could not be read as UTF-8.
fn absolute(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    (path.is_absolute() && !text.contains(char::REPLACEMENT_CHARACTER)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_names_a_folder() {
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: [(Option<&str>, Pairs, bool, &str); 10] = [
            (Some("here.db"), &[("STATE_DIRECTORY", "/s")], true, "here.db"),
            (
                None,
                &[("STATE_DIRECTORY", "/s"), ("HOME", "/h")],
                true,
                "/s/metadata.db",
            ),
            (None, &[("STATE_DIRECTORY", "/s:/t")], false, "/s/metadata.db"),
            (
                None,
                &[("XDG_STATE_HOME", "/x"), ("HOME", "/root")],
                true,
                "/var/lib/kevmon/metadata.db",
            ),
            (None, &[], true, "/var/lib/kevmon/metadata.db"),
            (
                None,
                &[("STATE_DIRECTORY", "")],
                true,
                "/var/lib/kevmon/metadata.db",
            ),
            (
                None,
                &[("XDG_STATE_HOME", "/x"), ("HOME", "/h")],
                false,
                "/x/kevmon/metadata.db",
            ),
            (
                None,
                &[("XDG_STATE_HOME", "x"), ("HOME", "/h")],
                false,
                "/h/.local/state/kevmon/metadata.db",
            ),
            (
                None,
                &[("STATE_DIRECTORY", "s"), ("HOME", "/h")],
                false,
                "/h/.local/state/kevmon/metadata.db",
            ),
            (
                None,
                &[("HOME", "/h")],
                false,
                "/h/.local/state/kevmon/metadata.db",
            ),
        ];
        for (asked, pairs, is_root, expected) in cases {
            let environment = Environment::from_pairs(pairs.iter().copied());
            assert_eq!(
                metadata_path(asked.map(Path::new), &environment, is_root),
                Ok(PathBuf::from(expected)),
                "{asked:?} {pairs:?} root: {is_root}"
            );
        }
    }

    #[test]
    fn without_a_home_it_says_what_to_do() {
        for home in ["", "relative", "/caf\u{fffd}"] {
            let environment = Environment::from_pairs([("HOME", home)]);
            let fault = metadata_path(None, &environment, false).expect_err("no folder");
            assert_eq!(
                fault.to_string(),
                "environment: HOME: names no folder to keep the state in; name a file with --metadata-db-path"
            );
        }
    }
}
