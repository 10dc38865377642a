//! Which plugin goes to which receiver, and its collections and events on their way there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    delivery::{Courier, Destination},
    keeper::Kept,
};
use crate::{
    config::{
        Settings,
        receiver::{self, Compression, HeaderSource, Receiver},
    },
    export::{
        Collection, HistogramForm, HostIdentity, MetricRequests, Rhythm, Run, ServiceReading, Temporality,
        UnixClock, log_events, log_requests, log_values,
        transport::{Connection, EncodedRequest, HeaderValue, Protocol, Proxy, Signal, TlsFiles},
    },
    plugin::{GroupId, Notice, Plugin, Plugins},
};

/// Receivers that get the same plugins, and therefore the same requests.
#[derive(Debug)]
struct Route {
    receivers: Vec<String>,
    takes: BTreeSet<GroupId>,
    /// Its own: deltas are since the last collection that went this way.
    requests: MetricRequests,
    /// kevmon's own telemetry goes this way.
    telemetry: bool,
}

/// When kevmon's own metrics go, and where telemetry does.
#[derive(Debug, Clone)]
pub(super) struct OwnWay {
    /// How far kevmon's minutes lie from those of the wall clock, ns.
    pub(super) phase: u64,
    /// How often telemetry goes.
    pub(super) interval: Duration,
    /// The name of the receiver that telemetry goes to; `None`: nowhere.
    pub(super) receiver: Option<String>,
}

/// The ways of all plugins.
pub(super) struct Routes {
    routes: Vec<Route>,
    plugins: Plugins,
    host: HostIdentity,
    own: OwnWay,
    /// For one more place than the receivers, which gets everything but telemetry.
    copies: Option<MetricRequests>,
}

impl Routes {
    /// For `plugins`; `requests` makes an encoder. With `copies`, [`Routes::encode`] makes everything once more.
    pub(super) fn new(
        plugins: Plugins,
        host: HostIdentity,
        requests: impl Fn() -> MetricRequests,
        own: OwnWay,
        copies: bool,
    ) -> Self {
        let mut copies = copies.then(&requests);
        if let Some(copies) = &mut copies {
            copies.set_rhythm(own.rhythm(false));
        }
        let mut routes = Self {
            routes: Vec::new(),
            plugins: Plugins::new(),
            host,
            own: own.clone(),
            copies,
        };
        routes.replan(plugins, own.receiver, requests);
        routes
    }

    /// Other plugins from now on, and telemetry to the receiver of this name. What a receiver was told goes on; `requests`
    /// makes an encoder for those that were told nothing yet.
    pub(super) fn replan(
        &mut self,
        plugins: Plugins,
        telemetry: Option<String>,
        requests: impl Fn() -> MetricRequests,
    ) {
        self.own.receiver = telemetry;
        let own = self.own.clone();
        let is_telemetrys = |receiver: &str| own.receiver.as_deref() == Some(receiver);
        let mut by_receiver: BTreeMap<&str, BTreeSet<GroupId>> = BTreeMap::new();
        if let Some(receiver) = &own.receiver {
            by_receiver.entry(receiver).or_default();
        }
        for (&group, plugin) in &plugins {
            for receiver in names(plugin) {
                by_receiver.entry(receiver).or_default().insert(group);
            }
        }
        let mut routes: Vec<Route> = Vec::new();
        // Only receivers that were told the same so far can share their deltas from now on.
        let mut told: Vec<(Option<usize>, usize)> = Vec::new();
        for (receiver, takes) in by_receiver {
            let before = self.routes.iter();
            let before = before
                .enumerate()
                .find(|(_, route)| route.receivers.iter().any(|name| name == receiver));
            let before = before.map(|(index, _)| index);
            let telemetry = is_telemetrys(receiver);
            let is_same = |of: &Route| of.takes == takes && !of.telemetry && !telemetry;
            let same = told
                .iter()
                .find(|(from, to)| *from == before && is_same(&routes[*to]));
            match same.copied() {
                Some((_, to)) => routes[to].receivers.push(receiver.to_owned()),
                None => {
                    told.push((before, routes.len()));
                    let known = before.and_then(|index| self.routes.get(index));
                    let mut requests = known.map_or_else(&requests, |route| route.requests.clone());
                    requests.set_rhythm(own.rhythm(telemetry));
                    routes.push(Route {
                        receivers: vec![receiver.to_owned()],
                        takes,
                        requests,
                        telemetry,
                    });
                }
            }
        }
        // Who gets nothing for now goes on where it was, should it get something again.
        for route in &self.routes {
            let idle = route.receivers.iter().filter(|receiver| {
                let goes_there = |plugin: &Plugin| names(plugin).any(|name| name == **receiver);
                !is_telemetrys(receiver) && !plugins.values().any(|plugin| goes_there(plugin))
            });
            let idle: Vec<String> = idle.cloned().collect();
            if !idle.is_empty() {
                routes.push(Route {
                    receivers: idle,
                    takes: BTreeSet::new(),
                    requests: route.requests.clone(),
                    telemetry: false,
                });
            }
        }
        let gone: Vec<GroupId> = self
            .plugins
            .keys()
            .filter(|group| !plugins.contains_key(group))
            .copied()
            .collect();
        let encoders = routes
            .iter_mut()
            .map(|route| &mut route.requests)
            .chain(&mut self.copies);
        for requests in encoders {
            gone.iter().for_each(|&group| requests.forget(group));
        }
        self.routes = routes;
        self.plugins = plugins;
    }

