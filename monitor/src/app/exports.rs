//! All ways out of the daemon but the JSON lines: receivers, kevmon's own telemetry, OTLP/JSON and Prometheus.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::{
    delivery::{Attempt, Courier, Delivery, Left, SpoolPlace},
    export_thread::ExportThread,
    keeper::Kept,
    lines::{LineTarget, Lines},
    phase::Phase,
    route::{self, OwnWay, Routes},
    watch::Watch,
};
use crate::{
    config::{
        Settings,
        receiver::{JsonTarget, PrometheusPage, Receiver},
    },
    export::{
        Collection, CollectionSpan, ExportSpan, HistogramForm, HostIdentity, MetricRequests, Run, Telemetry,
        TelemetryError, Temporality, UnixClock, iso8601, otlp_json_line,
        prometheus::{Access, LatestReadings, PrometheusServer},
        transport::{EncodedRequest, Signal, server_tls::ServerTls},
    },
    health::{Pulse, Pulses},
    kernel,
    metrics::{AttemptsReading, ProgramTime, TelemetryReading, Timing},
    plugin::{Notice, Plugins},
    store::spool,
};

/// The last export may take this long, so that the end comes within two seconds.
const FINAL_EXPORT: Duration = Duration::from_millis(1_000);

/// The last OTLP/JSON lines may take this long.
const FINAL_LINES: Duration = Duration::from_millis(200);

/// When a collection began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    /// By the wall clock, which may be set in between.
    wall: SystemTime,
    instant: Instant,
}

impl Began {
    pub(super) fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            instant: Instant::now(),
        }
    }

    /// How long ago that is.
    pub(super) fn elapsed(self) -> Duration {
        self.instant.elapsed()
    }
}

/// Everything that a collection is handed to.
pub(super) struct Exports {
    host: HostIdentity,
    temporality: Temporality,
    histograms: HistogramForm,
    /// Where kevmon's own telemetry goes.
    telemetry_to: Option<String>,
    delivery: Delivery,
    /// Where all of them run.
    thread: ExportThread,
    routes: Routes,
    /// Its spans, where that receiver is sent any.
    spans: Option<Telemetry>,
    /// Whether kevmon's own telemetry is wanted.
    telemetry_wanted: bool,
    /// Telemetry goes with the collection that is being made.
    telemetry_due: bool,
    /// How long collections took.
    collections: Timing,
    /// How long attempts to deliver took, by lane and whether they were accepted.
    attempts: BTreeMap<(usize, bool), Timing>,
    /// By lane.
    lanes: Vec<(String, Signal)>,
    otlp_json: Option<Lines>,
    /// Lines of it that were left out or could not be written.
    lines_dropped: u64,
    prometheus: Option<LatestReadings>,
    /// The last run's last collection, if nobody knows whether it arrived.
    unconfirmed: u64,
}

impl Exports {
    /// Starts the senders of all receivers that `plugins` name. Requests wait in the file
    /// `spool`, or in memory without one; what was kept of an earlier run is what that run told. Needs a tokio runtime.
    ///
    /// # Errors
    /// kevmon's own telemetry does not start, there is no thread for a file, or the address for Prometheus cannot be had.
    pub(super) fn start(
        settings: &Settings,
        plugins: Plugins,
        (host, phase): (HostIdentity, Phase),
        (spool, kept): (Option<&Path>, &Kept),
        (attempts, pulses): (mpsc::Sender<Attempt>, &Pulses),
    ) -> Result<Self> {
        let own = settings.telemetry.enabled;
        let own = own
            .then(|| route::telemetry_receiver(&settings.receivers, &plugins))
            .flatten();
        let destinations = route::destinations(&settings.receivers, &plugins, own);
        for receiver in &settings.receivers {
            if destinations.iter().any(|lane| lane.receiver == receiver.name) {
                info!("exporting to {} (from {})", receiver.metrics.url, receiver.from);
            }
        }
        let lanes: Vec<(String, Signal)> = destinations
            .iter()
            .map(|lane| (lane.receiver.clone(), lane.signal))
            .collect();
        let spool = SpoolPlace {
            path: spool.map(Path::to_owned),
            limits: spool::Limits {
                bytes: settings.spool.bytes,
                age: settings.spool.age,
            },
        };
        let observer = move |attempt| {
            // Without room, or without a daemon, it is one span less.
            let _: Result<(), mpsc::error::TrySendError<Attempt>> = attempts.try_send(attempt);
        };
        let temporality = route::temporality(settings.temporality);
        let histograms = route::histograms(settings);
        let thread = ExportThread::start().context("a thread for exports")?;
        let entered = thread.handle().enter();
        let mut delivery = Delivery::start(destinations, &spool, Box::new(observer));
        delivery.take_beside();
        let spans = own.filter(|name| takes_spans(&settings.receivers, name));
        let spans = spans
            .map(|receiver| spans_to(receiver, &host, delivery.courier()))
            .transpose()
            .context("[telemetry]")?;
        let lines = settings.outputs.otlp_json.as_ref().map(line_target);
        let otlp_json = lines.map(Lines::start).transpose().context("OTLP/JSON lines")?;
        let page = settings.outputs.prometheus.as_ref();
        let prometheus = page.map(|page| serve(page, &host, pulses)).transpose()?;
        drop(entered);
        let encoder = || {
            let mut requests =
                MetricRequests::new(host.clone(), Run::Service, temporality).with_histograms(histograms);
            kept.told_before(&plugins, &mut requests);
            requests
        };
        let way = OwnWay {
            phase: phase.nanos(),
            interval: settings.telemetry.interval,
            receiver: own.map(str::to_owned),
        };
        Ok(Self {
            thread,
            routes: Routes::new(plugins.clone(), host.clone(), encoder, way, otlp_json.is_some()),
            host: host.clone(),
            temporality,
            histograms,
            telemetry_to: own.map(str::to_owned),
            spans,
            telemetry_wanted: settings.telemetry.enabled,
            telemetry_due: false,
            collections: Timing::default(),
            attempts: BTreeMap::new(),
            otlp_json,
            lines_dropped: 0,
            prometheus,
            delivery,
            lanes,
            unconfirmed: 0,
        })
    }

