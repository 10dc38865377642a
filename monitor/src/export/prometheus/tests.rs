//! Rendered pages.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::metrics::v1::metric::Data;

use super::{
    super::collection::tests::collection,
    naming::{Kind, family_name},
    page::{Page, page},
    response::chosen,
    *,
};
use crate::plugin::Naming;

pub(super) fn host() -> HostIdentity {
    HostIdentity::new(None, "host".to_owned())
}

/// A collection of the plugin of these names.
pub(super) fn of(plugins: &[&str]) -> Collection {
    let mut collection = collection();
    let [service] = collection.services.as_slice() else {
        panic!("{:?}", collection.services)
    };
    let named = |name: &&str| {
        let mut service = service.clone();
        service.plugin = Arc::new(crate::plugin::tracker::tests::plugin(name));
        Arc::make_mut(&mut service.plugin).interval = Duration::from_secs(10);
        service
    };
    collection.services = plugins.iter().map(named).collect();
    collection
}

fn rendered(collection: &Collection, format: Format) -> Page {
    page(&resource_metrics(collection, &host()), format, false)
}

/// A family's lines, with what all series of a service have in common left out.
pub(super) fn family(text: &str, name: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| {
        let line = line
            .trim_start_matches("# HELP ")
            .trim_start_matches("# TYPE ")
            .trim_start_matches("# UNIT ");
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with([' ', '{', '_']))
    });
    lines
        .map(|line| {
            let (start, rest) = line.split_once("{job=").unwrap_or((line, ""));
            let scope = concat!("otel_scope_version=\"", env!("CARGO_PKG_VERSION"), "\"");
            let own = rest.split_once(scope).map_or("", |(_, own)| own);
            format!("{start}{own}")
        })
        .collect()
}

#[test]
fn counters_gauges_and_histograms_in_both_formats() {
    let collection = of(&["web"]);
    let text = rendered(&collection, Format::Text);
    let open = rendered(&collection, Format::OpenMetrics);
    assert!(text.conflicting.is_empty());
    assert_eq!(
        family(&text.text, "restarts_total"),
        [
            "# HELP restarts_total Starts that took the place of an ended process, and re-executions, by `kevmon.restart.kind`",
            "# TYPE restarts_total counter",
            "restarts_total,kevmon_restart_kind=\"respawn\"} 2",
            "restarts_total,kevmon_restart_kind=\"reexec\"} 1",
        ]
    );
    assert_eq!(
        family(&open.text, "run_queue_wait_time_seconds"),
        [
            "# HELP run_queue_wait_time_seconds Time that threads were ready to run and waited for a CPU",
            "# TYPE run_queue_wait_time_seconds counter",
            "# UNIT run_queue_wait_time_seconds seconds",
            "run_queue_wait_time_seconds_total} 0",
        ]
    );
    assert_eq!(
        family(&text.text, "memory_rss_total_bytes"),
        [
            "# HELP memory_rss_total_bytes Sum of the resident sets; memory shared by all of an address space counts once",
            "# TYPE memory_rss_total_bytes gauge",
            "memory_rss_total_bytes} 0",
        ]
    );
    assert_eq!(
        family(&text.text, "cpu_usage_percent"),
        [""; 0],
        "not known is absent"
    );
    assert_eq!(
        family(&text.text, "last_start_time_seconds")[2],
        "last_start_time_seconds} 1000000020"
    );

    let histogram = family(&text.text, "downtime_seconds");
    assert_eq!(histogram.len(), 2 + 16 + 2);
    assert_eq!(histogram[1], "# TYPE downtime_seconds histogram");
    assert_eq!(histogram[4], "downtime_seconds_bucket,le=\"0.1\"} 0");
    assert_eq!(histogram[5], "downtime_seconds_bucket,le=\"0.5\"} 1");
    assert_eq!(histogram[6], "downtime_seconds_bucket,le=\"1\"} 1");
    assert_eq!(histogram[17], "downtime_seconds_bucket,le=\"+Inf\"} 1");
    assert_eq!(
        histogram[18..],
        ["downtime_seconds_sum} 0.25", "downtime_seconds_count} 1"]
    );
    assert_eq!(
        family(&open.text, "downtime_seconds")[7],
        "downtime_seconds_bucket,le=\"1.0\"} 1"
    );

    assert!(open.text.ends_with("\n# EOF\n"));
    assert!(!text.text.contains("# EOF") && !text.text.contains("# UNIT"));
}

