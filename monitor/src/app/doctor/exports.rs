//! Receivers: each is connected to as the daemon would, and sent a request without any point in it.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Check, Finding, fault, fine, warning};
use crate::{
    app::route,
    config::Settings,
    export::transport::{Signal, Transport},
    plugin::{GroupId, Plugin, Plugins},
};

/// From the look-up of the name to the answer.
const WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn checks(settings: &Settings, plugins: Vec<Plugin>) -> Vec<Finding> {
    let plugins = plugins.into_iter().enumerate();
    let plugins: Plugins = plugins
        .map(|(index, plugin)| (GroupId(index), Arc::new(plugin)))
        .collect();
    let own = settings.telemetry.enabled;
    let own = own
        .then(|| route::telemetry_receiver(&settings.receivers, &plugins))
        .flatten();
    let mut findings = Vec::new();
    for to in route::destinations(&settings.receivers, &plugins, own) {
        let check = Check::Receiver;
        let subject = format!("{} ({})", to.receiver, to.signal.name());
        let mut transport = Transport::new(to.connection, to.signal);
        let endpoint = transport.endpoint().to_owned();
        // Empty: the message of each signal without a field (protobuf).
        let sent = timeout(WITHIN, transport.send(bytes::Bytes::new())).await;
        let finding = match sent {
            Ok(Ok(_)) => fine(check, format!("{endpoint} takes it")),
            Ok(Err(error)) if error.is_unsupported() && to.signal != Signal::Metrics => warning(
                check,
                format!("{endpoint} takes none"),
                "events or spans are not sent there; metrics are not concerned",
            ),
            Ok(Err(error)) => fault(
                check,
                error.to_string(),
                "what is exported waits in the spool until then",
            ),
            Err(_) => fault(
                check,
                format!("{endpoint} does not answer within {WITHIN:?}"),
                "what is exported waits in the spool until then",
            ),
        };
        findings.push(finding.of(subject));
    }
    if findings.is_empty() {
        findings.push(fine(Check::Receivers, "none is sent anything: no plugin runs"));
    }
    findings
}
