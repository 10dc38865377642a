//! The dashboard of kevmon itself: how far the numbers can be trusted, what was lost, and what kevmon costs.

use super::grafana::{Dashboard, Good, Kind, Panel, Row, Variable};
use super::scheme::{Backend, Over, Own};

const RATE: Over<'_> = Over::Range("rate", "$__rate_interval");
const STEP: Over<'_> = Over::Range("increase", "$__rate_interval");
const RANGE: Over<'_> = Over::Range("increase", "$__range");
const HOST: &str = "{{host_name}}";

pub(super) fn dashboard(backend: Backend) -> Dashboard {
    let own = Own {
        backend,
        has_variables: true,
    };
    let hosts = match backend {
        Backend::Prometheus => "label_values(target_info{job=\"kevmon/kevmon\"}, host_name)",
        Backend::VictoriaMetrics => "label_values(kevmon_complete_ratio, host_name)",
    };
    Dashboard {
        uid: format!("kevmon-itself-{}", backend.folder()),
        title: "kevmon itself".to_owned(),
        description: format!(
            "How far kevmon's numbers can be trusted, what was lost, and what kevmon costs, in {}. {}",
            backend.title(),
            "What never happened has no series."
        ),
        variables: vec![Variable {
            name: "host",
            label: "Host",
            query: hosts.to_owned(),
        }],
        rows: vec![
            row("Can the numbers be trusted?", false, trust(&own)),
            row("Losses and failures", false, losses(&own)),
            row("Exports", false, exports(&own)),
            row(
                "Delivery and the spool (kevmon's telemetry, which only OTLP brings)",
                true,
                delivery(&own),
            ),
            row(
                "What kevmon costs (kevmon's telemetry, which only OTLP brings)",
                true,
                costs(&own),
            ),
        ],
    }
}

fn row(title: &'static str, is_collapsed: bool, panels: Vec<Panel>) -> Row {
    Row {
        title,
        is_collapsed,
        panels,
    }
}

fn trust(own: &Own) -> Vec<Panel> {
    let now = |aggregation, metric| own.located(&own.aggregate(aggregation, metric, Over::Now, ""));
    let stat = |title, unit, description| Panel::new(Kind::Stat, title, unit, description).size(4, 4);
    let states = |title, description| {
        Panel::new(Kind::States { good: Good::One }, title, "short", description).size(12, 8)
    };
    vec![
        stat("kevmons", "short", "kevmons that report now.")
            .query(format!("count ({})", now("min", "kevmon_complete_ratio")), ""),
        stat(
            "Incomplete now",
            "short",
            "kevmons whose latest interval may lack starts, ends or changes. One that reads /proc is always one of them.",
        )
        .thresholds(1.0, 1.0)
        .no_value("none")
        .query(
            format!(
                "count ({})",
                own.located(&format!("{} == 0", own.aggregate("min", "kevmon_complete_ratio", Over::Now, "")))
            ),
            "",
        ),
        stat("Times away", "short", "Times that kevmon was not there and went on from what it had stored, in the time shown.")
            .thresholds(0.5, 5.0)
            .query(
                format!("sum ({})", own.located(&own.aggregate("sum", "kevmon_outages_total", RANGE, ""))),
                "",
            ),
        stat("Time away", "s", "How long kevmon was not there, in the time shown, over all hosts.").query(
            format!("sum ({})", own.located(&own.aggregate("sum", "kevmon_outage_time_seconds_total", RANGE, ""))),
            "",
        ),
        stat("Processes in the table", "short", "Processes that kevmon follows, over all hosts.")
            .query(format!("sum ({})", now("sum", "kevmon_processes_tracked")), ""),
        stat("Faulty plugin files", "short", "Plugin files that could not be used: `kevmon plugin check` says why.")
            .thresholds(1.0, 1.0)
            .no_value("none")
            .query(format!("sum ({})", now("sum", "kevmon_plugins_faulty")), ""),
        states("Counts are complete", "no: an interval may lack starts, ends or changes of a member.")
            .query(now("min", "kevmon_complete_ratio"), HOST),
        states(
            "CPU time, switches, faults and bytes are complete",
            "no: the interval may lack what a process used before its end.",
        )
        .query(now("min", "kevmon_complete_totals_ratio"), HOST),
        Panel::new(Kind::Table, "Source", "short", "Where kevmon reads: ebpf, or proc and why. With proc, what lives between two scans is missed.")
            .size(12, 6)
            .column(
                "kevmons",
                "short",
                own.located(&own.aggregate("max", "kevmon_source_ratio", Over::Now, "kevmon_source_name, kevmon_source_reason")),
            )
            .with_columns(&[
                ("host_name", "Host"),
                ("kevmon_source_name", "Source"),
                ("kevmon_source_reason", "Why"),
            ]),
        Panel::new(
            Kind::Lines,
            "Clock offset",
            "s",
            "How far exported times are ahead of the wall clock: not 0 after the clock was set back.",
        )
        .size(12, 6)
        .thresholds(60.0, 600.0)
        .query(now("max", "kevmon_clock_offset_seconds"), HOST),
    ]
}

