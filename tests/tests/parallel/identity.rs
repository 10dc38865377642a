//! Which host it is: machine-ids that are none, states that come from another host, and what the settings say instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use kevmon_tests::{
    http::Client,
    isolated::isolate,
    kevmon::{self, Daemon},
    plugin_dir::PluginDir,
    port,
    push::{LIMIT, plugin_file},
    receiver::{Point, Receiver},
    scratch::Scratch,
    wait,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
const ONE: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// A plugin on a program that runs, and a state that outlives each run.
struct Setup {
    _program: Program,
    _running: Running,
    folder: PluginDir,
    scratch: Scratch,
}

/// What one run of kevmon said.
struct Told {
    /// Of the plugin's service, and of kevmon itself.
    service: BTreeMap<String, String>,
    own: BTreeMap<String, String>,
    stderr: String,
}

impl Setup {
    fn new(name: &str) -> Self {
        let program = Program::new(WORKLOAD, name);
        let running = program.start(&["idle"]);
        let folder = PluginDir::new();
        folder.write("host", &plugin_file("host", &program.pattern(), ""));
        Self {
            _program: program,
            _running: running,
            folder,
            scratch: Scratch::new(),
        }
    }

    fn state(&self) -> PathBuf {
        self.scratch.path().join("state").join("metadata.db")
    }

    /// Runs kevmon on a host of this name whose machine-id files hold `machine_id`, under a boot of this id.
    fn run(
        &self,
        (name, machine_id, boot): (&str, &str, &str),
        variables: &[(&str, &str)],
        settings: &str,
    ) -> Told {
        let receiver = Receiver::start();
        let port = receiver.port();
        let file = self.scratch.path().join("machine-id");
        fs::write(&file, machine_id).unwrap();
        let config = self.scratch.path().join("kevmon.toml");
        fs::write(&config, format!("schema = 1\n{settings}")).unwrap();
        let state = self.state();
        let args = [
            "--plugins-dir",
            self.folder.path(),
            "--agent-host",
            "127.0.0.1",
            "--agent-port",
            &port,
            "--metadata-db-path",
            state.to_str().unwrap(),
            "--config",
            config.to_str().unwrap(),
            "--boot-id",
            boot,
            // It starts sooner, and who the host is has nothing to do with the source.
            "--source",
            "proc",
        ];
        let daemon = Daemon::start_prepared(&args, |command| {
            command.envs(variables.iter().copied());
            let over: Vec<(&Path, &str)> = MACHINE_IDS.map(|over| (file.as_path(), over)).to_vec();
            isolate(command, name, &over);
        });
        let (service, own) = receiver.wait_for("a collection", LIMIT, |points| {
            let of = |holds: &dyn Fn(&Point) -> bool| {
                points
                    .iter()
                    .find(|point| holds(point))
                    .map(|point| point.resource.clone())
            };
            let service = of(&|point| point.resource.contains_key("kevmon.plugin"))?;
            let own = of(&|point| point.resource["service.name"] == "kevmon")?;
            Some((service, own))
        });
        let stderr = daemon.stderr();
        daemon.terminate();
        Told {
            service: service.into_iter().collect(),
            own: own.into_iter().collect(),
            stderr,
        }
    }
}

impl Told {
    fn id(&self) -> &str {
        &self.service["service.instance.id"]
    }
}

#[test]
fn what_is_no_machine_id_is_not_sent_as_one() {
    for text in ["uninitialized\n", "", "00000000000000000000000000000000\n"] {
        let setup = Setup::new("noid");
        let told = setup.run(("kvt-noid", text, "boot"), &[], "");
        for resource in [&told.service, &told.own] {
            assert!(!resource.contains_key("host.id"), "{text:?}: {resource:?}");
            assert_eq!(resource["host.name"], "kvt-noid");
        }
        let lines: Vec<&str> = told
            .stderr
            .lines()
            .filter(|line| line.contains("host.id is not known"))
            .collect();
        assert_eq!(lines.len(), 1, "{}", told.stderr);
        assert!(
            lines[0].contains("systemd-machine-id-setup") && lines[0].contains("[resource]"),
            "{lines:?}"
        );
        assert_eq!(
            setup.run(("kvt-noid", text, "boot"), &[], "").id(),
            told.id(),
            "it stays"
        );
        // A machine-id that comes late belongs to the same host.
        let late = setup.run(("kvt-noid", ONE, "next-boot"), &[], "");
        assert_eq!((late.id(), late.service["host.id"].as_str()), (told.id(), ONE));
        assert!(!late.stderr.contains("not known"), "{}", late.stderr);
    }
}

