//! A collector that takes all the time that it can get: others are collected on time.

use std::time::Duration;

use kevmon_tests::{script::Script, wait, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_plugin_that_hangs_and_floods_delays_no_other() {
    let script = Script::new(
        "interval = \"100ms\"\ntimeout = \"1s\"\nmax_output = \"64MiB\"",
        "yes >&2 & yes 'a.b 1' & sleep 300",
    );
    let program = Program::new(WORKLOAD, "other");
    let _running = program.start(&["work"]);
    let text = format!(
        "schema = 1\n[service]\nprocess_name = '{}'\n[monitoring]\ninterval = \"100ms\"\n",
        program.pattern()
    );
    script.folder().write("other", &text);
    let mut daemon = script.start(&[]);
    wait::until("the first failure", LIMIT, || {
        daemon.stderr().contains("scripted: c: ").then_some(())
    });
    let mut times = Vec::new();
    while times.len() < 40 {
        let tick = daemon.next_tick(LIMIT);
        if tick.group("other").is_some() {
            times.push(tick.time());
        }
    }
    let apart = (times[39] - times[0]) / 39;
    assert!(
        (95_000_000..115_000_000).contains(&apart),
        "collected every {apart} ns"
    );
    daemon.terminate();
}
