//! Hands collections on: to an OTLP receiver, as JSON lines, as text for people.

mod collection;
mod grpc;
mod json;
mod otlp;
mod resource;
mod span;
mod text;

pub use collection::{Collection, ServiceReading, UnixClock};
pub use grpc::Exporter;
pub use json::json_line;
pub use otlp::requests;
pub use resource::{HostIdentity, Run};
pub use text::render;
