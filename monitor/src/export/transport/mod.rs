//! Sends encoded requests to an OTLP receiver, over gRPC or HTTP, and says what became of each.

pub mod connection;
