//! Puts the eBPF object, which `cargo xtask build` makes with a toolchain of its own, where the source can embed it.

use std::{env, path::PathBuf, process::exit};

fn main() {
    println!("cargo::rerun-if-env-changed=KEVMON_EBPF_OBJECT");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let object = env::var_os("KEVMON_EBPF_OBJECT").map_or_else(
        || root.join("target/ebpf/bpfel-unknown-none/release/kevmon-ebpf"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() || !object.with_file_name("kevmon-switches").is_file() {
        eprintln!(
            "{}: no such file. The eBPF half of kevmon is built first, by `cargo xtask build` \
             (which also finds or installs what that needs).",
            object.display()
        );
        exit(1);
    }
    println!("cargo::rustc-env=KEVMON_EBPF_OBJECT_PATH={}", object.display());
    let switches = object.with_file_name("kevmon-switches");
    println!("cargo::rerun-if-changed={}", switches.display());
    println!(
        "cargo::rustc-env=KEVMON_EBPF_SWITCHES_PATH={}",
        switches.display()
    );
}
