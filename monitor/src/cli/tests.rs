//! Lines of arguments: what they set, and what is refused.

use std::path::Path;

use clap::{ColorChoice, CommandFactory, error::ErrorKind};

use super::*;

fn parse_all(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("kevmon").chain(line.split_whitespace()))
}

/// A line without a subcommand.
fn parse(line: &str) -> Result<Args, clap::Error> {
    let cli = parse_all(line)?;
    assert_eq!(cli.command, None, "{line}");
    Ok(cli.args)
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn subcommands() {
    let events = |names: &[&str], json| {
        Some(Command::Events(EventsArgs {
            process_name: names.iter().map(|&name| name.to_owned()).collect(),
            json,
            ..EventsArgs::default()
        }))
    };
    let history = |plugin: Option<&str>, json, path: Option<&str>| {
        Some(Command::History(HistoryArgs {
            plugin: plugin.map(str::to_owned),
            since: None,
            json,
            metadata_db_path: path.map(PathBuf::from),
            paint: Paint {
                color: ColorChoice::Auto,
            },
        }))
    };
    for (line, expected) in [
        ("events", events(&[], false)),
        (
            "events --json --process-name ^a$ --process-name -b",
            events(&["^a$", "-b"], true),
        ),
        ("history", history(None, false, None)),
        (
            "history --plugin web --metadata-db-path /x/y.db --json",
            history(Some("web"), true, Some("/x/y.db")),
        ),
    ] {
        assert_eq!(parse_all(line).expect(line).command, expected, "{line}");
    }
}

#[test]
fn which_events_are_shown() {
    let line = "events --pid 7 --pid 8 --user root --unit -x --event exec,oom --event exit --failed --tree --argument --port \
                --argument=-p --color never";
    let Some(Command::Events(args)) = parse_all(line).expect("valid").command else {
        panic!("{line}");
    };
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        args,
        EventsArgs {
            pid: vec![7, 8],
            user: words(&["root"]),
            unit: words(&["-x"]),
            event: vec![EventKind::Exec, EventKind::Oom, EventKind::Exit],
            failed: true,
            tree: true,
            argument: words(&["--port", "-p"]),
            paint: Paint {
                color: ColorChoice::Never,
            },
            ..EventsArgs::default()
        }
    );
    for line in [
        "events --pid 0",
        "events --pid x",
        "events --event birth",
        "events --args --json",
        "events --color blue",
    ] {
        parse_all(line).expect_err(line);
    }
}

#[test]
fn how_far_the_history_reaches_back() {
    let since = |text: &str| {
        let line = ["kevmon", "history", "--since", text];
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        match cli.command {
            Some(Command::History(args)) => Ok::<_, String>(args.since.map(|since| since.as_secs())),
            other => panic!("{other:?}"),
        }
    };
    for (text, seconds) in [
        ("2h", 7_200),
        ("90m", 5_400),
        ("1d", 86_400),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        ("2 weeks", 1_209_600),
    ] {
        assert_eq!(since(text), Ok(Some(seconds)), "{text}");
    }
    for text in ["soon", "", "60", "-2h", "0s", "2h later", "yesterday"] {
        let error = since(text).expect_err(text);
        assert!(
            error.contains("--since") && error.contains("write 2h, 90m, 1d or 1h30m"),
            "{text}: {error}"
        );
    }
}

#[test]
fn how_much_a_single_run_prints() {
    let args = parse("--run-once --exact --all --color always").expect("valid");
    assert!(args.exact && args.all && args.warnings().is_empty());
    assert_eq!(args.paint.color, ColorChoice::Always);
    for (line, warning) in [
        (
            "--exact",
            "command line: --exact: has no effect without --run-once",
        ),
        ("--all", "command line: --all: has no effect without --run-once"),
        (
            "--run-once --output json --exact",
            "command line: --exact: has no effect with --output json",
        ),
    ] {
        let warnings = parse(line).expect("valid").warnings();
        let [one] = &warnings[..] else {
            panic!("{line}: {warnings:?}")
        };
        assert!(one.to_string().starts_with(warning), "{line}: {one}");
    }
}

