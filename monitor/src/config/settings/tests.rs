//! Settings, source by source.

use std::{path::PathBuf, time::Duration};

use super::*;
use crate::config::LogLevel;
use crate::config::{
    Agent, PluginReceiver,
    endpoint::{Url, withhold_user_info},
    given::{Given, Origin},
    receiver::{Compression, Connection, JsonTarget, Protocol},
    settings_file,
};

mod addresses;
mod resource;
mod secrets;
mod tls;

/// Everything that one settling is given.
#[derive(Default)]
struct Case<'a> {
    variables: &'a [(&'a str, &'a str)],
    /// Text of `kevmon.toml` after `schema = 1`, which stands in line 1.
    file: &'a str,
    overrides: Overrides,
    agent: Option<(&'a str, u16)>,
    plugins: &'a [&'a str],
    missing: &'a [&'a str],
}

impl Case<'_> {
    fn settle(&self) -> Result<Settings, Vec<Fault>> {
        let environment = Environment::from_pairs(self.variables.iter().copied());
        let text = format!("schema = 1\n{}", self.file);
        let file = settings_file::parse(Path::new("kevmon.toml"), &text, false);
        let names: Vec<&str> = file.variables().chain(self.overrides.variables()).collect();
        let environment = environment.with_secrets(names, |name| {
            let found = self.variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        });
        let agreed = self.agent.map(|(host, port)| Agent {
            host: host.to_owned(),
            port,
            path: PathBuf::from("a/plugin.toml"),
        });
        let own = self.plugins.iter().map(|text| {
            let origin = Origin::File {
                path: PathBuf::from("b/plugin.toml"),
                line: 4,
                key: "export.endpoints".to_owned(),
            };
            let url = Given::new(Url::parse_whole(text).expect("a URL"), origin);
            ((*text).to_owned(), PluginReceiver::Url(url))
        });
        settle(&SettingSources {
            environment: &environment,
            overrides: &self.overrides,
            file: (!self.file.is_empty()).then_some(&file),
            plugins: &PluginReceivers {
                agreed,
                own: own.collect(),
            },
            check: &|path| {
                if self.missing.iter().any(|missing| path == Path::new(missing)) {
                    Err("no such file or directory".to_owned())
                } else {
                    Ok(())
                }
            },
        })
    }

    fn valid(&self) -> Settings {
        self.settle().unwrap_or_else(|faults| {
            panic!("{:?} {:?}: {:?}", self.variables, self.file, lines(&faults));
        })
    }

    /// The faults, one line each.
    fn faults(&self) -> Vec<String> {
        let faults = self.settle().map(|settings| settings.receivers);
        lines(&faults.expect_err("a fault"))
    }

    fn warnings(&self) -> Vec<String> {
        lines(&self.valid().warnings)
    }

    /// URLs of the default receiver's metrics, logs and traces.
    fn urls(&self) -> [String; 3] {
        let receiver = self.valid().receivers.swap_remove(0);
        [receiver.metrics.url, receiver.logs.url, receiver.traces.url]
    }

    fn metrics(&self) -> Connection {
        self.valid().receivers.swap_remove(0).metrics
    }
}

fn of_variables<'a>(variables: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case {
        variables,
        ..Case::default()
    }
}

fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn wrong_variables_all_at_once() {
    for (name, value, message) in [
        (
            "USE_TLS",
            "maybe",
            "\"maybe\" is neither true nor false; write true or false, or unset it",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "c:4317",
            "the URL has no scheme; write https://host:port, or http://host:port for cleartext",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "ftp://c",
            "the scheme \"ftp\" is not supported; write http://host:port or https://host:port",
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/json",
            "\"http/json\" is not a protocol that kevmon speaks; write grpc or http/protobuf",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "zstd",
            "\"zstd\" is not a compression that kevmon knows; write none or gzip",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "no",
            "\"no\" is not a temporality preference; write cumulative, delta or lowmemory",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "no",
            "\"no\" is no aggregation of histograms; write explicit_bucket_histogram or base2_exponential_bucket_histogram, or unset it",
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "10s",
            "\"10s\" is not a timeout; write milliseconds, 1 to 3600000",
        ),
        (
            "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
            "0",
            "\"0\" is not a timeout; write milliseconds, 1 to 3600000",
        ),
        (
            "INSTANA_AGENT_HOST",
            "http://a",
            "\"http://a\" is a URL; write the host alone, and the port apart from it",
        ),
        ("INSTANA_AGENT_PORT", "0", "\"0\" is not a port; write 1 to 65535"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a",
            "entry 1 has no =; write name=value, separated by commas, values percent-encoded",
        ),
        (
            "LOG_LEVEL",
            "loud",
            "\"loud\" is not a log level; write off, error, warn, info, debug or trace (or CRITICAL, WARNING), and TARGET=LEVEL for libraries, after commas",
        ),
    ] {
        let found = of_variables(&[(name, value)]).faults();
        assert_eq!(found, [format!("environment: {name}: {message}")]);
    }
    let several = Case {
        variables: &[
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "udp"),
            ("LOG_LEVEL", "loud"),
        ],
        file: "[spool]\nmax_age = 1",
        overrides: Overrides {
            agent_host: Some("a:1".to_owned()),
            ..Overrides::default()
        },
        ..Case::default()
    };
    // What the host is wrong for is settled no further.
    assert_eq!(several.faults().len(), 3, "{:?}", several.faults());
    let several = Case {
        overrides: Overrides::default(),
        ..several
    };
    assert_eq!(several.faults().len(), 4, "{:?}", several.faults());
}

#[test]
fn what_a_higher_source_overrides_is_not_looked_at() {
    let case = Case {
        variables: &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://x"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "udp"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("INSTANA_AGENT_HOST", "http://x"),
            ("INSTANA_AGENT_PORT", "x"),
            ("LOG_LEVEL", "loud"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "none"),
        ],
        file: "[export]\ntimeout = 3\ntemporality = 'delta'",
        overrides: Overrides {
            endpoint: Some("http://localhost:1".to_owned()),
            protocol: Some(Protocol::Grpc),
            compression: Some(Compression::Gzip),
            log_level: Some(LogLevel::Trace.into()),
            ..Overrides::default()
        },
        ..Case::default()
    };
    let settings = case.valid();
    assert_eq!(settings.warnings, []);
    let metrics = &settings.receivers[0].metrics;
    assert_eq!(metrics.compression, Compression::Gzip);
    assert_eq!(metrics.timeout, Duration::from_secs(3));
    assert_eq!(
        (settings.log_level, settings.temporality),
        (LogLevel::Trace.into(), Temporality::Delta)
    );
}

#[test]
fn what_holds_for_a_request() {
    let general = [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
    ];
    let receiver = of_variables(&general).valid().receivers.swap_remove(0);
    let shown = |connection: &Connection| {
        (
            connection.protocol,
            connection.compression,
            connection.timeout.as_millis(),
        )
    };
    assert_eq!(
        shown(&receiver.metrics),
        (Protocol::HttpProtobuf, Compression::Gzip, 2500)
    );
    assert_eq!(shown(&receiver.logs), (Protocol::Grpc, Compression::None, 2500));
    assert_eq!(shown(&receiver.traces), (Protocol::Grpc, Compression::Gzip, 1));
    let file = Case {
        variables: &general,
        file: "[export]\nprotocol = 'grpc'\ncompression = 'none'\ntimeout = '7s'\n[endpoints.x]\nendpoint = 'https://x'",
        plugins: &["https://p"],
        ..Case::default()
    };
    let [default, named, plugin] = file.valid().receivers.try_into().expect("three");
    for connection in [&default.metrics, &default.logs, &default.traces] {
        assert_eq!(shown(connection), (Protocol::Grpc, Compression::None, 7000));
    }
    // A further receiver is what the file says; one that a plugin names is what the environment says.
    assert_eq!(shown(&named.metrics), (Protocol::Grpc, Compression::None, 10_000));
    assert_eq!(
        shown(&plugin.metrics),
        (Protocol::HttpProtobuf, Compression::Gzip, 2500)
    );
    assert_eq!(shown(&plugin.traces), (Protocol::Grpc, Compression::Gzip, 1));
    let nothing = Case::default().metrics();
    assert_eq!(shown(&nothing), (Protocol::Grpc, Compression::None, 10_000));
    assert!(nothing.headers.is_empty() && nothing.tls.is_none());
}

