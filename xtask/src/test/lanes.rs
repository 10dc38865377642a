//! Which tests of a program run in which process: the test harness starts tests in the order of their names, so that a long one
//! with a late name would run on alone at the end. The longest ones begin first, all at once, in a process of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Tests that begin first. Tests that take so long wait most of the time.
const FIRST: usize = 8;
/// A shorter test may begin whenever its turn comes.
const LONG: Duration = Duration::from_secs(10);

/// One process of a test program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) arguments: Vec<OsString>,
    /// Tests at the same time.
    pub(crate) threads: usize,
}

/// Names of all tests in a program, also of those that are ignored.
///
/// # Errors
/// The program does not tell, or has none.
pub(crate) fn names(program: &Path) -> Result<Vec<String>> {
    let mut command = shell::command(program);
    let listed = shell::read(command.args(["--list", "--format", "terse"]))
        .with_context(|| format!("`{} --list` failed", program.display()))?;
    let names: Vec<String> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        bail!("`{} --list` names no test", program.display());
    }
    Ok(names)
}

/// Splits `names` by the times of an earlier run; `threads` of them run at a time, next to the long ones. A name that contains
/// one of `skipped` is left out, as the test harness's --skip does.
pub(crate) fn split(
    names: &[String],
    times: &BTreeMap<String, Duration>,
    skipped: &[&str],
    threads: usize,
) -> Vec<Lane> {
    let names: Vec<&String> = names
        .iter()
        .filter(|name| !skipped.iter().any(|skipped| name.contains(skipped)))
        .collect();
    let mut long: Vec<(Duration, &String)> = names
        .iter()
        .filter_map(|name| Some((*times.get(*name)?, *name)))
        .filter(|(time, _)| *time >= LONG)
        .collect();
    long.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    long.truncate(FIRST);
    let long: BTreeSet<&String> = long.into_iter().map(|(_, name)| name).collect();
    let (first, rest): (Vec<&String>, Vec<&String>) = names.into_iter().partition(|name| long.contains(name));
    [(first, FIRST), (rest, threads)]
        .into_iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, threads)| Lane {
            arguments: exactly(names),
            threads,
        })
        .collect()
}

/// Arguments that choose these tests and no other.
pub(crate) fn exactly<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<OsString> {
    let names = names.into_iter().map(OsString::from);
    std::iter::once(OsString::from("--exact")).chain(names).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(threads: usize, names: &[&str]) -> Lane {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Lane {
            arguments: exactly(&names),
            threads,
        }
    }

    #[test]
    fn the_longest_begin_first_and_none_is_lost() {
        let names: Vec<String> = (0..20).map(|index| format!("a::test_{index}")).collect();
        let seconds = |index: u64| Duration::from_secs(index);
        let mut times: BTreeMap<String, Duration> = names.iter().cloned().zip((0..20).map(seconds)).collect();
        times.insert("gone::test".to_owned(), seconds(1_000));
        let lanes = split(&names, &times, &[], 4);
        let long = [12, 13, 14, 15, 16, 17, 18, 19].map(|index| format!("a::test_{index}"));
        assert_eq!(lanes[0], lane(FIRST, &long.each_ref().map(String::as_str)));
        let mut all: Vec<&OsString> = lanes.iter().flat_map(|lane| &lane.arguments[1..]).collect();
        all.sort();
        let mut expected: Vec<OsString> = names.iter().map(OsString::from).collect();
        expected.sort();
        let expected: Vec<&OsString> = expected.iter().collect();
        assert_eq!(all, expected, "each once, and nothing that is no more");
    }

    #[test]
    fn short_and_unknown_tests_are_one_lane() {
        let names = ["b::new", "b::new_too", "c::short"].map(str::to_owned);
        let times = BTreeMap::from([("c::short".to_owned(), Duration::from_secs(9))]);
        let all = lane(3, &["b::new", "b::new_too", "c::short"]);
        assert_eq!(split(&names, &times, &[], 3), [all]);
        let fewer = lane(3, &["b::new", "b::new_too"]);
        assert_eq!(split(&names, &times, &["c::"], 3), [fewer]);
        assert_eq!(split(&names, &times, &["::"], 3), []);
    }

    #[test]
    fn a_program_tells_its_tests() {
        let own = names(&std::env::current_exe().unwrap()).unwrap();
        let this = "test::lanes::tests::a_program_tells_its_tests".to_owned();
        assert!(own.contains(&this), "{own:?}");
        let error = names(Path::new("/usr/bin/true")).unwrap_err().to_string();
        assert!(error.contains("/usr/bin/true"), "{error}");
    }
}
