//! What metrics and labels are called: by the plugin's `naming`, and by the database that holds them. Every query of the
//! dashboards and alerts is written once, in terms of these.

/// The database, which decides which labels a series has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    /// Prometheus: kevmon's page scraped, or OTLP. Resource attributes are labels of `target_info`.
    Prometheus,
    /// VictoriaMetrics that receives OTLP with `-opentelemetry.usePrometheusNaming`. Resource attributes are labels.
    VictoriaMetrics,
}

impl Backend {
    pub(super) const ALL: [Self; 2] = [Self::Prometheus, Self::VictoriaMetrics];

    /// The name of its folder.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoriametrics",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::VictoriaMetrics => "VictoriaMetrics",
        }
    }

    /// The labels that tell services apart.
    pub(super) fn service_labels(self) -> &'static str {
        match self {
            Self::Prometheus => "job, instance",
            Self::VictoriaMetrics => "service_namespace, service_name, host_name",
        }
    }

    /// The labels that tell kevmons apart. Two kevmons on one host differ in their instance.
    pub(super) fn own_labels(self) -> &'static str {
        match self {
            Self::Prometheus => "job, instance",
            Self::VictoriaMetrics => "service_instance_id, host_name",
        }
    }

    /// The label that holds a service's name.
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::Prometheus => "job",
            Self::VictoriaMetrics => "service_name",
        }
    }

    /// The matcher for metrics of kevmon itself whose names others use as well (`process_cpu_time_seconds_total`).
    pub(super) fn own_matcher(self) -> &'static str {
        match self {
            Self::Prometheus => "job=\"kevmon/kevmon\"",
            Self::VictoriaMetrics => "service_namespace=\"kevmon\",service_name=\"kevmon\"",
        }
    }
}

/// A plugin's `naming`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    Otel,
    Instana,
}

impl Naming {
    pub(super) const ALL: [Self; 2] = [Self::Otel, Self::Instana];

    /// What file names have behind them.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Otel => "",
            Self::Instana => "-instana-names",
        }
    }

    pub(super) fn value(self) -> &'static str {
        match self {
            Self::Otel => "otel",
            Self::Instana => "instana",
        }
    }
}

/// A metric with matchers. The sum of several of them has one name here.
type Parts = &'static [(&'static str, &'static str)];

