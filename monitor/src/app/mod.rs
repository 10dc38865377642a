//! Wiring: reads the configuration, opens the source, runs once or as a daemon, and decides the exit status.

mod busiest;
mod claim;
mod custom;
mod daemon;
mod delivery;
mod doctor;
mod empty;
mod events;
mod export_thread;
mod exports;
mod generate;
mod history;
mod host;
mod incidents;
mod keeper;
mod lines;
mod local_time;
mod log;
mod look;
mod once;
mod original;
mod output;
mod phase;
#[cfg(test)]
mod planted_tests;
mod plugin_tool;
mod process_series;
mod progress;
mod recorder;
mod reload;
mod report;
mod route;
mod schedule;
mod service;
mod sources;
mod story;
mod terminal;
mod times;
mod top;
mod unpin;
mod verify_install;
mod watch;
mod why;

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use tracing::{debug, error, info, warn};

use crate::{
    cli::{Args, Cli, Command, Which},
    collector,
    config::{self, Environment, Loaded, Settings, Survey},
    export::HostIdentity,
    files, limits, shown,
    store::StoreError,
};

#[cfg(any(test, fuzzing))]
pub(crate) use self::plugin_tool::accepted;

use self::{
    keeper::Claimed,
    log::LogPlace,
    service::{Wanted, notify::Notifier},
    sources::{Configuration, Sources},
};

/// How kevmon ends; documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Success,
    /// `--run-once`: no selected plugin found a process. `doctor`: something is at fault.
    NothingFound,
    /// `verify-install`: what is installed is not what was packaged.
    Differs,
    /// Bad usage or configuration.
    Usage,
    /// An endpoint that was asked for could not be reached.
    Unreachable,
    /// Something else kept kevmon from working: no permission, no /proc.
    Failure,
    /// `status`, `reload`, `--stop`, `--restart`: no kevmon runs.
    NotRunning,
    /// The daemon is to begin again, in the same process.
    Again,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success | Exit::Again => 0,
            Exit::NothingFound | Exit::Differs => 1,
            Exit::Usage => 2,
            Exit::Unreachable | Exit::NotRunning => 3,
            Exit::Failure => 4,
        })
    }
}

/// Everything a run needs to know.
struct Setup {
    sources: Sources,
    /// What the files looked like when they were read.
    survey: Survey,
    loaded: Loaded,
    settings: Settings,
    host: HostIdentity,
    /// Where the daemon keeps its state, as it was asked for.
    state: PathBuf,
    /// The right to do so.
    claimed: Claimed,
    notifier: Arc<Notifier>,
}

/// Runs kevmon.
///
/// # Errors
/// What kept it from working, with its context.
pub(crate) fn run(cli: Cli) -> Result<Exit> {
    collector::confine::guard_memory();
    limits::survive_file_size();
    let environment = Environment::of_this_process();
    match cli.command {
        None if cli.args.stop => service::stop(wanted(&cli.args.which(), &environment)),
        None if cli.args.restart => service::restart(wanted(&cli.args.which(), &environment)),
        None => watch_and_export(cli.args),
        Some(Command::Events(args)) => {
            // What events misses, it says by itself and as it happens; what else the log could tell is beside it.
            log::start(&LogPlace::STDERR, &config::LogLevel::Error.into())?;
            limits::raise_open_files()?;
            block_on(events::run(&args))
        }
        Some(Command::Top(args)) => top::run(&args, &environment),
        Some(Command::History(args)) => history::run(&args),
        Some(Command::Why(args)) => why::run(&args),
        Some(Command::Incidents(args)) => incidents::run(&args),
        Some(Command::Report(args)) => report::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Unpin(args)) => unpin::run(&args),
        Some(Command::Status(args)) => service::status(wanted(&args.which, &environment), args.json),
        Some(Command::Reload(which)) => service::reload(wanted(&which, &environment)),
        Some(Command::VerifyInstall(args)) => verify_install::run(&args),
        Some(Command::Generate(args)) => generate::run(&args),
        Some(Command::Confine) => {
            collector::confine::supervise().context("the order of a collector")?;
            Ok(Exit::Success)
        }
        Some(Command::Plugin(command)) => plugin_tool::run(command),
    }
}

/// The instance that a command is for.
fn wanted<'a>(which: &'a Which, environment: &'a Environment) -> Wanted<'a> {
    Wanted {
        instance: which.instance.as_deref(),
        database: which.metadata_db_path.as_deref(),
        environment,
    }
}

/// Becomes another kevmon with the same arguments, in the same process: its pid stays, and with it whatever supervises it.
///
/// # Errors
/// Always: the program could not be executed.
fn begin_again(program: &Path, notifier: &Notifier) -> Result<Exit> {
    let mut arguments = std::env::args_os();
    let mut command = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let variables = notifier.variables().map(|(name, value)| (name, value));
    let error = command.args(arguments).envs(variables).exec();
    Err(error).with_context(|| format!("cannot begin again: {}", program.display()))
}

/// The store's file; `None` where there is no place for one, which has been said then.
fn state_path(asked: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    config::metadata_path(asked, environment, is_root)
        .inspect_err(|fault| report(fault, true))
        .ok()
}

/// Where the state is, and what came of claiming it; `None` where there is no place for it. Nothing is claimed for a
/// configuration that cannot be used.
fn claim_state(
    sources: &Sources,
    loaded: &Loaded,
    is_settled: bool,
) -> Option<(PathBuf, std::result::Result<Claimed, StoreError>)> {
    let args = sources.args();
    let is_root = rustix::process::geteuid().is_root();
    let path = config::metadata_path(args.metadata_db_path.as_deref(), sources.environment(), is_root);
    if !args.keeps_state() {
        // Where the service's is, all the same: collectors are not to see it.
        return Some((path.unwrap_or_default(), Ok(Claimed::NotWanted)));
    }
    let path = path.ok()?;
    let runs = is_settled && (loaded.idle.is_some() || !loaded.plugins.is_empty());
    let claimed = if runs {
        claim::claim(&path, sources, loaded)
    } else {
        Ok(Claimed::NotWanted)
    };
    Some((path, claimed))
}

