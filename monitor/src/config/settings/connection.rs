//! From what the sources say to receivers: one connection for each signal of each.

use std::time::Duration;

use super::{
    Settling,
    address::{Form, Target},
    credentials::HeaderLayer,
    generic::Signal,
    tls::Pair,
};
use crate::config::{
    Agent, PluginReceiver,
    endpoint::{self, DEFAULT_HTTP_PORT, DEFAULT_PORT},
    given::{Given, Rank},
    header::SecretPlace,
    receiver::{
        Compression, Connection, DEFAULT_MAX_REQUEST, DEFAULT_RECEIVER, DEFAULT_TIMEOUT, Protocol, Receiver,
        Signals,
    },
    settings_file::EndpointKeys,
};

/// What of the generic environment holds for a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generic {
    /// Everything.
    All,
    /// Headers and a client's certificate excepted: they were given for the default receiver.
    NoCredentials,
    /// Nothing: the settings file describes the receiver.
    None,
}

/// What is set for one receiver above the generic environment.
pub(super) struct Own<'a> {
    pub(super) generic: Generic,
    pub(super) protocol: Option<Protocol>,
    pub(super) compression: Option<Compression>,
    pub(super) timeout: Option<Duration>,
    pub(super) signals: Option<Signals>,
    pub(super) max_request: Option<u64>,
    /// From the lowest source to the highest.
    pub(super) headers: Vec<HeaderLayer>,
    pub(super) ca: Option<Given<SecretPlace>>,
    /// From the highest source to the lowest.
    pub(super) clients: Vec<Pair>,
    /// The agent that legacy plugin files name for it.
    pub(super) agent: Option<&'a Agent>,
}

impl<'a> Settling<'a> {
    pub(super) fn receivers(&mut self) -> Vec<Receiver> {
        let (file, plugins) = (self.sources.file, self.sources.plugins);
        let mut receivers = Vec::new();
        let own = self.default_keys(plugins.agreed.as_ref());
        receivers.extend(self.receiver(DEFAULT_RECEIVER, &own, Self::default_target));
        for (name, keys) in file.iter().flat_map(|file| &file.endpoints) {
            let own = named_keys(name, keys);
            receivers.extend(self.receiver(name, &own, |_, _, _| {
                let endpoint = keys.endpoint.clone()?; // without one, the file has a fault
                Some(Target::new(endpoint.value, Form::Base, endpoint.origin))
            }));
        }
        for (name, receiver) in &plugins.own {
            receivers.extend(match receiver {
                PluginReceiver::Agent(agent) => {
                    let own = self.default_keys(Some(agent));
                    self.receiver(name, &own, Self::default_target)
                }
                PluginReceiver::Url(url) => self.receiver(name, &plugin_keys(), |_, _, _| {
                    Some(Target::new(url.value.clone(), Form::Base, url.origin.clone()))
                }),
            });
        }
        receivers
    }

    /// What flags and `[export]` say of the default receiver.
    fn default_keys(&mut self, agent: Option<&'a Agent>) -> Own<'a> {
        let (overrides, file) = (self.sources.overrides, self.sources.file);
        let keys = file.map(|file| &file.export);
        let flag = |path: &Option<std::path::PathBuf>, flag: &'static str| {
            let path = path.clone();
            path.map(|path| Given::by_flag(SecretPlace::File(path), flag))
        };
        let mut headers: Vec<HeaderLayer> = keys.and_then(header_layer).into_iter().collect();
        headers.push(self.flag_headers());
        let mut clients = vec![Pair {
            certificate: flag(&overrides.client_certificate, "--client-cert"),
            key: flag(&overrides.client_key, "--client-key"),
            names: ["--client-cert", "--client-key"].map(str::to_owned),
        }];
        clients.extend(keys.map(|keys| pair("export", keys)));
        Own {
            generic: Generic::All,
            protocol: overrides.protocol.or_else(|| keys?.protocol),
            compression: overrides.compression.or_else(|| keys?.compression),
            timeout: keys.and_then(|keys| keys.timeout),
            signals: keys.and_then(|keys| keys.signals),
            max_request: keys.and_then(|keys| keys.max_request),
            headers,
            ca: flag(&overrides.ca, "--ca-cert").or_else(|| keys?.ca.clone()),
            clients,
            agent,
        }
    }

