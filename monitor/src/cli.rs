//! The command line: its flags, their help and their bounds, and what they set in configuration.

mod events;
mod history;
mod install;
mod paint;
mod plugin;
mod recorder;
mod top;

use std::{convert::Infallible, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::config::{
    self, LogFilter, Overrides, PluginSources, Warning,
    duration::{self, DurationError, KEEP_WATCHING_BOUNDS, SAMPLE_BOUNDS, parse_interval},
    endpoint::withhold_user_info,
    finding::Finding,
    header::HeaderFlag,
    listen_address,
    receiver::{Compression, JsonTarget, Protocol},
};

use crate::plugin::Detail;

pub use self::events::{EventKind, EventsArgs};
pub use self::history::{HistoryArgs, WhyArgs};
pub use self::install::{GenerateArgs, VerifyInstallArgs};
pub use self::paint::Paint;
pub use self::plugin::{CheckArgs, ImportArgs, ListArgs, NewArgs, PluginCommand, RunArgs, UnitArgs};
pub use self::recorder::{IncidentsArgs, ReportArgs};
pub use self::top::TopArgs;

/// How long `--run-once` measures when `--window` is not given.
const DEFAULT_WINDOW: Duration = Duration::from_secs(1);

/// Holds about 2,500 process lives; the reader is woken at a quarter.
pub const DEFAULT_RING_BYTES: u32 = 4 << 20;

fn parse_ring_bytes(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && (1 << 12..=1 << 30).contains(&bytes) => Ok(bytes),
        _ => Err("not a power of two from 4096 to 1073741824".to_owned()),
    }
}

fn parse_keep_watching(text: &str) -> Result<Duration, DurationError> {
    duration::parse(text, &KEEP_WATCHING_BOUNDS)
}

fn parse_sample_interval(text: &str) -> Result<Duration, DurationError> {
    duration::parse(text, &SAMPLE_BOUNDS)
}

/// Sizes that a log file may rotate at.
const ROTATION_BOUNDS: RangeInclusive<u64> = 4 << 10..=1 << 40;

fn parse_rotation(text: &str) -> Result<u64, String> {
    config::size::parse(text, &ROTATION_BOUNDS)
}

/// A name that is a file's and a unit's: `kevmon@NAME.service`, `NAME.sock`.
fn parse_instance(text: &str) -> Result<String, String> {
    let is_fine = |letter: char| letter.is_ascii_alphanumeric() || "_.:@-".contains(letter);
    let begins = text
        .chars()
        .next()
        .is_some_and(|letter| letter.is_ascii_alphanumeric());
    if begins && text.len() <= 64 && text.chars().all(is_fine) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 64 letters, digits and _ . : @ -, and begins with a letter or digit".to_owned())
    }
}

/// Where `--prometheus` listens when it is given without an address.
const DEFAULT_PROMETHEUS: &str = "127.0.0.1:9464";

/// An address of which no password is held, nor repeated by whatever finds fault with it.
fn without_user_info(text: &str) -> Result<String, Infallible> {
    Ok(withhold_user_info(text).to_owned())
}

fn parse_target(text: &str) -> Result<JsonTarget, String> {
    match text {
        "" => Err("the path is empty; name a file, or - for standard output".to_owned()),
        "-" => Ok(JsonTarget::Stdout),
        path => Ok(JsonTarget::File(path.into())),
    }
}

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

/// How closely processes are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// What the kernel counts, once a collection
    Standard,
    /// Also each switch of a thread, and samples between collections
    Detailed,
}

