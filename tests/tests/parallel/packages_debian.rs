//! The .deb through its whole life with the real dpkg, in a root where no systemd runs; the .rpm with the real rpm; and what the
//! distributions' own checkers say of both.

use std::{fs, process::Command};

use kevmon_tests::packages::{self, AGAIN, NEWER, OLDER, Root};
use serde_json::Value as Json;

/// What accounts and the linker's cache are written to.
const OTHERS: [&str; 8] = [
    "etc/.pwd.lock",
    "etc/group",
    "etc/gshadow",
    "etc/ld.so",
    "etc/passwd",
    "etc/shadow",
    "etc/subuid",
    "etc/subgid",
];

fn left_behind(root: &Root) -> Vec<String> {
    let mut paths = root.written(&OTHERS);
    let of_dpkg = [
        "var/lib/dpkg/",
        "var/log/dpkg",
        "var/cache/",
        "var/lib/systemd/",
        "var/log/alternatives",
        "var/lib/rpm",
    ];
    paths.retain(|path| !of_dpkg.iter().any(|start| path.starts_with(start)) || path.contains("kevmon"));
    paths
}

const INSTALL_OLDER: &str = "dpkg -i /packages/1.0.0/kevmon_1.0.0-1_*.deb";
const INSTALL_NEWER: &str = "dpkg -i /packages/1.0.1/kevmon_1.0.1-1_*.deb";