    /// An earlier run told what it kept of these groups.
    pub(super) fn told_before(&mut self, kept: &Kept) {
        let encoders = self.routes.iter_mut().map(|route| &mut route.requests);
        for requests in encoders.chain(&mut self.copies) {
            kept.groups_told_before(&self.plugins, requests);
        }
    }

    /// Another host name or id, from the next collection on.
    pub(super) fn set_host(&mut self, host: &HostIdentity) {
        self.host = host.clone();
        let routes = self.routes.iter_mut().map(|route| &mut route.requests);
        routes
            .chain(&mut self.copies)
            .for_each(|requests| requests.set_host(host));
    }

    /// The receivers that plugins go to.
    pub(super) fn receivers(&self) -> impl Iterator<Item = &str> {
        let used = self.routes.iter().filter(|route| !route.takes.is_empty());
        let all = used.flat_map(|route| &route.receivers);
        all.map(String::as_str)
    }

    /// Whether telemetry goes with a collection of `time`, Unix ns.
    pub(super) fn is_telemetry_due(&self, time: u64, is_final: bool) -> bool {
        let mut routes = self.routes.iter().filter(|route| route.telemetry);
        routes.any(|route| route.requests.is_telemetry_due(time, is_final))
    }

    /// A collection and what happened since the last one, for the receivers that they are for.
    pub(super) fn encode(&mut self, collection: &Collection, notices: Vec<Notice>) -> Encoded {
        // First what no later request makes good: where metrics of a collection wait in the spool, its events do, too.
        let mut encoded = self.encode_events(notices, (collection.boot, collection.wall), collection.time);
        for route in &mut self.routes {
            let takes = |service: &ServiceReading| route.takes.contains(&service.group);
            let is_open = |service: &ServiceReading| route.requests.has_open_series(service.group);
            let mut services = collection.services.iter();
            if !route.telemetry && !services.any(|service| takes(service) || is_open(service)) {
                continue;
            }
            let requests = route.requests.encode(collection, takes);
            encoded.send(&route.receivers, Signal::Metrics, &requests);
        }
        let mut values = Vec::new();
        for service in &collection.services {
            let Some(request) = log_values(service, collection.time, &self.host, Run::Service) else {
                continue;
            };
            let request = [request];
            for route in &self.routes {
                if route.takes.contains(&service.group) {
                    encoded.send(&route.receivers, Signal::Logs, &request);
                }
            }
            values.extend(request);
        }
        if let Some(requests) = &mut self.copies {
            let metrics = requests.encode(collection, |_| true);
            let events = std::mem::replace(&mut encoded.copies, metrics);
            encoded.copies.extend(values);
            encoded.copies.extend(events);
        }
        encoded
    }

    /// Whether any of this is exported.
    pub(super) fn export_any(&self, notices: &[Notice]) -> bool {
        let is_exported = |notice: &Notice| self.plugins.get(&notice.group).is_some_and(|of| of.events);
        notices.iter().any(is_exported)
    }

    /// What happened, taken up at `observed`, Unix ns: starts of processes are told by the clock `boot`, the rest by `wall`.
    pub(super) fn encode_events(
        &self,
        notices: Vec<Notice>,
        (boot, wall): (UnixClock, UnixClock),
        observed: u64,
    ) -> Encoded {
        let mut encoded = Encoded::default();
        let mut events = log_events(notices, &self.plugins, (boot, wall), observed);
        if events.is_empty() {
            return encoded;
        }
        // Stable: within a group they stay in the order of their telling.
        events.sort_by_key(|event| event.notice.group);
        let encode = |events: &[_]| log_requests(events, &self.plugins, &self.host, Run::Service);
        for route in &self.routes {
            let of_route: Vec<_> = events
                .iter()
                .filter(|event| route.takes.contains(&event.notice.group))
                .cloned()
                .collect();
            if !of_route.is_empty() {
                encoded.send(&route.receivers, Signal::Logs, &encode(&of_route));
            }
        }
        if self.copies.is_some() {
            encoded.copies = encode(&events);
        }
        encoded
    }
}

/// Requests on their way to the receivers.
#[derive(Default)]
pub(super) struct Encoded {
    /// All of them but telemetry once more, where copies are wanted.
    pub(super) copies: Vec<EncodedRequest>,
    /// By receiver and signal, in the order in which they are to be handed over.
    requests: Vec<(String, Signal, Vec<EncodedRequest>)>,
}

impl Encoded {
    fn send(&mut self, receivers: &[String], signal: Signal, requests: &[EncodedRequest]) {
        let to = receivers
            .iter()
            .map(|receiver| (receiver.clone(), signal, requests.to_vec()));
        self.requests.extend(to);
    }

