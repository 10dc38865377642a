//! `bench plugins`: five hundred plugins over two thousand matched processes: what a collection of all costs, what one
//! plugin's change costs, and how much memory it takes, beside a kevmon with one plugin over the same processes.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use kevmon_tests::{checks::float, kevmon::Daemon, plugin_dir::PluginDir, wait};

use crate::{quantile, verdict};

const PLUGINS: usize = 500;
const PROCESSES: usize = 2_000;
/// Changes of one plugin.
const CHANGES: usize = 20;
/// What docs/performance.md promises.
const RELOAD_MS: f64 = 100.0;
const LIMIT: Duration = Duration::from_secs(60);

/// A process of another name each, until it is dropped.
struct Herd(Vec<Child>);

impl Drop for Herd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().expect("our child");
            child.wait().expect("our child");
        }
    }
}

fn herd() -> Herd {
    let start = |number: usize| {
        Command::new("/bin/sleep")
            .arg0(format!("kvt-bench-{:03}-{}", number % PLUGINS, number / PLUGINS))
            .arg("3600")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("sleep starts")
    };
    Herd((0..PROCESSES).map(start).collect())
}

fn file(pattern: &str, interval: &str) -> String {
    format!(
        "schema = 1\n[service]\nnamespace = \"Bench\"\nprocess_name = '{pattern}'\n[monitoring]\ninterval = \"{interval}\"\n"
    )
}

/// Resident set of a process, bytes.
fn rss(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("kevmon runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("it has memory");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0
}

/// Median CPU of a collection (ns) and resident set (bytes) with the plugins in `folder`.
fn measure(daemon: &mut Daemon, ticks: usize) -> (f64, f64) {
    let mut costs: Vec<f64> = (0..ticks)
        .map(|_| float(daemon.next_tick(LIMIT).cpu_ns()))
        .collect();
    (quantile(&mut costs, 0.5), rss(daemon.pid()))
}

/// Runs it.
pub(crate) fn run() -> ExitCode {
    let _herd = herd();
    let one = PluginDir::new();
    one.write("all", &file("^kvt-bench-", "1s"));
    let many = PluginDir::new();
    for number in 0..PLUGINS {
        many.write(
            &format!("p{number:03}"),
            &file(&format!("^kvt-bench-{number:03}-"), "1s"),
        );
    }
    let mut rows = Vec::new();
    let mut reloads = (Vec::new(), Vec::new());
    for (what, folder) in [("one plugin", &one), ("500 plugins", &many)] {
        let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
        for _ in 0..3 {
            daemon.next_tick(LIMIT);
        }
        rows.push((what, measure(&mut daemon, 15)));
        if what != "one plugin" {
            for change in 0..CHANGES {
                // Another match, so that members have to be found anew.
                let pattern = format!("^kvt-bench-007-[0-{}]", 4 + change % 5);
                many.write("p007", &file(&pattern, "1s"));
                let told = |daemon: &Daemon| daemon.stderr().matches("begun: p007").count();
                wait::until("the change", LIMIT, || (told(&daemon) > change).then_some(()));
            }
            let log = daemon.stderr();
            for line in log.lines().filter(|line| line.contains("begun: p007")) {
                let part = |word: &str| -> f64 {
                    let text = line.split_once(word).expect("both are told").1;
                    let end = text.find([',', ')']).expect("closed");
                    millis(text[..end].trim())
                };
                reloads.0.push(part("read in "));
                reloads.1.push(part("applied in "));
            }
        }
        // Not ended in order: that asserts that no sum has fallen, and here one series follows another.
    }
    println!(
        "{PROCESSES} matched processes; CPU of one collection of all plugins, kevmon's own process clock"
    );
    println!("{:>12} {:>12} {:>12}", "", "collection", "resident");
    for (what, (cpu, rss)) in &rows {
        println!("{what:>12} {:>9.2} ms {:>9.1} MB", cpu / 1e6, rss / 1e6);
    }
    let (mut read, mut applied) = reloads;
    let mut whole: Vec<f64> = read
        .iter()
        .zip(&applied)
        .map(|(read, applied)| read + applied)
        .collect();
    let p95 = quantile(&mut whole, 0.95);
    println!(
        "change of one plugin, {CHANGES} times: read {:.1} ms, applied {:.1} ms (medians); both {p95:.1} ms (p95)",
        quantile(&mut read, 0.5),
        quantile(&mut applied, 0.5)
    );
    let ratio = rows[1].1.0 / rows[0].1.0;
    println!("ratio of the collections: {ratio:.2}");
    verdict(&[(
        format!("a change of one plugin takes at most {RELOAD_MS:.0} ms"),
        p95 <= RELOAD_MS,
    )])
}

/// `12.3ms`, `870.1µs` or `1.2s`, in milliseconds.
fn millis(text: &str) -> f64 {
    let number = |unit: &str| {
        text.strip_suffix(unit)
            .and_then(|number| number.parse::<f64>().ok())
    };
    number("ms")
        .or_else(|| number("µs").map(|micros| micros / 1e3))
        .or_else(|| number("ns").map(|nanos| nanos / 1e6))
        .or_else(|| number("s").map(|seconds| seconds * 1e3))
        .unwrap_or_else(|| panic!("{text:?} is no length of time"))
}
