//! The packages that `cargo xtask test` has made of the kevmon under test, and a root file system to install them into.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::kevmon::{self, Output};

/// The version that is installed first …
pub const OLDER: &str = "1.0.0";
/// … and the one that replaces it, of the same program.
pub const NEWER: &str = "1.0.1";
/// The older version, made once more.
pub const AGAIN: &str = "again";

/// The folder with the packages of `version`.
pub fn folder(version: &str) -> PathBuf {
    let Some(path) = std::env::var_os("KEVMON_PACKAGES").map(PathBuf::from) else {
        panic!(
            "missing prerequisite: KEVMON_PACKAGES does not name the folder of the packages; run cargo xtask test"
        );
    };
    let folder = path.join(version);
    assert!(
        folder.is_dir(),
        "missing prerequisite: no folder {}; run cargo xtask test",
        folder.display()
    );
    folder
}

/// The file of `version` whose name starts and ends so.
pub fn file(version: &str, start: &str, end: &str) -> PathBuf {
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(start) && name.ends_with(end) && !name.contains("debug") && !name.contains("dbgsym")
    };
    let files = fs::read_dir(folder(version))
        .expect("packages")
        .map(|entry| entry.expect("an entry").path());
    let found: Vec<PathBuf> = files.filter(fits).collect();
    assert_eq!(found.len(), 1, "{start}*{end} of {version}: {found:?}");
    found[0].clone()
}

/// A copy of this machine's root file system that takes writes and forgets them: an overlay in a mount namespace of its own. PID 1
/// is no systemd there, and no service starts.
#[derive(Debug)]
pub struct Root {
    holder: Child,
}

/// Makes the overlay below /mnt of the namespace, and stays.
const HOLD: &str = "set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mount --rbind /dev /mnt/root/dev
mount -t proc proc /mnt/root/proc
mkdir -p /mnt/root/packages /mnt/root/run
mount --bind \"$1\" /mnt/root/packages
mount -t tmpfs tmpfs /mnt/root/run
echo ready
exec sleep infinity";

impl Root {
    /// A new one, with all packages in `/packages/VERSION`.
    pub fn new() -> Self {
        let packages = folder(OLDER);
        let packages = packages.parent().expect("the folder of all");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", HOLD, "sh"])
            .arg(packages);
        let mut holder = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare(1)");
        let mut ready = [0; 6];
        let read = holder.stdout.as_mut().expect("piped").read_exact(&mut ready);
        assert!(
            read.is_ok() && &ready == b"ready\n",
            "no overlay; does the kernel have overlayfs?"
        );
        Self { holder }
    }

    /// A command that runs what is added to it where the root is mounted.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--mount")
            .arg("--target")
            .arg(self.holder.id().to_string());
        command
    }

    /// Runs a shell script inside.
    pub fn run(&self, script: &str) -> Output {
        let mut command = self.enter();
        command.args([
            "chroot",
            "/mnt/root",
            "/usr/bin/env",
            "-i",
            "HOME=/root",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        command.args([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "sh",
            "-c",
            script,
        ]);
        kevmon::finish(command)
    }

    /// Runs a script that has to succeed.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        let output = self.run(script);
        assert_eq!(
            output.code,
            Some(0),
            "{script}\n{}{}",
            output.stdout,
            output.stderr
        );
        output.stdout.clone()
    }

    /// Files and links that were written since the beginning, without those whose paths start with one of `except`.
    pub fn written(&self, except: &[&str]) -> Vec<String> {
        let mut command = self.enter();
        // Whiteouts, which stand for what was removed, are character devices.
        command.args([
            "find",
            "/mnt/upper",
            "!",
            "-type",
            "d",
            "!",
            "-type",
            "c",
            "-printf",
            "%P\\n",
        ]);
        let output = kevmon::finish(command);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let mut paths: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
        paths.retain(|path| !except.iter().any(|start| path.starts_with(start)));
        paths.sort();
        paths
    }
}

impl Default for Root {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // The mounts go with the last process of their namespace.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Each file and link below `folder`: path, and content or target.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let kind = fs::symlink_metadata(&path).expect("metadata").file_type();
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let content = if kind.is_symlink() {
                fs::read_link(&path)
                    .expect("a link")
                    .into_os_string()
                    .into_encoded_bytes()
            } else {
                fs::read(&path).expect("a file")
            };
            found.insert(path.strip_prefix(folder).expect("below").to_owned(), content);
        }
    }
    found
}

/// Unpacks an archive, and returns the one folder in it.
pub fn unpack(archive: &Path, into: &Path) -> PathBuf {
    let mut command = Command::new("tar");
    command.arg("-xzf").arg(archive).arg("-C").arg(into);
    assert!(command.status().expect("tar(1)").success());
    let mut entries = fs::read_dir(into).expect("unpacked");
    entries.next().expect("a folder").expect("an entry").path()
}

/// A process group of its own, so that all of a script can be killed at once.
pub fn grouped(command: &mut Command) -> &mut Command {
    command.process_group(0)
}