    /// Hands the requests over to the senders.
    pub(super) fn hand_over(self, courier: &Courier) {
        for (receiver, signal, requests) in self.requests {
            courier.push(&receiver, signal, requests);
        }
    }
}

impl OwnWay {
    fn rhythm(&self, telemetry: bool) -> Rhythm {
        Rhythm {
            phase: self.phase,
            telemetry: telemetry.then_some(self.interval),
        }
    }
}

/// The receivers of a plugin.
pub(super) fn names(plugin: &Plugin) -> impl Iterator<Item = &str> {
    let default = plugin.receivers.is_empty().then_some(receiver::DEFAULT_RECEIVER);
    let named: BTreeSet<&str> = plugin.receivers.iter().map(String::as_str).collect();
    default.into_iter().chain(named)
}

/// Where kevmon's own telemetry goes: to the default receiver, or, where nothing else goes there and nobody named it, to the
/// first one that a plugin goes to; of those that are sent metrics or traces.
pub(super) fn telemetry_receiver<'a>(receivers: &'a [Receiver], plugins: &Plugins) -> Option<&'a str> {
    let takes = |receiver: &&Receiver| receiver.signals.metrics || receiver.signals.traces;
    let is_used =
        |receiver: &&Receiver| takes(receiver) && plugins.values().any(|plugin| goes_to(plugin, receiver));
    let default = receivers
        .iter()
        .find(|receiver| receiver.name == receiver::DEFAULT_RECEIVER);
    let chosen = default
        .filter(|default| takes(default) && default.asked_for || is_used(default))
        .or_else(|| receivers.iter().find(is_used));
    chosen.map(|receiver| receiver.name.as_str())
}

/// Whether the receiver is sent this signal at all.
pub(super) fn is_sent(receiver: &Receiver, signal: Signal) -> bool {
    match signal {
        Signal::Metrics => receiver.signals.metrics,
        Signal::Logs => receiver.signals.logs,
        Signal::Traces => receiver.signals.traces,
    }
}

fn goes_to(plugin: &Plugin, receiver: &Receiver) -> bool {
    names(plugin).any(|name| name == receiver.name)
}

/// The lanes that these plugins need, and kevmon's own telemetry where it goes to the receiver named `telemetry`.
pub(super) fn destinations(
    receivers: &[Receiver],
    plugins: &Plugins,
    telemetry: Option<&str>,
) -> Vec<Destination> {
    let mut lanes = Vec::new();
    for receiver in receivers {
        let own = telemetry == Some(&receiver.name);
        let mut going = plugins.values().filter(|plugin| goes_to(plugin, receiver));
        let signals = [
            (Signal::Metrics, own || going.clone().next().is_some()),
            (
                Signal::Logs,
                going.any(|plugin| plugin.events || !plugin.collectors.is_empty()),
            ),
            (Signal::Traces, own),
        ];
        let needed = signals
            .into_iter()
            .filter(|(signal, needed)| *needed && is_sent(receiver, *signal));
        lanes.extend(needed.map(|(signal, _)| Destination {
            receiver: receiver.name.clone(),
            signal,
            connection: connection(receiver, signal),
            max_request: usize::try_from(receiver.max_request).unwrap_or(usize::MAX),
        }));
    }
    lanes
}

/// What sums cover, in the words of the export.
pub(super) fn temporality(of: receiver::Temporality) -> Temporality {
    match of {
        receiver::Temporality::Cumulative => Temporality::Cumulative,
        receiver::Temporality::Delta => Temporality::Delta,
        receiver::Temporality::LowMemory => Temporality::LowMemory,
    }
}

/// How distributions are told.
pub(super) fn histograms(settings: &Settings) -> HistogramForm {
    if settings.exponential_histograms {
        HistogramForm::Exponential
    } else {
        HistogramForm::Explicit
    }
}

/// How a signal reaches a receiver, in the words of the export.
pub(super) fn connection(receiver: &Receiver, signal: Signal) -> Connection {
    let of = match signal {
        Signal::Metrics => &receiver.metrics,
        Signal::Logs => &receiver.logs,
        Signal::Traces => &receiver.traces,
    };
    let header = |source: &HeaderSource| match source {
        HeaderSource::Text(text) => HeaderValue::Text(text.clone()),
        HeaderSource::File(path) => HeaderValue::File(path.clone()),
    };
    Connection {
        url: of.url.clone(),
        protocol: match of.protocol {
            receiver::Protocol::Grpc => Protocol::Grpc,
            receiver::Protocol::HttpProtobuf => Protocol::HttpProtobuf,
        },
        gzip: of.compression == Compression::Gzip,
        headers: of
            .headers
            .iter()
            .map(|(name, source)| (name.clone(), header(source)))
            .collect(),
        tls: of.tls.as_ref().map(|files| TlsFiles {
            ca: files.ca.clone(),
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        }),
        timeout: of.timeout,
        proxy: of.proxy.as_ref().map(|proxy| Proxy {
            host: proxy.host.clone(),
            port: proxy.port,
            authorization: proxy.authorization.clone(),
        }),
    }
}

#[cfg(test)]
mod tests;
