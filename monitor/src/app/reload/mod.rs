//! Changes of the configuration while kevmon runs: noticing them, deciding what they mean for the running plugins, and
//! applying that, plugin by plugin.

mod apply;
mod plan;
mod watcher;

pub(super) use apply::{Applied, Parts, Prepared, plugins};
pub(super) use watcher::{Asked, Change, Reloaded, Watcher};
