//! Sends encoded requests to an OTLP receiver, over gRPC or HTTP, and says what became of each.
//!
//! Both transports share one path: a request is built, sent over one connection, and the answer is read whole and
//! judged by pure functions. tonic's client is not used: it panics when a receiver's status details are not base64
//! (0.14), and it does not tell a request that was never sent from one that may have arrived.

mod answer;
pub mod connection;
mod content;
mod dial;
mod entropy;
mod error;
pub(in crate::export) mod files;
mod flood;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod grpc;
mod http;
mod link;
mod material;
mod pack;
mod partial;
mod proxy;
mod quote;
mod request;
mod sender;
pub mod server_tls;
mod socket;
mod split;
mod target;
#[cfg(test)]
mod tests;
mod tls;

pub use answer::Accepted;
pub use connection::{Connection, EncodedRequest, HeaderValue, Protocol, Proxy, Signal, TlsFiles};
pub use error::{Failure, Retry, SendError};
pub use pack::{pack, unpack};
pub use sender::Transport;
pub use split::{below, halves, services};