#[test]
fn the_deb_is_installed_upgraded_downgraded_removed_and_purged_without_a_trace() {
    let root = Root::new();
    root.ok(INSTALL_OLDER);
    root.ok("kevmon --version && kevmon verify-install");
    assert_eq!(root.ok("dpkg --verify kevmon"), "", "dpkg's own sums");
    root.ok("sed -n 's/^u!* *\\([a-z-]*\\).*/\\1/p' /usr/lib/sysusers.d/kevmon.conf | while read -r name; do id \"$name\" || exit 1; done");
    assert!(
        root.ok("grep -c . /etc/kevmon/kevmon.toml")
            .trim()
            .parse::<u32>()
            .expect("a number")
            > 50
    );

    root.ok("mkdir -p /var/lib/kevmon /var/log/kevmon /etc/kevmon/plugins/own && echo state >/var/lib/kevmon/metadata.db
             echo log >/var/log/kevmon/kevmon.log; echo 'schema = 1' >/etc/kevmon/plugins/own/plugin.toml
             echo '# mine' >>/etc/kevmon/kevmon.toml");
    root.ok(INSTALL_NEWER);
    assert!(root.ok("dpkg-query -W kevmon").contains("1.0.1-1"));
    let verified = root.ok("kevmon verify-install && tail -n 1 /etc/kevmon/kevmon.toml");
    assert!(
        verified.contains("etc/kevmon/kevmon.toml: is changed") && verified.ends_with("# mine\n"),
        "{verified}"
    );
    root.ok(INSTALL_OLDER);
    assert!(root.ok("dpkg-query -W kevmon").contains("1.0.0-1"), "downgraded");

    root.ok("dpkg -r kevmon");
    root.ok("! [ -e /usr/bin/kevmon ] && [ -f /var/lib/kevmon/metadata.db ] && [ -f /etc/kevmon/plugins/own/plugin.toml ]
             tail -n 1 /etc/kevmon/kevmon.toml | grep -q mine");
    root.ok("dpkg -P kevmon");
    assert_eq!(left_behind(&root), Vec::<String>::new());
}

#[test]
fn what_is_changed_or_missing_after_an_installation_is_named() {
    let root = Root::new();
    root.ok(INSTALL_OLDER);
    root.ok("echo >>/usr/share/kevmon/plugins/kevmon/plugin.toml; rm /usr/share/kevmon/plugin.schema.json
             chmod 0777 /usr/share/kevmon/plugins/random_coin/random_coin.sh; chown 65534 /usr/share/kevmon/plugins/mstrsvr/plugin.toml
             ln -sf /dev/null /usr/share/kevmon/plugins/m8refsvr/plugin.toml; rm /usr/share/man/man8/kevmon.8.gz");
    let output = root.run("kevmon verify-install --json");
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    let report: Json = serde_json::from_str(&output.stdout).expect("JSON");
    let found = |list: &str, kind: &str| -> Vec<(String, String)> {
        let list = report[list].as_array().expect("a list");
        let text = |value: &Json| value.as_str().expect("a text").to_owned();
        list.iter()
            .map(|one| (text(&one["path"]), text(&one[kind])))
            .collect()
    };
    let expected = [
        ("usr/share/kevmon/plugin.schema.json", "missing"),
        ("usr/share/kevmon/plugins/kevmon/plugin.toml", "changed"),
        ("usr/share/kevmon/plugins/m8refsvr/plugin.toml", "type"),
        ("usr/share/kevmon/plugins/mstrsvr/plugin.toml", "owner"),
        ("usr/share/kevmon/plugins/random_coin/random_coin.sh", "mode"),
    ]
    .map(|(path, kind)| (path.to_owned(), kind.to_owned()));
    assert_eq!(found("faults", "fault"), expected);
    let note = ("usr/share/man/man8/kevmon.8.gz".to_owned(), "missing".to_owned());
    assert_eq!(found("notes", "note"), [note], "documentation may be left out");
    assert_eq!(root.run("kevmon verify-install --root /nowhere").code, Some(4));
    root.ok(INSTALL_OLDER);
    root.ok("kevmon verify-install");
}

#[test]
fn the_rpm_is_installed_verified_upgraded_and_erased() {
    let root = Root::new();
    root.ok("rpm --initdb");
    // Debian's packages provide what it needs, which rpm does not know here.
    root.ok("rpm -i --nodeps /packages/1.0.0/kevmon-1.0.0-1.*.rpm && kevmon verify-install");
    assert_eq!(root.ok("rpm -V --nodeps kevmon"), "");
    root.ok("echo '# mine' >>/etc/kevmon/kevmon.toml; mkdir -p /var/lib/kevmon; echo state >/var/lib/kevmon/metadata.db");
    root.ok("rpm -U --nodeps /packages/1.0.1/kevmon-1.0.1-1.*.rpm && kevmon verify-install && tail -n 1 /etc/kevmon/kevmon.toml | grep -q mine");
    let needs = root.ok("rpm -qpR /packages/1.0.0/kevmon-1.0.0-1.*.rpm");
    assert!(needs.contains("libc.so.6(GLIBC_2."), "{needs}");
    root.ok("rpm -e kevmon");
    root.ok("! [ -e /usr/bin/kevmon ] && [ -f /var/lib/kevmon/metadata.db ] && grep -q mine /etc/kevmon/kevmon.toml.rpmsave");
}

#[test]
fn two_builds_give_the_same_bytes() {
    let (first, second) = (
        packages::files(&packages::folder(OLDER)),
        packages::files(&packages::folder(AGAIN)),
    );
    let names =
        |files: &std::collections::BTreeMap<_, _>| files.keys().cloned().collect::<Vec<std::path::PathBuf>>();
    assert_eq!(names(&first), names(&second));
    assert!(
        first.len() >= 7,
        "deb, rpm, archive and image, and debug files: {:?}",
        names(&first)
    );
    for (name, content) in &first {
        assert!(second[name] == *content, "{} differs", name.display());
    }
}

/// Lines of a checker that are errors.
fn errors(program: &str, args: &[&str], is_error: impl Fn(&str) -> bool) -> Vec<String> {
    // They take their time, which is nobody's fault.
    let output = Command::new(program).args(args).output();
    let output = output
        .unwrap_or_else(|error| panic!("missing prerequisite: {program}: {error}; run cargo xtask test"));
    let text = [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat();
    text.lines()
        .filter(|line| is_error(line))
        .map(str::to_owned)
        .collect()
}

/// Errors of rpmlint's that are none: who publishes a package signs it, and logs are not for everybody to read.
const EXPECTED: [&str; 2] = ["no-signature", "non-standard-dir-perm /var/log/kevmon 750"];

#[test]
fn lintian_and_rpmlint_find_no_error() {
    let deb = packages::file(NEWER, "kevmon_", ".deb");
    let name = deb.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    let debug = deb.with_file_name(name.replace("kevmon_", "kevmon-dbgsym_"));
    for deb in [&deb, &debug] {
        let deb = deb.to_str().expect("UTF-8");
        let found = errors("lintian", &["--allow-root", "--fail-on", "none", deb], |line| {
            line.starts_with("E:")
        });
        assert_eq!(found, Vec::<String>::new());
    }
    let rpm = packages::file(NEWER, "kevmon-", ".rpm");
    // Who publishes a package signs it.
    let found = errors("rpmlint", &[rpm.to_str().expect("UTF-8")], |line| {
        line.contains(": E: ") && !EXPECTED.iter().any(|text| line.contains(text))
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_bill_of_materials_and_the_terms_name_what_is_linked() {
    let root = Root::new();
    root.ok(INSTALL_OLDER);
    let sbom: Json = serde_json::from_str(&root.ok("cat /usr/share/doc/kevmon/sbom.cdx.json")).expect("JSON");
    let components = sbom["components"].as_array().expect("components");
    let has = |name: &str| components.iter().any(|component| component["name"] == name);
    assert!(
        has("aya") && has("tokio") && has("rusqlite") && has("aya-ebpf"),
        "linked"
    );
    assert!(
        !has("syn") && !has("rcgen") && !has("tar"),
        "only builds or tests it"
    );
    let terms = root.ok("zcat /usr/share/doc/kevmon/THIRD-PARTY.gz");
    for component in components
        .iter()
        .filter(|component| component["purl"].is_string())
    {
        let called = format!(
            "\n{} {}: ",
            component["name"].as_str().expect("a name"),
            component["version"].as_str().expect("a version")
        );
        assert!(terms.contains(&called), "no terms of {called}");
    }
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).expect("Cargo.lock");
    assert!(
        lock.contains("name = \"syn\""),
        "what is left out is a crate of the workspace"
    );
}
