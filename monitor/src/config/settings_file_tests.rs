//! The settings file, key by key.

use std::fs;

use secrecy::ExposeSecret;

use super::*;
use crate::config::tests::Folder;

pub(crate) const EVERY_KEY: &str = r#"schema = 1

[export]
endpoint = "https://collector:4318/otlp"
protocol = "http/protobuf"
compression = "gzip"
timeout = "2500ms"
signals = ["metrics", "logs"]
max_request_bytes = "512KiB"
headers = { "X-Team" = "s3cret", Authorization = { file = "/run/token" }, b = { env = "B" }, c = { credential = "c" } }
ca_file = "/ca.pem"
certificate_file = { credential = "cert" }
key_file = "/key.pem"
temporality = "delta"

[endpoints.backup]
endpoint = "http://127.0.0.1:4319"

[endpoints.vendor]
endpoint = "https://vendor"
protocol = "grpc"
compression = "none"
timeout = 3
signals = ["metrics"]
max_request_bytes = 2048
ca_file = { credential = "ca" }
certificate_file = "/c"
key_file = "/k"
[endpoints.vendor.headers]
api-key = { env = "KEY" }

[spool]
max_bytes = "1GiB"
max_age = "1h"

[telemetry]
enabled = false
interval = 30

[otlp_json]
path = "-"

[prometheus]
enabled = true
listen = "0.0.0.0:9465"
"#;

fn read(text: &str) -> SettingsFile {
    parse(Path::new("kevmon.toml"), text, false)
}

fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn every_key() {
    let file = read(EVERY_KEY);
    assert_eq!(lines(&file.faults), Vec::<String>::new());
    let export = &file.export;
    let endpoint = export.endpoint.as_ref().expect("an endpoint");
    assert_eq!(
        (endpoint.value.host.as_str(), endpoint.value.path.as_str()),
        ("collector", "/otlp")
    );
    assert_eq!(endpoint.origin.shown(), "export.endpoint in kevmon.toml");
    assert_eq!(
        (export.protocol, export.compression, export.timeout),
        (
            Some(Protocol::HttpProtobuf),
            Some(Compression::Gzip),
            Some(Duration::from_millis(2500))
        )
    );
    let headers: BTreeMap<&str, String> = export
        .headers
        .iter()
        .map(|(name, value)| {
            let value = match value {
                HeaderValue::Text(text) => text.expose_secret().to_owned(),
                HeaderValue::Place(place) => format!("{place:?}"),
            };
            (name.as_str(), value)
        })
        .collect();
    assert_eq!(
        headers,
        BTreeMap::from([
            ("authorization", "File(\"/run/token\")".to_owned()),
            ("b", "Variable(\"B\")".to_owned()),
            ("c", "Credential(\"c\")".to_owned()),
            ("x-team", "s3cret".to_owned()),
        ])
    );
    let place = |given: &Option<Given<SecretPlace>>| given.as_ref().map(|given| given.value.clone());
    assert_eq!(place(&export.ca), Some(SecretPlace::File("/ca.pem".into())));
    assert_eq!(
        place(&export.certificate),
        Some(SecretPlace::Credential("cert".to_owned()))
    );
    assert_eq!(place(&export.key), Some(SecretPlace::File("/key.pem".into())));
    assert_eq!(file.temporality, Some(Temporality::Delta));
    assert_eq!(file.endpoint_names(), Some(vec!["backup", "vendor"]));
    assert_eq!(file.endpoints["vendor"].timeout, Some(Duration::from_secs(3)));
    assert_eq!(file.endpoints["vendor"].headers.len(), 1);
    assert_eq!(
        file.spool,
        SpoolLimits {
            bytes: 1 << 30,
            age: Duration::from_hours(1)
        }
    );
    assert_eq!(
        file.telemetry,
        Telemetry {
            enabled: false,
            interval: Duration::from_secs(30)
        }
    );
    assert_eq!(file.otlp_json, Some(JsonTarget::Stdout));
    let listen = file.prometheus.as_ref().map(|listen| listen.value.to_string());
    assert_eq!(listen.as_deref(), Some("0.0.0.0:9465"));
    let mut variables: Vec<&str> = file.variables().collect();
    variables.sort_unstable();
    assert_eq!(variables, ["B", "KEY"]);
    assert!(!format!("{file:?}").contains("s3cret"), "{file:?}");
}

