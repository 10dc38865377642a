//! Collectors that attack: kevmon, its files, the kernel and the network, from below a root kevmon, an ordinary user's and
//! `kevmon plugin run`. Each attack succeeds where nothing confines it, which is tested first.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failed assumption in a test is a failed test"
)]

use std::{
    fs,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{PermissionsExt, chown},
            net::{SocketAddr, UnixListener},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kevmon_tests::{
    attacks::ATTACKS,
    executable,
    kevmon::{self, Daemon},
    scratch::{Scratch, unique},
    script::{PLUGIN, Script, values},
    tick::Tick,
    wait,
};

const ATTACK: &str = env!("CARGO_BIN_EXE_attack");
const FILTERED: &str = env!("CARGO_BIN_EXE_filtered");
const LIMIT: Duration = Duration::from_secs(30);
/// An ordinary user: the ids from 60,514 to 65,535 are nobody's on the hosts that run this.
const USER: u32 = 60_600;

/// What is attacked, and a plugin whose collector attacks it.
struct Scene {
    script: Script,
    scratch: Scratch,
    arguments: Vec<String>,
    /// Listens while the scene stands.
    _tcp: TcpListener,
    _abstract: UnixListener,
}

impl Scene {
    /// With `keys` of the collector; everything is `owner`'s.
    fn new(keys: &str, owner: u32) -> Self {
        Self::installed(keys, owner, None)
    }

    /// The same, whose collector looks for the state in this folder.
    fn installed(keys: &str, owner: u32, folder: Option<&str>) -> Self {
        let scratch = Scratch::new();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("xdg/kevmon")).unwrap();
        for file in ["xdg/kevmon/metadata.db.decoy", "header"] {
            fs::write(at(file), "s3cret").unwrap();
            mode(&at(file), 0o644);
        }
        let config = format!(
            "schema = 1\n[export]\nendpoint = \"http://127.0.0.1:9\"\nheaders = {{ authorization = {{ file = \"{}\" }} }}\n",
            at("header").display()
        );
        fs::write(at("kevmon.toml"), config).unwrap();
        mode(&at("kevmon.toml"), 0o644);
        executable::copy(ATTACK, at("setuid"));
        mode(&at("setuid"), 0o4755);
        for path in [
            scratch.path().to_owned(),
            at("xdg/kevmon"),
            at("xdg/kevmon/metadata.db.decoy"),
            at("header"),
        ] {
            chown(path, Some(owner), Some(owner)).unwrap();
        }
        mode(scratch.path(), 0o755);
        mode(&at("xdg/kevmon"), 0o755);
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("kvt-{}", unique());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let script = Script::of_keys("command = [\"./attack\"]");
        let mark = script.path().to_owned();
        let folder = folder.map_or_else(|| at("xdg/kevmon"), PathBuf::from);
        let state = |file: &str| folder.join(file).display().to_string();
        let arguments: Vec<String> = [
            ("state", state("metadata.db")),
            ("decoy", state("metadata.db.decoy")),
            ("header", at("header").display().to_string()),
            ("setuid", at("setuid").display().to_string()),
            ("tcp", tcp.local_addr().unwrap().to_string()),
            ("abstract", name),
            ("mark", mark),
        ]
        .map(|(name, value)| format!("{name}={value}"))
        .into();
        let command: Vec<String> = arguments.iter().map(|argument| format!("{argument:?}")).collect();
        script.write_plugin(&format!(
            "command = [\"./attack\", {}]\ninterval = \"1s\"\n{keys}",
            command.join(", ")
        ));
        executable::copy(ATTACK, PathBuf::from(script.path()).join(PLUGIN).join("attack"));
        Self {
            script,
            scratch,
            arguments,
            _tcp: tcp,
            _abstract: listener,
        }
    }

    /// From now on everybody could read and write what is attacked. kevmon starts with no such files.
    fn open_up(&self) {
        let mode = |name: &str, mode| {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        for file in ["xdg/kevmon/metadata.db.decoy", "header"] {
            mode(file, 0o666);
        }
        mode("xdg/kevmon", 0o777);
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }

    /// A daemon on this state, as `user`, through a filter of these calls where there are any.
    fn daemon(&self, user: u32, filter: &[&str]) -> Daemon {
        let state = self.path("xdg/kevmon/metadata.db");
        let config = self.path("kevmon.toml");
        let args = [
            "--plugins-dir",
            self.script.path(),
            "--config",
            &config,
            "--metadata-db-path",
            &state,
            "--source",
            "proc",
        ];
        let daemon = Daemon::start_prepared(&args, |command| {
            if !filter.is_empty() {
                let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
                let kevmon = command.get_program().to_owned();
                let mut through = Command::new(FILTERED);
                through.args(filter).arg("--").arg(kevmon).args(args);
                *command = through;
            }
            if user != 0 {
                command.uid(user).gid(user);
            }
        });
        self.open_up();
        daemon
    }

    /// What the attacks bring, unconfined, as root in a mount namespace of its own.
    fn control(&self) -> Vec<(String, String)> {
        let output = Command::new("unshare")
            .args(["--mount", ATTACK])
            .args(&self.arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// What a tick has of each attack, once it has them all.
fn attacks(tick: &Tick) -> Option<Vec<(String, String)>> {
    let all = ATTACKS.iter().map(|(name, _)| name).chain([&"target"]);
    all.map(|name| {
        let name = format!("attack.{name}");
        let value = values(tick, &name).first()?["value"].to_string();
        Some((name, value))
    })
    .collect()
}

fn of_daemon(daemon: &mut Daemon) -> Vec<(String, String)> {
    let tick = daemon.wait_until("every attack", LIMIT, |tick| attacks(tick).is_some());
    attacks(&tick).unwrap()
}

/// Names of the attacks that succeeded; panics where kevmon was not found.
#[track_caller]
fn succeeded(found: &[(String, String)]) -> Vec<&str> {
    let target = found
        .iter()
        .find(|(name, _)| name == "attack.target")
        .expect("a target");
    assert_eq!(target.1, "1", "kevmon was found: {found:?}");
    let attacks = found
        .iter()
        .filter(|(name, value)| name != "attack.target" && value != "0");
    attacks.map(|(name, _)| name.as_str()).collect()
}

#[test]
fn no_attack_succeeds_below_root_and_each_does_without_walls() {
    let scene = Scene::new("", 0);
    let mut daemon = scene.daemon(0, &[]);
    let found = of_daemon(&mut daemon);
    let control = scene.control();
    let all: Vec<String> = ATTACKS.iter().map(|(name, _)| format!("attack.{name}")).collect();
    assert_eq!(succeeded(&control), all, "unconfined");
    assert_eq!(succeeded(&found), [""; 0]);
    let log = daemon.stderr();
    for call in [
        "bpf",
        "mount",
        "keyctl",
        "io_uring_setup",
        "socket(AF_NETLINK)",
        "unshare",
    ] {
        let told = format!("{PLUGIN}: c: refused_call: {call} failed with EPERM");
        assert!(log.contains(&told), "no {told:?} in {log}");
    }
    assert!(
        log.contains(
            "socket(AF_INET) failed with EPERM: a collector has no network; write allow_network = true"
        ),
        "{log}"
    );
    daemon.terminate();
}

#[test]
fn no_attack_succeeds_below_an_ordinary_user() {
    let scene = Scene::new("", USER);
    let mut daemon = scene.daemon(USER, &[]);
    let found = of_daemon(&mut daemon);
    assert_eq!(succeeded(&found), [""; 0]);
    // Nor does one of the same user outside of any domain look into kevmon's memory.
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            &USER.to_string(),
            "--regid",
            &USER.to_string(),
            "--clear-groups",
            ATTACK,
        ])
        .args(&scene.arguments)
        .arg("only=signal,read_environ,read_memory,ptrace,process_vm_readv")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.lines().skip(1).collect::<Vec<_>>(),
        [
            "attack.read_environ 0",
            "attack.read_memory 0",
            "attack.signal 1",
            "attack.ptrace 0",
            "attack.process_vm_readv 0"
        ]
    );
    daemon.terminate();
}

/// The installed settings, their secrets and the installed state: nothing on the command line names them.
#[test]
fn no_attack_succeeds_below_plugin_run() {
    for user in [0, USER] {
        let scene = Scene::installed("", user, (user == 0).then_some("/var/lib/kevmon"));
        // What is installed, for this process and its children alone.
        let line = format!(
            "mkdir -p /etc/kevmon /var/lib/kevmon && mount -t tmpfs tmpfs /etc/kevmon && chmod 755 /etc/kevmon && \
             cp {config} /etc/kevmon/ && mount --bind {state} /var/lib/kevmon && touch {state}/metadata.db && \
             {{ (sleep 1; chmod 666 {state}/metadata.db {state}/metadata.db.decoy {header}; chmod 777 {state}) & }} && export XDG_STATE_HOME={xdg} && \
             exec setpriv --reuid={user} --regid={user} --clear-groups {kevmon} plugin run {PLUGIN} --plugins-dir {folder} \
             --source proc --interval 300ms --count 12",
            config = scene.path("kevmon.toml"),
            state = scene.path("xdg/kevmon"),
            header = scene.path("header"),
            xdg = scene.path("xdg"),
            kevmon = kevmon::binary().display(),
            folder = scene.script.path(),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &line]);
        let output = kevmon::finish(command);
        let found: Vec<(String, String)> = output
            .stdout
            .lines()
            .filter_map(|line| {
                let at = line.find("attack.")?;
                let (name, value) = line[at..].split_once(' ')?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        assert!(found.len() > ATTACKS.len(), "{}", output.stdout);
        assert_eq!(succeeded(&found), [""; 0], "as {user}");
    }
}

/// Landlock and what it alone holds, seen by taking it away; a filter of a container may do that.
#[test]
fn without_landlock_nothing_runs_unless_it_is_allowed_and_then_attacks_succeed() {
    let scene = Scene::new("allow_unconfined = true", USER);
    let enosys = libc::ENOSYS.to_string();
    let mut daemon = scene.daemon(USER, &[]);
    assert_eq!(
        succeeded(&of_daemon(&mut daemon)),
        [""; 0],
        "all is there, so all is used"
    );
    daemon.terminate();
    // As root, as a filter needs it; with kevmon's own user id, which is what Landlock is for.
    let scene = Scene::new("allow_unconfined = true\nuser = \"root\"", 0);
    let mut daemon = scene.daemon(0, &[&enosys, "landlock_create_ruleset"]);
    let found = of_daemon(&mut daemon);
    let through = succeeded(&found);
    for attack in [
        "read_state",
        "read_header",
        "write_state",
        "truncate_state",
        "write_tmp",
        "create_beside_state",
    ] {
        assert!(
            through.contains(&format!("attack.{attack}").as_str()),
            "{attack} in {through:?}"
        );
    }
    let log = daemon.stderr();
    assert!(
        log.contains("not confined as it should be: this kernel has no Landlock"),
        "{log}"
    );
    daemon.terminate();
}

#[test]
fn the_missing_wall_is_named_with_its_remedy() {
    let root = "user = \"root\"";
    let cases: [(i32, &[&str], &str, &str); 7] = [
        (
            libc::ENOSYS,
            &["landlock_create_ruleset"],
            "",
            "this kernel has no Landlock, or a container's seccomp filter hides it",
        ),
        (
            libc::EOPNOTSUPP,
            &["landlock_create_ruleset"],
            "",
            "Landlock is not switched on; add landlock to the list of lsm=",
        ),
        (
            libc::EPERM,
            &["landlock_create_ruleset"],
            "",
            "a seccomp filter, such as a container's, refuses Landlock",
        ),
        (
            libc::EPERM,
            &["seccomp"],
            "",
            "a seccomp filter, such as a container's, refuses another one; let it pass seccomp",
        ),
        (
            libc::ENOSYS,
            &["seccomp"],
            "",
            "this kernel has no seccomp filters",
        ),
        (libc::EPERM, &["capset"], root, "has to let capset and prctl pass"),
        (
            libc::EPERM,
            &["setgroups"],
            "",
            "root without CAP_SETUID and CAP_SETGID",
        ),
    ];
    for (error, calls, keys, expected) in cases {
        let scene = Scene::new(keys, 0);
        let number = error.to_string();
        let daemon = scene.daemon(0, &[&[number.as_str()], calls].concat());
        let told = format!("{PLUGIN}: c: refused: ");
        let log = wait::until(expected, LIMIT, || {
            let log = daemon.stderr();
            log.contains(&told).then_some(log)
        });
        assert!(log.contains(expected), "{expected:?} for {calls:?} in {log}");
        daemon.terminate();
    }
}

#[test]
fn the_network_is_there_for_those_that_ask() {
    for user in [0, USER] {
        let scene = Scene::new("allow_network = true", user);
        let mut daemon = scene.daemon(user, &[]);
        let found = of_daemon(&mut daemon);
        assert_eq!(
            succeeded(&found),
            ["attack.tcp_connect", "attack.tcp_bind", "attack.udp"],
            "as {user}"
        );
        daemon.terminate();
    }
}

/// Two collectors at once have two user ids, which no account has, and nobody's processes reach neither.
#[test]
fn a_collector_is_out_of_reach_of_other_users() {
    let mark = format!("kvt-own-{}", unique());
    let script = Script::new(
        "stream = true",
        &format!("while :; do echo v.x 1; sleep 1; : {mark}; done"),
    );
    let second = Script::new(
        "stream = true",
        &format!("while :; do echo v.x 1; sleep 1; : {mark}; done"),
    );
    let daemons = [script.start(&[]), second.start(&[])];
    let shells = || -> Vec<u32> {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let runs = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            [&script, &second]
                .iter()
                .any(|script| line.contains(script.path()) && line.contains("run.sh"))
        };
        pids.filter(runs).collect()
    };
    let pids = wait::until("both programs", LIMIT, || {
        Some(shells()).filter(|pids| pids.len() == 2)
    });
    let uid = |pid: &u32| -> Vec<u32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .unwrap()
            .to_owned();
        line.split_whitespace().map(|id| id.parse().unwrap()).collect()
    };
    let uids: Vec<Vec<u32>> = pids.iter().map(uid).collect();
    for ids in &uids {
        assert!(
            ids.iter()
                .all(|id| (60_706..=61_183).contains(id) && *id == ids[0]),
            "{uids:?}"
        );
    }
    for pid in &pids {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", ATTACK])
            .args([
                &format!("pid={pid}"),
                "state=/",
                "only=signal,ptrace,renice,prlimit,read_environ",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.matches(" 0\n").count(), 5, "{text}");
    }
    for daemon in daemons {
        daemon.terminate();
    }
}

#[test]
fn the_account_of_the_settings_is_used_or_asked_for() {
    let scratch = Scratch::new();
    let config = scratch.path().join("kevmon.toml");
    let script = Script::new("", "echo \"uid.x $(id -u)\"");
    let write =
        |user: &str| fs::write(&config, format!("schema = 1\n[collectors]\nuser = \"{user}\"\n")).unwrap();
    write("nobody");
    let mut daemon = script.start(&["--config", config.to_str().unwrap()]);
    let tick = daemon.wait_until("its user", LIMIT, |tick| !values(tick, "uid.x").is_empty());
    assert_eq!(values(&tick, "uid.x")[0]["value"], 65_534);
    daemon.terminate();
    write("kvt-no-such-user");
    let daemon = script.start(&["--config", config.to_str().unwrap()]);
    wait::until("the refusal", LIMIT, || {
        let told = "this host has no user \"kvt-no-such-user\", which collectors.user names; create it";
        daemon.stderr().contains(told).then_some(())
    });
    daemon.terminate();
}

#[test]
fn a_program_that_stays_is_told_of_when_it_makes_a_refused_call() {
    let script = Script::new("stream = true", "unshare --user true; echo v.x 1; sleep 300");
    let daemon = script.start(&[]);
    wait::until("the refused call", LIMIT, || {
        let told = format!("{PLUGIN}: c: refused_call: unshare failed with EPERM");
        daemon.stderr().contains(&told).then_some(())
    });
    daemon.terminate();
}
