//! Which source names the receiver, and which URLs come of it.

use super::*;

const METRICS: (&str, &str) = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:1");
const GENERAL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:2");
const HOST: (&str, &str) = ("INSTANA_AGENT_HOST", "agent");
const PORT: (&str, &str) = ("INSTANA_AGENT_PORT", "3");
const FILE: &str = "[export]\nendpoint = 'http://file:5'";

fn flags(endpoint: Option<&str>, host: Option<&str>, port: Option<u16>) -> Overrides {
    Overrides {
        endpoint: endpoint.map(str::to_owned),
        agent_host: host.map(str::to_owned),
        agent_port: port,
        ..Overrides::default()
    }
}

#[test]
fn precedence() {
    let in_file = "export.endpoint in kevmon.toml";
    let none = || flags(None, None, None);
    let all = &[HOST, PORT, GENERAL, METRICS][..];
    let insecure = &[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:5"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "True"),
    ][..];
    for (overrides, file, variables, legacy, url, asked_for, from) in [
        (
            none(),
            "",
            &[][..],
            false,
            "http://localhost:4317",
            false,
            "default",
        ),
        (none(), "", &[], true, "http://legacy:4", false, "plugin.toml"),
        (none(), "", &[PORT], true, "http://legacy:3", true, PORT.0),
        (none(), "", &[PORT], false, "http://localhost:3", true, PORT.0),
        // A host replaces the whole address of what is below it.
        (none(), "", &[HOST], true, "http://agent:4317", true, HOST.0),
        (none(), "", &[HOST, PORT], true, "http://agent:3", true, HOST.0),
        (none(), "", &all[..3], true, "http://general:2", true, GENERAL.0),
        (none(), "", all, true, "http://metrics:1", true, METRICS.0),
        (none(), FILE, all, true, "http://file:5", true, in_file),
        (
            flags(Some("http://flag"), None, None),
            FILE,
            all,
            true,
            "http://flag:4317",
            true,
            "--endpoint",
        ),
        (
            flags(None, Some("flag"), None),
            FILE,
            all,
            true,
            "http://flag:4317",
            true,
            "--agent-host",
        ),
        (
            flags(None, Some("flag"), Some(9)),
            FILE,
            all,
            true,
            "http://flag:9",
            true,
            "--agent-host",
        ),
        // A port alone goes to the host that is named below.
        (
            flags(None, None, Some(9)),
            FILE,
            all,
            true,
            "http://file:9",
            true,
            in_file,
        ),
        (
            flags(None, None, Some(9)),
            "",
            all,
            true,
            "http://metrics:9",
            true,
            METRICS.0,
        ),
        (
            flags(None, None, Some(9)),
            "",
            &[PORT],
            true,
            "http://legacy:9",
            true,
            "--agent-port",
        ),
        (
            flags(None, None, Some(9)),
            "",
            &[],
            false,
            "http://localhost:9",
            true,
            "--agent-port",
        ),
        (
            flags(None, Some("::1"), None),
            "",
            &[],
            false,
            "http://[::1]:4317",
            true,
            "--agent-host",
        ),
        (
            flags(None, Some("[::1]"), None),
            "",
            &[],
            false,
            "http://[::1]:4317",
            true,
            "--agent-host",
        ),
        (
            none(),
            "[export]\ntimeout = 1",
            &[HOST],
            true,
            "http://agent:4317",
            true,
            HOST.0,
        ),
        (none(), "", insecure, false, "http://c:5", true, GENERAL.0),
        (
            none(),
            "",
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("USE_TLS", "false")],
            false,
            "http://localhost:4317",
            false,
            "default",
        ),
    ] {
        let case = Case {
            variables,
            file,
            overrides,
            agent: legacy.then_some(("legacy", 4)),
            ..Case::default()
        };
        let receiver = case.valid().receivers.swap_remove(0);
        assert_eq!(
            (
                receiver.name.as_str(),
                receiver.metrics.url.as_str(),
                receiver.asked_for,
                receiver.from.as_str()
            ),
            ("default", url, asked_for, from),
            "{:?} {file:?} {variables:?} {legacy}",
            case.overrides
        );
    }
}