/// Blocks of the documentation that are marked as settings files, or parts of one.
#[test]
fn the_documented_examples() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
    let folders = [docs.to_owned(), format!("{docs}/guides")];
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder").flatten());
    let mut count = 0;
    for path in entries.map(|entry| entry.path()).filter(|path| path.is_file()) {
        let page = fs::read_to_string(&path).expect("a page");
        for example in page.split("```toml settings\n").skip(1) {
            let example = example.split("```").next().expect("its end");
            // A part of a file announces nothing.
            let whole = example.starts_with("schema = 1");
            let file = read(&format!("{}{example}", if whole { "" } else { "schema = 1\n" }));
            let place = path.display();
            assert!(
                file.faults.is_empty(),
                "{place}: {example}{:?}",
                lines(&file.faults)
            );
            assert!(file.warnings.is_empty(), "{place}: {example}{:?}", file.warnings);
            count += 1;
        }
    }
    assert_eq!(count, 5);
}

#[test]
fn what_holds_without_keys() {
    let file = read("schema = 1");
    assert!(file.faults.is_empty() && file.warnings.is_empty(), "{file:?}");
    assert_eq!(
        (file.spool, file.telemetry),
        (SpoolLimits::default(), Telemetry::default())
    );
    assert_eq!((file.otlp_json, file.prometheus), (None, None));
    assert!(file.export.endpoint.is_none() && file.endpoints.is_empty());
    let file = read("schema = 1\nprometheus.enabled = true\n[otlp_json]\npath = '/x.json'");
    assert_eq!(file.prometheus.map(|listen| listen.value), Some(DEFAULT_LISTEN));
    assert_eq!(file.otlp_json, Some(JsonTarget::File("/x.json".into())));
    let file = read("schema = 1\nprometheus.listen = '127.0.0.1:1'");
    assert_eq!(file.prometheus, None, "an address alone opens nothing");
}

