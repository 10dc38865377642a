//! What is exported: the catalogue of metrics, and their values out of a group's reading. Pure.

mod catalogue;
mod health;
mod point;

pub use catalogue::{INSTANA, JSON_ONLY, Metric, metrics};
pub use health::{HealthReading, OWN};
pub use point::{Instrument, Number, Since, Value};
