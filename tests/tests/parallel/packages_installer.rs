//! install.sh of the archive, by each shell that it is for: as root in a root of its own, and as an ordinary user.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kevmon_tests::{
    kevmon::{self, Output},
    packages::{self, NEWER, OLDER, Root, grouped, unpack},
    scratch::Scratch,
};

const SHELLS: [&str; 2] = ["dash", "busybox sh"];

/// A user without rights, the same as nobody's number.
const OTHER: u32 = 65534;

/// A home folder, and the archives of both versions, in a folder whose name has a blank.
struct Home {
    scratch: Scratch,
    older: PathBuf,
    newer: PathBuf,
}

impl Home {
    fn new() -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        let archive = |version: &str| {
            let into = scratch.path().join(format!("archive {version}"));
            fs::create_dir(&into).expect("our own folder");
            unpack(&packages::file(version, "kevmon-", "-linux-gnu.tar.gz"), &into)
        };
        let (older, newer) = (archive(OLDER), archive(NEWER));
        let home = scratch.path().join("home");
        fs::create_dir(&home).expect("our own folder");
        std::os::unix::fs::chown(&home, Some(OTHER), Some(OTHER)).expect("root");
        Self {
            scratch,
            older,
            newer,
        }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    /// install.sh of `archive` as the user, not started yet.
    fn command(&self, shell: &str, archive: &Path, args: &[&str]) -> Command {
        let mut words = shell.split(' ');
        let mut command = Command::new(words.next().expect("a shell"));
        command.args(words).arg(archive.join("install.sh")).args(args);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .uid(OTHER)
            .gid(OTHER)
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, archive: &Path, args: &[&str]) -> Output {
        kevmon::finish(self.command(SHELLS[0], archive, args))
    }
}

#[track_caller]
fn succeeded(output: Output) -> Output {
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
    output
}

#[track_caller]
fn refused(output: &Output, told: &str) {
    assert_eq!(output.code, Some(1), "{}{}", output.stdout, output.stderr);
    assert!(output.stderr.contains(told), "no {told:?} in {}", output.stderr);
}

#[test]
fn root_installs_upgrades_and_uninstalls_with_each_shell() {
    let root = Root::new();
    root.ok("mkdir /a /b && tar -xzf /packages/1.0.0/kevmon-1.0.0-*-linux-gnu.tar.gz -C /a && tar -xzf /packages/1.0.1/kevmon-1.0.1-*-linux-gnu.tar.gz -C /b");
    for shell in SHELLS {
        let before = root.written(&["run/"]);
        let old = format!("{shell} /a/kevmon-*/install.sh");
        let new = format!("{shell} /b/kevmon-*/install.sh");
        root.ok(&format!("{old} --verify && {old} --dry-run"));
        assert_eq!(
            root.written(&["run/"]),
            before,
            "{shell}: a dry run writes nothing"
        );
        let first = root.ok(&format!("{old} -r"));
        assert!(first.contains("make     /opt/kevmon/bin/kevmon\n"), "{first}");
        root.ok("kevmon --version && kevmon verify-install && /opt/kevmon/share/kevmon/install.sh --verify");
        root.ok("grep -q '^ExecStart=/opt/kevmon/bin/kevmon' /etc/systemd/system/kevmon.service");
        let repeated = root.ok(&old);
        assert!(
            !repeated.contains("make ") && !repeated.contains("replace "),
            "{repeated}"
        );

        root.ok("echo '# mine' >>/etc/kevmon/kevmon.toml; mkdir -p /var/lib/kevmon; echo state >/var/lib/kevmon/metadata.db");
        root.ok(&format!("{new} --restart"));
        root.ok("tail -n 1 /etc/kevmon/kevmon.toml | grep -q mine && kevmon verify-install");
        let older = root.run(&old);
        refused(&older, "newer than 1.0.0");
        root.ok("echo >>/opt/kevmon/share/kevmon/plugins/kevmon/plugin.toml");
        refused(
            &root.run(&new),
            "/opt/kevmon/share/kevmon/plugins/kevmon/plugin.toml",
        );
        root.ok(&format!("{new} --force && kevmon verify-install"));

        root.ok("/opt/kevmon/share/kevmon/install.sh --uninstall");
        root.ok("[ -f /var/lib/kevmon/metadata.db ] && [ -f /etc/kevmon/kevmon.toml ] && ! [ -e /opt/kevmon ] && ! [ -e /etc/systemd/system/kevmon.service ]");
        root.ok(&format!("{old} && {old} --uninstall --purge"));
        let accounts = [
            "etc/passwd",
            "etc/group",
            "etc/shadow",
            "etc/gshadow",
            "etc/subuid",
            "etc/subgid",
            "etc/.pwd.lock",
            "run/",
            "var/log/",
            "var/lib/systemd",
        ];
        let rest: Vec<String> = root
            .written(&accounts)
            .into_iter()
            .filter(|path| !before.contains(path))
            .collect();
        assert_eq!(rest, Vec::<String>::new(), "{shell}");
    }
}

