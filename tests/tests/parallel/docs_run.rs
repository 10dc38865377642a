//! Blocks of the documentation that are marked `sh run` do what the page says, with the output that it shows.

use std::path::PathBuf;

use kevmon_tests::{
    docs::{self, Page},
    tour,
};

/// A program that a page has on PATH.
fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    PathBuf::from(path.unwrap_or_else(|| panic!("missing prerequisite: {variable}; run cargo xtask test")))
}

fn page(path: &str) -> Page {
    let found = docs::pages()
        .into_iter()
        .find(|page| page.path.as_os_str() == path);
    found.unwrap_or_else(|| panic!("no page {path}"))
}

/// How many times as long as a page says its commands wait. The second try is for a busy host.
const STRETCHES: [u32; 2] = [2, 8];

/// Runs a page, and returns all that it printed; panics with the first line that does not come.
fn check(path: &str, programs: &[(&str, PathBuf)]) -> String {
    let page = page(path);
    let programs: Vec<_> = programs
        .iter()
        .map(|(name, path)| (*name, path.as_path()))
        .collect();
    let mut fault = String::new();
    for stretch in STRETCHES {
        let runs = tour::run(&page, &programs, stretch);
        assert!(!runs.is_empty(), "{path} has no block `sh run`");
        let all: String = runs.iter().map(|run| run.output.as_str()).collect();
        let missing = runs.iter().find_map(|run| {
            let expected = run.expected.as_ref()?;
            let line = tour::missing(&expected.text, &run.output)?;
            Some(format!(
                "{path}:{}: {line:?} is missing in\n{}",
                expected.line, run.output
            ))
        });
        match missing {
            None => return all,
            Some(missing) => fault = format!("{missing}\nof all blocks\n{all}"),
        }
    }
    panic!("{fault}")
}

#[test]
fn tutorial() {
    check(
        "docs/tutorial.md",
        &[("victoria-metrics", program("KEVMON_VICTORIA_METRICS"))],
    );
}

#[test]
fn python_service() {
    check("docs/guides/python.md", &[]);
}

#[test]
fn cron_jobs() {
    check("docs/guides/cron.md", &[]);
}

#[test]
fn noisy_neighbour() {
    let output = check("docs/guides/noisy-neighbour.md", &[]);
    let neighbours = output
        .lines()
        .find(|line| line.contains("ran while they waited: "));
    assert!(
        neighbours.is_some_and(|line| line.contains("noisy-batch")),
        "{output}"
    );
}

#[test]
fn every_page_with_marked_blocks_is_run() {
    let mut marked: Vec<String> = docs::pages()
        .iter()
        .filter(|page| !tour::marked(&page.text).is_empty())
        .map(|page| page.path.display().to_string())
        .collect();
    marked.sort();
    assert_eq!(marked, RUN, "run each in a test of its own");
}

/// The pages that are run above.
const RUN: [&str; 4] = [
    "docs/guides/cron.md",
    "docs/guides/noisy-neighbour.md",
    "docs/guides/python.md",
    "docs/tutorial.md",
];

#[test]
fn what_may_differ() {
    for (documented, real) in [
        ("it lived 4.3 s, then", "it lived 1m 40s, then"),
        (
            "exit 3, lived 4.376 s, cpu 1.2 ms",
            "exit 3, lived 950 ms, cpu 17 µs",
        ),
        ("  RSS 1.6 MiB,  CPU <0.01", " RSS 996 KiB, CPU 1.25"),
        ("16:16:51.703 EXIT 1138", "09:00:01.001 EXIT      77"),
        ("(since 2.2 s)", "(since 9 ms)"),
    ] {
        assert_eq!(tour::shape(documented), tour::shape(real));
    }
    for (documented, real) in [
        ("SIGSEGV by 77 (bash)", "SIGKILL by 77 (bash)"),
        ("restarts 3", "exits 3"),
        ("EXIT 7 exit 3, lived", "EXIT 7 exit 1, lived"),
        ("now", "now: 3"),
    ] {
        assert_ne!(tour::shape(documented), tour::shape(real));
    }
}

#[test]
fn lines_come_in_order() {
    assert_eq!(tour::missing("a 1\n…\nb\n", "x\na 2\ny\nb\n"), None);
    assert_eq!(tour::missing("b\na 1\n", "a 2\nb\n"), Some("a 1"));
    assert_eq!(tour::missing("c\n", "a\nb\n"), Some("c"));
}
