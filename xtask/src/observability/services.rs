//! The dashboard of the watched services.

use super::grafana::{Dashboard, Good, Kind, Panel, Row, Variable};
use super::scheme::{Backend, Naming, Over, Scheme};

/// Since the last point, for a graph.
const RATE: Over<'_> = Over::Range("rate", "$__rate_interval");
const STEP: Over<'_> = Over::Range("increase", "$__rate_interval");
/// Over all that the dashboard shows.
const RANGE: Over<'_> = Over::Range("increase", "$__range");

pub(super) fn dashboard(backend: Backend, naming: Naming) -> Dashboard {
    let scheme = Scheme {
        backend,
        naming,
        has_variables: true,
    };
    let suffix = naming.suffix();
    Dashboard {
        uid: format!("kevmon-services-{}{suffix}", backend.folder()),
        title: match naming {
            Naming::Otel => "kevmon services".to_owned(),
            Naming::Instana => "kevmon services (Instana names)".to_owned(),
        },
        description: format!(
            "Services that kevmon watches, in {}, of plugins with naming = \"{}\". {}",
            backend.title(),
            naming.value(),
            "What is not known is absent: a gap is not a zero."
        ),
        variables: variables(&scheme),
        rows: vec![
            row("At a glance", glance(&scheme)),
            row("Starts, exits and restarts", lives(&scheme)),
            row("Processor", processor(&scheme)),
            row("Memory", memory(&scheme)),
            row("Files, threads and disks", resources(&scheme)),
            Row {
                title: "Single processes (plugins with [processes] enabled = true)",
                is_collapsed: true,
                panels: single(&scheme),
            },
        ],
    }
}

fn row(title: &'static str, panels: Vec<Panel>) -> Row {
    Row {
        title,
        is_collapsed: false,
        panels,
    }
}

fn variables(scheme: &Scheme) -> Vec<Variable> {
    let (processes, _) = scheme.metric("processes");
    let (service, hosts) = match scheme.backend {
        // Other senders have a `target_info` as well; a plugin's has the plugin's name.
        Backend::Prometheus => (
            "job",
            "target_info{kevmon_plugin!=\"\",job=~\"$service\"}".to_owned(),
        ),
        Backend::VictoriaMetrics => (
            "service_name",
            format!("{processes}{{service_name=~\"$service\"}}"),
        ),
    };
    vec![
        Variable {
            name: "service",
            label: "Service",
            query: format!("label_values({processes}, {service})"),
        },
        Variable {
            name: "host",
            label: "Host",
            query: format!("label_values({hosts}, host_name)"),
        },
    ]
}

/// A panel with one query, by service.
fn by_service(scheme: &Scheme, panel: Panel, expression: &str) -> Panel {
    panel.query(scheme.located(expression), scheme.legend())
}

fn glance(scheme: &Scheme) -> Vec<Panel> {
    let total = |key: &str, over| format!("sum ({})", scheme.located(&scheme.sum(key, over, "")));
    let none = scheme.located(&format!("{} == 0", scheme.sum("processes", Over::Now, "")));
    let looping = scheme.aggregate("max", "crash_loop", Over::Now, "", "");
    let oom = scheme.aggregate("sum", "exits", RANGE, "", "kevmon_exit_reason=\"oom\"");
    let stat = |title, description| Panel::new(Kind::Stat, title, "short", description).size(4, 4);
    vec![
        stat("Services", "Services that kevmon reports now, with or without a process.")
            .query(format!("count ({})", scheme.located(&scheme.sum("processes", Over::Now, ""))), ""),
        stat(
            "Services without a process",
            "Services that have no process now. A scheduled job is one of them between two runs. A host whose kevmon is away is not \
             counted: see the dashboard of kevmon itself.",
        )
        .thresholds(1.0, 1.0)
        .no_value("none")
        .query(format!("count ({none})"), ""),
        stat(
            "In a crash loop",
            "Services of which three processes of one program failed and were replaced within restart_window (five minutes).",
        )
        .thresholds(1.0, 1.0)
        .query(format!("sum ({})", scheme.located(&looping)), ""),
        stat("Restarts", "Starts that took the place of an ended process, and re-executions, in the time shown.")
            .thresholds(0.5, 10.0)
            .query(total("restarts", RANGE), ""),
        stat("Failed starts", "Processes that failed within a second of their start, in the time shown.")
            .thresholds(0.5, 3.0)
            .query(total("failed_starts", RANGE), ""),
        stat("Killed for memory", "Processes that the OOM killer ended, in the time shown.")
            .thresholds(0.5, 0.5)
            .query(format!("sum ({})", scheme.located(&oom)), ""),
        table(scheme),
    ]
}