#[test]
fn each_signal_by_its_own_variable() {
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let grpc = of_variables(&[
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://127.0.0.1:1/x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:2"),
    ]);
    assert_eq!(
        grpc.urls(),
        ["http://127.0.0.1:2", "http://127.0.0.1:1", "http://127.0.0.1:2"]
    );
    assert_eq!(
        grpc.warnings(),
        [
            "environment: OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: the URL's path has no effect: gRPC has one of its own"
        ]
    );
    for (variables, urls) in [
        // The specification's own examples.
        (
            &[protocol, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")][..],
            [
                "http://collector:4318/v1/metrics",
                "http://collector:4318/v1/logs",
                "http://collector:4318/v1/traces",
            ],
        ),
        (
            &[
                protocol,
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318"),
                (
                    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                    "https://collector.example.com/v1/metrics",
                ),
            ],
            [
                "https://collector.example.com:443/v1/metrics",
                "http://localhost:4318/v1/logs",
                "http://collector:4318/",
            ],
        ),
        (
            &[
                protocol,
                (
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                    "http://collector:4318/mycollector/",
                ),
                (
                    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                    "https://collector.example.com/v1/metrics/",
                ),
            ],
            [
                "https://collector.example.com:443/v1/metrics/",
                "http://collector:4318/mycollector/v1/logs",
                "http://collector:4318/mycollector/v1/traces",
            ],
        ),
        (
            &[protocol, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector")],
            [
                "http://collector:80/v1/metrics",
                "http://collector:80/v1/logs",
                "http://collector:80/v1/traces",
            ],
        ),
        (
            &[("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"), HOST],
            [
                "http://agent:4317",
                "http://agent:4318/v1/logs",
                "http://agent:4317",
            ],
        ),
    ] {
        assert_eq!(of_variables(variables).urls(), urls, "{variables:?}");
    }
}

#[test]
fn http_by_file_and_flag() {
    for (file, endpoint, url) in [
        (
            "[export]\nprotocol = 'http/protobuf'",
            None,
            "http://localhost:4318/v1/metrics",
        ),
        (
            "[export]\nprotocol = 'http/protobuf'\nendpoint = 'https://c/otlp/'",
            None,
            "https://c:4318/otlp/v1/metrics",
        ),
        (
            "[export]\nprotocol = 'http/protobuf'",
            Some("http://localhost:1/a"),
            "http://localhost:1/a/v1/metrics",
        ),
        ("[export]\nendpoint = 'https://c:1/'", None, "https://c:1"),
    ] {
        let case = Case {
            file,
            overrides: flags(endpoint, None, None),
            ..Case::default()
        };
        assert_eq!(case.metrics().url, url, "{file}");
        assert!(case.warnings().is_empty());
    }
    // Legacy files know gRPC alone, and write its port out.
    for (port, url) in [
        (4317, "http://localhost:4318/v1/metrics"),
        (9, "http://localhost:9/v1/metrics"),
    ] {
        let case = Case {
            variables: &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
            agent: Some(("localhost", port)),
            ..Case::default()
        };
        assert_eq!(case.metrics().url, url);
    }
}

#[test]
fn further_receivers() {
    let case = Case {
        variables: &[METRICS, ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:1")],
        file: "[endpoints.b]\nendpoint = 'https://b:1/x'\nprotocol = 'http/protobuf'\n[endpoints.a]\nendpoint = 'https://a'",
        plugins: &["https://p", "http://q:2"],
        ..Case::default()
    };
    let receivers = case.valid().receivers;
    let shown: Vec<_> = receivers
        .iter()
        .map(|receiver| {
            (
                receiver.name.as_str(),
                receiver.logs.url.as_str(),
                receiver.asked_for,
                receiver.from.as_str(),
            )
        })
        .collect();
    let plugin = "export.endpoints in b/plugin.toml";
    assert_eq!(
        shown,
        [
            ("default", "http://logs:1", true, METRICS.0),
            ("a", "https://a:4317", true, "endpoints.a.endpoint in kevmon.toml"),
            (
                "b",
                "https://b:1/x/v1/logs",
                true,
                "endpoints.b.endpoint in kevmon.toml"
            ),
            ("https://p", "https://p:4317", true, plugin),
            ("http://q:2", "http://q:2", true, plugin),
        ]
    );
}

#[test]
fn cleartext_to_another_host_is_named() {
    let cleartext = "is cleartext: who is on the way can read and change it";
    let url = "write https:// for a receiver that has TLS";
    let host = "set USE_TLS=true, or name the receiver by an https:// URL";
    for (variables, agent, warnings) in [
        (&[][..], None, &[][..]),
        (&[("INSTANA_AGENT_HOST", "127.0.0.2")], None, &[]),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]:1")], None, &[]),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://far")], None, &[]),
        (
            &[HOST],
            None,
            &[format!(
                "environment: INSTANA_AGENT_HOST: what is sent to agent {cleartext}; {host}"
            )],
        ),
        (
            &[GENERAL, METRICS],
            None,
            &[
                format!(
                    "environment: {}: what is sent to metrics {cleartext}; {url}",
                    METRICS.0
                ),
                format!(
                    "environment: {}: what is sent to general {cleartext}; {url}",
                    GENERAL.0
                ),
            ],
        ),
        (
            &[],
            Some(("far", 1)),
            &[format!(
                "a/plugin.toml: otel_config.default_agent_host: what is sent to far {cleartext}; {host}"
            )],
        ),
    ] {
        let case = Case {
            variables,
            agent,
            ..Case::default()
        };
        assert_eq!(case.warnings(), warnings, "{variables:?}");
    }
    let case = Case {
        file: "[endpoints.x]\nendpoint = 'http://far'",
        plugins: &["http://farther"],
        overrides: flags(Some("http://farthest"), None, None),
        ..Case::default()
    };
    assert_eq!(
        case.warnings(),
        [
            format!("command line: --endpoint: what is sent to farthest {cleartext}; {url}"),
            format!("kevmon.toml:3: endpoints.x.endpoint: what is sent to far {cleartext}; {url}"),
            format!("b/plugin.toml:4: export.endpoints: what is sent to farther {cleartext}; {url}"),
        ]
    );
}

