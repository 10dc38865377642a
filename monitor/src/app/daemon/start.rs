//! The start of a daemon: state, sources, exports, collectors and the service, each once what it needs is there.

use std::{collections::BTreeSet, collections::VecDeque, path::Path, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal as Signals, SignalKind, signal},
    sync::mpsc,
    time::Instant,
};
use tracing::{info, warn};

use super::{
    Daemon, Inputs,
    alarm::Alarm,
    collecting::Onset,
    register,
    service::{self, Service},
};
use crate::{
    app::{
        Setup, claim,
        custom::{self, Collectors},
        delivery::Attempt,
        empty::EmptyGroups,
        exports::{self, Exports},
        faulty_files, host,
        keeper::{self, Keeper, Kept},
        lines::{LineTarget, Lines},
        output,
        phase::Phase,
        process_series::ProcessSeries,
        recorder::Recorder,
        reload::{Applied, Watcher},
        schedule::Schedule,
        service::Wanted,
        times::CollectionTimes,
        watch::{Origin, Watch},
    },
    cli::{Args, Output, Source},
    config::{Settings, receiver},
    export::HostIdentity,
    health::Pulses,
    kernel::{self, PinError, Pinning},
    procfs::HostReader,
};

/// Attempts to deliver that wait to be told as spans.
const ATTEMPTS: usize = 1024;

/// Starts everything; nothing is collected before [`Daemon::serve`].
///
/// # Errors
/// The source does not work, or a thread or signal handler cannot be had.
pub(super) fn start(setup: Setup) -> Result<(Daemon, Inputs)> {
    let Setup {
        sources,
        survey,
        mut loaded,
        settings,
        mut host,
        state,
        claimed,
        notifier,
    } = setup;
    host.reporter = claim::reporter(&claimed, &state, &sources);
    host::say_missing_id(&host);
    let args = sources.args().clone();
    let faulty = faulty_files(&loaded);
    let applied = Applied::new(&loaded, &settings, &host);
    let folders = sources.folders();
    let environment = sources.environment().clone();
    let is_idle = loaded.idle.is_some();
    let idle = loaded.idle.take().filter(|_| !loaded.disabled.is_empty());
    let (reload, reloads) = mpsc::channel(1);
    let asked = (Arc::clone(&notifier), reloads);
    let changes = Watcher::start(sources, survey, is_idle, asked).context("SIGHUP")?;
    let [terminate, interrupt, restart] = signals()?;
    let this_boot = keeper::this_boot(args.boot_id.as_deref(), &args.proc_root);
    let boot_id = this_boot.id.clone();
    let now = output::unix_now();
    let (mut keeper, kept) = Keeper::open(claimed, this_boot, now, &mut loaded.plugins, &host);
    let origin = Origin {
        pinning: pinning(&keeper, &args, &settings, &kept),
        exact_ends: settings.exact_ends,
        ..Origin::from(&args)
    };
    let mut watch = Watch::start(origin, loaded.plugins, &kept)?;
    keeper.attached(output::unix_now(), HostReader::now());
    keeper.say_outage(watch.takeover());
    keeper.offer_original(&environment);
    let ring = watch.event_descriptor()?.map(register);
    let ring = ring.transpose().context("ring buffer")?;
    let boot = keeper.boot_clock(output::boot_clock());
    let phase = Phase::of(&host, boot_id.as_deref(), boot);
    let schedule = Schedule::new(
        watch.plugins().map(|(group, plugin)| (group, plugin.interval)),
        phase,
        (std::time::Instant::now(), output::unix_now()),
    );
    let times = CollectionTimes::new(keeper.earlier_times(), output::boot_clock(), HostReader::now());
    let (attempted, attempts) = mpsc::channel(ATTEMPTS);
    let pulses = service::patience(&notifier);
    let mut exports = start_exports(
        (&settings, &watch, &kept),
        (host.clone(), phase),
        spool(&keeper, &args, &state).as_deref(),
        (attempted, &pulses),
    )?;
    let mut series = ProcessSeries::default();
    series.told_before(kept.groups.iter().map(|(group, kept)| (*group, &kept.saved)));
    drop(kept);
    exports.look_for_unconfirmed(keeper.last_commit());
    let commits_between = settings.temporality == receiver::Temporality::Cumulative && keeper.has_store();
    let mut recorder = Recorder::new(settings.recorder, keeper.path());
    recorder.plan(&mut watch);
    let collectors = start_collectors(&keeper, &watch, (&args, &state, &settings));
    keeper.write_beside().context("a thread that writes the state")?;
    let stored_at = keeper.path().map(Path::to_owned);
    let mut service = Service::start(notifier, pulses, stored_at, (&watch, &keeper, &exports));
    let wanted = Wanted {
        instance: args.instance.as_deref(),
        database: args.metadata_db_path.as_deref(),
        environment: &environment,
    };
    let (order, orders) = mpsc::channel(1);
    let (ask, asks) = mpsc::channel(1);
    service.take_commands(&wanted, (order, reload, ask), watch.may_begin_again());
    let lines = args.output == Output::Json;
    let lines = lines.then(|| Lines::start(LineTarget::Stdout)).transpose()?;
    let mut daemon = Daemon {
        service,
        state,
        host,
        collectors,
        watch,
        keeper,
        clock: times.clock(),
        boot,
        wall: output::clock(),
        empty: EmptyGroups::default(),
        left_out: Onset::default(),
        undeliverable: Onset::default(),
        faulty,
        named_at: Instant::now(),
        lines,
        exports,
        applied,
        times,
        schedule,
        late: VecDeque::new(),
        over_budget: BTreeSet::new(),
        folders,
        idle_at: None,
        elsewhere: BTreeSet::new(),
        commits_between,
        commit_at: None,
        may_press_at: Instant::now(),
        is_behind: false,
        series,
        recorder,
        reloading: None,
        asked: None,
        leaving: BTreeSet::new(),
        args,
    };
    daemon.note_idle(idle.as_ref());
    let inputs = Inputs {
        terminate,
        interrupt,
        restart,
        changes,
        attempts,
        orders,
        asks,
        ring,
        alarm: Alarm::new().context("a timer (timerfd_create(2))")?,
    };
    Ok((daemon, inputs))
}

