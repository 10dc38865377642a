//! Settings, source by source.

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    Environment::from_pairs(pairs.iter().copied())
}

#[test]
fn precedence_of_the_receiver() {
    const METRICS: (&str, &str) = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:1");
    const GENERAL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:2");
    const HOST: (&str, &str) = ("INSTANA_AGENT_HOST", "agent");
    const PORT: (&str, &str) = ("INSTANA_AGENT_PORT", "3");
    let legacy = ("file".to_owned(), 4);
    for (host, port, variables, file, url, asked_for, from) in [
        (
            None,
            None,
            &[][..],
            false,
            "http://localhost:4317",
            false,
            "default",
        ),
        (None, None, &[], true, "http://file:4", false, "plugin.toml"),
        (
            None,
            None,
            &[PORT],
            true,
            "http://file:3",
            true,
            "INSTANA_AGENT_PORT",
        ),
        (
            None,
            None,
            &[HOST],
            false,
            "http://agent:4317",
            true,
            "INSTANA_AGENT_HOST",
        ),
        (
            None,
            None,
            &[HOST, PORT],
            true,
            "http://agent:3",
            true,
            "INSTANA_AGENT_HOST",
        ),
        (
            None,
            None,
            &[HOST, PORT, GENERAL],
            true,
            "http://general:2",
            true,
            GENERAL.0,
        ),
        (
            None,
            None,
            &[HOST, PORT, GENERAL, METRICS],
            true,
            "http://metrics:1",
            true,
            METRICS.0,
        ),
        (
            None,
            Some(9),
            &[METRICS],
            true,
            "http://metrics:9",
            true,
            METRICS.0,
        ),
        (
            None,
            Some(9),
            &[],
            false,
            "http://localhost:9",
            true,
            "--agent-port",
        ),
        (
            Some("flag"),
            None,
            &[METRICS],
            false,
            "http://flag:4317",
            true,
            "--agent-host",
        ),
        (
            Some("flag"),
            None,
            &[METRICS, HOST, PORT],
            true,
            "http://flag:3",
            true,
            "--agent-host",
        ),
        (
            Some("flag"),
            Some(9),
            &[METRICS, PORT],
            true,
            "http://flag:9",
            true,
            "--agent-host",
        ),
        (
            Some("::1"),
            None,
            &[],
            false,
            "http://[::1]:4317",
            true,
            "--agent-host",
        ),
        (
            Some("[::1]"),
            None,
            &[],
            false,
            "http://[::1]:4317",
            true,
            "--agent-host",
        ),
        // Overridden, and so not looked at.
        (
            Some("flag"),
            Some(9),
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x"),
                ("INSTANA_AGENT_PORT", "x"),
            ],
            false,
            "http://flag:9",
            true,
            "--agent-host",
        ),
        (
            None,
            None,
            &[METRICS, ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x")],
            false,
            "http://metrics:1",
            true,
            METRICS.0,
        ),
        (
            None,
            None,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
                ("USE_TLS", "false"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ],
            false,
            "http://localhost:4317",
            false,
            "default",
        ),
        (
            None,
            None,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:5"),
                ("OTEL_EXPORTER_OTLP_INSECURE", "True"),
            ],
            false,
            "http://c:5",
            true,
            GENERAL.0,
        ),
    ] {
        let overrides = Overrides {
            agent_host: host.map(str::to_owned),
            agent_port: port,
            ..Overrides::default()
        };
        let settings = settle(&environment(variables), &overrides, file.then_some(&legacy));
        let settings = settings.unwrap_or_else(|faults| panic!("{variables:?}: {faults:?}"));
        let want = Endpoint {
            url: url.to_owned(),
            asked_for,
            from,
        };
        assert_eq!(settings.endpoint, want, "{host:?} {port:?} {variables:?} {file}");
        assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    }
}

#[test]
fn what_ends_kevmon() {
    let trusted = "to a receiver on a trusted network, such as a local agent";
    for (name, value, message) in [
        ("USE_TLS", "true", format!("TLS is not supported in this version; unset it to send cleartext {trusted}")),
        ("USE_TLS", "maybe", "\"maybe\" is neither true nor false; unset it or write false".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4317", format!("TLS (https://) is not supported in this version; write http:// {trusted}")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317", "the URL has no scheme; write http://host:port".to_owned()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "the protocol \"http/protobuf\" is not supported in this version; unset it or write grpc".to_owned()),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "no", "\"no\" is not a temporality preference; write cumulative, delta or lowmemory".to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "\"10s\" is not a timeout; write milliseconds, 1 to 3600000".to_owned()),
        ("INSTANA_AGENT_HOST", "http://a", "\"http://a\" is a URL; write the host alone, and the port apart from it".to_owned()),
        ("INSTANA_AGENT_PORT", "0", "\"0\" is not a port; write 1 to 65535".to_owned()),
        ("LOG_LEVEL", "loud", "\"loud\" is not a log level; write off, error, warn, info, debug or trace (or CRITICAL, WARNING)".to_owned()),
    ] {
        let faults = settle(&environment(&[(name, value)]), &Overrides::default(), None).expect_err(value);
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(lines, [format!("environment: {name}: {message}")]);
        assert!(faults[0].is_usage());
    }
    let overrides = Overrides {
        agent_host: Some("a:1".to_owned()),
        ..Overrides::default()
    };
    let several = environment(&[("USE_TLS", "1"), ("LOG_LEVEL", "loud")]);
    let faults = settle(&several, &overrides, None).expect_err("three faults");
    assert_eq!(faults.len(), 3, "all at once: {faults:?}");
    assert_eq!(faults[1].key.as_deref(), Some("--agent-host"));
}

#[test]
fn what_is_only_warned_of() {
    for (name, value, message) in [
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "Delta",
            "delta has no effect: kevmon sends cumulative in this version",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "lowmemory",
            "lowmemory has no effect: kevmon sends cumulative in this version",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://c/v1/metrics",
            "the URL's path has no effect: gRPC has one of its own",
        ),
        (
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "gzip",
            "has no effect: kevmon sends uncompressed in this version",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "key=secret",
            "has no effect: kevmon sends no headers of its own in this version",
        ),
        (
            "CA_CERT_PATH",
            "/ca.pem",
            "has no effect: there is no TLS in this version",
        ),
    ] {
        let settings = settle(&environment(&[(name, value)]), &Overrides::default(), None).expect(name);
        let lines: Vec<String> = settings.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(lines, [format!("environment: {name}: {message}")]);
    }
    let cumulative = [("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "CUMULATIVE")];
    assert_eq!(
        settle(&environment(&cumulative), &Overrides::default(), None)
            .expect("valid")
            .warnings,
        []
    );
}

#[test]
fn level_and_timeout() {
    let variables = environment(&[("LOG_LEVEL", "WARNING"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500")]);
    let settings = settle(&variables, &Overrides::default(), None).expect("valid");
    assert_eq!(
        (settings.log_level, settings.timeout),
        (LogLevel::Warn, Duration::from_millis(2500))
    );
    let overrides = Overrides {
        log_level: Some(LogLevel::Trace),
        ..Overrides::default()
    };
    assert_eq!(
        settle(&variables, &overrides, None).expect("valid").log_level,
        LogLevel::Trace
    );
    let settings = settle(&Environment::default(), &Overrides::default(), None).expect("valid");
    assert_eq!(
        (settings.log_level, settings.timeout),
        (LogLevel::Info, DEFAULT_TIMEOUT)
    );
}
