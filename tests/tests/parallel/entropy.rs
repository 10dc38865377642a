//! Early in a boot the kernel's random number generator is not seeded: TLS waits for it, and nothing else does.

use std::{fs, time::Duration};

use kevmon_tests::{
    answered::Calls,
    certificates::{Authority, Purpose, Validity},
    daemon::Daemon,
    fake::Fake,
    http::Client,
    plugin_dir::PluginDir,
    port,
    push::plugin_file,
    scratch::Scratch,
    wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn nothing_but_tls_waits_for_entropy() {
    let program = Program::new(WORKLOAD, "entropy");
    let _running = program.start(&["idle"]);
    let scratch = Scratch::new();
    let authority = Authority::new(scratch.path(), "authority");
    let server = authority.sign(scratch.path(), "server", Purpose::Server, Validity::Now);
    let (secured, plain) = (Fake::start_tls(&server, None), Fake::start());
    let page = port::free();
    let settings = scratch.path().join("kevmon.toml");
    let text = format!(
        "schema = 1\n[export]\nendpoint = \"{}\"\nca_file = \"{}\"\n[endpoints.plain]\nendpoint = \"{}\"\n\
         [prometheus]\nenabled = true\nlisten = \"127.0.0.1:{page}\"\n",
        secured.url(),
        authority.file().display(),
        plain.url(),
    );
    fs::write(&settings, text).expect("our own folder");
    let folder = PluginDir::new();
    let file = plugin_file("everywhere", &program.pattern(), "");
    folder.write(
        "everywhere",
        &format!("{file}[export]\nendpoints = [\"default\", \"plain\"]\n"),
    );
    let args = [
        "--plugins-dir",
        folder.path(),
        "--config",
        settings.to_str().expect("UTF-8"),
    ];
    let calls = Calls::default();
    calls.set_seeded(false);

    let mut daemon = Daemon::start_answered(&args, &calls);
    daemon.wait_until("the process", LIMIT, |tick| {
        tick.expect_group("everywhere").int("process_count") == 1
    });
    plain.wait_for("exports without TLS", LIMIT, |arrivals| {
        (arrivals.len() > 3).then_some(())
    });
    wait::until("somebody to wait for entropy", LIMIT, || {
        (calls.waiting() > 0).then_some(())
    });
    assert_eq!(calls.waiting(), 1, "one thread waits for all");
    let shown = Client::plain(page).get("/metrics").expect("the page");
    let shown = String::from_utf8(shown.body).expect("text");
    assert!(shown.contains("process_count"), "{shown}");
    assert_eq!(secured.points(), []);
    let stderr = daemon.stderr();
    assert_eq!(stderr.matches("is not seeded yet").count(), 1, "{stderr}");
    // It ends within two seconds while the kernel holds its thread.
    daemon.terminate();
    assert!(secured.arrivals().is_empty());

    let mut daemon = Daemon::start_answered(&args, &calls);
    daemon.next_tick(LIMIT);
    let first = daemon.next_tick(LIMIT).time();
    daemon.next_tick(LIMIT);
    calls.set_seeded(true);
    secured.wait_for("what was spooled meanwhile, and what is new", LIMIT, |arrivals| {
        let times: Vec<u64> = arrivals
            .iter()
            .flat_map(|arrival| arrival.points())
            .map(|point| point.time)
            .collect();
        (times.contains(&first) && times.iter().any(|&time| time > first + 1_000_000_000)).then_some(())
    });
    let stderr = daemon.stderr();
    assert_eq!(
        stderr.matches("is seeded: exports over TLS begin").count(),
        1,
        "{stderr}"
    );
    daemon.terminate();
}
