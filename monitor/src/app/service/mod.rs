//! kevmon as a service: notifications of the service manager, and commands of an operator to a running instance.

mod client;
pub(super) mod control;
pub(super) mod notify;
mod place;
mod report;
pub(super) mod status;
pub(super) mod view;

pub(super) use client::{ask_for, reload, restart, status, stop, the_one};
pub(super) use place::Wanted;
