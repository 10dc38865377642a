//! A container image as an OCI layout in a tar file: kevmon and certificates, and the shared libraries that it names where it is not
//! static; no shell and no package manager. Container engines load it (`podman load`, `skopeo copy oci-archive:…`), and none is needed to make it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::deb::HOMEPAGE;
use super::stage::{Staged, with_manifest};
use super::tree::{Tree, sha256};
use super::{Release, archive};
use crate::shell;

/// Certificates of the build machine's ca-certificates.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Folders for mounts and for state.
const FOLDERS: [&str; 7] = ["dev", "etc/kevmon", "proc", "run", "sys", "tmp", "var/lib/kevmon"];

/// Parts of packages that a container has no use for.
const LEFT_OUT: [&str; 6] = [
    "etc/logrotate.d/",
    "usr/lib/",
    "usr/share/bash-completion/",
    "usr/share/fish/",
    "usr/share/man/",
    "usr/share/zsh/",
];

pub(crate) fn build(release: &Release, staged: &Staged, output: &Path) -> Result<Vec<PathBuf>> {
    let root = root(release, staged)?;
    let layer = archive::tar(&root, "", release.time)?;
    let packed = archive::gzip(&layer)?;
    let created = shell::read(
        shell::command("date")
            .args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"])
            .arg(format!("@{}", release.time)),
    )
    .context("date")?;
    let created = created.trim();
    let labels = json!({
        "org.opencontainers.image.title": "kevmon",
        "org.opencontainers.image.version": release.version,
        "org.opencontainers.image.revision": release.commit,
        "org.opencontainers.image.source": HOMEPAGE,
        "org.opencontainers.image.licenses": "MIT",
    });
    let config = json!({
        "created": created,
        "architecture": release.target.arch.debian(),
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/kevmon"],
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
        "history": [{ "created": created, "created_by": "cargo xtask dist image" }],
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &packed)],
        "annotations": labels,
    })
    .to_string()
    .into_bytes();
    let mut index = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    index["platform"] = json!({ "architecture": release.target.arch.debian(), "os": "linux" });
    index["annotations"] = json!({ "org.opencontainers.image.ref.name": format!("kevmon:{}", release.version.replace(['~', '+'], "-")) });
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [index] });

    let mut layout = Tree::default();
    layout.add("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    layout.add("index.json", index.to_string(), 0o644)?;
    for blob in [config, manifest, packed] {
        layout.add(format!("blobs/sha256/{}", sha256(&blob)), blob, 0o644)?;
    }
    let path = output.join(format!(
        "kevmon-{}-{}.oci.tar",
        release.version,
        release.target.arch.debian()
    ));
    fs::write(&path, archive::tar(&layout, "", release.time)?).with_context(|| path.display().to_string())?;
    Ok(vec![path])
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{}", sha256(content)), "size": content.len() })
}

/// The file system of the image.
fn root(release: &Release, staged: &Staged) -> Result<Tree> {
    let mut tree = Tree::default();
    for (path, entry) in staged.tree.files() {
        if !LEFT_OUT.iter().any(|folder| path.starts_with(folder)) {
            tree.insert(path.to_owned(), entry.clone())?;
        }
    }
    let mut tree = with_manifest(release, staged.glibc.as_deref(), &tree)?;
    for library in &staged.libraries {
        let (path, content) = library_file(release, library)?;
        tree.add(path, content, 0o755)?;
    }
    tree.add(
        "etc/passwd",
        "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
        0o644,
    )?;
    tree.add("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    tree.add(
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
        0o644,
    )?;
    let certificates = fs::read(Path::new("/").join(CERTIFICATES)).with_context(|| {
        format!("/{CERTIFICATES}: install ca-certificates, whose certificates the image gets")
    })?;
    tree.add(CERTIFICATES, certificates, 0o644)?;
    // The terms of the libraries, where the build machine has them.
    let packages: &[&str] = match staged.libraries.is_empty() {
        true => &[],
        false => &["libc6", "libgcc-s1"],
    };
    for package in packages {
        if let Ok(terms) = fs::read(format!("/usr/share/doc/{package}/copyright")) {
            tree.add(format!("usr/share/doc/{package}/copyright"), terms, 0o644)?;
        }
    }
    for folder in FOLDERS {
        tree.add_folder(folder)?;
    }
    Ok(tree)
}

/// The build machine's, where the program looks for it: the loader by its own path, the others by theirs.
fn library_file(release: &Release, name: &str) -> Result<(String, Vec<u8>)> {
    let triplet = format!("{}-linux-gnu", release.target.arch.kernel());
    let folders = [
        format!("/lib/{triplet}"),
        format!("/usr/lib/{triplet}"),
        format!("/usr/{triplet}/lib"),
        "/lib64".to_owned(),
        "/usr/lib64".to_owned(),
    ];
    let is_loader = name.starts_with("ld-linux");
    let place = match (is_loader, release.target.arch.kernel()) {
        (true, "x86_64") => format!("lib64/{name}"),
        _ => format!("lib/{name}"),
    };
    for folder in &folders {
        let path = Path::new(folder).join(name);
        if path.is_file() {
            return Ok((
                place,
                fs::read(&path).with_context(|| path.display().to_string())?,
            ));
        }
    }
    bail!(
        "{name} is in none of {}; install the C library for {triplet}",
        folders.join(", ")
    )
}