impl Mode {
    /// What the detailed mode measures, with the time between two samples where a flag gives it; `None`: the standard one.
    fn detail(self, sample_interval: Option<Duration>) -> Option<Detail> {
        let standard = Detail::default();
        let detailed = Detail {
            sample_interval: sample_interval.unwrap_or(standard.sample_interval),
            ..standard
        };
        (self == Self::Detailed).then_some(detailed)
    }
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
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 done (--run-once: a process was found), 1 none was found, 2 bad usage or \
                  configuration, 3 the endpoint that was asked for could not be reached, or (--stop, --restart) no kevmon runs, 4 anything else: another kevmon \
                  runs on the same state, no permission, no /proc.\n\n\
                  Environment: COLLECTION_INTERVAL, <PLUGIN>_INTERVAL, <PLUGIN>_PROCESS_FILTER, LOG_LEVEL, KEVMON_PLUGIN_PATH; \
                  INSTANA_AGENT_HOST, INSTANA_AGENT_PORT, USE_TLS, CA_CERT_PATH, CLIENT_CERT_PATH, CLIENT_KEY_PATH; \
                  OTEL_EXPORTER_OTLP_[METRICS_|LOGS_|TRACES_]{ENDPOINT, PROTOCOL, HEADERS, COMPRESSION, TIMEOUT, \
                  CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY, INSECURE}, \
                  OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE, \
                  OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION; CREDENTIALS_DIRECTORY, STATE_DIRECTORY, \
                  RUNTIME_DIRECTORY, XDG_STATE_HOME, XDG_RUNTIME_DIR; NOTIFY_SOCKET, WATCHDOG_USEC. Flags come first, then the settings file, then the environment."
)]
pub struct Cli {
    /// Another job than watching and exporting.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The flags of watching and exporting.
    #[command(flatten)]
    pub args: Args,
}

/// What kevmon does besides watching and exporting.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print what happens to processes as it happens: starts, programs executed, ends, restarts
    #[command(
        after_help = "Needs eBPF, so root, or CAP_BPF and CAP_PERFMON. Ends with Ctrl-C. Exit status: 0 ended by a signal or by \
                            its reader, 1 no process has the pid of --pid, 2 bad usage, 4 eBPF is refused."
    )]
    Events(EventsArgs),
    /// Print what became of the plugins' processes: starts, ends, reasons and downtimes
    History(HistoryArgs),
    /// Tell the story of a process: who started it, what it executed and used, how it ended, what took its place
    #[command(
        after_help = "It tells what the history knows: processes that a plugin watched. Exit status: 0 told, 1 the history knows no \
                            such process, 2 bad usage, 4 there is no history that can be read."
    )]
    Why(WhyArgs),
    /// Show live what the processes of each plugin do: CPU, memory, switches, starts, restarts, ends
    #[command(
        after_help = "Asks the running kevmon, with --process-name or --plugin watches by itself, or with --at or --incident shows what was \
                            recorded. Press ? for the keys. Exit status: 0 ended by a key or a signal, 1 nothing is recorded of that time, 2 bad usage or no terminal, 3 no kevmon runs, 4 it cannot be asked, or nothing can be \
                            watched."
    )]
    Top(TopArgs),
    /// List what the flight recorder kept of crashes: the minute before each and the minute after
    #[command(
        after_help = "Exit status: 0 shown, 1 there is no such incident, 2 bad usage, 4 the recorder's files cannot be read. What is \
                            recorded is said in [recorder] of kevmon.toml."
    )]
    Incidents(IncidentsArgs),
    /// Write a page (HTML) about an incident or a length of time: restarts, ends, charts, and what is missing
    #[command(
        after_help = "The page is one file that loads nothing. Exit status: 0 written, 1 there is no such incident, 2 bad usage, 4 \
                            the state cannot be read, or the page not be written."
    )]
    Report(ReportArgs),
    /// Remove what an ended kevmon has left in the kernel: programs, ring and maps
    #[command(
        after_help = "Refused while a kevmon runs on the state. Without this command the programs stop [state] \
                            keep_watching after kevmon ended, and the next kevmon or boot frees the memory."
    )]
    Unpin(UnpinArgs),
    /// Say what runs and how it fares
    #[command(
        after_help = "Exit status: 0 it runs, 3 no kevmon runs, 4 it cannot be asked. Reading needs root, kevmon's own user, \
                            or the group kevmon."
    )]
    Status(StatusArgs),
    /// Have the running kevmon read its configuration again, and say what came of it
    #[command(after_help = "Exit status: 0 done, 2 with faults, 3 no kevmon runs, 4 refused or no answer.")]
    Reload(Which),
    /// Look for what keeps kevmon from working on this host, and say what to do about it
    #[command(after_help = "Exit status: 0 nothing is at fault (warnings may be), 1 something is.")]
    Doctor(DoctorArgs),
    /// Run a collector's command without privileges: kevmon starts this itself
    #[command(hide = true)]
    Confine,
    /// Compare what is installed with the manifest that came with it
    #[command(
        after_help = "Exit status: 0 all is as it was packaged, 1 something differs or is missing, 4 there is no \
                            manifest, or it cannot be read."
    )]
    VerifyInstall(VerifyInstallArgs),
    /// Write man pages, completions and a settings file with every key: `cargo xtask dist` starts this
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Make, check, list, try and import plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
}