    /// Other plugins from now on, of which `receivers` are the receivers. One that nothing went to yet gets its sender; what
    /// has been told to the others goes on.
    pub(super) fn replan(&mut self, receivers: &[Receiver], plugins: Plugins) {
        // Without plugins there may have been no receiver for it until now.
        let appears = self.telemetry_to.is_none() && self.telemetry_wanted;
        if appears {
            self.telemetry_to = route::telemetry_receiver(receivers, &plugins).map(str::to_owned);
        }
        let destinations = route::destinations(receivers, &plugins, self.telemetry_to.as_deref());
        for lane in &destinations {
            let lane = (lane.receiver.clone(), lane.signal);
            if !self.lanes.contains(&lane) {
                info!("exporting to {} too, from now on ({})", lane.0, lane.1.name());
                self.lanes.push(lane);
            }
        }
        let _entered = self.thread.handle().enter();
        self.delivery.add(destinations);
        if appears {
            self.start_spans(receivers);
        }
        let encoder = || {
            MetricRequests::new(self.host.clone(), Run::Service, self.temporality)
                .with_histograms(self.histograms)
        };
        self.routes.replan(plugins, self.telemetry_to.clone(), encoder);
    }

    /// Deltas of groups that came back go on from what an earlier run told.
    pub(super) fn told_before(&mut self, kept: &Kept) {
        self.routes.told_before(kept);
    }

    /// Makes spans where a receiver for them has just appeared.
    fn start_spans(&mut self, receivers: &[Receiver]) {
        let receiver = self.telemetry_to.as_deref();
        let Some(receiver) = receiver.filter(|name| takes_spans(receivers, name)) else {
            return;
        };
        match spans_to(receiver, &self.host, self.delivery.courier()) {
            Ok(spans) => self.spans = Some(spans),
            Err(error) => error!("[telemetry]: {error}; kevmon runs without spans of its own"),
        }
    }

    /// Asks the thread of the exports whether it still moves.
    pub(super) fn ask_thread(&self) -> Pulse {
        self.thread.ask()
    }

    /// Asks receivers that took no logs or no traces once more: the configuration has been read again.
    pub(super) fn ask_again(&self) {
        self.delivery.ask_again();
    }

    /// Finds out whether the last collection was settled that the run before this one handed over: where kevmon was killed,
    /// nobody knows, unless it waits in the spool for every receiver. `stored` is the store's last commit, Unix ns.
    pub(super) fn look_for_unconfirmed(&mut self, stored: Option<u64>) {
        let Some(last) = self.delivery.unsettled(stored) else {
            return;
        };
        let kept = self
            .routes
            .receivers()
            .all(|receiver| self.delivery.keeps(receiver, last));
        if !kept {
            self.unconfirmed = 1;
            warn!(
                "kevmon was killed after the collection of {}: whether that has arrived is not known; it is counted as \
                 kevmon.export.unconfirmed",
                crate::export::iso8601_millis(last)
            );
        }
    }

