//! What kevmon leaves in the BPF file system.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

const BPFFS: &str = "/sys/fs/bpf";

/// The states that have a folder there. Mounts the file system where it is missing.
pub fn states() -> BTreeSet<PathBuf> {
    let is_mounted = || {
        let device = |path: &str| fs::metadata(path).expect("sysfs").dev();
        device(BPFFS) != device("/sys/fs")
    };
    if !is_mounted() {
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]).status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "missing prerequisite: a BPF file system at {BPFFS}; run mount -t bpf bpf {BPFFS}"
        );
    }
    entries(&Path::new(BPFFS).join("kevmon"))
}

/// What lies in a folder; nothing where there is none.
pub fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// The folder that has come since `before`.
pub fn new_state(before: &BTreeSet<PathBuf>) -> PathBuf {
    let now = states();
    let mut new = now.difference(before);
    let state = new.next().expect("the state's folder").clone();
    assert_eq!(new.next(), None, "one folder for one state");
    state
}
