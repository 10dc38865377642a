//! From processes to services: which plugin a process belongs to, and what each plugin's group has used, started,
//! lost and restarted. Pure: no I/O, no clock.

pub mod collector;
pub mod definition;
pub mod detail;
pub mod durations;
pub mod group;
pub mod live;
pub mod matcher;
pub mod notice;
mod partial;
mod patterns;
pub mod rates;
pub mod reading;
pub mod restarts;
pub mod saved;
pub mod service;
pub mod shares;
mod titles;
pub mod tracker;

pub use definition::{
    Aggregate, Detail, GroupId, Matching, Naming, PerProcess, Plugin, Plugins, Rank, Selectors,
};
pub use durations::Durations;
pub use group::told_arguments;
pub use notice::{Notice, Predecessor, RestartKind, What};
pub use reading::{Completeness, Reading, StepReading};
pub use saved::{KeptGroup, Programs, SavedEnd, SavedExit, SavedGroup, SavedMember};
pub use titles::Interest;
pub use tracker::{NAMED_AT_START, NewLook, Tracker};
