//! Transports against real servers on loopback.

mod certificates;
mod codes;
mod grpc;
mod headers;
mod http;
mod network;
mod proxy;
mod servers;
mod tls;

use std::{fmt::Debug, net::SocketAddr, path::PathBuf, sync::atomic, time::Duration};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::ResourceMetrics,
};
use prost::Message;

use super::{
    SendError, Transport,
    connection::{Connection, Protocol, Signal},
};

/// A connection to `url` without anything special.
fn plain(url: impl Into<String>, protocol: Protocol) -> Connection {
    Connection {
        url: url.into(),
        protocol,
        gzip: false,
        headers: Vec::new(),
        tls: None,
        timeout: Duration::from_secs(10),
        proxy: None,
    }
}

/// Metrics over gRPC.
fn over_grpc(address: SocketAddr) -> Transport {
    Transport::new(
        plain(format!("http://{address}"), Protocol::Grpc),
        Signal::Metrics,
    )
}

/// Metrics over HTTP.
fn over_http(address: SocketAddr) -> Transport {
    let url = format!("http://{address}/v1/metrics");
    Transport::new(plain(url, Protocol::HttpProtobuf), Signal::Metrics)
}

/// A request with `count` resources, which compresses well.
fn request(count: usize) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: vec![
            ResourceMetrics {
                schema_url: "schema".to_owned(),
                ..Default::default()
            };
            count
        ],
    }
}

fn body(count: usize) -> Bytes {
    request(count).encode_to_vec().into()
}

/// The error, which must say all of `words`.
#[track_caller]
fn failed<T: Debug>(result: Result<T, SendError>, words: &[&str]) -> SendError {
    let error = result.expect_err("must not succeed");
    for words in words {
        assert!(
            error.to_string().contains(words),
            "{error} says nothing of {words:?}"
        );
    }
    error
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: atomic::AtomicU32 = atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kevmon-transport-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for temporary files");
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
