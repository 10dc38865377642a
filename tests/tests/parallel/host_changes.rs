//! What changes about the host while kevmon runs: its name, its id, its memory. Each test has the host to itself by
//! namespaces, so that nobody else notices.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    fs::File,
    io,
    os::fd::AsRawFd,
    path::Path,
    time::Duration,
};

use kevmon_tests::{
    http::Client,
    isolated::isolate,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    points::Point,
    port,
    push::{LIMIT, plugin_file},
    receiver::{Number, Receiver},
    scratch::Scratch,
    wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// Renames the host that the process `pid` is on.
fn rename_host(pid: u32, name: &str) {
    let namespace = File::open(format!("/proc/{pid}/ns/uts")).expect("our child");
    let name = CString::new(name).expect("no NUL");
    let rename = move || {
        // SAFETY: setns(2) moves this thread alone; sethostname(2) reads so many bytes of a string that lives.
        let renamed = unsafe {
            libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUTS) == 0
                && libc::sethostname(name.as_ptr(), name.count_bytes()) == 0
        };
        assert!(
            renamed,
            "missing prerequisite: CAP_SYS_ADMIN: {}",
            io::Error::last_os_error()
        );
    };
    std::thread::spawn(rename).join().expect("renamed");
}

fn host_name(point: &Point) -> &str {
    point.resource.get("host.name").map_or("", String::as_str)
}

/// The points of the service `id`, by name of the host; waits for so many collections of the host called `name`.
fn points_on(receiver: &Receiver, service: &str, name: &str, times: usize) -> Vec<Point> {
    receiver.wait_for(&format!("{times} collections on {name}"), LIMIT, |points| {
        let is_of = |point: &&Point| {
            point
                .resource
                .get("kevmon.service.id")
                .is_some_and(|id| id == service)
        };
        let of: Vec<Point> = points.iter().filter(is_of).cloned().collect();
        let on: BTreeSet<u64> = of
            .iter()
            .filter(|point| host_name(point) == name)
            .map(|point| point.time)
            .collect();
        (on.len() >= times).then_some(of)
    })
}

