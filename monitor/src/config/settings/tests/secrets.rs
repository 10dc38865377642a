//! Who gets which header and which certificate, and that nobody else is shown them.

use secrecy::ExposeSecret;

use super::*;
use crate::config::{header::HeaderFlag, receiver::HeaderSource};

const HEADERS: (&str, &str) = (
    "OTEL_EXPORTER_OTLP_HEADERS",
    "authorization=Bearer%20s3cret,x-a=1",
);
const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://own");

fn shown(connection: &Connection) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = connection
        .headers
        .iter()
        .map(|(name, source)| {
            let source = match source {
                HeaderSource::Text(text) => text.expose_secret().to_owned(),
                HeaderSource::File(path) => format!("file {}", path.display()),
            };
            (name.clone(), source)
        })
        .collect();
    headers.sort();
    headers
}

fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    headers.iter().map(pair).collect()
}

fn flags(endpoint: Option<&str>, headers: &[&str]) -> Overrides {
    Overrides {
        endpoint: endpoint.map(str::to_owned),
        headers: headers
            .iter()
            .map(|text| {
                let Ok(flag) = text.parse::<HeaderFlag>();
                flag
            })
            .collect(),
        ..Overrides::default()
    }
}

#[test]
fn headers_by_source() {
    let of_environment = [("authorization", "Bearer s3cret"), ("x-a", "1")];
    let case = of_variables(&[ENDPOINT, HEADERS, ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-l=2")]);
    let receiver = case.valid().receivers.swap_remove(0);
    assert_eq!(shown(&receiver.metrics), pairs(&of_environment));
    assert_eq!(
        shown(&receiver.logs),
        pairs(&[("x-l", "2")]),
        "it replaces the general one"
    );
    assert_eq!(shown(&receiver.traces), pairs(&of_environment));

    let all = Case {
        variables: &[
            ENDPOINT,
            HEADERS,
            ("TOKEN", " s3cret-2\n"),
            ("CREDENTIALS_DIRECTORY", "/run/c"),
        ],
        file: "[export.headers]\nX-A = 'file'\nx-b = { file = '/b' }\nx-c = { credential = 'c' }\nx-d = { env = 'TOKEN' }",
        overrides: flags(None, &["x-c=env:TOKEN", "x-e=file:/e", "x-e=file:/f"]),
        ..Case::default()
    };
    assert_eq!(
        shown(&all.metrics()),
        pairs(&[
            ("authorization", "Bearer s3cret"),
            ("x-a", "file"),
            ("x-b", "file /b"),
            ("x-c", "s3cret-2"),
            ("x-d", "s3cret-2"),
            ("x-e", "file /f"),
        ])
    );
    assert!(all.warnings().is_empty());
}

#[test]
fn credentials_stay_with_the_address_they_were_given_for() {
    let headers = |place: &str, by: &str| {
        format!(
            "{place}: these headers are not sent to the receiver that {by} names: they were given for another one; \
             give them where the receiver is named (on the command line: --header)"
        )
    };
    let certificate = |place: &str, by: &str| {
        format!(
            "{place}: is not presented to the receiver that {by} names: it was given for another one; give \
             certificate and key where the receiver is named"
        )
    };
    let by_variable = [
        ENDPOINT,
        HEADERS,
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k"),
    ];
    let in_file = "[export]\nendpoint = 'https://file'\nheaders = { a = 's3cret' }\ncertificate_file = '/c'\nkey_file = '/k'";
    let env_headers = "environment: OTEL_EXPORTER_OTLP_HEADERS";
    let env_certificate = "environment: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
    let endpoint_only = "[export]\nendpoint = 'https://file'";
    let by_file = "export.endpoint in kevmon.toml";
    for (variables, file, endpoint, warnings) in [
        (
            &by_variable[..],
            endpoint_only,
            None,
            vec![
                certificate(env_certificate, by_file),
                headers(env_headers, by_file),
            ],
        ),
        (
            &by_variable[..],
            "",
            Some("https://flag"),
            vec![
                certificate(env_certificate, "--endpoint"),
                headers(env_headers, "--endpoint"),
            ],
        ),
        (
            &[],
            in_file,
            Some("https://flag"),
            vec![
                certificate("kevmon.toml:5: export.certificate_file", "--endpoint"),
                headers("kevmon.toml:4: export.headers", "--endpoint"),
            ],
        ),
    ] {
        let case = Case {
            variables,
            file,
            overrides: flags(endpoint, &[]),
            ..Case::default()
        };
        let settings = case.valid();
        for connection in [
            &settings.receivers[0].metrics,
            &settings.receivers[0].logs,
            &settings.receivers[0].traces,
        ] {
            assert!(connection.headers.is_empty(), "{variables:?}");
            let tls = connection.tls.as_ref().expect("https");
            assert_eq!((&tls.certificate, &tls.key), (&None, &None), "{variables:?}");
        }
        assert_eq!(lines(&settings.warnings), warnings);
    }
    // A host alone is TLS where something asks for it, without what is not its own.
    let host = Case {
        variables: &by_variable,
        overrides: Overrides {
            agent_host: Some("flag".to_owned()),
            ..Overrides::default()
        },
        ..Case::default()
    };
    let metrics = host.metrics();
    assert_eq!(metrics.url, "https://flag:4317");
    assert_eq!(
        (metrics.headers.len(), metrics.tls),
        (0, Some(Default::default()))
    );
    // The framework's certificate was set for the framework's agent, where there is one.
    let framework = [
        ENDPOINT,
        ("CLIENT_CERT_PATH", "/c"),
        ("CLIENT_KEY_PATH", "/k"),
        ("INSTANA_AGENT_HOST", "agent"),
    ];
    let certificate_of = |variables: &[(&str, &str)]| {
        let tls = of_variables(variables).metrics().tls.expect("https");
        tls.certificate.is_some()
    };
    assert!(certificate_of(&framework[..3]) && certificate_of(&framework[1..]));
    assert!(!certificate_of(&framework));
    // What a higher source gives goes with the address of a lower one.
    let higher = Case {
        variables: &[ENDPOINT],
        overrides: flags(None, &["a=file:/s"]),
        file: "[export]\nheaders = { b = 'x' }",
        ..Case::default()
    };
    assert_eq!(shown(&higher.metrics()), pairs(&[("a", "file /s"), ("b", "x")]));
}

#[test]
fn credentials_given_for_no_address_go_where_a_higher_source_points() {
    let variables = [
        HEADERS,
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k"),
    ];
    let case = Case {
        variables: &variables,
        overrides: flags(Some("https://flag"), &[]),
        ..Case::default()
    };
    let metrics = case.metrics();
    assert_eq!(
        shown(&metrics),
        pairs(&[("authorization", "Bearer s3cret"), ("x-a", "1")])
    );
    assert!(metrics.tls.is_some_and(|tls| tls.certificate.is_some()));
    assert_eq!(lines(&case.valid().warnings), Vec::<String>::new());
    // A signal that nobody names an address for goes to this host, where anybody may listen.
    let case = of_variables(&[HEADERS, ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://vendor")]);
    let receiver = case.valid().receivers.swap_remove(0);
    assert_eq!(receiver.metrics.headers.len(), 2);
    assert!(receiver.traces.headers.is_empty() && receiver.logs.headers.is_empty());
    // In the file, too.
    let case = Case {
        file: "[export]\nheaders = { a = 'x' }\ncertificate_file = '/c'\nkey_file = '/k'",
        overrides: flags(Some("https://flag"), &[]),
        ..Case::default()
    };
    let metrics = case.metrics();
    assert_eq!(shown(&metrics), pairs(&[("a", "x")]));
    assert!(metrics.tls.is_some_and(|tls| tls.certificate.is_some()));
}

#[test]
fn receivers_of_plugins_and_names_have_their_own_credentials() {
    let case = Case {
        variables: &[
            ENDPOINT,
            HEADERS,
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k"),
        ],
        file: "[endpoints.named]\nendpoint = 'https://named'\nheaders = { api-key = 'own' }",
        plugins: &["https://plugin", "http://localhost:1"],
        overrides: flags(None, &["x=file:/x"]),
        ..Case::default()
    };
    let settings = case.valid();
    let [default, named, plugin, local] = settings.receivers.as_slice() else {
        panic!("{settings:?}");
    };
    assert_eq!(default.metrics.headers.len(), 3);
    for connection in [&named.metrics, &named.logs, &named.traces] {
        assert_eq!(shown(connection), pairs(&[("api-key", "own")]));
        assert_eq!(connection.tls, Some(Default::default()));
    }
    for connection in [&plugin.metrics, &plugin.logs, &plugin.traces] {
        assert!(connection.headers.is_empty());
        let tls = connection.tls.as_ref().expect("https");
        assert_eq!(
            (&tls.ca, &tls.certificate, &tls.key),
            (&Some("/ca".into()), &None, &None)
        );
    }
    assert!(local.metrics.headers.is_empty() && local.metrics.tls.is_none());
}

#[test]
fn secrets_are_shown_nowhere() {
    let missing = ["/b", "/run/c/c"];
    let case = Case {
        variables: &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://own"),
            HEADERS,
            ("TOKEN", "s3cret"),
            ("CREDENTIALS_DIRECTORY", "/run/c"),
        ],
        file: "[export.headers]\na = 's3cret'\nt = { env = 'TOKEN' }\n[endpoints.x]\nendpoint = 'https://x'\nheaders = { a = 's3cret' }",
        overrides: flags(None, &["x=env:TOKEN"]),
        ..Case::default()
    };
    let settings = case.valid();
    assert_eq!(settings.receivers[0].metrics.headers.len(), 5);
    assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    assert!(!format!("{:?}", case.overrides).contains("s3cret"));

    let faulty = Case {
        variables: &[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret%"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "s3cret"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://me:s3cret@x"),
            ("BAD", "s3cret\u{7f}"),
            ("CREDENTIALS_DIRECTORY", "/run/c"),
        ],
        file: "[export.headers]\nb = { file = '/b' }\nc = { credential = 'c' }\nd = { env = 'BAD' }\ne = { env = 'UNSET' }",
        overrides: flags(None, &["authorization=s3cret", "s3cret", "f=env:s3cret"]),
        missing: &missing,
        ..Case::default()
    };
    let remedy = "name a file that exists and that the user kevmon runs as can read";
    let faults = faulty.faults();
    for want in [
        "environment: OTEL_EXPORTER_OTLP_HEADERS: the value of authorization is empty, wrongly encoded or",
        "environment: OTEL_EXPORTER_OTLP_LOGS_HEADERS: entry 1 has no =",
        "environment: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: the URL holds user info",
        &format!("kevmon.toml:2: export.headers: b: /b: no such file or directory; {remedy}"),
        &format!("kevmon.toml:2: export.headers: c: /run/c/c: no such file or directory; {remedy}"),
        "kevmon.toml:2: export.headers: d: a header's value is empty or holds what no header may",
        "kevmon.toml:2: export.headers: e: the variable that its value is taken from is not set; set it",
        "command line: --header: the value of authorization is given as it is, or its place is unknown, and every user of the host sees flags",
        "command line: --header: there is no = in it",
        "command line: --header: f: the variable that its value is taken from is not set",
    ] {
        assert!(
            faults.iter().any(|fault| fault.starts_with(want)),
            "{want}\n{faults:#?}"
        );
    }
    assert_eq!(faults.len(), 10, "{faults:#?}");
    assert!(!faults.concat().contains("s3cret"), "{faults:#?}");

    for (endpoint, host) in [(Some("https://me:s3cret@x"), None), (None, Some("me:s3cret@x"))] {
        let case = Case {
            overrides: Overrides {
                endpoint: endpoint.map(withhold_user_info).map(str::to_owned),
                agent_host: host.map(withhold_user_info).map(str::to_owned),
                ..Overrides::default()
            },
            ..Case::default()
        };
        let faults = case.faults().concat();
        assert!(
            faults.contains("holds user info") && !faults.contains("s3cret"),
            "{faults}"
        );
    }
}
