//! What a kernel can do, line by line: tests say it, and `cargo xtask vm-test` makes a table of it.

use std::{fs::OpenOptions, io::Write as _};

/// The file that takes the lines; without it they go to standard error.
const FILE: &str = "KEVMON_TEST_FEATURES";

/// Says how it is with `feature` on this kernel.
pub fn tell(feature: &str, state: &str) {
    let line = format!("kevmon-feature: {feature}: {state}\n");
    let Some(path) = std::env::var_os(FILE) else {
        eprint!("{line}");
        return;
    };
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("{FILE} {}: {error}", path.display()));
}

/// Major and minor number of the running kernel.
pub fn kernel() -> (u32, u32) {
    let path = "/proc/sys/kernel/osrelease";
    let release = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => panic!("{path} is {release:?}"),
    }
}
