//! Which values of one output belong to one series, and which of them are kept.

use std::collections::{HashMap, HashSet};

use super::{Attributes, kind_of};
use crate::{
    collector::format::{Raw, RawValue},
    plugin::collector::{MetricKind, MetricSpec},
};

/// The series that an output has brought so far. One series has one kind, one value at a time, and one value in a metrics
/// group.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<(String, Attributes), Claimed>);

/// The values of a series so far.
#[derive(Debug)]
struct Claimed {
    kind: ClaimKind,
    groups: HashSet<usize>,
    times: HashSet<u64>,
}

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) kind: ClaimKind,
    /// Number of its metrics group, where it came in one.
    pub(super) group: Option<usize>,
    /// When it was measured, Unix ns.
    pub(super) at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimKind {
    Gauge,
    Counter,
    Text,
}

impl ClaimKind {
    pub(super) fn of(raw: &RawValue, asked: Option<&MetricSpec>) -> Self {
        match (&raw.value, kind_of(raw, asked)) {
            (Raw::Text(_), _) => Self::Text,
            (_, MetricKind::Counter) => Self::Counter,
            (_, MetricKind::Gauge) => Self::Gauge,
        }
    }
}

impl Claims {
    /// Whether a value may go with those before it.
    ///
    /// # Errors
    /// Why it may not, and what to do.
    pub(super) fn check(&self, series: &(String, Attributes), claim: Claim) -> Result<(), String> {
        let Some(before) = self.0.get(series) else {
            return Ok(());
        };
        let name = &series.0;
        if before.kind != claim.kind {
            return Err(format!(
                "{name} is of two types under the same attributes and the first is kept; name one of the two otherwise"
            ));
        }
        if claim.group.is_some_and(|group| before.groups.contains(&group)) {
            return Err(format!(
                "{name} is twice in one metrics group and the first is kept; use two groups, or two names"
            ));
        }
        if before.times.contains(&claim.at) {
            return Err(format!(
                "{name} has two values at one time and the first is kept; give them an attribute in which they differ"
            ));
        }
        Ok(())
    }

    pub(super) fn add(&mut self, series: (String, Attributes), claim: Claim) {
        let claimed = self.0.entry(series).or_insert_with(|| Claimed {
            kind: claim.kind,
            groups: HashSet::new(),
            times: HashSet::new(),
        });
        claimed.groups.extend(claim.group);
        claimed.times.insert(claim.at);
    }
}
