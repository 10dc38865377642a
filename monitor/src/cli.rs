//! The command line: its flags, their help and their bounds, and what they set in configuration.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use crate::config::{
    LogLevel, Overrides, PluginSources, Warning, duration::parse_interval, finding::Finding,
};

/// How long `--run-once` measures when `--window` is not given.
const DEFAULT_WINDOW: Duration = Duration::from_secs(1);

/// Where process data come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Source {
    /// eBPF where the kernel and the privileges allow it, else /proc
    #[default]
    Auto,
    /// eBPF or nothing: fails where it is refused
    Ebpf,
    /// /proc alone: no privileges needed, but short-lived processes are missed
    Proc,
}

/// How collections are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON object per collection, one per line
    Json,
}

/// Watch named processes through the kernel and export what they do as OTLP metrics.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "kevmon",
    version,
    after_help = "Exit status: 0 done (--run-once: a process was found), 1 none was found, 2 bad usage or \
                  configuration, 3 the endpoint that was asked for could not be reached, 4 anything else.\n\n\
                  Environment: INSTANA_AGENT_HOST, INSTANA_AGENT_PORT, OTEL_EXPORTER_OTLP_[METRICS_]ENDPOINT, \
                  COLLECTION_INTERVAL, LOG_LEVEL, <PLUGIN>_INTERVAL, <PLUGIN>_PROCESS_FILTER. Flags come first."
)]
pub struct Args {
    /// Collect once, print it, export it and exit
    #[arg(long, visible_alias = "once")]
    pub run_once: bool,

    /// How long --run-once measures: 10ms to 24h, in seconds without a unit [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_interval, allow_negative_numbers = true)]
    window: Option<Duration>,

    /// Folder with NAME/plugin.toml, searched 8 levels deep; repeatable [default: ./plugins,
    /// /etc/kevmon/plugins and /usr/share/kevmon/plugins, where they exist]
    #[arg(long, value_name = "DIR")]
    plugins_dir: Vec<PathBuf>,

    /// Run the plugin NAME; repeatable [default: all that are enabled]
    #[arg(long, value_name = "NAME")]
    plugin: Vec<String>,

    /// Watch the processes whose name matches REGEX (any case, unanchored), without a plugin file;
    /// repeatable. Without --plugin, nothing else runs
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    process_name: Vec<String>,

    /// Time between collections, for every plugin: 10ms to 24h, such as 60, 500ms, 2s, 1m; in seconds
    /// without a unit [default: the plugin's own, else 60]
    #[arg(long, value_name = "TIME", value_parser = parse_interval, allow_negative_numbers = true)]
    interval: Option<Duration>,

    /// Where process data come from
    #[arg(long, value_enum, default_value_t)]
    pub source: Source,

    /// Host or address of the OTLP receiver [default: localhost]
    #[arg(long, value_name = "HOST")]
    agent_host: Option<String>,

    /// Its port for OTLP over gRPC, 1 to 65535 [default: 4317]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    agent_port: Option<u16>,

    /// How collections are printed
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,

    /// Least severity logged: off, error, warn, info, debug, trace; CRITICAL and WARNING too, in any
    /// case [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,

    /// Append the log to FILE [default: standard error]
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// Exit with 2 when any plugin file has a fault, also as a daemon
    #[arg(long)]
    pub strict: bool,

    /// Where proc is mounted; for tests
    #[arg(long, value_name = "DIR", default_value = "/proc", hide = true)]
    pub proc_root: PathBuf,
}

impl Args {
    /// How long `--run-once` measures.
    pub fn window(&self) -> Duration {
        self.window.unwrap_or(DEFAULT_WINDOW)
    }

    /// Whether a faulty plugin file ends kevmon rather than being left out.
    pub fn refuses_faulty_files(&self) -> bool {
        self.run_once || self.strict
    }

    /// Where plugins come from.
    pub fn plugin_sources(&self) -> PluginSources {
        PluginSources {
            directories: self.plugins_dir.clone(),
            plugins: self.plugin.clone(),
            process_names: self.process_name.clone(),
            ..PluginSources::default()
        }
    }

    /// What the flags set above all other sources. `--run-once` has no use for an interval.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            interval: self.interval.filter(|_| !self.run_once),
            agent_host: self.agent_host.clone(),
            agent_port: self.agent_port,
            log_level: self.log_level,
        }
    }

    /// The flags that were given and do nothing.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.run_once && self.interval.is_some() {
            let warning = Finding::in_flag(Some("--interval"), "has no effect beside --run-once");
            warnings.push(warning.remedy("set how long it measures with --window"));
        }
        if !self.run_once && self.window.is_some() {
            let warning = Finding::in_flag(Some("--window"), "has no effect without --run-once");
            warnings.push(warning.remedy("set the time between collections with --interval"));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("kevmon").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn everything_at_once() {
        let args = parse(
            "--once --window 250ms --plugins-dir a --plugins-dir b --plugin x --process-name ^nginx$ \
             --process-name -worker --interval 2s --source ebpf --agent-host ::1 --agent-port 4318 \
             --output json --log-level CRITICAL --log-file f --strict --proc-root /tmp/proc",
        )
        .expect("valid");
        assert!(args.run_once && args.strict && args.refuses_faulty_files());
        assert_eq!(args.window(), Duration::from_millis(250));
        assert_eq!((args.source, args.output), (Source::Ebpf, Output::Json));
        assert_eq!(args.log_file, Some(PathBuf::from("f")));
        assert_eq!(args.proc_root, PathBuf::from("/tmp/proc"));
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
        assert_eq!(overrides.log_level, Some(LogLevel::Error));
        let warnings: Vec<String> = args.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "command line: --interval: has no effect beside --run-once; set how long it measures with --window"
            ]
        );
    }

    #[test]
    fn nothing_at_all() {
        let args = parse("").expect("valid");
        assert_eq!((args.source, args.output), (Source::Auto, Output::Text));
        assert_eq!(args.window(), Duration::from_secs(1));
        assert_eq!(args.overrides(), Overrides::default());
        assert_eq!(args.plugin_sources(), PluginSources::default());
        assert!(!args.refuses_faulty_files() && args.warnings().is_empty());
        assert_eq!(args.proc_root, PathBuf::from("/proc"));
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
                "--log-level loud",
                "\"loud\" is not a log level; write off, error",
            ),
            ("--source kernel", "possible values: auto, ebpf, proc"),
            ("--intervall 5", "a similar argument exists: '--interval'"),
            ("extra", "unexpected argument 'extra'"),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(message), "{line}: {error}");
        }
    }

    #[test]
    fn help_and_version_exit_with_0() {
        for (line, kind) in [
            ("--help", ErrorKind::DisplayHelp),
            ("--version", ErrorKind::DisplayVersion),
        ] {
            let answer = parse(line).expect_err(line);
            assert_eq!((answer.kind(), answer.exit_code()), (kind, 0));
            assert!(!answer.to_string().contains("proc-root"), "hidden");
        }
    }

    #[test]
    fn a_window_without_run_once_is_named() {
        let warnings = parse("--window 2").expect("valid").warnings();
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].key.as_deref(), Some("--window"));
    }
}
