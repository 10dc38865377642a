//! Plugins of Scalyr and Panoptes, which are classes of Python: the runners load them as they are, and their values come
//! through kevmon like any other.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use kevmon_tests::{
    executable,
    http::Client,
    kevmon,
    plugin_dir::PluginDir,
    port,
    receiver::Receiver,
    scratch::Scratch,
    script::{PLUGIN, Script, values},
    tick::Tick,
    wait,
};

const LIMIT: Duration = Duration::from_secs(30);
const COIN: &str = include_str!("../../fixtures/runners/random_coin_monitor.py");
const TUTORIAL: &str = include_str!("../../fixtures/runners/tutorial_plugin.py");

fn runner(system: &str) -> PathBuf {
    let path = PluginDir::shipped()
        .join("runners")
        .join(format!("kevmon-{system}-runner"));
    path.canonicalize().unwrap()
}

/// A plugin that runs `module` with the runner of `system`; `keys` are the collector's further ones.
fn plugin(system: &str, module: &str, arguments: &[&str], keys: &str) -> Script {
    let runner = runner(system).display().to_string();
    let command: Vec<String> = [&[runner.as_str(), "module.py"], arguments]
        .concat()
        .iter()
        .map(|word| format!("{word:?}"))
        .collect();
    let script = Script::of_keys(&format!("command = [{}]\n{keys}", command.join(", ")));
    script.write("module.py", module);
    script
}

