//! Arguments that are longer than is ever read: what depends on their end is unknown, said so, and disturbs nobody whose
//! business it is not. Not beside others: every plugin on the host that asks for such a word would say so, too.

use std::time::Duration;

use kevmon_tests::{
    checks, kevmon::Daemon, plugin_dir::PluginDir, scratch, tick::Tick, truth, workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

/// As long as a class path.
fn class_path(length: usize) -> String {
    "/opt/lib/x.jar:".repeat(length / 15 + 1)[..length].to_owned()
}

fn by_cmdline(folder: &PluginDir, name: &str, service: &str) {
    let text = format!(
        "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nmatch = \"cmdline\"\n{service}\n[monitoring]\ninterval = \
         \"200ms\"\n"
    );
    folder.write(name, &text);
}

/// Two arguments that are longer together than is ever read. The word behind them decides, and nobody knows it.
#[test]
fn what_cannot_be_had_is_unknown_and_said_so() {
    let program = Program::new(WORKLOAD, "beyond");
    let unique = scratch::unique();
    let folder = PluginDir::new();
    by_cmdline(&folder, "asks", &format!("process_name = 'word-{unique}$'"));
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let (first, second) = (class_path(100_000), class_path(100_000));
    let running = program.start(&["idle", &first, &second, &format!("word-{unique}")]);
    let tick = daemon.wait_until("it to be said", LIMIT, |tick| !tick.complete());
    let group = tick.expect_group("asks");
    assert_eq!(group.int("process_count"), 0, "{}", group.0);
    assert!(
        tick.0["soft_failures"]["verdict_unknown"].as_u64() >= Some(1),
        "{}",
        tick.0
    );
    // As long as it lives, and no longer.
    let ended = running.finish();
    daemon.tick_after(ended.truth.last_reap, Duration::from_millis(500), LIMIT);
    daemon.wait_until("whole intervals", LIMIT, Tick::complete);
    // One that is gone at once is not passed over either.
    let before = daemon
        .ticks()
        .last()
        .map(|tick| tick.0["soft_failures"]["verdict_unknown"].clone());
    let ended = truth::spawn(
        &program,
        &["exit", "0", &first, &second, &format!("word-{unique}")],
    )
    .reap();
    let tick = daemon.tick_after(ended.truth.last_reap, Duration::from_millis(500), LIMIT);
    assert!(
        tick.0["soft_failures"]["verdict_unknown"].as_u64() > before.and_then(|count| count.as_u64()),
        "{}",
        tick.0
    );
    let whole = |tick: &Tick| tick.time() < ended.truth.last_reap || tick.complete();
    assert!(
        !daemon
            .ticks()
            .iter()
            .skip_while(|tick| !tick.complete())
            .all(whole),
        "the interval in which it lived is not whole"
    );
    daemon.terminate();
}

/// Whoever has long arguments and is none of a plugin's business disturbs no interval.
#[test]
fn strangers_with_long_arguments_disturb_nobody() {
    let program = Program::new(WORKLOAD, "stranger");
    let unique = scratch::unique();
    let folder = PluginDir::new();
    // Another user; another beginning; matched already, whatever follows; excluded already.
    by_cmdline(
        &folder,
        "user",
        &format!("process_name = 'word-{unique}$'\nuser = \"nobody\""),
    );
    by_cmdline(
        &folder,
        "beginning",
        &format!("process_name = '^/usr/bin/java .*word-{unique}$'"),
    );
    by_cmdline(&folder, "known", &format!("process_name = 'known-{unique}'"));
    by_cmdline(
        &folder,
        "excluded",
        &format!("process_name = 'word-{unique}$'\nexclude = 'known-{unique}'"),
    );
    let text = "schema = 1\n[service]\nprocess_name = '^kvt-none$'\n[monitoring]\ninterval = \"200ms\"\n";
    folder.write("names", text);
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let long = class_path(100_000);
    let known = format!("known-{unique}");
    let running = program.start(&["idle", &known, &long, &long, &format!("word-{unique}")]);
    let tick = daemon.wait_until("the known one", LIMIT, |tick| {
        tick.expect_group("known").int("process_count") == 1
    });
    for _ in 0..20 {
        truth::spawn(&program, &["exit", "0", &known, &long, &long]).reap();
    }
    let tick = daemon.tick_after(tick.time(), Duration::from_secs(1), LIMIT);
    for plugin in ["user", "beginning", "excluded", "names"] {
        assert_eq!(
            tick.expect_group(plugin).int("process_count"),
            0,
            "{plugin}: {}",
            tick.0
        );
    }
    assert_eq!(running.finish().status, 0);
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
}
