//! Tests of the alerts about services. Each alert fires when it should, and does not just below, while kevmon is started again, when a
//! counter begins again, and without data.

use super::rule_tests::{Case, Fired};
use super::rules::Group;
use super::scheme::{Backend, Naming, Scheme, selector};
use super::service_rules;

/// A series: what it measures, further labels, values a minute apart.
type Input = (&'static str, &'static str, &'static str);

/// A case: a name, its series, after how many minutes, and what is expected.
type Row = (&'static str, &'static [Input], u32, Expected);

#[derive(Clone, Copy)]
enum Expected {
    Nothing,
    /// The alert with this value in its text.
    Fires(&'static str),
    /// The alert with a signal's label as well.
    Signal(&'static str, &'static str),
}
use Expected::{Fires, Nothing, Signal};

const OOM: &str = "kevmon_exit_reason=\"oom\"";
const SEGV: &str = "kevmon_exit_reason=\"signal\",kevmon_exit_signal=\"SIGSEGV\"";
const TERM: &str = "kevmon_exit_reason=\"signal\",kevmon_exit_signal=\"SIGTERM\"";
const KILL: &str = "kevmon_exit_reason=\"signal\",kevmon_exit_signal=\"SIGKILL\"";

const CASES: &[(&str, &[Row])] = &[
    (
        "KevmonServiceDown",
        &[
            ("fires", &[("processes", "", "1x10 0x20")], 20, Fires("")),
            (
                "four minutes are not enough",
                &[("processes", "", "1x10 0x3 1x20")],
                14,
                Nothing,
            ),
            (
                "kevmon is started again",
                &[("processes", "", "1x10 _x3 1x20")],
                14,
                Nothing,
            ),
            (
                "kevmon ends its series and is started again",
                &[("processes", "", "1x10 stale _x3 1x20")],
                14,
                Nothing,
            ),
            (
                "a service is down while kevmon is started again",
                &[("processes", "", "1x10 0x9 stale 0x20")],
                21,
                Fires(""),
            ),
            ("no process all day", &[("processes", "", "0x60")], 50, Nothing),
            ("no data", &[], 20, Nothing),
        ],
    ),
    (
        "KevmonCrashLoop",
        &[
            ("fires", &[("crash_loop", "", "0x5 1x20")], 7, Fires("")),
            (
                "goes on firing while kevmon is started again",
                &[("crash_loop", "", "0x5 1x2 stale _x2 0x10")],
                12,
                Fires(""),
            ),
            ("ends", &[("crash_loop", "", "0x5 1x2 0x30")], 25, Nothing),
            ("not without a loop", &[("crash_loop", "", "0x30")], 20, Nothing),
            (
                "kevmon is started again",
                &[("crash_loop", "", "0x10 _x3 0x10")],
                15,
                Nothing,
            ),
            ("no data", &[], 20, Nothing),
        ],
    ),
    (
        "KevmonRestartAfterQuiet",
        &[
            ("fires", &[("restarts", "", "5x430 6x20")], 434, Fires("1")),
            (
                "not without a restart",
                &[("restarts", "", "5x450")],
                434,
                Nothing,
            ),
            (
                "not after a restart within six hours",
                &[("restarts", "", "5x300 6x130 7x20")],
                434,
                Nothing,
            ),
            (
                "not where nobody watched six hours ago",
                &[("restarts", "", "0x60 1x20")],
                63,
                Nothing,
            ),
            (
                "kevmon is started again",
                &[("restarts", "", "5x425 _x3 5x20")],
                431,
                Nothing,
            ),
            (
                "kevmon has a new state",
                &[("restarts", "", "5x425 0x20")],
                431,
                Nothing,
            ),
            ("no data", &[], 434, Nothing),
        ],
    ),
    (
        "KevmonOutOfMemoryKill",
        &[
            ("fires", &[("exits", OOM, "0x10 1x20")], 12, Fires("1")),
            ("not without one", &[("exits", OOM, "1x30")], 12, Nothing),
            ("not for SIGKILL", &[("exits", KILL, "0x10 1x20")], 12, Nothing),
            (
                "kevmon is started again",
                &[("exits", OOM, "3x10 _x3 3x10")],
                15,
                Nothing,
            ),
            (
                "kevmon has a new state",
                &[("exits", OOM, "3x10 0x10")],
                12,
                Nothing,
            ),
            ("no data", &[], 12, Nothing),
        ],
    ),
    (
        "KevmonServiceCrashed",
        &[
            (
                "fires",
                &[("exits", SEGV, "0x10 2x20")],
                12,
                Signal("SIGSEGV", "2"),
            ),
            ("not for SIGTERM", &[("exits", TERM, "0x10 5x20")], 12, Nothing),
            ("not without one", &[("exits", SEGV, "2x30")], 12, Nothing),
            (
                "kevmon is started again",
                &[("exits", SEGV, "2x10 _x3 2x10")],
                15,
                Nothing,
            ),
            (
                "kevmon has a new state",
                &[("exits", SEGV, "2x10 0x10")],
                12,
                Nothing,
            ),
            ("no data", &[], 12, Nothing),
        ],
    ),
    (
        "KevmonServiceKilled",
        &[
            ("fires", &[("exits", KILL, "0x10 1x20")], 12, Fires("1")),
            (
                "not for the OOM killer",
                &[("exits", OOM, "0x10 1x20")],
                12,
                Nothing,
            ),
            ("not without one", &[("exits", KILL, "2x30")], 12, Nothing),
            (
                "kevmon is started again",
                &[("exits", KILL, "2x10 _x3 2x10")],
                15,
                Nothing,
            ),
            (
                "kevmon has a new state",
                &[("exits", KILL, "2x10 0x10")],
                12,
                Nothing,
            ),
            ("no data", &[], 12, Nothing),
        ],
    ),
    (
        "KevmonFailedStarts",
        &[
            ("fires", &[("failed_starts", "", "0x10 3x20")], 12, Fires("3")),
            (
                "two are not enough",
                &[("failed_starts", "", "0x20 2x20")],
                25,
                Nothing,
            ),
            (
                "kevmon is started again",
                &[("failed_starts", "", "7x10 _x3 7x10")],
                15,
                Nothing,
            ),
            (
                "kevmon has a new state",
                &[("failed_starts", "", "7x30 0x20")],
                32,
                Nothing,
            ),
            ("no data", &[], 12, Nothing),
        ],
    ),
    (
        "KevmonDowntimeBudget",
        &[
            (
                "fires",
                &[("downtime", "", "0x100 100.5x20")],
                110,
                Fires("1m 40s"),
            ),
            (
                "80 seconds are within it",
                &[("downtime", "", "0x100 80x20")],
                110,
                Nothing,
            ),
            (
                "kevmon is started again",
                &[("downtime", "", "500x100 _x3 500x20")],
                110,
                Nothing,
            ),
            (
                "kevmon has a new state",
                &[("downtime", "", "500x100 0x20")],
                110,
                Nothing,
            ),
            ("no data", &[], 110, Nothing),
        ],
    ),
    (
        "KevmonRunQueueLatency",
        &[
            (
                "fires",
                &[
                    ("run_queue_wait", "", "0+36x60"),
                    ("cpu_user", "", "0+24x60"),
                    ("cpu_system", "", "0x60"),
                ],
                40,
                Fires("60%"),
            ),
            (
                "two fifths are not enough",
                &[
                    ("run_queue_wait", "", "0+24x60"),
                    ("cpu_user", "", "0+36x60"),
                    ("cpu_system", "", "0x60"),
                ],
                40,
                Nothing,
            ),
            (
                "not of what hardly runs",
                &[
                    ("run_queue_wait", "", "0+3x60"),
                    ("cpu_user", "", "0+1x60"),
                    ("cpu_system", "", "0x60"),
                ],
                40,
                Nothing,
            ),
            (
                "kevmon is started again",
                &[
                    ("run_queue_wait", "", "0+24x20 _x3 576+24x40"),
                    ("cpu_user", "", "0+36x20 _x3 864+36x40"),
                    ("cpu_system", "", "0x60"),
                ],
                40,
                Nothing,
            ),
            (
                "kevmon has a new state",
                &[
                    ("run_queue_wait", "", "900+24x20 0+24x40"),
                    ("cpu_user", "", "900+36x20 0+36x40"),
                    ("cpu_system", "", "0x60"),
                ],
                40,
                Nothing,
            ),
            ("no data", &[], 40, Nothing),
        ],
    ),
];

pub(super) fn cases(backend: Backend, naming: Naming) -> Vec<Case> {
    let scheme = Scheme {
        backend,
        naming,
        has_variables: false,
    };
    let group = service_rules::group(backend, naming);
    let rows = CASES
        .iter()
        .flat_map(|(alert, rows)| rows.iter().map(move |row| (*alert, row)));
    rows.filter_map(|(alert, row)| case(&scheme, &group, alert, row))
        .collect()
}

fn case(scheme: &Scheme, group: &Group, alert: &str, row: &Row) -> Option<Case> {
    let rule = group.rules.iter().find(|rule| rule.alert == alert)?;
    let (name, inputs, at, expected) = row;
    let identity = match scheme.backend {
        Backend::Prometheus => "job=\"acme/shop\",instance=\"i1\"",
        Backend::VictoriaMetrics => "service_namespace=\"acme\",service_name=\"shop\",host_name=\"web-3\"",
    };
    let series = |(key, labels, values): &Input| {
        let (name, own) = scheme.metric(key);
        (selector(name, &[identity, own, labels]), (*values).to_owned())
    };
    let mut all: Vec<(String, String)> = inputs.iter().map(series).collect();
    if scheme.backend == Backend::Prometheus {
        // As it is after an upgrade of what is watched: two sets of attributes, for a while.
        for version in ["service_version=\"1\"", "service_version=\"2\""] {
            let info = selector("target_info", &[identity, "host_name=\"web-3\"", version]);
            all.push((info, "1x500".to_owned()));
        }
    }
    let labels = |further: &[(&str, &str)]| {
        let own: &[(&str, &str)] = match scheme.backend {
            Backend::Prometheus => &[("job", "acme/shop"), ("instance", "i1")],
            Backend::VictoriaMetrics => &[("service_namespace", "acme"), ("service_name", "shop")],
        };
        let all = own.iter().chain(&[("host_name", "web-3")]).chain(further);
        all.map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
            .collect()
    };
    let fired = match expected {
        Nothing => None,
        Fires(value) => Some(Fired {
            labels: labels(&[]),
            value,
        }),
        Signal(signal, value) => Some(Fired {
            labels: labels(&[("kevmon_exit_signal", signal)]),
            value,
        }),
    };
    Some(Case::new(rule, name, *at, all, fired))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_is_tested_with_and_without_firing() {
        for rule in service_rules::group(Backend::Prometheus, Naming::Otel).rules {
            let cases = cases(Backend::Prometheus, Naming::Otel);
            let of_rule: Vec<&Case> = cases.iter().filter(|case| case.alert == rule.alert).collect();
            assert!(of_rule.iter().any(|case| case.fired.is_some()), "{}", rule.alert);
            for kind in ["kevmon is started again", "no data"] {
                let is_kind = |case: &&&Case| case.fired.is_none() && case.name.ends_with(kind);
                assert_eq!(
                    of_rule.iter().filter(is_kind).count(),
                    1,
                    "{}: {kind}",
                    rule.alert
                );
            }
        }
    }
}
