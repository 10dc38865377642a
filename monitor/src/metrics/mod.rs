//! What is exported: the catalogue of metrics, and their values out of a group's reading. Pure.

mod catalogue;
mod detail;
mod exits;
mod export;
mod health;
mod per_process;
mod point;
mod telemetry;
mod timing;

pub use catalogue::{INSTANA, JSON_ONLY, Metric, metrics, of_plugin};
pub use detail::PREEMPTORS;
pub use exits::exit_attributes;
pub use export::{ExportReading, UNSUPPORTED};
#[cfg(test)]
pub(crate) use health::RING_PROGRAMS;
pub use health::{Cadence, HealthReading, OWN, OwnMetric};
pub use per_process::{ProcessMetric, ProcessPoint, numbered_process_metrics, process_metrics};
pub use point::{Attribute, Attributes, Instrument, Measure, Since, Value};
pub use telemetry::{AttemptsReading, ProgramTime, TELEMETRY, TelemetryReading, outcome};
pub use timing::{TIMING_BOUNDS, Timing};