/// Each key misspelt, of the wrong type and out of bounds.
#[test]
fn faults() {
    let place = "write { env = \"…\" } or { file = \"…\" } or { credential = \"…\" }";
    for (text, faults) in [
        (
            "",
            &["kevmon.toml: schema: is missing; write schema = 1 at the top of the file"][..],
        ),
        (
            "schema = 2\nx = 1",
            &["kevmon.toml:1: schema: schema 2 is not known to this version of kevmon; write schema = 1"],
        ),
        ("=", &["kevmon.toml:1: not valid TOML: "]),
        (
            "schema = 1\nendpoint = 'https://x'",
            &["kevmon.toml:2: endpoint: unknown key; \"endpoint\" belongs in [export]"],
        ),
        (
            "schema = 1\n[exprot]",
            &["kevmon.toml:2: exprot: unknown table; did you mean [export]?"],
        ),
        (
            "schema = 1\n[service]",
            &[
                "kevmon.toml:2: service: unknown table; known tables: export, endpoints.NAME, spool, state, accounting, recorder, telemetry, otlp_json, prometheus, collectors, resource",
            ],
        ),
        (
            "schema = 1\nexport = 5",
            &["kevmon.toml:2: export: must be one table, [export]; write [export] on a line of its own"],
        ),
        (
            "schema = 1\n[export]\nendpont = 1\nendpoint = 5\nprotocol = 'http/json'\ncompression = 'gz'\ntimeout = 0\nca_file = 5\ncertificate_file = { file = 'x' }\nkey_file = { credential = 'a/b' }\ntemporality = 'deltas'",
            &[
                "kevmon.toml:3: export.endpont: unknown key; did you mean \"endpoint\"?",
                "kevmon.toml:4: export.endpoint: must be a string, found an integer; put it in quotes",
                "kevmon.toml:5: export.protocol: \"http/json\" is not known; write one of grpc, http/protobuf",
                "kevmon.toml:6: export.compression: \"gz\" is not known; write one of none, gzip",
                "kevmon.toml:7: export.timeout: \"0\" is too short; write 1ms to 1h",
                "kevmon.toml:8: export.ca_file: must be a path or a credential, found an integer; write \"/path\" or { credential = \"NAME\" }",
                "kevmon.toml:9: export.certificate_file: \"file\" is no place to read from; write { credential = \"…\" }",
                "kevmon.toml:10: export.key_file: that is no credential's name; write the name that LoadCredential= gives it",
                "kevmon.toml:11: export.temporality: \"deltas\" is not known; did you mean \"delta\"?",
            ],
        ),
        (
            "schema = 1\n[export]\nendpoint = 'collector:4317'\nprotocol = 1\ncompression = true\ntimeout = '2h'\nheaders = 'a=s3cret'\ntemporality = 1\nca_file = ' '\ncertificate_file = { credentail = 'x' }\nkey_file = { credential = 1 }",
            &[
                "kevmon.toml:3: export.endpoint: the URL has no scheme; write https://host:port, or http://host:port for cleartext",
                "kevmon.toml:4: export.protocol: must be a string, found an integer; put it in quotes",
                "kevmon.toml:5: export.compression: must be a string, found a boolean; put it in quotes",
                "kevmon.toml:6: export.timeout: \"2h\" is too long; write 1ms to 1h",
                "kevmon.toml:7: export.headers: must be a table of headers, found a string; write { authorization = { file = \"/path\" } }",
                "kevmon.toml:8: export.temporality: must be a string, found an integer; put it in quotes",
                "kevmon.toml:9: export.ca_file: is empty; write a name, or leave the key out",
                "kevmon.toml:10: export.certificate_file: \"credentail\" is no place to read from; did you mean \"credential\"?",
                "kevmon.toml:11: export.key_file: must be a string, found an integer; put it in quotes",
            ],
        ),
        (
            "schema = 1\n[export]\ntimeout = 'soon'\nendpoint = 'https://me:s3cret@x'",
            &[
                "kevmon.toml:3: export.timeout: \"soon\" is not a length of time; write seconds (60, 0.5) or a number with a unit (500ms, 2s, 1m, 1h)",
                "kevmon.toml:4: export.endpoint: the URL holds user info (…@…), which kevmon neither sends nor repeats; write the host alone, and give credentials as a header",
            ],
        ),
        (
            "schema = 1\n[export.headers]\na = \"s3cret\\n\"\nb = ''\nc = 's3crét'\nd = 5\ne = {}\nf = { env = '$S3', file = 'x' }\ng = { env = '$s3cret' }\nh = { fiel = 's3cret' }\ni = { file = '' }\n\"j k\" = 's3cret'\nhost = 's3cret'\nK = '1'\nk = '2'",
            &[
                "kevmon.toml:4: export.headers: b: a header's value is empty or holds what no header may; write visible ASCII, on one line",
                "kevmon.toml:5: export.headers: c: a header's value is empty or holds what no header may; write visible ASCII, on one line",
                "kevmon.toml:6: export.headers: d must be a string or one place to read it from, found an integer; write \"text\", { env = \"VARIABLE\" }, { file = \"/path\" } or { credential = \"NAME\" }",
                &format!("kevmon.toml:7: export.headers: must name exactly one place; {place}"),
                &format!("kevmon.toml:8: export.headers: must name exactly one place; {place}"),
                "kevmon.toml:9: export.headers: that is no variable's name; write the name alone, without $",
                "kevmon.toml:10: export.headers: \"fiel\" is no place to read from; did you mean \"file\"?",
                "kevmon.toml:11: export.headers: the path is empty; write one",
                "kevmon.toml:12: export.headers: a header's name is empty or holds what no name may; write letters, digits and -",
                "kevmon.toml:13: export.headers: the transport sets \"host\" itself; remove it",
                "kevmon.toml:15: export.headers: the header k stands here twice, in different cases; remove one of them",
            ],
        ),
        (
            "schema = 1\nendpoints.x = 1\n[endpoints.default]\nendpoint = 'https://x'\n[endpoints.'a b']\nendpoint = 'https://x'\n[endpoints.y]\nendpoit = 'https://x'\n[endpoints.z]\ntemporality = 'delta'\ntimeout = -1\nendpoint = 'x'",
            &[
                "kevmon.toml:2: endpoints.x: must be one table, [endpoints.NAME]; write [endpoints.NAME] on a line of its own",
                "kevmon.toml:3: endpoints.default: \"default\" is what [export] describes; write it there",
                "kevmon.toml:5: endpoints.a b: \"a b\" is no endpoint's name; write 1 to 64 letters A-Z a-z, digits, '_' and '-'",
                "kevmon.toml:7: endpoints.y.endpoint: is missing; write the receiver's URL, such as \"https://host:4317\"",
                "kevmon.toml:8: endpoints.y.endpoit: unknown key; did you mean \"endpoint\"?",
                "kevmon.toml:10: endpoints.z.temporality: unknown key; \"temporality\" belongs in [export]",
                "kevmon.toml:11: endpoints.z.timeout: \"-1\" is negative; write 1ms to 1h",
                "kevmon.toml:12: endpoints.z.endpoint: the URL has no scheme; write https://host:port, or http://host:port for cleartext",
            ],
        ),
        (
            "schema = 1\nendpoints = 1",
            &[
                "kevmon.toml:2: endpoints: must be one table, [endpoints.NAME]; write [endpoints.NAME] on a line of its own",
            ],
        ),
        (
            "schema = 1\n[spool]\nmax_bytes = 1\nmax_age = 59\nmax = 1\n[telemetry]\nenabled = 'yes'\ninterval = 0.5\n[otlp_json]\npath = 1\n[prometheus]\nenabled = 1\nlisten = ':9464'\nport = 1",
            &[
                "kevmon.toml:3: spool.max_bytes: \"1\" is too small; write 64KiB to 16GiB",
                "kevmon.toml:4: spool.max_age: \"59\" is too short; write 60s to 720h",
                "kevmon.toml:5: spool.max: unknown key; known here: max_bytes, max_age",
                "kevmon.toml:7: telemetry.enabled: must be true or false, found a string; write it without quotes",
                "kevmon.toml:8: telemetry.interval: \"0.5\" is too short; write 1s to 24h",
                "kevmon.toml:10: otlp_json.path: must be a string, found an integer; put it in quotes",
                "kevmon.toml:12: prometheus.enabled: must be true or false, found an integer; write it without quotes",
                "kevmon.toml:13: prometheus.listen: \":9464\" is not an address with a port; write 127.0.0.1:9464 or [::1]:9464",
                "kevmon.toml:14: prometheus.port: unknown key; known here: enabled, listen, created, bearer_token_file, certificate_file, key_file, client_ca_file, hosts",
            ],
        ),
        (
            "schema = 1\n[spool]\nmax_bytes = '1TB'\nmax_age = '721h'\n[telemetry]\ninterval = '25h'\nenabeld = true\n[otlp_json]\npath = ''\npaht = ''\n[prometheus]\nlisten = '127.0.0.1:0'\nenable = true",
            &[
                "kevmon.toml:3: spool.max_bytes: \"1TB\" is not a size; write bytes, or a whole number with KiB, MiB or GiB (64MiB)",
                "kevmon.toml:4: spool.max_age: \"721h\" is too long; write 60s to 720h",
                "kevmon.toml:6: telemetry.interval: \"25h\" is too long; write 1s to 24h",
                "kevmon.toml:7: telemetry.enabeld: unknown key; did you mean \"enabled\"?",
                "kevmon.toml:9: otlp_json.path: is empty; write a name, or leave the key out",
                "kevmon.toml:10: otlp_json.paht: unknown key; did you mean \"path\"?",
                "kevmon.toml:12: prometheus.listen: \"127.0.0.1:0\" is not an address with a port; write 127.0.0.1:9464 or [::1]:9464",
                "kevmon.toml:13: prometheus.enable: unknown key; did you mean \"enabled\"?",
            ],
        ),
        (
            "schema = 1\n[spool]\nmax_bytes = 0x20_0000_0000\nmax_age = true\n[telemetry]\ninterval = []\n[prometheus]\nlisten = 9464",
            &[
                "kevmon.toml:3: spool.max_bytes: \"0x2000000000\" is too large; write 64KiB to 16GiB",
                "kevmon.toml:4: spool.max_age: must be a length of time, found a boolean; write seconds (60, 0.5) or a string with a unit (\"500ms\", \"2s\", \"1m\", \"1h\")",
                "kevmon.toml:6: telemetry.interval: must be a length of time, found a list; write seconds (60, 0.5) or a string with a unit (\"500ms\", \"2s\", \"1m\", \"1h\")",
                "kevmon.toml:8: prometheus.listen: must be a string, found an integer; put it in quotes",
            ],
        ),
        (
            "schema = 1\nspool.max_bytes = 1.5",
            &[
                "kevmon.toml:2: spool.max_bytes: must be a size, found a float; write bytes, or a string with a unit (\"64MiB\")",
            ],
        ),
    ] {
        let found = lines(&read(text).faults);
        assert_eq!(found.len(), faults.len(), "{text}\n{found:#?}");
        for (found, want) in found.iter().zip(faults) {
            // What the TOML library says in full is its own.
            assert!(
                found == want || want.ends_with(": ") && found.starts_with(want),
                "{text}\n{found}\n{want}"
            );
            assert!(!found.contains("s3cret"), "{found}");
        }
    }
}