    /// Another host name or id, from the next collection on.
    pub(super) fn set_host(&mut self, host: &HostIdentity) {
        self.routes.set_host(host);
        if let Some(prometheus) = &self.prometheus {
            prometheus.set_host(host);
        }
        if let Some(spans) = &self.spans {
            spans.set_host(host);
        }
        self.host = host.clone();
    }

    /// A collection of `time` (Unix ns) is about to be committed and handed over.
    pub(super) fn announce(&self, time: u64) {
        if self.routes.receivers().next().is_some() {
            self.delivery.announce(time);
        }
    }

    /// The same of what happened between two collections, where it is exported.
    pub(super) fn announce_events(&self, notices: &[Notice], time: u64) {
        if self.routes.export_any(notices) {
            self.announce(time);
        }
    }

    /// Hands a collection over, and what happened since the last one.
    pub(super) fn send(&mut self, collection: &Arc<Collection>, notices: Vec<Notice>) {
        let courier = self.delivery.courier();
        courier.collected();
        let mut encoded = self.routes.encode(collection, notices);
        self.write_lines(std::mem::take(&mut encoded.copies));
        encoded.hand_over(&courier);
        courier.complete(collection.time);
        if let Some(prometheus) = &self.prometheus {
            prometheus.update(collection);
        }
    }

    /// Hands over what happened between two collections, read by the clocks `boot` and `wall` at `observed`, Unix ns.
    pub(super) fn send_events(
        &mut self,
        notices: Vec<Notice>,
        (boot, wall): (UnixClock, UnixClock),
        observed: u64,
    ) {
        let courier = self.delivery.courier();
        let mut encoded = self.routes.encode_events(notices, (boot, wall), observed);
        self.write_lines(std::mem::take(&mut encoded.copies));
        encoded.hand_over(&courier);
        courier.complete(observed);
    }

    /// Writes OTLP/JSON lines, where they are wanted. A file has them before a receiver gets anything: so a kill never leaves
    /// out of the file what a receiver has.
    fn write_lines(&mut self, copies: Vec<EncodedRequest>) {
        let Some(lines) = &mut self.otlp_json else { return };
        for request in copies {
            let told =
                otlp_json_line(request.signal, &request.body).is_ok_and(|line| lines.push(line + "\n"));
            self.lines_dropped += u64::from(!told);
        }
        lines.wait();
        self.lines_dropped += lines.take_failed();
    }

    /// Adds to a collection how the exports before it fared, and what kevmon costs where that is wanted now.
    pub(super) fn read(&mut self, collection: &mut Collection, watch: &Watch) {
        self.telemetry_due = self.routes.is_telemetry_due(collection.time, collection.is_final);
        let health = &mut collection.health;
        health.exports = self.delivery.readings();
        health.unconfirmed = self.unconfirmed;
        let failures = health.exports.iter().map(|lane| lane.failures).sum();
        health.add_soft_failures("export_failed", failures);
        health.add_soft_failures("spool_failed", self.delivery.spool_failures());
        health.add_soft_failures("output_dropped", self.lines_dropped);
        if self.telemetry_to.is_some() {
            health.telemetry.collections = self.collections;
            health.telemetry.attempts = self.attempts_so_far();
        }
        if self.telemetry_due {
            add_cost(&mut health.telemetry, watch, collection.clock);
        }
    }

    fn attempts_so_far(&self) -> Vec<AttemptsReading> {
        let reading = |(&(lane, accepted), &took): (&(usize, bool), &Timing)| {
            let (receiver, signal) = self.lanes.get(lane)?;
            Some(AttemptsReading {
                receiver: receiver.clone(),
                signal: signal.name(),
                accepted,
                took,
            })
        };
        self.attempts.iter().filter_map(reading).collect()
    }

    /// Tells of a collection that has been handed over, which `began` then.
    pub(super) fn observe(&mut self, collection: &Collection, began: Began) {
        let took = began.elapsed();
        self.collections.add(took);
        let Some(spans) = &self.spans else { return };
        if self.takes_spans() {
            let processes = collection.services.iter().map(|of| of.reading.process_count);
            spans.collected(&CollectionSpan {
                began: began.wall,
                took,
                plugins: collection.services.len(),
                processes: processes.sum(),
                complete: collection.health.complete,
                complete_totals: collection.health.complete_totals,
            });
        }
        if self.telemetry_due {
            spans.flush();
        }
    }