#[test]
fn everything_at_once() {
    let args = parse(
        "--once --window 250ms --plugins-dir a --plugins-dir b --plugin x --process-name ^nginx$ \
         --process-name -worker --interval 2s --source ebpf --agent-host ::1 --agent-port 4318 \
         --output json --log-level CRITICAL --log-file f --strict --ring-bytes 65536 --proc-root /tmp/proc \
         --metadata-db-path s.db",
    )
    .expect("valid");
    assert!(args.run_once && args.strict && args.refuses_faulty_files());
    assert_eq!(args.window(), Duration::from_millis(250));
    assert_eq!((args.source, args.output), (Source::Ebpf, Output::Json));
    assert_eq!(args.log_file, Some(PathBuf::from("f")));
    assert_eq!(
        (args.proc_root.as_path(), args.ring_bytes),
        (Path::new("/tmp/proc"), 65536)
    );
    assert_eq!(args.metadata_db_path, Some(PathBuf::from("s.db")));
    let sources = args.plugin_sources();
    assert_eq!(sources.directories, [PathBuf::from("a"), PathBuf::from("b")]);
    assert_eq!(sources.plugins, ["x"]);
    assert_eq!(sources.process_names, ["^nginx$", "-worker"]);
    let overrides = args.overrides();
    assert_eq!(overrides.interval, None, "--run-once ignores --interval");
    assert_eq!(
        (overrides.agent_host.as_deref(), overrides.agent_port),
        (Some("::1"), Some(4318))
    );
    assert_eq!(overrides.log_level, Some(crate::config::LogLevel::Error.into()));
    let warnings: Vec<String> = args.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["command line: --interval: has no effect beside --run-once; set how long it measures with --window"]
    );
}

#[test]
fn outputs_that_do_nothing_or_get_into_each_others_way() {
    let args = parse("--run-once --prometheus --otlp-json x").expect("valid");
    let warnings: Vec<String> = args.warnings().iter().map(ToString::to_string).collect();
    let warning = |flag: &str| {
        format!(
            "command line: {flag}: has no effect beside --run-once; a single collection is printed, and exported to the \
             receivers"
        )
    };
    assert_eq!(warnings, [warning("--otlp-json"), warning("--prometheus")]);
    let file = JsonTarget::File("x".into());
    for (line, target, clashes) in [
        ("--output json", Some(&JsonTarget::Stdout), true),
        ("--output json", Some(&file), false),
        ("--output json", None, false),
        ("--output text", Some(&JsonTarget::Stdout), false),
        ("--run-once --output json", Some(&JsonTarget::Stdout), false),
    ] {
        let fault = parse(line).expect("valid").output_fault(target);
        assert_eq!(fault.is_some(), clashes, "{line} {target:?}");
    }
}

#[test]
fn where_collections_go() {
    let args = parse(
        "--config k.toml --endpoint https://c:4318/x --protocol http/protobuf --compression gzip --ca-cert ca.pem \
         --client-cert c.pem --client-key k.pem --header authorization=file:/t --header x=env:X --otlp-json - \
         --prometheus",
    )
    .expect("valid");
    assert_eq!(args.config, Some(PathBuf::from("k.toml")));
    let overrides = args.overrides();
    assert_eq!(overrides.endpoint.as_deref(), Some("https://c:4318/x"));
    assert_eq!(
        (overrides.protocol, overrides.compression),
        (Some(Protocol::HttpProtobuf), Some(Compression::Gzip))
    );
    assert_eq!(
        [
            &overrides.ca,
            &overrides.client_certificate,
            &overrides.client_key
        ],
        ["ca.pem", "c.pem", "k.pem"]
            .map(|path| Some(PathBuf::from(path)))
            .each_ref()
    );
    assert_eq!(overrides.headers.len(), 2);
    assert_eq!(overrides.variables().collect::<Vec<_>>(), ["X"]);
    assert_eq!(overrides.otlp_json, Some(JsonTarget::Stdout));
    assert_eq!(overrides.prometheus, DEFAULT_PROMETHEUS.parse().ok());
    let args = parse("--prometheus [::1]:9 --otlp-json x")
        .expect("valid")
        .overrides();
    assert_eq!(args.prometheus, "[::1]:9".parse().ok());
    assert_eq!(args.otlp_json, Some(JsonTarget::File(PathBuf::from("x"))));
    assert_eq!(
        DEFAULT_PROMETHEUS,
        crate::config::settings_file::DEFAULT_LISTEN.to_string()
    );
}

#[test]
fn no_secret_is_held_or_repeated() {
    let args = parse("--endpoint https://me:s3cret@x --header authorization=s3cret --header s3cret")
        .expect("refused later");
    assert!(!format!("{args:?}").contains("s3cret"), "{args:?}");
    let args = parse("--agent-host me:s3cret@x").expect("refused later");
    assert!(!format!("{args:?}").contains("s3cret"), "{args:?}");
}

