//! How far what was collected has come.

/// Why a receiver that knows no such signal has none of it: nobody misses that.
pub const UNSUPPORTED: &str = "unsupported";

/// What became of the requests of one receiver and signal, since kevmon's start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportReading {
    /// The receiver's name.
    pub receiver: String,
    /// `metrics`, `logs` or `traces`.
    pub signal: &'static str,
    /// Items (data points, log records or spans) that the receiver took.
    pub delivered: u64,
    /// Items that it refused for good.
    pub refused: u64,
    /// Items dropped because the bound of bytes was reached.
    pub dropped_space: u64,
    /// Items dropped because they had waited too long.
    pub dropped_age: u64,
    /// Items dropped because the spool gave them back damaged.
    pub dropped_damaged: u64,
    /// Items that the receiver has no use for: it knows no such signal.
    pub unsupported: u64,
    /// Requests sent again although an earlier attempt may have arrived.
    pub repeated: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Answers that could not be read, to requests that are not sent again.
    pub unread: u64,
    /// Requests that wait.
    pub waiting_requests: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// The last attempt failed.
    pub away: bool,
    /// The receiver has no use for the signal.
    pub closed: bool,
}

impl ExportReading {
    /// Items that the receiver will never have, by the reason.
    pub fn lost(&self) -> [(&'static str, u64); 5] {
        [
            ("refused", self.refused),
            ("space", self.dropped_space),
            ("age", self.dropped_age),
            ("damaged", self.dropped_damaged),
            (UNSUPPORTED, self.unsupported),
        ]
    }
}
