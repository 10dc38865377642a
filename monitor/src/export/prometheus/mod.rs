//! What was measured last, for whoever asks by HTTP: a page in Prometheus's text format. docs/prometheus.md describes it.

mod access;
mod admission;
mod material;
mod naming;
mod page;
mod response;
mod server;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::ResourceMetrics,
};
use prost::Message;
use tracing::warn;

pub use material::Access;
pub use server::PrometheusServer;

use super::{
    collection::Collection,
    otlp::{HistogramForm, MetricRequests, Temporality},
    resource::{HostIdentity, Run},
};
use crate::{health::Pulses, plugin::Plugin};
use page::Format;

/// A plugin's last collection is out of date after so many of its intervals, …
const MISSED: u32 = 3;

/// … and not before this time: a short interval may be late by many of its own length.
const AT_LEAST: Duration = Duration::from_secs(1);

/// The latest reading of each plugin, shared with the server. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct LatestReadings {
    state: Arc<Mutex<State>>,
    /// The threads that have to move for kevmon to be healthy.
    pulses: Option<Pulses>,
}

#[derive(Debug)]
struct State {
    host: HostIdentity,
    /// Whether OpenMetrics shows when each sum began.
    created: bool,
    /// By the plugin's label.
    readings: BTreeMap<String, Taken>,
    /// The latest one, which has kevmon's own state.
    newest: Option<Arc<Collection>>,
    /// Metrics whose conflict has been told.
    told: BTreeSet<String>,
    /// The page as it was rendered last, for each format.
    rendered: [Option<Rendered>; 2],
}

/// A page, good until something new is taken, and for a while: many may ask at once.
#[derive(Debug)]
struct Rendered {
    /// Readings may be out of date from then on.
    until: Instant,
    text: Bytes,
}

/// How long a page is good for at least, and in terms of the time that it took to render: so rendering takes a tenth of the
/// time at most, however many ask.
const GOOD_FOR: Duration = Duration::from_secs(1);
const GOOD_FOR_TIMES: u32 = 10;

/// A plugin's latest collection.
#[derive(Debug)]
struct Taken {
    collection: Arc<Collection>,
    at: Instant,
}

/// A collection as OTLP has it: kevmon's own resource, and one for each service.
fn resource_metrics(collection: &Collection, host: &HostIdentity) -> Vec<ResourceMetrics> {
    // The page is cumulative whatever the receivers get.
    let mut requests = MetricRequests::new(host.clone(), Run::Service, Temporality::Cumulative)
        .with_histograms(HistogramForm::Explicit);
    let encoded = requests.encode(collection, |_| true).into_iter();
    encoded
        // What was encoded a moment ago can be decoded.
        .filter_map(|request| ExportMetricsServiceRequest::decode(request.body).ok())
        .flat_map(|request| request.resource_metrics)
        .collect()
}

impl LatestReadings {
    /// None so far. `created`: OpenMetrics shows when each sum began.
    pub fn new(host: HostIdentity, created: bool) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                host,
                created,
                readings: BTreeMap::new(),
                newest: None,
                told: BTreeSet::new(),
                rendered: [None, None],
            })),
            pulses: None,
        }
    }

    /// With the threads that have to move for kevmon to be healthy.
    #[must_use]
    pub fn with_pulses(self, pulses: Pulses) -> Self {
        Self {
            pulses: Some(pulses),
            ..self
        }
    }

    /// Whether all threads move; an error names those that do not.
    fn healthy(&self) -> Result<&'static str, String> {
        let stuck = self.pulses.as_ref().map(Pulses::stuck).unwrap_or_default();
        if stuck.is_empty() {
            Ok("kevmon is healthy.\n")
        } else {
            Err(format!("kevmon is stuck: {}.\n", stuck.join(", ")))
        }
    }

    /// Whether the first collection is done.
    fn ready(&self) -> Result<&'static str, String> {
        if self.state().newest.is_some() {
            Ok("kevmon is ready.\n")
        } else {
            Err("kevmon has not collected yet.\n".to_owned())
        }
    }

    /// Another host name or id, from the next page on.
    pub fn set_host(&self, host: &HostIdentity) {
        let mut state = self.state();
        state.host = host.clone();
        state.rendered = [None, None];
    }

    /// Takes a collection in the place of its plugins' earlier ones. Costs next to nothing: rendering is done when somebody
    /// asks.
    pub fn update(&self, collection: &Arc<Collection>) {
        self.update_at(collection, Instant::now());
    }

    fn update_at(&self, collection: &Arc<Collection>, at: Instant) {
        let mut state = self.state();
        for service in &collection.services {
            let taken = Taken {
                collection: Arc::clone(collection),
                at,
            };
            state.readings.insert(service.plugin.label(), taken);
        }
        state.newest = Some(Arc::clone(collection));
        state.rendered = [None, None];
    }

    fn page(&self, format: Format, now: Instant) -> Bytes {
        let place = usize::from(format == Format::OpenMetrics);
        if let Some(rendered) = &self.state().rendered[place]
            && now <= rendered.until
        {
            return rendered.text.clone();
        }
        let created = self.state().created;
        let began = Instant::now();
        let page = page::page(&self.resources(now), format, created);
        let mut state = self.state();
        for name in page.conflicting {
            if !state.told.contains(&name) {
                warn!(
                    "Prometheus: two plugins export {name} with different types, and only the first is on the page; \
                     write prefix = true in one of them"
                );
                state.told.insert(name);
            }
        }
        let text = Bytes::from(page.text);
        let took = began.elapsed();
        state.rendered[place] = Some(Rendered {
            until: state
                .next_out_of_date(now)
                .min(now + took + GOOD_FOR.max(took * GOOD_FOR_TIMES)),
            text: text.clone(),
        });
        text
    }

    /// The readings that are not out of date, as OTLP has them, and kevmon's own.
    fn resources(&self, now: Instant) -> Vec<ResourceMetrics> {
        let mut chosen: Vec<Collection> = Vec::new();
        let (newest, host) = {
            let state = self.state();
            for (name, taken) in &state.readings {
                let services = &taken.collection.services;
                let Some(service) = services.iter().find(|service| service.plugin.label() == *name) else {
                    continue;
                };
                if now <= taken.at + allowed(&service.plugin) {
                    chosen.push(Collection {
                        services: vec![service.clone()],
                        ..without_services(&taken.collection)
                    });
                }
            }
            (state.newest.as_deref().map(without_services), state.host.clone())
        };
        let mut resources = Vec::new();
        for collection in &chosen {
            // kevmon's own is the first one, and of the newest collection below.
            resources.extend(resource_metrics(collection, &host).into_iter().skip(1));
        }
        resources.extend(newest.iter().flat_map(|newest| resource_metrics(newest, &host)));
        resources
    }

    /// A panic elsewhere leaves nothing half-done in it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How old a plugin's last collection may be.
fn allowed(plugin: &Plugin) -> Duration {
    (plugin.interval * MISSED).max(AT_LEAST)
}

impl State {
    /// The last moment at which the page of `now` is right: then a reading on it is out of date.
    fn next_out_of_date(&self, now: Instant) -> Instant {
        let until = self.readings.values().flat_map(|taken| {
            let services = taken.collection.services.iter();
            services.map(|service| taken.at + allowed(&service.plugin))
        });
        let until = until.filter(|until| *until >= now).min();
        until.unwrap_or(now + GOOD_FOR * GOOD_FOR_TIMES)
    }
}

fn without_services(collection: &Collection) -> Collection {
    Collection {
        services: Vec::new(),
        health: collection.health.clone(),
        ..*collection
    }
}
