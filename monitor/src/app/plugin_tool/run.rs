//! `kevmon plugin run`: one plugin alone, every value on standard output.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

use super::{Exit, complain, load, value_line::Lines};
use crate::{
    app::{
        custom::{self, Collectors},
        keeper::Kept,
        output::{self, Clocks, End},
        watch::{Origin, Watch},
    },
    cli::RunArgs,
    config::{self, Environment, Faulty, Overrides},
    import,
    plugin::{GroupId, Plugin, collector::CollectorReading},
};

/// Events are taken this often.
const DRAIN: Duration = Duration::from_millis(20);

/// Collects and prints until SIGINT or SIGTERM, or as often as was asked for.
///
/// # Errors
/// The source does not work, or standard output cannot be written.
pub(super) async fn run(args: RunArgs) -> Result<Exit> {
    let Some(plugins) = plugins(&args) else {
        return Ok(Exit::Usage);
    };
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut watch = Watch::start(Origin::of_command(args.source), plugins, &Kept::default())?;
    let file = config::read_settings(None);
    for fault in file.iter().flat_map(|file| file.faults()) {
        complain(format_args!(
            "{fault}; until then, secrets that it names are kept from collectors only by their own permissions"
        ));
    }
    let places = custom::installed_places(Path::new("/proc"), &Environment::of_this_process(), file.as_ref());
    let mut collectors = Collectors::new(places).telling_all();
    collectors.update(watch.plugins(), std::time::Instant::now());
    custom::start_due(&mut collectors, &watch);
    let (clock, boot) = (output::clock(), output::boot_clock());
    let groups: Vec<GroupId> = watch.plugins().map(|(group, _)| group).collect();
    // A first reading: rates are measured from here.
    watch.collect(&groups);
    let mut due = Instant::now() + args.interval;
    let (mut collected, mut printed) = (0, false);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(Exit::Success),
            _ = interrupt.recv() => return Ok(Exit::Success),
            () = sleep_until(due.min(Instant::now() + DRAIN)) => {}
            () = collectors.ended() => {}
        }
        if collectors
            .next()
            .is_some_and(|next| next <= std::time::Instant::now())
        {
            custom::start_due(&mut collectors, &watch);
        }
        watch.drain();
        if Instant::now() < due {
            continue;
        }
        due = Instant::now().max(due + args.interval);
        let clocks = Clocks {
            clock,
            boot,
            wall: output::clock(),
        };
        let mut collection = output::collect(&mut watch, &groups, clocks, &[], End::GoesOn);
        custom::add(&mut collectors, &mut collection);
        for service in &collection.services {
            let mut lines = Lines::new(&service.plugin, collection.time);
            lines.reading(&collection, service);
            let custom = service.extra.custom.iter();
            let asked = custom.filter(|value| service.plugin.metrics.lets(&value.name));
            asked.for_each(|value| lines.custom(value));
            let lines = lines.finish();
            printed |= !lines.is_empty();
            if !output::print(&lines).context("standard output")? {
                return Ok(Exit::Success); // its reader has gone away
            }
        }
        collected += 1;
        if Some(collected) == args.count {
            let failed = |one: &CollectorReading| !one.failures.is_empty();
            let nothing = !printed && collectors.readings().iter().any(failed);
            return Ok(if nothing { Exit::Failure } else { Exit::Success });
        }
    }
}

/// The plugin's instances; `None` where it cannot be used, which has been said then.
fn plugins(args: &RunArgs) -> Option<Vec<Plugin>> {
    let overrides = overrides(args).inspect_err(|fault| complain(fault)).ok()?;
    let loaded = load(args.plugins_dir.clone(), vec![args.name.clone()], &overrides);
    // Another plugin's faults are no concern of this one's.
    let own = |path: Option<&Path>| {
        let is_own = |file: &Faulty| Some(file.path.as_path()) == path && file.names.contains(&args.name);
        let origins = || {
            loaded
                .plugins
                .iter()
                .filter_map(|plugin| plugin.origin.as_deref())
        };
        path.is_none() || loaded.faulty.iter().any(is_own) || origins().any(|origin| Some(origin) == path)
    };
    let faults: Vec<_> = loaded.faults.iter().filter(|fault| own(fault.path())).collect();
    faults.iter().for_each(complain);
    loaded
        .warnings
        .iter()
        .filter(|warning| own(warning.path()))
        .for_each(complain);
    (faults.is_empty() && !loaded.plugins.is_empty()).then_some(loaded.plugins)
}

/// What the flags set: of the two ways to give a setting, `--set` counts.
fn overrides(args: &RunArgs) -> Result<Overrides, String> {
    let mut settings = match &args.settings {
        Some(text) => import::settings(text).map_err(|error| format!("-c: {error}"))?,
        None => Vec::new(),
    };
    settings.extend(args.set.iter().cloned());
    Ok(Overrides {
        interval: Some(args.interval),
        settings,
        ..Overrides::default()
    })
}
