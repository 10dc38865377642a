//! kevmon as the user nobody, with chosen capabilities, on a /proc mounted with chosen options.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use crate::{
    kevmon::{self, Output},
    scratch::Scratch,
};

/// A copy of kevmon that every user may execute: the build's own folder may be closed to others.
#[derive(Debug)]
pub struct Nobody {
    scratch: Scratch,
}

impl Nobody {
    /// Copies it.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        let copied = Command::new("cp")
            .arg(kevmon::binary())
            .arg(scratch.path().join("kevmon"))
            .status();
        assert!(copied.expect("cp(1)").success(), "cannot copy kevmon");
        Self { scratch }
    }

    /// The copy.
    pub fn kevmon(&self) -> PathBuf {
        self.scratch.path().join("kevmon")
    }

    /// `kevmon --run-once` as nobody, with these capabilities and no other, where /proc is mounted with `options`.
    pub fn run_once(&self, options: &str, capabilities: &str, args: &[&str]) -> Output {
        let drop = "setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all";
        let give = match capabilities {
            "" => String::new(),
            some => format!(",{some} --inh-caps={some} --ambient-caps={some}"),
        };
        // Before Linux 5.11 maps count as locked memory, and CAP_SYS_RESOURCE, which lifts the limit, is not given. Later
        // kernels need no more than there is, and a container may forbid to raise it.
        let line = format!(
            "ulimit -l unlimited 2>/dev/null; mount -t proc -o {options} proc /proc && exec {drop}{give} {} --run-once \"$@\"",
            self.kevmon().display()
        );
        let mut command = Command::new("unshare");
        // busybox's shell takes its own setpriv, which knows no users.
        command.args(["--mount", "bash", "-c", &line, "bash"]).args(args);
        kevmon::finish(command)
    }
}

impl Default for Nobody {
    fn default() -> Self {
        Self::new()
    }
}