/// When a sum began, where that is asked for and the format has a place for it.
#[test]
fn sums_tell_when_they_began() {
    let collection = of(&["web"]);
    let resources = resource_metrics(&collection, &host());
    for (format, created, expected) in [
        (Format::OpenMetrics, true, true),
        (Format::OpenMetrics, false, false),
        (Format::Text, true, false),
    ] {
        let text = page(&resources, format, created).text;
        assert_eq!(text.contains("_created{"), expected, "{format:?} {created}");
    }
    let text = page(&resources, Format::OpenMetrics, true).text;
    let start = |name: &str| {
        let lines = family(&text, name);
        let created = lines.iter().find(|line| line.contains("_created")).cloned();
        created.map(|line| line.rsplit_once(' ').expect("a value").1.to_owned())
    };
    let point = |name: &str| {
        let metrics = &resources[1].scope_metrics[0].metrics;
        let metric = metrics.iter().find(|metric| metric.name == name).expect(name);
        match metric.data.as_ref().expect("data") {
            Data::Sum(sum) => sum.data_points[0].start_time_unix_nano,
            Data::Histogram(histogram) => histogram.data_points[0].start_time_unix_nano,
            _ => panic!("{name} is no sum"),
        }
    };
    for (metric, family) in [("starts", "starts"), ("downtime", "downtime_seconds")] {
        let began = point(metric);
        assert!(began > 0);
        let seconds = format!("{}.{:03}", began / 1_000_000_000, began / 1_000_000 % 1_000);
        assert_eq!(start(family), Some(seconds), "{metric}");
    }
    assert_eq!(start("process_count_processes"), None, "a gauge has no beginning");
    let exits = family(&text, "exits");
    assert_eq!(
        exits.iter().filter(|line| line.contains("_created")).count(),
        exits.iter().filter(|line| line.contains("_total")).count(),
        "each series"
    );
}

#[test]
fn a_target_is_told_by_job_and_instance() {
    let collection = of(&["web"]);
    let instance = crate::export::service_instance_id(&collection.services[0].plugin, &host(), Run::Service);
    let identity = format!("job=\"test/Web\",instance=\"{instance}\"");
    for (format, name, kind) in [
        (Format::Text, "target_info", "gauge"),
        (Format::OpenMetrics, "target", "info"),
    ] {
        let text = rendered(&collection, format).text;
        let head = format!(
            "# HELP {name} Attributes of the service, by job and instance\n# TYPE {name} {kind}\ntarget_info{{"
        );
        assert_eq!(text.matches(&head).count(), 1, "{text}");
        let arch = host().attributes()["host.arch"].clone();
        let expected = format!(
            "\ntarget_info{{{identity},host_arch=\"{arch}\",host_name=\"host\",kevmon_plugin=\"web\",\
             kevmon_service_id=\"web\",kevmon_service_original_name=\"web\",os_type=\"linux\",\
             process_executable_name=\"web\"}} 1\n"
        );
        assert!(text.contains(&expected), "{text}");
        let starts = format!(
            "starts_total{{{identity},otel_scope_name=\"kevmon\",otel_scope_version=\"{}\"}} 9\n",
            env!("CARGO_PKG_VERSION")
        );
        assert!(text.contains(&starts), "{text}");
    }
}

