//! Spans that have ended and wait to be sent together: with a collection, not each by itself.
//!
//! The SDK's own batch processor has a thread and a clock of its own. Here both are kevmon's: a span costs no request, and
//! no thread.

use std::{
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanExporter as _, SpanProcessor},
};

/// So many are sent at once, and do not wait longer (the SDK's default, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
pub(super) const MOST: usize = 512;

/// Holds spans until [`SpanProcessor::force_flush`].
#[derive(Debug)]
pub(super) struct WaitingSpans {
    exporter: opentelemetry_otlp::SpanExporter,
    spans: Mutex<Vec<SpanData>>,
}

impl WaitingSpans {
    /// None so far; they go to `exporter`, whose client answers at once.
    pub(super) fn new(exporter: opentelemetry_otlp::SpanExporter) -> Self {
        Self {
            exporter,
            spans: Mutex::default(),
        }
    }

    fn send(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        if spans.is_empty() {
            return Ok(());
        }
        let mut export = std::pin::pin!(self.exporter.export(spans));
        match export.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(OTelSdkError::InternalFailure(
                "the exporter waits, and nothing is there to wait for".to_owned(),
            )),
        }
    }
}

impl SpanProcessor for WaitingSpans {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let full = {
            let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
            spans.push(span);
            if spans.len() >= MOST {
                std::mem::take(&mut *spans)
            } else {
                Vec::new()
            }
        };
        // The handover refuses nothing.
        let _: OTelSdkResult = self.send(full);
    }

    fn force_flush(&self) -> OTelSdkResult {
        let spans = std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner));
        self.send(spans)
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        self.force_flush()
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.exporter.set_resource(resource);
    }
}
