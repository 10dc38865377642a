//! `--run-once`: one collection over a short window, for people and for cron.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use super::{
    Exit, Setup,
    custom::{self, Collectors},
    faulty_files,
    keeper::Kept,
    output, route,
    watch::{Origin, Watch},
};
use crate::{
    cli::Output,
    config::{Settings, receiver::Receiver},
    export::{
        Collection, HostIdentity, MetricRequests, Run, ServiceReading, Temporality, json_line, render,
        transport::{Signal, Transport},
    },
    plugin::GroupId,
};

/// Events are taken this often while the window is open.
const DRAIN: Duration = Duration::from_millis(20);

/// Runs once.
///
/// # Errors
/// The source does not work.
pub(super) async fn run(setup: Setup) -> Result<Exit> {
    let Setup {
        sources,
        survey: _,
        loaded,
        settings,
        host,
        claimed: _,
        state, // out of reach of collectors; a look at the host neither keeps anything nor goes on from what was kept
    } = setup;
    let args = sources.args();
    let faulty = faulty_files(&loaded);
    let mut watch = Watch::start(Origin::from(args), loaded.plugins, &Kept::default())?;
    let clock = output::clock();
    let groups: Vec<GroupId> = watch.plugins().map(|(group, _)| group).collect();
    let places = custom::places(&args.proc_root, &state, args.config.as_deref(), &settings);
    let mut collectors = Collectors::new(places);
    collectors.update(watch.plugins(), std::time::Instant::now());
    custom::start_due(&mut collectors, &watch);
    // A first reading: rates are measured from here.
    watch.collect(&groups);
    let end = Instant::now() + args.window();
    while Instant::now() < end {
        sleep_until(end.min(Instant::now() + DRAIN)).await;
        watch.drain();
    }
    // Each has a time limit of its own.
    while collectors.is_running() {
        collectors.ended().await;
    }
    let mut collection = output::collect(&mut watch, &groups, (clock, clock), &faulty, true);
    custom::add(&mut collectors, &mut collection);
    let found = collection.services.iter().any(|service| {
        let reading = &service.reading;
        reading.process_count > 0 || reading.happened.exits > 0 || !service.extra.custom.is_empty()
    });
    let json = args.output == Output::Json;
    let text = if json {
        json_line(&collection) + "\n"
    } else {
        render(&collection)
    };
    output::print(&text).context("standard output")?;

    let mut well = true;
    for sent in export(&collection, &host, &settings).await {
        well &= sent.reached || !sent.asked_for;
        let Sent { line, .. } = &sent;
        if !json {
            output::print(&format!("{line}\n")).context("standard output")?;
        } else if !sent.reached && sent.asked_for {
            error!("{line}");
        } else {
            info!("{line}");
        }
    }
    Ok(match (found, well) {
        (_, false) => Exit::Unreachable,
        (false, true) => Exit::NothingFound,
        (true, true) => Exit::Success,
    })
}

/// How the export to one receiver went.
struct Sent {
    /// In one line.
    line: String,
    reached: bool,
    /// Somebody wants it to go there.
    asked_for: bool,
}

/// Exports to every receiver that a plugin names.
async fn export(collection: &Collection, host: &HostIdentity, settings: &Settings) -> Vec<Sent> {
    // One look has nothing to take a difference from.
    let mut requests = MetricRequests::new(host.clone(), Run::Once, Temporality::Cumulative);
    let mut all = Vec::new();
    for receiver in &settings.receivers {
        let goes_there =
            |service: &ServiceReading| route::names(&service.plugin).any(|name| name == receiver.name);
        if !collection.services.iter().any(goes_there) {
            continue;
        }
        let connection = route::connection(receiver, Signal::Metrics);
        let mut transport = Transport::new(connection, Signal::Metrics);
        let mut result = Ok(());
        for request in requests.encode(collection, goes_there) {
            result = match transport.send(request.body).await {
                Ok(accepted) if accepted.rejected > 0 => Err(format!(
                    "{}: the receiver rejected {} of {} data points: {}",
                    transport.endpoint(),
                    accepted.rejected,
                    request.items,
                    accepted.remark
                )),
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            if result.is_err() {
                break;
            }
        }
        all.push(said(receiver, transport.endpoint(), result));
    }
    all
}

fn said(receiver: &Receiver, endpoint: &str, result: Result<(), String>) -> Sent {
    let asked_for = receiver.asked_for;
    let reached = result.is_ok();
    let line = match result {
        Ok(()) => format!("exported to {endpoint}"),
        Err(error) if asked_for => format!("not exported: {error}"),
        Err(error) => format!(
            "not exported; nothing asked for it ({endpoint} comes from: {}): {error}",
            receiver.from
        ),
    };
    Sent {
        line,
        reached,
        asked_for,
    }
}
