//! One run of one collector, from its specification to the values that were found and the failures on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::timeout;

use super::{
    Places, builtin,
    confine::{self, End, FileOrder, FileRead, Job, Order, Report},
    format::{self, Parsed},
    http,
    identity::Identity,
};
use crate::{
    limits,
    plugin::{
        Plugin,
        collector::{CollectorSpec, FILE_BYTES, FilePath, Format, Source},
    },
    process::ProcessKey,
};

/// Address space of the process that reads files, bytes.
const READER_MEMORY: u64 = 1 << 30;
/// Processes whose files are read in one run.
const MOST_FILES: usize = 4_096;
/// Bytes that are read in one run, of all files together.
const MOST_READ: u64 = 64 << 20;

/// What a run is about.
pub(super) struct Context {
    pub(super) places: Arc<Places>,
    pub(super) plugin: Arc<Plugin>,
    pub(super) spec: Arc<CollectorSpec>,
    /// Time between two runs, or between two samples of a program that stays.
    pub(super) interval: Duration,
    /// Of a collector that reads a file of each member.
    pub(super) members: Vec<ProcessKey>,
}

/// Values of one output.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) parsed: Parsed,
    /// Whose they are, where they are one process's.
    pub(super) process: Option<ProcessKey>,
    /// When they were read, Unix ns.
    pub(super) time: u64,
}

/// What a run brought.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) found: Vec<Found>,
    /// Kinds and reasons.
    pub(super) failures: Vec<(&'static str, String)>,
    /// What the program had to say.
    pub(super) stderr: String,
    /// System calls that were refused.
    pub(super) refused_calls: Vec<String>,
    /// What the kernel could not do to confine it.
    pub(super) lacking: Vec<String>,
}

impl Outcome {
    pub(super) fn failed(kind: &'static str, reason: String) -> Self {
        Self {
            failures: vec![(kind, reason)],
            ..Self::default()
        }
    }
}

pub(super) fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Runs once.
pub(super) async fn run(context: Context) -> Outcome {
    let spec = Arc::clone(&context.spec);
    match &spec.source {
        Source::Command { format, .. } => command(&context, *format).await,
        Source::File { path, .. } => files(&context, path).await,
        Source::Http {
            url,
            hosts,
            format,
            output,
        } => match timeout(spec.timeout, http::get(url, hosts, *output)).await {
            Ok(Ok(body)) => parsed(&spec, *format, body, None).await,
            Ok(Err((kind, reason))) => Outcome::failed(kind, reason),
            Err(_) => Outcome::failed("timeout", format!("{url} did not answer in time; raise timeout")),
        },
        Source::BuiltIn(name) => built_in(&context, name).await,
    }
}

/// Reads an output beside the ticks, which a long one would hold up.
async fn parsed(
    spec: &Arc<CollectorSpec>,
    format: Format,
    output: Vec<u8>,
    process: Option<ProcessKey>,
) -> Outcome {
    let spec = Arc::clone(spec);
    let parsing = tokio::task::spawn_blocking(move || format::parse(format, &output, &spec.metrics));
    let parsed = match parsing.await {
        Ok(parsed) => parsed,
        Err(error) => return Outcome::failed("panicked", format!("its output could not be read: {error}")),
    };
    let failures = parsed
        .problems
        .iter()
        .map(|problem| ("parse", problem.clone()))
        .collect();
    Outcome {
        found: vec![Found {
            parsed,
            process,
            time: unix_now(),
        }],
        failures,
        ..Outcome::default()
    }
}

/// As whom the work is done.
async fn identity(context: &Context, asked: Option<&str>) -> Result<Identity, String> {
    let (asked, account) = (asked.map(str::to_owned), context.places.account.clone());
    let found = tokio::task::spawn_blocking(move || Identity::find(asked.as_deref(), account.as_deref()));
    found
        .await
        .unwrap_or_else(|error| Err(format!("its user could not be looked up: {error}")))
}

/// An order for `job` with the least that there is: no network, and nothing without its walls.
fn order(context: &Context, job: Job, identity: &Identity, output: u64, memory: u64) -> Order {
    let folder = context.plugin.origin.as_deref().and_then(Path::parent);
    let folder = folder.and_then(|folder| folder.canonicalize().ok());
    Order {
        job,
        user: identity.user,
        is_alone: identity.is_alone(),
        timeout_ms: u64::try_from(context.spec.timeout.as_millis()).unwrap_or(u64::MAX),
        follow: false,
        output,
        memory,
        denied: context.places.denied.clone(),
        granted: folder.into_iter().collect(),
        allow_network: false,
        allow_unconfined: false,
    }
}