#[test]
fn an_ordinary_user_needs_user_and_gets_all_below_home() {
    let home = Home::new();
    refused(&home.run(&home.older, &[]), "--user");
    let installed = succeeded(home.run(&home.older, &["--user"]));
    for told in ["setcap cap_bpf", "* * * * * ", "systemctl --user"] {
        assert!(installed.stdout.contains(told), "{}", installed.stdout);
    }
    let lib = home.path().join(".local/lib/kevmon");
    let verified = Command::new(home.path().join(".local/bin/kevmon"))
        .arg("verify-install")
        .arg("--root")
        .arg(&lib)
        .status();
    assert!(verified.expect("kevmon").success());
    let settings = home.path().join(".config/kevmon/kevmon.toml");
    fs::write(&settings, "schema = 1\n").expect("the settings");
    succeeded(home.run(&home.newer, &["--user"]));
    assert_eq!(fs::read(&settings).expect("the settings"), b"schema = 1\n");
    succeeded(home.run(&home.newer, &["--user", "--uninstall"]));
    let left: Vec<PathBuf> = packages::files(&home.path()).into_keys().collect();
    assert_eq!(left, [PathBuf::from(".config/kevmon/kevmon.toml")]);
    succeeded(home.run(&home.newer, &["--user", "--uninstall", "--purge"]));
    assert!(packages::files(&home.path()).is_empty());
}

#[test]
fn an_archive_that_is_not_as_it_was_packaged_is_refused_by_the_file_s_name() {
    let home = Home::new();
    let archive = &home.older;
    let (plugin, schema) = (
        "share/kevmon/plugins/kevmon/plugin.toml",
        "share/kevmon/plugin.schema.json",
    );
    fs::write(archive.join(plugin), "schema = 1\n").expect("the archive");
    fs::remove_file(archive.join(schema)).expect("the archive");
    fs::write(archive.join("share/kevmon/plugins/more.toml"), "").expect("the archive");
    fs::remove_file(archive.join("README.md")).expect("the archive");
    std::os::unix::fs::symlink("/etc/passwd", archive.join("README.md")).expect("the archive");
    for args in [&["--user"][..], &["--user", "--force"], &["--verify"]] {
        let output = home.run(archive, args);
        for told in [
            format!("{plugin} is changed"),
            format!("{schema} is missing"),
            "share/kevmon/plugins/more.toml is not of this archive".to_owned(),
            "README.md is no plain file".to_owned(),
        ] {
            refused(&output, &told);
        }
    }
    assert!(packages::files(&home.path()).is_empty(), "nothing was changed");
    fs::remove_file(home.newer.join("manifest.toml")).expect("the archive");
    refused(&home.run(&home.newer, &["--user"]), "manifest.toml is missing");
}

#[test]
fn a_folder_of_another_user_is_refused() {
    let home = Home::new();
    let foreign = home.scratch.path().join("foreign");
    fs::create_dir(&foreign).expect("our own folder");
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o777)).expect("our own folder");
    let output = home.run(&home.older, &["--user", "-d", foreign.to_str().expect("UTF-8")]);
    refused(&output, "belongs to another user");
    for folder in ["/usr", "/", "a b", "x;y"] {
        assert_eq!(
            home.run(&home.older, &["--user", "-d", folder]).code,
            Some(1),
            "{folder}"
        );
    }
    for args in [&["--nonsense"][..], &["-d"], &["--purge"]] {
        assert_eq!(home.run(&home.older, args).code, Some(2), "{args:?}");
    }
}