/// Each line of a page names a series once, below the one HELP and TYPE of its family.
#[test]
fn many_plugins_share_their_families() {
    let mut collection = of(&["web", "db", "cache"]);
    for (service, naming) in collection
        .services
        .iter_mut()
        .zip([Naming::Both, Naming::Instana, Naming::Otel])
    {
        Arc::make_mut(&mut service.plugin).naming = naming;
    }
    for format in [Format::Text, Format::OpenMetrics] {
        let page = rendered(&collection, format);
        assert_eq!(page.conflicting, BTreeSet::new());
        let mut comments = BTreeSet::new();
        let mut series = BTreeSet::new();
        let mut of_family = String::new();
        for line in page.text.lines().filter(|line| *line != "# EOF") {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.split(' ');
                let (what, name) = (words.next().unwrap(), words.next().unwrap());
                assert!(comments.insert(format!("{what} {name}")), "{comment} twice");
                name.clone_into(&mut of_family);
            } else {
                let (labels, value) = line.rsplit_once(' ').unwrap();
                assert!(labels.starts_with(&of_family), "{line} below {of_family}");
                assert!(series.insert(labels.to_owned()), "{labels} twice");
                value.parse::<f64>().unwrap();
            }
        }
        assert!(series.len() > 200, "{}", series.len());
        let names = [
            "starts_total",
            "kevmon_group_starts_total",
            "kevmon_complete_ratio",
            "kevmon_complete_totals_ratio",
        ];
        for (name, services) in names.iter().zip([2, 2, 1, 1]) {
            let prefix = format!("{name}{{");
            let of_name = series.iter().filter(|line| line.starts_with(&prefix)).count();
            assert_eq!(of_name, services, "{name}");
        }
    }
}

#[test]
fn a_name_has_one_type_and_what_has_ended_is_left_out() {
    let mut resources = resource_metrics(&of(&["web", "db"]), &host());
    for metric in &mut resources[2].scope_metrics[0].metrics {
        match &mut metric.data {
            Some(Data::Sum(sum)) if metric.name == "starts" => sum.is_monotonic = false,
            Some(Data::Sum(sum)) if metric.name == "joins" => sum.aggregation_temporality = 1,
            Some(Data::Sum(sum)) if metric.name == "leaves" => sum.data_points[0].flags = 1,
            _ => {}
        }
    }
    let page = page(&resources, Format::Text, false);
    assert_eq!(page.conflicting, BTreeSet::from(["starts".to_owned()]));
    for (name, series) in [
        ("starts_total", 1),
        ("joins_total", 1),
        ("leaves_total", 1),
        ("worker_starts_total", 2),
    ] {
        assert_eq!(family(&page.text, name).len(), 2 + series, "{name}");
    }
    assert!(!page.text.contains("\nstarts{"), "no gauge of that name");
}

/// A program that stays may bring several values of one series in a collection; a page may hold a series once.
#[test]
fn of_several_values_of_a_series_the_latest() {
    use crate::plugin::collector::{Custom, CustomValue};
    let mut collection = of(&["web"]);
    let value = |name: &str, group: &str, value: Custom, time: u64| CustomValue {
        name: name.to_owned(),
        unit: String::new(),
        description: String::new(),
        value,
        attributes: vec![("group".to_owned(), group.to_owned())],
        time,
    };
    let sum = |value| Custom::IntSum { value, start: 1 };
    collection.services[0].extra.custom = vec![
        value("depth", "a", Custom::Int(1), 10),
        value("depth", "b", Custom::Int(7), 10),
        value("depth", "a", Custom::Int(3), 30),
        value("depth", "a", Custom::Int(2), 20),
        value("jobs", "a", sum(5), 10),
        value("jobs", "a", sum(9), 11),
    ];
    for format in [Format::Text, Format::OpenMetrics] {
        let page = rendered(&collection, format);
        let samples = |name: &str| {
            let all = family(&page.text, name).into_iter();
            all.filter(|line| !line.starts_with('#')).collect::<Vec<_>>()
        };
        assert_eq!(samples("depth"), ["depth,group=\"a\"} 3", "depth,group=\"b\"} 7"]);
        assert_eq!(samples("jobs"), ["jobs_total,group=\"a\"} 9"]);
    }
}

