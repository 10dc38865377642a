//! kevmon as a service: notifications of the service manager, and commands of an operator to a running instance.

mod client;
pub(super) mod control;
pub(super) mod notify;
mod place;
mod report;
pub(super) mod status;

pub(super) use client::{reload, restart, status, stop};
pub(super) use place::Wanted;
