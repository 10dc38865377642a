//! Turns: tests that change or count something that the host has once wait for each other, also where they run in different
//! processes.

use std::fs::File;

/// Where the lock files are: root's alone, and gone with the next boot.
const FOLDER: &str = "/run";

/// Held by one test at a time; given back when it goes out of scope, and by the kernel where the process dies.
#[derive(Debug)]
pub struct Turn {
    _file: File,
}

impl Turn {
    /// Waits for the turn of this name.
    pub fn wait(name: &str) -> Self {
        let path = format!("{FOLDER}/kevmon-tests-{name}.lock");
        let file = File::create(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        file.lock().unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { _file: file }
    }
}
