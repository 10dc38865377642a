//! Kernels out of Debian's packages, for virtual machines ("cloud"): small, with types (BTF), and each of its suite's age.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::deb::Sources;
use crate::shell;
use crate::workspace::Workspace;

/// The package that depends on a suite's present kernel.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Its version, or what stands for the newest one.
    pub(super) name: &'static str,
    /// Debian's suite that has it.
    pub(super) suite: &'static str,
}

/// All of them, oldest first.
pub(super) const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "5.10",
        suite: "bullseye",
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
    },
    Kernel {
        name: "6.12",
        suite: "trixie",
    },
    Kernel {
        name: "newest",
        suite: "sid",
    },
];

/// A kernel that is there.
#[derive(Debug)]
pub(super) struct Image {
    /// `uname -r`.
    pub(super) release: String,
    pub(super) vmlinuz: PathBuf,
    /// The driver of block devices that are files: disks are built into none of these kernels.
    pub(super) loop_module: PathBuf,
}

impl Kernel {
    /// Fetches and unpacks it where it is not there.
    ///
    /// # Errors
    /// No mirror has it, or it is laid out in another way.
    pub(super) fn setup(self, workspace: &Workspace) -> Result<Image> {
        let folder = workspace.tools().join("kernels").join(self.suite);
        if let Ok(image) = find(&folder) {
            return Ok(image);
        }
        shell::say(format_args!(
            "setup: unpacking the kernel of Debian's suite {} into {}",
            self.suite,
            folder.display()
        ));
        // Also what an interrupted fetch left.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let lists = folder.join("apt");
        let sources = Sources::private(&lists, self.suite)?;
        let needed = sources.needed(&[PACKAGE])?;
        let is_image = |package: &&String| {
            package.starts_with("linux-image-") && package.as_str() != PACKAGE && !package.ends_with("-dbg")
        };
        let image = needed
            .iter()
            .find(is_image)
            .with_context(|| format!("{PACKAGE} of the suite {} needs no kernel", self.suite))?;
        for file in sources.download(&folder, std::slice::from_ref(image))? {
            shell::run_step(shell::command("dpkg-deb").arg("-x").arg(&file).arg(&folder))?;
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
        fs::remove_dir_all(&lists).with_context(|| format!("cannot remove {}", lists.display()))?;
        unpack_loop_module(&folder)?;
        find(&folder)
    }
}

/// What a folder holds of a kernel.
fn find(folder: &Path) -> Result<Image> {
    let boot = folder.join("boot");
    let entries = fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?;
    let release = entries
        .flatten()
        .find_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("vmlinuz-")
                .map(str::to_owned)
        })
        .with_context(|| format!("no kernel in {}", boot.display()))?;
    let loop_module = folder.join("loop.ko");
    if !loop_module.is_file() {
        bail!("no {}", loop_module.display());
    }
    Ok(Image {
        vmlinuz: boot.join(format!("vmlinuz-{release}")),
        release,
        loop_module,
    })
}

/// Puts the module where it is found, unpacked: the guest's shell reads no compressed ones.
fn unpack_loop_module(folder: &Path) -> Result<()> {
    let mut found = shell::command("find");
    found.arg(folder).args(["-name", "loop.ko*"]);
    let told = shell::read(&mut found).unwrap_or_default();
    let module = told
        .lines()
        .next()
        .map(PathBuf::from)
        .with_context(|| format!("the kernel in {} has no module `loop`", folder.display()))?;
    let into = folder.join("loop.ko");
    match module.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => {
            let output =
                fs::File::create(&into).with_context(|| format!("cannot write {}", into.display()))?;
            shell::run(shell::command("xz").arg("-dc").arg(&module).stdout(output))
        }
        Some("ko") => {
            fs::copy(&module, &into).with_context(|| format!("cannot copy {}", module.display()))?;
            Ok(())
        }
        _ => bail!("{} is packed in a way that is not known here", module.display()),
    }
}