/// Threads that look host names up, which is all that blocks; they are started when one is needed …
const RESOLVERS: usize = 16;
/// … and end after this long without work.
const KEEP_RESOLVERS: Duration = Duration::from_secs(1);

/// The runtime that everything runs on; what it is given has ended when this returns.
fn block_on(future: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RESOLVERS)
        .thread_keep_alive(KEEP_RESOLVERS)
        .build()
        .context("tokio runtime")?;
    let exit = runtime.block_on(future);
    // A name server that does not answer would hold an ordinary shutdown up.
    runtime.shutdown_background();
    exit
}

/// The main job: one collection, or one after the other.
fn watch_and_export(args: Args) -> Result<Exit> {
    // SAFETY: kevmon has started no thread yet.
    let notifier = Arc::new(unsafe { Notifier::take() });
    // As it is called now: an upgrade puts another file in its place.
    let program = std::env::current_exe();
    let sources = Sources::new(args);
    // Before the files are read: what changes from here on is seen.
    let survey = sources.survey();
    let Configuration { loaded, settled, .. } = sources.read();
    let args = sources.args();
    // Before anything is said: a second kevmon that is to end in silence says nothing at all.
    let claimed = claim_state(&sources, &loaded, settled.is_ok());
    if args.if_not_running && matches!(claimed, Some((_, Err(_)))) {
        return Ok(Exit::Success);
    }
    if args.if_not_running
        && let Some((_, Ok(Claimed::Refused(reason @ StoreError::Refused { .. })))) = &claimed
    {
        eprintln!("kevmon: {reason}; without a state it is not known whether another kevmon runs");
        return Ok(Exit::Failure);
    }
    let Some(settings) = usable(args, &loaded, settled) else {
        return Ok(Exit::Usage);
    };
    let Some((state, claimed)) = claimed else {
        // Why there is no place has to be said where the log is.
        state_path(args.metadata_db_path.as_deref(), sources.environment());
        return Ok(Exit::Usage);
    };
    let claimed = match claimed {
        Ok(claimed) => claimed,
        Err(reason) if args.run_once && !args.keep => {
            warn!("{reason}; this run keeps nothing");
            Claimed::NotWanted
        }
        Err(reason) => {
            shown::complain(reason);
            return Ok(Exit::Failure);
        }
    };
    limits::raise_open_files()?;
    let setup = Setup {
        state,
        sources,
        survey,
        loaded,
        host: HostIdentity::read(&settings.resource),
        settings,
        claimed,
        notifier: Arc::clone(&notifier),
    };
    let exit = block_on(async {
        if setup.sources.args().run_once {
            once::run(setup).await
        } else {
            daemon::run(setup).await
        }
    })?;
    match exit {
        Exit::Again => begin_again(&program.context("the path of this program")?, &notifier),
        exit => Ok(exit),
    }
}

/// Starts the log and says what is to be said of the configuration; `None`: it cannot be used.
fn usable(
    args: &Args,
    loaded: &Loaded,
    settled: std::result::Result<Settings, Vec<config::Fault>>,
) -> Option<Settings> {
    let level = settled.as_ref().map_or_else(
        |_| config::LogFilter::default(),
        |settings| settings.log_level.clone(),
    );
    let place = LogPlace {
        file: args.log_file.clone(),
        rotate_at: args.log_rotate,
    };
    let log = log::start(&place, &level);

    let mut refused = false;
    if let Some(fault) = loaded.idle.as_ref().filter(|_| args.run_once) {
        report(fault, true);
        refused = true;
    }
    for fault in &loaded.faults {
        let fatal = fault.is_usage() || args.refuses_faulty_files() || loaded.plugins.is_empty();
        refused |= fatal;
        report(fault, fatal);
    }
    let settings = settled
        .inspect_err(|faults| faults.iter().for_each(|fault| report(fault, true)))
        .ok()?;
    if let Some(fault) = args.output_fault(settings.outputs.otlp_json.as_ref()) {
        report(&fault, true);
        refused = true;
    }
    if let Err(error) = log {
        let is_refused = error.downcast_ref().and_then(files::refusal).is_some();
        let remedy = if is_refused {
            ""
        } else {
            "; name a file that can be written"
        };
        shown::complain(format_args!("{error:#}{remedy}"));
        return None;
    }
    let warnings = args.warnings();
    for warning in warnings.iter().chain(&loaded.warnings).chain(&settings.warnings) {
        // What a published file asks for in vain concerns who keeps the file: `kevmon plugin check` says it.
        if warning.harmless {
            debug!("{warning}");
        } else {
            warn!("{warning}");
        }
    }
    for disabled in &loaded.disabled {
        let why = match &disabled.reason {
            Some(reason) => format!("does not run: {reason}"),
            None => "is switched off".to_owned(),
        };
        info!("{}: plugin {} {why}", disabled.path.display(), disabled.name);
    }
    (!refused).then_some(settings)
}

/// The plugin files that are left out.
fn faulty_files(loaded: &Loaded) -> Vec<String> {
    loaded
        .faulty_files()
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

/// What keeps kevmon from starting is said to whoever started it, whatever the log's level and place.
fn report(fault: &config::Fault, fatal: bool) {
    if fatal {
        shown::complain(fault);
    } else {
        error!("{fault}");
    }
}