    /// Whether the receiver of spans has not said that it takes none.
    fn takes_spans(&self) -> bool {
        let receiver = self.telemetry_to.as_deref();
        receiver.is_some_and(|receiver| !self.delivery.is_closed(receiver, Signal::Traces))
    }

    /// Tells of an attempt to deliver.
    pub(super) fn tell(&mut self, attempt: Attempt) {
        let timing = self.attempts.entry((attempt.lane, attempt.accepted)).or_default();
        timing.add(attempt.took);
        let Some((receiver, signal)) = self.lanes.get(attempt.lane) else {
            return;
        };
        let outcome = if attempt.accepted { "taken" } else { "not taken" };
        debug!(
            "exported {} items of {} to {receiver} in {:.1?}: {outcome}",
            attempt.items,
            signal.name(),
            attempt.took
        );
        if let Some(spans) = self.spans.as_ref().filter(|_| self.takes_spans()) {
            spans.exported(&ExportSpan {
                receiver: receiver.clone(),
                signal: *signal,
                items: attempt.items,
                took: attempt.took,
                accepted: attempt.accepted,
            });
        }
    }

    /// Sends what can still be sent and keeps the rest. `last` is the time of the last collection; `is_whole`: it is sent.
    pub(super) async fn finish(self, last: u64, is_whole: bool) {
        if let Some(lines) = self.otlp_json {
            lines.finish(FINAL_LINES);
        }
        if let Some(spans) = self.spans {
            spans.finish();
        }
        let left = self.delivery.finish(last, is_whole, FINAL_EXPORT).await;
        drop(self.thread);
        if left.kept > 0 {
            let Left { kept, place, .. } = &left;
            warn!("ended; {kept} requests wait {place} for their receivers");
        }
        if left.lost > 0 {
            let lost = left.lost;
            warn!(
                "ended; {lost} requests that waited in memory are lost: no receiver took them, and there was no spool"
            );
        }
        if left.kept == 0 && left.lost == 0 {
            info!("ended; nothing waits for a receiver");
        }
    }
}

/// Whether the receiver of this name is sent spans.
fn takes_spans(receivers: &[Receiver], name: &str) -> bool {
    let named = receivers.iter().find(|receiver| receiver.name == name);
    named.is_some_and(|receiver| route::is_sent(receiver, Signal::Traces))
}

/// The SDK's spans, on their way to `receiver`.
fn spans_to(receiver: &str, host: &HostIdentity, courier: Courier) -> Result<Telemetry, TelemetryError> {
    let receiver = receiver.to_owned();
    Telemetry::start(host, move |request| {
        courier.push(&receiver, request.signal, vec![request]);
    })
}

/// What kevmon costs, as a process and in the kernel.
fn add_cost(telemetry: &mut TelemetryReading, watch: &Watch, clock: UnixClock) {
    let own = watch.own();
    telemetry.cpu = own.cpu;
    telemetry.rss = own.rss;
    telemetry.threads = own.threads;
    let pid = own.pid.map(|pid| ("process.pid", pid.into()));
    let created = own.started.map(|started| iso8601(clock.unix(started)));
    let created = created.map(|created| ("process.creation.time", created.into()));
    telemetry.process = pid.into_iter().chain(created).collect();
    let program = |of: kernel::ProgramTime| ProgramTime {
        name: of.name,
        nanos: of.nanos,
        runs: of.runs,
    };
    telemetry.programs = watch.program_times().into_iter().map(program).collect();
}

fn line_target(of: &JsonTarget) -> LineTarget {
    match of {
        JsonTarget::Stdout => LineTarget::Stdout,
        JsonTarget::File(path) => LineTarget::File(path.clone()),
    }
}

/// Serves the page for Prometheus from now on, as long as the runtime is there.
fn serve(page: &PrometheusPage, host: &HostIdentity, pulses: &Pulses) -> Result<LatestReadings> {
    let latest = LatestReadings::new(host.clone(), page.created).with_pulses(pulses.clone());
    let access = Access {
        token: page.token.clone(),
        tls: page.tls.as_ref().map(|tls| ServerTls {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
            client_ca: tls.client_ca.clone(),
        }),
        hosts: page.hosts.clone(),
    };
    let server = PrometheusServer::bind(page.address, latest.clone(), access)?;
    tokio::spawn(async move {
        let Err(error) = server.serve().await;
        error!("Prometheus: {error}; the page is not served any more, everything else goes on");
    });
    Ok(latest)
}

/// The spool lies beside the store.
pub(super) fn spool_path(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".spool");
    path.into()
}
