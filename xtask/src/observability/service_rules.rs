//! Alerts about the watched services. kevmon collects once a minute by default, so ranges hold several collections, and bridge the
//! minute that a restart of kevmon takes. Counters go on over kevmon's restarts; `increase` takes one that fell to 0 as one that begins again.

use super::rules::{Group, Rule, Severity};
use super::scheme::{Backend, Naming, Over, Scheme};

/// Signals that a fault in the program sends itself.
const FAULTS: &str = "kevmon_exit_signal=~\"SIGSEGV|SIGABRT|SIGBUS|SIGILL|SIGFPE|SIGSYS|SIGTRAP\"";

pub(super) fn group(backend: Backend, naming: Naming) -> Group {
    let scheme = Scheme {
        backend,
        naming,
        has_variables: false,
    };
    let mut rules = presence(&scheme);
    rules.extend(ends(&scheme));
    rules.extend(service_level(&scheme));
    Group {
        name: format!("kevmon-services{}", naming.suffix()),
        rules,
    }
}

/// "kevmon/shop on web-3", in the templates of annotations.
fn who(scheme: &Scheme) -> String {
    format!(
        "{{{{ $labels.{} }}}} on {{{{ $labels.host_name }}}}",
        scheme.backend.service()
    )
}

fn increase(range: &str) -> Over<'_> {
    Over::Range("increase", range)
}

fn presence(scheme: &Scheme) -> Vec<Rule> {
    let who = who(scheme);
    let most = |range| scheme.aggregate("max", "processes", Over::Range("max_over_time", range), "", "");
    let restarts = |over| scheme.sum("restarts", over, "");
    let looping = scheme.aggregate("max", "crash_loop", Over::Range("max_over_time", "10m"), "", "");
    vec![
        Rule {
            alert: "KevmonServiceDown",
            severity: Severity::Critical,
            lasts: "3m",
            // A service that had no process all day is not installed here, or was given up.
            expression: scheme.located(&format!("{} == 0\nand {} > 0", most("3m"), most("1d"))),
            summary: format!("{who} has no process"),
            description: format!(
                "{who} had no process in the last six minutes, and had one within the last day."
            ),
        },
        Rule {
            alert: "KevmonCrashLoop",
            severity: Severity::Critical,
            lasts: "0m",
            expression: format!("{} > 0", scheme.located(&looping)),
            summary: format!("{who} is in a crash loop"),
            description: format!(
                "At least three processes of one program of {who} failed and were replaced within its restart_window (five minutes, \
                 unless its plugin says otherwise), and this was so within the last ten minutes."
            ),
        },
        Rule {
            alert: "KevmonRestartAfterQuiet",
            severity: Severity::Warning,
            lasts: "0m",
            // What was not there six hours ago, nobody knows to have been quiet.
            expression: scheme.located(&format!(
                "({} > 0.5\nunless {} > 0.5)\nand {}",
                restarts(increase("10m")),
                restarts(Over::Before("increase", "6h", "10m")),
                scheme.aggregate(
                    "max",
                    "restarts",
                    Over::Before("present_over_time", "1h", "6h"),
                    "",
                    ""
                ),
            )),
            summary: format!("{who} restarted after six quiet hours"),
            description: format!(
                "{who} restarted about {{{{ $value | printf \"%.0f\" }}}} times in the last ten minutes, and not in the six hours before."
            ),
        },
    ]
}

fn ends(scheme: &Scheme) -> Vec<Rule> {
    let who = who(scheme);
    let exits =
        |range, further, matching| scheme.aggregate("sum", "exits", increase(range), further, matching);
    let oom = exits("10m", "", "kevmon_exit_reason=\"oom\"");
    let faults = exits("10m", "kevmon_exit_signal", FAULTS);
    let killed = exits("10m", "", "kevmon_exit_signal=\"SIGKILL\"");
    vec![
        Rule {
            alert: "KevmonOutOfMemoryKill",
            severity: Severity::Critical,
            lasts: "0m",
            expression: format!("{} > 0.5", scheme.located(&oom)),
            summary: format!("The OOM killer ended a process of {who}"),
            description: format!(
                "The kernel's OOM killer ended about {{{{ $value | printf \"%.0f\" }}}} processes of {who} in the last ten minutes: its control \
                 group or the host was out of memory."
            ),
        },
        Rule {
            alert: "KevmonServiceCrashed",
            severity: Severity::Warning,
            lasts: "0m",
            expression: format!("{} > 0.5", scheme.located(&faults)),
            summary: format!("{who} crashed with {{{{ $labels.kevmon_exit_signal }}}}"),
            description: format!(
                "{{{{ $labels.kevmon_exit_signal }}}} ended about {{{{ $value | printf \"%.0f\" }}}} processes of {who} in the last ten minutes."
            ),
        },
        Rule {
            alert: "KevmonServiceKilled",
            severity: Severity::Warning,
            lasts: "0m",
            expression: format!("{} > 0.5", scheme.located(&killed)),
            summary: format!("SIGKILL ended a process of {who}"),
            description: format!(
                "SIGKILL ended about {{{{ $value | printf \"%.0f\" }}}} processes of {who} in the last ten minutes, and it was not the kernel's \
                 OOM killer: somebody, a supervisor whose time-out passed, or an OOM killer in userspace."
            ),
        },
    ]
}

fn service_level(scheme: &Scheme) -> Vec<Rule> {
    let who = who(scheme);
    let rate = Over::Range("rate", "10m");
    let (wait, cpu) = (
        scheme.sum("run_queue_wait", rate, ""),
        scheme.sum("cpu", rate, ""),
    );
    let failed = scheme.sum("failed_starts", increase("15m"), "");
    let downtime = scheme.sum("downtime", increase("1d"), "");
    vec![
        Rule {
            alert: "KevmonFailedStarts",
            severity: Severity::Warning,
            lasts: "0m",
            expression: format!("{} > 2.5", scheme.located(&failed)),
            summary: format!("{who} fails to start"),
            description: format!(
                "About {{{{ $value | printf \"%.0f\" }}}} processes of {who} failed within a second of their start in the last fifteen minutes."
            ),
        },
        Rule {
            alert: "KevmonDowntimeBudget",
            severity: Severity::Warning,
            lasts: "0m",
            expression: format!("{} > 86.4", scheme.located(&downtime)),
            summary: format!("{who} used up its downtime of the day"),
            description: format!(
                "Between ends of {who} and the starts that took their places were {{{{ $value | humanizeDuration }}}} in the last day; \
                 99.9 % are 86 s."
            ),
        },
        Rule {
            alert: "KevmonRunQueueLatency",
            severity: Severity::Warning,
            lasts: "10m",
            // The second condition leaves out what hardly runs.
            expression: scheme.located(&format!("{wait} / ({wait} + {cpu}) > 0.5\nand {wait} > 0.1")),
            summary: format!("{who} waits for a CPU"),
            description: format!(
                "Threads of {who} waited for a CPU during {{{{ $value | humanizePercentage }}}} of the time that they wanted to run, \
                 for twenty minutes."
            ),
        },
    ]
}
