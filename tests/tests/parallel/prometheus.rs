//! kevmon's page in a real Prometheus, in both formats: what its queries give is what the processes' parent counted, and series
//! end with what they are about.

use std::time::{Duration, Instant};

use kevmon_tests::{
    checks::float,
    http::Client,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    port,
    prometheus::{Format, Prometheus, Series, promtool_check},
    push::plugin_file,
    truth::{self, Truth},
    wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
const SCRAPE: Duration = Duration::from_secs(1);
const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];
/// Selects the series of one plugin's service.
const OF: &str = "kevmon_service_id";

/// kevmon with a page, on plugin files.
struct Page {
    folder: PluginDir,
    port: u16,
    daemon: Daemon,
}

impl Page {
    /// Starts it with these plugins: a name, and the file.
    fn start(plugins: &[(&str, String)]) -> Self {
        let folder = PluginDir::new();
        for (name, file) in plugins {
            folder.write(name, file);
        }
        let port = port::free();
        let listen = format!("127.0.0.1:{port}");
        let daemon = Daemon::start(&[
            "--plugins-dir",
            folder.path(),
            "--prometheus",
            &listen,
            // Nobody listens there.
            "--agent-port",
            "9",
        ]);
        Self { folder, port, daemon }
    }

    fn text(&self) -> Vec<u8> {
        Client::plain(self.port).get("/metrics").unwrap().body
    }
}

/// `metric` of a plugin's service: the page has the service's id in `target_info` alone.
fn joined(metric: &str, plugin: &str) -> String {
    format!("{metric} * on (job, instance) group_left ({OF}) target_info{{{OF}=\"kvt_company_{plugin}\"}}")
}

fn sum(series: &[Series]) -> f64 {
    series.iter().map(Series::last).sum()
}

fn seconds(instant: u64) -> f64 {
    float(instant) / 1e9
}

/// Waits until Prometheus has scraped what was there when this was called.
fn settle(servers: &[Prometheus]) {
    let begin = seconds(wait::unix_now());
    for server in servers {
        // kevmon collects each 300 ms; two scrapes later the page of after the call was read.
        server.wait_for("two more scrapes", LIMIT, "timestamp(up)", |series| {
            series.iter().any(|up| up.last() > begin + 1.5).then_some(())
        });
    }
}