#[test]
fn level_temporality_and_aggregation() {
    for (value, temporality) in [
        ("CUMULATIVE", Temporality::Cumulative),
        ("Delta", Temporality::Delta),
        ("lowmemory", Temporality::LowMemory),
    ] {
        let variables = [("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", value)];
        let settings = of_variables(&variables).valid();
        assert_eq!((settings.temporality, settings.warnings), (temporality, vec![]));
    }
    const AGGREGATION: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
    for (value, exponential) in [
        (None, true),
        (Some("explicit_bucket_histogram"), false),
        (Some("base2_exponential_bucket_histogram"), true),
    ] {
        let variables: Vec<_> = value.into_iter().map(|value| (AGGREGATION, value)).collect();
        let settings = of_variables(&variables).valid();
        assert_eq!(settings.exponential_histograms, exponential, "{value:?}");
        assert!(settings.warnings.is_empty(), "{value:?}");
    }
    let level = of_variables(&[("LOG_LEVEL", "WARNING")]).valid().log_level;
    assert_eq!(
        (level, Case::default().valid().log_level),
        (LogLevel::Warn.into(), LogLevel::Info.into())
    );
}

#[test]
fn outputs_spool_and_telemetry() {
    let file = "[otlp_json]\npath = '/x'\n[prometheus]\nenabled = true\nlisten = '[::1]:1'\ncreated = true\n[spool]\nmax_bytes = '2MiB'\n[telemetry]\nenabled = false";
    let settings = Case {
        file,
        ..Case::default()
    }
    .valid();
    assert_eq!(settings.outputs.otlp_json, Some(JsonTarget::File("/x".into())));
    let page = settings.outputs.prometheus.expect("a page");
    assert_eq!((page.address, page.created), ("[::1]:1".parse().unwrap(), true));
    assert_eq!(
        (settings.spool.bytes, settings.telemetry.enabled),
        (2 << 20, false)
    );
    assert_eq!(settings.warnings, []);
    let overridden = Case {
        file,
        overrides: Overrides {
            otlp_json: Some(JsonTarget::Stdout),
            prometheus: "0.0.0.0:9464".parse().ok(),
            ..Overrides::default()
        },
        ..Case::default()
    };
    let settings = overridden.valid();
    assert_eq!(settings.outputs.otlp_json, Some(JsonTarget::Stdout));
    let open = "is no loopback address: everybody who reaches it reads the metrics; write 127.0.0.1 or [::1] where \
                the scraper is on this host, or set bearer_token_file, or certificate_file, key_file and \
                client_ca_file, in [prometheus]";
    assert_eq!(
        lines(&settings.warnings),
        [format!("command line: --prometheus: 0.0.0.0:9464 {open}")]
    );
    let in_file = Case {
        file: "[prometheus]\nlisten = '10.0.0.1:1'\nenabled = true",
        ..Case::default()
    };
    assert_eq!(
        in_file.warnings(),
        [format!("kevmon.toml:3: prometheus.listen: 10.0.0.1:1 {open}")]
    );
    let nothing = Case::default().valid();
    assert_eq!(nothing.outputs, Outputs::default());
    assert_eq!(
        (nothing.spool, nothing.telemetry),
        (SpoolLimits::default(), Telemetry::default())
    );
}

#[test]
fn files_as_they_are() {
    let folder = crate::config::tests::Folder::new();
    folder.write("there", "x");
    assert_eq!(check_file(&folder.path().join("there")), Ok(()));
    assert_eq!(
        check_file(&folder.path().join("gone")),
        Err("no such file or directory".to_owned())
    );
    assert_eq!(
        check_file(folder.path()),
        Err("it is a folder; name a file in it".to_owned())
    );
}