fn table(scheme: &Scheme) -> Panel {
    let located = |expression: &str| scheme.located(expression);
    let sum = |key: &str, over| located(&scheme.sum(key, over, ""));
    let max = |key: &str| scheme.aggregate("max", key, Over::Now, "", "");
    let panel = Panel::new(
        Kind::Table,
        "Services",
        "short",
        "Each service on each host. Restarts and the like are those of the time shown.",
    )
    .size(24, 10)
    .column("Processes", "short", sum("processes", Over::Now))
    .column("In crash loop", "short", located(&max("crash_loop")))
    .column("Restarts", "short", sum("restarts", RANGE))
    .column("Failed starts", "short", sum("failed_starts", RANGE))
    .column("Exits", "short", sum("exits", RANGE))
    .column(
        "Since last start",
        "s",
        located(&format!("time() - {}", max("last_start"))),
    )
    .column("CPUs", "short", sum("cpu", RATE))
    .column("Resident memory", "bytes", sum("rss", Over::Now))
    .column("File descriptors", "short", sum("file_descriptors", Over::Now))
    .column("Threads", "short", sum("threads", Over::Now));
    panel.with_columns(match scheme.backend {
        Backend::Prometheus => &[("job", "Service"), ("host_name", "Host")],
        Backend::VictoriaMetrics => &[("service_name", "Service"), ("host_name", "Host")],
    })
}

fn lives(scheme: &Scheme) -> Vec<Panel> {
    let legend = scheme.legend();
    let labelled = |more: &str| format!("{legend}: {more}");
    let exits = scheme.sum(
        "exits",
        STEP,
        "kevmon_exit_reason, process_exit_code, kevmon_exit_signal",
    );
    let bars = |title, description| Panel::new(Kind::Bars, title, "short", description);
    let since = |key: &str| format!("time() - {}", scheme.aggregate("max", key, Over::Now, "", ""));
    vec![
        by_service(
            scheme,
            Panel::new(Kind::Lines, "Processes", "short", "Live processes. A gap: kevmon was away, or they are not known."),
            &scheme.sum("processes", Over::Now, ""),
        ),
        bars(
            "Restarts",
            "respawn: a new process took an ended one's place. reexec: the process executed its program again.",
        )
        .query(
            scheme.located(&scheme.sum("restarts", STEP, "kevmon_restart_kind")),
            labelled("{{kevmon_restart_kind}}"),
        ),
        bars(
            "Exits by reason",
            "exit with its code, signal with its name, oom: the OOM killer, unknown: the process was found gone. Prometheus shows a rare \
             reason from its second time on.",
        )
        .no_value("none")
        .query(
            scheme.located(&format!("{exits} > 0")),
            labelled("{{kevmon_exit_reason}} {{process_exit_code}}{{kevmon_exit_signal}}"),
        ),
        by_service(
            scheme,
            Panel::new(
                Kind::States { good: Good::Zero },
                "Crash loop",
                "short",
                "yes: three processes of one program failed and were replaced within restart_window (five minutes).",
            ),
            &scheme.aggregate("max", "crash_loop", Over::Now, "", ""),
        ),
        by_service(
            scheme,
            bars("Failed starts", "Processes that ended within failed_start (a second) of their start, other than with exit code 0."),
            &scheme.sum("failed_starts", STEP, ""),
        ),
        downtime(scheme),
        by_service(
            scheme,
            Panel::new(
                Kind::Lines,
                "Latest downtime",
                "s",
                "From the end of a process to the start that took its place, the latest one. Absent until there was one.",
            ),
            &scheme.aggregate("max", "last_downtime", Over::Now, "", ""),
        ),
        Panel::new(Kind::Lines, "Median lifetime", "s", "Of the processes that ended in each step: half of them lived for less.")
            .query(scheme.located(&median(scheme, "lifetime_bucket")), legend.clone()),
        Panel::new(
            Kind::Lines,
            "Starts",
            "suffix: per second",
            "worker: started by a process of the service. unpaired: nobody can say whether it was a restart.",
        )
        .query(scheme.located(&scheme.sum("starts", RATE, "")), labelled("start"))
        .query(scheme.located(&scheme.sum("worker_starts", RATE, "")), labelled("worker"))
        .query(scheme.located(&scheme.sum("unpaired_starts", RATE, "")), labelled("unpaired")),
        Panel::new(
            Kind::Lines,
            "Joins and leaves",
            "suffix: per second",
            "Processes that came or went by a change of their name, or were found running.",
        )
        .query(scheme.located(&scheme.sum("joins", RATE, "")), labelled("join"))
        .query(scheme.located(&scheme.sum("leaves", RATE, "")), labelled("leave")),
        by_service(
            scheme,
            Panel::new(Kind::Lines, "Since the last start", "s", "A line that falls to zero is a start."),
            &since("last_start"),
        ),
        by_service(
            scheme,
            Panel::new(Kind::Lines, "Since the last exit", "s", "Absent until a process has ended."),
            &since("last_exit"),
        ),
    ]
}

