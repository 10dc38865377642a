//! Where things are: the repository, its target folders and the files the commands exchange through them.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The repository's folders.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
    user_target: PathBuf,
}

impl Workspace {
    pub(crate) fn locate() -> Result<Self> {
        // Cargo's variable comes first: the compiled-in path is stale once the repository has moved.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .filter(|dir| dir.join("src/workspace.rs").is_file())
            .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = package
            .parent()
            .filter(|root| root.join("Cargo.toml").is_file())
            .with_context(|| {
                format!(
                    "no repository around {}; run `cargo xtask` inside the repository",
                    package.display()
                )
            })?
            .to_path_buf();

        // This program lies in <target>/<profile>/xtask, wherever the user's cargo configuration puts <target>.
        let user_target = env::current_exe()
            .ok()
            .and_then(|exe| exe.parent().and_then(Path::parent).map(Path::to_path_buf))
            .unwrap_or_else(|| root.join("target"));
        Ok(Self { root, user_target })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The target folder of the user half.
    pub(crate) fn user_target(&self) -> &Path {
        &self.user_target
    }

    /// The target folder of the eBPF half for the kernels of a processor. `monitor/build.rs` knows this machine's too, so it does
    /// not follow CARGO_TARGET_DIR.
    pub(crate) fn ebpf_target(&self, arch: &str) -> PathBuf {
        let name = match arch == env::consts::ARCH {
            true => "ebpf".to_owned(),
            false => format!("ebpf-{arch}"),
        };
        self.root.join("target").join(name)
    }

    pub(crate) fn ebpf_object(&self, arch: &str) -> PathBuf {
        self.ebpf_target(arch)
            .join("bpfel-unknown-none/release/kevmon-ebpf")
    }

    /// What `setup` builds and installs for this repository alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }
}
