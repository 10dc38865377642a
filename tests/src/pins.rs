//! What kevmon leaves in the BPF file system.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

const BPFFS: &str = "/sys/fs/bpf";

/// The folder of the state in `database`, named as ADR 30 says: FNV-1a with 64 bits of device and inode of the
/// database's folder and of its own name. Other states may have folders there, whoever runs on them. Mounts the file system
/// where it is missing.
pub fn of(database: &Path) -> PathBuf {
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
    let folder = fs::metadata(database.parent().expect("a file's path")).expect("the database's folder");
    let name = database.file_name().expect("a file's path").as_encoded_bytes();
    let (device, inode) = (folder.dev().to_ne_bytes(), folder.ino().to_ne_bytes());
    let bytes = device.iter().chain(&inode).chain(name);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Path::new(BPFFS).join(format!("kevmon/{hash:016x}"))
}

/// What lies in a folder; nothing where there is none.
pub fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").path()).collect()
}
