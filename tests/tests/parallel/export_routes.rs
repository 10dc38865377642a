//! Several receivers: each gets its plugins, with what tells how far they can be trusted, and nothing of the others.

use std::{collections::BTreeSet, fs, time::Duration};

use kevmon_tests::{
    delivery::{self, Delivery},
    fake::{Fake, Signal},
    kevmon::Daemon,
    plugin_dir::PluginDir,
    push::plugin_file,
    scratch::Scratch,
    tick::Tick,
    watched,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn each_receiver_gets_its_plugins_and_no_others() {
    let program = Program::new(WORKLOAD, "way");
    let running = program.start(&["pulse", "--busy-ms", "1", "--idle-ms", "40"]);
    let (default, named, by_url) = (Fake::start(), Fake::start(), Fake::start());
    let folder = PluginDir::new();
    let url = by_url.url();
    for (plugin, further) in [
        ("plain", String::new()),
        (
            "both",
            "[export]\nendpoints = [\"default\", \"named\"]\n".to_owned(),
        ),
        ("away", format!("[export]\nendpoints = [\"{url}\"]\n")),
        (
            "told",
            "[export]\nendpoints = [\"named\"]\n[events]\nenabled = true\n".to_owned(),
        ),
    ] {
        let interval = if plugin == "away" { "500ms" } else { "300ms" };
        let file = plugin_file(plugin, &program.pattern(), "").replace("300ms", interval);
        folder.write(plugin, &format!("{file}{further}"));
    }
    let scratch = Scratch::new();
    let settings = scratch.path().join("kevmon.toml");
    fs::write(
        &settings,
        format!(
            "schema = 1\n[export]\nendpoint = \"{}\"\n[endpoints.named]\nendpoint = \"{}\"\nprotocol = \"http/protobuf\"\n\
             [telemetry]\ninterval = \"1s\"\n",
            default.url(),
            named.url()
        ),
    )
    .unwrap();
    let mut daemon = Daemon::start(&[
        "--plugins-dir",
        folder.path(),
        "--config",
        settings.to_str().unwrap(),
    ]);
    watched::run_for(&mut daemon, Duration::from_secs(2));
    assert_eq!(program.start(&["idle"]).finish().status, 0);
    watched::run_for(&mut daemon, Duration::from_secs(2));
    let mut ticks = daemon.ticks().to_vec();
    let last = daemon.terminate();
    ticks.retain(|tick| tick.time() < last.time());
    ticks.push(last.clone());

    let table: [(&Fake, &[&str]); 3] = [
        (&default, &["both", "plain"]),
        (&named, &["both", "told"]),
        (&by_url, &["away"]),
    ];
    for (fake, plugins) in table {
        let names: Vec<String> = plugins.iter().map(|name| (*name).to_owned()).collect();
        delivery::wait_for_tick(fake, &names, last.time(), LIMIT);
        let points = fake.points();
        let arrived: BTreeSet<&str> = points
            .iter()
            .filter_map(|point| Some(point.resource.get("kevmon.plugin")?.as_str()))
            .collect();
        assert_eq!(arrived, plugins.iter().copied().collect(), "plugins that arrived");
        let delivery = Delivery::of(fake, &names);
        delivery.assert_in_order();
        delivery.assert_no_duplicates();
        for plugin in &names {
            delivery.assert_complete(&ticks, plugin, &[]);
        }
        // What tells how far they can be trusted goes with each of them, and with nothing else.
        let own: BTreeSet<u64> = points
            .iter()
            .filter(|point| point.metric == "kevmon.complete")
            .map(|point| point.time)
            .collect();
        let due = ticks
            .iter()
            .filter(|tick| plugins.iter().any(|plugin| tick.group(plugin).is_some()));
        assert!(due.clone().count() >= 8);
        let due: BTreeSet<u64> = due.map(Tick::time).collect();
        let more: Vec<&u64> = own.difference(&due).collect();
        assert!(
            due.is_subset(&own) && more.len() <= 1,
            "{plugins:?}: {more:?} were not due"
        );
    }
    for (fake, told) in [(&default, false), (&named, true), (&by_url, false)] {
        let arrivals = fake.arrivals();
        assert_eq!(arrivals.iter().any(|one| one.signal == Signal::Logs), told);
        let telemetry = arrivals.iter().any(|one| one.signal == Signal::Traces)
            && fake
                .points()
                .iter()
                .any(|point| point.metric == "kevmon.collection.duration");
        assert_eq!(
            telemetry,
            fake.port() == default.port(),
            "kevmon's own goes to the default"
        );
    }
    let logs = named.logs();
    let events: Vec<&str> = logs.iter().map(|log| log.event_name.as_str()).collect();
    assert!(
        events.contains(&"kevmon.process.start") && events.contains(&"kevmon.process.exit"),
        "{events:?}"
    );
    assert!(
        logs.iter().all(|log| log.resource["kevmon.plugin"] == "told"),
        "{logs:?}"
    );
    assert_eq!(running.finish().status, 0);
}