/// SIGTERM, SIGINT and SIGUSR2.
fn signals() -> Result<[Signals; 3]> {
    Ok([
        signal(SignalKind::terminate()).context("SIGTERM")?,
        signal(SignalKind::interrupt()).context("SIGINT")?,
        signal(SignalKind::user_defined2()).context("SIGUSR2")?,
    ])
}

/// Where requests wait for their receivers: with the state, or where it would be. `None` for a run that keeps nothing.
fn spool(keeper: &Keeper, args: &Args, state: &Path) -> Option<PathBuf> {
    let stored_at = keeper.path().map(Path::to_owned);
    let store = stored_at.or_else(|| (!args.no_store).then(|| state.to_owned()));
    store.map(|store| exports::spool_path(&store))
}

fn start_exports(
    (settings, watch, kept): (&Settings, &Watch, &Kept),
    host: (HostIdentity, Phase),
    spool: Option<&Path>,
    told: (mpsc::Sender<Attempt>, &Pulses),
) -> Result<Exports> {
    let plugins = watch.plugins();
    let plugins = plugins
        .map(|(group, plugin)| (group, Arc::clone(plugin)))
        .collect();
    Exports::start(settings, plugins, host, (spool, kept), told)
}

fn start_collectors(
    keeper: &Keeper,
    watch: &Watch,
    (args, state, settings): (&Args, &Path, &Settings),
) -> Collectors {
    let config = args.config.as_deref();
    let mut collectors = Collectors::new(custom::places(&args.proc_root, state, config, settings));
    collectors.remember(keeper.collector_runs());
    collectors.update(watch.plugins(), std::time::Instant::now());
    collectors
}

/// How the kernel side is to outlive this run; `None` where it cannot, or is not to.
fn pinning(keeper: &Keeper, args: &Args, settings: &Settings, kept: &Kept) -> Option<Pinning> {
    let database = keeper.path()?;
    let state = kernel::state_name(database)
        .inspect_err(|error| {
            info!(
                "{}: {error}; what happens while kevmon is away will not be known",
                database.display()
            );
        })
        .ok()?;
    if settings.keep_watching.is_zero() || args.source == Source::Proc {
        // An earlier run may have been told otherwise.
        match kernel::remove_pins(&state) {
            Ok(true) => {
                info!("what an earlier run left in the kernel is removed, as this one does not go on from it")
            }
            // What this user may not look at is no earlier run's of this user.
            Ok(false) | Err(PinError::Denied(_)) => {}
            Err(error) => warn!("{error}"),
        }
        return None;
    }
    Some(Pinning {
        state,
        keep_watching: settings.keep_watching,
        progress: kept.progress.clone(),
    })
}