    fn receiver(
        &mut self,
        name: &str,
        own: &Own<'_>,
        mut target: impl FnMut(&mut Self, Signal, &Own<'_>) -> Option<Target>,
    ) -> Option<Receiver> {
        let mut asked_for = false;
        let mut from = String::new();
        // All three, so that every fault comes out at once.
        let [metrics, logs, traces] = Signal::ALL.map(|signal| {
            let target = target(self, signal, own)?;
            if signal == Signal::Metrics {
                asked_for = target.from().rank() > Rank::Legacy;
                from = target.from().shown();
            }
            self.connection(signal, own, target)
        });
        let (logs, traces) = (logs?, traces?);
        let signals = own.signals.unwrap_or_else(|| Signals::usual(&logs, &traces));
        Some(Receiver {
            name: name.to_owned(),
            asked_for,
            from,
            metrics: metrics?,
            logs,
            traces,
            signals,
            max_request: own.max_request.unwrap_or(DEFAULT_MAX_REQUEST),
        })
    }

    fn connection(&mut self, signal: Signal, own: &Own<'_>, target: Target) -> Option<Connection> {
        let generic = own.generic != Generic::None;
        let protocol = match own.protocol {
            Some(protocol) => protocol,
            None if generic => self.generic_protocol(signal),
            None => Protocol::default(),
        };
        let compression = match own.compression {
            Some(compression) => compression,
            None if generic => self.generic_compression(signal),
            None => Compression::default(),
        };
        let timeout = match own.timeout {
            Some(timeout) => timeout,
            None if generic => self.generic_timeout(signal),
            None => DEFAULT_TIMEOUT,
        };
        let wanted = self.wanted_tls(signal, own, &target);
        let headers = self.headers(signal, own, &target);
        let https = self.is_https(signal, protocol, own, &target, &wanted)?;
        let tls = if https { Some(self.tls(wanted)?) } else { None };
        let (url, port) = self.url(signal, protocol, https, &target);
        let proxy = self.proxy(https, &target.url, port);
        if !https && !target.url.is_this_host() {
            self.warn_of_cleartext(&target);
        }
        Some(Connection {
            url,
            protocol,
            compression,
            headers,
            tls,
            timeout,
            proxy,
        })
    }

    /// The URL of the connection, and its port.
    fn url(&mut self, signal: Signal, protocol: Protocol, https: bool, target: &Target) -> (String, u16) {
        let Target {
            url, form, origin, ..
        } = target;
        let port = match (url.port, protocol, form) {
            // Legacy files know gRPC alone, and write its port out.
            (Some(DEFAULT_PORT), Protocol::HttpProtobuf, Form::HostAndPort)
                if origin.rank() == Rank::Legacy && target.port_origin.is_none() =>
            {
                DEFAULT_HTTP_PORT
            }
            (Some(port), ..) => port,
            (None, Protocol::Grpc, _) => DEFAULT_PORT,
            (None, Protocol::HttpProtobuf, Form::OtelBase | Form::OtelSignal) if https => 443,
            (None, Protocol::HttpProtobuf, Form::OtelBase | Form::OtelSignal) => 80,
            (None, Protocol::HttpProtobuf, Form::Base | Form::HostAndPort) => DEFAULT_HTTP_PORT,
        };
        if let Some(socket) = &url.unix {
            return (format!("unix://{socket}"), port);
        }
        let base = endpoint::origin(https, &url.host, port);
        let url = match (protocol, form) {
            (Protocol::Grpc, _) => {
                if url.path.len() > 1 {
                    let message = "the URL's path has no effect: gRPC has one of its own";
                    self.warn(origin.finding(message));
                }
                base
            }
            (Protocol::HttpProtobuf, Form::OtelSignal) if url.path.is_empty() => base + "/",
            (Protocol::HttpProtobuf, Form::OtelSignal) => base + &url.path,
            (Protocol::HttpProtobuf, _) => base + url.path.trim_end_matches('/') + signal.path(),
        };
        (url, port)
    }

    fn warn_of_cleartext(&mut self, target: &Target) {
        let message = format!(
            "what is sent to {} is cleartext: who is on the way can read and change it",
            target.url.host
        );
        let remedy = match target.form {
            Form::HostAndPort => "set USE_TLS=true, or name the receiver by an https:// URL",
            _ => "write https:// for a receiver that has TLS",
        };
        self.warn(target.origin.finding(message).remedy(remedy));
    }
}

fn header_layer(keys: &EndpointKeys) -> Option<HeaderLayer> {
    Some(HeaderLayer {
        origin: keys.headers_origin.clone()?,
        headers: keys.headers.clone(),
    })
}

fn pair(table: &str, keys: &EndpointKeys) -> Pair {
    Pair {
        certificate: keys.certificate.clone(),
        key: keys.key.clone(),
        names: ["certificate_file", "key_file"].map(|name| format!("{table}.{name}")),
    }
}

/// What the settings file says of a further receiver.
fn named_keys(name: &str, keys: &EndpointKeys) -> Own<'static> {
    Own {
        generic: Generic::None,
        protocol: keys.protocol,
        compression: keys.compression,
        timeout: keys.timeout,
        signals: keys.signals,
        max_request: keys.max_request,
        headers: header_layer(keys).into_iter().collect(),
        ca: keys.ca.clone(),
        clients: vec![pair(&format!("endpoints.{name}"), keys)],
        agent: None,
    }
}

/// A plugin names an address alone.
fn plugin_keys() -> Own<'static> {
    Own {
        generic: Generic::NoCredentials,
        protocol: None,
        compression: None,
        timeout: None,
        signals: None,
        max_request: None,
        headers: Vec::new(),
        ca: None,
        clients: Vec::new(),
        agent: None,
    }
}