fn losses(own: &Own) -> Vec<Panel> {
    let bars = |title, description, metric: &str, label: &str| {
        Panel::new(Kind::Bars, title, "short", description)
            .no_value("none")
            .query(
                own.located(&format!("{} > 0", own.aggregate("sum", metric, STEP, label))),
                format!("{HOST}: {{{{{label}}}}}"),
            )
    };
    vec![
        Panel::new(
            Kind::Lines,
            "Kernel records",
            "suffix: per second",
            "Records that the kernel side sent and kevmon received. A distance between the lines is a loss.",
        )
        .query(
            own.located(&own.aggregate("sum", "kevmon_records_sent_total", RATE, "")),
            format!("{HOST}: sent"),
        )
        .query(
            own.located(&own.aggregate("sum", "kevmon_records_received_total", RATE, "")),
            format!("{HOST}: received"),
        ),
        bars(
            "Records lost",
            "Records that the ring had no room for, by the kernel program that sent them.",
            "kevmon_records_lost_total",
            "kevmon_program",
        ),
        bars(
            "Limits reached",
            "Things not reported for another reason than the ring's room: docs/metrics.md lists the limits.",
            "kevmon_limits_reached_total",
            "kevmon_limit",
        ),
        Panel::new(
            Kind::Bars,
            "Processes in no number",
            "short",
            "Processes whose records were lost and that no plugin's numbers hold.",
        )
        .no_value("none")
        .query(
            own.located(&format!(
                "{} > 0",
                own.aggregate("sum", "kevmon_lives_unattributed_total", STEP, "")
            )),
            HOST,
        ),
        bars(
            "Soft failures",
            "Failures that stopped nothing, by kind: docs/metrics.md says what each means.",
            "kevmon_soft_failures_total",
            "kevmon_kind",
        ),
        Panel::new(
            Kind::Bars,
            "Collectors",
            "short",
            "Runs of collectors that plugins bring, and what went wrong in them.",
        )
        .no_value("none")
        .query(
            own.located(&own.aggregate(
                "sum",
                "kevmon_collector_runs_total",
                STEP,
                "kevmon_plugin, kevmon_collector",
            )),
            format!("{HOST}: {{{{kevmon_plugin}}}} {{{{kevmon_collector}}}}"),
        )
        .query(
            own.located(&format!(
                "{} > 0",
                own.aggregate(
                    "sum",
                    "kevmon_collector_failures_total",
                    STEP,
                    "kevmon_plugin, kevmon_collector, error_type"
                )
            )),
            format!("{HOST}: {{{{kevmon_plugin}}}} {{{{kevmon_collector}}}} {{{{error_type}}}}"),
        ),
    ]
}

fn exports(own: &Own) -> Vec<Panel> {
    let of = "kevmon_receiver, kevmon_signal";
    vec![
        Panel::new(
            Kind::Lines,
            "Lost for a receiver",
            "short",
            "Data points, log records and spans that a receiver will never have, since kevmon started: refused by it, or dropped for want of \
             space or for their age.",
        )
        .size(12, 8)
        .no_value("none")
        .query(
            own.located(&own.aggregate("sum", "kevmon_export_lost_total", Over::Now, &format!("{of}, kevmon_reason"))),
            format!("{HOST}: {{{{kevmon_receiver}}}} {{{{kevmon_signal}}}} {{{{kevmon_reason}}}}"),
        ),
        Panel::new(
            Kind::Lines,
            "Collections whose arrival is not known",
            "short",
            "1 after a kevmon was killed with a collection on its way.",
        )
        .size(12, 8)
        .no_value("none")
        .query(own.located(&own.aggregate("sum", "kevmon_export_unconfirmed_total", Over::Now, "")), HOST),
    ]
}

