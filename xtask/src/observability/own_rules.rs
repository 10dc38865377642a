//! Alerts about kevmon itself: whether it is there, whether its numbers can be trusted, and whether they arrive.

use super::rules::{Group, Rule, Severity};
use super::scheme::{Backend, Over, Own};

pub(super) fn group(backend: Backend) -> Group {
    let own = Own {
        backend,
        has_variables: false,
    };
    let mut rules = presence(&own);
    rules.extend(trust(&own));
    rules.extend(delivery(&own));
    Group {
        name: "kevmon-itself".to_owned(),
        rules,
    }
}

/// In the templates of annotations.
const HOST: &str = "{{ $labels.host_name }}";

fn presence(own: &Own) -> Vec<Rule> {
    let seen = |range| {
        own.aggregate(
            "max",
            "kevmon_complete_ratio",
            Over::Range("present_over_time", range),
            "",
        )
    };
    let away = own.aggregate(
        "sum",
        "kevmon_outage_time_seconds_total",
        Over::Range("increase", "1h"),
        "",
    );
    let mut rules = vec![
        Rule {
            alert: "KevmonStoppedReporting",
            severity: Severity::Critical,
            lasts: "0m",
            expression: own.located(&format!("{} unless {}", seen("1d"), seen("10m"))),
            summary: format!("kevmon on {HOST} reports no more"),
            description: format!(
                "kevmon on {HOST} has reported nothing for ten minutes, and did within the last day. What its services do is not known \
                 meanwhile: their alerts are silent."
            ),
        },
        Rule {
            alert: "KevmonNoneReports",
            severity: Severity::Critical,
            lasts: "5m",
            expression: "absent_over_time(kevmon_complete_ratio[10m])".to_owned(),
            summary: "No kevmon reports".to_owned(),
            description:
                "No kevmon of any host has reported for ten minutes: no alert about a service can fire."
                    .to_owned(),
        },
        Rule {
            alert: "KevmonWasAway",
            severity: Severity::Info,
            lasts: "0m",
            expression: format!("{} > 300", own.located(&away)),
            summary: format!("kevmon on {HOST} was away"),
            description: format!(
                "kevmon on {HOST} was not there for {{{{ $value | humanizeDuration }}}} of the last hour. What its services did meanwhile \
                 may be in no number."
            ),
        },
    ];
    // Only a page has a target.
    if own.backend == Backend::Prometheus {
        rules.push(Rule {
            alert: "KevmonScrapeFails",
            severity: Severity::Critical,
            lasts: "5m",
            expression: "up{job=\"kevmon\"} == 0".to_owned(),
            summary: "kevmon's page at {{ $labels.instance }} cannot be read".to_owned(),
            description: "Prometheus has not been able to read kevmon's page at {{ $labels.instance }} for five minutes.".to_owned(),
        });
    }
    rules
}

