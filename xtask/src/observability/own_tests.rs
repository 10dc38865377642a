//! Tests of the alerts about kevmon itself.

use super::own_rules;
use super::rule_tests::{Case, Fired};
use super::rules::Group;
use super::scheme::{Backend, selector};

/// A series: its name, further labels, values a minute apart.
type Input = (&'static str, &'static str, &'static str);

/// A case: a name, its series, after how many minutes, and the value in the alert's text where it is to fire.
type Row = (&'static str, &'static [Input], u32, Option<&'static str>);

const COMPLETE: &str = "kevmon_complete_ratio";
const OUTAGE: &str = "kevmon_outage_time_seconds_total";
const SOURCE: &str = "kevmon_source_ratio";
const PROC: &str = "kevmon_source_name=\"proc\",kevmon_source_reason=\"refused\"";
const EBPF: &str = "kevmon_source_name=\"ebpf\",kevmon_source_reason=\"supported\"";
const RECORDS: &str = "kevmon_records_lost_total";
const EXEC: &str = "kevmon_program=\"sched_process_exec\"";
const FAULTY: &str = "kevmon_plugins_faulty";
const FILE: &str = "kevmon_plugin_file=\"/etc/kevmon/plugins/shop/plugin.toml\"";
const LOST: &str = "kevmon_export_lost_total";
const REFUSED: &str = "kevmon_receiver=\"default\",kevmon_signal=\"metrics\",kevmon_reason=\"refused\"";
const UNSUPPORTED: &str = "kevmon_receiver=\"default\",kevmon_signal=\"logs\",kevmon_reason=\"unsupported\"";
const SOFT: &str = "kevmon_soft_failures_total";
const FAILED: &str = "kevmon_kind=\"export_failed\"";
const SPOOL: &str = "kevmon_spool_requests";
const LANE: &str = "kevmon_receiver=\"default\",kevmon_signal=\"metrics\"";

/// The labels that an alert has of its series, besides those of kevmon.
const FURTHER: &[(&str, &[&str])] = &[
    ("KevmonWithoutEbpf", &["kevmon_source_reason"]),
    ("KevmonPluginFaulty", &["kevmon_plugin_file"]),
    (
        "KevmonExportLosing",
        &["kevmon_receiver", "kevmon_signal", "kevmon_reason"],
    ),
    ("KevmonSpoolWaiting", &["kevmon_receiver", "kevmon_signal"]),
];

const CASES: &[(&str, &[Row])] = &[
    (
        "KevmonStoppedReporting",
        &[
            ("fires", &[(COMPLETE, "", "1x20 stale")], 32, Some("")),
            (
                "nine minutes are not enough",
                &[(COMPLETE, "", "1x20 stale")],
                29,
                None,
            ),
            (
                "kevmon is started again",
                &[(COMPLETE, "", "1x20 stale _x3 1x20")],
                24,
                None,
            ),
            ("no data", &[], 32, None),
        ],
    ),
    (
        "KevmonNoneReports",
        &[
            ("fires", &[(COMPLETE, "", "1x20 stale")], 37, Some("")),
            ("no data", &[], 6, Some("")),
            ("not just after the database's start", &[], 3, None),
            (
                "kevmon is started again",
                &[(COMPLETE, "", "1x20 _x12 1x20")],
                33,
                None,
            ),
        ],
    ),
    (
        "KevmonWasAway",
        &[
            ("fires", &[(OUTAGE, "", "0x10 _x6 400x20")], 20, Some("6m 40s")),
            (
                "200 seconds are not enough",
                &[(OUTAGE, "", "0x10 _x3 200x20")],
                20,
                None,
            ),
            (
                "kevmon is started again",
                &[(OUTAGE, "", "900x10 _x3 910x20")],
                20,
                None,
            ),
            ("no data", &[], 20, None),
        ],
    ),
    (
        "KevmonScrapeFails",
        &[
            ("fires", &[("up", "", "1x5 0x20")], 12, Some("")),
            ("kevmon is started again", &[("up", "", "1x5 0x3 1x20")], 9, None),
            ("no data", &[], 12, None),
        ],
    ),
    (
        "KevmonIncomplete",
        &[
            ("fires", &[(COMPLETE, "", "1x10 0x60")], 60, Some("0%")),
            (
                "one interval in thirty is not enough",
                &[(COMPLETE, "", "1x40 0 1x60")],
                60,
                None,
            ),
            (
                "not at the first interval of a first run",
                &[(COMPLETE, "", "0 1x60")],
                16,
                None,
            ),
            (
                "not where all comes from /proc",
                &[(COMPLETE, "", "0x60"), (SOURCE, PROC, "1x60")],
                50,
                None,
            ),
            (
                "kevmon is started again",
                &[(COMPLETE, "", "1x40 stale _x2 0 1x60")],
                60,
                None,
            ),
            ("no data", &[], 60, None),
        ],
    ),
    (
        "KevmonWithoutEbpf",
        &[
            ("fires", &[(SOURCE, PROC, "1x20")], 10, Some("")),
            ("not with eBPF", &[(SOURCE, EBPF, "1x20")], 10, None),
            (
                "kevmon is started again",
                &[(SOURCE, EBPF, "1x10 stale _x3 1x20")],
                16,
                None,
            ),
            ("no data", &[], 10, None),
        ],
    ),
    (
        "KevmonRecordsLost",
        &[
            ("fires", &[(RECORDS, EXEC, "0x10 7x20")], 12, Some("7")),
            ("not without a loss", &[(RECORDS, EXEC, "7x30")], 25, None),
            (
                "kevmon is started again",
                &[(RECORDS, EXEC, "9x10 stale _x2 0x20")],
                20,
                None,
            ),
            ("no data", &[], 12, None),
        ],
    ),
    (
        "KevmonPluginFaulty",
        &[
            ("fires", &[(FAULTY, FILE, "1x20")], 8, Some("")),
            (
                "goes on firing while kevmon is started again",
                &[(FAULTY, FILE, "1x20 stale _x1 1x20")],
                22,
                Some(""),
            ),
            (
                "a minute while the file is written is not enough",
                &[(FAULTY, FILE, "1x1 stale")],
                8,
                None,
            ),
            (
                "kevmon is started again",
                &[(FAULTY, FILE, "0x10 stale _x2 0x20")],
                20,
                None,
            ),
            ("no data", &[], 8, None),
        ],
    ),
    (
        "KevmonExportLosing",
        &[
            (
                "fires at the first loss",
                &[(LOST, REFUSED, "_x10 5x20")],
                12,
                Some("5"),
            ),
            (
                "fires at a further loss",
                &[(LOST, REFUSED, "5x30 8x20")],
                33,
                Some("3"),
            ),
            ("not for an old loss", &[(LOST, REFUSED, "5x100")], 50, None),
            (
                "not for a signal that the receiver has no service for",
                &[(LOST, UNSUPPORTED, "_x10 5x20")],
                12,
                None,
            ),
            (
                "kevmon is started again",
                &[(LOST, REFUSED, "5x60 stale")],
                64,
                None,
            ),
            ("no data", &[], 12, None),
        ],
    ),
    (
        "KevmonExportFailing",
        &[
            ("fires", &[(SOFT, FAILED, "0+1x60")], 40, Some("15")),
            (
                "some failures are not enough",
                &[(SOFT, FAILED, "0+0.5x60")],
                40,
                None,
            ),
            (
                "other failures are none",
                &[(SOFT, "kevmon_kind=\"process_vanished\"", "0+9x60")],
                40,
                None,
            ),
            (
                "kevmon is started again",
                &[(SOFT, FAILED, "0+0.5x20 stale _x2 0+0.5x40")],
                40,
                None,
            ),
            ("no data", &[], 40, None),
        ],
    ),
    (
        "KevmonSpoolWaiting",
        &[
            ("fires", &[(SPOOL, LANE, "_x5 3x30")], 30, Some("3")),
            ("not where it drains", &[(SPOOL, LANE, "_x5 3x8 0x20")], 30, None),
            (
                "kevmon is started again",
                &[(SPOOL, LANE, "0x10 stale _x2 2x2 0x20")],
                25,
                None,
            ),
            ("no data", &[], 30, None),
        ],
    ),
];

pub(super) fn cases(backend: Backend) -> Vec<Case> {
    let group = own_rules::group(backend);
    let rows = CASES
        .iter()
        .flat_map(|(alert, rows)| rows.iter().map(move |row| (*alert, row)));
    rows.filter_map(|(alert, row)| case(backend, &group, alert, row))
        .collect()
}

fn case(backend: Backend, group: &Group, alert: &str, row: &Row) -> Option<Case> {
    let rule = group.rules.iter().find(|rule| rule.alert == alert)?;
    let (name, inputs, at, value) = row;
    let identity = match backend {
        Backend::Prometheus => "job=\"kevmon/kevmon\",instance=\"k1\"",
        Backend::VictoriaMetrics => {
            "service_namespace=\"kevmon\",service_name=\"kevmon\",service_instance_id=\"k1\",host_name=\"web-3\""
        }
    };
    let target = "job=\"kevmon\",instance=\"web-3:9464\"";
    let series = |(name, labels, values): &Input| {
        let identity = if *name == "up" { target } else { identity };
        (selector(name, &[identity, labels]), (*values).to_owned())
    };
    let mut all: Vec<(String, String)> = inputs.iter().map(series).collect();
    if let (Backend::Prometheus, Some((_, _, values))) = (backend, inputs.first()) {
        // It is there when kevmon's other series are: one of two versions before, the other one after an upgrade.
        let info = |version| selector("target_info", &[identity, "host_name=\"web-3\"", version]);
        all.push((info("service_version=\"1\""), presence(values)));
        all.push((info("service_version=\"2\""), presence(values)));
    }
    let own: &[(&str, &str)] = match (alert, backend) {
        ("KevmonNoneReports", _) => &[],
        ("KevmonScrapeFails", _) => &[("job", "kevmon"), ("instance", "web-3:9464")],
        (_, Backend::Prometheus) => &[
            ("job", "kevmon/kevmon"),
            ("instance", "k1"),
            ("host_name", "web-3"),
        ],
        (_, Backend::VictoriaMetrics) => &[("service_instance_id", "k1"), ("host_name", "web-3")],
    };
    let mut labels: Vec<(String, String)> = own
        .iter()
        .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
        .collect();
    let further = FURTHER
        .iter()
        .find(|(of, _)| *of == alert)
        .map_or(&[][..], |(_, further)| further);
    for (label, value) in inputs.iter().flat_map(|(_, labels, _)| pairs(labels)) {
        if further.contains(&label) {
            labels.push((label.to_owned(), value.to_owned()));
        }
    }
    let fired = value.map(|value| Fired { labels, value });
    Some(Case::new(rule, name, *at, all, fired))
}

/// A label's name and value, of each matcher.
fn pairs(labels: &str) -> impl Iterator<Item = (&str, &str)> {
    let matchers = labels
        .split("\",")
        .filter_map(|matcher| matcher.split_once("=\""));
    matchers.map(|(label, value)| (label, value.trim_end_matches('"')))
}

/// 1 where there is a value.
fn presence(values: &str) -> String {
    let one = |part: &str| match part.split_once('x') {
        _ if part.starts_with('_') || part == "stale" => part.to_owned(),
        Some((_, times)) => format!("1x{times}"),
        None => "1".to_owned(),
    };
    values.split(' ').map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_is_tested_with_and_without_firing() {
        for rule in own_rules::group(Backend::Prometheus).rules {
            let cases = cases(Backend::Prometheus);
            let of_rule: Vec<&Case> = cases.iter().filter(|case| case.alert == rule.alert).collect();
            assert!(of_rule.iter().any(|case| case.fired.is_some()), "{}", rule.alert);
            let restarted =
                |case: &&&Case| case.fired.is_none() && case.name.ends_with("kevmon is started again");
            assert_eq!(of_rule.iter().filter(restarted).count(), 1, "{}", rule.alert);
            let absent = of_rule.iter().filter(|case| case.name.ends_with("no data"));
            assert_eq!(absent.count(), 1, "{}", rule.alert);
        }
    }
}