/// What a runner does with a module, by itself.
pub(super) fn by_hand(
    system: &str,
    module: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> kevmon::Output {
    let script = plugin(system, module, &[], "");
    let mut command = Command::new(runner(system));
    let folder = Path::new(script.path()).join(PLUGIN);
    let command = command
        .arg("module.py")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    kevmon::Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn counts(ticks: &[Tick], name: &str) -> Vec<String> {
    let all = ticks.iter().flat_map(|tick| values(tick, name));
    all.map(|value| value["attributes"]["count"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn scalyrs_tutorial_monitor_counts_on() {
    let script = plugin("scalyr", COIN, &[], "stream = true");
    let mut daemon = script.start(&[]);
    daemon.wait_until("five samples", LIMIT, |tick| {
        values(tick, "gauss")
            .iter()
            .any(|value| value["attributes"]["count"] == "5")
    });
    for name in ["uniform", "gauss"] {
        let found = counts(daemon.ticks(), name);
        let expected: Vec<String> = (1..=found.len()).map(|count| count.to_string()).collect();
        assert_eq!(found, expected, "{name}: each sample once");
    }
    daemon.terminate();
}

#[test]
fn settings_reach_a_monitor_and_are_checked_by_it() {
    let steady: &[&str] = &["--once", "-c", "{ gauss_mean:8.5, gauss_stddev: 0 }"];
    let output = by_hand("scalyr", COIN, steady, &[]);
    output.assert_code(0);
    assert!(output.stdout.contains("gauss 8.5 count=1\n"), "{}", output.stdout);
    let variables = [
        ("KEVMON_SETTING_gauss_mean", "3"),
        ("KEVMON_SETTING_gauss_stddev", "0"),
    ];
    let output = by_hand("scalyr", COIN, &["--once"], &variables);
    assert!(output.stdout.contains("gauss 3.0 count=1\n"), "{}", output.stdout);
    let output = by_hand("scalyr", COIN, &["--once", "-c", "{ gauss_mean: 4 }"], &variables);
    assert!(
        output.stdout.contains("gauss 4.0 count=1\n"),
        "the flag outranks it: {}",
        output.stdout
    );
    for (config, part) in [
        (
            "{ gauss_mean: 10.5 }",
            "the value 10.5 in field \"gauss_mean\" is too great; the greatest is 10",
        ),
        ("{ gauss_mean: -1 }", "too small; the least is 0"),
        ("{ gauss_mean: 'x' }", "cannot be read as float"),
        ("{ gauss_mean: ", "-c is no JSON object"),
    ] {
        let output = by_hand("scalyr", COIN, &["--once", "-c", config], &[]);
        output.assert_code(2);
        let last = output.stderr.lines().next_back().unwrap();
        assert!(
            last.starts_with("kevmon-scalyr-runner: ") && last.contains(part),
            "{}",
            output.stderr
        );
        assert_eq!(output.stdout, "", "{config}");
    }
}

/// What the package scalyr_agent promises to monitors, in one module.
const MONITOR: &str = r#"
import os, sys, subprocess
from scalyr_agent import (ScalyrMonitor, BadMonitorConfiguration, UnsupportedSystem, define_config_option, define_metric,
                          define_log_field)
import scalyr_agent.scalyr_logging as scalyr_logging
from scalyr_agent.json_lib.objects import ArrayOfStrings
import six
import six.moves.urllib.request
from six.moves import http_client

__monitor__ = __name__
define_config_option(__monitor__, 'module', 'Always module', convert_to=six.text_type, required_option=True)
define_config_option(__monitor__, 'limit', 'A limit', convert_to=int, default=7, min_value=1, max_value=9)
define_config_option(__monitor__, 'names', 'Names', convert_to=ArrayOfStrings)
define_metric(__monitor__, 'all', 'Everything', extra_fields={'k': 'v'}, unit='sec', cumulative=True)
define_log_field(__monitor__, 'field', 'A field')
log = scalyr_logging.getLogger(__name__)

class Base(ScalyrMonitor):
    pass

class Everything(Base):
    """A monitor."""
    def __init__(self, monitor_config, logger, **others):
        super(Everything, self).__init__(monitor_config, logger, **others)
        self.made = True

    def _initialize(self):
        what = self._config.get('what', default='all')
        if what == 'bad':
            raise BadMonitorConfiguration('what is bad', 'what')
        if what == 'unsupported':
            raise UnsupportedSystem('module', 'needs a toaster')
        if what == 'disabled':
            self.disabled = True
        if what == 'broken':
            raise RuntimeError('broken\nin two lines')

    def gather_sample(self):
        print('printed 1')
        sys.stdout.write('written 2\n')
        sys.stdout.flush()
        subprocess.call(['echo', 'started 3'])
        os.write(1, b'raw 4\n')
        log.info('a message')
        emit = self._logger.emit_value
        emit('int', self._config.get('limit'))
        emit('float', 0.5)
        emit('yes', True)
        emit('text', 'a "b" \\ c\nd')
        emit('fields', 1, extra_fields={'s': 'a b', 'i': 2, 'f': 1.5, 'b': False})
        emit('1 odd-name', 1)
        emit('names', ','.join(self._config.get('names') or ['none']))
        self._logger.info('a line of the metric log', emit_to_metric_log=True)
        if self._config.get('what') == 'fails':
            raise ValueError('no sample')
        if self._config.get('what') == 'object':
            emit('object', [1])
"#;

#[test]
fn what_monitors_are_promised() {
    let output = by_hand("scalyr", MONITOR, &["--once", "-c", "{names: 'a b,c'}"], &[]);
    output.assert_code(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "int 7",
            "float 0.5",
            "yes true",
            r#"text "a \"b\" \\ c\nd""#,
            r#"fields 1 b=false f=1.5 i=2 s="a b""#,
            "sa_1_odd_name 1",
            r#"names "a,b,c""#,
            r#"message "a line of the metric log""#,
        ],
        "values alone; what is printed in any way is on standard error:\n{}",
        output.stderr
    );
    for text in ["printed 1", "written 2", "started 3", "raw 4", "a message"] {
        assert!(output.stderr.contains(text), "{text}: {}", output.stderr);
    }
    for (config, code, last) in [
        (
            "{what: 'bad'}",
            2,
            "kevmon-scalyr-runner: module.py: settings: what is bad",
        ),
        (
            "{what: 'unsupported'}",
            2,
            "kevmon-scalyr-runner: module.py: does not work on this system: needs a toaster",
        ),
        (
            "{what: 'disabled'}",
            2,
            "kevmon-scalyr-runner: module.py: the module has disabled itself",
        ),
        (
            "{what: 'broken'}",
            2,
            "kevmon-scalyr-runner: module.py: cannot be loaded: RuntimeError: broken in two lines",
        ),
        (
            "{limit: 10}",
            2,
            "kevmon-scalyr-runner: module.py: settings: the value 10 in field \"limit\" is too great; the greatest is 9",
        ),
        (
            "{what: 'fails'}",
            1,
            "kevmon-scalyr-runner: module.py: failed: ValueError: no sample",
        ),
        (
            "{what: 'object'}",
            1,
            "kevmon-scalyr-runner: module.py: failed: UnsupportedValueType: [1] of object is of type list",
        ),
    ] {
        let output = by_hand("scalyr", MONITOR, &["--once", "-c", config], &[]);
        output.assert_code(code);
        assert_eq!(
            output.stderr.lines().next_back().unwrap(),
            last,
            "{}",
            output.stderr
        );
    }
    let output = by_hand("scalyr", "x = 1\n", &[], &[]);
    output.assert_code(2);
    assert!(
        output
            .stderr
            .contains("has no class that derives from ScalyrMonitor"),
        "{}",
        output.stderr
    );
    let output = by_hand("scalyr", "import nowhere\n", &[], &[]);
    output.assert_code(2);
    assert!(
        output.stderr.contains("cannot be loaded: ModuleNotFoundError"),
        "{}",
        output.stderr
    );
}

/// A `run` of a monitor's own, which ends when it is asked to, and a thread that it leaves behind.
#[test]
fn a_monitor_with_a_run_of_its_own() {
    let module = "import threading, time\nfrom scalyr_agent import ScalyrMonitor\nclass Own(ScalyrMonitor):\n    def run(self):\n        \
                  threading.Thread(target=time.sleep, args=(300,)).start()\n        n = 0\n        while not self._is_stopped():\n            \
                  n += 1\n            self._logger.emit_value('turn', n, {'count': n})\n            \
                  if self._config.get('crash'):\n                raise RuntimeError('at turn %d' % n)\n            \
                  if self._sleep_but_awaken_if_stopped(self._sample_interval_secs):\n                break\n";
    let script = plugin("scalyr", module, &["-s", "0.1"], "stream = true");
    let mut daemon = script.start(&[]);
    daemon.wait_until("its values", LIMIT, |tick| {
        values(tick, "turn")
            .iter()
            .any(|value| value["attributes"]["count"] == "5")
    });
    daemon.terminate();
    let script = plugin("scalyr", module, &["-c", "{crash: true}"], "stream = true");
    let daemon = script.start(&[]);
    let log = wait::until("the failure", LIMIT, || {
        let log = daemon.stderr();
        log.contains(": c: exit_status: it ended with exit code 1")
            .then_some(log)
    });
    assert!(
        log.contains("stderr: kevmon-scalyr-runner: module.py: failed: RuntimeError: at turn 1"),
        "{log}"
    );
    daemon.terminate();
}

#[test]
fn panoptes_tutorial_plugin_runs_as_it_is() {
    let script = plugin("panoptes", TUTORIAL, &[], "format = \"panoptes\"");
    let mut daemon = script.start(&[]);
    let tick = daemon.wait_until("its values", LIMIT, |tick| !values(tick, "cpu_load").is_empty());
    let load = values(&tick, "cpu_load")[0];
    assert_eq!((&load["value"], &load["type"]), (&0.3.into(), &"gauge".into()));
    let count = values(&tick, "context_switch_count")[0];
    assert_eq!((&count["value"], &count["type"]), (&50.into(), &"counter".into()));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for (attribute, value) in [
        ("kevmon.metrics_group", "example"),
        ("resource_id", host.trim()),
        ("resource_site", "local"),
        ("resource_class", "system"),
        ("resource_plugin", "kevmon"),
        ("cpu_no", "5"),
    ] {
        assert_eq!(count["attributes"][attribute], value, "{attribute}: {count}");
    }
    daemon.terminate();
}

/// A plugin for several devices, whose counters grow and whose metric is in two groups.
const DEVICES: &str = r#"
import os, time
from yahoo_panoptes.polling.polling_plugin import PanoptesPollingPlugin, PanoptesPollingPluginError
from yahoo_panoptes.framework.metrics import (PanoptesMetricsGroupSet, PanoptesMetricsGroup, PanoptesMetric,
                                              PanoptesMetricType, PanoptesMetricDimension)

class Devices(PanoptesPollingPlugin):
    def run(self, context):
        print('printed 1')
        device = context.data
        if device.resource_id == context.config['main'].get('broken'):
            raise PanoptesPollingPluginError('no answer from %s' % device.resource_endpoint)
        groups = PanoptesMetricsGroupSet()
        for kind, factor in (('in', 10), ('out', 1)):
            group = PanoptesMetricsGroup(device, kind, int(context.config['main']['execute_frequency']))
            group.add_dimension(PanoptesMetricDimension('port', '1'))
            value = int(time.time() * 1000) * factor
            group.add_metric(PanoptesMetric('octets', value, PanoptesMetricType.COUNTER))
            groups.add(group)
        return groups
"#;

#[test]
fn two_groups_and_two_devices_are_four_series() {
    let keys =
        "format = \"panoptes\"\n[transforms]\nin = \"rate:in_rates:octets\"\nout = \"rate:out_rates:octets\"";
    let script = plugin("panoptes", DEVICES, &["--resources", "devices.json"], keys);
    let devices = r#"[{"resource_id": "r1", "resource_endpoint": "192.0.2.1", "resource_class": "network"},
                      {"resource_id": "r2", "resource_endpoint": "192.0.2.2", "resource_class": "network"}]"#;
    script.write("devices.json", devices);
    let receiver = Receiver::start();
    let settings = Scratch::new();
    let page = SocketAddr::from(([127, 0, 0, 1], port::free()));
    let file = settings.path().join("kevmon.toml");
    let text = format!("schema = 1\n[prometheus]\nenabled = true\nlisten = \"{page}\"\n");
    fs::write(&file, text).unwrap();
    let endpoint = format!("http://127.0.0.1:{}", receiver.port());
    let arguments = ["--endpoint", &endpoint, "--config", file.to_str().unwrap()];
    let mut daemon = script.start(&arguments);
    let tick = daemon.wait_until("their rates", LIMIT, |tick| {
        values(tick, "octets_rate").len() >= 4
    });
    let of = |name: &str| {
        let mut all: Vec<String> = values(&tick, name)
            .iter()
            .map(|value| {
                let attribute = |key: &str| value["attributes"][key].as_str().unwrap().to_owned();
                format!(
                    "{} {}",
                    attribute("resource_id"),
                    attribute("kevmon.metrics_group")
                )
            })
            .collect();
        all.sort();
        all.dedup(); // two runs may fall into one collection
        all
    };
    assert_eq!(of("octets"), ["r1 in", "r1 out", "r2 in", "r2 out"]);
    assert_eq!(
        of("octets_rate"),
        ["r1 in_rates", "r1 out_rates", "r2 in_rates", "r2 out_rates"]
    );
    for rate in values(&tick, "octets_rate") {
        let expected = if rate["attributes"]["kevmon.metrics_group"] == "in_rates" {
            10_000.0
        } else {
            1_000.0
        };
        let value = rate["value"].as_f64().unwrap();
        assert!((value / expected - 1.0).abs() < 0.05, "{rate}");
    }
    for counter in daemon.ticks().iter().flat_map(|tick| values(tick, "octets")) {
        let start = counter["start_time"].as_u64().unwrap();
        assert!(start <= counter["time"].as_u64().unwrap(), "{counter}");
    }
    // The same in OTLP, and on the page.
    let series = receiver.wait_for("four series", LIMIT, |points| {
        let of_octets = points.iter().filter(|point| point.metric == "octets");
        let series = of_octets.map(|point| {
            let attribute = |key: &str| point.attributes.get(key).cloned().unwrap_or_default();
            assert!(point.start_time <= point.time, "{point:?}");
            format!(
                "{} {}",
                attribute("resource_id"),
                attribute("kevmon.metrics_group")
            )
        });
        let series: std::collections::BTreeSet<String> = series.collect();
        (series.len() >= 4).then(|| series.into_iter().collect::<Vec<_>>())
    });
    assert_eq!(series, ["r1 in", "r1 out", "r2 in", "r2 out"]);
    let found = wait::until("the page with them", LIMIT, || {
        let body = Client::plain(page.port()).get("/metrics").unwrap().body;
        let body = String::from_utf8(body).unwrap();
        let lines = body.lines().filter(|line| line.starts_with("octets_total{"));
        let all: Vec<String> = lines.map(str::to_owned).collect();
        (!all.is_empty()).then_some(all)
    });
    for of in &series {
        let (device, kind) = of.split_once(' ').unwrap();
        let labels = [
            format!("resource_id=\"{device}\""),
            format!("kevmon_metrics_group=\"{kind}\""),
        ];
        let fits = |line: &&String| labels.iter().all(|label| line.contains(label.as_str()));
        assert_eq!(found.iter().filter(fits).count(), 1, "{of}: {found:?}");
    }
    assert!(!daemon.stderr().contains(": duplicate: "), "{}", daemon.stderr());
    daemon.terminate();
}

#[test]
fn a_device_that_fails_keeps_no_other_from_its_values() {
    let script = plugin("panoptes", DEVICES, &[], "");
    script.write(
        "devices.json",
        r#"[{"resource_id": "r1"}, {"resource_id": "r2"}]"#,
    );
    let folder = Path::new(script.path()).join(PLUGIN);
    let run = |arguments: &[&str]| {
        let output = Command::new(runner("panoptes"))
            .args(arguments)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, stdout, stderr) = run(&[
        "module.py",
        "--resources",
        "devices.json",
        "-c",
        r#"{"broken": "r1"}"#,
    ]);
    assert_eq!((code, stdout.lines().count()), (Some(1), 2), "{stdout}{stderr}");
    let said = "kevmon-panoptes-runner: module.py: failed for r1: PanoptesPollingPluginError: no answer from";
    assert!(stderr.lines().any(|line| line.starts_with(said)), "{stderr}");
    assert!(
        stderr.contains("printed 1") && !stdout.contains("printed"),
        "{stdout}"
    );
    // By its .panoptes-plugin file, which has the settings; Python's own way of ending is one, too.
    script.write(
        "tutorial.panoptes-plugin",
        "[Core]\nName = T\nModule = /elsewhere/module.py\n[main]\nexecute_frequency = 300\nbroken = r2\n",
    );
    let (code, stdout, _) = run(&["tutorial.panoptes-plugin", "--resources", "devices.json"]);
    assert_eq!((code, stdout.lines().count()), (Some(1), 2), "{stdout}");
    assert!(stdout.contains("\"metrics_group_interval\": 300"), "{stdout}");
    for (module, part) in [
        ("import sys; sys.exit(7)", ""),
        ("raise SyntaxError('odd')", "cannot be loaded: SyntaxError: odd"),
        ("x = (", "cannot be loaded: SyntaxError"),
    ] {
        script.write("module.py", module);
        let (code, stdout, stderr) = run(&["module.py"]);
        assert_eq!(
            (code, stdout.as_str()),
            (Some(if part.is_empty() { 7 } else { 2 }), ""),
            "{module}"
        );
        assert!(stderr.contains(part), "{stderr}");
    }
}

/// As a package puts them: beside kevmon's own program, and named without a path.
#[test]
fn a_runner_is_found_beside_kevmon() {
    let folder = PluginDir::new();
    let place = |name: &str| PathBuf::from(folder.path()).join(name);
    fs::create_dir(place("bin")).unwrap();
    executable::copy(kevmon::binary(), place("bin/kevmon"));
    executable::copy(runner("scalyr"), place("bin/kevmon-scalyr-runner"));
    let text = "schema = 1\n[[collector]]\nname = \"c\"\nkind = \"command\"\nstream = true\ncommand = \
                [\"kevmon-scalyr-runner\", \"random_coin_monitor.py\"]\n";
    let file = folder.write("plugins/coin", text);
    fs::write(file.with_file_name("random_coin_monitor.py"), COIN).unwrap();
    for path in [
        folder.path().into(),
        place("bin"),
        place("plugins"),
        place("plugins/coin"),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = || {
        let mut command = Command::new(place("bin/kevmon"));
        let plugins = place("plugins");
        command.args([
            "plugin",
            "run",
            "coin",
            "--interval",
            "500ms",
            "--count",
            "3",
            "--plugins-dir",
        ]);
        kevmon::finish({
            command.arg(plugins).stdin(Stdio::null());
            command
        })
    };
    let output = run();
    output.assert_code(0);
    assert!(
        output.stdout.contains("[coin()] uniform 0."),
        "{}{}",
        output.stdout,
        output.stderr
    );
    // A module that others may write decides what kevmon runs.
    fs::set_permissions(
        file.with_file_name("random_coin_monitor.py"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    let output = run();
    output.assert_code(2);
    assert!(
        output.stderr.contains("random_coin_monitor.py: "),
        "{}",
        output.stderr
    );
}
