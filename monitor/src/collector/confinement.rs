//! What is told of a collector's confinement: calls that it made in vain, and walls that this kernel cannot build.

use std::collections::BTreeSet;

use tracing::warn;

use super::run::Outcome;

/// The kind under which refused calls are counted.
pub(super) const REFUSED_CALL: &str = "refused_call";
/// Different things that are told of one collector: a program can make up more.
const MOST: usize = 64;

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<String>);

impl Told {
    /// Tells what is new in `outcome`, or all of it.
    pub(super) fn tell(&mut self, label: &str, outcome: &Outcome, all: bool) {
        let lacking = outcome.lacking.iter().map(|lacking| {
            format!("not confined as it should be: {lacking} (it runs all the same: allow_unconfined)")
        });
        let refused = outcome.refused_calls.iter().map(|name| {
            let remedy = remedy(name);
            format!("{REFUSED_CALL}: {name} failed with EPERM: {remedy}")
        });
        for text in lacking.chain(refused) {
            let is_new = self.0.len() < MOST && self.0.insert(text.clone());
            if all {
                warn!("{label}: {text}");
            } else if is_new {
                warn!("{label}: {text} (told once)");
            }
        }
    }
}

fn remedy(name: &str) -> &'static str {
    match name {
        "socket(AF_INET)" | "socket(AF_INET6)" => {
            "a collector has no network; write allow_network = true if it needs one"
        }
        "socket(AF_UNIX)" => {
            "where kevmon is not root, a collector has no sockets: services would take it for kevmon; write allow_network = true \
             if it needs one"
        }
        _ => "no collector may make this call; do without it",
    }
}