#[test]
fn nothing_at_all() {
    let args = parse("").expect("valid");
    assert_eq!((args.source, args.output), (Source::Auto, Output::Text));
    assert_eq!(args.window(), Duration::from_secs(1));
    assert_eq!(args.overrides(), Overrides::default());
    assert_eq!(args.plugin_sources(), PluginSources::default());
    assert!(!args.refuses_faulty_files() && args.warnings().is_empty());
    assert_eq!(
        (args.proc_root.as_path(), args.ring_bytes),
        (Path::new("/proc"), 4 << 20)
    );
}

#[test]
fn bad_usage_exits_with_2_and_says_why() {
    for (line, message) in [
        ("--interval -5", "\"-5\" is negative; write 10ms to 24h"),
        ("--interval 0", "is too short"),
        ("--interval 2d", "\"d\" is not a known unit; write ms, s, m or h"),
        ("--run-once --window soon", "is not a length of time"),
        ("--agent-port 0", "0 is not in 1..=65535"),
        ("--agent-port 65536", "65536 is not in 1..=65535"),
        (
            "--endpoint http://x --agent-port 1",
            "the argument '--endpoint <URL>' cannot be used with '--agent-port <PORT>'",
        ),
        (
            "--endpoint http://x --agent-host y",
            "the argument '--endpoint <URL>' cannot be used with '--agent-host <HOST>'",
        ),
        ("--protocol http/json", "write grpc or http/protobuf"),
        ("--compression zstd", "write none or gzip"),
        ("--prometheus 9464", "write 127.0.0.1:9464 or [::1]:9464"),
        ("--prometheus 127.0.0.1:0", "is not an address with a port"),
        (
            "--otlp-json=",
            "the path is empty; name a file, or - for standard output",
        ),
        ("--headers a=env:A", "a similar argument exists: '--header'"),
        (
            "--log-level loud",
            "\"loud\" is not a log level; write off, error",
        ),
        ("--ring-bytes 65535", "not a power of two from 4096 to 1073741824"),
        ("--ring-bytes 2048", "not a power of two"),
        ("--ring-bytes 2147483648", "not a power of two"),
        ("--source kernel", "possible values: auto, ebpf, proc"),
        ("--intervall 5", "a similar argument exists: '--interval'"),
        ("extra", "unrecognized subcommand 'extra'"),
        ("event", "a similar subcommand exists: 'events'"),
        (
            "--run-once events",
            "the subcommand 'events' cannot be used with '--run-once'",
        ),
        (
            "--process-name x history",
            "the subcommand 'history' cannot be used with '--process-name <REGEX>'",
        ),
        ("events --run-once", "unexpected argument '--run-once'"),
        ("events --interval 2", "unexpected argument '--interval'"),
        ("history --process-name x", "unexpected argument '--process-name'"),
        (
            "history --plugin a --plugin b",
            "the argument '--plugin <NAME>' cannot be used multiple times",
        ),
    ] {
        let error = parse_all(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(message), "{line}: {error}");
    }
}

#[test]
fn help_and_version_exit_with_0() {
    for (line, kind) in [
        ("--help", ErrorKind::DisplayHelp),
        ("events --help", ErrorKind::DisplayHelp),
        ("history --help", ErrorKind::DisplayHelp),
        ("--version", ErrorKind::DisplayVersion),
    ] {
        let answer = parse(line).expect_err(line);
        assert_eq!((answer.kind(), answer.exit_code()), (kind, 0));
        assert!(
            !answer.to_string().contains("proc-root") && !answer.to_string().contains("ring-bytes"),
            "hidden"
        );
    }
}

#[test]
fn a_window_without_run_once_is_named() {
    let warnings = parse("--window 2").expect("valid").warnings();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].key.as_deref(), Some("--window"));
}

#[test]
fn which_runs_keep_a_state() {
    for (line, keeps) in [
        ("", true),
        ("--metadata-db-path s", true),
        ("--no-store", false),
        ("--run-once", false),
        ("--run-once --keep", true),
        ("--run-once --metadata-db-path s", true),
        ("--run-once --keep --metadata-db-path s --if-not-running", true),
        ("--run-once --no-store", false),
    ] {
        assert_eq!(parse(line).expect(line).keeps_state(), keeps, "{line}");
    }
    for line in [
        "--keep",
        "--no-store --metadata-db-path s",
        "--no-store --keep --run-once",
        "--no-store --if-not-running",
    ] {
        parse(line).expect_err(line);
    }
    let args = parse("--run-once --if-not-running").expect("valid");
    let warnings: Vec<String> = args.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "command line: --if-not-running: has no effect on a --run-once that keeps nothing; keep counters from run to \
          run with --keep"
        ]
    );
}
