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

/// A collector as a plugin file describes it: one `[[collector]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectorSpec {
    /// Name of the collector, unique within its plugin.
    pub name: String,
    /// Time between two runs; `None`: the plugin's interval.
    pub interval: Option<Duration>,
    /// A run that takes longer is ended.
    pub timeout: Duration,
    /// What is read or run.
    pub source: Source,
    /// The metrics that are taken. Empty for a format that names its own values: all of them.
    pub metrics: Vec<MetricSpec>,
}

/// Where a collector's values come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A file, read without any capability.
    File {
        /// The file to read.
        path: FilePath,
        /// The user to read it as; `None`: the account of collectors (`collector/identity.rs`).
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
        /// Format of its output.
        format: Format,
        /// The user to run it as; `None`: the account of collectors (`collector/identity.rs`).
        user: Option<String>,
        /// Limit of its output, bytes.
        output: u64,
        /// Limit of the address space of each of its processes, bytes.
        memory: u64,
        /// Whether it may use TCP and UDP.
        allow_network: bool,
        /// Run it also where the kernel cannot confine it as it should.
        allow_unconfined: bool,
        /// Variables of its environment, in addition to `PATH` and the settings.
        environment: BTreeMap<String, String>,
    },
    /// An HTTP server's answer.
    Http {
        /// Address to ask, as `http://host:port/path`.
        url: String,
        /// Hosts that may be asked, as written in the URL; loopback names and addresses may always.
        hosts: Vec<String>,
        /// Format of the answer: [`Format::Json`] or [`Format::Prometheus`].
        format: Format,
        /// Limit of the answer, bytes.
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

/// Format of a collector's output or answer.
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

/// A metric that a collector brings: one `[[collector.metric]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSpec {
    /// Name that the metric is exported under.
    pub name: String,
    /// Unit, in UCUM; empty where none is given.
    pub unit: String,
    /// Description, free text.
    pub description: String,
    /// Gauge or counter; `None`: as the format says, else a gauge.
    pub kind: Option<MetricKind>,
    /// Integer or float; `None`: as it is written.
    pub value: Option<ValueType>,
    /// Where in the output the value stands.
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

/// Whether a metric's values stand alone or add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Each value stands alone.
    Gauge,
    /// A sum that only grows, until it begins anew.
    Counter,
}

/// Number type that a value is exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// Signed integer of 64 bits.
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
    /// Names of the counters to make rates of.
    pub counters: Vec<String>,
}

/// One value that a collector brought.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomValue {
    /// Name of the metric.
    pub name: String,
    /// Unit, in UCUM; empty where none is given.
    pub unit: String,
    /// Description, free text.
    pub description: String,
    /// The number or text.
    pub value: Custom,
    /// Attributes of the point, which tell it from others of the same metric.
    pub attributes: Vec<(String, String)>,
    /// Time of the measurement, Unix ns.
    pub time: u64,
}

/// A number or text that a collector brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Custom {
    /// An integer gauge; booleans are 0 and 1.
    Int(i64),
    /// A finite gauge.
    Float(f64),
    /// An integer sum since `start`, Unix ns.
    IntSum {
        /// Sum since `start`.
        value: i64,
        /// Start time of the sum, Unix ns.
        start: u64,
    },
    /// A sum since `start`, Unix ns; finite.
    FloatSum {
        /// Sum since `start`.
        value: f64,
        /// Start time of the sum, Unix ns.
        start: u64,
    },
    /// Text: a log record `kevmon.value`.
    Text(String),
}

/// A collector's last run, as it is kept over kevmon's restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorRun {
    /// Label of its plugin, with the instance: `redis(cache)`.
    pub plugin: String,
    /// Name of the collector.
    pub collector: String,
    /// Fingerprint of what the collector does: after a change, its last run is that of another collector.
    pub fingerprint: String,
    /// Start time of the run, Unix ns.
    pub time: u64,
}

/// Runs and failures of a collector in this run of kevmon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorReading {
    /// Label of its plugin, with the instance: `redis(cache)`.
    pub plugin: String,
    /// Name of the collector.
    pub collector: String,
    /// Runs that ended, well or not.
    pub runs: u64,
    /// Number of failures by kind.
    pub failures: Vec<(&'static str, u64)>,
}
