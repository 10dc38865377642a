//! Measured values and the instruments they come from.

use std::sync::Arc;

use super::Timing;
use crate::{
    plugin::Durations,
    process::{Moment, Spread},
};

/// What a point measures, as exactly as it is known: what is an integer stays one, and a point in time stays one
/// until a clock makes a date of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// A count, bytes, nanoseconds.
    Integer(u64),
    /// A share, a mean, seconds.
    Float(f64),
    /// A point in time; exported as seconds since 1970.
    Time(Moment),
    /// A histogram of lengths of time; exported in seconds.
    Durations(Durations),
    /// The same of kevmon's own work, with fewer buckets.
    Timing(Timing),
    /// A distribution of the detailed mode; exported in the unit of its quantity.
    Spread(Arc<Spread>),
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// Words.
    Text(String),
    /// A count, a code.
    Integer(i64),
    /// Seconds.
    Float(f64),
    /// Yes or no.
    Boolean(bool),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Attribute {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<bool> for Attribute {
    fn from(flag: bool) -> Self {
        Self::Boolean(flag)
    }
}

/// Attributes by name.
pub type Attributes = Vec<(&'static str, Attribute)>;

/// One data point: its attributes and what it measures.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Attributes that tell it from the metric's other points.
    pub attributes: Attributes,
    /// What it measures.
    pub measure: Measure,
}

/// OpenTelemetry's instruments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    /// A cumulative sum that never falls.
    Counter,
    /// A cumulative sum that may fall.
    UpDownCounter,
    /// The value of this moment.
    Gauge,
    /// Cumulative counts by size.
    Histogram,
}

/// Where a sum begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// At the start of the oldest member found.
    Usage,
    /// When kevmon began to watch.
    Watch,
    /// When it began to watch in detail.
    Detail,
}