#[test]
fn a_new_host_name_is_in_the_next_collection_and_no_series_begins_anew() {
    for (temporality, has_id) in [("cumulative", true), ("delta", true), ("cumulative", false)] {
        let program = Program::new(WORKLOAD, "moved");
        let folder = PluginDir::new();
        folder.write("moved", &plugin_file("moved", &program.pattern(), ""));
        let receiver = Receiver::start();
        let scratch = Scratch::new();
        let empty = scratch.path().join("empty");
        std::fs::write(&empty, "").expect("a scratch file");
        let machine_ids = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
        let hidden: Vec<(&Path, &str)> = machine_ids.map(|file| (empty.as_path(), file)).to_vec();
        let hidden = if has_id { &[][..] } else { &hidden };
        let (port, path) = (receiver.port(), folder.path());
        let page_port = port::free();
        let page = format!("127.0.0.1:{page_port}");
        let args = [
            "--plugins-dir",
            path,
            "--agent-host",
            "127.0.0.1",
            "--agent-port",
            &port,
            "--prometheus",
            &page,
        ];
        let daemon = Daemon::start_prepared(&args, |command| {
            command.env("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", temporality);
            isolate(command, "kvt-before", hidden);
        });
        let mut lives = 0;
        let mut live = |times| {
            for _ in 0..times {
                assert_eq!(program.start(&["idle"]).finish().status, 0);
                lives += 1;
            }
            lives
        };
        live(3);
        points_on(&receiver, "kvt_company_moved", "kvt-before", 2);
        rename_host(daemon.pid(), "kvt-after");
        let renamed = wait::unix_now();
        let total = live(2);
        points_on(&receiver, "kvt_company_moved", "kvt-after", 3);
        // What is looked at below is later than that.
        receiver.wait_for("a collection a second later", LIMIT, |points| {
            points
                .iter()
                .any(|point| point.time > renamed + 1_000_000_000)
                .then_some(())
        });
        let page = Client::plain(page_port).get("/metrics").expect("a page");
        let body = String::from_utf8_lossy(&page.body);
        assert!(
            body.contains("kvt-after") && !body.contains("kvt-before"),
            "{body}"
        );
        assert!(
            daemon.stderr().contains("host.name is kvt-after now"),
            "{}",
            daemon.stderr()
        );
        daemon.terminate();

        let points = points_on(&receiver, "kvt_company_moved", "kvt-after", 3);
        for point in &points {
            let late = point.time > renamed + 1_000_000_000;
            assert!(!late || host_name(point) == "kvt-after", "{point:?}");
            assert_eq!(point.resource.contains_key("host.id"), has_id, "{point:?}");
        }
        let ids: BTreeSet<_> = points
            .iter()
            .map(|point| &point.resource["service.instance.id"])
            .collect();
        assert_eq!(ids.len(), 1, "one instance id");
        let starts: Vec<&Point> = points.iter().filter(|point| point.metric == "starts").collect();
        let count = |point: &Point| match point.value {
            Number::Int(count) => u64::try_from(count).expect("a count"),
            _ => panic!("{point:?}"),
        };
        if temporality == "delta" {
            let sum: u64 = starts.iter().map(|point| count(point)).sum();
            assert_eq!(sum, total, "each start once: {starts:?}");
            let pairs = starts.windows(2);
            pairs.for_each(|pair| assert_eq!(pair[1].start_time, pair[0].time, "no gap and no overlap"));
        } else {
            let since: BTreeSet<u64> = starts.iter().map(|point| point.start_time).collect();
            assert_eq!(since.len(), 1, "one start of the series: {starts:?}");
            assert!(
                starts.windows(2).all(|pair| count(pair[0]) <= count(pair[1])),
                "{starts:?}"
            );
            assert_eq!(starts.last().map(|point| count(point)), Some(total));
        }
        // kevmon's own, also by the SDK.
        let own: BTreeMap<String, BTreeSet<String>> =
            receiver.points().iter().fold(BTreeMap::new(), |mut own, point| {
                if point
                    .resource
                    .get("service.name")
                    .is_some_and(|name| name == "kevmon")
                    && point.time > renamed + 1_000_000_000
                {
                    let hosts: &mut BTreeSet<String> = own.entry(point.metric.clone()).or_default();
                    hosts.insert(host_name(point).to_owned());
                }
                own
            });
        assert!(own.contains_key("process.cpu.time"), "the SDK's: {own:?}");
        assert!(own.values().flatten().all(|name| name == "kvt-after"), "{own:?}");
    }
}

#[test]
fn memory_that_is_added_or_taken_counts_from_then_on() {
    let program = Program::new(WORKLOAD, "memory");
    let scratch = Scratch::new();
    let file = scratch.path().join("meminfo");
    let real = std::fs::read_to_string("/proc/meminfo").expect("/proc is mounted");
    let write = |kibibytes: u64| {
        let lines = real.lines().map(|line| match line.strip_prefix("MemTotal:") {
            Some(_) => format!("MemTotal: {kibibytes:>14} kB\n"),
            None => format!("{line}\n"),
        });
        // In place: the mount is of this very file.
        std::fs::write(&file, lines.collect::<String>()).expect("a scratch file");
    };
    write(8 << 20);
    let _running = program.start(&["idle"]);
    let args = ["--interval", "250ms", "--process-name", &program.pattern()];
    let over = [(file.as_path(), "/proc/meminfo")];
    let mut daemon = Daemon::start_prepared(&args, |command| isolate(command, "kvt-memory", &over));
    let share_of = |daemon: &mut Daemon, gibibytes: f64| {
        let tick = daemon.wait_until(&format!("{gibibytes} GiB"), LIMIT, |tick| {
            let group = tick.expect_group(&program.plugin());
            let rss = group.float("memory_rss_total");
            let expected = rss / (gibibytes * f64::from(1 << 30));
            (group.float("memory_usage") / expected - 1.0).abs() < 1e-6
        });
        tick.time()
    };
    share_of(&mut daemon, 8.0);
    write(16 << 20);
    share_of(&mut daemon, 16.0);
    write(4 << 20);
    let asked = wait::unix_now();
    daemon.hang_up();
    let took = Duration::from_nanos(share_of(&mut daemon, 4.0) - asked);
    assert!(took < Duration::from_secs(5), "SIGHUP reads it at once: {took:?}");
    daemon.terminate();
}