/// Programs in front of those that change files, each of which kills install.sh before the `at`-th change.
fn killers(folder: &Path, at: u32) -> PathBuf {
    let bin = folder.join(format!("bin{at}"));
    fs::create_dir(&bin).expect("our own folder");
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o777)).expect("our own folder");
    for name in ["chmod", "ln", "mkdir", "mv", "rm", "rmdir"] {
        let text = format!(
            "#!/bin/sh\necho >>{0}/count\n[ \"$(wc -l <{0}/count)\" -ne {at} ] || kill -9 0\nexec /usr/bin/{name} \"$@\"\n",
            bin.display()
        );
        kevmon_tests::executable::write(bin.join(name), &text);
    }
    bin
}

/// Runs until the `at`-th change; whether it was killed.
fn interrupted(home: &Home, archive: &Path, args: &[&str], at: u32) -> bool {
    let bin = killers(home.scratch.path(), at);
    let mut command = home.command(SHELLS[0], archive, args);
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let status = grouped(&mut command).status().expect("a shell");
    status.code().is_none()
}

/// What an installation comes to: all files, with the links.
fn state(home: &Home) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    packages::files(&home.path())
}

/// Changes of one file; a stride without a common factor meets each of them.
const CHANGES_A_FILE: usize = 5;

/// Interrupts `args` of `archive` before each `stride`-th change, each time in a new home that `prepare` made, and goes on.
fn interrupt_each(stride: usize, prepare: impl Fn(&Home), archive: impl Fn(&Home) -> PathBuf, args: &[&str]) {
    assert!(!stride.is_multiple_of(CHANGES_A_FILE));
    let whole = Home::new();
    prepare(&whole);
    succeeded(whole.run(&archive(&whole), args));
    let home = Home::new();
    // Units, links and the record hold the home's own path.
    let comparable = |home: &Home| -> Vec<PathBuf> { state(home).into_keys().collect() };
    let mut kills = 0;
    for at in (1..).step_by(stride) {
        fs::remove_dir_all(home.path())
            .and_then(|()| fs::create_dir(home.path()))
            .expect("our own folder");
        std::os::unix::fs::chown(home.path(), Some(OTHER), Some(OTHER)).expect("root");
        prepare(&home);
        if !interrupted(&home, &archive(&home), args, at) {
            break;
        }
        kills += 1;
        succeeded(home.run(&archive(&home), args));
        assert_eq!(comparable(&home), comparable(&whole), "after the change {at}");
        let of = |home: &Home, path: &str| fs::read(home.path().join(path)).unwrap_or_default();
        for path in [
            ".local/lib/kevmon/manifest.toml",
            ".config/kevmon/kevmon.toml",
            ".config/kevmon/kevmon.toml.new",
        ] {
            assert_eq!(of(&home, path), of(&whole, path), "{path} after the change {at}");
        }
        succeeded(home.run(&home.older, &["--user", "--uninstall", "--purge"]));
        assert!(
            state(&home).is_empty(),
            "after the change {at}: {:?}",
            comparable(&home)
        );
    }
    assert!(kills >= 3, "only {kills} changes were interrupted");
}

fn first_installations(stride: usize) {
    interrupt_each(stride, |_| {}, |home| home.older.clone(), &["--user"]);
}

fn upgrades(stride: usize) {
    let prepare = |home: &Home| {
        succeeded(home.run(&home.older, &["--user"]));
        fs::write(home.path().join(".config/kevmon/kevmon.toml"), "schema = 1\n").expect("the settings");
    };
    interrupt_each(stride, prepare, |home| home.newer.clone(), &["--user"]);
}

fn uninstallations(stride: usize) {
    let prepare = |home: &Home| {
        succeeded(home.run(&home.older, &["--user"]));
    };
    interrupt_each(
        stride,
        prepare,
        |home| home.older.clone(),
        &["--user", "--uninstall"],
    );
}

#[test]
fn a_first_installation_that_is_killed_goes_on_at_the_next_run() {
    first_installations(43);
}

#[test]
fn an_upgrade_that_is_killed_at_any_change_goes_on_at_the_next_run() {
    upgrades(31);
}

#[test]
fn an_uninstallation_that_is_killed_goes_on_at_the_next_run() {
    uninstallations(33);
}

#[test]
#[ignore = "half an hour: cargo xtask test --e2e -- --ignored packages_installer::"]
fn each_change_may_be_the_last_before_a_kill() {
    first_installations(1);
    upgrades(1);
    uninstallations(1);
}

#[test]
fn shellcheck_finds_nothing() {
    let home = Home::new();
    let mut command = Command::new("shellcheck");
    command.args(["-s", "sh"]).arg(home.older.join("install.sh"));
    let output = kevmon::finish(command);
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
}
