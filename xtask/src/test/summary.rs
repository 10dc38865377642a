//! What is said at the end of a run.

use std::time::Duration;

use super::{Outcome, Report};

/// Names the tests that failed at first; empty where there are none.
pub(super) fn flaky(tests: &[String]) -> String {
    if tests.is_empty() {
        return String::new();
    }
    format!(
        "\nflaky: failed at first, and passed alone:\n  {}\n",
        tests.join("\n  ")
    )
}

/// The stages, how each ended and how long it took, and the errors.
pub(super) fn summary(reports: &[Report]) -> String {
    let width = reports
        .iter()
        .map(|report| report.stage.name().len())
        .max()
        .unwrap_or_default();
    let mut text = String::from("\n");
    for Report { stage, outcome } in reports {
        let (word, duration) = match outcome {
            Outcome::Passed(duration) => ("ok", Some(duration)),
            Outcome::Failed(duration, _) => ("FAILED", Some(duration)),
            Outcome::NotRun => ("not run", None),
        };
        let seconds = duration
            .map(|duration| format!("{:8.1} s", duration.as_secs_f64()))
            .unwrap_or_default();
        text.push_str(format!("  {:width$}  {word:<7} {seconds}", stage.name()).trim_end());
        text.push('\n');
    }
    let total: Duration = reports
        .iter()
        .filter_map(|report| match report.outcome {
            Outcome::Passed(duration) | Outcome::Failed(duration, _) => Some(duration),
            Outcome::NotRun => None,
        })
        .sum();
    text.push_str(&format!(
        "  {:width$}  {:7} {:8.1} s\n",
        "total",
        "",
        total.as_secs_f64()
    ));
    for Report { stage, outcome } in reports {
        if let Outcome::Failed(_, reason) = outcome {
            text.push_str(&format!("\nerror: {} failed: {reason}\n", stage.name()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Stage;
    use super::*;

    #[test]
    fn tests_that_passed_alone_are_named_as_flaky() {
        assert_eq!(flaky(&[]), "");
        let text = flaky(&["a::b".to_owned(), "c::d".to_owned()]);
        assert!(
            text.contains("flaky: failed at first, and passed alone:\n  a::b\n  c::d\n"),
            "{text}"
        );
    }

    #[test]
    fn the_summary_names_what_failed_and_what_did_not_run() {
        let second = Duration::from_secs(1);
        let text = summary(&[
            Report {
                stage: Stage::Format,
                outcome: Outcome::Passed(second),
            },
            Report {
                stage: Stage::Setup,
                outcome: Outcome::Failed(second, "no compiler".to_owned()),
            },
            Report {
                stage: Stage::Ebpf,
                outcome: Outcome::NotRun,
            },
        ]);
        for part in [
            "format check",
            "ok",
            "FAILED",
            "not run",
            "error: setup failed: no compiler",
            "2.0 s",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