fn median(scheme: &Scheme, buckets: &str) -> String {
    format!("histogram_quantile(0.5, {})", scheme.sum(buckets, STEP, "le"))
}

fn downtime(scheme: &Scheme) -> Panel {
    Panel::new(
        Kind::Bars,
        "Downtime",
        "s",
        "Time between ends and the starts that took their places, in each step. It comes with the start; of several processes it adds up.",
    )
    .query(scheme.located(&scheme.sum("downtime", STEP, "")), scheme.legend())
}

fn processor(scheme: &Scheme) -> Vec<Panel> {
    let legend = scheme.legend();
    let (wait, cpu) = (
        scheme.sum("run_queue_wait", RATE, ""),
        scheme.sum("cpu", RATE, ""),
    );
    let labelled = |more: &str| format!("{legend}: {more}");
    let mut panels = vec![
        by_service(
            scheme,
            Panel::new(Kind::Stack, "CPUs in use", "suffix: CPUs", "CPU time per second: 2 is two whole CPUs.").size(12, 8),
            &cpu,
        ),
        Panel::new(
            Kind::Lines,
            "User and system",
            "suffix: CPUs",
            "CPU time per second in the program and in the kernel. Their sum is exact, the split is the kernel's estimate.",
        )
        .size(12, 8)
        .query(scheme.located(&scheme.sum("cpu_user", RATE, "")), labelled("user"))
        .query(scheme.located(&scheme.sum("cpu_system", RATE, "")), labelled("system")),
        by_service(
            scheme,
            Panel::new(
                Kind::Lines,
                "Share of time spent waiting for a CPU",
                "percentunit",
                "Of the time that threads wanted to run, the share that they waited in the run queue. Above a half, the service gets less than \
                 every other second: too few CPUs, or a quota.",
            )
            .thresholds(0.3, 0.5),
            &format!("{wait} / ({wait} + {cpu})"),
        ),
        by_service(
            scheme,
            Panel::new(
                Kind::Lines,
                "Run-queue wait",
                "suffix: threads",
                "Seconds per second that threads were ready and had no CPU: the mean number of waiting threads.",
            ),
            &wait,
        ),
        Panel::new(
            Kind::Lines,
            "Context switches",
            "suffix: per second",
            "voluntary: the thread waited for something. involuntary: another one was to run.",
        )
        .query(scheme.located(&scheme.sum("voluntary_switches", RATE, "")), labelled("voluntary"))
        .query(scheme.located(&scheme.sum("involuntary_switches", RATE, "")), labelled("involuntary")),
    ];
    if scheme.has("minor_faults") {
        panels.push(
            Panel::new(
                Kind::Lines,
                "Page faults",
                "suffix: per second",
                "major: the page was read from a disk. Many of them: memory is short.",
            )
            .query(
                scheme.located(&scheme.sum("minor_faults", RATE, "")),
                labelled("minor"),
            )
            .query(
                scheme.located(&scheme.sum("major_faults", RATE, "")),
                labelled("major"),
            ),
        );
    }
    panels
}