#[test]
fn a_copied_state_gets_ids_of_its_own_where_the_copy_can_be_told() {
    const COPIED: &str = "was kept on another host";
    const PERHAPS: &str = "has the same machine-id";
    let setup = Setup::new("copied");
    let first = setup.run(("kvt-one", ONE, "boot-1"), &[], "");
    assert!(
        !first.stderr.contains(COPIED) && !first.stderr.contains(PERHAPS),
        "{}",
        first.stderr
    );
    // The host's name, machine-id and boot; whether the ids are new; what is said.
    let mut before = first.id().to_owned();
    let mut seen = BTreeSet::from([before.clone()]);
    for (host, is_new, said) in [
        (("kvt-one", ONE, "boot-1"), false, ""),
        (("kvt-one", ONE, "boot-2"), false, ""),
        // Renamed while kevmon was away.
        (("kvt-renamed", ONE, "boot-2"), false, ""),
        // Another image, or a renaming with a boot: nobody can tell.
        (("kvt-copy", ONE, "boot-3"), false, PERHAPS),
        (("kvt-copy", ONE, "boot-4"), false, ""),
        // A copy with a machine-id of its own.
        (("kvt-copy", OTHER, "boot-5"), true, COPIED),
        (("kvt-copy", OTHER, "boot-5"), false, ""),
        (("kvt-copy", OTHER, "boot-6"), false, ""),
        // Its machine-id is lost, and is there again.
        (("kvt-copy", "uninitialized", "boot-7"), false, ""),
        (("kvt-copy", OTHER, "boot-8"), false, ""),
    ] {
        let told = setup.run(host, &[], "");
        assert_eq!(told.id() != before, is_new, "{host:?}");
        assert!(
            !is_new || seen.insert(told.id().to_owned()),
            "{host:?}: an id came back"
        );
        let lines: Vec<&str> = told
            .stderr
            .lines()
            .filter(|line| line.contains(COPIED) || line.contains(PERHAPS))
            .collect();
        if said.is_empty() {
            assert_eq!(lines, [""; 0], "{host:?}");
        } else {
            assert!(lines.len() == 1 && lines[0].contains(said), "{host:?}: {lines:?}");
        }
        before = told.id().to_owned();
    }
    // What is made on the copy without a state is what it has with one.
    fs::remove_dir_all(setup.state().parent().unwrap()).unwrap();
    assert_eq!(setup.run(("kvt-copy", OTHER, "boot-9"), &[], "").id(), before);
}

#[test]
fn a_host_id_that_is_given_outlives_container_and_state() {
    let setup = Setup::new("given");
    let plain = setup.run(("kvt-pod-1", ONE, "boot"), &[], "");
    let variables = [(
        "OTEL_RESOURCE_ATTRIBUTES",
        "host.id=node-7,host.name=node%2D7,k8s.node.name=node-7",
    )];
    let told = setup.run(("kvt-pod-2", ONE, "boot"), &variables, "");
    assert_ne!(told.id(), plain.id(), "the ids follow it");
    for resource in [&told.service, &told.own] {
        for (key, value) in [
            ("host.id", "node-7"),
            ("host.name", "node-7"),
            ("k8s.node.name", "node-7"),
        ] {
            assert_eq!(
                resource.get(key).map(String::as_str),
                Some(value),
                "{key} of {resource:?}"
            );
        }
    }
    assert!(!told.stderr.contains("host.id is not known"), "{}", told.stderr);
    // Another pod with another image's machine-id, and without a state.
    for keeps in [true, false] {
        if !keeps {
            fs::remove_dir_all(setup.state().parent().unwrap()).unwrap();
        }
        let again = setup.run(("kvt-pod-3", OTHER, "other-boot"), &variables, "");
        assert_eq!(again.id(), told.id(), "state: {keeps}");
        assert_eq!(again.own["service.instance.id"], told.own["service.instance.id"]);
        assert!(!again.stderr.contains("was kept on"), "{}", again.stderr);
    }
    let by_file = setup.run(
        ("kvt-pod-3", OTHER, "boot"),
        &variables,
        "[resource]\nhost.name = 'n'\n\"host.id\" = 'i'\n",
    );
    assert_eq!(
        (
            by_file.service["host.id"].as_str(),
            by_file.service["host.name"].as_str()
        ),
        ("i", "n")
    );
    assert_eq!(
        by_file.service["k8s.node.name"], "node-7",
        "what the file does not say"
    );
}

/// A daemon whose settings file changes.
struct Followed {
    program: Program,
    folder: PluginDir,
    scratch: Scratch,
    receiver: Receiver,
    page_port: u16,
}

impl Followed {
    fn new() -> Self {
        let program = Program::new(WORKLOAD, "attributes");
        let folder = PluginDir::new();
        let file = plugin_file("attributes", &program.pattern(), "");
        folder.write("attributes", &(file + "[events]\nenabled = true\n"));
        Self {
            program,
            folder,
            scratch: Scratch::new(),
            receiver: Receiver::start(),
            page_port: port::free(),
        }
    }

