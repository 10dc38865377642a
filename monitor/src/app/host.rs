//! What is to be said about the host: that nothing tells it from others, and that a state comes from another one.

use std::path::Path;

use tracing::warn;

use crate::{
    export::HostIdentity,
    store::{HostChange, IdHost},
};

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

/// The host as the store compares it.
pub(super) fn of_ids(host: &HostIdentity) -> IdHost {
    IdHost {
        id: host.id.clone(),
        name: host.name.clone(),
    }
}

/// Says what became of the ids in a state that another host may have kept.
pub(super) fn say_change(change: &HostChange, path: &Path, host: &HostIdentity) {
    let shown = |id: &Option<String>, name: &str| {
        let id = id.as_deref().unwrap_or("none");
        format!("host.id {id}, host.name {name}")
    };
    let path = path.display();
    match change {
        HostChange::None => {}
        HostChange::Other(before) => warn!(
            "{path}: was kept on another host ({}) than this one ({}), as in a copied disk image: the services have new \
             service.instance.ids; counters and history go on from what it holds; for a host that begins with none, stop \
             kevmon and remove {path}* (best before an image is copied)",
            shown(&before.id, &before.name),
            shown(&host.id, &host.name)
        ),
        HostChange::PerhapsCopied(before) => warn!(
            "{path}: was kept on a host named {}, and this one is named {} and has the same machine-id: if it was renamed, all \
             is well; if this is a copy of it, both report under the same service.instance.ids: stop kevmon, then rm -f \
             /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup, and start it again",
            before.name, host.name
        ),
    }
}