/// What it takes to start a command, whether it is waited for or followed. The identity is to be kept until its end.
///
/// # Errors
/// The user that it should run as cannot be had.
pub(super) async fn command_order(context: &Context) -> Result<(Order, Identity), String> {
    let Source::Command {
        stream,
        argv,
        user,
        output,
        memory,
        allow_network,
        allow_unconfined,
        environment,
        ..
    } = &context.spec.source
    else {
        return Err("it is no command".to_owned());
    };
    let identity = identity(context, user.as_deref()).await?;
    let interval = context.interval.as_secs_f64().to_string();
    let given = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "C"),
        ("KEVMON_INTERVAL", &interval),
    ];
    let mut variables: BTreeMap<String, String> = given
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let instance = context.plugin.instance.iter();
    variables.extend(instance.map(|id| ("KEVMON_INSTANCE".to_owned(), id.clone())));
    let settings = context.plugin.settings.iter();
    variables.extend(settings.map(|(name, value)| (format!("KEVMON_SETTING_{name}"), value.clone())));
    variables.extend(environment.clone());
    let folder = context.plugin.origin.as_deref().and_then(Path::parent);
    let folder = folder.and_then(|folder| folder.canonicalize().ok());
    let job = Job::Run {
        argv: argv.clone(),
        environment: variables,
        folder: folder.unwrap_or_else(|| PathBuf::from("/")),
    };
    let order = Order {
        follow: stream.is_some(),
        allow_network: *allow_network,
        allow_unconfined: *allow_unconfined,
        ..order(context, job, &identity, *output, *memory)
    };
    Ok((order, identity))
}

async fn command(context: &Context, format: Format) -> Outcome {
    let (order, identity) = match command_order(context).await {
        Ok(order) => order,
        Err(reason) => return Outcome::failed("refused", reason),
    };
    let (report, told) = match confine::carry_out(&order).await {
        Ok(carried_out) => carried_out,
        Err(error) => {
            let remedy = limits::start_remedy(&error).map(|remedy| format!("; {remedy}"));
            let reason = format!("it could not be started: {error}{}", remedy.unwrap_or_default());
            return Outcome::failed("refused", reason);
        }
    };
    if report.end == End::UserInUse {
        identity.give_away();
    }
    let mut outcome = match ended(&report, context) {
        Some(failure) => Outcome {
            failures: vec![failure],
            ..Outcome::default()
        },
        None => parsed(&context.spec, format, told, None).await,
    };
    if report.leftovers > 0 {
        let left = report.leftovers;
        let reason = format!("it left {left} processes behind, which were ended; wait for what you start");
        outcome.failures.push(("leftovers", reason));
    }
    outcome.stderr = report.stderr;
    outcome.refused_calls = report.refused_calls;
    outcome.lacking = report.lacking;
    outcome
}

/// What is wrong with how a run ended.
pub(super) fn ended(report: &Report, context: &Context) -> Option<(&'static str, String)> {
    let hint = report
        .stderr
        .lines()
        .next_back()
        .map(|line| format!(" ({line})"))
        .unwrap_or_default();
    match &report.end {
        End::Exited(0) => None,
        End::Exited(code) => Some((
            "exit_status",
            format!("it ended with exit code {code}{hint}; run it by hand"),
        )),
        End::Signalled(signal) => Some((
            "signal",
            format!("it died of signal {signal}{hint}; run it by hand"),
        )),
        End::TimedOut => Some((
            "timeout",
            format!(
                "it took longer than {:?} and was ended; raise timeout",
                context.spec.timeout
            ),
        )),
        End::TooMuchOutput => Some((
            "output_limit",
            "it wrote more than max_output and was ended; write less, or raise max_output".to_owned(),
        )),
        End::Stopped => None, // as kevmon wanted
        End::Refused(reason) => Some(("refused", reason.clone())),
        End::UserInUse => Some((
            "refused",
            "a process of others has the user id that was meant for it; the next run takes another one"
                .to_owned(),
        )),
    }
}

