//! OTLP log records as a receiver decodes them, flattened to one record each.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse, logs_service_server::LogsService,
    },
    common::v1::{AnyValue, KeyValue, any_value},
};
use serde_json::Value;
use tonic::{Request, Response, Status};

/// One log record with all that it belongs to.
#[derive(Debug, Clone)]
pub struct Log {
    /// Resource attributes.
    pub resource: BTreeMap<String, Value>,
    pub event_name: String,
    /// Unix nanoseconds.
    pub time: u64,
    /// Unix nanoseconds.
    pub observed_time: u64,
    pub severity: i32,
    pub body: Value,
    pub attributes: BTreeMap<String, Value>,
}

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct LogBox {
    requests: Mutex<Vec<ExportLogsServiceRequest>>,
    refused: AtomicUsize,
}

impl LogBox {
    /// Every record, in order of arrival.
    pub(crate) fn logs(&self) -> Vec<Log> {
        let requests = self.requests.lock().expect("nobody panics with it");
        requests.iter().flat_map(flatten).collect()
    }

    /// Requests that were answered with UNIMPLEMENTED.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// The service that takes logs, or says that it does not.
pub(crate) struct LogCollector {
    pub(crate) logs: Arc<LogBox>,
    pub(crate) takes: bool,
}

#[tonic::async_trait]
impl LogsService for LogCollector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        if !self.takes {
            self.logs.refused.fetch_add(1, Ordering::Relaxed);
            // What a server answers that does not know the service.
            return Err(Status::unimplemented(""));
        }
        let requests = &self.logs.requests;
        requests
            .lock()
            .expect("nobody panics with it")
            .push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse {
            partial_success: None,
        }))
    }
}

/// Every log record of one request.
pub fn flatten(request: &ExportLogsServiceRequest) -> Vec<Log> {
    let mut logs = Vec::new();
    for of_resource in &request.resource_logs {
        let resource = of_resource
            .resource
            .as_ref()
            .map(|resource| typed(&resource.attributes))
            .unwrap_or_default();
        let records = of_resource.scope_logs.iter().flat_map(|scope| &scope.log_records);
        logs.extend(records.map(|record| Log {
            resource: resource.clone(),
            event_name: record.event_name.clone(),
            time: record.time_unix_nano,
            observed_time: record.observed_time_unix_nano,
            severity: record.severity_number,
            body: record.body.as_ref().map_or(Value::Null, value),
            attributes: typed(&record.attributes),
        }));
    }
    logs
}

/// Attributes with the type that they were sent in.
pub fn typed(pairs: &[KeyValue]) -> BTreeMap<String, Value> {
    let mut map = BTreeMap::new();
    for pair in pairs {
        let told = pair.value.as_ref().map_or(Value::Null, value);
        assert!(
            map.insert(pair.key.clone(), told).is_none(),
            "attribute {} twice",
            pair.key
        );
    }
    map
}

fn value(value: &AnyValue) -> Value {
    match value.value.as_ref() {
        Some(any_value::Value::StringValue(text)) => Value::from(text.as_str()),
        Some(any_value::Value::IntValue(number)) => Value::from(*number),
        Some(any_value::Value::DoubleValue(number)) => Value::from(*number),
        Some(any_value::Value::BoolValue(flag)) => Value::from(*flag),
        other => Value::from(format!("{other:?}")),
    }
}
