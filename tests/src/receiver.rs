//! An OTLP gRPC receiver in the test's own process, on the official protobufs: what kevmon pushed,
//! flattened to one record per data point so that a test can look it up.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{NumberDataPoint, metric::Data, number_data_point},
};
use tokio::sync::oneshot;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::wait;

/// OTLP's number for cumulative temporality.
pub const CUMULATIVE: i32 = 2;

type Requests = Arc<Mutex<Vec<ExportMetricsServiceRequest>>>;

/// A receiver on a free port of 127.0.0.1; stopped when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    requests: Requests,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How a metric is aggregated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    Gauge,
    Sum {
        monotonic: bool,
        temporality: i32,
    },
    /// Histograms and summaries.
    Other,
}

/// One data point with all that it belongs to.
#[derive(Debug, Clone)]
pub struct Point {
    /// Resource attributes.
    pub resource: BTreeMap<String, String>,
    pub scope: String,
    pub metric: String,
    pub unit: String,
    pub instrument: Instrument,
    /// Attributes of the point itself.
    pub attributes: BTreeMap<String, String>,
    /// Unix nanoseconds.
    pub start_time: u64,
    /// Unix nanoseconds.
    pub time: u64,
    pub value: Number,
}

/// A point's value, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Int(i64),
    Double(f64),
    Absent,
}

impl Number {
    /// As a float, for comparisons with a tolerance.
    pub fn as_f64(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
            Self::Int(value) => value as f64,
            Self::Double(value) => value,
            Self::Absent => panic!("a point without a value"),
        }
    }
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
        Self::with_answers(true)
    }

    /// One that takes requests and never answers them.
    pub fn start_mute() -> Self {
        Self::with_answers(false)
    }

    fn with_answers(answers: bool) -> Self {
        let requests = Requests::default();
        let service = MetricsServiceServer::new(Collector {
            requests: Arc::clone(&requests),
            answers,
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

/// Every data point of one request.
pub fn flatten(request: &ExportMetricsServiceRequest) -> Vec<Point> {
    let mut points = Vec::new();
    for resource_metrics in &request.resource_metrics {
        let resource = resource_metrics
            .resource
            .as_ref()
            .map(|r| attributes(&r.attributes))
            .unwrap_or_default();
        for scope_metrics in &resource_metrics.scope_metrics {
            let scope = scope_metrics
                .scope
                .as_ref()
                .map(|scope| scope.name.clone())
                .unwrap_or_default();
            for metric in &scope_metrics.metrics {
                let (instrument, data) = match metric.data.as_ref() {
                    Some(Data::Gauge(gauge)) => (Instrument::Gauge, &gauge.data_points[..]),
                    Some(Data::Sum(sum)) => {
                        let (monotonic, temporality) = (sum.is_monotonic, sum.aggregation_temporality);
                        (
                            Instrument::Sum {
                                monotonic,
                                temporality,
                            },
                            &sum.data_points[..],
                        )
                    }
                    _ => (Instrument::Other, &[][..]),
                };
                points.extend(data.iter().map(|point| Point {
                    resource: resource.clone(),
                    scope: scope.clone(),
                    metric: metric.name.clone(),
                    unit: metric.unit.clone(),
                    instrument,
                    attributes: attributes(&point.attributes),
                    start_time: point.start_time_unix_nano,
                    time: point.time_unix_nano,
                    value: number(point),
                }));
            }
        }
    }
    points
}

fn number(point: &NumberDataPoint) -> Number {
    match point.value {
        Some(number_data_point::Value::AsInt(value)) => Number::Int(value),
        Some(number_data_point::Value::AsDouble(value)) => Number::Double(value),
        None => Number::Absent,
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for pair in pairs {
        let text = match pair.value.as_ref() {
            Some(AnyValue {
                value: Some(any_value::Value::StringValue(text)),
            }) => text.clone(),
            other => format!("{other:?}"),
        };
        assert!(
            map.insert(pair.key.clone(), text).is_none(),
            "attribute {} twice",
            pair.key
        );
    }
    map
}
