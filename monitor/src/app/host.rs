//! What is to be said about the host: that nothing tells it from others.

use tracing::warn;

use crate::export::HostIdentity;

/// Says that the host has no machine-id, where nothing stands in its place.
pub(super) fn say_missing_id(host: &HostIdentity) {
    if let Some(reason) = host.no_machine_id() {
        warn!(
            "host.id is not known: {reason}; service.instance.ids are made of the host's name, {}, and another host of that \
             name would have the same; run systemd-machine-id-setup as root and restart kevmon, or set host.id in [resource] of \
             kevmon.toml or in OTEL_RESOURCE_ATTRIBUTES",
            host.name
        );
    }
}