/// The flags of `kevmon unpin`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct UnpinArgs {
    /// The file that the ended kevmon kept its state in [default: as the main command's]
    #[arg(long, value_name = "FILE")]
    pub metadata_db_path: Option<PathBuf>,
}

/// Which of the running instances a command is for.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct Which {
    /// The instance's name [default: all that run]
    #[arg(long, value_name = "NAME", value_parser = parse_instance)]
    pub instance: Option<String>,

    /// The file that it keeps its state in, where that was given to it
    #[arg(long, value_name = "FILE")]
    pub metadata_db_path: Option<PathBuf>,
}

/// The flags of `kevmon status`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct StatusArgs {
    /// Print one JSON object for each instance, one a line
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub which: Which,
}

/// The flags of `kevmon doctor`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct DoctorArgs {
    /// Print the checks as a JSON array
    #[arg(long)]
    pub json: bool,

    /// Remove what an ended kevmon has left in the kernel
    #[arg(long)]
    pub fix: bool,

    /// The settings [default: /etc/kevmon/kevmon.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Folder with NAME/plugin.toml; repeatable [default: as the main command's]
    #[arg(long, value_name = "DIR")]
    pub plugins_dir: Vec<PathBuf>,

    /// The file that kevmon keeps its state in [default: as the main command's]
    #[arg(long, value_name = "FILE")]
    pub metadata_db_path: Option<PathBuf>,
}

