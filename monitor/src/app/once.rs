//! `--run-once`: one collection over a short window, for people and for cron.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use super::{
    Exit, Setup, faulty_files,
    keeper::Kept,
    output,
    watch::{Origin, Watch},
};
use crate::{
    cli::Output,
    config::Settings,
    export::{Collection, Exporter, HostIdentity, MetricRequests, Run, Temporality, json_line, render},
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
        args,
        loaded,
        settings,
        host,
        state: _, // a look at the host neither keeps anything nor goes on from what was kept
    } = setup;
    let faulty = faulty_files(&loaded);
    let mut watch = Watch::start(Origin::from(&args), loaded.plugins, &Kept::default())?;
    let clock = output::clock();
    let groups: Vec<GroupId> = watch.plugins().map(|(group, _)| group).collect();
    // A first reading: rates are measured from here.
    watch.collect(&groups);
    let end = Instant::now() + args.window();
    while Instant::now() < end {
        sleep_until(end.min(Instant::now() + DRAIN)).await;
        watch.drain();
    }
    let collection = output::collect(&mut watch, &groups, (clock, clock), &faulty, true);
    let found = collection
        .services
        .iter()
        .any(|service| service.reading.process_count > 0 || service.reading.happened.exits > 0);
    let json = args.output == Output::Json;
    let text = if json {
        json_line(&collection) + "\n"
    } else {
        render(&collection)
    };
    output::print(&text).context("standard output")?;

    let (line, reached) = export(&collection, &host, &settings).await;
    if !json {
        output::print(&format!("{line}\n")).context("standard output")?;
    } else if !reached && settings.endpoint.asked_for {
        error!("{line}");
    } else {
        info!("{line}");
    }
    Ok(match (found, reached || !settings.endpoint.asked_for) {
        (_, false) => Exit::Unreachable,
        (false, true) => Exit::NothingFound,
        (true, true) => Exit::Success,
    })
}

/// Exports, and says how it went in one line.
async fn export(collection: &Collection, host: &HostIdentity, settings: &Settings) -> (String, bool) {
    let endpoint = &settings.endpoint;
    let result = match Exporter::new(&endpoint.url, settings.timeout) {
        Ok(mut exporter) => {
            let mut requests = MetricRequests::new(host.clone(), Run::Once, Temporality::Cumulative);
            exporter.export_all(requests.encode(collection, |_| true)).await
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => (format!("exported to {}", endpoint.url), true),
        Err(error) if endpoint.asked_for => (format!("not exported: {error}"), false),
        Err(error) => (
            format!(
                "not exported; nothing asked for it ({} comes from: {}): {error}",
                endpoint.url, endpoint.from
            ),
            false,
        ),
    }
}