fn trust(own: &Own) -> Vec<Rule> {
    let procfs = |range, further| {
        let over = Over::Range("max_over_time", range);
        own.matching(
            "max",
            "kevmon_source_ratio",
            over,
            further,
            "kevmon_source_name=\"proc\"",
        )
    };
    let complete = own.aggregate(
        "avg",
        "kevmon_complete_ratio",
        Over::Range("avg_over_time", "30m"),
        "",
    );
    let lost = own.aggregate(
        "sum",
        "kevmon_records_lost_total",
        Over::Range("increase", "15m"),
        "",
    );
    let over = Over::Range("max_over_time", "3m");
    let faulty = own.aggregate("max", "kevmon_plugins_faulty", over, "kevmon_plugin_file");
    vec![
        Rule {
            alert: "KevmonIncomplete",
            severity: Severity::Warning,
            lasts: "15m",
            // One incomplete interval, as after a restart, is 0.97 of thirty. Read from /proc, none is complete.
            expression: own.located(&format!("{complete} < 0.9\nunless {}", procfs("30m", ""))),
            summary: format!("Counts of kevmon on {HOST} are incomplete"),
            description: format!(
                "Only {{{{ $value | humanizePercentage }}}} of the intervals of kevmon on {HOST} were complete in the last half hour: starts, \
                 exits and restarts may be missing."
            ),
        },
        Rule {
            alert: "KevmonWithoutEbpf",
            severity: Severity::Warning,
            lasts: "5m",
            expression: own.located(&format!("{} > 0", procfs("3m", "kevmon_source_reason"))),
            summary: format!("kevmon on {HOST} reads /proc"),
            description: format!(
                "kevmon on {HOST} reads /proc and not the kernel's events ({{{{ $labels.kevmon_source_reason }}}}): what lives between two \
                 scans is missed."
            ),
        },
        Rule {
            alert: "KevmonRecordsLost",
            severity: Severity::Info,
            lasts: "0m",
            expression: format!("{} > 0.5", own.located(&lost)),
            summary: format!("kevmon on {HOST} lost records"),
            description: format!(
                "The ring had no room for about {{{{ $value | printf \"%.0f\" }}}} records of kevmon on {HOST} in the last fifteen minutes. Those \
                 intervals are marked as incomplete."
            ),
        },
        Rule {
            alert: "KevmonPluginFaulty",
            severity: Severity::Warning,
            lasts: "5m",
            expression: format!("{} > 0", own.located(&faulty)),
            summary: format!("A plugin file on {HOST} cannot be used"),
            description: format!(
                "{{{{ $labels.kevmon_plugin_file }}}} on {HOST} cannot be used; its service is not watched, or as the file was before."
            ),
        },
    ]
}

fn delivery(own: &Own) -> Vec<Rule> {
    let of = "kevmon_receiver, kevmon_signal";
    let reason = format!("{of}, kevmon_reason");
    let lost = |over| {
        let of_interest = "kevmon_reason!=\"unsupported\"";
        own.matching("sum", "kevmon_export_lost_total", over, &reason, of_interest)
    };
    let failed = own.matching(
        "sum",
        "kevmon_soft_failures_total",
        Over::Range("increase", "15m"),
        "",
        "kevmon_kind=\"export_failed\"",
    );
    let waiting = own.aggregate(
        "sum",
        "kevmon_spool_requests",
        Over::Range("min_over_time", "5m"),
        of,
    );
    let receiver = "receiver {{ $labels.kevmon_receiver }} ({{ $labels.kevmon_signal }})";
    vec![
        Rule {
            alert: "KevmonExportLosing",
            severity: Severity::Critical,
            lasts: "0m",
            // The series begins with the first loss of a run, of which `increase` sees nothing in Prometheus.
            expression: own.located(&format!(
                "{} > 0.5\nor ({} unless {}) > 0.5",
                lost(Over::Range("increase", "15m")),
                lost(Over::Range("max_over_time", "15m")),
                lost(Over::Before("max_over_time", "1h", "15m")),
            )),
            summary: format!("kevmon on {HOST} loses data for {receiver}"),
            description: format!(
                "About {{{{ $value | printf \"%.0f\" }}}} items of kevmon on {HOST} were lost for {receiver} in the last fifteen minutes: \
                 {{{{ $labels.kevmon_reason }}}}."
            ),
        },
        Rule {
            alert: "KevmonExportFailing",
            severity: Severity::Warning,
            lasts: "10m",
            expression: format!("{} > 10", own.located(&failed)),
            summary: format!("kevmon on {HOST} cannot deliver"),
            description: format!(
                "About {{{{ $value | printf \"%.0f\" }}}} attempts of kevmon on {HOST} to deliver failed in the last fifteen minutes. What was not \
                 taken waits in the spool."
            ),
        },
        Rule {
            alert: "KevmonSpoolWaiting",
            severity: Severity::Warning,
            lasts: "15m",
            expression: format!("{} > 0", own.located(&waiting)),
            summary: format!("The spool of kevmon on {HOST} does not drain"),
            description: format!(
                "At least {{{{ $value | printf \"%.0f\" }}}} requests of kevmon on {HOST} have been waiting for {receiver} for a quarter of an hour."
            ),
        },
    ]
}
