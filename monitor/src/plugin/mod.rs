//! From processes to services: which plugin a process belongs to, and what each plugin's group has used, started,
//! lost and restarted. Pure: no I/O, no clock.

pub mod definition;
pub mod group;
pub mod matcher;
pub mod reading;
pub mod restarts;
pub mod service;
pub mod tracker;

pub use definition::{Aggregate, GroupId, Naming, Plugin};
pub use reading::Reading;
pub use tracker::Tracker;
