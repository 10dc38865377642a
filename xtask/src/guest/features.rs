//! Which feature works on which kernel, by the tests that ran there, as the table of docs/limits.md.

use super::machine::Ended;

/// Features, with the beginnings of the names of the tests that show them. Together they are the tests of `vm-test`.
pub(super) const FEATURES: [(&str, &[&str]); 15] = [
    ("each life: forks, threads, zombies, daemons", &["lives::"]),
    (
        "CPU time, bytes and switches as `wait4` has them",
        &["accounting::", "cpu_usage::"],
    ),
    (
        "how it ended: exit code, signal and its sender, core dump",
        &["reasons::a_", "reasons::e"],
    ),
    ("ends by the OOM killer", &["reasons::the_oom_killer"]),
    (
        "command lines of any length",
        &["command_lines::", "long_arguments::"],
    ),
    (
        "short lives told apart by their arguments",
        &["matching::short_lives_told_apart_by_their_arguments"],
    ),
    ("renames", &["renames::"]),
    (
        "executions in place, restarts",
        &["reexecuted::a_program", "restarts::every_"],
    ),
    ("user, control group, namespaces", &["selectors::"]),
    ("counters after a full ring", &["overflow::", "loss_corners::"]),
    ("reused pids", &["pid_reuse::"]),
    (
        "a kernel side that stays after a kill",
        &["kills::a_kill_loses_no_life", "pins::"],
    ),
    (
        "`hidepid`, and CAP_BPF with CAP_PERFMON alone",
        &["proc_source::", "rights::"],
    ),
    ("values of `/proc` at `--run-once`", &["run_once::"]),
    ("values that depend on the kernel's build", &["kernel_features::"]),
];

/// The table: a row for each feature, a column for each kernel. Empty where no test of it ran anywhere.
pub(super) fn table(kernels: &[(&str, &Ended)]) -> String {
    let mut rows: Vec<(&str, Vec<String>)> = FEATURES
        .iter()
        .map(|(feature, tests)| {
            let states = kernels.iter().map(|(_, ended)| state(ended, tests));
            (*feature, states.collect())
        })
        .collect();
    let mut said: Vec<&str> = Vec::new();
    for (feature, _) in kernels.iter().flat_map(|(_, ended)| &ended.said) {
        if !said.contains(&feature.as_str()) {
            said.push(feature);
        }
    }
    for feature in said {
        let of = |ended: &Ended| {
            let mut said = ended.said.iter();
            said.find(|(name, _)| name == feature)
                .map(|(_, state)| state.clone())
        };
        let states = kernels.iter().map(|(_, ended)| of(ended).unwrap_or_default());
        rows.push((feature, states.collect()));
    }
    rows.retain(|(_, states)| states.iter().any(|state| !state.is_empty()));
    if rows.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = kernels.iter().map(|(name, _)| *name).collect();
    let mut text = format!(
        "| feature | {} |\n|---{}|\n",
        names.join(" | "),
        "|---".repeat(names.len())
    );
    for (feature, states) in rows {
        text.push_str(&format!("| {feature} | {} |\n", states.join(" | ")));
    }
    text
}

/// Whether the tests whose names begin so have passed; nothing where none ran.
fn state(ended: &Ended, tests: &[&str]) -> String {
    let shows = |name: &&String| tests.iter().any(|test| name.starts_with(test));
    let failed: Vec<&str> = ended.failed.iter().filter(shows).map(String::as_str).collect();
    match (failed.as_slice(), ended.passed.iter().any(|name| shows(&name))) {
        ([], false) => String::new(),
        ([], true) => "works".to_owned(),
        (failed, _) => format!("FAILED: {}", failed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_works_where_its_tests_passed() {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let old = Ended {
            passed: owned(&["lives::a", "renames::b"]),
            failed: owned(&["lives::c"]),
            said: vec![("`x`".to_owned(), "absent".to_owned())],
            ..Ended::default()
        };
        let new = Ended {
            passed: owned(&["lives::a", "lives::c"]),
            ..Ended::default()
        };
        let table = table(&[("5.10", &old), ("6.12", &new)]);
        assert_eq!(
            table.lines().collect::<Vec<_>>(),
            [
                "| feature | 5.10 | 6.12 |",
                "|---|---|---|",
                "| each life: forks, threads, zombies, daemons | FAILED: lives::c | works |",
                "| renames | works |  |",
                "| `x` | absent |  |",
            ]
        );
        assert_eq!(super::table(&[("6.1", &Ended::default())]), "");
    }
}
