//! When a connection has TLS, and with which files.

use super::*;

/// CA, certificate and key of the default receiver's metrics, in one text; "cleartext" without TLS.
fn shown(connection: &Connection) -> String {
    let Some(tls) = &connection.tls else {
        assert!(connection.url.starts_with("http://"), "{}", connection.url);
        return "cleartext".to_owned();
    };
    assert!(connection.url.starts_with("https://"), "{}", connection.url);
    let file = |file: &Option<PathBuf>| {
        file.as_ref()
            .map_or("-".to_owned(), |path| path.display().to_string())
    };
    [&tls.ca, &tls.certificate, &tls.key].map(file).join(" ")
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const SECURE: (&str, &str) = (ENDPOINT, "https://x");
const CA: (&str, &str) = ("CA_CERT_PATH", "/ca");
const CERT: (&str, &str) = ("CLIENT_CERT_PATH", "/cert");
const KEY: (&str, &str) = ("CLIENT_KEY_PATH", "/key");
const OTEL_CA: (&str, &str) = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/oca");
const OTEL_CERT: (&str, &str) = ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/ocert");
const OTEL_KEY: (&str, &str) = ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/okey");

#[test]
fn by_variables() {
    let host = ("INSTANA_AGENT_HOST", "x");
    for (variables, tls) in [
        (&[][..], "cleartext"),
        (&[("USE_TLS", "false")], "cleartext"),
        (&[("USE_TLS", "true")], "- - -"),
        (&[host, ("USE_TLS", "on")], "- - -"),
        (&[host, CA], "/ca - -"),
        (&[host, CERT, KEY], "- /cert /key"),
        (&[host, CA, CERT, KEY], "/ca /cert /key"),
        (
            &[host, CA, CERT, KEY, OTEL_CA, OTEL_CERT, OTEL_KEY],
            "/oca /ocert /okey",
        ),
        (&[host, OTEL_CA], "/oca - -"),
        (&[SECURE], "- - -"),
        (&[SECURE, ("USE_TLS", "false")], "- - -"),
        (&[SECURE, CA, CERT, KEY], "/ca /cert /key"),
        (&[SECURE, ("OTEL_EXPORTER_OTLP_INSECURE", "true")], "- - -"),
        (
            &[
                SECURE,
                OTEL_CA,
                ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/mca"),
            ],
            "/mca - -",
        ),
        (
            &[
                SECURE,
                OTEL_CERT,
                OTEL_KEY,
                ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "/mkey"),
            ],
            "- /ocert /mkey",
        ),
        // Another signal's is its own.
        (
            &[SECURE, ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "/lca")],
            "- - -",
        ),
        // Without a scheme.
        (
            &[(ENDPOINT, "127.0.0.1:1"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")],
            "cleartext",
        ),
        (
            &[(ENDPOINT, "x:1"), ("OTEL_EXPORTER_OTLP_INSECURE", "false")],
            "- - -",
        ),
        (&[(ENDPOINT, "x:1"), ("USE_TLS", "true")], "- - -"),
        (&[(ENDPOINT, "x:1"), OTEL_CA], "/oca - -"),
    ] {
        let settings = of_variables(variables).valid();
        assert_eq!(shown(&settings.receivers[0].metrics), tls, "{variables:?}");
        assert_eq!(settings.warnings, [], "{variables:?}");
    }
}

#[test]
fn by_flags_and_file() {
    let file = "[export]\nca_file = '/fca'\ncertificate_file = '/fcert'\nkey_file = '/fkey'";
    let flags = Overrides {
        ca: Some("/gca".into()),
        client_certificate: Some("/gcert".into()),
        client_key: Some("/gkey".into()),
        ..Overrides::default()
    };
    let environment = [SECURE, OTEL_CA, OTEL_CERT, OTEL_KEY];
    for (overrides, file, variables, tls) in [
        (Overrides::default(), file, &environment[..], "/fca /fcert /fkey"),
        (flags.clone(), file, &environment[..], "/gca /gcert /gkey"),
        (flags.clone(), "", &environment[1..], "/gca /gcert /gkey"),
        (Overrides::default(), file, &[], "/fca /fcert /fkey"),
        (
            Overrides {
                ca: Some("/gca".into()),
                ..Overrides::default()
            },
            file,
            &[],
            "/gca /fcert /fkey",
        ),
    ] {
        let case = Case {
            variables,
            file,
            overrides,
            ..Case::default()
        };
        let settings = case.valid();
        assert_eq!(shown(&settings.receivers[0].metrics), tls, "{file} {variables:?}");
        assert_eq!(settings.warnings, []);
    }
    let credentials = Case {
        variables: &[("CREDENTIALS_DIRECTORY", "/run/credentials/kevmon")],
        file: "[endpoints.x]\nendpoint = 'https://x'\nca_file = { credential = 'ca' }\ncertificate_file = '/c'\nkey_file = { credential = 'key' }",
        ..Case::default()
    };
    assert_eq!(
        shown(&credentials.valid().receivers[1].metrics),
        "/run/credentials/kevmon/ca /c /run/credentials/kevmon/key"
    );
}

#[test]
fn tls_never_becomes_cleartext() {
    const CLEARTEXT: (&str, &str) = (ENDPOINT, "http://127.0.0.1:1");
    let flag = |url: &str| Overrides {
        endpoint: Some(url.to_owned()),
        ..Overrides::default()
    };
    let fault = |place: &str, because: &str| {
        format!(
            "{place}: asks for TLS, and {because} would make it cleartext; write https:// for the receiver, or take \
             back what asks for TLS"
        )
    };
    let none = Overrides::default;
    for (overrides, file, variables, want) in [
        (
            none(),
            "",
            &[CLEARTEXT, CA][..],
            fault("environment: CA_CERT_PATH", ENDPOINT),
        ),
        (
            none(),
            "",
            &[CLEARTEXT, OTEL_CA],
            fault("environment: OTEL_EXPORTER_OTLP_CERTIFICATE", ENDPOINT),
        ),
        (
            none(),
            "",
            &[CLEARTEXT, CERT, KEY],
            fault("environment: CLIENT_CERT_PATH", ENDPOINT),
        ),
        (
            none(),
            "",
            &[CLEARTEXT, ("USE_TLS", "true")],
            fault("environment: USE_TLS", ENDPOINT),
        ),
        (
            none(),
            "",
            &[("USE_TLS", "false"), CA],
            fault("environment: CA_CERT_PATH", "USE_TLS"),
        ),
        (
            none(),
            "",
            &[
                (ENDPOINT, "x:1"),
                ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
                OTEL_CA,
            ],
            fault(
                "environment: OTEL_EXPORTER_OTLP_CERTIFICATE",
                "OTEL_EXPORTER_OTLP_INSECURE",
            ),
        ),
        (
            none(),
            "[export]\nendpoint = 'http://localhost'\nca_file = '/ca'",
            &[],
            fault("kevmon.toml:4: export.ca_file", "export.endpoint in kevmon.toml"),
        ),
        (
            none(),
            "[endpoints.x]\nendpoint = 'http://localhost'\ncertificate_file = '/c'\nkey_file = '/k'",
            &[],
            fault(
                "kevmon.toml:4: endpoints.x.certificate_file",
                "endpoints.x.endpoint in kevmon.toml",
            ),
        ),
        (
            Overrides {
                ca: Some("/ca".into()),
                ..none()
            },
            "",
            &[CLEARTEXT],
            fault("command line: --ca-cert", ENDPOINT),
        ),
        // From below, too, where it would leave the host.
        (
            flag("http://far"),
            "",
            &[("USE_TLS", "true")],
            fault("environment: USE_TLS", "--endpoint"),
        ),
        (
            flag("http://far"),
            "[export]\nca_file = '/ca'",
            &[],
            fault("kevmon.toml:3: export.ca_file", "--endpoint"),
        ),
    ] {
        let case = Case {
            variables,
            file,
            overrides,
            ..Case::default()
        };
        assert_eq!(case.faults(), [want]);
    }
    // On this host, an http:// from above is a decision.
    let case = Case {
        variables: &[CA, ("USE_TLS", "true")],
        file: "[export]\nca_file = '/ca'",
        overrides: flag("http://localhost:1"),
        ..Case::default()
    };
    assert_eq!(shown(&case.metrics()), "cleartext");
    // What HTTP needs is the scheme, whatever else is said.
    let http = of_variables(&[
        (ENDPOINT, "x:1"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ]);
    assert!(http.faults()[0].contains("the URL has no scheme"));
}

#[test]
fn a_certificate_and_its_key_come_together() {
    let both = "give a client's certificate and its key, or neither";
    for (overrides, file, variables, want) in [
        (
            Overrides::default(),
            "",
            &[CERT][..],
            "environment: CLIENT_CERT_PATH: is given without CLIENT_KEY_PATH",
        ),
        (
            Overrides::default(),
            "",
            &[KEY],
            "environment: CLIENT_KEY_PATH: is given without CLIENT_CERT_PATH",
        ),
        (
            Overrides::default(),
            "",
            &[SECURE, OTEL_CERT],
            "environment: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: is given without OTEL_EXPORTER_OTLP_CLIENT_KEY",
        ),
        (
            Overrides::default(),
            "",
            &[SECURE, ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "/k")],
            "environment: OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY: is given without OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ),
        (
            Overrides::default(),
            "[export]\nkey_file = '/k'",
            &[SECURE, OTEL_CERT, OTEL_KEY],
            "kevmon.toml:3: export.key_file: is given without export.certificate_file",
        ),
        (
            Overrides::default(),
            "[endpoints.x]\nendpoint = 'https://x'\ncertificate_file = '/c'",
            &[],
            "kevmon.toml:4: endpoints.x.certificate_file: is given without endpoints.x.key_file",
        ),
        (
            Overrides {
                client_certificate: Some("/c".into()),
                ..Overrides::default()
            },
            "",
            &[SECURE],
            "command line: --client-cert: is given without --client-key",
        ),
    ] {
        let case = Case {
            variables,
            file,
            overrides,
            ..Case::default()
        };
        assert_eq!(case.faults()[0], format!("{want}; {both}"), "{variables:?}");
        assert_eq!(case.faults().len(), 1, "{:?}", case.faults());
    }
}

#[test]
fn missing_files_are_named() {
    let remedy = "name a file that exists and that the user kevmon runs as can read";
    let case = Case {
        variables: &[SECURE, CERT, KEY],
        file: "[export]\nca_file = '/ca'\n[endpoints.x]\nendpoint = 'https://x'\nca_file = { credential = 'ca' }",
        missing: &["/ca", "/key"],
        ..Case::default()
    };
    assert_eq!(
        case.faults(),
        [
            format!("kevmon.toml:3: export.ca_file: /ca: no such file or directory; {remedy}"),
            format!("environment: CLIENT_KEY_PATH: /key: no such file or directory; {remedy}"),
            "kevmon.toml:6: endpoints.x.ca_file: the credential ca is asked for, and CREDENTIALS_DIRECTORY is not set; \
             start kevmon from a systemd unit with LoadCredential=ca:/path"
                .to_owned(),
        ]
    );
    // What is not used is not looked for.
    let unused = Case {
        variables: &[OTEL_CA],
        missing: &["/oca"],
        overrides: Overrides {
            endpoint: Some("http://localhost".to_owned()),
            ..Overrides::default()
        },
        ..Case::default()
    };
    unused.valid();
}
