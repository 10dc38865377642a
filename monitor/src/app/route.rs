//! Which plugin goes to which receiver, and its collections and events on their way there.

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::{Courier, Destination};
use crate::{
    config::receiver::{self, Compression, HeaderSource, Receiver},
    export::{
        Collection, HostIdentity, MetricRequests, Run, ServiceReading, Temporality, log_events, log_requests,
        transport::{Connection, EncodedRequest, HeaderValue, Protocol, Signal, TlsFiles},
    },
    plugin::{Notice, Plugin},
};

/// Receivers that get the same plugins, and therefore the same requests.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    receivers: Vec<String>,
    /// By group.
    takes: Vec<bool>,
}

/// The ways of all plugins.
pub(super) struct Routes {
    routes: Vec<Route>,
    /// By group.
    plugins: Vec<Plugin>,
    host: HostIdentity,
    requests: MetricRequests,
    /// Every request goes to one more place than the receivers.
    copies: bool,
}

impl Routes {
    /// For `plugins`, in the order of their groups. With `copies`, [`Routes::send`] returns what it sent.
    pub(super) fn new(
        plugins: Vec<Plugin>,
        host: HostIdentity,
        requests: MetricRequests,
        copies: bool,
    ) -> Self {
        let mut by_receiver: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
        for (group, plugin) in plugins.iter().enumerate() {
            for receiver in names(plugin) {
                by_receiver
                    .entry(receiver)
                    .or_insert_with(|| vec![false; plugins.len()])[group] = true;
            }
        }
        let mut routes: Vec<Route> = Vec::new();
        for (receiver, takes) in by_receiver {
            match routes.iter_mut().find(|route| route.takes == takes) {
                Some(route) => route.receivers.push(receiver.to_owned()),
                None => routes.push(Route {
                    receivers: vec![receiver.to_owned()],
                    takes,
                }),
            }
        }
        Self {
            routes,
            plugins,
            host,
            requests,
            copies,
        }
    }

    /// Hands a collection and what happened since the last one to the receivers that they are for. Returns every request
    /// once where copies are wanted.
    pub(super) fn send(
        &mut self,
        collection: &Collection,
        notices: Vec<Notice>,
        courier: &Courier,
    ) -> Vec<EncodedRequest> {
        let mut copies = Vec::new();
        for route in &self.routes {
            let takes = |service: &ServiceReading| route.takes[service.group.0];
            if !collection.services.iter().any(takes) {
                continue;
            }
            let requests = self.requests.encode(collection, takes);
            for receiver in &route.receivers {
                courier.push(receiver, Signal::Metrics, requests.clone());
            }
            if self.copies && self.routes.len() == 1 {
                copies.extend(requests);
            }
        }
        if self.copies && self.routes.len() > 1 {
            copies.extend(self.requests.encode(collection, |_| true));
        }
        copies.extend(self.send_events(collection, notices, courier));
        copies
    }

    fn send_events(
        &self,
        collection: &Collection,
        notices: Vec<Notice>,
        courier: &Courier,
    ) -> Vec<EncodedRequest> {
        let mut events = log_events(notices, &self.plugins, collection);
        if events.is_empty() {
            return Vec::new();
        }
        // Stable: within a group they stay in the order of their telling.
        events.sort_by_key(|event| event.notice.group);
        let encode = |events: &[_]| log_requests(events, &self.plugins, &self.host, Run::Service);
        for route in &self.routes {
            let of_route: Vec<_> = events
                .iter()
                .filter(|event| route.takes[event.notice.group.0])
                .cloned()
                .collect();
            if of_route.is_empty() {
                continue;
            }
            let requests = encode(&of_route);
            for receiver in &route.receivers {
                courier.push(receiver, Signal::Logs, requests.clone());
            }
        }
        if self.copies { encode(&events) } else { Vec::new() }
    }
}

/// The receivers of a plugin.
pub(super) fn names(plugin: &Plugin) -> impl Iterator<Item = &str> {
    let default = plugin.receivers.is_empty().then_some(receiver::DEFAULT_RECEIVER);
    let named: BTreeSet<&str> = plugin.receivers.iter().map(String::as_str).collect();
    default.into_iter().chain(named)
}

/// The lanes that these plugins need. kevmon's own telemetry goes to the default receiver.
pub(super) fn destinations(receivers: &[Receiver], plugins: &[Plugin], telemetry: bool) -> Vec<Destination> {
    let mut lanes = Vec::new();
    for receiver in receivers {
        let goes_there = |plugin: &&Plugin| names(plugin).any(|name| name == receiver.name);
        let own = telemetry && receiver.name == receiver::DEFAULT_RECEIVER;
        let signals = [
            (
                Signal::Metrics,
                own || plugins.iter().any(|plugin| goes_there(&plugin)),
            ),
            (
                Signal::Logs,
                plugins.iter().filter(goes_there).any(|plugin| plugin.events),
            ),
            (Signal::Traces, own),
        ];
        lanes.extend(
            signals
                .into_iter()
                .filter(|(_, needed)| *needed)
                .map(|(signal, _)| Destination {
                    receiver: receiver.name.clone(),
                    signal,
                    connection: connection(receiver, signal),
                }),
        );
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
    }
}
