//! Numbers and the instruments they come from.

/// A number as it is exported: what is an integer stays one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A count, bytes, nanoseconds.
    Integer(u64),
    /// A share, a mean, seconds.
    Float(f64),
}

/// One data point: its attributes and its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Attributes that tell it from the metric's other points.
    pub attributes: Vec<(&'static str, String)>,
    /// The number.
    pub number: Number,
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
}

/// Where a sum begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// At the start of the oldest member found.
    Usage,
    /// When kevmon began to watch.
    Watch,
}
