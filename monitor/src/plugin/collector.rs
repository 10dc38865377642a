//! What a plugin asks for beyond its processes' own numbers: values read from files, commands and local HTTP
//! servers. A description alone; what runs it is `collector`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use regex::Regex;

/// Runs at a time until it is given up, unless the file says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of standard output that are read of a command, or of an HTTP answer, unless the file says otherwise.
pub const DEFAULT_OUTPUT: u64 = 1 << 20;
/// Bytes of address space of a command's processes, unless the file says otherwise.
pub const DEFAULT_MEMORY: u64 = 512 << 20;
/// Bytes of a file that are read.
pub const FILE_BYTES: u64 = 64 << 10;

/// The attribute that names the metrics group of a value or a rate.
pub const METRICS_GROUP: &str = "kevmon.metrics_group";

/// What of `/proc/{pid}` a collector may read: numbers, and nothing that a process keeps to itself (its environment,
/// memory, arguments, open files). `io` and `smaps_rollup` are kept from whoever is in a Landlock domain
/// (security/landlock/task.c); kevmon exports what they hold itself.
pub const PROCESS_FILES: [&str; 13] = [
    "cgroup",
    "limits",
    "net/netstat",
    "net/snmp",
    "net/sockstat",
    "net/sockstat6",
    "oom_score",
    "oom_score_adj",
    "sched",
    "schedstat",
    "stat",
    "statm",
    "status",
];

/// One `[[collector]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectorSpec {
    /// Unique within its plugin.
    pub name: String,
    /// Time between two runs; `None`: the plugin's interval.
    pub interval: Option<Duration>,
    /// A run that takes longer is ended.
    pub timeout: Duration,
    /// Where values come from.
    pub source: Source,
    /// The metrics that are taken. Empty for a format that names its own values: all of them.
    pub metrics: Vec<MetricSpec>,
}

/// Where a collector's values come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A file, read without any capability.
    File {
        /// Which.
        path: FilePath,
        /// Read as this user; `None`: as the service's.
        user: Option<String>,
        /// Read it also where the kernel cannot confine the reader as it should.
        allow_unconfined: bool,
    },
    /// A program's standard output: when the program has ended, or line by line while it runs.
    Command {
        /// Set where the program stays and its lines are read as they come.
        stream: Option<Stream>,
        /// The program, absolute, and its arguments; settings have been put in.
        argv: Vec<String>,
        /// What its output looks like.
        format: Format,
        /// Run as this user; `None`: as the service's.
        user: Option<String>,
        /// Most bytes of output.
        output: u64,
        /// Most bytes of address space of each of its processes.
        memory: u64,
        /// It may use TCP and UDP.
        allow_network: bool,
        /// Run it also where the kernel cannot confine it as it should.
        allow_unconfined: bool,
        /// Its environment, beside `PATH` and the settings.
        environment: BTreeMap<String, String>,
    },
    /// An HTTP server's answer.
    Http {
        /// `http://host:port/path`.
        url: String,
        /// Hosts that may be asked, as written in the URL; loopback names and addresses may always.
        hosts: Vec<String>,
        /// What the answer looks like: [`Format::Json`] or [`Format::Prometheus`].
        format: Format,
        /// Most bytes of the answer.
        output: u64,
    },
    /// Code of kevmon's own, by its name.
    BuiltIn(String),
}

/// How a program that stays running is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// No value for so long is a failure; `None`: three of the plugin's intervals.
    pub silence: Option<Duration>,
}

/// The path of a `file` collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePath {
    /// One file, once a run.
    Fixed(PathBuf),
    /// A file below `/proc/{pid}`, such as `oom_score` or `net/sockstat`, for each live member.
    OfProcess(String),
}

/// What an output or answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines `name value key=value…`.
    Scalyr,
    /// Metrics groups in JSON, schema version 0.2.
    Panoptes,
    /// Prometheus text exposition format.
    Prometheus,
    /// JSON, of which each metric names its place.
    Json,
    /// Text, of which each metric names its key or regular expression.
    Text,
}

/// One `[[collector.metric]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSpec {
    /// Exported under this name.
    pub name: String,
    /// UCUM.
    pub unit: String,
    /// Free text.
    pub description: String,
    /// Gauge or counter; `None`: as the format says, else a gauge.
    pub kind: Option<MetricKind>,
    /// Integer or float; `None`: as it is written.
    pub value: Option<ValueType>,
    /// Where it is found.
    pub place: Place,
    /// Further attributes of its points.
    pub attributes: BTreeMap<String, String>,
}

/// Where a metric's value is found.
#[derive(Debug, Clone)]
pub enum Place {
    /// Under the metric's own name, or another, in a format that names its values.
    Name(String),
    /// What follows `key` on its line, after blanks, `:` or `=`.
    Key(String),
    /// The first group of the first match.
    Regex(Regex),
    /// A JSON pointer (RFC 6901).
    Pointer(String),
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(other))
            | (Self::Key(one), Self::Key(other))
            | (Self::Pointer(one), Self::Pointer(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

/// What a metric's values are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Each stands for itself.
    Gauge,
    /// A sum that only grows, until it begins anew.
    Counter,
}

/// How a value is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// 64 bits, signed.
    Int,
    /// IEEE 754 double.
    Float,
}

/// `[transforms] <group> = "rate:<result group>:<counter,…>"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    /// The collector, or the type of the metrics group, that the counters come from.
    pub group: String,
    /// The group that the rates go into.
    pub result: String,
    /// The counters.
    pub counters: Vec<String>,
}

/// One value that a collector brought.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomValue {
    /// The metric's name.
    pub name: String,
    /// UCUM; empty where nothing is said.
    pub unit: String,
    /// Free text.
    pub description: String,
    /// What it is.
    pub value: Custom,
    /// Told apart by these.
    pub attributes: Vec<(String, String)>,
    /// When it was measured, Unix ns.
    pub time: u64,
}

/// A custom value.
#[derive(Debug, Clone, PartialEq)]
pub enum Custom {
    /// An integer gauge; booleans are 0 and 1.
    Int(i64),
    /// A gauge; finite.
    Float(f64),
    /// An integer sum since `start`, Unix ns.
    IntSum {
        /// The sum.
        value: i64,
        /// Since when.
        start: u64,
    },
    /// A sum since `start`, Unix ns; finite.
    FloatSum {
        /// The sum.
        value: f64,
        /// Since when.
        start: u64,
    },
    /// Text: a log record `kevmon.value`.
    Text(String),
}

/// A collector's last run, as it is kept over kevmon's restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorRun {
    /// Its plugin, with the instance.
    pub plugin: String,
    /// Its name.
    pub collector: String,
    /// Of what it does: another one's last run is not this one's.
    pub fingerprint: String,
    /// When it began, Unix ns.
    pub time: u64,
}

/// What is counted of a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorReading {
    /// Its plugin, with the instance.
    pub plugin: String,
    /// Its name.
    pub collector: String,
    /// Runs that ended, well or not.
    pub runs: u64,
    /// Failures by kind.
    pub failures: Vec<(&'static str, u64)>,
}
