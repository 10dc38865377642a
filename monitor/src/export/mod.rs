//! Hands collections and events on: to an OTLP receiver, as JSON lines, as text for people.

mod calendar;
mod collection;
mod event_line;
mod grpc;
mod json;
mod logs;
mod otlp;
mod resource;
mod text;
pub mod transport;
mod words;

pub use calendar::iso8601_millis;
pub use collection::{Collection, ServiceReading, UnixClock};
pub use event_line::{HEADING, Wall, event_json, event_text};
pub use grpc::{ExportError, Exporter};
pub use json::{json_line, known, reason_keys};
pub use logs::{LogEvent, log_events, log_requests};
pub use otlp::{MetricRequests, Temporality};
pub use resource::{HostIdentity, Run, service_instance_id};
pub use text::render;
pub use transport::connection::EncodedRequest;
pub use words::{death, printable, span};

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::{collection::tests::collection, grpc::tests::Listener};
    pub(crate) use tonic::Code;
}