#[test]
fn secrets_that_others_can_read() {
    let file =
        |headers: &str| format!("schema = 1\n[endpoints.v]\nendpoint = 'https://x'\nheaders = {headers}");
    for (headers, others, warned) in [
        ("{ Authorization = 's3cret' }", true, true),
        ("{ proxy-authorization = 's3cret' }", true, true),
        ("{ x-api-key = 's3cret' }", true, true),
        ("{ X-Auth-Token = 's3cret' }", true, true),
        ("{ x-team = 's3cret' }", true, false),
        ("{ authorization = 's3cret' }", false, false),
        ("{ authorization = { file = '/s3cret' } }", true, false),
        ("{ authorization = { env = 'S' } }", true, false),
    ] {
        let file = parse(Path::new("kevmon.toml"), &file(headers), others);
        assert!(file.faults.is_empty(), "{:?}", file.faults);
        assert_eq!(file.warnings.len(), usize::from(warned), "{headers} {others}");
        assert!(!format!("{:?}", file.warnings).contains("s3cret"));
    }
    let file = parse(
        Path::new("kevmon.toml"),
        &file("{ authorization = 's3cret' }"),
        true,
    );
    assert_eq!(
        lines(&file.warnings),
        [
            "kevmon.toml:4: endpoints.v.headers: the value of authorization stands in a file that every user of the \
             host can read; take that right away (chmod o-r kevmon.toml), or write { file = \"/path\" } or \
             { credential = \"NAME\" } instead of the value"
        ]
    );
}

#[test]
fn the_file_itself() {
    let folder = Folder::new();
    let path = folder.path().join("kevmon.toml");
    let missing = read_settings(Some(&path)).expect("asked for");
    let shown = lines(&missing.faults).join("\n");
    assert!(
        shown.starts_with("command line: --config: ")
            && shown.contains("no such file or directory; name a file"),
        "{shown}"
    );
    let secret = "schema = 1\n[export.headers]\nauthorization = 's3cret'";
    for (mode, warnings) in [(0o644, 1), (0o640, 0), (0o600, 0)] {
        folder.write("kevmon.toml", secret);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("a mode");
        let file = read_settings(Some(&path)).expect("asked for");
        assert_eq!(
            (file.faults.len(), file.warnings.len()),
            (0, warnings),
            "{mode:o}"
        );
    }
    let folder_itself = read_settings(Some(folder.path())).expect("asked for");
    assert!(lines(&folder_itself.faults)[0].contains("it is a folder; name a file in it"));
    if !Path::new(DEFAULT_PATH).exists() {
        assert!(
            read_settings(None).is_none(),
            "nothing was asked for, and there is none"
        );
    }
}