fn delivery(own: &Own) -> Vec<Panel> {
    let of = "kevmon_receiver, kevmon_signal";
    let legend = format!("{HOST}: {{{{kevmon_receiver}}}} {{{{kevmon_signal}}}}");
    let panel = |kind, title, unit, description, metric: &str, over| {
        Panel::new(kind, title, unit, description).no_value("none").query(
            own.located(&own.aggregate("sum", metric, over, of)),
            legend.clone(),
        )
    };
    vec![
        panel(
            Kind::Lines,
            "Items delivered",
            "suffix: per second",
            "Data points, log records and spans that receivers took.",
            "kevmon_export_delivered_total",
            RATE,
        ),
        panel(
            Kind::Bars,
            "Attempts that failed",
            "short",
            "Attempts to deliver a request. It is sent again unless the receiver refused it.",
            "kevmon_export_failures_total",
            STEP,
        ),
        Panel::new(
            Kind::Lines,
            "Duration of attempts, 95th percentile",
            "s",
            "Of attempts to deliver, accepted or failed.",
        )
        .query(
            own.located(&format!(
                "histogram_quantile(0.95, {})",
                own.aggregate(
                    "sum",
                    "kevmon_export_duration_seconds_bucket",
                    STEP,
                    "kevmon_receiver, le"
                )
            )),
            format!("{HOST}: {{{{kevmon_receiver}}}}"),
        ),
        panel(
            Kind::Lines,
            "Requests waiting",
            "short",
            "Requests on disk and in memory that wait for the receiver. It arrives late where it is the receiver of these metrics itself.",
            "kevmon_spool_requests",
            Over::Now,
        ),
        panel(
            Kind::Lines,
            "Bytes waiting",
            "bytes",
            "Their compressed size.",
            "kevmon_spool_size_bytes",
            Over::Now,
        ),
        panel(
            Kind::Bars,
            "Requests sent twice",
            "short",
            "Requests sent again although an earlier attempt may have arrived.",
            "kevmon_export_repeated_total",
            STEP,
        ),
        panel(
            Kind::Bars,
            "Answers that could not be read",
            "short",
            "Answers to requests that are not sent again.",
            "kevmon_export_unreadable_answers_total",
            STEP,
        ),
    ]
}

fn costs(own: &Own) -> Vec<Panel> {
    let itself =
        |metric: &str, over| own.located(&own.matching("sum", metric, over, "", own.backend.own_matcher()));
    vec![
        Panel::new(Kind::Lines, "kevmon's CPU time", "percentunit", "Of one CPU.")
            .query(itself("process_cpu_time_seconds_total", RATE), HOST),
        Panel::new(Kind::Lines, "kevmon's resident memory", "bytes", "Resident set of kevmon.")
            .query(itself("process_memory_usage_bytes", Over::Now), HOST),
        Panel::new(Kind::Lines, "kevmon's threads", "short", "A line that climbs is worth a report.")
            .query(itself("process_thread_count", Over::Now), HOST),
        Panel::new(
            Kind::Lines,
            "Duration of collections",
            "s",
            "Each with its commit to the store and the making of its requests: the median and the 95th percentile.",
        )
        .query(own.located(&quantile(own, 0.5)), format!("{HOST}: median"))
        .query(own.located(&quantile(own, 0.95)), format!("{HOST}: 95 %")),
        Panel::new(
            Kind::Lines,
            "CPU time of eBPF programs",
            "percentunit",
            "Of one CPU, by program, while `sysctl kernel.bpf_stats_enabled` is 1.",
        )
        .no_value("kernel.bpf_stats_enabled is 0")
        .query(
            own.located(&own.aggregate("sum", "kevmon_ebpf_run_time_seconds_total", RATE, "kevmon_program")),
            format!("{HOST}: {{{{kevmon_program}}}}"),
        ),
        Panel::new(Kind::Lines, "Runs of eBPF programs", "suffix: per second", "By program, while `sysctl kernel.bpf_stats_enabled` is 1.")
            .no_value("kernel.bpf_stats_enabled is 0")
            .query(
                own.located(&own.aggregate("sum", "kevmon_ebpf_runs_total", RATE, "kevmon_program")),
                format!("{HOST}: {{{{kevmon_program}}}}"),
            ),
    ]
}

fn quantile(own: &Own, share: f64) -> String {
    let buckets = own.aggregate("sum", "kevmon_collection_duration_seconds_bucket", STEP, "le");
    format!("histogram_quantile({share}, {buckets})")
}