#[test]
fn proxies_by_scheme_and_never_for_this_host() {
    let variables = [
        ("HTTPS_PROXY", "http://me:secret@tls-proxy:3128"),
        ("http_proxy", "proxy"),
        ("NO_PROXY", "near.example,10.0.0.0/8"),
    ];
    for (url, expected) in [
        ("https://far.example", Some(("tls-proxy", 3128))),
        ("http://far.example", Some(("proxy", 80))),
        ("http://near.example", None),
        ("https://a.near.example", None),
        ("https://10.1.2.3", None),
        ("http://localhost:4317", None),
        ("https://[::1]:4317", None),
        ("unix:///run/otel.sock", None),
    ] {
        let case = Case {
            variables: &variables,
            plugins: &[url],
            ..Case::default()
        };
        let settings = case.settle().expect("no faults");
        let metrics = &settings.receivers.last().expect("the plugin's").metrics;
        let proxy = metrics
            .proxy
            .as_ref()
            .map(|proxy| (proxy.host.as_str(), proxy.port));
        assert_eq!(proxy, expected, "{url}");
        assert!(!format!("{settings:?}").contains("secret"), "{url}");
        if url.starts_with("unix") {
            assert_eq!(metrics.url, url);
        }
    }
    let case = Case {
        variables: &[("HTTP_PROXY", "socks5://secret@proxy")],
        plugins: &["http://far.example"],
        ..Case::default()
    };
    let faults = case.settle().expect_err("no such proxies");
    let said = faults[0].to_string();
    assert!(
        said.starts_with("environment: HTTP_PROXY: the proxy's scheme is not http")
            && !said.contains("secret"),
        "{said}"
    );
}
