//! Fills requests with metrics, and begins another one where a receiver would refuse a longer one.

use bytes::Bytes;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::{
    super::{
        resource,
        transport::connection::{EncodedRequest, Signal},
    },
    wire::{self, Open},
};

/// What comes before the metrics of a resource.
#[derive(Debug, Clone)]
pub(super) struct Header {
    /// Fields of `ResourceMetrics`.
    resource: Vec<u8>,
    /// Fields of its one `ScopeMetrics`.
    scope: Vec<u8>,
}

impl Header {
    /// `schema_url` is that of the metrics' names; the resource's are always of the conventions.
    pub(super) fn new(of: &Resource, schema_url: &str) -> Self {
        let mut resource = Vec::new();
        wire::bytes(&mut resource, 1, &of.encode_to_vec());
        wire::text(&mut resource, 3, resource::SCHEMA_URL);
        let mut scope = Vec::new();
        wire::message(&mut scope, 1, |scope| {
            wire::text(scope, 1, "kevmon");
            wire::text(scope, 2, env!("CARGO_PKG_VERSION"));
        });
        wire::text(&mut scope, 3, schema_url);
        Self { resource, scope }
    }
}

/// A resource that metrics are being added to.
#[derive(Debug)]
struct Filling {
    header: Header,
    /// Where it begins.
    start: usize,
    resource: Open,
    scope: Open,
    /// Data points in it.
    items: u64,
}

/// Requests in the making.
#[derive(Debug)]
pub(super) struct Requests {
    done: Vec<EncodedRequest>,
    body: Vec<u8>,
    /// Data points of the finished resources in `body`.
    items: u64,
    filling: Option<Filling>,
    /// Of each request.
    time: u64,
    longest: usize,
}

/// What closing a resource and its scope may add: lengths of four bytes where three were expected.
const CLOSING: usize = 2;

impl Requests {
    /// Of a collection at `time`, Unix ns. Each stays below `longest` bytes, as far as single metrics do; `capacity` is
    /// how long the first one is expected to be.
    pub(super) fn new(time: u64, longest: usize, capacity: usize) -> Self {
        Self {
            done: Vec::new(),
            body: Vec::with_capacity(capacity),
            items: 0,
            filling: None,
            time,
            longest,
        }
    }

    /// Bytes that each stays below.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Begins a resource.
    pub(super) fn begin(&mut self, header: &Header) {
        self.end();
        let start = self.body.len();
        let resource = Open::new(&mut self.body, 1, 3);
        self.body.extend_from_slice(&header.resource);
        let scope = Open::new(&mut self.body, 2, 3);
        self.body.extend_from_slice(&header.scope);
        self.filling = Some(Filling {
            header: header.clone(),
            start,
            resource,
            scope,
            items: 0,
        });
    }

    /// Adds a metric to the resource that was begun last: `write` appends it as a field of `ScopeMetrics` and returns its
    /// number of points. Without points there is no metric.
    pub(super) fn metric(&mut self, write: impl FnOnce(&mut Vec<u8>) -> u64) {
        let Some(filling) = &mut self.filling else { return };
        let before = self.body.len();
        let items = write(&mut self.body);
        if items == 0 {
            self.body.truncate(before);
            return;
        }
        if self.body.len() + CLOSING < self.longest {
            filling.items += items;
            return;
        }
        self.overflow(before, items);
    }

    /// The metric from `before` on is one too many. A resource stays in one request where it can.
    fn overflow(&mut self, before: usize, items: u64) {
        let Some(mut filling) = self.filling.take() else {
            return;
        };
        if filling.start > 0 {
            let moved = self.body.split_off(filling.start);
            self.finish_request(moved);
            filling.resource = filling.resource.moved_up(filling.start);
            filling.scope = filling.scope.moved_up(filling.start);
            let before = before - filling.start;
            filling.start = 0;
            self.filling = Some(filling);
            if self.body.len() + CLOSING >= self.longest {
                self.overflow(before, items);
            } else if let Some(filling) = &mut self.filling {
                filling.items += items;
            }
            return;
        }
        if filling.items == 0 {
            // Longer than a request may be, all by itself.
            filling.items = items;
            self.filling = Some(filling);
            return;
        }
        let header = filling.header.clone();
        let metric = self.body.split_off(before);
        self.filling = Some(filling);
        self.end();
        self.finish_request(Vec::new());
        self.begin(&header);
        self.body.extend_from_slice(&metric);
        if let Some(filling) = &mut self.filling {
            filling.items = items;
        }
    }

    /// Ends the resource; without metrics it is left out.
    fn end(&mut self) {
        let Some(filling) = self.filling.take() else {
            return;
        };
        if filling.items == 0 {
            self.body.truncate(filling.start);
            return;
        }
        filling.scope.close(&mut self.body);
        filling.resource.close(&mut self.body);
        self.items += filling.items;
    }

    /// The body is a request; `next` begins another one.
    fn finish_request(&mut self, next: Vec<u8>) {
        let body = std::mem::replace(&mut self.body, next);
        self.done.push(EncodedRequest {
            signal: Signal::Metrics,
            items: std::mem::take(&mut self.items),
            time: self.time,
            body: Bytes::from(body),
        });
    }

    /// All of them.
    pub(super) fn finish(mut self) -> Vec<EncodedRequest> {
        self.end();
        if self.items > 0 {
            self.finish_request(Vec::new());
        }
        self.done
    }
}
