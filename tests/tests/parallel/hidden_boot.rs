//! A /proc mounted with `subset=pid`, as systemd's `ProcSubset=pid` does, shows processes and nothing of the host: no boot id,
//! no memory, no load. What kevmon needs of it is had otherwise, or absent.

use std::{path::PathBuf, time::Duration};

use kevmon_tests::{
    answered::Calls,
    daemon::Daemon,
    proc_mount::with_proc,
    scratch::Scratch,
    tick::Tick,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

struct Setup {
    program: Program,
    _running: Running,
    scratch: Scratch,
}

impl Setup {
    fn new(stem: &str) -> Self {
        let program = Program::new(WORKLOAD, stem);
        Self {
            _running: program.start(&["idle"]),
            program,
            scratch: Scratch::new(),
        }
    }

    fn database(&self) -> PathBuf {
        self.scratch.path().join("metadata.db")
    }

    /// A run that has told two ticks; its last one, and what it logged.
    fn run(&self, source: &str, is_hidden: bool, further: &[&str]) -> (Tick, String) {
        let (pattern, database) = (self.program.pattern(), self.database());
        let args = [
            &[
                "--interval",
                "200ms",
                "--source",
                source,
                "--process-name",
                &pattern,
            ][..],
            &["--metadata-db-path", database.to_str().expect("UTF-8")],
            further,
        ];
        let mut daemon = Daemon::start_prepared(&args.concat(), |command| {
            if is_hidden {
                with_proc(command, "subset=pid");
            }
        });
        daemon.next_tick(LIMIT);
        let stderr = daemon.stderr();
        (daemon.terminate(), stderr)
    }

    /// Joins, exits and processes.
    fn counts(&self, tick: &Tick) -> [u64; 3] {
        let group = tick.expect_group(&self.program.plugin());
        ["joins", "exits", "process_count"].map(|metric| group.int(metric))
    }
}

/// The boot id visible or hidden in either run.
#[test]
fn a_boot_id_that_is_hidden_is_no_other_boot() {
    for source in ["ebpf", "proc"] {
        let setup = Setup::new("hiddenboot");
        for is_hidden in [false, true, true, false, false] {
            let (tick, stderr) = setup.run(source, is_hidden, &[]);
            let what = format!("{source}, hidden {is_hidden}: {}\n{stderr}", tick.0);
            assert_eq!(setup.counts(&tick), [1, 0, 1], "{what}");
            assert!(!stderr.contains("booted"), "{what}");
        }
        // And another boot is one, where both are known.
        let (tick, stderr) = setup.run(source, false, &["--boot-id", "another"]);
        assert_eq!(setup.counts(&tick), [2, 1, 1], "{source}: {}", tick.0);
        assert!(
            stderr.contains("the host was booted meanwhile"),
            "{source}: {stderr}"
        );
    }
}

/// The clock was set between two runs of one boot: the process that is still there says so.
#[test]
fn a_clock_that_was_set_is_no_other_boot() {
    let setup = Setup::new("hiddenstep");
    let (pattern, database) = (setup.program.pattern(), setup.database());
    // No boot has an empty id: as if it were hidden.
    let args = ["--boot-id", "", "--interval", "200ms", "--process-name", &pattern];
    let args = [
        &args[..],
        &["--metadata-db-path", database.to_str().expect("UTF-8")],
    ]
    .concat();
    for (seconds, is_behind) in [(0, false), (7_200, false), (-7_200, true), (0, true)] {
        let calls = Calls::default();
        calls.set_clock(seconds);
        let mut daemon = Daemon::start_answered(&args, &calls);
        daemon.next_tick(LIMIT);
        let stderr = daemon.stderr();
        let tick = daemon.terminate();
        let is_told = stderr.contains("the wall clock was set back");
        assert_eq!(is_told, is_behind, "{seconds}: {stderr}");
        assert_eq!(setup.counts(&tick), [1, 0, 1], "{seconds}: {}\n{stderr}", tick.0);
        assert!(!stderr.contains("booted"), "{seconds}: {stderr}");
    }
}

#[test]
fn what_is_hidden_is_had_otherwise() {
    let setup = Setup::new("subset");
    for source in ["ebpf", "proc"] {
        let told = [false, true].map(|is_hidden| {
            let (tick, _) = setup.run(source, is_hidden, &[]);
            let group = tick.expect_group(&setup.program.plugin()).0.clone();
            let mut names: Vec<String> = group["metrics"]
                .as_object()
                .expect("metrics")
                .keys()
                .cloned()
                .collect();
            names.sort();
            let metric = |name: &str| {
                group["metrics"][name]
                    .as_f64()
                    .unwrap_or_else(|| panic!("no {name}: {group}"))
            };
            // The host's memory.
            let memory = metric("memory_rss_total") / metric("memory_usage");
            (tick.source().to_owned(), names, memory.round())
        });
        assert_eq!(told[0], told[1], "{source}");
    }
}
