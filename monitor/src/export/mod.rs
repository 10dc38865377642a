//! Hands collections and events on: to an OTLP receiver, as JSON lines, as text for people, as a page for Prometheus.

mod amounts;
mod calendar;
mod collection;
mod event_line;
mod fields;
mod host;
mod json;
mod json_detail;
mod logs;
mod otlp;
mod otlp_json;
mod page;
pub mod prometheus;
mod resource;
mod since;
mod telemetry;
mod text;
mod text_detail;
pub mod transport;
mod words;

#[cfg(any(test, fuzzing))]
pub use transport::fuzz;

pub use amounts::Precision;
pub use calendar::{iso8601, iso8601_millis};
pub use collection::{Busy, Collection, Extra, ServiceReading, UnixClock};
pub use event_line::{
    Arguments, Columns, Happened, LiveEvent, Wall, event_from_json, event_json, event_text,
};
pub use host::Reporter;
pub use json::{json_line, json_line_continued, known, plugin as plugin_json, previous_json, reason_keys};
pub use logs::{log_events, log_requests, log_values};
pub use otlp::{HistogramForm, MetricRequests, Rhythm, Temporality, series_text};
pub use otlp_json::otlp_json_line;
pub use page::{Column, Line, Look, Page, Painted, Piece, Table, Tone, display_width};
pub use resource::{HostIdentity, Run, own_instance_id, service_instance_id};
pub use since::{Continued, LastRun};
pub use telemetry::{CollectionSpan, ExportSpan, Telemetry, TelemetryError};
pub use text::{Detail, LISTED, render};
pub use text_detail::time as short_time;
pub use words::{Previous, death, ending, restart, span};
