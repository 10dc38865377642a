//! An OTLP gRPC receiver in the test's own process, on the official protobufs and their generated services: what
//! kevmon pushed, flattened. [`crate::fake::Fake`] is the one over HTTP, and the one that misbehaves.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use opentelemetry_proto::tonic::collector::{
    logs::v1::logs_service_server::LogsServiceServer,
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::trace_service_server::TraceServiceServer,
};
use tokio::sync::oneshot;
use tonic::{
    Request, Response, Status,
    codec::CompressionEncoding,
    transport::{Server, server::TcpIncoming},
};

pub use crate::points::{CUMULATIVE, Instrument, Number, Point, flatten};
use crate::{
    logs::{Log, LogBox, LogCollector},
    spans::{Span, SpanBox, SpanCollector},
    wait,
};

type Requests = Arc<Mutex<Vec<ExportMetricsServiceRequest>>>;

/// A receiver on a free port of 127.0.0.1; stopped when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    requests: Requests,
    logs: Arc<LogBox>,
    spans: Arc<SpanBox>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Collector {
    requests: Requests,
    answers: bool,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.requests
            .lock()
            .expect("nobody panics with it")
            .push(request.into_inner());
        if !self.answers {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(ExportMetricsServiceResponse {
            partial_success: None,
        }))
    }
}

impl Receiver {
    /// One that accepts everything.
    pub fn start() -> Self {
        Self::serve(true, true)
    }

    /// One that knows metrics only, and says so to whoever sends logs or spans.
    pub fn start_without_logs() -> Self {
        Self::serve(true, false)
    }

    /// One that takes requests and never answers them.
    pub fn start_mute() -> Self {
        Self::serve(false, true)
    }

    fn serve(answers: bool, takes_logs: bool) -> Self {
        let (requests, logs) = (Requests::default(), Arc::<LogBox>::default());
        let spans = Arc::<SpanBox>::default();
        let log_service = LogsServiceServer::new(LogCollector {
            logs: Arc::clone(&logs),
            takes: takes_logs,
        })
        .accept_compressed(CompressionEncoding::Gzip);
        let service = MetricsServiceServer::new(Collector {
            requests: Arc::clone(&requests),
            answers,
        })
        .accept_compressed(CompressionEncoding::Gzip);
        let trace_service = takes_logs.then(|| {
            TraceServiceServer::new(SpanCollector(Arc::clone(&spans)))
                .accept_compressed(CompressionEncoding::Gzip)
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
                bound
                    .send(incoming.local_addr().expect("bound"))
                    .expect("the test waits");
                let server = Server::builder()
                    .add_service(service)
                    .add_service(log_service)
                    .add_optional_service(trace_service)
                    .serve_with_incoming(incoming);
                // Not a graceful shutdown, which would wait for a client that keeps its connection.
                tokio::select! {
                    result = server => result.expect("the receiver serves"),
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv_timeout(wait::SOON).expect("the receiver binds");
        Self {
            address,
            requests,
            logs,
            spans,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Its port, as an argument.
    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// Number of requests so far.
    pub fn requests(&self) -> usize {
        self.requests.lock().expect("nobody panics with it").len()
    }

    /// Every data point received so far, in order of arrival.
    pub fn points(&self) -> Vec<Point> {
        self.requests
            .lock()
            .expect("nobody panics with it")
            .iter()
            .flat_map(flatten)
            .collect()
    }

    /// Every log record received so far, in order of arrival.
    pub fn logs(&self) -> Vec<Log> {
        self.logs.logs()
    }

    /// Every span received so far, in order of arrival.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.spans()
    }

    /// Requests with logs that were refused.
    pub fn refused_logs(&self) -> usize {
        self.logs.refused()
    }

    /// Waits until the points received satisfy `condition` and returns what it found.
    pub fn wait_for<T>(&self, what: &str, limit: Duration, condition: impl Fn(&[Point]) -> Option<T>) -> T {
        let mut seen = usize::MAX;
        wait::until(what, limit, || {
            let requests = self.requests();
            if std::mem::replace(&mut seen, requests) == requests {
                return None;
            }
            condition(&self.points())
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
