//! Ids of traces and spans. The SDK's own generator waits for the kernel's random number generator to be seeded, on the thread
//! that collects; ids need to differ, not to be unguessable.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::IdGenerator;

/// Draws ids from hash keys of the standard library, which never waits for entropy, and from the process and the time: what is
/// drawn before the kernel has any may be the same on two hosts.
#[derive(Debug, Default)]
pub(super) struct Ids {
    keys: RandomState,
    drawn: AtomicU64,
}

impl Ids {
    /// Never 0, which is no id (W3C Trace Context, 3.2.2.3).
    fn next(&self) -> u64 {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let drawn = (number, std::process::id(), SystemTime::now());
        self.keys.hash_one(drawn).max(1)
    }
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from(u128::from(self.next()) << 64 | u128::from(self.next()))
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(self.next())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_within_and_between_generators() {
        let generators = [Ids::default(), Ids::default()];
        let spans = generators
            .iter()
            .flat_map(|ids| (0..1_000).map(|_| ids.new_span_id()));
        assert_eq!(spans.collect::<HashSet<_>>().len(), 2_000);
        let traces = generators
            .iter()
            .flat_map(|ids| (0..1_000).map(|_| ids.new_trace_id()));
        let traces: HashSet<TraceId> = traces.collect();
        assert_eq!(traces.len(), 2_000);
        assert!(!traces.contains(&TraceId::INVALID));
    }
}