#[test]
fn increases_and_values_are_what_the_parent_counted() {
    let program = Program::new(WORKLOAD, "promil");
    let page = Page::start(&[("promil", plugin_file("promil", &program.pattern(), ""))]);
    let servers = FORMATS.map(|format| Prometheus::scraping(page.port, format, SCRAPE));
    // One end of each kind, so that each has a series before the time that is measured.
    let ends: [(&[&str], &str, u32); 3] = [
        (
            &["exit", "0", "--life-ms", "5"],
            "kevmon_exit_reason=\"exit\",process_exit_code=\"0\"",
            4,
        ),
        (
            &["exit", "7", "--life-ms", "5"],
            "kevmon_exit_reason=\"exit\",process_exit_code=\"7\"",
            9,
        ),
        (
            &["signal", "9", "--life-ms", "5"],
            "kevmon_exit_signal=\"SIGKILL\"",
            6,
        ),
    ];
    let mut counted = Truth::default();
    for (args, ..) in ends {
        counted += truth::spawn(&program, args).reap().truth;
    }
    settle(&servers);
    let begin = seconds(wait::unix_now());
    for (args, _, count) in ends {
        for _ in 0..count {
            counted += truth::spawn(&program, args).reap().truth;
        }
    }
    assert_eq!(counted.count, 22);
    settle(&servers);
    settle(&servers);
    let now = seconds(wait::unix_now());
    for (server, format) in servers.iter().zip(FORMATS) {
        for (_, labels, count) in ends {
            let count = f64::from(count);
            let last = sum(&server.query_at(&joined(&format!("exits_total{{{labels}}}"), "promil"), now));
            assert!((last - count - 1.0).abs() < 1e-9, "{format:?} {labels}: {last}");
            // Prometheus extrapolates to the ends of the range: by less than two scrapes of it.
            let range = now - begin + 2.0;
            let expression = format!("increase(exits_total{{{labels}}}[{range:.0}s])");
            let increase = sum(&server.query_at(&joined(&expression, "promil"), now));
            assert!(
                (count..=count * range / (range - 2.5)).contains(&increase),
                "{format:?} {labels}: {increase}, not {count}, over {range} s"
            );
        }
        // Each end but the last was followed by a start that replaces it.
        let restarts =
            sum(&server.query_at(&joined("sum by (job, instance) (restarts_total)", "promil"), now));
        assert!((restarts - 21.0).abs() < 1e-9, "{format:?}: {restarts} restarts");
        let cpu = "sum by (job, instance) ({__name__=~\"cpu_(user|system)_time_seconds_total\"})";
        let cpu = sum(&server.query_at(&joined(cpu, "promil"), now));
        // wait4 cuts user and system time of each process to microseconds.
        let (least, cut) = (seconds(counted.cpu_ns), 2e-6 * float(counted.count));
        assert!(
            (least - 1e-9..=least + cut).contains(&cpu),
            "{format:?}: {cpu} s of CPU, and {least} s by wait4"
        );
        let complaints = server.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}

#[test]
fn types_units_and_target_info_are_what_the_page_says() {
    let program = Program::new(WORKLOAD, "promty");
    let page = Page::start(&[("promty", plugin_file("promty", &program.pattern(), ""))]);
    let running = program.start(&["pulse", "--busy-ms", "1", "--idle-ms", "40"]);
    truth::spawn(&program, &["exit", "3", "--life-ms", "5"]).reap();
    let servers = FORMATS.map(|format| Prometheus::scraping(page.port, format, SCRAPE));
    for (server, format) in servers.iter().zip(FORMATS) {
        let what = "the child's end in Prometheus";
        let info = server.wait_for(what, LIMIT, &joined("exits_total", "promty"), |series| {
            (sum(series) >= 1.0).then(|| series.to_vec())
        });
        let ended = |series: &&Series| series.last() > 0.5;
        let codes: Vec<&str> = info
            .iter()
            .filter(ended)
            .map(|series| series.label("process_exit_code"))
            .collect();
        assert_eq!(codes, ["3"], "{info:?}");
        // The join of docs/prometheus.md.
        let joins =
            server.query("rate(starts_total[1m]) * on (job, instance) group_left (host_name) target_info");
        assert!(
            joins.iter().all(|series| !series.label("host_name").is_empty()),
            "{joins:?}"
        );
        let target = server.query(&format!("target_info{{{OF}=\"kvt_company_promty\"}}"));
        assert_eq!(target.len(), 1, "{target:?}");
        for (label, value) in [
            ("job", "Kvt Company/Kvt Company Promty"),
            ("service_version", "1.2.3"),
            ("kevmon_plugin", "promty"),
        ] {
            assert_eq!(target[0].label(label), value, "{target:?}");
        }
        let metadata = server.metadata();
        for (name, kind, unit) in [
            ("restarts_total", "counter", ""),
            ("exits_total", "counter", ""),
            ("cpu_user_time_seconds_total", "counter", "seconds"),
            ("disk_write_bytes_total", "counter", "bytes"),
            ("memory_rss_total_bytes", "gauge", "bytes"),
            ("lifetime_seconds", "histogram", "seconds"),
        ] {
            // Prometheus keeps a counter's metadata under its family's name where the format has families.
            let family = name
                .strip_suffix("_total")
                .filter(|_| format == Format::OpenMetrics);
            let told = metadata.get(name).or_else(|| metadata.get(family?));
            let told = told.unwrap_or_else(|| panic!("{format:?}: no metadata of {name}: {metadata:?}"));
            // The text format has no units.
            let unit = if format == Format::OpenMetrics { unit } else { "" };
            assert_eq!(
                (told.0.as_str(), told.1.as_str()),
                (kind, unit),
                "{format:?} {name}"
            );
        }
        let unknown: Vec<_> = metadata.iter().filter(|(_, told)| told.0 == "unknown").collect();
        assert!(unknown.is_empty(), "{format:?}: {unknown:?}");
        let quantile = "histogram_quantile(0.5, sum by (le) (lifetime_seconds_bucket))";
        let median = sum(&server.query(quantile));
        assert!(median > 0.001 && median < 10.0, "{format:?}: {median}");
        assert!(server.complaints().is_empty(), "{:?}", server.complaints());
    }
    assert_eq!(running.finish().status, 0);
}

#[test]
fn series_end_with_the_process_the_plugin_and_kevmon() {
    let program = Program::new(WORKLOAD, "promend");
    let file = |name: &str| plugin_file(name, &program.pattern(), "[processes]\nenabled = true");
    let page = Page::start(&[("promend", file("promend")), ("promgone", file("promgone"))]);
    let servers = FORMATS.map(|format| Prometheus::scraping(page.port, format, SCRAPE));
    let stays = program.start(&["idle"]);
    let ends = program.start(&["idle"]);
    // Series of a process, of each plugin that has any.
    let of = |pid: u32| format!("group by (instance) ({{process_pid=\"{pid}\"}})");
    let count = |server: &Prometheus, expression: &str| server.query(expression).len();
    for server in &servers {
        server.wait_for(
            "both processes of both plugins",
            LIMIT,
            "group by (instance, process_pid) ({process_pid!=\"\"})",
            |series| (series.len() == 4).then_some(()),
        );
    }
    // Without a mark that a series has ended, it would be there for five minutes.
    let pid = ends.pid();
    assert_eq!(ends.finish().status, 0);
    let gone = Instant::now();
    for server in &servers {
        server.wait_for(
            "the series of the ended process to end",
            LIMIT,
            &of(pid),
            |series| series.is_empty().then_some(()),
        );
        assert_eq!(count(server, &of(stays.pid())), 2);
    }
    assert!(gone.elapsed() < Duration::from_secs(20), "{:?}", gone.elapsed());
    // A plugin whose file is removed.
    let path = page.folder.path();
    std::fs::remove_dir_all(format!("{path}/promgone")).unwrap();
    let joined_count = |plugin: &str| joined("starts_total", plugin);
    for server in &servers {
        let expression = joined_count("promgone");
        server.wait_for(
            "the removed plugin's series to end",
            Duration::from_secs(60),
            &expression,
            |series| series.is_empty().then_some(()),
        );
        assert_eq!(count(server, &joined_count("promend")), 1);
        let complaints = server.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
    // kevmon itself.
    page.daemon.terminate();
    for server in &servers {
        server.wait_for(
            "all series to end",
            LIMIT,
            "starts_total or target_info",
            |series| series.is_empty().then_some(()),
        );
        assert!(sum(&server.query("up")).abs() < 0.5, "up is 0");
    }
    assert_eq!(stays.finish().status, 0);
}

#[test]
fn promtool_finds_no_fault_in_the_page() {
    let program = Program::new(WORKLOAD, "promtool");
    let naming = |name: &str| {
        let further = format!("naming = \"{name}\"\n[processes]\nenabled = true");
        plugin_file(name, &program.pattern(), &further)
    };
    for name in ["instana", "otel", "both"] {
        let mut page = Page::start(&[(name, naming(name))]);
        let running = program.start(&["idle"]);
        for args in [
            &["exit", "3", "--life-ms", "5"][..],
            &["signal", "9", "--life-ms", "5"],
        ] {
            truth::spawn(&program, args).reap();
        }
        let now = wait::unix_now();
        page.daemon.tick_after(now, Duration::from_millis(500), LIMIT);
        let text = page.text();
        assert!(text.len() > 5_000, "{}", String::from_utf8_lossy(&text));
        // A name that ends so is the semantic conventions' (process.thread.count) or the framework's: it stays.
        let count = "_count non-histogram and non-summary metrics should not have \"_count\" suffix";
        let said = promtool_check(&text);
        let faults: Vec<&str> = said.lines().filter(|line| !line.ends_with(count)).collect();
        assert!(faults.is_empty(), "naming {name}: {faults:#?}");
        assert_eq!(running.finish().status, 0);
        page.daemon.terminate();
    }
}