/// What is measured, and which metrics hold it with either naming. No parts: that naming has no such metric.
const METRICS: &[(&str, Parts, Parts)] = &[
    (
        "processes",
        &[("kevmon_group_process_count", "")],
        &[("process_count_processes", "")],
    ),
    (
        "starts",
        &[("kevmon_group_starts_total", "")],
        &[("starts_total", "")],
    ),
    (
        "worker_starts",
        &[("kevmon_group_worker_starts_total", "")],
        &[("worker_starts_total", "")],
    ),
    (
        "unpaired_starts",
        &[("kevmon_group_unpaired_starts_total", "")],
        &[("unpaired_starts_total", "")],
    ),
    (
        "failed_starts",
        &[("kevmon_group_failed_starts_total", "")],
        &[("failed_starts_total", "")],
    ),
    (
        "restarts",
        &[("kevmon_group_restarts_total", "")],
        &[("restarts_total", "")],
    ),
    (
        "exits",
        &[("kevmon_group_exits_total", "")],
        &[("exits_total", "")],
    ),
    (
        "joins",
        &[("kevmon_group_joins_total", "")],
        &[("joins_total", "")],
    ),
    (
        "leaves",
        &[("kevmon_group_leaves_total", "")],
        &[("leaves_total", "")],
    ),
    (
        "crash_loop",
        &[("kevmon_group_crash_loop_ratio", "")],
        &[("crash_loop_ratio", "")],
    ),
    (
        "downtime_bucket",
        &[("kevmon_group_downtime_seconds_bucket", "")],
        &[("downtime_seconds_bucket", "")],
    ),
    (
        "downtime",
        &[("kevmon_group_downtime_seconds_sum", "")],
        &[("downtime_seconds_sum", "")],
    ),
    (
        "last_downtime",
        &[("kevmon_group_last_downtime_seconds", "")],
        &[("last_downtime_seconds", "")],
    ),
    (
        "lifetime_bucket",
        &[("kevmon_group_lifetime_seconds_bucket", "")],
        &[("lifetime_seconds_bucket", "")],
    ),
    (
        "last_start",
        &[("kevmon_group_last_start_time_seconds", "")],
        &[("last_start_time_seconds", "")],
    ),
    (
        "last_exit",
        &[("kevmon_group_last_exit_time_seconds", "")],
        &[("last_exit_time_seconds", "")],
    ),
    ("uptime", &[("kevmon_group_uptime_seconds", "")], &[]),
    (
        "cpu",
        &[("kevmon_group_cpu_time_seconds_total", "")],
        &[
            ("cpu_user_time_seconds_total", ""),
            ("cpu_system_time_seconds_total", ""),
        ],
    ),
    (
        "cpu_user",
        &[("kevmon_group_cpu_time_seconds_total", "cpu_mode=\"user\"")],
        &[("cpu_user_time_seconds_total", "")],
    ),
    (
        "cpu_system",
        &[("kevmon_group_cpu_time_seconds_total", "cpu_mode=\"system\"")],
        &[("cpu_system_time_seconds_total", "")],
    ),
    (
        "run_queue_wait",
        &[("kevmon_group_run_queue_wait_time_seconds_total", "")],
        &[("run_queue_wait_time_seconds_total", "")],
    ),
    (
        "voluntary_switches",
        &[(
            "kevmon_group_context_switches_total",
            "process_context_switch_type=\"voluntary\"",
        )],
        &[("voluntary_ctx_switches_total", "")],
    ),
    (
        "involuntary_switches",
        &[(
            "kevmon_group_context_switches_total",
            "process_context_switch_type=\"involuntary\"",
        )],
        &[("nonvoluntary_ctx_switches_total", "")],
    ),
    (
        "minor_faults",
        &[(
            "kevmon_group_paging_faults_total",
            "system_paging_fault_type=\"minor\"",
        )],
        &[],
    ),
    (
        "major_faults",
        &[(
            "kevmon_group_paging_faults_total",
            "system_paging_fault_type=\"major\"",
        )],
        &[],
    ),
    (
        "rss",
        &[("kevmon_group_memory_usage_bytes", "")],
        &[("memory_rss_total_bytes", "")],
    ),
    (
        "peak_rss",
        &[("kevmon_group_memory_peak_bytes", "")],
        &[("peak_rss_bytes", "")],
    ),
    (
        "virtual",
        &[("kevmon_group_memory_virtual_bytes", "")],
        &[("memory_vms_total_bytes", "")],
    ),
    (
        "disk_read",
        &[("kevmon_group_disk_io_bytes_total", "disk_io_direction=\"read\"")],
        &[("disk_read_bytes_total", "")],
    ),
    (
        "disk_write",
        &[("kevmon_group_disk_io_bytes_total", "disk_io_direction=\"write\"")],
        &[("disk_write_bytes_total", "")],
    ),
    (
        "file_descriptors",
        &[("kevmon_group_unix_file_descriptor_count", "")],
        &[("open_file_descriptors", "")],
    ),
    (
        "threads",
        &[("kevmon_group_thread_count", "")],
        &[("thread_count_threads", "")],
    ),
    (
        "left_out",
        &[("kevmon_group_process_left_out", "")],
        &[("per_process_left_out", "")],
    ),
    (
        "one_cpu",
        &[("process_cpu_utilization_ratio", "")],
        &[("per_process_cpu_usage_ratio", "")],
    ),
    (
        "one_rss",
        &[("process_memory_usage_bytes", "")],
        &[("per_process_memory_rss_bytes", "")],
    ),
];

/// How a metric's samples become one value of a series.
#[derive(Debug, Clone, Copy)]
pub(super) enum Over<'a> {
    Now,
    /// A function of a range, and the range: `rate`, `5m`.
    Range(&'a str, &'a str),
    /// A function of a range that ended some time ago: the function, the range, and how long ago.
    Before(&'a str, &'a str, &'a str),
}

/// The names and labels of one set of dashboards and alerts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scheme {
    pub(super) backend: Backend,
    pub(super) naming: Naming,
    /// Dashboards have variables for services and hosts, alerts have none.
    pub(super) has_variables: bool,
}

impl Scheme {
    /// Whether the naming has such a metric.
    pub(super) fn has(&self, key: &str) -> bool {
        !self.parts(key).is_empty()
    }

    fn parts(&self, key: &str) -> Parts {
        let found = METRICS.iter().find(|(name, ..)| *name == key);
        found.map_or(&[], |(_, otel, instana)| match self.naming {
            Naming::Otel => otel,
            Naming::Instana => instana,
        })
    }

    /// The first metric that holds this, and the labels that it has for it.
    pub(super) fn metric(&self, key: &str) -> (&'static str, &'static str) {
        self.parts(key).first().copied().unwrap_or_default()
    }