/// The flags of watching and exporting.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct Args {
    /// Collect once, print it, export it and exit
    #[arg(long, visible_alias = "once")]
    pub run_once: bool,

    /// End the running kevmon, and wait until it has ended
    #[arg(long, conflicts_with_all = ["run_once", "restart"])]
    pub stop: bool,

    /// Have the running kevmon end and begin again with its own arguments; what happens meanwhile is counted
    #[arg(long, conflicts_with = "run_once")]
    pub restart: bool,

    /// The name by which status, reload, --stop and --restart find this instance, where several run on a host
    /// [default: kevmon]
    #[arg(long, value_name = "NAME", value_parser = parse_instance)]
    pub instance: Option<String>,

    /// How long --run-once measures: 10ms to 24h, in seconds without a unit [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_interval, allow_negative_numbers = true)]
    window: Option<Duration>,

    /// Folder with NAME/plugin.toml, searched 8 levels deep; repeatable [default: ./plugins,
    /// /etc/kevmon/plugins, /etc/kevmon/plugins.d and /usr/share/kevmon/plugins, where they exist, and
    /// those of KEVMON_PLUGIN_PATH]
    #[arg(long, value_name = "DIR")]
    pub plugins_dir: Vec<PathBuf>,

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

    /// How closely every plugin watches: detailed adds what happens at each switch of a thread and samples between
    /// collections [default: the plugin's own, else standard]
    #[arg(long, value_enum)]
    mode: Option<Mode>,

    /// Time between two samples of the detailed mode: 10ms to 5s [default: the plugin's own, else 100ms]
    #[arg(long, value_name = "TIME", value_parser = parse_sample_interval, requires = "mode")]
    sample_interval: Option<Duration>,

    /// Where process data come from
    #[arg(long, value_enum, default_value_t)]
    pub source: Source,

    /// The settings of export, spool and outputs [default: /etc/kevmon/kevmon.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// URL of the default OTLP receiver: scheme, host, port, and for HTTP the path before /v1/metrics
    /// [default: http://localhost:4317]
    #[arg(long, value_name = "URL", value_parser = without_user_info, conflicts_with_all = ["agent_host", "agent_port"])]
    endpoint: Option<String>,

    /// Host or address of the default OTLP receiver; not with --endpoint
    #[arg(long, value_name = "HOST", value_parser = without_user_info)]
    agent_host: Option<String>,

    /// Port of the default OTLP receiver, 1 to 65535; not with --endpoint [default: 4317, for HTTP 4318]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    agent_port: Option<u16>,

    /// Transport to the receiver: grpc or http/protobuf [default: grpc]
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<Protocol>,

    /// Compression of requests to the receiver: none or gzip [default: none]
    #[arg(long, value_name = "NAME")]
    compression: Option<Compression>,

    /// Certificates (PEM) that vouch for the receiver [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,

    /// kevmon's own certificate (PEM), for mutual TLS, with --client-key
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,

    /// The key (PEM) of --client-cert
    #[arg(long, value_name = "FILE")]
    client_key: Option<PathBuf>,

    /// A header of every request to the receiver, its value read from file:PATH, env:VARIABLE or credential:NAME
    /// (systemd's); repeatable. Never the value itself: every user of the host sees flags
    #[arg(long, value_name = "NAME=PLACE")]
    header: Vec<HeaderFlag>,

    /// Append each export to FILE as a line of OTLP/JSON; - is standard output
    #[arg(long, value_name = "FILE", value_parser = parse_target)]
    otlp_json: Option<JsonTarget>,

    /// Serve the metrics to Prometheus at ADDRESS:PORT [default: 127.0.0.1:9464, where ADDR is left out]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = DEFAULT_PROMETHEUS, value_parser = listen_address)]
    prometheus: Option<SocketAddr>,

    /// How collections are printed
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,

    /// With --run-once: print every digit, in bytes and seconds
    #[arg(long)]
    pub exact: bool,

    /// With --run-once: print zeros too, and list every process
    #[arg(long)]
    pub all: bool,

    /// How text is coloured.
    #[command(flatten)]
    pub paint: Paint,

    /// Least severity logged: off, error, warn, info, debug, trace; CRITICAL and WARNING too, in any
    /// case. Libraries log warnings alone; TARGET=LEVEL after a comma asks for more: debug,hyper=info
    /// [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogFilter>,

    /// Append the log to FILE, whose folders are made; opened again when it was moved or removed
    /// [default: standard error]
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// Rotate the log file before it exceeds SIZE, and keep three old ones: FILE.1 to FILE.3
    /// [default: 5MiB, where SIZE is left out]
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "5MiB", value_parser = parse_rotation)]
    pub log_rotate: Option<u64>,

    /// Keep the state in FILE [default: $STATE_DIRECTORY/metadata.db under systemd, else
    /// /var/lib/kevmon/metadata.db for root, else kevmon/metadata.db in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE")]
    pub metadata_db_path: Option<PathBuf>,

    /// Keep no state: counters begin at 0 at each start, under a service.instance.id of this run's own. For a second
    /// daemon that watches what another one watches
    #[arg(long, conflicts_with_all = ["metadata_db_path", "keep", "if_not_running"])]
    pub no_store: bool,

    /// How long the kernel side goes on watching after kevmon was killed, so that the next start knows what happened
    /// meanwhile: 0 to 24h, in seconds without a unit; 0: not at all [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_keep_watching, allow_negative_numbers = true)]
    keep_watching: Option<Duration>,

    /// With --run-once: keep counters from run to run, and print what happened since the last run. Also without this
    /// flag where --metadata-db-path is given; with it, no state is an error
    #[arg(long, requires = "run_once")]
    pub keep: bool,

    /// Exit with 0, in silence, when another kevmon runs on the same state; for cron [default: exit with 4 and name it]
    #[arg(long)]
    pub if_not_running: bool,

    /// Exit with 2 when any plugin file has a fault, also as a daemon
    #[arg(long)]
    pub strict: bool,

    /// Size of the ring that events come through, a power of two from 4096 to 1073741824; for tests
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_RING_BYTES, value_parser = parse_ring_bytes, hide = true)]
    pub ring_bytes: u32,

    /// Pretend that this is the boot with this name; for tests
    #[arg(long, value_name = "TEXT", hide = true)]
    pub boot_id: Option<String>,

    /// Where proc is mounted; for tests
    #[arg(long, value_name = "DIR", default_value = "/proc", hide = true)]
    pub proc_root: PathBuf,
}

impl Args {
    /// How long `--run-once` measures.
    pub fn window(&self) -> Duration {
        self.window.unwrap_or(DEFAULT_WINDOW)
    }

    /// Those of a daemon without any flag.
    pub fn of_daemon() -> Self {
        Cli::parse_from(["kevmon"]).args
    }