    fn config(&self) -> PathBuf {
        self.scratch.path().join("kevmon.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.config(), format!("schema = 1\n{text}")).unwrap();
    }

    fn with_args<T>(&self, take: impl FnOnce(&[&str]) -> T) -> T {
        let (port, page) = (self.receiver.port(), format!("127.0.0.1:{}", self.page_port));
        take(&[
            "--plugins-dir",
            self.folder.path(),
            "--agent-host",
            "127.0.0.1",
            "--agent-port",
            &port,
            "--prometheus",
            &page,
            "--config",
            self.config().to_str().unwrap(),
        ])
    }

    /// Waits until the latest metrics of kevmon and of the plugin have these attributes.
    fn expect(&self, pairs: &[(&str, &str)]) {
        self.receiver.wait_for(&format!("{pairs:?}"), LIMIT, |points| {
            let has = |name: &str| {
                let mut latest = points.iter().rev();
                let point = latest.find(|point| point.resource["service.name"] == name)?;
                let told =
                    |(key, value): &(&str, &str)| point.resource.get(*key).is_some_and(|told| told == value);
                pairs.iter().all(told).then_some(())
            };
            has("kevmon").and(has("Kvt Company Attributes"))
        });
    }

    /// `target_info` of the page.
    fn targets(&self) -> Vec<String> {
        let page = Client::plain(self.page_port).get("/metrics").expect("a page");
        let body = String::from_utf8_lossy(&page.body).into_owned();
        let info = body.lines().filter(|line| line.starts_with("target_info"));
        let info: Vec<String> = info.map(str::to_owned).collect();
        assert_eq!(info.len(), 2, "{body}");
        info
    }
}

#[test]
fn given_attributes_are_on_every_resource() {
    let followed = Followed::new();
    let settings = "[resource]\nhost.name = 'first'\n\"deployment.environment.name\" = 'test'\n";
    // A service's attribute for all is a fault of the file.
    followed.write(&format!("{settings}\"service.version\" = 'x'\n"));
    let refused = followed.with_args(kevmon::run);
    refused.assert_code(2);
    let fault = "kevmon.toml:5: resource: the attribute \"service.version\"";
    assert!(refused.stderr.contains(fault), "{}", refused.stderr);

    followed.write(settings);
    let variables = [
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=shop,cloud.region=r,host.name=from-environment",
        ),
        ("OTEL_SERVICE_NAME", "shop"),
    ];
    let daemon = followed.with_args(|args| Daemon::start_with(args, &variables));
    assert_eq!(followed.program.start(&["idle"]).finish().status, 0);
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    followed.expect(&[
        ("host.name", "first"),
        ("deployment.environment.name", "test"),
        ("cloud.region", "r"),
        ("host.arch", arch),
        ("os.type", "linux"),
    ]);
    for point in followed.receiver.points() {
        assert_ne!(point.resource["service.name"], "shop");
        assert_eq!(point.resource["host.name"], "first", "{point:?}");
    }
    let log = wait::until("an event", LIMIT, || followed.receiver.logs().first().cloned());
    for (key, value) in [
        ("host.name", "first"),
        ("cloud.region", "r"),
        ("os.type", "linux"),
    ] {
        assert_eq!(log.resource[key], value);
    }
    for line in followed.targets() {
        for label in [
            "host_name=\"first\"",
            "deployment_environment_name=\"test\"",
            "cloud_region=\"r\"",
            "os_type=\"linux\"",
            &format!("host_arch=\"{arch}\""),
        ] {
            assert!(line.contains(label), "{label} in {line}");
        }
    }
    for said in [
        "OTEL_SERVICE_NAME: \"shop\" is left out",
        "OTEL_RESOURCE_ATTRIBUTES: \"service.name\" is left out",
    ] {
        assert!(daemon.stderr().contains(said), "{}", daemon.stderr());
    }
    daemon.terminate();
}

#[test]
fn given_attributes_are_followed_while_kevmon_runs_and_the_id_is_not() {
    let followed = Followed::new();
    followed.write("[resource]\nhost.name = 'first'\n\"deployment.environment.name\" = 'test'\n");
    let daemon = followed.with_args(Daemon::start);
    followed.expect(&[("host.name", "first"), ("deployment.environment.name", "test")]);
    followed.write("[resource]\nhost.name = 'second'\nhost.id = 'later'\nteam = 't'\n");
    daemon.hang_up();
    followed.expect(&[("host.name", "second"), ("team", "t")]);
    let points = followed.receiver.points();
    let of_plugin = || {
        points
            .iter()
            .filter(|point| point.resource.contains_key("kevmon.plugin"))
    };
    let last = &of_plugin().next_back().unwrap().resource;
    assert!(!last.contains_key("deployment.environment.name"), "{last:?}");
    assert_ne!(
        last.get("host.id").map(String::as_str),
        Some("later"),
        "with the next start"
    );
    let ids: BTreeSet<&String> = of_plugin()
        .map(|point| &point.resource["service.instance.id"])
        .collect();
    assert_eq!(ids.len(), 1, "every series goes on");
    let shown = |line: &String| line.contains("host_name=\"second\"") && line.contains("team=\"t\"");
    assert!(followed.targets().iter().all(shown), "{:?}", followed.targets());
    let said = "when kevmon is restarted, and not before: host.id in [resource]";
    assert!(daemon.stderr().contains(said), "{}", daemon.stderr());
    daemon.terminate();
}