    fn variables(&self) -> &'static str {
        match (self.has_variables, self.backend) {
            (false, _) => "",
            (true, Backend::Prometheus) => "job=~\"$service\"",
            (true, Backend::VictoriaMetrics) => "service_name=~\"$service\",host_name=~\"$host\"",
        }
    }

    /// The sum by service, and by further labels.
    pub(super) fn sum(&self, key: &str, over: Over<'_>, further: &str) -> String {
        self.aggregate("sum", key, over, further, "")
    }

    /// An aggregate by service, and by further labels, of the samples with these labels.
    pub(super) fn aggregate(
        &self,
        aggregation: &str,
        key: &str,
        over: Over<'_>,
        further: &str,
        matching: &str,
    ) -> String {
        let by = joined(&[self.backend.service_labels(), further], ", ");
        let parts: Vec<String> = self
            .parts(key)
            .iter()
            .map(|(name, own)| {
                let selector = selector(name, &[self.variables(), own, matching]);
                format!("{aggregation} by ({by}) ({})", ranged(&selector, over))
            })
            .collect();
        match &parts[..] {
            [one] => one.clone(),
            several => format!("({})", several.join(" + ")),
        }
    }

    /// A service's expression with the host's name as a label, and of the chosen hosts alone.
    pub(super) fn located(&self, expression: &str) -> String {
        let host = if self.has_variables {
            "host_name=~\"$host\""
        } else {
            ""
        };
        let info = selector("target_info", &[self.variables(), host]);
        located(
            self.backend,
            &remembered(info, self.has_variables, "15m"),
            expression,
        )
    }

    /// What a legend says of a service.
    pub(super) fn legend(&self) -> String {
        format!("{{{{{}}}}} on {{{{host_name}}}}", self.backend.service())
    }
}

/// The names and labels of what is about kevmon itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    pub(super) backend: Backend,
    pub(super) has_variables: bool,
}

impl Own {
    fn variables(&self) -> &'static str {
        match (self.has_variables, self.backend) {
            (false, _) | (true, Backend::Prometheus) => "",
            (true, Backend::VictoriaMetrics) => "host_name=~\"$host\"",
        }
    }

    /// An aggregate by kevmon, and by further labels.
    pub(super) fn aggregate(&self, aggregation: &str, metric: &str, over: Over<'_>, further: &str) -> String {
        self.matching(aggregation, metric, over, further, "")
    }

    /// The same of the samples with these labels.
    pub(super) fn matching(
        &self,
        aggregation: &str,
        metric: &str,
        over: Over<'_>,
        further: &str,
        matching: &str,
    ) -> String {
        let by = joined(&[self.backend.own_labels(), further], ", ");
        let selector = selector(metric, &[self.variables(), matching]);
        format!("{aggregation} by ({by}) ({})", ranged(&selector, over))
    }

    /// An expression with the host's name as a label, and of the chosen hosts alone.
    pub(super) fn located(&self, expression: &str) -> String {
        let host = if self.has_variables {
            "host_name=~\"$host\""
        } else {
            ""
        };
        let info = selector("target_info", &[self.backend.own_matcher(), host]);
        located(
            self.backend,
            &remembered(info, self.has_variables, "1d"),
            expression,
        )
    }
}

/// Alerts outlast a scrape that failed and a kevmon that is away, and so must what tells them the host.
fn remembered(target_info: String, has_variables: bool, range: &str) -> String {
    if has_variables {
        target_info
    } else {
        format!("max_over_time({target_info}[{range}])")
    }
}

/// `target_info` has one series for each set of resource attributes, and so two for a while after one of them changed; `topk`
/// takes one of them, as a join with two is an error.
fn located(backend: Backend, target_info: &str, expression: &str) -> String {
    match backend {
        Backend::Prometheus => format!(
            "({expression}) * on (job, instance) group_left (host_name) topk by (job, instance) (1, {target_info})"
        ),
        Backend::VictoriaMetrics => expression.to_owned(),
    }
}

fn ranged(selector: &str, over: Over<'_>) -> String {
    match over {
        Over::Now => selector.to_owned(),
        Over::Range(function, range) => format!("{function}({selector}[{range}])"),
        Over::Before(function, range, ago) => format!("{function}({selector}[{range}] offset {ago})"),
    }
}

pub(super) fn selector(metric: &str, matchers: &[&str]) -> String {
    match joined(matchers, ",") {
        none if none.is_empty() => metric.to_owned(),
        matchers => format!("{metric}{{{matchers}}}"),
    }
}

fn joined(parts: &[&str], separator: &str) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join(separator)
}