    /// The instance that --stop and --restart are for.
    pub fn which(&self) -> Which {
        Which {
            instance: self.instance.clone(),
            metadata_db_path: self.metadata_db_path.clone(),
        }
    }

    /// Whether this run keeps a state.
    pub fn keeps_state(&self) -> bool {
        if self.run_once {
            self.keep || self.metadata_db_path.is_some()
        } else {
            !self.no_store
        }
    }

    /// Whether a faulty plugin file ends kevmon rather than being left out.
    pub fn refuses_faulty_files(&self) -> bool {
        self.run_once || self.strict
    }

    /// Where plugins come from.
    pub fn plugin_sources(&self) -> PluginSources {
        PluginSources::named(&self.plugins_dir, &self.plugin, &self.process_name)
    }

    /// The mode, where the flags name one: detailed, or (`Some(None)`) not.
    fn detail(&self) -> Option<Option<Detail>> {
        self.mode.map(|mode| mode.detail(self.sample_interval))
    }

    /// What the flags set above all other sources. `--run-once` has no use for an interval.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            interval: self.interval.filter(|_| !self.run_once),
            detail: self.detail(),
            settings: Vec::new(),
            keep_watching: self.keep_watching,
            endpoint: self.endpoint.clone(),
            agent_host: self.agent_host.clone(),
            agent_port: self.agent_port,
            protocol: self.protocol,
            compression: self.compression,
            ca: self.ca_cert.clone(),
            client_certificate: self.client_cert.clone(),
            client_key: self.client_key.clone(),
            headers: self.header.clone(),
            otlp_json: self.otlp_json.clone(),
            prometheus: self.prometheus,
            log_level: self.log_level.clone(),
        }
    }

    /// What keeps the daemon from writing where it was told to: two formats on one standard output, where OTLP/JSON
    /// goes to `otlp_json`.
    pub fn output_fault(&self, otlp_json: Option<&JsonTarget>) -> Option<config::Fault> {
        let both = self.output == Output::Json && otlp_json == Some(&JsonTarget::Stdout) && !self.run_once;
        let message = "standard output cannot hold kevmon's own JSON and OTLP/JSON lines";
        both.then(|| {
            Finding::in_flag(Some("--output"), message)
                .remedy("name a file with --otlp-json, or leave one of them out")
        })
    }

    /// The flags that were given and do nothing.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.run_once && self.interval.is_some() {
            let warning = Finding::in_flag(Some("--interval"), "has no effect beside --run-once");
            warnings.push(warning.remedy("set how long it measures with --window"));
        }
        if self.run_once && self.if_not_running && !self.keeps_state() {
            let warning = Finding::in_flag(
                Some("--if-not-running"),
                "has no effect on a --run-once that keeps nothing",
            );
            warnings.push(warning.remedy("keep counters from run to run with --keep"));
        }
        if self.log_rotate.is_some() && self.log_file.is_none() {
            let warning = Finding::in_flag(Some("--log-rotate"), "has no effect without --log-file");
            warnings.push(warning.remedy("name the file; whoever reads standard error rotates that"));
        }
        let outputs = [
            (self.otlp_json.is_some(), "--otlp-json"),
            (self.prometheus.is_some(), "--prometheus"),
        ];
        for (_, flag) in outputs.into_iter().filter(|(given, _)| *given && self.run_once) {
            let warning = Finding::in_flag(Some(flag), "has no effect beside --run-once");
            warnings.push(warning.remedy("a single collection is printed, and exported to the receivers"));
        }
        let of_text = [(self.exact, "--exact"), (self.all, "--all")];
        for (_, flag) in of_text.into_iter().filter(|(given, _)| *given) {
            if !self.run_once {
                let warning = Finding::in_flag(Some(flag), "has no effect without --run-once");
                warnings.push(
                    warning.remedy("a daemon prints no text; it exports, or prints JSON with --output json"),
                );
            } else if self.output == Output::Json {
                let warning = Finding::in_flag(Some(flag), "has no effect with --output json");
                warnings.push(warning.remedy("the JSON has every digit and every zero"));
            }
        }
        if !self.run_once && self.window.is_some() {
            let warning = Finding::in_flag(Some("--window"), "has no effect without --run-once");
            warnings.push(warning.remedy("set the time between collections with --interval"));
        }
        warnings
    }
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
