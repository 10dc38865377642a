//! The container image: unpacked as an engine does it, and run in namespaces of its own.

use std::{fs, path::Path, process::Command};

use kevmon_tests::{
    kevmon,
    packages::{self, OLDER},
    scratch::Scratch,
};
use serde_json::Value as Json;

fn run(program: &str, args: &[&str]) -> kevmon::Output {
    let mut command = Command::new(program);
    command.args(args);
    kevmon::finish(command)
}

/// The blob that `descriptor` names, after its digest and size were compared.
fn blob(layout: &Path, descriptor: &Json) -> std::path::PathBuf {
    let digest = descriptor["digest"]
        .as_str()
        .expect("a digest")
        .strip_prefix("sha256:")
        .expect("sha256");
    let path = layout.join("blobs/sha256").join(digest);
    let sum = run("sha256sum", &[path.to_str().expect("UTF-8")]);
    assert!(sum.stdout.starts_with(digest), "{}", sum.stdout);
    assert_eq!(
        fs::metadata(&path).expect("a blob").len(),
        descriptor["size"].as_u64().expect("a size")
    );
    path
}

fn json(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

#[test]
fn the_image_is_sound_and_its_kevmon_runs_without_anything_of_the_host() {
    let scratch = Scratch::new();
    let layout = scratch.path().join("layout");
    let root = scratch.path().join("root");
    fs::create_dir(&layout)
        .and_then(|()| fs::create_dir(&root))
        .expect("our own folder");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let archive = packages::file(OLDER, "kevmon-", ".oci.tar");
    run("tar", &["-xf", &text(&archive), "-C", &text(&layout)]).assert_code(0);

    let manifest = json(&blob(&layout, &json(&layout.join("index.json"))["manifests"][0]));
    let config = json(&blob(&layout, &manifest["config"]));
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/kevmon");
    let layer = blob(&layout, &manifest["layers"][0]);
    let unpacked = run("sh", &["-c", &format!("zcat {} | sha256sum", text(&layer))]);
    let identity = config["rootfs"]["diff_ids"][0].as_str().expect("an id");
    assert!(
        unpacked
            .stdout
            .starts_with(identity.trim_start_matches("sha256:")),
        "{identity}"
    );

    run("tar", &["-xzf", &text(&layer), "-C", &text(&root)]).assert_code(0);
    let inside = |arguments: &str| {
        let line = format!(
            "mount -t proc proc {0}/proc && exec chroot {0} /usr/bin/kevmon {arguments}",
            text(&root)
        );
        run("unshare", &["--mount", "--net", "sh", "-c", &line])
    };
    inside("--version").assert_code(0);
    inside("verify-install").assert_code(0);
    let collected = inside("--run-once --source proc --window 100ms --no-store --process-name '^kevmon$'");
    collected.assert_code(0);
    assert!(
        collected.stdout.contains("kevmon"),
        "processes of the host's /proc: {}{}",
        collected.stdout,
        collected.stderr
    );
    assert!(!root.join("bin/sh").exists(), "no shell");
}
