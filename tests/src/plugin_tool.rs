//! `kevmon plugin …` by the real binary, and what its tests look for in what it says.

use std::path::PathBuf;

use crate::kevmon::{self, Output};

/// A file below `fixtures/import`: the published examples of other tools' configurations.
pub fn fixture(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/import")).join(name);
    path.display().to_string()
}

/// Runs `kevmon plugin` with these arguments.
pub fn plugin(args: &[&str]) -> Output {
    kevmon::run(&[&["plugin"], args].concat())
}

/// Panics unless it said each of these, on either stream, and did not panic itself.
#[track_caller]
pub fn assert_told(output: &Output, texts: &[&str]) {
    let told = format!("{}{}", output.stdout, output.stderr);
    for text in texts {
        assert!(told.contains(text), "no {text:?} in:\n{told}");
    }
    assert!(!told.contains("panicked"), "{told}");
}
