//! Control groups of a test's own: one for memory, version 1 or 2, whichever the machine has, and one as a unit of systemd's has it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{scratch, wait};

/// Where control groups are mounted on every common distribution (cgroups(7)).
const ROOT: &str = "/sys/fs/cgroup";

/// The unified hierarchy, where systemd mounts it.
pub fn unified() -> &'static Path {
    let next_to_version_1 = Path::new("/sys/fs/cgroup/unified");
    if next_to_version_1.is_dir() {
        next_to_version_1
    } else {
        Path::new(ROOT)
    }
}

/// A group that is called like a unit of systemd's; removed when it goes out of scope, once its processes have ended.
#[derive(Debug)]
pub struct UnitCgroup {
    path: PathBuf,
}

impl UnitCgroup {
    /// The one of the unit `name`, such as "web.service".
    pub fn new(name: &str) -> Self {
        let path = unified().join(name);
        fs::create_dir(&path)
            .unwrap_or_else(|error| panic!("missing prerequisite: {}: {error}", path.display()));
        Self { path }
    }

    /// The file that takes the pid of a process that is to be in it.
    pub fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for UnitCgroup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// A group that may use so much memory, and no swap; removed when it goes out of scope.
#[derive(Debug)]
pub struct MemoryCgroup {
    path: PathBuf,
    /// The file whose memory controller this switched on.
    switched_on: Option<PathBuf>,
}

impl MemoryCgroup {
    /// A new one; panics where the machine offers no memory controller.
    pub fn new(bytes: u64) -> Self {
        let (version_1, root) = (Path::new(ROOT).join("memory"), Path::new(ROOT));
        if version_1.join("memory.limit_in_bytes").exists() {
            return Self::create(
                &version_1,
                None,
                &["limit_in_bytes", "memsw.limit_in_bytes"],
                bytes,
            );
        }
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        assert!(
            controllers.split_whitespace().any(|name| name == "memory"),
            "missing prerequisite: a memory controller under {ROOT}: cgroup version 1 has it in memory/, version 2 \
             names it in cgroup.controllers ({controllers:?})"
        );
        let control = root.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&control).unwrap_or_default();
        let missing = !enabled.split_whitespace().any(|name| name == "memory");
        if missing {
            set(&control, "+memory");
        }
        let group = Self::create(root, missing.then_some(control), &["max"], bytes);
        // Absent on a kernel without swap.
        let swap = group.path.join("memory.swap.max");
        if swap.exists() {
            set(&swap, "0");
        }
        group
    }

    fn create(root: &Path, switched_on: Option<PathBuf>, limits: &[&str], bytes: u64) -> Self {
        let path = root.join(format!("kvt-{}", scratch::unique()));
        fs::create_dir(&path)
            .unwrap_or_else(|error| panic!("missing prerequisite: {}: {error}", path.display()));
        let group = Self { path, switched_on };
        for limit in limits {
            let file = group.path.join(format!("memory.{limit}"));
            // The one for swap is absent on a kernel without swap accounting.
            if file.exists() {
                set(&file, &bytes.to_string());
            }
        }
        group
    }

    /// Moves a process into it.
    pub fn take(&self, pid: u32) {
        set(&self.path.join("cgroup.procs"), &pid.to_string());
    }

    /// Processes of it that the OOM killer has ended.
    pub fn oom_kills(&self) -> u64 {
        let files = ["memory.events", "memory.oom_control"].map(|name| self.path.join(name));
        let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
        let text = text.unwrap_or_else(|| panic!("missing prerequisite: one of {files:?}"));
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
            .unwrap_or_else(|| panic!("missing prerequisite: oom_kill (Linux 4.13) in {text:?}"))
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let procs = self.path.join("cgroup.procs");
        for pid in fs::read_to_string(procs).unwrap_or_default().lines() {
            if let Ok(pid) = pid.parse() {
                // SAFETY: kill(2) takes plain integers; only the test's own processes were moved here.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        remove(&self.path);
        if let Some(control) = &self.switched_on {
            let _ = fs::write(control, "-memory");
        }
    }
}

/// Busy until the kernel has let go of its processes.
fn remove(path: &Path) {
    let deadline = std::time::Instant::now() + wait::SOON;
    while let Err(error) = fs::remove_dir(path) {
        if std::time::Instant::now() > deadline {
            eprintln!("left behind: {}: {error}", path.display());
            break;
        }
        std::thread::yield_now();
    }
}

fn set(file: &Path, value: &str) {
    fs::write(file, value)
        .unwrap_or_else(|error| panic!("missing prerequisite: {value:?} to {}: {error}", file.display()));
}