fn memory(scheme: &Scheme) -> Vec<Panel> {
    let lines = |title, description| Panel::new(Kind::Lines, title, "bytes", description);
    vec![
        by_service(
            scheme,
            Panel::new(
                Kind::Stack,
                "Resident memory",
                "bytes",
                "Sum of the resident sets of live processes.",
            ),
            &scheme.sum("rss", Over::Now, ""),
        ),
        by_service(
            scheme,
            lines(
                "Largest process ever",
                "The largest resident set that one process ever had.",
            ),
            &scheme.aggregate("max", "peak_rss", Over::Now, "", ""),
        ),
        by_service(
            scheme,
            lines(
                "Virtual memory",
                "Sum of the address spaces; most of it may never be used.",
            ),
            &scheme.sum("virtual", Over::Now, ""),
        ),
    ]
}

fn resources(scheme: &Scheme) -> Vec<Panel> {
    let legend = scheme.legend();
    let mut panels = vec![
        Panel::new(
            Kind::Lines,
            "Disk",
            "Bps",
            "Bytes that the processes caused to be read from storage, and written to it. What the page cache answers is not in it.",
        )
        .query(scheme.located(&scheme.sum("disk_read", RATE, "")), format!("{legend}: read"))
        .query(scheme.located(&scheme.sum("disk_write", RATE, "")), format!("{legend}: write")),
        by_service(
            scheme,
            Panel::new(
                Kind::Lines,
                "Open file descriptors",
                "short",
                "Of all live processes. A line that only climbs is a leak.",
            ),
            &scheme.sum("file_descriptors", Over::Now, ""),
        ),
        by_service(
            scheme,
            Panel::new(Kind::Lines, "Threads", "short", "Threads of all live processes."),
            &scheme.sum("threads", Over::Now, ""),
        ),
    ];
    if scheme.has("uptime") {
        panels.push(by_service(
            scheme,
            Panel::new(
                Kind::Lines,
                "Age of the oldest process",
                "s",
                "It falls when the oldest process ends.",
            ),
            &scheme.aggregate("max", "uptime", Over::Now, "", ""),
        ));
    }
    panels
}

fn single(scheme: &Scheme) -> Vec<Panel> {
    let labels = "process_pid, process_executable_name";
    let legend = format!(
        "{{{{process_executable_name}}}} {{{{process_pid}}}}, {}",
        scheme.legend()
    );
    let top = |key: &str| {
        // Without the inner sum, user and system time compete.
        format!(
            "topk(10, {})",
            scheme.located(&scheme.sum(key, Over::Now, labels))
        )
    };
    vec![
        Panel::new(
            Kind::Lines,
            "Busiest processes",
            if scheme.naming == Naming::Otel {
                "percentunit"
            } else {
                "suffix: CPUs"
            },
            "The ten that use the most CPU time. With naming = \"otel\", as a share of all CPUs of the host.",
        )
        .query(top("one_cpu"), legend.clone()),
        Panel::new(
            Kind::Lines,
            "Largest processes",
            "bytes",
            "The ten with the largest resident sets.",
        )
        .query(top("one_rss"), legend),
        by_service(
            scheme,
            Panel::new(
                Kind::Lines,
                "Processes without series",
                "short",
                "Live processes beyond the plugin's `[processes] max`: they are in the service's sums alone.",
            ),
            &scheme.sum("left_out", Over::Now, ""),
        ),
    ]
}