#[test]
fn the_latest_reading_of_each_plugin_until_it_is_out_of_date() {
    let start = Instant::now();
    let latest = LatestReadings::new(host(), false);
    let counted = |seconds| {
        let text = latest.page(Format::Text, start + Duration::from_secs(seconds));
        let text = String::from_utf8(text.to_vec()).unwrap();
        let mut counts = family(&text, "starts_total");
        counts.drain(..2.min(counts.len()));
        (counts, family(&text, "kevmon_complete_ratio").len())
    };
    assert_eq!(counted(0), (vec![], 0), "nothing was measured");
    let with_starts = |plugins: &[&str], starts| {
        let mut collection = of(plugins);
        for service in &mut collection.services {
            service.reading.happened.starts = starts;
        }
        Arc::new(collection)
    };
    let count = |starts: u64| format!("starts_total}} {starts}");
    latest.update_at(&with_starts(&["web", "db"], 1), start);
    latest.update_at(&with_starts(&["web"], 2), start + Duration::from_secs(20));
    assert_eq!(counted(30), (vec![count(1), count(2)], 3), "db, web");
    assert_eq!(
        counted(31),
        (vec![count(2)], 3),
        "db is older than three intervals"
    );
    assert_eq!(counted(51), (vec![], 3), "kevmon's own state stays");
}

#[test]
fn the_format_is_the_readers_choice() {
    for (accept, format) in [
        (vec![], Format::Text),
        (vec!["*/*"], Format::Text),
        (vec!["text/html"], Format::Text),
        (vec!["application/openmetrics-text"], Format::OpenMetrics),
        (vec!["application/openmetrics-text; version=0.0.1"], Format::Text),
        (
            vec![
                "text/plain;q=0.5",
                "application/openmetrics-text;version=1.0.0;q=0.6",
            ],
            Format::OpenMetrics,
        ),
        (
            vec!["application/openmetrics-text;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.4"],
            Format::Text,
        ),
        (
            // Prometheus 3.
            vec![
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            ],
            Format::OpenMetrics,
        ),
    ] {
        assert_eq!(chosen(accept.iter().copied()), format, "{accept:?}");
    }
}

/// The names of docs/prometheus.md; with `print_prometheus_names` they are printed for it.
fn reference() -> Vec<String> {
    use crate::metrics::{Instrument, OWN, metrics, process_metrics};
    let own = OWN.iter().map(|own| (own.name, own.unit, own.instrument));
    let of_plugins = metrics(Naming::Both).map(|metric| (metric.name, metric.unit, metric.instrument));
    let of_processes =
        process_metrics(Naming::Both).map(|metric| (metric.name, metric.unit, metric.instrument));
    let line = |(name, unit, instrument): (&str, &str, Instrument)| {
        let (kind, suffix) = match instrument {
            Instrument::Counter => (Kind::Counter, "_total"),
            Instrument::Gauge => (Kind::Gauge, ""),
            Instrument::UpDownCounter => (Kind::UpDownCounter, ""),
            Instrument::Histogram => (Kind::Histogram, ""),
        };
        let family = family_name(name, unit, kind);
        format!(
            "| `{name}` | `{unit}` | `{family}{suffix}` | {} |",
            kind.type_name()
        )
    };
    of_plugins.chain(of_processes).chain(own).map(line).collect()
}

#[test]
fn the_reference_is_up_to_date() {
    let written = include_str!("../../../../docs/prometheus.md");
    for line in reference() {
        assert!(
            written.contains(&line),
            "docs/prometheus.md lacks the line\n{line}"
        );
    }
}

/// `cargo test -p kevmon print_prometheus_names -- --ignored --nocapture` prints the table for docs/prometheus.md.
#[test]
#[ignore = "prints the reference table, checks nothing"]
fn print_prometheus_names() {
    for line in reference() {
        println!("{line}");
    }
}
