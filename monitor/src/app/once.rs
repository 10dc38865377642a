//! `--run-once`: one collection over a short window, for people and for cron.

use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{error, info};

use super::{
    Exit, Setup, claim,
    custom::{self, Collectors},
    host,
    keeper::Claimed,
    look::Look,
    output,
    progress::Progress,
    route, terminal,
};
use crate::{
    cli::{Args, Output},
    config::{Settings, receiver::Receiver},
    export::{
        Collection, Continued, Detail, HostIdentity, MetricRequests, Precision, Run, ServiceReading,
        Temporality, json_line, json_line_continued, render,
        transport::{Signal, Transport},
    },
    shown,
};

/// Whether a program that stays has brought values is looked at this often.
const COLLECTORS_POLL: Duration = Duration::from_millis(20);

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
        mut host,
        state,
        claimed,
        notifier: _,
    } = setup;
    let args = sources.args();
    let keeps = !matches!(claimed, Claimed::NotWanted);
    if keeps {
        host.reporter = claim::reporter(&claimed, &state, &sources);
        host::say_missing_id(&host);
    }
    let mut look = Look::start(&sources, loaded, claimed, &host)?;
    // Its thread begins after the source was opened, which gives capabilities up for the calling thread alone.
    let progress = Progress::of("measuring", args.window());
    let places = custom::places(&args.proc_root, &state, args.config.as_deref(), &settings);
    let mut collectors = Collectors::new(places);
    collectors.update(look.window_plugins(), std::time::Instant::now());
    custom::start_due(&mut collectors, &look.watch);
    look.wait(args.window()).await;
    // Each has a time limit of its own.
    while collectors.is_running() {
        // A program that stays may say nothing at all.
        let _: Result<(), tokio::time::error::Elapsed> =
            tokio::time::timeout(COLLECTORS_POLL, collectors.ended()).await;
    }
    let (mut window, mut kept) = look.collect();
    custom::add(&mut collectors, &mut window);
    let found = window.services.iter().any(|service| {
        let reading = &service.reading;
        reading.process_count > 0 || reading.happened.exits > 0 || !service.extra.custom.is_empty()
    });
    if let Some(kept) = &mut kept {
        for service in &mut kept.services {
            let same = |shown: &&ServiceReading| shown.plugin.label() == service.plugin.label();
            if let Some(shown) = window.services.iter().find(same) {
                service.extra = shown.extra.clone();
            }
        }
        look.commit(kept);
    }
    let json = args.output == Output::Json;
    if !json {
        look.name_busiest(&mut window, &args.proc_root, args.all);
    }
    drop(progress);
    print(&window, kept.as_ref().map(|kept| look.continued(kept)), args)?;

    // Totals that are kept are the service's, also at a receiver.
    let (exported, run) = kept
        .as_ref()
        .map_or((&window, Run::Once), |kept| (kept, Run::Service));
    let mut well = true;
    let progress = Progress::start("exporting");
    let all_sent = export(exported, run, &host, &settings).await;
    drop(progress);
    for sent in all_sent {
        well &= sent.reached || !sent.asked_for;
        let Sent { line, .. } = &sent;
        if !json {
            output::print(&(shown::printable(line) + "\n")).context("standard output")?;
        } else if !sent.reached && sent.asked_for {
            error!("{line}");
        } else {
            info!("{line}");
        }
    }
    if keeps && !look.has_kept() {
        // What was asked for has not been done; why not has been logged.
        return Ok(Exit::Failure);
    }
    Ok(match (found, well) {
        (_, false) => Exit::Unreachable,
        (false, true) => Exit::NothingFound,
        (true, true) => Exit::Success,
    })
}

/// Prints the window's collection, and what happened since the last run.
fn print(window: &Collection, continued: Option<Continued<'_>>, args: &Args) -> Result<()> {
    if args.output == Output::Json {
        let line = match &continued {
            Some(continued) => json_line_continued(window, continued),
            None => json_line(window),
        };
        output::print(&(shown::json(&line).into_owned() + "\n")).context("standard output")?;
        return Ok(());
    }
    let detail = Detail {
        precision: if args.exact {
            Precision::Exact
        } else {
            Precision::Human
        },
        all: args.all,
    };
    let look = terminal::look(args.paint.color);
    let mut text = render(window, detail).paint(look);
    if let Some(continued) = &continued {
        text.append(&continued.text(detail).paint(look));
    }
    output::print_painted(&text).context("standard output")?;
    Ok(())
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
async fn export(collection: &Collection, run: Run, host: &HostIdentity, settings: &Settings) -> Vec<Sent> {
    // One look has nothing to take a difference from.
    let mut requests = MetricRequests::new(host.clone(), run, Temporality::Cumulative)
        .with_histograms(route::histograms(settings));
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