async fn files(context: &Context, path: &FilePath) -> Outcome {
    let Source::File {
        user,
        allow_unconfined,
        ..
    } = &context.spec.source
    else {
        return Outcome::default();
    };
    let identity = match identity(context, user.as_deref()).await {
        Ok(identity) => identity,
        Err(reason) => return Outcome::failed("refused", reason),
    };
    let proc = &context.places.proc;
    let files: Vec<FileOrder> = match path {
        FilePath::Fixed(path) => vec![FileOrder {
            path: path.clone(),
            process: None,
            proc: proc.clone(),
        }],
        FilePath::OfProcess(file) => context
            .members
            .iter()
            .take(MOST_FILES)
            .map(|key| FileOrder {
                path: PathBuf::from(file),
                process: Some((key.tgid.0, key.start.0 / ProcessKey::TICK_NANOS)),
                proc: proc.clone(),
            })
            .collect(),
    };
    if files.is_empty() {
        return Outcome::default();
    }
    // JSON may need six bytes for one.
    let output = ((FILE_BYTES * 6 + 4096) * files.len() as u64).min(MOST_READ);
    let order = Order {
        allow_unconfined: *allow_unconfined,
        ..order(context, Job::Read(files), &identity, output, READER_MEMORY)
    };
    let (report, told) = match confine::carry_out(&order).await {
        Ok(carried_out) => carried_out,
        Err(error) => return Outcome::failed("refused", format!("no reader could be started: {error}")),
    };
    if report.end == End::UserInUse {
        identity.give_away();
    }
    let mut outcome = Outcome {
        lacking: report.lacking.clone(),
        ..Outcome::default()
    };
    if let Some(failure) = ended(&report, context) {
        outcome.failures.push(failure);
        return outcome;
    }
    for line in told.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(read) = serde_json::from_slice::<FileRead>(line) else {
            outcome
                .failures
                .push(("parse", "the reader ended in the middle of a file".to_owned()));
            continue;
        };
        let key = read.process.and_then(|(pid, start)| {
            let is_it =
                |key: &&ProcessKey| key.tgid.0 == pid && key.start.0 / ProcessKey::TICK_NANOS == start;
            context.members.iter().find(is_it).copied()
        });
        match read.content {
            Ok(content) => {
                let one = parsed(&context.spec, Format::Text, content.into_bytes(), key).await;
                outcome.found.extend(one.found);
                outcome.failures.extend(one.failures);
            }
            Err(refusal) if refusal.vanished => {} // no failure
            Err(refusal) => {
                let shown = match path {
                    FilePath::Fixed(path) => path.display().to_string(),
                    FilePath::OfProcess(file) => {
                        format!("/proc/{}/{file}", read.process.map_or(0, |(pid, _)| pid))
                    }
                };
                let reason = format!(
                    "{shown}: {}; name another file, or a user who may read it",
                    refusal.reason
                );
                outcome.failures.push(("refused", reason));
            }
        }
    }
    outcome
}

/// Built-in collectors whose threads have not ended, with their plugins.
static HANGING: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

fn hanging() -> MutexGuard<'static, BTreeSet<(String, String)>> {
    HANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(name: &str, plugin: &str) -> bool {
    hanging().insert((name.to_owned(), plugin.to_owned()))
}

fn end(name: &str, plugin: &str) {
    hanging().remove(&(name.to_owned(), plugin.to_owned()));
}

async fn built_in(context: &Context, name: &str) -> Outcome {
    let Some(mut collector) = builtin::named(name) else {
        return Outcome::failed("refused", format!("there is no built-in collector {name:?}"));
    };
    let proc = context.places.proc.clone();
    // A thread of its own, so that one that hangs takes no other's; and none is started beside it while it does.
    if !begin(name, &context.plugin.label()) {
        return Outcome::failed(
            "still_running",
            "an earlier run of it hangs; it is not started again".to_owned(),
        );
    }
    let (of, plugin) = (name.to_owned(), context.plugin.label());
    let (to, from) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name(format!("collect-{name}"));
    let started = thread.spawn(move || {
        // Nobody waits any more when it took too long.
        let collected = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| collector.collect(&proc)));
        end(&of, &plugin);
        let collected = collected.unwrap_or_else(|_| Err("it panicked; see standard error".to_owned()));
        let _: Result<(), _> = to.send(collected);
    });
    if let Err(error) = started {
        return Outcome::failed("refused", format!("there is no thread for it: {error}"));
    }
    match timeout(context.spec.timeout, from).await {
        Ok(Ok(Ok(values))) => Outcome {
            found: vec![Found {
                parsed: Parsed {
                    values,
                    ..Parsed::default()
                },
                process: None,
                time: unix_now(),
            }],
            ..Outcome::default()
        },
        Ok(Ok(Err(reason))) => Outcome::failed("unreadable", reason),
        Ok(Err(_)) => Outcome::failed("panicked", "it panicked; see standard error".to_owned()),
        Err(_) => Outcome::failed("timeout", "it took too long; raise timeout".to_owned()),
    }
}
