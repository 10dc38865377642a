//! The units of systemd, by systemd's own judgement.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use kevmon_tests::{kevmon, scratch::Scratch};

/// Ten times the exposures that docs/security.md states, of the units and with the drop-in.
const EXPOSURE: &str = "16";
const EXPOSURE_HIDDEN: &str = "14";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

/// Both units, which start the kevmon under test: `verify` looks for the program.
fn units() -> Scratch {
    let scratch = Scratch::new();
    let folder = folder();
    let binary = kevmon::binary();
    for name in ["kevmon.service", "kevmon@.service"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.contains("ExecStart=/usr/bin/kevmon"), "{name}");
        let text = text.replace("/usr/bin/kevmon", binary.to_str().unwrap());
        // The manual is not installed where the tests run.
        let lines = text.lines().filter(|line| !line.starts_with("Documentation="));
        let text: Vec<&str> = lines.collect();
        fs::write(scratch.path().join(name), text.join("\n") + "\n").unwrap();
    }
    scratch
}

fn analyze(args: &[&str], folder: &Path) -> Output {
    let output = Command::new("systemd-analyze")
        .args(args)
        .current_dir(folder)
        .output();
    output.unwrap_or_else(|error| panic!("missing prerequisite: systemd-analyze: {error}"))
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let units = units();
    for unit in ["./kevmon.service", "./kevmon@.service"] {
        let output = analyze(&["verify", "--man=no", unit], units.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("kevmon")).collect();
        assert!(output.status.success() && of_ours.is_empty(), "{unit}: {said}");
        assert_exposed_at_most(EXPOSURE, unit, units.path());
    }
    let drop_in = folder().join("kevmon.service.d/hidden-proc.conf.example");
    let to = units.path().join("kevmon.service.d");
    fs::create_dir(&to).unwrap();
    fs::copy(drop_in, to.join("hidden-proc.conf")).unwrap();
    assert_exposed_at_most(EXPOSURE_HIDDEN, "./kevmon.service", units.path());
}

fn assert_exposed_at_most(exposure: &str, unit: &str, units: &Path) {
    let args = [
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold",
        exposure,
        unit,
    ];
    let output = analyze(&args, units);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{unit}: {said}");
}