#[test]
fn an_address_of_victoriametrics_is_sent_metrics_alone() {
    for (endpoint, protocol, more, expected) in [
        (
            "http://h:8428/opentelemetry",
            "http/protobuf",
            "",
            [true, false, false],
        ),
        (
            "https://h/opentelemetry/",
            "http/protobuf",
            "",
            [true, false, false],
        ),
        ("http://h:4318", "http/protobuf", "", [true; 3]),
        ("http://h:4318/x/opentelemetry", "http/protobuf", "", [true; 3]),
        ("http://opentelemetry:4318", "http/protobuf", "", [true; 3]),
        ("http://h:4317", "grpc", "", [true; 3]),
        (
            "http://h:8428/opentelemetry",
            "http/protobuf",
            "signals = ['metrics', 'logs']",
            [true, true, false],
        ),
    ] {
        let file = format!("[export]\nendpoint = '{endpoint}'\nprotocol = '{protocol}'\n{more}");
        let settings = Case {
            file: &file,
            ..Case::default()
        }
        .valid();
        let signals = settings.receivers[0].signals;
        assert_eq!(
            [signals.metrics, signals.logs, signals.traces],
            expected,
            "{endpoint} {more}"
        );
    }
    let elsewhere = Case {
        file: "[export]\nendpoint = 'http://h/opentelemetry'\nprotocol = 'http/protobuf'",
        variables: &[(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://traces:4318/v1/traces",
        )],
        ..Case::default()
    };
    let signals = elsewhere.valid().receivers[0].signals;
    assert!(!signals.logs, "{signals:?}");
}

#[test]
fn who_may_read_the_page() {
    let page = |keys: &str| format!("[prometheus]\nenabled = true\n{keys}");
    let of = |keys: &str| {
        let file = page(keys);
        Case {
            file: &file,
            ..Case::default()
        }
        .valid()
    };
    let settings = of(
        "listen = '0.0.0.0:1'\nbearer_token_file = '/t'\ncertificate_file = '/c'\nkey_file = '/k'\nclient_ca_file = '/a'\nhosts = ['Mon.example', '[fe80::1]']",
    );
    let page_of = settings.outputs.prometheus.expect("a page");
    assert_eq!(page_of.token, Some("/t".into()));
    assert_eq!(page_of.hosts, ["mon.example", "fe80::1"]);
    let tls = page_of.tls.expect("TLS");
    assert_eq!(
        (tls.certificate, tls.key, tls.client_ca),
        ("/c".into(), "/k".into(), Some("/a".into()))
    );
    assert_eq!(settings.warnings, []);
    let open = "is no loopback address";
    for (keys, warned) in [
        ("", None),
        ("listen = '[::1]:1'\nbearer_token_file = '/t'", None),
        (
            "listen = '0.0.0.0:1'",
            Some("everybody who reaches it reads the metrics"),
        ),
        (
            "listen = '[::]:1'\ncertificate_file = '/c'\nkey_file = '/k'",
            Some("everybody who reaches it reads the metrics"),
        ),
        (
            "listen = '0.0.0.0:1'\nbearer_token_file = '/t'",
            Some("the token is sent in clear text"),
        ),
        (
            "listen = '0.0.0.0:1'\nbearer_token_file = '/t'\ncertificate_file = '/c'\nkey_file = '/k'",
            None,
        ),
        (
            "listen = '0.0.0.0:1'\nclient_ca_file = '/a'\ncertificate_file = '/c'\nkey_file = '/k'",
            None,
        ),
    ] {
        let warnings = lines(&of(keys).warnings);
        assert_eq!(
            warnings.len(),
            usize::from(warned.is_some()),
            "{keys}: {warnings:?}"
        );
        if let Some(warned) = warned {
            assert!(
                warnings[0].contains(open) && warnings[0].contains(warned),
                "{keys}: {warnings:?}"
            );
        }
    }
    for (keys, fault) in [
        (
            "key_file = '/k'",
            "kevmon.toml:4: prometheus.key_file: needs certificate_file of the same table; set certificate_file",
        ),
        (
            "certificate_file = '/c'",
            "kevmon.toml:4: prometheus.certificate_file: needs key_file of the same table; set key_file",
        ),
        (
            "client_ca_file = '/a'",
            "kevmon.toml:4: prometheus.client_ca_file: needs certificate_file of the same table; set certificate_file",
        ),
        (
            "hosts = ['a:1']",
            "kevmon.toml:4: prometheus.hosts: \"a:1\" is not a host; write a host name or an address, and the port apart from it",
        ),
    ] {
        let file = page(keys);
        let faults = Case {
            file: &file,
            ..Case::default()
        }
        .faults();
        assert_eq!(faults, [fault], "{keys}");
    }
}
